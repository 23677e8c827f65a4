"""Is there surely nothing to do for a trade until there is news or its time has come?

It saves the loop the steps that would change nothing. What is not sure here is looked at there;
the simulation lets every trade that is said to wait be looked at all the same.
"""

from typing import TYPE_CHECKING

from execution.hub import legs
from execution.hub.desk import SECOND, SELL_PURPOSES, Desk
from execution.models import Order, Trade
from execution.services import moves, trades
from execution.services.moves import OrderStatus as Status
from execution.services.moves import TradeState as T
from execution.services.seen import Seen

if TYPE_CHECKING:
    from execution.hub.trader import Trader

CANCEL_LATE_NS = SECOND
NO_ANSWER = (Status.UNKNOWN, Status.SENDING)


def waits(trader: "Trader", seen: Seen) -> bool:
    """Return whether every step of `Trader.advance` would leave this trade as it is."""
    trade, entry, desk = seen.trade, seen.entry, trader.desk
    if trade.held < 0 or trade.state in trades.ENDED or desk.fills_missing:
        return False
    if trades.event_of_entry(trade, entry) is not None:
        return False
    if entry.status == Status.INTENT and desk.late_ns(trade.send_before_ns) > 0:
        return False
    if not all(_answer_waits(trader, order) for order in seen.orders):
        return False
    if entry_step_ns(desk, entry) <= desk.now_ns():
        return False
    if trade.held == 0:
        return entry.status not in moves.TERMINAL
    return _position_waits(desk, seen)


def entry_step_ns(desk: Desk, entry: Order) -> float:
    """Return when a working entry must be canceled, or asked about after its cancel."""
    if entry.status not in moves.LIVE or entry.broker_id is None:
        return float("inf")  # ended, or its fate is being looked up on the process clock
    if entry.cancel_requested_ns is not None:
        return entry.cancel_requested_ns + CANCEL_LATE_NS + desk.slack_ns()
    return float("inf") if entry.expires_ns is None else entry.expires_ns


def _answer_waits(trader: "Trader", order: Order) -> bool:
    """Is an order without an answer a task's to send, or its next look-up later?"""
    if order.status not in NO_ANSWER:
        return True
    if order.status == Status.SENDING and trader.is_in_flight(order):
        return True
    if trader.resolver.is_due(order, trader.mono()):
        return False
    trader.desk.unsettled.add(order.trade_id)
    return True


def _position_waits(desk: Desk, seen: Seen) -> bool:
    trade, due = seen.trade, desk.now_ns() >= (seen.trade.exit_due_ns or 0)
    if trade.state == T.PARTIAL:
        return True
    if trade.state == T.OPEN_PROTECTED:
        return as_planned(trade, seen.live(("tp", "o", "sl"))) and (
            trade.exit_due_ns is None or not due
        )
    if trade.state != T.EXITING:
        return False
    if trade.exit_step == "patched":
        return not due
    if trade.exit_step == "canceling":
        return not due and bool(seen.live(SELL_PURPOSES))
    if trade.exit_step == "selling":
        live = seen.live(("x", "f"))
        lost = any(order.status in NO_ANSWER for order in live)
        return bool(live) and (lost or not due)
    return False


def as_planned(trade: Trade, live: list[Order]) -> bool:
    """Do these live orders say that both sides are there, where the trade plans them?"""
    return stands(live, trade.held) and not legs.misplaced_rows(trade, live)


def stands(live: list[Order], shares: int) -> bool:
    """Do these live orders say that both sides are there, the stop for exactly these shares?

    A leg that is partly filled shrinks the other at the venue, and in its row only once we have
    asked: until then that row says too much by what the first has sold. More would sell short.
    """
    stops = [order for order in live if order.purpose == "sl"]
    targets = [order for order in live if order.purpose != "sl"]
    stopped, aimed = (sum(order.leaves for order in side) for side in (stops, targets))
    by_stop, by_target = (sum(o.filled_quantity for o in side) for side in (stops, targets))
    exact = shares <= stopped <= shares + by_target and aimed <= shares + by_stop
    return bool(targets) and exact
