"""When and at what price an order trades: pure questions about one order and one book.

The rule: whole remaining quantity at the far side of the NBBO, never worse than the order's
limit. A symbol that has had no valid quote yet trades at its last eligible print.
"""

from dataclasses import dataclass
from decimal import Decimal

from execution.venue.books import Book
from execution.venue.orders import VenueOrder


@dataclass(frozen=True)
class Trigger:
    """What the market must do before an order can move; lets a tape be searched in arrays.

    `level` None: any price will do. `on_print`: an unelected stop, which only a print moves.
    """

    buys: bool
    level: Decimal | None
    on_print: bool


def trigger_of(order: VenueOrder) -> Trigger:
    if order.waits_for_print:
        return Trigger(order.is_buy, order.stop, on_print=True)
    return Trigger(order.is_buy, order.bound, on_print=False)


def price_within(order: VenueOrder, price: Decimal | None) -> Decimal | None:
    """Return `price` when the order may trade at it, else None."""
    if price is None or order.bound is None:
        return price
    good = price <= order.bound if order.is_buy else price >= order.bound
    return price if good else None


def price_now(order: VenueOrder, book: Book) -> Decimal | None:
    """Return the price at which a working (elected) order trades against this book, or None."""
    if not book.quoted:
        return price_within(order, book.last)
    return price_within(order, book.ask if order.is_buy else book.bid)


def elects(order: VenueOrder, price: Decimal, book: Book) -> bool:
    """Say whether an eligible print, inside the NBBO if there is one, reaches the stop."""
    if order.stop is None or not book.contains(price):
        return False
    return price >= order.stop if order.is_buy else price <= order.stop
