"""Which executions the books can hold: whole shares at a price; the others are set aside."""

from decimal import Decimal
from typing import TypeGuard

from accounts.domain.money import nearest
from execution.brokers.port import Shares, is_whole

FILLS = "fill:"  # how the keys of executions begin that the books hold
ODD = "odd:"  # how the keys of executions begin that the books cannot hold
VALUE_MAX = 10**12  # USD; more is no execution


def key_of(execution_id: str, quantity: Shares | None, price: Decimal | None) -> str:
    """Return the key of an execution's event; one that the books cannot hold is not of theirs."""
    return f"{FILLS}{execution_id}" if bookable(quantity, price) else f"{ODD}{execution_id}"


def bookable(quantity: Shares | None, price: Decimal | None) -> TypeGuard[int]:
    """Are these whole shares at a price, USD? Only the quantity is narrowed to an int."""
    if not is_whole(quantity) or quantity <= 0 or price is None:
        return False
    return 0 < quantity * nearest(price) <= VALUE_MAX
