"""Trades that were sent before: looked for only for a while after a reconnect, and exactly.

A trade is known by symbol, exchange, tape and id; ids alone are not unique.
"""

from collections.abc import Iterable

import numpy as np

from relay import frames
from relay.errors import FrameError
from relay.symbols import symbol_key

TRADES_MAX = 200_000  # remembered
_ID = ["key", "key2", "exchange", "tape", "id"]
_MIX = (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0xFF51AFD7ED558CCD)


class SeenTrades:
    """The newest trades of `before`; filters frames against them and against each other.

    Args:
        before: frames that were sent already, oldest first.
        only: the symbols that matter; None means all.
    """

    def __init__(self, before: Iterable[bytes], *, only: Iterable[str] | None = None) -> None:
        parts, count = [], 0
        # by the first word: a few more than wanted do no harm
        keys = None if only is None else np.array([symbol_key(one)[0] for one in only], np.uint64)
        for frame in reversed(list(before)):
            rows = frames.trades(frame, frames.scan(frame))[_ID]
            if keys is not None:
                rows = rows[np.isin(rows["key"], keys)]
            parts.append(rows)
            count += rows.size
            if count >= TRADES_MAX:
                break
        rows = np.concatenate(parts) if parts else np.empty(0, frames.TRADES)[_ID]
        hashes = _hashes(rows)
        order = np.argsort(hashes, kind="stable")
        self._hashes, self._rows = hashes[order], rows[order]

    def without(self, frame: bytes) -> tuple[bytes, int]:
        """Return the frame without trades that were sent before, and how many these are."""
        try:
            spans = frames.scan(frame)
        except FrameError:
            return frame, 0
        rows = frames.trades(frame, spans)[_ID]
        if not rows.size or not self._hashes.size:
            return frame, 0
        known = self._known(rows)
        if not known.any():
            return frame, 0
        keep = np.ones(spans.size, np.bool_)
        keep[np.flatnonzero(spans["kind"] == frames.TRADE)[known]] = False
        return frames.gather(frame, spans, keep), int(known.sum())

    def _known(self, rows: np.ndarray) -> np.ndarray:
        hashes = _hashes(rows)
        at = np.searchsorted(self._hashes, hashes)
        known = np.zeros(rows.size, np.bool_)
        while True:  # equal hashes lie side by side; nearly always there is one
            inside = at < self._hashes.size
            same = inside & (self._hashes[np.minimum(at, self._hashes.size - 1)] == hashes)
            if not same.any():
                return known
            known[same] |= self._rows[at[same]] == rows[same]
            at = at + 1


def _hashes(rows: np.ndarray) -> np.ndarray:
    """Return a uint64 per row; equal rows have equal ones."""
    place = rows["exchange"].astype(np.uint64) << np.uint64(8) | rows["tape"].astype(np.uint64)
    columns = (rows["key"], rows["key2"], place, rows["id"].astype(np.uint64))
    mixed = np.zeros(rows.size, np.uint64)
    for column, factor in zip(columns, _MIX, strict=True):
        mixed = (mixed ^ column) * np.uint64(factor)
        mixed ^= mixed >> np.uint64(29)
    return mixed
