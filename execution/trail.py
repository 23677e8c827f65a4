"""The trail behind the books: from every posting to what the broker said, the order, its request
and the decision, and back. No orphan in either direction.

Each check reads whole columns of a run and compares them in memory: a few thousand trades cost
less than a second, so that the hub asks all of them each minute. (Reliability 4: 5, 11 and 15.)
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal

from django.db.models import F, Q

from accounts.check import Check
from accounts.models import Account, JournalEntry
from execution import selectors
from execution.domain.orders import TradeState
from execution.models import BrokerEvent, Decision, DecisionChain, Order, OrderAttempt, Run, Trade
from execution.services.cash import KEY, SETTLED
from execution.services.venue_state import EXTERNAL

Kind = JournalEntry.Kind
Sums = tuple[int, Decimal]
ZERO = Decimal(0)
CASH = (Kind.INCOME, Kind.FEE, Kind.TRANSFER, Kind.SUSPENSE)


def raw_events(account: Account, run: Run) -> Iterator[str]:
    """What moved money or shares was told by the broker; what it told is booked."""
    told = _told(run)
    booked = dict(account.entries.values_list("source_key", "kind"))
    wanted = {_event_of(key, Kind(kind)): key for key, kind in booked.items()}
    wanted.pop("", None)
    for event in sorted(wanted.keys() - told.keys()):
        yield f"{wanted[event]}: the broker's own words are gone"
    for event, has_effect in told.items():
        back = f"bust:{event.removeprefix('fill:')}"
        if has_effect and event.startswith("fill:") and event not in booked and back not in told:
            yield f"{event}: told by the broker and not in the books"


def _told(run: Run) -> dict[str, bool]:
    """Return the keys of a run's events that move money or shares, and whether they had effect."""
    wanted = Q()
    for prefix in ("fill:", "bust:", "split:", KEY):
        wanted |= Q(key__startswith=prefix)
    rows = BrokerEvent.objects.filter(wanted, run=run).values_list("key", "event", "order_id")
    return {key: event != "void" and order is not None for key, event, order in rows}


def _event_of(source_key: str, kind: Kind) -> str:
    """Return the key of the event that an entry was made from, "" when a person entered it."""
    what, _, name = source_key.partition(":")
    if kind in CASH and what == "cash":
        return f"{KEY}{name.removesuffix(SETTLED)}"
    if kind == Kind.SPLIT:
        return name
    if kind == Kind.FILL:
        return source_key
    if kind == Kind.REVERSAL and name.startswith("fill:"):
        gone = name.removeprefix("fill:")
        return "" if gone.startswith(("adopt:", "split:")) else f"bust:{gone}"
    return ""


def executions(account: Account, run: Run) -> Iterator[str]:
    """Each execution names an order of ours; what stands of them is what the order says."""
    rows = Order.objects.filter(run=run).values_list(
        "client_order_id", "symbol", "side", "filled_quantity", "filled_value"
    )
    orders = {row[0][:64]: row for row in rows}
    sums: dict[str, Sums] = defaultdict(lambda: (0, ZERO))
    fills = account.fills.filter(entry__kind=Kind.FILL).values_list(
        "execution_id", "order_ref", "symbol", "quantity", "price_usd", "entry__reversed_by"
    )
    for execution_id, ref, symbol, quantity, price, reversed_by in fills:
        order = orders.get(ref)
        if order is None:
            yield f"{execution_id}: its order {ref} does not exist"
        elif order[1:3] != (symbol, "buy" if quantity > 0 else "sell"):
            yield f"{execution_id}: its order {ref} is to {order[2]} {order[1]}"
        if reversed_by is None:
            shares, value = sums[ref]
            sums[ref] = shares + abs(quantity), value + abs(quantity) * price
    for ref, (_, _, _, filled, value) in orders.items():
        if sums.get(ref, (0, ZERO)) != (filled, value):
            yield f"{ref}: filled {filled} for {value}, its executions make {_said(sums.get(ref))}"


def slots(account: Account, run: Run) -> Iterator[str]:
    """A trade is the sum of its orders, and its result what it sold for less what it cost."""
    sums: dict[tuple[int, str], Sums] = defaultdict(lambda: (0, ZERO))
    filled = Order.objects.filter(run=run, filled_quantity__gt=0)
    for trade_id, side, shares, value in filled.values_list(
        "trade_id", "side", "filled_quantity", "filled_value"
    ):
        before = sums[trade_id, side]
        sums[trade_id, side] = before[0] + shares, before[1] + value
    for trade in Trade.objects.filter(run=run).only(*_OF_A_SLOT):
        name = f"{trade.symbol} slot {trade.slot} of {trade.day}"
        bought, sold = sums[trade.pk, "buy"], sums[trade.pk, "sell"]
        if (trade.entry_value, trade.exit_value) != (bought[1], sold[1]):
            yield (
                f"{name}: {trade.entry_value} in and {trade.exit_value} out,"
                f" its orders {bought[1]} and {sold[1]}"
            )
        split = trade.exit_parameters.get("split", False)  # its old orders are in old shares
        if not split and (trade.filled_quantity, trade.exit_quantity) != (bought[0], sold[0]):
            yield (
                f"{name}: {trade.filled_quantity} bought and {trade.exit_quantity} sold,"
                f" its orders {bought[0]} and {sold[0]}"
            )
        result = trade.exit_value - trade.entry_value
        if trade.held == 0 and trade.realized_pnl != result:
            yield f"{name}: its result is {trade.realized_pnl}, its shares made {result}"


_OF_A_SLOT = (
    "symbol", "slot", "day", "filled_quantity", "entry_value", "exit_quantity", "exit_value",
    "realized_pnl", "exit_parameters",
)  # fmt: skip


def _said(sums: Sums | None) -> str:
    return "nothing" if sums is None else f"{sums[0]} for {sums[1]}"


def attempts(account: Account, run: Run) -> Iterator[str]:
    """What was sent has one attempt; no entry was sent twice."""
    sent = Order.objects.filter(run=run, sent_ns__isnull=False, parent=None)
    names = dict(sent.exclude(purpose=EXTERNAL).values_list("pk", "client_order_id"))
    tried: dict[int, int] = defaultdict(int)
    for order in OrderAttempt.objects.filter(order__run=run, kind="submit").values_list(
        "order_id", flat=True
    ):
        tried[order] += 1
    for order, name in names.items():
        if tried[order] != 1:
            yield f"{name}: was sent, and {tried[order]} attempts are written"


def decisions(account: Account, run: Run) -> Iterator[str]:
    """No record was deleted but by age, and every trade has the one that fired it."""
    chain = DecisionChain.objects.filter(run=run).first()
    left = 0 if chain is None else chain.length - chain.pruned
    mine = Decision.objects.filter(run=run).order_by()
    count = mine.count()
    if count != left:
        yield f"{left} decision records should be here, {count} are"
    newest = mine.order_by("-pk").values_list("digest", flat=True).first()
    if chain is not None and count and newest != chain.head:
        yield "the newest decision record is not the one that was written last"
    fired = set(mine.filter(outcome="fired").values_list("k", "candidate_id"))
    kept = Trade.objects.filter(run=run)
    if chain is not None and chain.pruned:
        oldest = mine.order_by("pk").values_list("k", flat=True).first()
        kept = kept.none() if oldest is None else kept.filter(k__gt=oldest)
    for symbol, slot, day, k, candidate in kept.values_list(
        "symbol", "slot", "day", "k", "candidate_id"
    ):
        if (k, candidate) not in fired:
            yield f"{symbol} slot {slot} of {day}: no decision fired it"


def ends(account: Account, run: Run) -> Iterator[str]:
    """No order has more shares than it asked for, or people looked; no closed slot holds any."""
    for order in selectors.overfilled(run):
        yield f"{order.client_order_id} is overfilled"
    closed = Trade.objects.filter(run=run, state=TradeState.CLOSED)
    for trade in closed.exclude(filled_quantity=F("exit_quantity")):
        yield f"{trade.symbol} slot {trade.slot} is closed but not flat"


def _of_account(check: Callable[[Account, Run], Iterator[str]]) -> Check:
    def found(account: Account) -> list[str]:
        run = Run.objects.filter(pk=account.run_id, account_number=account.number).first()
        return [] if run is None else list(check(account, run))

    return found


#: By the names under which `check_books` and the system page tell of them.
CHECKS: Mapping[str, Check] = {
    name: _of_account(check)
    for name, check in (
        ("orders", ends),
        ("raw events", raw_events),
        ("executions", executions),
        ("slots", slots),
        ("attempts", attempts),
        ("decisions", decisions),
    )
}
