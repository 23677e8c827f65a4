"""What a person's own hand did at the broker, taken into the books once a person says so.

The hub shows where broker and books differ and what the broker's own executions explain of it; an
acknowledgement with a reason lets it book exactly that, against external adjustment. Trades of ours
are never changed by it, and no execution is made up: what nothing explains is an adjustment.
(Reliability 3.8.)
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from django.db import transaction

from accounts import selectors as held_in
from accounts import services as books
from accounts.domain.money import nearest
from accounts.models import Account, JournalEntry
from execution.brokers.port import Broker, FillActivity, Shares, is_whole
from execution.models import BrokerRef, Difference, ExternalOrder, Order, Release, Run
from execution.services import activity, external, lease, trades, venue_state
from execution.services.bookable import bookable
from execution.services.moves import OrderStatus
from signals.session import day_of

CENT = Decimal("0.01")
BACK_NS = 7 * 24 * 3600 * 1_000_000_000  # executions that old are somebody's history, not news
SHOWN_MAX = 50
LOOKUPS_MAX = 8  # of orders in one comparison: exits wait for no more
NO_ANSWER = (str(OrderStatus.SENDING), str(OrderStatus.UNKNOWN))


@dataclass(frozen=True, kw_only=True)
class Facts:
    """Broker less books. `left_…` is what the executions do not explain; prices in USD."""

    cash: Decimal
    shares: dict[str, Shares]
    executions: list[FillActivity] = field(default_factory=list)
    names: dict[str, str] = field(default_factory=dict)  # of their orders, by broker id
    left_cash: Decimal = Decimal(0)
    left_shares: dict[str, Shares] = field(default_factory=dict)
    prices: dict[str, Decimal] = field(default_factory=dict)
    orders: list[ExternalOrder] = field(default_factory=list)
    blocked: str = ""
    owed: int = 0  # orders behind executions that are still to be looked up

    @property
    def digest(self) -> str:
        """Name what was found: an acknowledgement counts for this and nothing else."""
        told = [
            f"{self.cash.quantize(CENT)}",
            sorted((symbol, str(count)) for symbol, count in self.shares.items()),
            sorted(one.execution_id for one in self.executions),
            sorted(one.pk for one in self.orders),
        ]
        return hashlib.sha256(json.dumps(told).encode()).hexdigest()


# --- finding out ----------------------------------------------------------------------------------


def find(run: Run, broker: Broker, *, now_ns: int) -> Facts:
    """Read what the broker has that the books have not, and what its executions say of it.

    Raises:
        BrokerError: a query failed; that never reads as "nothing there".
    """
    account = Account.objects.get(run_id=run.pk, number=run.account_number)
    read = external.known_parts_left_out(run, broker.positions())
    positions = {p.symbol: p for p in read}
    balance, booked = broker.account().cash, held_in.cash(account)
    ours = {symbol: held.quantity for symbol, held in held_in.positions(account).items()}
    there = {symbol: p.quantity for symbol, p in positions.items()}
    shares = _less(there, ours)
    unbooked = _unbooked(account, run, broker.fills(after_ns=_since(account, now_ns)))
    names, own, owed = _orders_of(run, broker, unbooked, now_ns)
    executions = [one for one in unbooked if one.order_id not in own or _is_let_go(run, one)]
    left = _less(shares, _sums([one for one in executions if is_whole(one.quantity)]))
    paid = sum((_signed(one) * one.price for one in executions), Decimal(0))
    left_cash = balance - (booked - paid)
    if (booked - paid).quantize(CENT) == balance.quantize(CENT):
        left_cash = Decimal(0)  # the broker tells cents, the books know more
    prices = {one.symbol: one.price for one in executions}
    prices |= {symbol: h.average_price for symbol, h in held_in.positions(account).items()}
    prices |= {symbol: p.average_price for symbol, p in positions.items()}
    return Facts(
        cash=balance - booked,
        shares=shares,
        executions=executions,
        names=names,
        left_cash=left_cash,
        left_shares=left,
        prices=prices,
        orders=external.locking(run),
        owed=owed,
        blocked=f"{owed} orders are still looked up"
        if owed
        else _blocked(
            run,
            {one.symbol for one in executions} | set(left),
            left_cash,
            left,
            own - {one.order_id for one in executions},
        ),
    )


def _is_let_go(run: Run, fill: FillActivity) -> bool:
    """Can this execution of our own order never be booked as that, and has a person said so?"""
    if bookable(fill.quantity, fill.price):
        return False
    released = Release.objects.filter(order__run=run, order__refs__broker_id=fill.order_id)
    return released.filter(order__quarantined=False).exists()


def _since(account: Account, now_ns: int) -> int:
    """Return when the opening balance was taken: what came before is in it."""
    opening = account.entries.filter(source_key="cash:opening").first()
    opened_ns = 0 if opening is None else opening.occurred_ns
    return max(opened_ns, now_ns - BACK_NS)


def _unbooked(account: Account, run: Run, fills: Sequence[FillActivity]) -> list[FillActivity]:
    """Return the executions that stand at the broker and are not in the books."""
    done = Difference.objects.filter(run=run, outcome="booked").values_list("body", flat=True)
    odd = {one for body in done for one in body.get("odd", ())}
    taken_back = {fill.previous_id for fill in fills if fill.previous_id}
    standing = [f for f in fills if f.kind != "bust" and f.execution_id not in taken_back]
    keys = [key for f in standing for key in (f.execution_id, _adopted_as(f.execution_id))]
    booked = set(account.fills.filter(execution_id__in=keys).values_list("execution_id", flat=True))
    return [
        f
        for f in standing
        if f.execution_id not in booked | odd and _adopted_as(f.execution_id) not in booked
    ]


def _adopted_as(execution_id: str) -> str:
    return f"adopt:{execution_id}"


def _orders_of(
    run: Run, broker: Broker, fills: Sequence[FillActivity], now_ns: int
) -> tuple[dict[str, str], set[str], int]:
    """Return the names of the orders behind executions, the ids of those that are ours, and how
    many are still to be looked up.
    """
    ids = {fill.order_id for fill in fills}
    known = BrokerRef.objects.filter(run=run, broker_id__in=ids)
    own = set(known.values_list("broker_id", flat=True))
    rows = ExternalOrder.objects.filter(run=run, broker_id__in=ids)
    names = {str(row.broker_id): row.client_order_id for row in rows}
    unknown = sorted(ids - own - names.keys())
    for order_id in unknown[:LOOKUPS_MAX]:
        seen = broker.order(order_id)
        if seen is None:
            continue
        if venue_state.find(run.pk, seen) is not None:
            own.add(order_id)
            continue
        external.note_order(run, seen, now_ns=now_ns, locks=False)
        names[order_id] = seen.client_order_id
    return names, own, max(0, len(unknown) - LOOKUPS_MAX)


def _blocked(
    run: Run, symbols: set[str], left_cash: Decimal, left: dict[str, Shares], own: set[str]
) -> str:
    """Return why it cannot be taken over now, "" when it can."""
    if own:
        return "executions of our own orders are not booked yet"
    busy = list(trades.active(run))
    held = sorted({trade.symbol for trade in busy if trade.held} & symbols)
    if held:
        return f"our own trade still holds {', '.join(held)}: wait until it is over"
    lost = Order.objects.filter(run=run, status__in=NO_ANSWER).exists()
    if (left or left_cash) and (busy or lost):
        return "not all of it is explained: wait until no trade of ours is open"
    return ""


# --- showing and deciding -------------------------------------------------------------------------


def show(run: Run, facts: Facts, lines: Sequence[str], *, now_ns: int) -> Difference:
    """Put what was found on the pages: the row of the same facts, or a new one in its place."""
    body = {"lines": list(lines), "told": told(facts), "blocked": facts.blocked}
    with transaction.atomic():
        standing = Difference.objects.select_for_update().filter(open_key=run.pk).first()
        if standing is not None and standing.digest == facts.digest:
            if standing.body != body:
                standing.body = body
                standing.save(update_fields=["body"])
            return standing
        _end(run, "changed")
        return Difference.objects.create(
            run=run, open_key=run.pk, digest=facts.digest, body=body, found_ns=now_ns
        )


def told(facts: Facts) -> list[str]:
    """Return what the broker's executions explain, and what is left, for people."""
    shown = facts.executions[:SHOWN_MAX]
    said = [
        f"{one.side.value} {one.quantity} {one.symbol} at {_shown(one.price)}, order"
        f" {facts.names.get(one.order_id, one.order_id)}"
        for one in shown
    ]
    if len(facts.executions) > len(shown):
        said.append(f"and {len(facts.executions) - len(shown)} more executions")
    left = [f"{count:+} {symbol}" for symbol, count in sorted(facts.left_shares.items())]
    if facts.left_cash:
        left.insert(0, f"{facts.left_cash:+.2f} USD")
    if left:
        said.append(f"no execution explains: {', '.join(left)}")
    elif said:
        said.append("these executions, which no order of ours made, explain it exactly")
    return said


def _shown(price: Decimal) -> str:
    cents = price.quantize(CENT)
    return f"{cents if cents == price else price.normalize():f}"


def standing(run: Run) -> Difference | None:
    """Return the difference that stands now."""
    return Difference.objects.filter(open_key=run.pk).first()


def is_acknowledged(run: Run) -> bool:
    rows = Difference.objects.filter(open_key=run.pk, acknowledged_at__isnull=False)
    return rows.exists()


def acknowledge(*, difference_id: int, reason: str, actor: str) -> Difference:
    """Say that a difference is known and is to be taken over; the hub books it.

    Raises:
        ValueError: it does not stand any more, cannot be taken over yet, or no reason is given.
    """
    if not reason.strip():
        raise ValueError("taking it over needs a reason")
    with transaction.atomic():
        row = Difference.objects.select_for_update().filter(pk=difference_id).first()
        if row is None or row.open_key is None:
            raise ValueError("this difference does not stand any more: look again")
        if row.body["blocked"]:
            raise ValueError(row.body["blocked"])
        if row.acknowledged_at is None:
            row.actor, row.reason = actor[:150], reason.strip()[:150]
            row.acknowledged_at = datetime.now(UTC)
            row.save(update_fields=["actor", "reason", "acknowledged_at"])
            text = f"{row.actor} takes over what differs from the broker: {row.reason}"
            activity.note(row.run_id, "reconcile", text, market_ns=row.run.market_ns)
    return row


def gone(run: Run) -> None:
    """Books and broker agree: nothing is to be taken over any more."""
    _end(run, "gone")


def _end(run: Run, outcome: str) -> None:
    Difference.objects.filter(open_key=run.pk).update(
        open_key=None, outcome=outcome, ended_at=datetime.now(UTC)
    )


# --- booking --------------------------------------------------------------------------------------


def book(row: Difference, facts: Facts, *, epoch: int, now_ns: int) -> bool:
    """Take over what was acknowledged; False when the facts are others by now.

    Raises:
        LeaseLost: another hub may write now.
    """
    with transaction.atomic():
        lease.renew(epoch)
        row = Difference.objects.select_for_update().get(pk=row.pk)
        stands = row.open_key is not None and row.acknowledged_at is not None
        if not stands or row.digest != facts.digest or facts.blocked:
            return False
        account = Account.objects.get(run_id=row.run_id, number=row.run.account_number)
        why = f"{row.actor}: {row.reason}"[:200]
        for one in facts.executions:
            _book_execution(account, one, why)
        row.body = {**row.body, **_book_the_rest(account, row, facts, why, now_ns)}
        row.save(update_fields=["body"])
        ExternalOrder.objects.filter(pk__in=[one.pk for one in facts.orders]).update(difference=row)
        ExternalOrder.objects.filter(
            run=row.run, broker_id__in={one.order_id for one in facts.executions}, difference=None
        ).update(difference=row)
        _end(row.run, "booked")
    text = f"taken over from the broker, acknowledged by {row.actor}: {row.reason}"
    activity.note(row.run_id, "reconcile", text, level="warning", market_ns=now_ns)
    return True


def _book_execution(account: Account, fill: FillActivity, why: str) -> None:
    """Book what was traded and paid; of a fraction only the money, its shares are in the rest."""
    if is_whole(fill.quantity):
        books.adopt_position(
            account,
            source_id=fill.execution_id,
            symbol=fill.symbol,
            quantity=int(_signed(fill)),
            price=nearest(fill.price),
            ts_ns=fill.ts_ns,
            session_date=day_of(fill.ts_ns),
            reason=why,
        )
    paid = nearest(_signed(fill) * fill.price)
    _book_cash(account, fill.execution_id, -paid, fill.ts_ns, why)


def _book_the_rest(
    account: Account, row: Difference, facts: Facts, why: str, now_ns: int
) -> dict[str, Any]:
    """Book what no whole execution explains; return what the books cannot hold, to be known of."""
    for symbol, count in sorted(facts.left_shares.items()):
        if not int(count):
            continue
        books.adopt_position(
            account,
            source_id=f"difference:{row.pk}:{symbol}",
            symbol=symbol,
            quantity=int(count),
            price=nearest(facts.prices[symbol]),
            ts_ns=now_ns,
            session_date=day_of(now_ns),
            reason=why,
        )
    if facts.left_cash:
        _book_cash(account, f"difference:{row.pk}", facts.left_cash, now_ns, why)
    parts = {symbol: count - int(count) for symbol, count in facts.left_shares.items()}
    return {
        "fractions": {symbol: str(part) for symbol, part in parts.items() if part},
        "odd": [one.execution_id for one in facts.executions if not is_whole(one.quantity)],
    }


def _book_cash(account: Account, source: str, amount: Decimal, ts_ns: int, why: str) -> None:
    books.record_cash(
        account,
        source_id=f"adopt:{source}",
        kind=JournalEntry.Kind.ADJUSTMENT,
        amount=amount,
        ts_ns=ts_ns,
        session_date=day_of(ts_ns),
        reason=why,
    )


def _signed(fill: FillActivity) -> Shares:
    return fill.quantity if fill.side.value == "buy" else -fill.quantity


def _sums(fills: Sequence[FillActivity]) -> dict[str, Shares]:
    found: dict[str, Shares] = {}
    for fill in fills:
        found[fill.symbol] = found.get(fill.symbol, 0) + _signed(fill)
    return found


def _less(these: Mapping[str, Shares], those: Mapping[str, Shares]) -> dict[str, Shares]:
    """Return `these` less `those`, by symbol; what is equal is left out."""
    return {
        symbol: external.whole(these.get(symbol, 0) - those.get(symbol, 0))
        for symbol in sorted(these.keys() | those.keys())
        if these.get(symbol, 0) != those.get(symbol, 0)
    }
