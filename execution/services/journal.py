"""The order journal: intent, attempt, answer, event — each committed before the next begins.

An attempt without an outcome is unknown by definition: a crash anywhere leaves an order to look
up, never one to send twice (reliability 3.2–3.5, 3.1). What the broker says is stored raw in the
transaction of its effect, and a second copy of it changes nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from django.db import transaction
from django.db.models import Max

from accounts import services as books
from accounts.models import Account
from execution.brokers.port import (
    Broker,
    BrokerOrder,
    FillActivity,
    OutcomeUnknown,
    Refused,
    TradeUpdate,
)
from execution.models import BrokerEvent, BrokerRef, Order, OrderAttempt, Run, Trade
from execution.services import lease, moves
from execution.services.moves import OrderEvent as E
from execution.services.moves import OrderStatus as Status
from signals.session import day_of

MESSAGE_MAX = 300


@dataclass(frozen=True)
class Applied:
    """What one broker event did."""

    order: Order | None  # None: not an order of ours
    new: bool  # False: seen before, nothing changed
    fills_missing: bool = False  # the venue counts more filled shares than we have executions for


# --- intents and attempts ------------------------------------------------------------------------


def intend(
    trade: Trade, *, purpose: str, client_order_id: str, epoch: int, now_ns: int, **fields: Any
) -> Order:
    """Write down that we want an order, before anything is sent; the same id again returns it.

    Raises:
        LeaseLost: another hub may write now.
    """
    with transaction.atomic():
        lease.fence(epoch)
        order, _ = Order.objects.get_or_create(
            run_id=trade.run_id,
            client_order_id=client_order_id,
            defaults={
                "trade": trade,
                "purpose": purpose,
                "symbol": trade.symbol,
                "status": Status.INTENT,
                "fence_epoch": epoch,
                "created_ns": now_ns,
                **fields,
            },
        )
    return order


def submit(order: Order, broker: Broker, *, epoch: int, now_ns: int) -> Order:
    """Send an intended order once; for one that was sent already this is a no-op.

    Two commits around the socket: the attempt before, its outcome after.

    Raises:
        LeaseLost: another hub may write now; nothing was sent.
    """
    with transaction.atomic():
        lease.fence(epoch)
        claimed = Order.objects.filter(pk=order.pk, status=Status.INTENT).update(
            status=Status.SENDING, sent_ns=now_ns, fence_epoch=epoch
        )
        if claimed:
            attempt = OrderAttempt.objects.create(
                order=order, kind="submit", n=1, fence_epoch=epoch, sent_ns=now_ns
            )
    order.refresh_from_db()
    if not claimed:
        return order
    return _settle(order, attempt, lambda: _post(order, broker), now_ns)


def deny(order: Order, *, status: Status, reason: str, now_ns: int) -> bool:
    """Close an intent that was never sent; False when it is no longer an intent."""
    return bool(
        Order.objects.filter(pk=order.pk, status=Status.INTENT).update(
            status=status, reason=reason[:200], terminal_ns=now_ns
        )
    )


def cancel(order: Order, broker: Broker, *, epoch: int, now_ns: int) -> str:
    """Ask for a cancel and return the outcome; only the venue's event makes it canceled."""
    attempt = _attempt(order, "cancel", epoch, now_ns)
    Order.objects.filter(pk=order.pk).update(cancel_requested_ns=now_ns)
    return _request(attempt, lambda: broker.cancel(str(order.broker_id)))[0]


def replace(
    order: Order,
    broker: Broker,
    *,
    epoch: int,
    now_ns: int,
    limit: Decimal | None = None,
    stop: Decimal | None = None,
) -> str:
    """PATCH a working order and return the outcome; on success it answers to a new broker id."""
    attempt = _attempt(order, "replace", epoch, now_ns)
    outcome, answer = _request(
        attempt, lambda: broker.replace(str(order.broker_id), limit=limit, stop=stop)
    )
    if outcome == "confirmed":
        with transaction.atomic():
            locked = _locked(order)
            _claim_id(locked, answer.id)
            if locked.status in moves.LIVE:
                locked.broker_id = answer.id
            locked.replace_requested_ns = now_ns
            locked.limit = limit if limit is not None else locked.limit
            locked.stop = stop if stop is not None else locked.stop
            locked.save()
    order.refresh_from_db()
    return outcome


def _attempt(order: Order, kind: str, epoch: int, now_ns: int) -> OrderAttempt:
    with transaction.atomic():
        lease.fence(epoch)
        last = order.attempts.filter(kind=kind).aggregate(last=Max("n"))["last"] or 0
        return OrderAttempt.objects.create(
            order=order, kind=kind, n=last + 1, fence_epoch=epoch, sent_ns=now_ns
        )


def _request(attempt: OrderAttempt, call: Callable[[], Any]) -> tuple[str, Any]:
    """Make one cancel or replace and record how it ended; these are safe to ask again."""
    answer, outcome, message = None, "confirmed", ""
    try:
        answer = call()
    except Refused as exc:
        outcome, message = "refused", str(exc)
    except OutcomeUnknown as exc:
        outcome, message = "unknown", str(exc)
    _close_attempt(attempt, outcome, message, answer)
    return outcome, answer


def _close_attempt(
    attempt: OrderAttempt, outcome: str, message: str = "", answer: BrokerOrder | None = None
) -> None:
    attempt.outcome = outcome
    attempt.message = message[:MESSAGE_MAX]
    attempt.answer = None if answer is None else answer.raw
    attempt.answered_at = datetime.now(UTC)
    attempt.save(update_fields=["outcome", "message", "answer", "answered_at"])


def _settle(
    order: Order, attempt: OrderAttempt, call: Callable[[], BrokerOrder], now_ns: int
) -> Order:
    try:
        answer = call()
    except Refused as exc:
        with transaction.atomic():
            _close_attempt(attempt, "refused", str(exc))
            locked = _locked(order)
            moves.move(locked, E.REFUSE, now_ns, reason=str(exc))
            locked.save()
    except OutcomeUnknown as exc:
        with transaction.atomic():
            _close_attempt(attempt, "unknown", str(exc))
            locked = _locked(order)
            moves.move(locked, E.LOSE, now_ns, reason=str(exc))
            locked.save()
    else:
        _adopt(order, attempt, answer, now_ns)
    order.refresh_from_db()
    return order


def _adopt(order: Order, attempt: OrderAttempt, answer: BrokerOrder, now_ns: int) -> None:
    """Store the answer raw, the ids of the order and its legs, and what it says."""
    with transaction.atomic():
        _close_attempt(attempt, "confirmed", "", answer)
        locked = _locked(order)
        _claim_id(locked, answer.id)
        locked.broker_id = locked.broker_id or answer.id
        _echo(locked, answer)
        _absorb(locked, answer, now_ns)
        locked.save()
        adopt_legs(locked, answer, now_ns)


def _echo(order: Order, answer: BrokerOrder) -> None:
    """Compare the venue's echo with what we asked for; a difference is kept for people to see."""
    asked = (order.symbol, order.side, order.quantity)
    told = (answer.symbol, answer.side.value, answer.quantity)
    if asked != told:
        order.reason = f"echo differs: asked {asked}, told {told}"[:200]


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
        _claim_id(row, leg.id)
        if made:
            _absorb(row, leg, now_ns)
            row.save()


def _post(order: Order, broker: Broker) -> BrokerOrder:
    common = {
        "client_order_id": order.client_order_id,
        "symbol": order.symbol,
        "quantity": order.quantity,
    }
    if order.purpose == "e":
        return broker.submit_bracket(
            **common,
            limit=order.limit,
            take_profit=order.take_profit,
            stop_loss=order.stop_loss,
            time_in_force=order.time_in_force,
        )
    if order.purpose == "o":
        return broker.submit_oco(
            **common,
            take_profit=order.take_profit,
            stop_loss=order.stop_loss,
            time_in_force=order.time_in_force,
        )
    return broker.submit_sell(**common, limit=order.limit)


# --- looking up what became of it ----------------------------------------------------------------


def look_up(order: Order, broker: Broker, *, now_ns: int) -> bool:
    """Ask the venue for an order of unknown outcome; True when it knows it (then it is adopted).

    Raises:
        BrokerError: the look-up itself failed, which says nothing about the order.
    """
    found = broker.order_by_client_id(order.client_order_id)
    if found is None:
        return False
    attempt = order.attempts.get(kind="submit", n=1)
    _adopt(order, attempt, found, now_ns)
    order.refresh_from_db()
    return True


def abandon(order: Order, *, now_ns: int) -> None:
    """Close an order that the venue conclusively never saw; a late appearance is still adopted."""
    with transaction.atomic():
        locked = _locked(order)
        if locked.status not in (Status.UNKNOWN, Status.SENDING):
            return
        if locked.status == Status.SENDING:
            moves.move(locked, E.LOSE, now_ns)
        moves.move(locked, E.ABANDON, now_ns, reason="the venue never saw it")
        locked.save()
        locked.attempts.filter(kind="submit").update(outcome="abandoned")
    order.refresh_from_db()


# --- what the broker tells us --------------------------------------------------------------------


def apply_update(run: Run, update: TradeUpdate, *, source: str = "stream") -> Applied:
    """Store one trade update raw and apply it, in one transaction; the second copy is a no-op."""
    is_fill = update.event in ("fill", "partial_fill") and update.execution_id is not None
    key = (
        f"fill:{update.execution_id}"
        if is_fill
        else f"{update.order.id}:{update.event}:{update.ts_ns}"
    )
    with transaction.atomic():
        order = find(run.pk, update.order) or _adopt_external(run, update.order, update.ts_ns)
        _, new = BrokerEvent.objects.get_or_create(
            run=run,
            key=key,
            defaults={
                "source": source,
                "event": update.event,
                "order": order,
                "ts_ns": update.ts_ns,
                "raw": update.raw,
            },
        )
        if order is None or not new:
            return Applied(order, new)
        order = _locked(order)
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
        _, new = BrokerEvent.objects.get_or_create(
            run=run,
            key=f"fill:{fill.execution_id}",
            defaults={
                "source": source,
                "event": "fill",
                "order": order,
                "ts_ns": fill.ts_ns,
                "raw": raw,
            },
        )
        if order is None or not new:
            return Applied(order, new)
        order = _locked(order)
        _book(
            order,
            execution_id=fill.execution_id,
            quantity=fill.quantity,
            price=fill.price,
            ts_ns=fill.ts_ns,
        )
        order.save()
    return Applied(order, True)


def absorb(order: Order, seen: BrokerOrder, *, now_ns: int) -> Applied:
    """Take over an order's state as REST shows it; executions are booked elsewhere."""
    with transaction.atomic():
        locked = _locked(order)
        before = (locked.status, locked.venue_status, locked.broker_id)
        _claim_id(locked, seen.id)
        locked.broker_id = locked.broker_id or seen.id
        missing = _absorb(locked, seen, now_ns)
        locked.save()
        adopt_legs(locked, seen, now_ns)
    changed = before != (locked.status, locked.venue_status, locked.broker_id)
    return Applied(locked, changed, missing)


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
    _claim_id(order, seen.id)
    return order


def _by_broker_id(run_id: str, broker_id: str) -> Order | None:
    ref = (
        BrokerRef.objects.filter(run_id=run_id, broker_id=broker_id).select_related("order").first()
    )
    return None if ref is None else ref.order


def _claim_id(order: Order, broker_id: str) -> None:
    BrokerRef.objects.get_or_create(
        run_id=order.run_id, broker_id=broker_id, defaults={"order": order}
    )


def _locked(order: Order) -> Order:
    """Lock the trade, then the order (SQLite: the whole database), and return the order fresh."""
    Trade.objects.select_for_update().get(pk=order.trade_id)
    return Order.objects.select_for_update().get(pk=order.pk)


def _follow(order: Order, update: TradeUpdate, now_ns: int) -> bool:
    """Apply an event to its order, minding that a replaced leg goes on under a new id."""
    seen = update.order
    _claim_id(order, seen.id)
    if update.event == "replaced":
        if seen.replaced_by:
            _claim_id(order, seen.replaced_by)
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
    return _absorb(order, seen, now_ns)


def _absorb(order: Order, seen: BrokerOrder, now_ns: int) -> bool:
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
            _claim_id(order, seen.replaced_by)
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
