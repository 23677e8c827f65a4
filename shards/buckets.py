"""The bucket book: prints and quotes wait here until their bucket closes, then become bars.

Nothing is summed on arrival. A bucket is made at its close from all its prints in (time, id,
exchange) order, so arrival order, batching and duplicates cannot show in it (DESIGN 12). Choices
that the design leaves open:

- Sold-last (`L`): sets a price only when no price-eligible print of its bucket is newer.
- Odd lots in the VWAP: every print marked `I` that counts as volume, whatever else it carries.
- A duplicate equals another print of its bucket in time, id, exchange, size and price.
- A late print (its bucket is closed) counts in the session's volume and VWAP from the next close.
- A cancel or correction of a waiting print is applied at its close, in any order of arrival; of a
  closed bucket it only marks the symbol as revised (its evidence is in doubt, rev 0 stays).
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from shards import conditions, kernels
from shards.kernels import PRINT, SUMS

NO_OFFSET = -1
_MAX_REVISIONS = 10_000  # cancels and corrections kept; a feed sends some dozens a day


class Revision(NamedTuple):
    """A cancel (no replacement) or a correction of one print."""

    row: int
    id: int
    exchange: int
    replacement: tuple[int, float, int, int] | None  # id, price USD, size, flags


class PrintLog:
    """Growing array of prints whose bucket is still open."""

    def __init__(self) -> None:
        self._prints = np.empty(4096, PRINT)
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

    def drop(self, k: int) -> None:
        """Remove the prints up to bucket k."""
        self.count = kernels.keep_later(self.waiting(), k)

    def take(self) -> np.ndarray:
        """Remove and return every print."""
        taken = self.waiting().copy()
        self.count = 0
        return taken


class BucketBook:
    """Open buckets of one session and what came too late for a closed one."""

    def __init__(self) -> None:
        self.open = PrintLog()
        self.late = PrintLog()
        self.duplicates = 0
        self._revisions: dict[tuple[int, int, int], Revision] = {}

    def revise(self, revision: Revision) -> None:
        """Remember a cancel or correction for the print, whether it came or will come."""
        if len(self._revisions) >= _MAX_REVISIONS:
            self._revisions.pop(next(iter(self._revisions)))
        self._revisions[revision[:3]] = revision

    def close(self, k: int, anchor_micro: np.ndarray) -> np.ndarray:
        """Return (symbols,) SUMS of bucket k; sets an anchor where a symbol had none (0)."""
        prints = self.open.waiting()
        if self._revisions:
            self._revise(prints, k)
        sums = np.zeros(anchor_micro.size, SUMS)
        starts = np.empty(anchor_micro.size + 1, np.int64)
        order = np.empty(prints.size, np.int64)
        kernels.by_symbol(prints, k, anchor_micro.size, starts, order)
        self.duplicates += kernels.sum_prints(prints, order, starts, anchor_micro, sums)
        self.open.drop(k)
        return sums

    def take_late(self) -> np.ndarray:
        """Remove and return the late prints, in (time, id, exchange) order."""
        late = self.late.take()
        return late[np.lexsort((late["exchange"], late["id"], late["ts_ns"]))]

    def first_waiting_offset(self) -> int:
        """Return the lowest frame offset of a waiting print, NO_OFFSET without one."""
        waiting = self.open.waiting()["offset"]
        return int(waiting.min()) if waiting.size else NO_OFFSET

    def _revise(self, prints: np.ndarray, k: int) -> None:
        """Apply the cancels and corrections to the prints up to bucket k."""
        ids = np.array([revision.id for revision in self._revisions.values()])
        for at in np.flatnonzero((prints["k"] <= k) & np.isin(prints["id"], ids)):
            one = prints[at]
            key = (int(one["row"]), int(one["id"]), int(one["exchange"]))
            revision = self._revisions.get(key)
            if revision is None:
                continue
            if revision.replacement is None:
                one["flags"] |= kernels.DROPPED
                continue
            one["id"], one["price"], one["size"], one["flags"] = revision.replacement
            one["price_micro"] = round(float(one["price"]) * 1e6)


def usable(price: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Tell which prints have a positive finite price and a positive size."""
    ok: np.ndarray = (price > 0) & np.isfinite(price) & (size > 0)
    return ok


def vwap_usd(value: np.ndarray, shares: np.ndarray, close: np.ndarray) -> np.ndarray:
    """Return the volume-weighted price in USD, the close where nothing counted.

    Args: value: micro-dollars x shares; shares; close: USD.
    """
    counted = shares > 0
    return np.where(counted, value / np.maximum(shares, 1) / 1e6, close)


def flags_of(tape: str, codes: Iterable[str], *, odd_lots_in_price: bool) -> int:
    """Return the eligibility flags of one print, for the slow path (corrections)."""
    flags = conditions.eligibility(
        np.array([ord(tape[:1] or "\0")], np.uint8),
        np.array([conditions.pack(codes)], np.uint64),
        odd_lots_in_price=odd_lots_in_price,
    )
    return int(flags[0])
