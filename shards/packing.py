"""Compiled: the windows of the told symbols, written as the msgpack that travels.

Byte for byte what msgspec makes of the lists; the tests hold it to that.
"""
# numba infers the types and mypy cannot see through its decorator:
# mypy: allow-untyped-defs, allow-untyped-calls, allow-untyped-decorators

import numpy as np

from shards.compiled import kernel as _kernel
from shards.compiled import numpy_kernel as _numpy_kernel
from shards.state import RING, RingArrays
from signals.window import Window

#: What the told symbols did lately: whole shares and micro-dollars.
RECENT = np.dtype(
    [(name, "<i8") for name in ("volume_1m", "volume_5m", "value_1m", "value_5m", "shares_5m")]
)
_K0, _SYNTHETIC = tuple(b"\xa2k0"), tuple(b"\xa9synthetic")
_AO, _VWAP = tuple(b"\xa2ao"), tuple(b"\xa4vwap")
_OPEN, _HIGH, _LOW, _CLOSE = tuple(b"\xa1o"), tuple(b"\xa1h"), tuple(b"\xa1l"), tuple(b"\xa1c")
_VOLUME, _TRADES, _X = tuple(b"\xa1v"), tuple(b"\xa1n"), tuple(b"\xa1x")
_COLUMNS = 10
_HEAD, _WIDE = 64, 9  # bytes for names and lengths; for a number


def windows(k: int, rows: np.ndarray, count: int, rings: RingArrays) -> list[Window]:
    """Return each row's last `count` buckets up to k, oldest first."""
    out = np.empty((rows.size, _HEAD + _COLUMNS * (count * _WIDE + 3)), np.uint8)
    ends, number = np.empty(rows.size, np.int64), np.empty(1, np.float64)
    pack_windows(k, count, rows, rings, number, number.view(np.uint64), out, ends)
    return [Window(line[:end].tobytes()) for line, end in zip(out, ends.tolist(), strict=True)]


@_numpy_kernel
def pack_windows(k, count, rows, rings, number, bits, out, ends):
    """Write a map of columns per row into `out` (rows, bytes); `ends` gets how long each is.

    Args: number, bits: one float64 and the same memory as uint64.
    """
    first, mask = k - count + 1, rings.open.shape[0] - 1
    for place in range(rows.size):
        i, line = rows[place], out[place]
        line[0] = 0x80 | 11
        at = _integer(line, _array(line, _text(line, 1, _K0), 1), first)
        at = _floats(line, _text(line, at, _OPEN), rings.open, first, count, i, number, bits)
        at = _floats(line, _text(line, at, _HIGH), rings.high, first, count, i, number, bits)
        at = _floats(line, _text(line, at, _LOW), rings.low, first, count, i, number, bits)
        at = _floats(line, _text(line, at, _CLOSE), rings.close, first, count, i, number, bits)
        at = _integers(line, _text(line, at, _VOLUME), rings.volume, first, count, i)
        at = _integers(line, _text(line, at, _TRADES), rings.trades, first, count, i)
        at = _integers(line, _text(line, at, _SYNTHETIC), rings.synthetic, first, count, i)
        at = _floats(line, _text(line, at, _X), rings.x, first, count, i, number, bits)
        at = _floats(line, _text(line, at, _AO), rings.ao, first, count, i, number, bits)
        at = _array(line, _text(line, at, _VWAP), count)
        for j in range(first, first + count):
            shares, number[0] = rings.shares[j & mask, i], rings.close[j & mask, i]
            if shares > 0:
                number[0] = rings.value[j & mask, i] / shares / 1e6
            at = _float(line, at, bits[0])
        ends[place] = at


@_kernel
def _floats(line, at, ring, first, count, i, number, bits):
    mask = ring.shape[0] - 1
    at = _array(line, at, count)
    for j in range(first, first + count):
        number[0] = ring[j & mask, i]
        at = _float(line, at, bits[0])
    return at


@_kernel
def _integers(line, at, ring, first, count, i):
    mask = ring.shape[0] - 1
    at = _array(line, at, count)
    for j in range(first, first + count):
        at = _integer(line, at, np.int64(ring[j & mask, i]))
    return at


@_kernel
def _text(line, at, text):
    for byte in text:
        line[at] = byte
        at += 1
    return at


@_kernel
def _array(line, at, count):
    if count < 16:
        line[at] = 0x90 | count
        return at + 1
    line[at], line[at + 1], line[at + 2] = 0xDC, (count >> 8) & 0xFF, count & 0xFF
    return at + 3


@_kernel
def _float(line, at, bits):
    line[at] = 0xCB
    return _bytes(line, at + 1, np.int64(bits), 8)


@_kernel
def _integer(line, at, value):
    """Write a whole number as short as it goes."""
    if 0 <= value < 0x80:
        line[at] = value
        return at + 1
    width, kind = 8, 0xD3
    if 0 <= value <= 0xFF:
        width, kind = 1, 0xCC
    elif 0 <= value <= 0xFFFF:
        width, kind = 2, 0xCD
    elif 0 <= value <= 0xFFFFFFFF:
        width, kind = 4, 0xCE
    elif value >= 0:
        width, kind = 8, 0xCF
    line[at] = kind
    return _bytes(line, at + 1, value, width)


@_kernel
def _bytes(line, at, value, width):
    for place in range(width):
        line[at + place] = (value >> (8 * (width - 1 - place))) & 0xFF
    return at + width


@_kernel
def recent_sums(k, minute, span, rows, rings, out):
    """Fill `out` (RECENT) with each row's sums of the `minute` and the `span` buckets up to k."""
    mask = rings.volume.shape[0] - 1
    for place in range(rows.size):
        i, one = rows[place], out[place]
        one.volume_1m = one.volume_5m = one.value_1m = one.value_5m = one.shares_5m = 0
        for j in range(k - span + 1, k + 1):
            volume, value = rings.volume[j & mask, i], rings.value[j & mask, i]
            one.volume_5m += volume
            one.value_5m += value
            one.shares_5m += rings.shares[j & mask, i]
            if j > k - minute:
                one.volume_1m += volume
                one.value_1m += value


def warm() -> None:
    """Compile the kernels, or load them from the cache."""
    rings = RingArrays(*(np.zeros((2, 1), RING[name]) for name in RingArrays._fields))
    rows = np.zeros(1, np.int64)
    windows(0, rows, 1, rings)
    recent_sums(0, 1, 1, rows, rings, np.zeros(1, RECENT))
