"""What the broker tells us: trade updates, executions and REST rows, applied once each.

Stored raw in the transaction of their effect; order, trade and books move together or not at all.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from django.db import transaction

from accounts import services as books
from accounts.domain.money import nearest
from accounts.models import Account
from execution.brokers.port import BrokerOrder, FillActivity, Shares, TradeUpdate
from execution.failpoints import reach
from execution.models import BrokerEvent, Order, Run, Trade
from execution.services import activity, external, moves
from execution.services.again import again_on_deadlock
from execution.services.bookable import bookable, key_of
from execution.services.moves import OrderEvent as E
from execution.services.moves import OrderStatus as Status
from execution.services.moves import TradeEvent as V
from execution.services.moves import TradeState as T
from execution.services.order_state import (
    LEGS,
    absorb_state,
    by_broker_id,
    claim_id,
    follow,
    is_living_link,
    resize,
)
from signals.session import day_of

EXTERNAL = "ext"  # made by somebody else in a symbol that we hold


@dataclass(frozen=True)
class Applied:
    """What one broker event did."""

    order: Order | None  # None: not an order of ours
    new: bool  # False: seen before, nothing changed
    fills_missing: bool = False  # the venue counts more filled shares than we have executions for


@again_on_deadlock
def apply_update(run: Run, update: TradeUpdate, *, source: str = "stream") -> Applied:
    """Store one trade update raw and apply it, in one transaction; the second copy is a no-op."""
    whole = bool(update.execution_id and update.quantity and update.price)
    is_fill = update.event in ("fill", "partial_fill") and whole  # else the account's activities
    key = f"{update.order.id}:{update.event}:{update.ts_ns}"
    if is_fill:
        key = key_of(str(update.execution_id), update.quantity, update.price)
    if update.previous_id:
        return _apply_taken_back(run, update, source)
    with transaction.atomic():
        order = find(run.pk, update.order) or adopt_external(run, update.order, update.ts_ns)
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
        reach("state.after_raw")
        order = locked(order)
        resize(order, update.order)
        if is_fill:
            _take_in(
                order,
                execution_id=str(update.execution_id),
                quantity=update.quantity or 0,
                price=update.price or Decimal(0),
                ts_ns=update.ts_ns,
            )
        missing = follow(order, update, update.ts_ns)
        order.save()
    reach("state.after_booking")
    return Applied(order, True, missing)


def _apply_taken_back(run: Run, update: TradeUpdate, source: str) -> Applied:
    """Read a bust or a correction of the stream as the activity that it is."""
    if not (update.execution_id and update.quantity and update.price):
        return Applied(find(run.pk, update.order), False, fills_missing=True)
    activity = FillActivity(
        execution_id=update.execution_id,
        order_id=update.order.id,
        symbol=update.order.symbol,
        side=update.order.side,
        quantity=update.quantity,
        price=update.price,
        ts_ns=update.ts_ns,
        kind="correct" if update.event == "trade_correct" else "bust",
        previous_id=update.previous_id,
    )
    return apply_fill(run, activity, source=source)


@again_on_deadlock
def apply_fill(run: Run, fill: FillActivity, *, source: str = "fills") -> Applied:
    """Book one execution that the account's activities told us about, or take one back."""
    with transaction.atomic():
        order = by_broker_id(run.pk, fill.order_id)
        raw = {
            "execution_id": fill.execution_id,
            "order_id": fill.order_id,
            "symbol": fill.symbol,
            "side": fill.side.value,
            "qty": str(fill.quantity),
            "price": str(fill.price),
            "kind": fill.kind,
            "previous": fill.previous_id,
        }
        taken = _take_back(run, order, fill, source, raw)
        if fill.kind == "bust":
            return Applied(order, taken)
        new = _first_time(
            run,
            key_of(fill.execution_id, fill.quantity, fill.price),
            order,
            source=source,
            event="fill",
            ts_ns=fill.ts_ns,
            raw=raw,
        )
        if order is None or not new:
            return Applied(order, new)
        order = locked(order)
        _take_in(
            order,
            execution_id=fill.execution_id,
            quantity=fill.quantity,
            price=fill.price,
            ts_ns=fill.ts_ns,
        )
        order.save()
    return Applied(order, True)


def unheard(run: Run, fills: Sequence[FillActivity]) -> list[FillActivity]:
    """Return the executions, in their order, that have not had all of their effect yet."""
    keys = {key for fill in fills for key in _keys_of(fill)}
    done = BrokerEvent.objects.filter(run=run, key__in=keys, order__isnull=False)
    known = set(done.values_list("key", flat=True)) if keys else set()
    return [fill for fill in fills if not known.issuperset(_keys_of(fill))]


def _keys_of(fill: FillActivity) -> list[str]:
    taken_back = [f"bust:{fill.previous_id}"] if fill.previous_id else []
    own = key_of(fill.execution_id, fill.quantity, fill.price)
    return taken_back if fill.kind == "bust" else [*taken_back, own]


def _take_back(
    run: Run, order: Order | None, fill: FillActivity, source: str, raw: dict[str, Any]
) -> bool:
    """Undo the execution that a bust or a correction names; True when this did it.

    One that we have not heard of yet will not be booked when its news come late.
    """
    if not fill.previous_id:
        return False
    told = {"source": source, "ts_ns": fill.ts_ns, "raw": raw}
    if not _first_time(run, f"bust:{fill.previous_id}", order, event=fill.kind, **told):
        return False
    if order is None:
        return False
    if _first_time(run, f"fill:{fill.previous_id}", order, event="void", **told):
        return True
    _unbook(locked(order), fill.previous_id, fill)
    return True


def _unbook(order: Order, execution_id: str, fill: FillActivity) -> None:
    """The exchange took an execution back: order, trade and ledger as if it never was."""
    account = Account.objects.get(run_id=order.run_id, number=order.trade.account_number)
    booked = account.fills.get(execution_id=execution_id)
    quantity, value = abs(booked.quantity), abs(booked.quantity) * booked.price_usd
    order.filled_quantity -= quantity
    order.filled_value -= value
    order.reason = f"execution {execution_id} was taken back"
    moves.move(order, E.BUST, fill.ts_ns)
    order.save()
    trade = Trade.objects.get(pk=order.trade_id)
    if order.side == "buy":
        trade.filled_quantity -= quantity
        trade.entry_value -= value
    else:
        trade.exit_quantity -= quantity
        trade.exit_value -= value
    if trade.state in (T.OPEN_PROTECTED, T.HELD_OVERNIGHT):
        moves.move_trade(trade, V.UNPROTECT)  # the orders cover another number of shares now
    trade.naked_since_ns = (trade.naked_since_ns or fill.ts_ns) if trade.held > 0 else None
    trade.realized_pnl = trade.exit_value - trade.entry_value if trade.held == 0 else Decimal(0)
    trade.save()
    books.reverse(
        account,
        source_key=f"fill:{execution_id}",
        reason=f"taken back by the venue ({fill.kind})",
        ts_ns=fill.ts_ns,
    )


def _first_time(run: Run, key: str, order: Order | None, **facts: Any) -> bool:
    """Store an event raw; True when its effect is owed.

    One that came before anybody knew its order has had no effect yet: it is owed once we know.
    """
    row, new = BrokerEvent.objects.get_or_create(
        run=run, key=key, defaults={"order": order, **facts}
    )
    if new or order is None:
        return new
    return bool(BrokerEvent.objects.filter(pk=row.pk).give_to(order))


@again_on_deadlock
def take_over(order: Order, seen: BrokerOrder, *, now_ns: int) -> Applied:
    """Take over an order's state as REST shows it; executions are booked elsewhere."""
    with transaction.atomic():
        row = locked(order)
        before = _as_seen(row)
        claim_id(row, seen.id)
        if row.broker_id is None or is_living_link(row, seen):
            row.broker_id = seen.id
        missing = absorb_state(row, seen, now_ns)
        row.save()
        adopt_legs(row, seen, now_ns)
    return Applied(row, before != _as_seen(row), missing)


def _as_seen(row: Order) -> tuple[object, ...]:
    return row.status, row.venue_status, row.broker_id, row.limit, row.stop


def find(run_id: str, seen: BrokerOrder) -> Order | None:
    """Return our order for one of the broker's: by any id it ever had, then by client id.

    The same name can be another run's: an order that is known to be none of ours stays that.
    """
    for broker_id in filter(None, (seen.id, seen.replaces, seen.replaced_by)):
        order = by_broker_id(run_id, broker_id)
        if order is not None:
            return order
    named = Order.objects.filter(run_id=run_id, client_order_id=seen.client_order_id).first()
    return None if named is None or external.knows(run_id, seen.id) else named


def adopt_external(run: Run, seen: BrokerOrder, now_ns: int) -> Order | None:
    """Take in an order that somebody else made in a symbol we hold: its fills are our shares.

    One that a person has acknowledged as none of ours stays outside. Of an order with a fraction,
    as the venue's close-all makes one of our shares and somebody's fraction together, the whole
    shares count; one of less than a share is no business of ours.
    """
    trade = holder(run, seen)
    if trade is None or seen.quantity < 1 or external.is_settled(run.pk, seen.id):
        return None
    order = Order.objects.create(
        run=run,
        trade=trade,
        purpose=EXTERNAL,
        client_order_id=seen.client_order_id,
        broker_id=seen.id,
        symbol=seen.symbol,
        side=seen.side.value,
        type=seen.type,
        quantity=int(seen.quantity),
        limit=None if seen.limit_price is None else nearest(seen.limit_price),
        stop=None if seen.stop_price is None else nearest(seen.stop_price),
        time_in_force=seen.time_in_force,
        status=Status.WORKING,
        reason="not ours: adopted because we hold the symbol",
        fence_epoch=0,
        created_ns=now_ns,
    )
    claim_id(order, seen.id)
    return order


def holder(run: Run, seen: BrokerOrder) -> Trade | None:
    """Return the trade whose shares a stranger's order trades, None when it is no business of ours.

    The busy one of its symbol; else one that was busy when a market order was made, as the venue's
    close-all makes them: an order of our own may have been filled before it.
    """
    busy = Trade.objects.filter(run=run, open_key__isnull=False, symbol=seen.symbol).first()
    if busy is not None or seen.type != "market" or not seen.created_ns:
        return busy
    filled = Order.objects.filter(
        run=run, symbol=seen.symbol, filled_quantity__gt=0, terminal_ns__gte=seen.created_ns
    )
    since = filled.filter(trade__opened_ns__lte=seen.created_ns).select_related("trade")
    last = since.order_by("-terminal_ns").first()
    return None if last is None else last.trade


def locked(order: Order) -> Order:
    """Lock the trade, then the order (SQLite: the whole database), and return the order fresh."""
    Trade.objects.select_for_update().get(pk=order.trade_id)
    return Order.objects.select_for_update().get(pk=order.pk)


def _take_in(
    order: Order, *, execution_id: str, quantity: Shares, price: Decimal, ts_ns: int
) -> None:
    """Book an execution of whole shares; one with a fraction, or no price, is said and set aside.

    We order whole shares, so nobody knows what a fraction of ours is: entries are locked until
    people have looked, and the comparison with the broker shows what is missing. The fraction of a
    stranger's order is only said: it is the stranger's.

    The books are exact to the micro-dollar. A finer price is booked at the nearest one, which is
    wrong by half a micro-dollar a share at most, and said with what it leaves out.
    """
    if not bookable(quantity, price):
        text = f"{order.symbol}: {order.side} {quantity} at {price} cannot be booked"
        _say(order, text, "alarm", ts_ns, execution_id)
        if order.purpose != EXTERNAL:
            order.quarantined, order.reason = True, f"execution {execution_id} cannot be booked"
        return
    exact = nearest(price)
    if exact != price:
        rest = quantity * (price - exact)
        text = f"{order.symbol}: a price of {price} is booked as {exact}; it leaves out {rest} USD"
        _say(order, text, "warning", ts_ns, execution_id)
    _book(order, execution_id=execution_id, quantity=quantity, price=exact, ts_ns=ts_ns)


def _say(order: Order, text: str, level: str, ts_ns: int, execution_id: str) -> None:
    facts = {"symbol": order.symbol, "trade": order.trade_id, "execution": execution_id}
    activity.note(order.run_id, "order", text, level=level, market_ns=ts_ns, **facts)


def _book(order: Order, *, execution_id: str, quantity: int, price: Decimal, ts_ns: int) -> None:
    """One execution: the order, the trade and the ledger move together or not at all."""
    value = quantity * price
    order.filled_quantity += quantity
    order.filled_value += value
    full = order.filled_quantity >= order.quantity
    moves.move(order, E.FILL if full else E.PARTIAL_FILL, ts_ns)
    trade = Trade.objects.get(pk=order.trade_id)
    if order.side == "buy":
        trade.filled_quantity += quantity
        trade.entry_value += value
        trade.opened_ns = trade.opened_ns or ts_ns
        if trade.held > 0:  # and not when a short position was bought back
            trade.naked_since_ns = trade.naked_since_ns or ts_ns
    else:
        trade.exit_quantity += quantity
        trade.exit_value += value
    if trade.held == 0:
        trade.realized_pnl = trade.exit_value - trade.entry_value
    trade.save()
    if order.filled_quantity > order.quantity:
        _overfilled(order, trade, ts_ns)
    reach("state.mid_booking")
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


def _overfilled(order: Order, trade: Trade, ts_ns: int) -> None:
    """Set aside an order with more executions than shares asked for; the shares are ours.

    How large a leg is we only read off the venue, which cuts it, and a stranger's order was not
    asked for by us: one of them that sold no more than was there is as large as what it filled.
    """
    if order.purpose in (*LEGS, EXTERNAL) and trade.held >= 0:
        order.quantity = order.filled_quantity
        return
    what = f"overfilled: {order.filled_quantity} of {order.quantity}"
    order.reason, order.quarantined = what, True
    then = "no entries until you looked and released it (System)"
    text = f"{order.symbol}: {order.client_order_id} is {what} shares; {then}"
    which = {"symbol": order.symbol, "trade": trade.pk, "order": order.client_order_id}
    activity.note(order.run_id, "order", text, level="alarm", market_ns=ts_ns, **which)


def adopt_legs(order: Order, answer: BrokerOrder, now_ns: int) -> None:
    """Give every leg of a bracket or OCO a row of its own under its parent."""
    for leg in answer.legs:
        known = by_broker_id(order.run_id, leg.id)
        if known is not None:
            _name_leg(known, order, leg)
            continue
        if leg.replaces and by_broker_id(order.run_id, leg.replaces) is not None:
            continue  # a later link of a chain we know
        row, made = Order.objects.get_or_create(
            run_id=order.run_id,
            client_order_id=leg.client_order_id,
            defaults={
                "trade_id": order.trade_id,
                "parent": order,
                "purpose": _purpose_of(leg),
                "broker_id": leg.id,
                "symbol": leg.symbol or order.symbol,
                "side": leg.side.value,
                "type": leg.type,
                "quantity": int(leg.quantity) or order.quantity,
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


def _purpose_of(leg: BrokerOrder) -> str:
    return "sl" if leg.stop_price is not None else "tp"


def _name_leg(row: Order, parent: Order, leg: BrokerOrder) -> None:
    """Call a stranger's order ours: the stream told of a leg before its parent's answer came."""
    if row.purpose != EXTERNAL or row.trade_id != parent.trade_id:
        return
    row.purpose, row.parent = _purpose_of(leg), parent
    row.reason, row.fence_epoch, row.sent_ns = "", parent.fence_epoch, row.created_ns
    row.save(update_fields=["purpose", "parent", "reason", "fence_epoch", "sent_ns"])
