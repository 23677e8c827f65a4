"""An order's row as the venue shows it: its state, its ids, the price and the size of a leg.

A leg that is replaced goes on under a new id; news of an id that it left say nothing of it.
"""

from decimal import Decimal

from execution.brokers.port import BrokerOrder, TradeUpdate, is_whole
from execution.models import BrokerRef, Order
from execution.services import moves
from execution.services.bookable import FILLS
from execution.services.moves import OrderEvent as E

LEGS = ("tp", "sl", "o")
LEFT = ("pending_replace", "replaced")  # another link of the chain has, or will have, its place


def follow(order: Order, update: TradeUpdate, now_ns: int) -> bool:
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
        order.reason = "a replacement was rejected"  # its protection is looked up, with its prices
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
    _reprice(order, seen)
    event = moves.event_of(seen.status)
    booked = _booked_of(order, seen) if event == E.FILL else order.filled_quantity
    missing = int(seen.filled_quantity) > booked
    if not missing and booked < order.filled_quantity:
        order.quantity = order.filled_quantity  # of the whole chain: its last link has ended
        moves.move(order, E.FILL, now_ns)
    elif resize(order, seen) and event == E.FILL and not missing:
        moves.move(order, E.FILL, now_ns)  # all that was left of it had been booked as a part
    if event == E.FILL and not missing and _taken_back_unheard(order, seen):
        moves.move(order, E.FILL, now_ns)
        moves.move(order, E.BUST, now_ns, reason="executions were taken back")
    if event in (
        E.FILL,
        E.PARTIAL_FILL,
    ):  # moved when booked; here it only says: known
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


def _booked_of(order: Order, seen: BrokerOrder) -> int:
    """Return the shares that are booked under this id: a replacement counts its fills anew."""
    is_link = order.purpose in LEGS and seen.id == order.broker_id
    if not is_link or order.status not in moves.LIVE or not order.filled_quantity:
        return order.filled_quantity
    events = dict(order.events.values_list("key", "raw"))
    taken_back = {key.removeprefix("bust:") for key in events if key.startswith("bust:")}
    return sum(
        int(Decimal(str(raw["qty"])))
        for key, raw in events.items()
        if key.startswith(FILLS)
        and key.removeprefix(FILLS) not in taken_back
        and seen.id in (raw.get("order_id"), (raw.get("order") or {}).get("id"))
    )


def _taken_back_unheard(order: Order, seen: BrokerOrder) -> bool:
    """Is it over there with fewer shares than it filled? Then we never booked what was broken."""
    return order.status in moves.LIVE and seen.filled_quantity < seen.quantity


def is_living_link(order: Order, seen: BrokerOrder) -> bool:
    """Is this what a leg answers to? Not what is being replaced, nor a replacement that ended.

    News of a replacement, or of its refusal, may be lost; what works at the venue is the leg.
    """
    return order.purpose in LEGS and seen.status in ("new", "held", "partially_filled")


def follow_replacement(order: Order, answer: BrokerOrder) -> None:
    """Let a replaced order answer to its new id, at the prices that the venue says it has."""
    claim_id(order, answer.id)
    if order.status in moves.LIVE:
        order.broker_id = answer.id
    _reprice(order, answer)


def _reprice(order: Order, seen: BrokerOrder) -> None:
    """Let a leg's row say where the venue has it; a link that is being left says nothing."""
    if order.purpose in LEGS and seen.id == order.broker_id and seen.status not in LEFT:
        order.limit, order.stop = seen.limit_price, seen.stop_price


def resize(order: Order, seen: BrokerOrder) -> bool:
    """Take over a leg's smaller size: the venue cuts it when the other leg is partly filled.

    A replacement that begins to count its fills anew says nothing of the whole.
    """
    same_count = seen.filled_quantity >= order.filled_quantity
    size = seen.quantity
    if order.purpose not in LEGS or not same_count or not is_whole(size):
        return False
    if not 0 < size < order.quantity:
        return False
    order.quantity = size
    return True


def by_broker_id(run_id: str, broker_id: str) -> Order | None:
    ref = (
        BrokerRef.objects.filter(run_id=run_id, broker_id=broker_id).select_related("order").first()
    )
    return None if ref is None else ref.order


def claim_id(order: Order, broker_id: str) -> None:
    BrokerRef.objects.get_or_create(
        run_id=order.run_id, broker_id=broker_id, defaults={"order": order}
    )
