"""Booking of raw frames: calls the compiled pass and gives it what it asks for in between."""

from collections import Counter
from typing import NamedTuple

import numpy as np

from relay.kernels import SPAN
from shards import conditions, decoding
from shards.buckets import BucketBook
from shards.columns import Symbols
from shards.trade_kernels import PLACES

_BYTES_PER_MESSAGE = 32  # a first guess; data messages take about 60
_COUNTED = ("bad_prints", "outside_session", "too_far_ahead", "unknown_conditions")


class Booked(NamedTuple):
    """What some frames held. Views, valid until the next frames are booked."""

    prints: np.ndarray  # PRINT of open buckets, in order of arrival
    conditions: np.ndarray  # uint64 of the same
    seen: np.ndarray  # trades per symbol row that count as seen
    late: np.ndarray  # prints per symbol row whose bucket was closed
    raw: np.ndarray  # all bytes
    rest: np.ndarray  # SPAN of the other data messages
    rest_offsets: np.ndarray


class Booking:
    """Puts the trades of own symbols into the book; keeps its scratch memory for the next time."""

    def __init__(self, symbols: Symbols, book: BucketBook) -> None:
        self._symbols, self._book = symbols, book
        self._decoded = np.zeros(1024, decoding.DECODED)
        self._rest = np.zeros(1024, SPAN)
        self._rest_offsets = np.zeros(1024, np.int64)
        self._packed = np.zeros(4096, np.uint64)
        self._touched = np.zeros(1024, np.int64)
        self._counts = np.zeros((2, 1024), np.int64)
        self._scratch = np.zeros(PLACES, np.int64), np.zeros(1, decoding.PROGRESS)
        self._allowed = np.zeros(decoding.ALLOWED_SLOTS, decoding.ALLOWED)
        self._allowed["tape"] = -1

    def take(
        self,
        raw: np.ndarray,
        ends: np.ndarray,
        offsets: np.ndarray,
        rules: np.ndarray,
        counts: Counter[str],
    ) -> Booked:
        """Book frames in their order; malformed ones are counted and left out.

        Args: raw: uint8, the frames and PADDING bytes or more behind them; ends, offsets: (n,)
            int64 of the frames; rules: one RULES record.
        Raises:
            ValueError: there are too few bytes.
        """
        if raw.size < ends[-1] + decoding.PADDING:
            raise ValueError(f"{raw.size} bytes for frames up to {ends[-1]}")
        open_log, late_log = self._book.open, self._book.late
        first = open_log.count
        progress = np.zeros(1, decoding.PROGRESS)
        at = progress[0]
        at["open"], at["late"] = first, late_log.count
        self._reserve(int(ends[-1]))
        self._count_all()
        self._counts[:, : len(self._symbols)] = 0
        while True:
            why = decoding.take_frames(
                raw, ends, offsets, self._symbols.slots, conditions.LOOKUP, conditions.TAPE_ROW,
                self._allowed, rules, progress, self._decoded, self._rest, self._rest_offsets,
                open_log.room(0), late_log.room(0), self._packed, first, self._touched,
                self._counts, *self._scratch,
            )  # fmt: skip
            open_log.count, late_log.count = int(at["open"]), int(at["late"])
            if why == decoding.DONE:
                break
            if why == decoding.BAD_FRAME:
                counts["bad_frames"] += 1
                at["part"] += 1
            elif why == decoding.NEW_SYMBOL:
                self._learn(self._decoded[: int(at["unknown"])])
            else:
                part = int(at["part"])
                size = int(ends[part] - (ends[part - 1] if part else 0))
                self._widen(size + 1, int(at["rest"]))
        counts.update({name: int(at[name]) for name in _COUNTED})
        spans = int(at["rest"])
        prints = open_log.waiting()[first:]
        seen, late = self._counts[:, : len(self._symbols)]
        return Booked(
            prints, self._packed[: prints.size], seen, late, raw,
            self._rest[:spans], self._rest_offsets[:spans],
        )  # fmt: skip

    def _learn(self, new: np.ndarray) -> None:
        """Give the new symbols of a sound frame their rows."""
        for key, key2 in dict.fromkeys(zip(new["key"].tolist(), new["key2"].tolist(), strict=True)):
            self._symbols.add(key, key2)
        self._count_all()

    def _count_all(self) -> None:
        """Have a counter for every row: quotes and restored states bring symbols, too."""
        missing = len(self._symbols) - self._counts.shape[1]
        if missing > 0:
            extra = np.zeros((2, missing + self._counts.shape[1]), np.int64)
            self._counts = np.concatenate((self._counts, extra), axis=1)

    def _reserve(self, size: int) -> None:
        """Make room for what so many bytes usually hold."""
        expected = size // _BYTES_PER_MESSAGE + 16
        self._book.open.room(expected)
        self._book.late.room(64)
        if self._packed.size < expected:
            self._packed = np.zeros(expected, np.uint64)

    def _widen(self, most: int, spans: int) -> None:
        """Make room for the most messages that a frame of so many bytes can hold: one a byte."""
        self._decoded = np.zeros(most, decoding.DECODED)
        self._touched = np.zeros(most, np.int64)
        self._rest = np.concatenate((self._rest[:spans], np.zeros(most, SPAN)))
        self._rest_offsets = np.concatenate((self._rest_offsets[:spans], np.zeros(most, np.int64)))
        self._book.open.room(most)
        self._book.late.room(most)
        self._packed = np.concatenate((self._packed, np.zeros(most, np.uint64)))
