"""What the broker tells us: trade updates, executions and REST rows, applied once each.

Stored raw in the transaction of their effect; order, trade and books move together or not at all.
"""

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from django.db import transaction

from accounts import services as books
from accounts.models import Account
from execution.brokers.port import BrokerOrder, FillActivity, TradeUpdate
from execution.models import BrokerEvent, BrokerRef, Order, Run, Trade
from execution.services import moves
from execution.services.moves import OrderEvent as E
from execution.services.moves import OrderStatus as Status
from signals.session import day_of


@dataclass(frozen=True)
class Applied:
    """What one broker event did."""

    order: Order | None  # None: not an order of ours
    new: bool  # False: seen before, nothing changed
    fills_missing: bool = False  # the venue counts more filled shares than we have executions for


def apply_update(run: Run, update: TradeUpdate, *, source: str = "stream") -> Applied:
    """Store one trade update raw and apply it, in one transaction; the second copy is a no-op."""
    whole = bool(update.execution_id and update.quantity and update.price)
    is_fill = update.event in ("fill", "partial_fill") and whole  # else the account's activities
    key = (
        f"fill:{update.execution_id}"
        if is_fill
        else f"{update.order.id}:{update.event}:{update.ts_ns}"
    )
    with transaction.atomic():
        order = find(run.pk, update.order) or _adopt_external(run, update.order, update.ts_ns)
        new = _first_time(
            run,
            key,
            order,
            source=source,
            event=update.event,
            ts_ns=update.ts_ns,
            raw=update.raw,
        )
        if order is None or not new:
            return Applied(order, new)
        order = locked(order)
        if is_fill:
            _book(
                order,
                execution_id=str(update.execution_id),
                quantity=update.quantity or 0,
                price=update.price or Decimal(0),
                ts_ns=update.ts_ns,
            )
        missing = _follow(order, update, update.ts_ns)
        order.save()
    return Applied(order, True, missing)


def apply_fill(run: Run, fill: FillActivity, *, source: str = "fills") -> Applied:
    """Book one execution that only the account's activities told us about."""
    with transaction.atomic():
        order = _by_broker_id(run.pk, fill.order_id)
        raw = {
            "execution_id": fill.execution_id,
            "order_id": fill.order_id,
            "symbol": fill.symbol,
            "side": fill.side.value,
            "qty": str(fill.quantity),
            "price": str(fill.price),
        }
        new = _first_time(
            run,
            f"fill:{fill.execution_id}",
            order,
            source=source,
            event="fill",
            ts_ns=fill.ts_ns,
            raw=raw,
        )
        if order is None or not new:
            return Applied(order, new)
        order = locked(order)
        _book(
            order,
            execution_id=fill.execution_id,
            quantity=fill.quantity,
            price=fill.price,
            ts_ns=fill.ts_ns,
        )
        order.save()
    return Applied(order, True)


def _first_time(run: Run, key: str, order: Order | None, **facts: Any) -> bool:
    """Store an event raw; True when its effect is owed.

    One that came before anybody knew its order has had no effect yet: it is owed once we know.
    """
    row, new = BrokerEvent.objects.get_or_create(
        run=run, key=key, defaults={"order": order, **facts}
    )
    if new or order is None:
        return new
    return bool(BrokerEvent.objects.filter(pk=row.pk, order=None).update(order=order))


def take_over(order: Order, seen: BrokerOrder, *, now_ns: int) -> Applied:
    """Take over an order's state as REST shows it; executions are booked elsewhere."""
    with transaction.atomic():
        row = locked(order)
        before = (row.status, row.venue_status, row.broker_id)
        claim_id(row, seen.id)
        row.broker_id = row.broker_id or seen.id
        missing = absorb_state(row, seen, now_ns)
        row.save()
        adopt_legs(row, seen, now_ns)
    changed = before != (row.status, row.venue_status, row.broker_id)
    return Applied(row, changed, missing)


def find(run_id: str, seen: BrokerOrder) -> Order | None:
    """Return our order for one of the broker's: by any id it ever had, then by client id."""
    for broker_id in filter(None, (seen.id, seen.replaces, seen.replaced_by)):
        order = _by_broker_id(run_id, broker_id)
        if order is not None:
            return order
    return Order.objects.filter(run_id=run_id, client_order_id=seen.client_order_id).first()


def _adopt_external(run: Run, seen: BrokerOrder, now_ns: int) -> Order | None:
    """Take in an order that somebody else made in a symbol we hold: its fills are our shares."""
    trade = Trade.objects.filter(run=run, open_key__isnull=False, symbol=seen.symbol).first()
    if trade is None:
        return None
    order = Order.objects.create(
        run=run,
        trade=trade,
        purpose="ext",
        client_order_id=seen.client_order_id,
        broker_id=seen.id,
        symbol=seen.symbol,
        side=seen.side.value,
        type=seen.type,
        quantity=seen.quantity,
        limit=seen.limit_price,
        stop=seen.stop_price,
        time_in_force=seen.time_in_force,
        status=Status.WORKING,
        reason="not ours: adopted because we hold the symbol",
        fence_epoch=0,
        created_ns=now_ns,
    )
    claim_id(order, seen.id)
    return order


def _by_broker_id(run_id: str, broker_id: str) -> Order | None:
    ref = (
        BrokerRef.objects.filter(run_id=run_id, broker_id=broker_id).select_related("order").first()
    )
    return None if ref is None else ref.order


def claim_id(order: Order, broker_id: str) -> None:
    BrokerRef.objects.get_or_create(
        run_id=order.run_id, broker_id=broker_id, defaults={"order": order}
    )


def locked(order: Order) -> Order:
    """Lock the trade, then the order (SQLite: the whole database), and return the order fresh."""
    Trade.objects.select_for_update().get(pk=order.trade_id)
    return Order.objects.select_for_update().get(pk=order.pk)


def _follow(order: Order, update: TradeUpdate, now_ns: int) -> bool:
    """Apply an event to its order, minding that a replaced leg goes on under a new id."""
    seen = update.order
    claim_id(order, seen.id)
    if update.event == "replaced":
        if seen.replaced_by:
            claim_id(order, seen.replaced_by)
            order.broker_id = seen.replaced_by
        elif seen.replaces:
            order.broker_id = seen.id
        return False
    if update.event == "rejected" and seen.replaces:
        order.reason = "a replacement was rejected"
        if order.status in moves.LIVE:
            order.broker_id = seen.replaces
        return False
    if update.event in ("order_replace_rejected", "order_cancel_rejected"):
        order.reason = update.event
        return False
    if order.broker_id not in (None, seen.id) and update.event not in ("fill", "partial_fill"):
        return False  # news of an id that this order no longer answers to
    return absorb_state(order, seen, now_ns)


def absorb_state(order: Order, seen: BrokerOrder, now_ns: int) -> bool:
    """Move the order to what the venue says; True when executions are missing here.

    Only executions make shares: an order that the venue calls filled becomes FILLED here when its
    fills are booked, not before.
    """
    order.venue_status = seen.status
    if order.broker_id is None:
        order.broker_id = seen.id
    event = moves.event_of(seen.status)
    missing = seen.filled_quantity > order.filled_quantity
    if event in (E.FILL, E.PARTIAL_FILL):  # moved by `_book`; here it only says that it is known
        event = E.ACCEPT
    if event == E.ACCEPT and order.filled_quantity:
        event = None
    if event == E.REPLACE:  # goes on under the id of its replacement
        order.broker_id = seen.replaced_by or order.broker_id
        if seen.replaced_by:
            claim_id(order, seen.replaced_by)
    elif event is not None:
        moves.move(order, event, now_ns)
    return missing


def _book(order: Order, *, execution_id: str, quantity: int, price: Decimal, ts_ns: int) -> None:
    """One execution: the order, the trade and the ledger move together or not at all."""
    value = quantity * price
    order.filled_quantity += quantity
    order.filled_value += value
    full = order.filled_quantity >= order.quantity
    moves.move(order, E.FILL if full else E.PARTIAL_FILL, ts_ns)
    if order.filled_quantity > order.quantity:
        order.reason = f"overfilled: {order.filled_quantity} of {order.quantity}"
    trade = Trade.objects.get(pk=order.trade_id)
    if order.side == "buy":
        trade.filled_quantity += quantity
        trade.entry_value += value
        trade.opened_ns = trade.opened_ns or ts_ns
        trade.naked_since_ns = trade.naked_since_ns or ts_ns
    else:
        trade.exit_quantity += quantity
        trade.exit_value += value
    trade.save()
    books.record_fill(
        Account.objects.get(run_id=order.run_id, number=trade.account_number),
        execution_id=execution_id,
        order_ref=order.client_order_id[:64],
        symbol=order.symbol,
        side=order.side,
        quantity=quantity,
        price=price,
        ts_ns=ts_ns,
        session_date=day_of(ts_ns),
    )


def adopt_legs(order: Order, answer: BrokerOrder, now_ns: int) -> None:
    """Give every leg of a bracket or OCO a row of its own under its parent."""
    for leg in answer.legs:
        if BrokerRef.objects.filter(run_id=order.run_id, broker_id=leg.id).exists():
            continue
        if leg.replaces and _by_broker_id(order.run_id, leg.replaces) is not None:
            continue  # a later link of a chain we know
        row, made = Order.objects.get_or_create(
            run_id=order.run_id,
            client_order_id=leg.client_order_id,
            defaults={
                "trade_id": order.trade_id,
                "parent": order,
                "purpose": "sl" if leg.stop_price is not None else "tp",
                "broker_id": leg.id,
                "symbol": leg.symbol or order.symbol,
                "side": leg.side.value,
                "type": leg.type,
                "quantity": leg.quantity or order.quantity,
                "limit": leg.limit_price,
                "stop": leg.stop_price,
                "time_in_force": leg.time_in_force,
                "status": Status.WORKING,
                "venue_status": leg.status,
                "fence_epoch": order.fence_epoch,
                "created_ns": now_ns,
                "sent_ns": now_ns,
            },
        )
        claim_id(row, leg.id)
        if made:
            absorb_state(row, leg, now_ns)
            row.save()
