"""Exact money: integer micro-dollars inside, `Decimal` dollars outside, floats never."""

from decimal import ROUND_HALF_EVEN, Context, Decimal, Inexact, InvalidOperation, Overflow

MICROS_PER_DOLLAR = 1_000_000
MICRO_DIGITS = 6
MAX_MICROS = 2**63 - 1  # what a BIGINT column holds

# Own context: the caller's precision or rounding must not be able to change an amount.
_EXACT = Context(prec=40, traps=[Inexact, InvalidOperation, Overflow])
_NEAREST = Context(prec=40, rounding=ROUND_HALF_EVEN, traps=[InvalidOperation, Overflow])


class InexactMoney(ValueError):
    """The amount has more than six decimals, is not finite, or is out of range."""


def to_micros(amount: Decimal | int) -> int:
    """Return a dollar amount in micro-dollars, exactly.

    Raises:
        TypeError: the amount is a float, a bool or anything else but Decimal and int.
        InexactMoney: it has more than six decimals, is not finite, or exceeds 64 bits.
    """
    if isinstance(amount, bool) or not isinstance(amount, Decimal | int):
        raise TypeError(f"money is Decimal or int, not {type(amount).__name__}: {amount!r}")
    if isinstance(amount, int):
        return _in_range(amount * MICROS_PER_DOLLAR, amount)
    if not amount.is_finite():
        raise InexactMoney(f"{amount} is not an amount")
    try:
        micros = amount.scaleb(MICRO_DIGITS, _EXACT).to_integral_exact(context=_EXACT)
    except (Inexact, InvalidOperation, Overflow):
        raise InexactMoney(f"{amount} is not a whole number of micro-dollars") from None
    return _in_range(micros, amount)


def nearest(amount: Decimal) -> Decimal:
    """Return an amount to the nearest micro-dollar, halves to the even one.

    What it leaves out is at most half a micro-dollar: the caller says so where it books it.

    Raises:
        InexactMoney: it is not finite, or out of range.
    """
    if not amount.is_finite():
        raise InexactMoney(f"{amount} is not an amount")
    try:
        micros = amount.scaleb(MICRO_DIGITS, _NEAREST).to_integral_value(context=_NEAREST)
    except (InvalidOperation, Overflow):
        raise InexactMoney(f"{amount} is beyond what the books can hold") from None
    return from_micros(_in_range(micros, amount))


def from_micros(micros: int) -> Decimal:
    """Return micro-dollars as a dollar amount, always with six decimals."""
    return Decimal(micros).scaleb(-MICRO_DIGITS, _EXACT)


def _in_range(micros: Decimal | int, amount: Decimal | int) -> int:
    if not -MAX_MICROS <= micros <= MAX_MICROS:  # before int(): 1E+999999 would fill the memory
        raise InexactMoney(f"{amount} is beyond what the books can hold")
    return int(micros)
