"""Who watches which symbols: letters, ranges of symbols, and their assignment to shards.

A range is half open, `[lo, hi)`, compared as strings; an empty `hi` has no upper end. `A*` is the
range `[A, B)`. The relay takes ranges as text, so a hot letter can be split: `[A,AN)`, `[AN,B)`.
"""

from collections.abc import Iterable, Sequence

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
AFTER_Z = "["  # the character after Z
_SYMBOL_AFTER_Z = "_"  # the first one after it that a symbol may hold
Range = tuple[str, str]


def letter_range(letter: str) -> Range:
    """Return the range of the symbols that begin with `letter`."""
    return letter, chr(ord(letter) + 1)


def effective_letters_per_shard(letters_per_shard: int, live_shards: int) -> int:
    """Return how many letters each shard takes when fewer shards live than asked for.

    Raises:
        ValueError: no shard, or not 1 to 26 letters.
    """
    if live_shards < 1 or not 1 <= letters_per_shard <= len(LETTERS):
        raise ValueError(f"cannot give {letters_per_shard} letters each to {live_shards} shards")
    return max(letters_per_shard, -(-len(LETTERS) // live_shards))


def assign_letters(shards: Sequence[int], letters_per_shard: int = 1) -> dict[int, list[Range]]:
    """Return each shard's ranges: consecutive letters, shards in the order given.

    What does not begin with a letter (digits, lower case) goes to the first shard. Shards that
    get no letter are in the result with an empty list.
    Raises:
        ValueError: no shard, or not 1 to 26 letters.
    """
    each = effective_letters_per_shard(letters_per_shard, len(shards))
    result: dict[int, list[Range]] = {}
    for position, shard in enumerate(shards):
        letters = LETTERS[position * each : (position + 1) * each]
        result[shard] = [(letters[0], letter_range(letters[-1])[1])] if letters else []
    result[shards[0]] = merge([("", LETTERS[0]), *result[shards[0]], (AFTER_Z, "")])
    return result


def cut(weights: Sequence[float], parts: int) -> list[int]:
    """Return bounds of `parts` consecutive runs whose heaviest sum is smallest (to a millionth)."""
    low, high = max(weights, default=0.0), sum(weights)
    while high - low > 1e-6 * max(high, 1e-300):
        middle = (low + high) / 2
        if len(_runs(weights, middle)) <= parts:
            high = middle
        else:
            low = middle
    starts = _runs(weights, high)
    return starts + [len(weights)] * (parts + 1 - len(starts))


def _runs(weights: Sequence[float], limit: float) -> list[int]:
    """Return the starts of greedy runs that each sum to at most `limit`."""
    starts, total = [0], 0.0
    for i, weight in enumerate(weights):
        total += weight
        if total > limit and i > starts[-1]:
            starts.append(i)
            total = weight
    return starts


def merge(ranges: Iterable[Range]) -> list[Range]:
    """Return the ranges sorted, with touching or overlapping ones joined."""
    merged: list[Range] = []
    for lo, hi in sorted(ranges):
        if merged and (not merged[-1][1] or lo <= merged[-1][1]):
            last_lo, last_hi = merged[-1]
            merged[-1] = (last_lo, "" if not last_hi or not hi else max(last_hi, hi))
        else:
            merged.append((lo, hi))
    return merged


def holds(ranges: Iterable[Range], symbol: str) -> bool:
    """Tell whether one of the ranges holds the symbol."""
    return any(lo <= symbol and (not hi or symbol < hi) for lo, hi in ranges)


def pattern(one: Range) -> str:
    """Return the range as a subscription pattern of the relay: `*`, `A*`, `[A,AN)`, `[A,)`."""
    lo, hi = one
    if not lo and not hi:
        return "*"
    if len(lo) == 1 and letter_range(lo)[1] == hi:
        return f"{lo}*"
    low, high = (_SYMBOL_AFTER_Z if end == AFTER_Z else end for end in one)
    return f"[{low},{high})"


def cell_of(symbol: str) -> str:
    """Return the storage cell of a symbol: its first two characters."""
    return symbol[:2]


def touches(ranges: Iterable[Range], cell: str) -> bool:
    """Tell whether a symbol of the cell can lie in one of the ranges."""
    end = cell[:-1] + chr(ord(cell[-1]) + 1) if cell else ""
    return any((not hi or cell < hi) and (not end or lo < end) for lo, hi in ranges)
