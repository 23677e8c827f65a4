"""Assignments by hand and by measured load, below a letter where one is hot, and take-over.

Load is any measure per storage cell (the first two characters of a symbol), such as prints of the
last minutes. Every result has exactly one owner for every symbol; `check` proves it.
"""

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise

from shards.letters import AFTER_Z, LETTERS, Range, assign_letters, cut, letter_range, merge

Assigned = dict[int, list[Range]]
EDGE_MAX = 2  # a finer cut would give one storage cell two writers
_EVEN = dict.fromkeys(LETTERS, 1.0)  # when nothing was measured yet
_PART = re.compile(r"\[([A-Z.]*),([A-Z.]*)\)|([A-Z])\s*[-–]\s*([A-Z])|([A-Z])|\s+|,")


def by_load(shards: Sequence[int], load: Mapping[str, float]) -> Assigned:
    """Return one contiguous range per shard so that the heaviest carries the least.

    Fewer cells than shards leave the last ones without a range.
    Raises:
        ValueError: no shard.
    """
    if not shards:
        raise ValueError("no shard to give letters to")
    cells = _cells(load)
    bounds = cut([max(load.get(cell, 0.0), 0.0) for cell in cells], len(shards))
    starts = [first for first, last in pairwise(bounds) if first < last]
    lows = ["", *(cells[first] for first in starts[1:])]
    ranges = list(zip(lows, [*lows[1:], ""], strict=True))
    return {
        shard: [ranges[place]] if place < len(ranges) else [] for place, shard in enumerate(shards)
    }


def _cells(load: Mapping[str, float]) -> list[str]:
    """Return where a cut may lie: each letter, and each cell with load that begins with one."""
    return sorted({*LETTERS, *(cell for cell in load if cell[:1] in LETTERS and cell[:1])})


def by_hand(shards: Sequence[int], text: str) -> Assigned:
    """Return the assignment that is written out: `ABC | D-L | M-Q | R-Z`, `[A,AN) | [AN,B) C-Z`.

    What does not begin with a letter goes to the first shard.
    Raises:
        ValueError: another number of parts than of shards, or a symbol with no or two owners.
    """
    parts = text.split("|")
    if len(parts) != len(shards):
        raise ValueError(f"{len(parts)} parts for {len(shards)} shards")
    assigned = {shard: _ranges(part) for shard, part in zip(shards, parts, strict=True)}
    first = [("", LETTERS[0]), *assigned[shards[0]], (AFTER_Z, "")]
    assigned[shards[0]] = first
    check(assigned)
    return {shard: merge(ranges) for shard, ranges in assigned.items()}


def _ranges(text: str) -> list[Range]:
    found, at = [], 0
    text = text.strip()
    while at < len(text):
        match = _PART.match(text, at)
        if match is None:
            raise ValueError(f"neither letters nor a range: {text[at:]!r}")
        low, high, first, last, letter = match.groups()
        if low is not None:
            if max(len(low), len(high)) > EDGE_MAX:
                raise ValueError(f"[{low},{high}) cuts finer than {EDGE_MAX} characters")
            found.append((low, high))
        elif first:
            found.append((first, letter_range(last)[1]))
        elif letter:
            found.append(letter_range(letter))
        at = match.end()
    return found


def planned(
    plan: str, living: Sequence[int], *, letters_per_shard: int, load: Mapping[str, float]
) -> Assigned:
    """Return who should have what, when these shards live.

    Args: plan: `letters` (consecutive letters, `letters_per_shard` each), `load` (measured), or
        a map whose parts go to the shards 1, 2, 3 …; who of these does not live is taken over.
    Raises:
        ValueError: nobody lives, or the map loses or doubles symbols.
    """
    if plan == "load" and load:
        return by_load(living, load)
    if plan in ("letters", "load"):
        return assign_letters(living, letters_per_shard)
    mapped = by_hand(range(1, plan.count("|") + 2), plan)
    return take_over(mapped, living, load)


def check_plan(plan: str) -> None:
    """Raises ValueError: neither a known word nor a sound map."""
    planned(plan, [1], letters_per_shard=1, load={})


def check(assigned: Mapping[int, Sequence[Range]]) -> None:
    """Raises ValueError: a symbol would have no owner, or two."""
    end: str | None = ""
    for low, high in sorted(one for ranges in assigned.values() for one in ranges):
        if end is None or low < end:
            raise ValueError(f"two owners from {low or 'the start'!r} on")
        if low > end:
            raise ValueError(f"no owner for symbols from {end or 'the start'!r} to {low!r}")
        if high and high <= low:
            raise ValueError(f"an empty range [{low},{high})")
        end = high or None
    if end is not None:
        raise ValueError(f"no owner for symbols from {end or 'the start'!r} on")


def take_over(
    assigned: Mapping[int, Sequence[Range]], living: Sequence[int], load: Mapping[str, float]
) -> Assigned:
    """Return the assignment with the letters of all others given to the living shards.

    Nobody living gives a letter away, so what they have goes on undisturbed; the lightest take
    most, in contiguous pieces. A living shard without letters so far joins in.
    Raises:
        ValueError: nobody lives.
    """
    if not living:
        raise ValueError("no shard is left to take over")
    load = load or _EVEN
    result = {shard: list(assigned.get(shard, ())) for shard in living}
    orphaned = [one for shard, ranges in assigned.items() if shard not in result for one in ranges]
    pieces = [piece for one in sorted(orphaned) for piece in _pieces(one, load)]
    weights = [_weight(piece, load) for piece in pieces]
    carried = {shard: sum(_weight(one, load) for one in ranges) for shard, ranges in result.items()}
    level = _level(list(carried.values()), sum(weights))
    order = sorted(living, key=lambda shard: (carried[shard], shard))
    at = 0
    for place, shard in enumerate(order):
        last = place == len(order) - 1
        while at < len(pieces) and (last or carried[shard] + weights[at] / 2 <= level):
            result[shard].append(pieces[at])
            carried[shard] += weights[at]
            at += 1
    return {shard: merge(ranges) for shard, ranges in sorted(result.items())}


def _level(carried: list[float], more: float) -> float:
    """Return how high everybody stands when `more` is poured onto the lowest."""
    ordered = sorted(carried)
    for count in range(1, len(ordered) + 1):
        level = (sum(ordered[:count]) + more) / count
        if count == len(ordered) or level <= ordered[count]:
            return level
    return 0.0


def _pieces(one: Range, load: Mapping[str, float]) -> list[Range]:
    low, high = one
    cuts = [cell for cell in _cells(load) if low < cell and (not high or cell < high)]
    return list(zip([low, *cuts], [*cuts, high], strict=True))


def _weight(one: Range, load: Mapping[str, float]) -> float:
    low, high = one
    return sum(value for cell, value in load.items() if low <= cell and (not high or cell < high))


def minus(ranges: Sequence[Range], taken: Sequence[Range]) -> list[Range]:
    """Return what is left of the ranges without those taken."""
    left = list(merge(ranges))
    for low, high in taken:
        left = [piece for one in left for piece in _without(one, low, high)]
    return left


def _without(one: Range, low: str, high: str) -> list[Range]:
    first, last = one
    if (high and high <= first) or (last and last <= low):
        return [one]
    before = [(first, low)] if first < low else []
    after = [(high, last)] if high and (not last or high < last) else []
    return before + after
