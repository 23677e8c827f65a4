"""What open orders keep busy: buying power and shares of a position."""

from collections.abc import Iterable
from decimal import Decimal

from execution.venue.account import Account
from execution.venue.books import Books
from execution.venue.orders import Group, VenueOrder


def buying_power(account: Account, orders: Iterable[VenueOrder], books: Books) -> Decimal:
    """Return what may still be opened, USD: leverage × equity, less positions and open orders."""
    long_value, short_value = account.value(books)
    equity = account.cash + long_value + short_value
    free = account.multiplier * equity - long_value + short_value - held_cash(orders)
    return max(free, Decimal(0))


def held_cash(orders: Iterable[VenueOrder]) -> Decimal:
    """Return the USD held by open opening orders; a replace holds the larger of the two."""
    held = Decimal(0)
    for order in orders:
        if order.opening and not order.on_its_way:
            other = order.replacement or order
            held += max(order.leaves * order.hold_price, other.leaves * other.hold_price)
    return held


def held_shares(orders: Iterable[VenueOrder], symbol: str, side: str) -> tuple[int, list[str]]:
    """Return the shares that open closing orders of one side hold, and those orders' ids.

    The exits of one group share their shares: only one of them can fill.
    """
    held = 0
    ids: list[str] = []
    groups: dict[Group, int] = {}
    for order in orders:
        if order.symbol != symbol or order.side != side or not _holds_shares(order):
            continue
        ids.append(order.id)
        if order.group is None:
            held += max(order.leaves, (order.replacement or order).leaves)
        else:
            groups[order.group] = max(groups.get(order.group, 0), order.leaves)
    return held + sum(groups.values()), ids


def _holds_shares(order: VenueOrder) -> bool:
    if order.opening or order.on_its_way:
        return False
    group = order.group
    if group is None or group.entry is None:
        return True
    return order.armed  # exits of a bracket whose entry is not filled hold nothing yet


def unprotected_shares(quantity: int, orders: Iterable[VenueOrder], symbol: str) -> int:
    """Return how many shares of a position no live stop at the venue stands behind."""
    side = "sell" if quantity > 0 else "buy"
    covered = sum(
        order.leaves
        for order in orders
        if order.symbol == symbol
        and order.side == side
        and order.armed
        and order.type in ("stop", "stop_limit")
    )
    return max(abs(quantity) - covered, 0)
