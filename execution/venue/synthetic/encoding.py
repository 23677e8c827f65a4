"""Rows to frames: msgpack written by a kernel, byte for byte what `relay.frames` would encode."""
# numba infers the types and mypy cannot see through its decorator:
# mypy: allow-untyped-defs, allow-untyped-calls, allow-untyped-decorators

from collections.abc import Sequence

import msgspec
import numpy as np
from numba import njit

from execution.venue.synthetic import facts
from execution.venue.synthetic.prints import QUOTE_ROW, TRADE_ROW
from execution.venue.synthetic.universe import POINTS

FRAME_NS = 100_000_000
MAX_MESSAGES = 500
BYTES_PER_ROW = 152  # no trade or quote is longer
TAPES = "ABC"
_REGULAR_CODE = {"A": " ", "B": " ", "C": "@"}
_SETTLEMENT = "RNC"  # these stand in the place of the regular code


def condition_lists() -> tuple[list[list[str]], tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Return every list of sale conditions, and the table of rare ones for the print kernel.

    The lists of a tape follow each other in the order of `prints.REGULAR` …; a row's list number
    counts from the first of its tape, so all tapes have equally many.
    """
    lists: list[list[str]] = []
    shares, strays, numbers = [], [], []
    for tape in TAPES:
        base, code = len(lists), _REGULAR_CODE[tape]
        tails = ("", "I", "F", "FI", "OX", "Q", "6X", "M", "5")
        lists += [[code, *tail] for tail in tails]
        table = facts.RARE_CONDITIONS[tape]
        weights = np.array([weight for weight, _, _ in table], float)
        shares.append(np.cumsum(weights / weights.sum()) + 1e-9)
        strays.append([stray for _, _, stray in table])
        pairs = []
        for _, codes, _ in table:
            first = [] if codes[0] in _SETTLEMENT else [code]
            pairs.append((len(lists) - base, len(lists) + 1 - base))
            lists += [[*first, *codes], [*first, *codes, "I"]]
        numbers.append(pairs)
    rare = np.array(shares), np.array(strays, np.bool_), np.array(numbers, np.int64)
    return lists, rare


def texts(values: list[bytes]) -> tuple[np.ndarray, np.ndarray]:
    """Return (bytes back to back, (n + 1,) offsets) of encoded values for the kernel."""
    offsets = np.concatenate([[0], np.cumsum([len(value) for value in values])]).astype(np.int64)
    return np.frombuffer(b"".join(values), np.uint8), offsets


def encoded(values: Sequence[object]) -> tuple[np.ndarray, np.ndarray]:
    """Return `texts` of the msgpack form of values."""
    return texts([msgspec.msgpack.encode(value) for value in values])


@njit(cache=True, nogil=True)
def write_frames(rows, symbols, conditions, lists_per_tape, tape, messages, out, frames):
    """Write rows, in order of arrival, as frames of at most 100 ms; return (bytes, frames).

    Args:
        symbols, conditions, messages: (bytes, offsets); a message is copied as it is.
        tape: (n,) u1, 0 A, 1 B, 2 C.
        out: uint8, room for BYTES_PER_ROW per row, the messages and 3 bytes per frame.
        frames: (3, m) int64: receive time, start, end.
    """
    at, count, first = 0, 0, 0
    bits = np.empty(1, np.float64)
    while first < rows.size:
        window = rows[first].at // FRAME_NS
        last = first
        while (
            last < rows.size and last - first < MAX_MESSAGES and rows[last].at // FRAME_NS == window
        ):
            last += 1
        frames[0, count] = (window + 1) * FRAME_NS
        frames[1, count] = at
        at = _array(out, at, last - first)
        for r in range(first, last):
            row = rows[r]
            if row.kind == TRADE_ROW:
                at = _trade(out, at, row, symbols, conditions, lists_per_tape, tape, bits)
            elif row.kind == QUOTE_ROW:
                at = _quote(out, at, row, symbols, tape, bits)
            else:
                at = _copy(out, at, messages, row.name)
        frames[2, count] = at
        count += 1
        first = last
    return at, count


@njit(cache=True, nogil=True)
def _trade(out, at, row, symbols, conditions, lists_per_tape, tape, bits):
    at = _head(out, at, 9, 116)  # t
    at = _key(out, at, 83)  # S
    at = _copy(out, at, symbols, row.name)
    at = _key(out, at, 105)  # i
    at = _int(out, at, row.c)
    at = _key(out, at, 120)  # x
    at = _key(out, at, row.x)
    at = _key(out, at, 112)  # p
    at = _price(out, at, row.a, bits)
    at = _key(out, at, 115)  # s
    at = _int(out, at, row.b)
    at = _key(out, at, 99)  # c
    at = _copy(out, at, conditions, tape[row.name] * lists_per_tape + row.y)
    return _tape_and_time(out, at, tape[row.name], row.ts)


@njit(cache=True, nogil=True)
def _quote(out, at, row, symbols, tape, bits):
    at = _head(out, at, 11, 113)  # q
    at = _key(out, at, 83)
    at = _copy(out, at, symbols, row.name)
    at = _side(out, at, 98, row.x, row.a, row.b, bits)  # bx bp bs
    at = _side(out, at, 97, row.y, row.c, row.d, bits)  # ax ap as
    at = _key(out, at, 99)
    out[at] = 0x91
    at = _key(out, at + 1, 82)  # ["R"]
    return _tape_and_time(out, at, tape[row.name], row.ts)


@njit(cache=True, nogil=True)
def _side(out, at, letter, exchange, price, size, bits):
    at = _key2(out, at, letter, 120)
    at = _key(out, at, exchange)
    at = _key2(out, at, letter, 112)
    at = _price(out, at, price, bits)
    at = _key2(out, at, letter, 115)
    return _int(out, at, size)


@njit(cache=True, nogil=True)
def _tape_and_time(out, at, tape, ts_ns):
    at = _key(out, at, 122)  # z
    at = _key(out, at, 65 + tape)
    at = _key(out, at, 116)  # t
    out[at], out[at + 1] = 0xD7, 0xFF
    seconds = ts_ns // 1_000_000_000
    word = np.uint64(ts_ns - seconds * 1_000_000_000) << np.uint64(34) | np.uint64(seconds)
    return _big_endian(out, at + 2, word, 8)


@njit(cache=True, nogil=True)
def _array(out, at, count):
    if count < 16:
        out[at] = 0x90 | count
        return at + 1
    out[at] = 0xDC
    return _big_endian(out, at + 1, np.uint64(count), 2)


@njit(cache=True, nogil=True)
def _head(out, at, keys, kind):
    out[at] = 0x80 | keys
    return _key(out, _key(out, at + 1, 84), kind)  # T


@njit(cache=True, nogil=True, inline="always")
def _key(out, at, letter):
    out[at] = 0xA1
    out[at + 1] = letter
    return at + 2


@njit(cache=True, nogil=True, inline="always")
def _key2(out, at, first, second):
    out[at] = 0xA2
    out[at + 1] = first
    out[at + 2] = second
    return at + 3


@njit(cache=True, nogil=True)
def _copy(out, at, table, index):
    data, offsets = table
    for k in range(offsets[index], offsets[index + 1]):
        out[at] = data[k]
        at += 1
    return at


@njit(cache=True, nogil=True)
def _price(out, at, points, bits):
    bits[0] = points / POINTS
    out[at] = 0xCB
    return _big_endian(out, at + 1, bits.view(np.uint64)[0], 8)


@njit(cache=True, nogil=True)
def _int(out, at, value):
    """Write a non-negative int in its shortest form."""
    word = np.uint64(value)
    if value < 0x80:
        out[at] = value
        return at + 1
    width, tag = 8, 0xCF
    if value <= 0xFF:
        width, tag = 1, 0xCC
    elif value <= 0xFFFF:
        width, tag = 2, 0xCD
    elif value <= 0xFFFFFFFF:
        width, tag = 4, 0xCE
    out[at] = tag
    return _big_endian(out, at + 1, word, width)


@njit(cache=True, nogil=True)
def _big_endian(out, at, word, width):
    for k in range(width):
        out[at + k] = np.uint8(word >> np.uint64(8 * (width - 1 - k)) & np.uint64(0xFF))
    return at + width
