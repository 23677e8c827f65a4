"""Getting out before the bracket does: PATCH the take-profit to a marketable price (the stop stays
live), else cancel → confirm → sell; never a sell before the venue has let go of the shares.
(Design: DESIGN 11 "Early exit", trigger 6.4, reliability 3.11.)
"""

from decimal import Decimal

from execution.brokers.port import BrokerError
from execution.domain import orders as domain
from execution.domain.prices import floor_tick
from execution.failpoints import reach
from execution.hub.desk import SECOND, Desk
from execution.models import Order, Trade
from execution.services import journal, moves, trades, venue_state
from execution.services.moves import OrderStatus as Status
from execution.services.moves import TradeEvent as V
from execution.services.moves import TradeState as T

THROUGH_BID = Decimal("0.998")  # 20 bps through the bid: marketable, and still a limit
STEP_NS = 2 * SECOND
SELLS_MAX = 6
PAUSE_NS = 30 * SECOND  # after so many sells in this time: protected again, then once more
#: When that is refused, too, or a person is in a hurry: it doubles with each sell.
NAKED_PAUSE_NS, NAKED_PAUSE_MAX_NS = SECOND // 4, 5 * SECOND
LEAVING_FROM = (T.OPEN_PROTECTED, T.UNPROTECTED, T.PARTIAL, T.HELD_OVERNIGHT)
FLATTEN_WHYS = ("flatten", "hard_flatten", "kill", "unprotected", "dust")
HARD_WHYS = ("hard_flatten", "kill", "unprotected")  # at the market, and soon again


def begin(desk: Desk, trade: Trade, why: str, *, hard: bool = False) -> Trade:
    """Persist that we are leaving, then take the first step; a second call changes nothing.

    Args: why: a short word for the books (stop, target, time_stop, flatten, kill …); hard: no
        patient limit first.
    """
    if trade.state == T.EXITING:
        if hard and trade.exit_step in ("patched", "patch"):
            trade = trades.change(trade, V.EXIT, exit_step="cancel", exit_due_ns=desk.now_ns())
            return proceed(desk, trade)
        return trade
    failed = desk.now_ns() < (trade.exit_due_ns or 0)
    if failed and desk.now_ns() < _may_begin_ns(desk, trade, why):
        return trade
    if failed and why == "unprotected":
        why = trade.exit_why or why  # we are still leaving for the same reason
    first = "patch" if desk.live_orders(trade, "tp", "o") and not hard else "cancel"
    trade = trades.change(trade, V.EXIT, exit_why=why, exit_step=first, exit_due_ns=desk.now_ns())
    desk.note_trade(
        trade, "exit", f"leaving {trade.held} shares ({why})", why=why, shares=trade.held
    )
    return proceed(desk, trade)


def _may_begin_ns(desk: Desk, trade: Trade, why: str) -> int:
    """Return when to try again: in between it is protected; where no stop is accepted, sooner."""
    due_ns = trade.exit_due_ns or 0
    if why not in HARD_WHYS:
        return due_ns
    pause_ns = min(NAKED_PAUSE_NS << _sells(desk, trade), NAKED_PAUSE_MAX_NS)
    return due_ns - PAUSE_NS + pause_ns


def _sells(desk: Desk, trade: Trade) -> int:
    """Return how often it was sold lately, or tried to be."""
    sold = trade.orders.filter(purpose__in=("x", "f"))
    return sold.filter(created_ns__gt=desk.now_ns() - PAUSE_NS).count()


def leave(desk: Desk, trade: Trade, why: str) -> Trade:
    """Leave a position; one whose entry still works is naked: it is taken back and sold hard."""
    naked = trade.state == T.PARTIAL
    for entry in trade.orders.filter(purpose="e", cancel_requested_ns__isnull=True):
        if naked and entry.status in moves.LIVE and entry.broker_id:
            journal.cancel(entry, desk.broker, epoch=desk.epoch, now_ns=desk.now_ns())
    return begin(desk, trade, why, hard=naked)


def proceed(desk: Desk, trade: Trade) -> Trade:
    """Take the due steps of an exit; each one is in the database before it is done."""
    for _ in range(len(_STEPS) + 1):
        if trade.state != T.EXITING or trade.held <= 0:
            return trade
        step = trade.exit_step
        try:
            trade = _STEPS[step](desk, trade)
        except BrokerError as exc:
            desk.unsettled.add(trade.pk)
            desk.note_trade(trade, "exit", f"{step}: {exc}", level="warning", step=step)
            return trade
        if trade.exit_step == step:
            return trade
    return trade


def _patch(desk: Desk, trade: Trade) -> Trade:
    target = desk.live_orders(trade, "tp", "o")
    price = _marketable(desk, trade)
    if not target or price is None:
        return _step(desk, trade, "cancel")
    outcome = journal.replace(
        target[-1], desk.broker, epoch=desk.epoch, now_ns=desk.now_ns(), limit=price
    )
    if outcome != "confirmed":
        return _step(desk, trade, "cancel")
    reach("exit.after_patch")
    return _step(desk, trade, "patched", STEP_NS)


def _patched(desk: Desk, trade: Trade) -> Trade:
    return _step(desk, trade, "cancel") if _due(desk, trade) else trade


def _cancel(desk: Desk, trade: Trade) -> Trade:
    """Ask for the cancel of what holds the shares; one member of a group takes the rest along."""
    live = [order for order in desk.live_orders(trade) if order.broker_id]
    for order in live[:1]:
        journal.cancel(order, desk.broker, epoch=desk.epoch, now_ns=desk.now_ns())
    reach("exit.after_cancel")
    return _step(desk, trade, "canceling", STEP_NS)


def _canceling(desk: Desk, trade: Trade) -> Trade:
    """Go on when nothing of ours is live any more — by events, or by asking when they are late."""
    if not desk.live_orders(trade):
        return _step(desk, trade, "sell")
    if not _due(desk, trade):
        return trade
    refresh(desk, trade)
    trade.refresh_from_db()
    if not desk.live_orders(trade):
        return _step(desk, trade, "sell")
    return _step(desk, trade, "cancel")


def _sell(desk: Desk, trade: Trade) -> Trade:
    """Sell exactly what the venue says we hold; a limit first, then at the market."""
    if desk.live_orders(trade, "x", "f"):  # a crash came between: its fate first, then another
        return _step(desk, trade, "selling", STEP_NS)
    held = desk.position(trade.symbol)
    shares = int(min(trade.held, held.available if held else 0))  # never a fraction
    if shares <= 0:
        desk.fills_missing = True  # the venue is flat, we are not: fetch what we missed
        desk.unsettled.add(trade.pk)
        name_legs(desk, trade)
        held_back = desk.live_orders(trade)  # by legs that we took for a stranger's
        return _step(desk, trade, "cancel") if held_back else trade
    sold = trade.orders.filter(purpose__in=("x", "f"))
    if _sells(desk, trade) >= SELLS_MAX:
        desk.note_trade(trade, "exit", f"{SELLS_MAX} sells did not get us out", level="alarm")
        return _reprotect(trade, desk)
    limit = None if sold.exists() or _hard(trade) else _marketable(desk, trade)
    reach("exit.before_sell")
    order = _intend_sell(desk, trade, shares, limit, seq=sold.count() + 1)
    order = journal.submit(order, desk.broker, epoch=desk.epoch, now_ns=desk.now_ns())
    if order.status == Status.REFUSED:
        text = f"sell refused: {order.reason}"
        desk.note_trade(trade, "exit", text, level="alarm", order=order.client_order_id)
        return _reprotect(trade, desk)
    return _step(desk, trade, "selling", STEP_NS)


def _intend_sell(desk: Desk, trade: Trade, shares: int, limit: Decimal | None, seq: int) -> Order:
    purpose = "f" if trade.exit_why in FLATTEN_WHYS else "x"
    return journal.intend(
        trade,
        purpose=purpose,
        client_order_id=domain.client_order_id(
            trade.account_number, trade.day, trade.slot, trade.try_no, f"{purpose}{seq}"
        ),
        epoch=desk.epoch,
        now_ns=desk.now_ns(),
        side="sell",
        type="market" if limit is None else "limit",
        quantity=shares,
        limit=limit,
        time_in_force="day",
    )


def _selling(desk: Desk, trade: Trade) -> Trade:
    live = desk.live_orders(trade, "x", "f")
    if not live:
        return _step(desk, trade, "sell")
    if any(order.status in (Status.SENDING, Status.UNKNOWN) for order in live):
        return trade  # the resolver knows first
    return _step(desk, trade, "cancel") if _due(desk, trade) else trade


def _reprotect(trade: Trade, desk: Desk) -> Trade:
    """An exit that failed must not leave the shares naked: back to protection, later again."""
    return trades.change(
        trade,
        V.UNPROTECT,
        exit_step="",
        exit_due_ns=desk.now_ns() + PAUSE_NS,
        naked_since_ns=trade.naked_since_ns or desk.now_ns(),
        protect_tries=0,
    )


_STEPS = {
    "patch": _patch,
    "patched": _patched,
    "cancel": _cancel,
    "canceling": _canceling,
    "sell": _sell,
    "selling": _selling,
}


def refresh(desk: Desk, trade: Trade) -> None:
    """Ask the venue about every live order of a trade; events may have been lost."""
    for order in desk.live_orders(trade, "e", "tp", "sl", "o", "x", "f"):
        if order.broker_id is None:
            continue
        seen = desk.broker.order(order.broker_id)
        if seen is not None:
            desk.fills_missing |= venue_state.take_over(
                order, seen, now_ns=desk.now_ns()
            ).fills_missing


def name_legs(desk: Desk, trade: Trade) -> None:
    """Ask for the legs of orders whose answer did not come, or came after the stream told of them.

    Raises: OutcomeUnknown.
    """
    strange = trade.orders.filter(purpose=venue_state.EXTERNAL).exists()
    for parent in trade.orders.filter(purpose__in=("e", "o"), broker_id__isnull=False):
        if parent.legs.exists() and not strange:
            continue
        seen = desk.broker.order(str(parent.broker_id))
        if seen is not None:
            venue_state.take_over(parent, seen, now_ns=desk.now_ns())


def reason_of(trade: Trade) -> str:
    """Return what closed the trade: the leg that sold last, in the words of the summary."""
    last = (
        trade.orders.filter(side="sell", filled_quantity__gt=0)
        .order_by("-terminal_ns", "-pk")
        .first()
    )
    if last is None:
        return trade.exit_why or "unknown"
    if last.purpose == "sl":
        return "stop"
    if trade.exit_why:
        return trade.exit_why
    return {"tp": "target", "o": "target"}.get(last.purpose, "closed")


def wake_ns(trade: Trade) -> int | None:
    """Return when the exit's next step, or its next attempt, is due."""
    steps = trade.exit_step in ("patched", "canceling", "selling")
    waiting = trade.state == T.OPEN_PROTECTED or (trade.state == T.EXITING and steps)
    return trade.exit_due_ns if waiting else None


def again(desk: Desk, trade: Trade) -> Trade:
    """Try once more to leave, when an attempt failed and its pause is over."""
    if trade.exit_due_ns is None or not _due(desk, trade):
        return trade
    return begin(desk, trade, trade.exit_why, hard=_hard(trade))


def give_up(desk: Desk, trade: Trade) -> Trade:
    """The market is closed and we are not out: the shares must not sleep without their stop."""
    return _reprotect(trade, desk)


def _step(desk: Desk, trade: Trade, step: str, wait_ns: int = 0) -> Trade:
    due_ns = desk.due_ns(wait_ns) if wait_ns else desk.now_ns()
    return trades.change(trade, V.EXIT, exit_step=step, exit_due_ns=due_ns)


def _due(desk: Desk, trade: Trade) -> bool:
    return desk.now_ns() >= (trade.exit_due_ns or 0)


def _hard(trade: Trade) -> bool:
    return trade.exit_why in HARD_WHYS


def _marketable(desk: Desk, trade: Trade) -> Decimal | None:
    """Return a limit that fills now: through the newest bid, else the venue's last price."""
    bid = desk.signal_bids.get(trade.symbol) or desk.bid_of(trade.symbol)
    if bid is None or bid <= 0:
        held = desk.position(trade.symbol)
        bid = None if held is None else held.current_price
    return None if bid is None or bid <= 0 else floor_tick(bid * THROUGH_BID)


__all__ = [
    "LEAVING_FROM",
    "again",
    "begin",
    "give_up",
    "leave",
    "moves",
    "name_legs",
    "proceed",
    "reason_of",
    "refresh",
    "wake_ns",
]
