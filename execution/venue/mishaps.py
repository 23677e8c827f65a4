"""What goes wrong inside a venue: fills after the end, busts, corrections; and a split.

Pure, like the floor they happen on; `faults.FaultPlan` says when.
"""

from decimal import Decimal
from typing import TYPE_CHECKING

from execution.venue import wire
from execution.venue.account import Bust, Fill, Split
from execution.venue.orders import Event, Status, VenueOrder

if TYPE_CHECKING:
    from execution.venue.floor import Floor


def fill_ended(
    floor: "Floor", order: VenueOrder, quantity: int, price: Decimal, ts_ns: int
) -> Fill | None:
    """Fill an order that has ended with shares left, as a race inside a venue does.

    Returns: None when nothing is left of it.
    Source: alpaca.md 3.4, "in very fast markets both exits may fill".
    """
    quantity = min(quantity, order.leaves)
    if order.is_open or quantity <= 0:
        return None
    fill, position = floor.execute(order, quantity, price, ts_ns)
    if order.leaves == 0:
        order.status, order.filled_ns = Status.FILLED, ts_ns
    event = Event.PARTIAL_FILL if order.leaves else Event.FILL
    floor.say(event.value, order, ts_ns, fill=fill, position=position)
    floor.settle(order.symbol, ts_ns)
    return fill


def overfill(floor: "Floor", fill: Fill, ts_ns: int) -> Fill:
    """Execute more of an order than it asked for, as a defect inside a venue would."""
    order = floor.orders[fill.order_id]
    more, position = floor.execute(order, max(fill.quantity // 3, 1), fill.price, ts_ns)
    floor.say(Event.FILL.value, order, ts_ns, fill=more, position=position)
    floor.settle(order.symbol, ts_ns)
    return more


def bust(floor: "Floor", fill: Fill, ts_ns: int, *, price: Decimal | None = None) -> None:
    """Break an execution; with a price, the exchange corrects it to that price instead."""
    order = floor.orders[fill.order_id]
    floor.account.take_back(fill)
    order.filled -= fill.quantity
    order.filled_value -= fill.quantity * fill.price
    order.updated_ns = ts_ns
    if price is None:
        broken = Bust(execution_id=floor.next_execution_id(), previous=fill, ts_ns=ts_ns)
        floor.account.busts.append(broken)
        position = floor.account.quantity(fill.symbol)
        floor.say("trade_bust", order, ts_ns, bust=broken, position=position)
    else:
        new, position = floor.execute(
            order, fill.quantity, price, ts_ns, corrects=fill.execution_id
        )
        floor.say("trade_correct", order, ts_ns, fill=new, position=position)
    floor.settle(fill.symbol, ts_ns)


def split(floor: "Floor", symbol: str, before: int, after: int, ts_ns: int) -> None:
    """Split a stock between two sessions: its open orders end, its activity says what came.

    Prices are the market's: quote it anew.
    """
    made = Split(symbol=symbol, before=before, after=after, ts_ns=ts_ns)
    floor.account.splits.append(made)
    change = floor.account.scale(made)
    floor.end_orders(symbol, ts_ns)
    floor.settle(symbol, ts_ns)
    if change:
        floor.account.activities.append(
            wire.split_json(symbol, change, ts_ns, floor.next_execution_id())
        )
