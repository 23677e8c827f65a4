"""Who gets what: a subscription compiled to ranges of symbols, and its mask of a frame.

Corrections and cancels follow the trades subscription.
"""

from collections.abc import Iterable, Mapping

import numpy as np

from relay import kernels
from relay.frames import CANCEL, CORRECTION
from relay.symbols import CHANNELS, entry_bounds

__all__ = ["CHANNELS", "Route"]

_WORD = (1 << 64) - 1


class Route:
    """One subscription, compiled. Empty without entries; immutable.

    Args:
        channels: entries by channel name; unknown channels and empty lists are ignored.
            Afterwards `ranges` are the same as disjoint ascending [low, high) of symbol words.
    """

    def __init__(self, channels: Mapping[str, Iterable[str]]) -> None:
        self.ranges: dict[str, tuple[tuple[int, int], ...]] = {}
        self._slots = np.full(256, -1, np.int64)
        starts, lows, highs = [0], [], []
        for name, kind in CHANNELS.items():
            ranges = _merged([entry_bounds(entry) for entry in channels.get(name, ())])
            if not ranges:
                continue
            self.ranges[name] = tuple(ranges)
            self._slots[ord(kind)] = len(starts) - 1
            lows += [low for low, _ in ranges]
            highs += [high for _, high in ranges]
            starts.append(len(lows))
        trade_slot = self._slots[ord("t")]
        self._slots[[CORRECTION, CANCEL]] = trade_slot
        self._starts = np.array(starts, np.int64)
        self._low, self._low2 = _split(lows)
        self._high, self._high2 = _split(highs)

    def __bool__(self) -> bool:
        return self._starts.size > 1

    def mask(self, spans: np.ndarray) -> np.ndarray:
        """Return (len(spans),) bool: which messages this subscription wants."""
        out = np.empty(spans.size, np.bool_)
        kernels.route_mask(
            np.ascontiguousarray(spans),
            self._slots,
            self._starts,
            self._low,
            self._low2,
            self._high,
            self._high2,
            out,
        )
        return out


def _merged(ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return disjoint ascending ranges that cover the same."""
    merged: list[tuple[int, int]] = []
    for low, high in sorted(ranges):
        if merged and low <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(high, merged[-1][1]))
        else:
            merged.append((low, high))
    return merged


def _split(values: list[int]) -> tuple[np.ndarray, np.ndarray]:
    first = np.array([value >> 64 for value in values], np.uint64)
    return first, np.array([value & _WORD for value in values], np.uint64)
