"""From float features to Decimal prices, and prices on the tick grid."""

from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from functools import lru_cache
from math import isfinite

CENT = Decimal("0.01")
SUBPENNY = Decimal("0.0001")


def decimal_of(value: float) -> Decimal:
    """Return the Decimal that a float is written as: 20.06 is exactly 20.06.

    The only way from a kernel's float to money; everything after it is exact.

    Raises:
        ValueError: the float is not finite.
    """
    value = float(value)
    if not isfinite(value):
        raise ValueError(f"{value} is not a price")
    return Decimal(repr(value))


@lru_cache(maxsize=1024)
def exact(limit: float) -> Decimal:
    """Return `decimal_of` a parameter: the same few come again with every candidate."""
    return decimal_of(limit)


def tick_of(price: Decimal) -> Decimal:
    """Return the price step: a cent from 1 USD on, else a hundredth of a cent (the venue's)."""
    return CENT if price >= 1 else SUBPENNY


def floor_tick(price: Decimal) -> Decimal:
    """Return the highest tick at or below the price."""
    return price.quantize(CENT if price >= 1 else SUBPENNY, ROUND_FLOOR)


def ceil_tick(price: Decimal) -> Decimal:
    """Return the lowest tick at or above the price."""
    return price.quantize(CENT if price >= 1 else SUBPENNY, ROUND_CEILING)


def ticks(price: Decimal) -> int:
    """Return the price as a count of hundredths of a cent, for comparisons.

    Raises:
        ValueError: the price lies between two steps of the finest grid.
    """
    count = price / SUBPENNY
    if count != count.to_integral_value():
        raise ValueError(f"{price} is not on the tick grid")
    return int(count)
