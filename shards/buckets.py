"""The bucket book: prints and quotes wait here until their bucket closes, then become bars.

Nothing is summed on arrival. A bucket is made at its close from all its prints in (time, id,
exchange) order, so arrival order, batching and duplicates cannot show in it (DESIGN 12). Choices
that the design leaves open:

- Sold-last (`L`): sets a price only when no price-eligible print of its bucket is newer.
- Odd lots in the VWAP: every print marked `I` that counts as volume, whatever else it carries.
- A duplicate equals another print of its bucket in time, id, exchange, size and price.
- A late print (its bucket is closed) counts in the session's volume and VWAP from the next close.
- A cancel or correction counts by its own time, like a print: it decides the bucket that closes at
  or after it, in any order of arrival. When its print's bucket was closed by then, the symbol is
  marked as revised (its evidence is in doubt, rev 0 and the session's sums stay) and `history`
  makes the bucket's next revision.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np

from shards import conditions, kernels
from shards.history import History, room_for
from shards.kernels import PRINT, SUMS
from signals.session import BUCKET_NS

NO_OFFSET = -1
MAX_REVISIONS = 10_000  # cancels and corrections kept; a feed sends some dozens a day


class Revision(NamedTuple):
    """A cancel (no replacement) or a correction of one print."""

    row: int
    id: int
    exchange: int
    replacement: tuple[int, float, int, int] | None  # id, price USD, size, flags
    ts_ns: int
    offset: int  # of the frame that brought it

    def change(self, one: np.void) -> None:
        """Drop the print, or give it its corrected values."""
        if self.replacement is None:
            one["flags"] |= kernels.DROPPED
            return
        one["id"], one["price"], one["size"], one["flags"] = self.replacement
        one["price_micro"] = round(float(one["price"]) * 1e6)


class PrintLog:
    """Growing array of prints whose bucket is still open."""

    def __init__(self) -> None:
        self._prints = np.zeros(room_for(0), PRINT)
        self.count = 0

    def add(self, prints: np.ndarray) -> None:
        """Append prints of any bucket, in any order."""
        end = self.count + prints.size
        self.room(prints.size)
        self._prints[self.count : end] = prints
        self.count = end

    def room(self, more: int) -> np.ndarray:
        """Return the whole array, with room for so many more; who fills it sets `count`."""
        if self.count + more > self._prints.size:
            grown = np.empty(max(self.count + more, 2 * self._prints.size), PRINT)
            grown[: self.count] = self.waiting()
            self._prints = grown
        return self._prints

    def waiting(self) -> np.ndarray:
        """Return the prints that wait, as a view."""
        return self._prints[: self.count]

    def drop(self, k: int, spare: np.ndarray | None) -> np.ndarray:
        """Remove the prints up to bucket k; return the array that holds them among all.

        Args: spare: an array to go on with.
        """
        old = self._prints[: self.count]
        fresh = spare if spare is not None else np.zeros(room_for(old.size), PRINT)
        self.count = kernels.keep_later(old, k, fresh)
        self._prints = fresh
        return old

    def take(self) -> np.ndarray:
        """Remove and return every print."""
        taken = self.waiting().copy()
        self.count = 0
        return taken


class BucketBook:
    """Open buckets of one session and what came too late for a closed one."""

    def __init__(self, prints: int = 0) -> None:
        """Args: prints: of a bucket, for which memory is touched now."""
        self.open = PrintLog()
        self.late = PrintLog()
        self.history = History(prints)
        self.duplicates = 0
        self.unsettled: list[int] = []  # rows that the newest close found revised too late
        self._sums, self._starts = np.zeros(0, SUMS), np.zeros(2, np.int64)
        self._order = np.zeros(0, np.int64)
        self._settled: dict[tuple[int, int, int], Revision] = {}
        self._pending: dict[tuple[int, int, int], Revision] = {}

    def revise(self, revision: Revision) -> None:
        """Take a cancel or correction; it waits for its time. Told again it changes nothing."""
        known = self._settled.get(revision[:3])
        if known is not None and known[3:5] == revision[3:5]:
            return
        if len(self._pending) >= MAX_REVISIONS:
            self._pending.pop(next(iter(self._pending)))
        self._pending[revision[:3]] = revision

    def revised(self, row: int) -> list[int]:
        """Return the ids of the symbol's prints that were canceled or corrected, oldest first."""
        known = (*self._settled, *self._pending)
        return [number for own, number, _ in known if own == row]

    def close(self, k: int, anchor_micro: np.ndarray) -> np.ndarray:
        """Return (symbols,) SUMS of bucket k; sets an anchor where a symbol had none (0).

        They hold until the next close.
        """
        prints = self.open.waiting()
        unsettled = self._settle(prints, k)
        if self._sums.size != anchor_micro.size:
            self._sums = np.zeros(anchor_micro.size, SUMS)
            self._starts = np.zeros(anchor_micro.size + 2, np.int64)
        if self._order.size < prints.size:
            self._order = np.zeros(2 * prints.size, np.int64)
        sums, starts, order = self._sums, self._starts, self._order
        sums.view(np.uint8)[:] = 0
        kernels.by_symbol(prints, k, anchor_micro.size, starts, order)
        self.duplicates += kernels.sum_prints(prints, order, starts, anchor_micro, sums)
        self.history.add(k, self.open.drop(k, self.history.spare(prints.size)), unsettled)
        self.unsettled = [revision.row for revision in unsettled]
        return sums

    def take_late(self) -> np.ndarray:
        """Remove and return the late prints that stand, in (time, id, exchange) order."""
        late = self.late.take()
        if late.size == 0:
            return late
        late = late[np.lexsort((late["exchange"], late["id"], late["ts_ns"]))]
        self._apply(late, self._settled, int(late["k"].max()))
        self.history.add_late(late)
        stand: np.ndarray = late[late["flags"] & kernels.DROPPED == 0]
        return stand

    def first_waiting_offset(self) -> int:
        """Return the lowest frame offset of a waiting print or revision, else NO_OFFSET."""
        offsets = self.open.waiting()["offset"]
        waiting = [int(offsets.min())] if offsets.size else []
        waiting += [one.offset for one in self._pending.values() if one.offset != NO_OFFSET]
        return min(waiting, default=NO_OFFSET)

    def forget_offsets(self) -> None:
        """Treat what waits as without an offset."""
        self.open.waiting()["offset"] = NO_OFFSET
        self._pending = {k: one._replace(offset=NO_OFFSET) for k, one in self._pending.items()}

    def _settle(self, prints: np.ndarray, k: int) -> list[Revision]:
        """Apply what is due by bucket k's end; return what found no waiting print."""
        end_ns = (k + 1) * BUCKET_NS
        due = {key: one for key, one in self._pending.items() if one.ts_ns < end_ns}
        if not due:
            return []
        for key in due:
            del self._pending[key]
        found = self._apply(prints, due, k)
        for key, one in due.items():
            self._settled[key] = one
            if len(self._settled) > MAX_REVISIONS:
                self._settled.pop(next(iter(self._settled)))
        return [one for key, one in sorted(due.items()) if key not in found]

    def _apply(
        self,
        prints: np.ndarray,
        revisions: Mapping[tuple[int, int, int], Revision],
        last_k: int,
    ) -> set[tuple[int, int, int]]:
        """Change the prints up to a bucket that the revisions name; return which were found."""
        found = set()
        if revisions and prints.size:
            ids = np.array([revision.id for revision in revisions.values()])
            for at in np.flatnonzero(np.isin(prints["id"], ids) & (prints["k"] <= last_k)):
                one = prints[at]
                key = (int(one["row"]), int(one["id"]), int(one["exchange"]))
                if key in revisions:
                    found.add(key)
                    revisions[key].change(one)
        return found


def usable(price: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Tell which prints have a positive finite price and a positive size."""
    ok: np.ndarray = (price > 0) & np.isfinite(price) & (size > 0)
    return ok


def flags_of(tape: str, codes: Iterable[str], *, odd_lots_in_price: bool) -> int:
    """Return the eligibility flags of one print, for the slow path (corrections)."""
    flags = conditions.eligibility(
        np.array([ord(tape[:1] or "\0")], np.uint8),
        np.array([conditions.pack(codes)], np.uint64),
        odd_lots_in_price=odd_lots_in_price,
    )
    return int(flags[0])
