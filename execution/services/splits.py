"""Books a split of shares that we hold: lots, trade and its prices move together or not at all.

Only what explains the broker's position to the share is booked; anything else is said, and the
comparison with the broker locks entries until people have looked.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import date, time
from decimal import Decimal
from typing import Any

from django.db import transaction

from accounts import selectors as held_in
from accounts import services as books
from accounts.models import Account
from execution.brokers.port import CashActivity
from execution.domain import splits
from execution.models import BrokerEvent, Order, Run, Trade
from execution.services import activity, moves, trades
from execution.services.moves import TradeEvent as V
from execution.services.moves import TradeState as T
from signals.session import new_york_ns

#: How the broker's words for a split begin. A spin-off or a transfer also brings shares, but leaves
#: the price of what we hold as it is. Source: the activity types of its API; SSP is the old code.
WORDS = ("SPLIT", "SSP")
STATES = (T.UNPROTECTED, T.OPEN_PROTECTED, T.EXITING, T.HELD_OVERNIGHT)
LEGS = ("tp", "sl", "o")
PLANNED_DOWN = ("limit", "take_profit", "signal_price")
Group = Sequence[CashActivity]


def is_split(one: CashActivity) -> bool:
    """Is this a row of a split?"""
    return bool(one.shares) and one.kind.startswith(WORDS)


def unbooked(run: Run, told: Sequence[CashActivity]) -> list[Group]:
    """Return the rows of splits that are not in the books, together by symbol and day."""
    groups: dict[str, list[CashActivity]] = defaultdict(list)
    for one in filter(is_split, told):
        groups[_key(one)].append(one)
    booked = BrokerEvent.objects.filter(run=run, key__in=groups)
    known = set(booked.values_list("key", flat=True)) if groups else set()
    return [groups[key] for key in sorted(groups.keys() - known)]


def take_in(
    run: Run, groups: Sequence[Group], positions: Mapping[str, int], *, now_ns: int
) -> list[Group]:
    """Book the splits that explain the broker's positions.

    Args: positions: the broker's signed shares by symbol.
    Returns: those that do not.
    """
    return [
        group
        for group in groups
        if not _take_in(run, group, positions.get(group[0].symbol, 0), now_ns)
    ]


def _take_in(run: Run, group: Group, position: int, now_ns: int) -> bool:
    with transaction.atomic():
        trade = _trade_of(run, group)
        if trade is None:
            return False
        before = trade.held
        after = splits.shares_after([one.shares for one in group], before, position)
        if after is None:
            return False
        _book(run, trade, group, position - before)
        _scale_orders(trade, before, after)
        _scale(trade, before, after, now_ns)
    text = f"{trade.symbol}: split, {before} shares became {position}"
    facts = {"symbol": trade.symbol, "trade": trade.pk, "slot": trade.slot}
    activity.note(run.pk, "reconcile", text, level="warning", market_ns=now_ns, **facts)
    return True


def _trade_of(run: Run, group: Group) -> Trade | None:
    """Lock and return the trade that was open before the split and has all shares of the books."""
    open_now = Trade.objects.select_for_update().filter(run=run, open_key__isnull=False)
    trade = open_now.filter(symbol=group[0].symbol, state__in=STATES).first()
    if trade is None or trade.opened_ns is None or trade.opened_ns >= _told_ns(group):
        return None
    entry = trade.orders.get(purpose="e")
    account = Account.objects.get(run_id=run.pk, number=trade.account_number)
    booked = held_in.positions(account).get(trade.symbol)
    agrees = booked is not None and booked.quantity == trade.held
    return trade if agrees and entry.status in moves.TERMINAL else None


def _book(run: Run, trade: Trade, group: Group, change: int) -> None:
    """Keep the split raw, and book it before the day's first fill: those are in new shares."""
    day = group[0].day
    starts_ns = new_york_ns(day, time(0))
    ts_ns = starts_ns if (trade.opened_ns or 0) < starts_ns else _told_ns(group)
    event = BrokerEvent.objects.create(
        run=run,
        key=_key(group[0]),
        source="activity",
        event="split",
        order=trade.orders.get(purpose="e"),
        ts_ns=ts_ns,
        raw={
            "symbol": trade.symbol,
            "shares": change,
            "date": day.isoformat(),
            "rows": {one.activity_id: f"{one.kind} {one.shares}" for one in group},
        },
    )
    record(Account.objects.get(run_id=run.pk, number=trade.account_number), event)


def record(account: Account, event: BrokerEvent) -> None:
    """Book a split from its raw event."""
    raw = event.raw
    books.record_split(
        account,
        source_id=event.key.removeprefix("split:"),
        symbol=raw["symbol"],
        shares=raw["shares"],
        ts_ns=event.ts_ns,
        session_date=date.fromisoformat(raw["date"]),
        reason=", ".join(raw["rows"].values())[:100],
    )


def _scale(trade: Trade, before: int, after: Decimal, now_ns: int) -> None:
    """Let the trade go on in new shares; its orders cover another number now."""
    bought, sold = splits.filled_after(trade.filled_quantity, before, int(after))
    fields: dict[str, Any] = {
        "filled_quantity": bought,
        "exit_quantity": sold,
        "exit_parameters": _parameters(trade, before, after),
        "version": trade.version + 1,
        "protect_tries": 0,
        "reanchored": True,  # the legs stay where they were, in new shares
        "naked_since_ns": trade.naked_since_ns or now_ns,
    }
    for name in ("limit", "take_profit", "high"):
        fields[name] = _scaled(splits.scaled_down, getattr(trade, name), before, after)
    for name in ("stop_loss", "first_stop"):
        fields[name] = _scaled(splits.scaled_up, getattr(trade, name), before, after)
    trades.change(trade, V.EXIT if trade.state == T.EXITING else V.UNPROTECT, **fields)


def _parameters(trade: Trade, before: int, after: Decimal) -> dict[str, Any]:
    """Return what the trade keeps of its plan, with its prices in new shares."""
    plan = dict(trade.exit_parameters.get("plan", {}))
    for name in {*PLANNED_DOWN, "stop_loss"} & plan.keys():
        rule = splits.scaled_down if name in PLANNED_DOWN else splits.scaled_up
        plan[name] = str(rule(Decimal(str(plan[name])), before, after))
    return {**trade.exit_parameters, "plan": plan, "split": True}


def _scale_orders(trade: Trade, before: int, after: Decimal) -> None:
    """Let the rows of live legs say what a venue makes of them that adjusts them by itself.

    One that ends them, or leaves them as they were, is found out when the protection is looked up.
    """
    live = list(trade.orders.filter(status__in=trades.LIVE, purpose__in=LEGS))
    for order in live:
        order.quantity = order.filled_quantity + order.leaves * int(after) // before
        order.limit = _scaled(splits.scaled_down, order.limit, before, after)
        order.stop = _scaled(splits.scaled_up, order.stop, before, after)
    Order.objects.bulk_update(live, ["quantity", "limit", "stop"])


def _scaled(rule: Any, price: Decimal | None, before: int, after: Decimal) -> Decimal | None:
    return None if price is None else rule(price, before, after)


def _key(one: CashActivity) -> str:
    return f"split:{one.symbol}:{one.day}"


def _told_ns(group: Group) -> int:
    return max(one.ts_ns for one in group)
