"""Who gets what: subscriptions as ranges of symbols, and the mask of a frame for one of them.

Every entry is a half-open range of symbol words: a symbol `AAPL`, a prefix `BR*`, a range
`[A,AN)`, or `*`. Corrections and cancels follow the trades subscription.
"""

import re
from collections.abc import Iterable, Mapping

import numpy as np

from relay import kernels
from relay.frames import CANCEL, CORRECTION, symbol_key

#: Channels in the order of the venue's acknowledgment, with the kind each one carries.
CHANNELS = {
    "trades": "t",
    "quotes": "q",
    "bars": "b",
    "updatedBars": "u",
    "dailyBars": "d",
    "statuses": "s",
    "lulds": "l",
    "imbalances": "i",
}
_SYMBOL = re.compile(r"[A-Za-z0-9./\-_]{1,16}")
_PREFIX = re.compile(r"[A-Za-z0-9./\-_]{1,15}\*")
_RANGE = re.compile(r"\[([A-Za-z0-9./\-_]{0,16}),([A-Za-z0-9./\-_]{0,16})\)")
_END = (1 << 128) - 1
_WORD = (1 << 64) - 1


def is_symbol(entry: str) -> bool:
    """Say whether the entry is one symbol or `*`: what any client may ask for."""
    return entry == "*" or _SYMBOL.fullmatch(entry) is not None


def is_pattern(entry: str) -> bool:
    """Say whether the entry is a prefix or a range: what `prefix` clients may ask for, too."""
    found = _RANGE.fullmatch(entry)
    if found:
        low, high = found.groups()
        return high == "" or low < high
    return _PREFIX.fullmatch(entry) is not None


def entry_bounds(entry: str) -> tuple[int, int]:
    """Return the 128-bit range [low, high) of an entry.

    Raises:
        ValueError: it is neither a symbol nor a pattern.
    """
    if entry == "*":
        return 0, _END
    if _SYMBOL.fullmatch(entry):
        low = _words(entry)
        return low, low + 1
    if not is_pattern(entry):
        raise ValueError(f"{entry!r} is not a symbol, a prefix or a range")
    if entry.endswith("*"):
        prefix = entry[:-1]
        low = _words(prefix)
        return low, low + (1 << 8 * (16 - len(prefix)))
    from_symbol, to_symbol = entry[1:-1].split(",")
    return _words(from_symbol), _words(to_symbol) if to_symbol else _END


def _words(text: str) -> int:
    key, key2 = symbol_key(text)
    return key << 64 | key2


class Route:
    """One subscription, compiled. Empty without entries; immutable.

    Args:
        channels: entries by channel name; unknown channels and empty lists are ignored.
    """

    def __init__(self, channels: Mapping[str, Iterable[str]]) -> None:
        self._slots = np.full(256, -1, np.int64)
        starts, lows, highs = [0], [], []
        for name, kind in CHANNELS.items():
            ranges = _merged([entry_bounds(entry) for entry in channels.get(name, ())])
            if not ranges:
                continue
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
