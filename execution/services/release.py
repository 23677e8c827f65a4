"""Orders that were set aside, and a person's word that they were looked at.

An order is set aside when something happened to it that no rule of ours explains: an echo of other
terms, more executions than shares, an illegal event, an execution that cannot be booked. Entries
are locked until somebody says why it is well. That can only be said of what is over: while the
order works or its trade is open, the facts still change.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from django.db import transaction

from execution.models import Order, Release, Run
from execution.services import activity, trades, venue_state
from execution.services.moves import TERMINAL


@dataclass(frozen=True)
class SetAside:
    """`blocked`: why it cannot be released now, "" when it can."""

    order: Order
    blocked: str


def set_aside(run: Run) -> list[SetAside]:
    """Return the orders that keep entries locked until somebody has looked, oldest first."""
    rows = Order.objects.filter(run=run, quarantined=True).select_related("trade")
    return [SetAside(order, blocked(order)) for order in rows.order_by("pk")]


def blocked(order: Order) -> str:
    """Return why an order that was set aside cannot be released yet, "" when it can."""
    if order.status not in TERMINAL:
        return f"it is not over at the broker ({order.status})"
    trade = order.trade
    if trades.active(order.run).filter(pk=trade.pk).exists():
        what = f"holds {trade.held} {trade.symbol}" if trade.held else "is not over"
        return f"its trade {what}: wait until it is over, or leave it"
    return ""


def release(run: Run, *, name: str, reason: str, actor: str) -> Release:
    """Say that an order was looked at: it locks entries no more, until something else happens.

    Raises:
        ValueError: no such order is set aside, it cannot be released yet, or no reason is given.
    """
    if not reason.strip():
        raise ValueError("releasing it needs a reason")
    with transaction.atomic():
        row = Order.objects.filter(run=run, client_order_id=name).first()
        order = None if row is None else venue_state.locked(row)
        if order is None or not order.quarantined:
            raise ValueError(f"no order of the name {name[:128]!r} is set aside: look again")
        if why_not := blocked(order):
            raise ValueError(why_not)
        made = Release.objects.create(
            order=order, why=order.reason, reason=reason.strip()[:150], actor=actor[:150]
        )
        order.quarantined = False
        order.save(update_fields=["quarantined"])
        text = f"{order.client_order_id} ({made.why}) is released by {made.actor}: {made.reason}"
        activity.note(order.run_id, "order", text, level="warning", market_ns=order.run.market_ns)
    return made


def lines(found: list[SetAside]) -> Iterator[str]:
    """Say in words what is set aside, and what can be done about it."""
    for one in found:
        order = one.order
        what = f"{order.side} {order.quantity} {order.symbol}"
        yield f"{order.client_order_id}: {what}, {order.reason}"
        then = f"to release it: manage.py release {order.client_order_id} --reason TEXT"
        yield f"  {one.blocked or then}"
