"""I1 to I7 as named checks over a run's rows and the broker's own records (DESIGN 7).

Each check returns sentences about what is broken; none is what we want. The books have their own
checks in `accounts.check`; the ones here compare orders, fills and protection with the venue.
"""

from collections.abc import Callable

from django.db.models import Count, F, Max

from accounts import check as books_check
from accounts.models import Account
from execution import selectors
from execution.brokers.port import Broker, BrokerError, is_whole
from execution.domain.orders import OrderStatus, TradeState
from execution.models import (
    BrokerEvent,
    Decision,
    ExternalOrder,
    Order,
    OrderAttempt,
    Round,
    RoundState,
    Run,
    Trade,
)

NAKED_ALARM_MS = 5000
REPORTED_MAX = 20


def check_run(run: Run, broker: Broker) -> dict[str, list[str]]:
    """Check every invariant of a run against the broker; `checked` names them all."""
    checked, broken = [], []
    for name, check in CHECKS:
        try:
            found = check(run, broker)
        except BrokerError as exc:
            found = [f"cannot be checked: {exc}"]
        checked.append(name)
        broken += [f"{name}: {line}" for line in found[:REPORTED_MAX]]
    return {"checked": checked, "broken": broken}


def nothing_lost(run: Run, broker: Broker) -> list[str]:
    """I1: every execution of the venue is in the journal, every closed round was decided."""
    fills = broker.fills(after_ns=0)
    ours = set(
        BrokerEvent.objects.filter(run=run, key__startswith="fill:").values_list("key", flat=True)
    )
    taken_back = set(
        BrokerEvent.objects.filter(run=run, key__startswith="bust:").values_list("key", flat=True)
    )
    ours -= {key.replace("bust:", "fill:", 1) for key in taken_back}
    known_orders = set(
        Order.objects.filter(run=run).values_list("refs__broker_id", flat=True).distinct()
    )
    found = [
        f"execution {fill.execution_id} of {fill.symbol} is missing here"
        for fill in fills
        if fill.kind != "bust"
        and is_whole(fill.quantity)  # a fraction of ours is set aside: I5 names its order
        and fill.order_id in known_orders
        and f"fill:{fill.execution_id}" not in ours
    ]
    theirs = {f"fill:{fill.execution_id}" for fill in fills if fill.kind != "bust"}
    found += [f"{key} is here but not at the venue" for key in sorted(ours - theirs)]
    owed = Round.objects.filter(run=run, state=RoundState.CLOSED).count()
    if owed:
        found.append(f"{owed} rounds were closed and never decided")
    return found


def one_entry_per_slot(run: Run, broker: Broker) -> list[str]:
    """I2: at most one entry per slot, one attempt per entry, and the venue saw no more."""
    found = [
        f"slot {row['slot']} of {row['day']} was used {row['n']} times"
        for row in Trade.objects.filter(run=run, filled_quantity__gt=0)
        .values("day", "slot")
        .annotate(n=Count("pk"))
        .filter(n__gt=1)
    ]
    attempts = OrderAttempt.objects.filter(order__run=run, order__purpose="e", kind="submit")
    twice = attempts.values("order").annotate(n=Count("pk")).filter(n__gt=1).count()
    if twice:
        found.append(f"{twice} entries were sent more than once")
    ours = {
        order.client_order_id
        for order in Order.objects.filter(run=run, purpose="e", attempts__kind="submit")
        if order.status != OrderStatus.REFUSED
    }
    others = set(
        Order.objects.filter(run=run, purpose__in=("c", "ext")).values_list(
            "client_order_id", flat=True
        )
    )  # bought back, or bought by somebody else and taken in
    others |= set(
        ExternalOrder.objects.filter(run=run).values_list("client_order_id", flat=True)
    )  # somebody else's, or another run's
    seen = [order for order in broker.orders(status="all") if order.side == "buy"]
    names = [one.client_order_id for one in seen if one.client_order_id not in others]
    found += [f"{name} is at the venue but was never sent" for name in set(names) - ours]
    found += [f"{name} is at the venue twice" for name in set(names) if names.count(name) > 1]
    return found


def always_protected(run: Run, broker: Broker) -> list[str]:
    """I3: no position stayed without live protection beyond the deadline; none is naked now."""
    found = [
        f"{trade.symbol} slot {trade.slot} was naked for {trade.naked_ns // 1_000_000} ms"
        for trade in Trade.objects.filter(run=run, naked_ns__gt=NAKED_ALARM_MS * 1_000_000)
    ]
    naked = (TradeState.UNPROTECTED, TradeState.PARTIAL)
    found += [
        f"{trade.symbol} slot {trade.slot} is {trade.state}"
        for trade in Trade.objects.filter(run=run, state__in=[str(s) for s in naked])
    ]
    return found


def doubt_blocks_entries(run: Run, broker: Broker) -> list[str]:
    """I4: nothing was sent for a round that was not decided, and never by a gate left closed."""
    found = []
    for trade in Trade.objects.filter(run=run, orders__purpose="e", orders__sent_ns__isnull=False):
        fired = Decision.objects.filter(
            run=run, k=trade.k, candidate_id=trade.candidate_id, outcome="fired"
        ).first()
        if fired is None:
            found.append(f"{trade.symbol} slot {trade.slot} was sent without a decision")
            continue
        closed = [gate["id"] for gate in fired.record["gates"] if not gate["open"]]
        if closed:
            found.append(f"{trade.symbol} slot {trade.slot} fired with {', '.join(closed)} closed")
    return found


def books_equal_broker(run: Run, broker: Broker) -> list[str]:
    """I5: orders, positions and cash agree with the venue, to the cent and the share."""
    account = Account.objects.get(run_id=run.pk, number=run.account_number)
    found = books_check.differences(
        account,
        cash=broker.account().cash,
        positions={p.symbol: p.quantity for p in broker.positions()},
    )
    over = selectors.overfilled(run).count()
    if over:
        found.append(f"{over} orders are overfilled")
    slots = Trade.objects.filter(run=run, state=TradeState.CLOSED).exclude(
        filled_quantity=F("exit_quantity")
    )
    found += [f"{trade.symbol} slot {trade.slot} is closed but not flat" for trade in slots]
    lost = Order.objects.filter(run=run, quarantined=True)
    found += [f"{order.client_order_id} is set aside: {order.reason}" for order in lost]
    return found


def all_bounded(run: Run, broker: Broker) -> list[str]:
    """I6: no order was left without an end it can reach: nothing waits for ever."""
    unsettled = Order.objects.filter(
        run=run, status__in=[str(OrderStatus.SENDING), str(OrderStatus.UNKNOWN)]
    )
    return [f"{order.client_order_id} is still {order.status}" for order in unsettled]


def deterministic(run: Run, broker: Broker) -> list[str]:
    """I7: one round per bucket without a gap, each decided from what was stored for it."""
    rounds = Round.objects.filter(run=run)
    edges = rounds.aggregate(last=Max("k"), n=Count("pk"))
    first = rounds.order_by("k").values_list("k", flat=True).first()
    if first is None or not run.lockstep:
        return []
    wanted = edges["last"] - first + 1
    return [] if edges["n"] == wanted else [f"{edges['n']} rounds for {wanted} buckets"]


Check = Callable[[Run, Broker], list[str]]
CHECKS: tuple[tuple[str, Check], ...] = (
    ("I1", nothing_lost),
    ("I2", one_entry_per_slot),
    ("I3", always_protected),
    ("I4", doubt_blocks_entries),
    ("I5", books_equal_broker),
    ("I6", all_bounded),
    ("I7", deterministic),
)
