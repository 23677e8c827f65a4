"""Symbols, patterns and channels: what may be subscribed, and where it lies in symbol order.

Every entry is a half-open range of symbol words: a symbol `AAPL`, a prefix `BR*`, a range
`[A,AN)`, or `*`. No kernels here: the hub imports this, too.
"""

import re
import struct
from collections.abc import Iterable

MAX_SYMBOL_BYTES = 16
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
#: News have an endpoint of their own, with this channel and no other.
NEWS_CHANNELS = ("news",)
_SYMBOL = re.compile(r"[A-Za-z0-9./\-_]{1,16}")
_PREFIX = re.compile(r"[A-Za-z0-9./\-_]{1,15}\*")
_RANGE = re.compile(r"\[([A-Za-z0-9./\-_]{0,16}),([A-Za-z0-9./\-_]{0,16})\)")
END = (1 << 128) - 1


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
        return 0, END
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
    return _words(from_symbol), _words(to_symbol) if to_symbol else END


def covers(allowed: Iterable[str], entry: str) -> bool:
    """Say whether `entry` lies wholly within what is allowed; nothing named means everything."""
    spans = sorted(entry_bounds(one) for one in allowed)
    if not spans:
        return True
    low, high = entry_bounds(entry)
    for first, last in spans:
        if first <= low < last:
            low = last
    return low >= high


def _words(text: str) -> int:
    key, key2 = symbol_key(text)
    return key << 64 | key2


def symbol_key(symbol: str) -> tuple[int, int]:
    """Return the two words of a symbol; comparing them compares the strings.

    Raises:
        ValueError: not ASCII, or longer than 16 bytes.
    """
    raw = symbol.encode("ascii")
    if len(raw) > MAX_SYMBOL_BYTES:
        raise ValueError(f"symbol {symbol[:20]!r} is longer than {MAX_SYMBOL_BYTES} characters")
    key, key2 = struct.unpack(">QQ", raw.ljust(MAX_SYMBOL_BYTES, b"\0"))
    return key, key2


def key_symbol(key: int, key2: int) -> str:
    """Return the symbol of two words; the inverse of `symbol_key`."""
    return struct.pack(">QQ", key, key2).rstrip(b"\0").decode("ascii", "replace")
