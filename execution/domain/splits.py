"""What a split means for a position that is held: another number of shares, and other prices."""

from collections.abc import Sequence
from decimal import Decimal

from execution.domain.prices import ceil_tick, floor_tick


def shares_after(rows: Sequence[Decimal], held: int, position: int) -> Decimal | None:
    """Return the shares that a split made of a long position; None: the rows do not explain it.

    They explain it when they lead from what we hold to what the broker holds, or when one of them
    is what the broker holds. A fraction of a share is in the answer, because prices follow the
    ratio of the split, and not in the position: its worth comes as cash.

    Args: rows: what the broker's activities say, signed shares; held: by our books; position: the
        broker's.
    """
    if held <= 0 or position <= 0 or position == held:
        return None
    return next((end for end in (sum(rows, Decimal(held)), *rows) if int(end) == position), None)


def filled_after(filled: int, before: int, after: int) -> tuple[int, int]:
    """Return (bought, sold) in new shares, of `filled` shares with `before` of them left.

    What is left is exact; what was sold before is only counted, and rounded.
    """
    sold = (2 * (filled - before) * after + before) // (2 * before)
    return sold + after, sold


def scaled_down(price: Decimal, before: int, after: Decimal) -> Decimal:
    """Return a limit in new shares, on the tick below."""
    return floor_tick(price * before / after)


def scaled_up(price: Decimal, before: int, after: Decimal) -> Decimal:
    """Return a stop in new shares, on the tick above: it never gets wider."""
    return ceil_tick(price * before / after)
