"""Does the venue have what we asked for? Its echo field by field, its legs against the plan.

A venue may round a price to its own step, so a difference of one tick is none. Source: design,
reliability 2 (rows 64, 65) and 3.1 (step 7).
"""

from collections.abc import Iterable
from decimal import Decimal

import msgspec

from execution.domain.prices import tick_of

CLASSES = {"e": "bracket", "o": "oco"}  # by the purpose of the order; the others are simple


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """What an order asks for, or what the venue says it asks for; prices USD, None: it has none."""

    symbol: str
    side: str
    quantity: int | Decimal
    type: str
    time_in_force: str
    order_class: str  # "" | "bracket" | "oco"
    limit: Decimal | None = None


class Legs(msgspec.Struct, frozen=True, kw_only=True):
    """Where the exits of a bracket or OCO stand, or should stand; USD.

    Args: stop_limit: the lowest price once the stop is elected, None: any.
    """

    target: Decimal
    stop: Decimal
    stop_limit: Decimal | None = None


Leg = tuple[Decimal | None, Decimal | None]  # limit, stop


def same_price(planned: Decimal | None, seen: Decimal | None) -> bool:
    """Are two prices the same but for the rounding of the venue?"""
    if planned is None or seen is None:
        return planned is seen
    return abs(planned - seen) <= tick_of(planned)


def differences(asked: Terms, told: Terms) -> list[str]:
    """Return every field in which the venue's echo is not what we asked for."""
    found = []
    for name in Terms.__struct_fields__:
        ours, theirs = getattr(asked, name), getattr(told, name)
        same = same_price(ours, theirs) if name == "limit" else ours == theirs
        if not same:
            found.append(_differs(name.replace("_", " "), ours, theirs))
    return found


def misplaced(planned: Legs, legs: Iterable[Leg]) -> list[str]:
    """Return which legs do not stand where they should, with the planned price and the seen."""
    pairs: list[tuple[str, Decimal | None, Decimal | None]] = []
    for limit, stop in legs:
        if stop is None:
            pairs.append(("target", planned.target, limit))
        else:
            pairs.append(("stop", planned.stop, stop))
            pairs.append(("limit of the stop", planned.stop_limit, limit))
    return [_differs(name, ours, seen) for name, ours, seen in pairs if not same_price(ours, seen)]


def _differs(name: str, planned: object, seen: object) -> str:
    return f"{name} planned {_shown(planned)}, seen {_shown(seen)}"


def _shown(value: object) -> str:
    if isinstance(value, Decimal):
        return str(value.quantize(tick_of(value)))
    return "none" if value in (None, "") else str(value)
