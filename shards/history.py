"""What became of closed buckets: their prints are kept for a while, and revised when told to.

Late prints, cancels and corrections of a closed bucket make its next revision: the bucket as it
would have been, rev 1 and up. Rev 0 is what was decided on and never changes. The prints of the
last HISTORY_BUCKETS are kept as the book left them, without a copy, bounded in bytes; what is older
is counted and not revised. Revisions are for the archive: nothing is decided on them. A bucket
without an own print keeps the close that it carried, also when that close is revised. After a
restart the history begins empty.
"""

from collections import deque
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from shards import kernels
from shards.kernels import DROPPED, PRINT, SUMS

if TYPE_CHECKING:
    from shards.buckets import Revision

HISTORY_BUCKETS = 12  # a minute; more of them cost the book its place in the cache
HISTORY_BYTES_MAX = 128 << 20
_PAGE = 4096
CHANGES_MAX = 10_000  # waiting to be worked off


class _Closed(NamedTuple):
    k: int
    prints: np.ndarray  # PRINT, also of later buckets


class Revised(NamedTuple):
    """The next revision of one symbol's closed bucket."""

    k: int
    row: int
    rev: int
    sums: np.void  # SUMS


def room_for(prints: int) -> int:
    """Return how many prints an array should hold for a bucket like one of so many."""
    return max(1024, 1 << (prints + prints // 4).bit_length())


def _held(prints: np.ndarray) -> int:
    """Return the bytes of the array behind the view."""
    return prints.nbytes if prints.base is None else int(prints.base.nbytes)


class History:
    """Prints of the newest closed buckets, and their revisions."""

    def __init__(self, prints: int = 0) -> None:
        """Args: prints: of a bucket, for which memory is touched now."""
        self._closed: deque[_Closed] = deque()
        self._bytes = 0
        self._spare: list[np.ndarray] = []
        if prints:
            self._spare = [np.zeros(room_for(prints), PRINT) for _ in range(HISTORY_BUCKETS + 1)]
            for array in self._spare:
                array.view(np.uint8)[::_PAGE] = 0
        self._changes: list[Revision] = []
        self._late: dict[tuple[int, int], list[np.void]] = {}
        self._revs: dict[tuple[int, int], int] = {}
        self._touched: set[tuple[int, int]] = set()
        self.too_old = 0

    def spare(self, prints: int) -> np.ndarray | None:
        """Return an array that is not needed any more and fits a bucket like this one."""
        need = room_for(prints)
        for at, array in enumerate(self._spare):
            if need <= array.size <= 4 * need:
                return self._spare.pop(at)
        return None

    def add(self, k: int, prints: np.ndarray, changes: "list[Revision]") -> None:
        """Keep the prints of a bucket that closes now, and the revisions that found no print."""
        self._closed.append(_Closed(k, prints))
        self._bytes += _held(prints)
        self._changes += changes[: CHANGES_MAX - len(self._changes)]
        while len(self._closed) > HISTORY_BUCKETS or (
            self._bytes > HISTORY_BYTES_MAX and len(self._closed) > 1
        ):
            old = self._closed.popleft()
            self._bytes -= _held(old.prints)
            base = old.prints.base
            if base is not None:
                self._spare = [*self._spare[-HISTORY_BUCKETS:], base]
            for key in [key for key in self._revs if key[0] <= old.k]:
                self._revs.pop(key)
                self._late.pop(key, None)
                self._touched.discard(key)

    def add_late(self, late: np.ndarray) -> None:
        """Take late prints, dropped ones marked."""
        kept = {one.k for one in self._closed}
        for one in late[:CHANGES_MAX]:
            key = (int(one["k"]), int(one["row"]))
            if key[0] in kept:
                self._late.setdefault(key, []).append(one.copy())
                self._revs.setdefault(key, 0)
                self._touched.add(key)
            else:
                self.too_old += 1

    def take(self) -> list[Revised]:
        """Work off what came since the last call; return the new revisions by (k, row)."""
        changes, self._changes = self._changes, []
        for revision in changes:
            self._change(revision)
        touched, self._touched = self._touched, set()
        return [self._revised(k, row) for k, row in sorted(touched)]

    def _change(self, revision: "Revision") -> None:
        """Find the print of a cancel or correction among the closed ones, and change it."""
        for key, late in self._late.items():
            for one in late:
                if (key[1], one["id"], one["exchange"]) == revision[:3]:
                    revision.change(one)
                    self._touched.add(key)
                    return
        for closed in reversed(self._closed):
            prints = closed.prints
            here = (prints["id"] == revision.id) & (prints["row"] == revision.row)
            here &= (prints["exchange"] == revision.exchange) & (prints["k"] == closed.k)
            for at in np.flatnonzero(here & (prints["flags"] & DROPPED == 0)):
                revision.change(prints[at])
                self._touched.add((closed.k, revision.row))
                self._revs.setdefault((closed.k, revision.row), 0)
            if here.any():
                return
        self.too_old += 1

    def _revised(self, k: int, row: int) -> Revised:
        closed = next(one for one in self._closed if one.k == k)
        own = closed.prints[(closed.prints["row"] == row) & (closed.prints["k"] == k)]
        late = self._late.get((k, row), [])
        prints = np.concatenate((own, np.array(late, PRINT))) if late else own.copy()
        prints["row"] = 0
        sums, starts = np.zeros(1, SUMS), np.zeros(3, np.int64)
        order = np.zeros(prints.size, np.int64)
        kernels.by_symbol(prints, k, 1, starts, order)
        kernels.sum_prints(prints, order, starts, np.zeros(1, np.int64), sums)
        self._revs[k, row] = rev = self._revs[k, row] + 1
        return Revised(k, row, rev, sums[0])
