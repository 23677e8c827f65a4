"""Applies the tables of `domain.orders` to rows; an illegal move sets the row aside, no more."""

import logging

from execution.domain.orders import (
    LIVE,
    TERMINAL,
    IllegalTransition,
    OrderEvent,
    OrderStatus,
    TradeEvent,
    TradeState,
    event_of,
    is_late_fill,
    next_status,
    next_trade_state,
)
from execution.models import Order, Trade

logger = logging.getLogger(__name__)

__all__ = [
    "LIVE",
    "TERMINAL",
    "OrderEvent",
    "OrderStatus",
    "TradeEvent",
    "TradeState",
    "event_of",
    "move",
    "move_trade",
]
REASON_MAX = 200


def move(order: Order, event: OrderEvent, now_ns: int, *, reason: str = "") -> None:
    """Apply an event to an order in memory; the caller holds its lock and saves it."""
    before = OrderStatus(order.status)
    try:
        after = next_status(before, event)
    except IllegalTransition as exc:
        logger.error("illegal order event", extra={"order_id": order.pk, "error": str(exc)})
        order.quarantined = True
        order.reason = str(exc)[:REASON_MAX]
        return
    if is_late_fill(before, event):
        order.late_fill = True
    order.status = after
    if reason:
        order.reason = reason[:REASON_MAX]
    if after in TERMINAL and before not in TERMINAL:
        order.terminal_ns = now_ns


def move_trade(trade: Trade, event: TradeEvent) -> bool:
    """Apply an event to a trade in memory; True when its state changed."""
    before = TradeState(trade.state)
    try:
        trade.state = next_trade_state(before, event)
    except IllegalTransition as exc:
        logger.error("illegal trade event", extra={"trade_id": trade.pk, "error": str(exc)})
        trade.quarantined = True
        return False
    return trade.state != before
