"""What a trade bought with its entry, sold, and bought back: each side by its own orders.

A cover (the purchase after both exits had filled) and a stranger's purchase are shares of the
trade, but no part of its entry. Quantities are shares, values USD.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

from execution.models import Order, Trade

COVER = "c"
#: The orders that were to get the level by which a trade ended.
LEGS_OF = {"target": ("tp", "o"), "stop": ("sl",)}
ZERO = Decimal(0)


@dataclass(frozen=True)
class Side:
    quantity: int
    value: Decimal

    @property
    def average(self) -> Decimal | None:
        """USD per share, None when nothing was filled."""
        return self.value / self.quantity if self.quantity else None


@dataclass(frozen=True, kw_only=True)
class Sides:
    """`level`: the sales of the legs that ended the trade, all sales when it ended otherwise."""

    entry: Side
    exit: Side
    cover: Side
    level: Side


def sides_of(trade: Trade) -> Sides:
    """Return the sides of a trade; prefetch its orders to ask for many.

    The trade's own sums are the start, because a split scales them and not its old orders.
    """
    orders = list(trade.orders.all())
    others = _filled(one for one in orders if one.side == "buy" and one.purpose != "e")
    sold = Side(trade.exit_quantity, trade.exit_value)
    legs = LEGS_OF.get(trade.exit_reason, ())
    level = _filled(one for one in orders if one.side == "sell" and one.purpose in legs)
    return Sides(
        entry=Side(trade.filled_quantity - others.quantity, trade.entry_value - others.value),
        exit=sold,
        cover=_filled(one for one in orders if one.purpose == COVER),
        level=level if level.quantity else sold,
    )


def planned_stop(trade: Trade) -> Decimal:
    """Return the stop that was decided, USD: one R is measured to it, wherever it moved since."""
    before = trade.stop_loss if trade.first_stop is None else trade.first_stop
    return Decimal(str(trade.exit_parameters.get("plan", {}).get("stop_loss", before)))


def _filled(orders: Iterable[Order]) -> Side:
    found = [one for one in orders if one.filled_quantity]
    return Side(
        sum(one.filled_quantity for one in found), sum((one.filled_value for one in found), ZERO)
    )
