"""Booking of raw frames: calls the compiled pass and gives it what it asks for in between."""

from collections import Counter
from typing import NamedTuple

import numpy as np

from relay.kernels import SPAN
from shards import conditions, decoding
from shards.buckets import BucketBook
from shards.columns import Symbols

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
        self._scratch = np.zeros(1024, decoding.DECODED)
        self._rest = np.zeros(1024, SPAN)
        self._rest_offsets = np.zeros(1024, np.int64)
        self._packed = np.zeros(4096, np.uint64)
        self._counts = np.zeros((2, 1024), np.int64)

    def take(
        self, parts: list[bytes], offsets: np.ndarray, rules: np.ndarray, counts: Counter[str]
    ) -> Booked:
        """Book frames in their order; malformed ones are counted and left out.

        Args: offsets: (n,) int64 of the frames; rules: one RULES record.
        """
        raw = np.frombuffer(b"".join(parts), np.uint8)
        ends = np.cumsum([len(part) for part in parts], dtype=np.int64)
        open_log, late_log = self._book.open, self._book.late
        first = open_log.count
        progress = np.zeros(1, decoding.PROGRESS)
        at = progress[0]
        at["open"], at["late"] = first, late_log.count
        self._reserve(raw.size)
        self._counts[:, : len(self._symbols)] = 0
        while True:
            why = decoding.take_frames(
                raw, ends, offsets, *self._symbols.words, conditions.LOOKUP, conditions.TAPE_ROW,
                rules, progress, self._scratch, self._rest, self._rest_offsets,
                open_log.room(0), late_log.room(0), self._packed, first, self._counts,
            )  # fmt: skip
            open_log.count, late_log.count = int(at["open"]), int(at["late"])
            if why == decoding.DONE:
                break
            if why == decoding.BAD_FRAME:
                counts["bad_frames"] += 1
                at["part"] += 1
            elif why == decoding.NEW_SYMBOL:
                self._learn(self._scratch[: int(at["decoded"])])
            else:
                self._widen(len(parts[int(at["part"])]), why)
        counts.update({name: int(at[name]) for name in _COUNTED})
        spans = int(at["rest"])
        prints = open_log.waiting()[first:]
        seen, late = self._counts[:, : len(self._symbols)]
        return Booked(
            prints, self._packed[: prints.size], seen, late, raw,
            self._rest[:spans], self._rest_offsets[:spans],
        )  # fmt: skip

    def _learn(self, decoded: np.ndarray) -> None:
        """Give the new symbols of a sound frame their rows."""
        new = decoded[decoded["row"] == -1]
        for key, key2 in dict.fromkeys(zip(new["key"].tolist(), new["key2"].tolist(), strict=True)):
            self._symbols.add(key, key2)
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

    def _widen(self, size: int, why: int) -> None:
        """Make room for the most messages that a frame of so many bytes can hold."""
        if why == decoding.NO_SCRATCH:
            most = size + 2  # a byte is the smallest message
            self._scratch = np.zeros(most, decoding.DECODED)
            grown = np.zeros(self._rest.size + most, SPAN)
            grown[: self._rest.size] = self._rest
            self._rest = grown
            offsets = np.zeros(grown.size, np.int64)
            offsets[: self._rest_offsets.size] = self._rest_offsets
            self._rest_offsets = offsets
            return
        most = self._scratch.size
        self._book.open.room(most)
        self._book.late.room(most)
        self._packed = np.concatenate((self._packed, np.zeros(self._packed.size + most, np.uint64)))
