"""Who has which letters, as numbered grants: the number is what fences an old owner off. Pure.

A grant never changes: letters move by ending one and giving another with a higher number. What is
reported or written under a number that does not count any more is ignored.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from shards.letters import Range, holds
from shards.split import minus


@dataclass(frozen=True, kw_only=True)
class Grant:
    """One shard's right to some letters. from_k: the first bucket whose report is owed."""

    number: int
    shard: int
    ranges: tuple[Range, ...]
    from_k: int = 0

    def holds(self, symbol: str) -> bool:
        return holds(self.ranges, symbol)


def as_rows(grants: Iterable[Grant]) -> list[dict[str, Any]]:
    """Return the grants as plain JSON data."""
    return [asdict(grant) for grant in grants]


def from_rows(rows: Iterable[Mapping[str, Any]]) -> list[Grant]:
    """Return the grants that `as_rows` wrote."""
    return [Grant(**{**row, "ranges": tuple((lo, hi) for lo, hi in row["ranges"])}) for row in rows]


def regrant(
    held: Sequence[Grant],
    wanted: Mapping[int, Sequence[Range]],
    *,
    number: int,
    from_k: Callable[[Sequence[Grant]], int],
) -> list[Grant]:
    """Return the grants that make `wanted` true; what stays with its shard goes on undisturbed.

    Args:
        number: the newest number so far.
        from_k: the first bucket that is owed of letters that these grants had.
    """
    kept = [one for one in held if not minus(one.ranges, wanted.get(one.shard, ()))]
    ended = [one for one in held if one not in kept]
    fresh = []
    for shard, ranges in sorted(wanted.items()):
        mine = [piece for one in kept if one.shard == shard for piece in one.ranges]
        if rest := minus(ranges, mine):
            number += 1
            before = [one for one in ended if minus(one.ranges, rest) != minus(one.ranges, ())]
            fresh.append(
                Grant(number=number, shard=shard, ranges=tuple(rest), from_k=from_k(before))
            )
    return kept + fresh


class Holders:
    """Finds the grant of a symbol."""

    def __init__(self, grants: Iterable[Grant]) -> None:
        self.by_number = {grant.number: grant for grant in grants}
        edges = sorted((lo, n) for n, one in self.by_number.items() for lo, _ in one.ranges)
        self._lows = [low for low, _ in edges]
        self._numbers = [number for _, number in edges]

    def of(self, symbol: str) -> Grant | None:
        """Return the grant that holds a symbol."""
        at = bisect_right(self._lows, symbol) - 1
        found = self.by_number[self._numbers[at]] if at >= 0 else None
        return found if found is not None and found.holds(symbol) else None
