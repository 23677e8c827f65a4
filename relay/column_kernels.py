"""Compiled kernels: trades and quotes as columns. Rules as in `relay.kernels`."""
# numba infers the types and mypy cannot see through its decorator:
# mypy: allow-untyped-defs, allow-untyped-calls, allow-untyped-decorators
# mypy: disable-error-code=assignment

import numpy as np
from numba import njit

from relay.kernels import (
    BAD_SPAN,
    FLOAT,
    KIND_QUOTE,
    KIND_TRADE,
    MALFORMED,
    OTHER,
    WIDTHS,
    header,
    is_array,
    is_map,
    is_string,
    key_name,
    number,
    skip,
)

TRADES = np.dtype(
    [
        ("key", "<u8"),
        ("key2", "<u8"),
        ("ts_ns", "<i8"),
        ("id", "<i8"),
        ("price", "<f8"),
        ("price_micro", "<i8"),
        ("size", "<i8"),
        ("exchange", "u1"),
        ("tape", "u1"),
        ("conditions", "<u8"),
    ]
)
QUOTES = np.dtype(
    [
        ("key", "<u8"),
        ("key2", "<u8"),
        ("ts_ns", "<i8"),
        ("bid", "<f8"),
        ("ask", "<f8"),
        ("bid_size", "<i8"),
        ("ask_size", "<i8"),
        ("conditions", "<u8"),
    ]
)
_MICRO_LIMIT = 9.2e12  # USD; above it a price does not fit int64 micro-dollars
_INT_LIMIT = 9.2e18
_UNKNOWN_CONDITION = np.uint64(0xFF) << np.uint64(56)

_kernel = njit(cache=True, nogil=True)


@_kernel
def whole(buf, pos, n):
    """Return the number at `pos` as int64: fractions are cut, anything else is 0."""
    kind, integer, real = number(buf, pos, n)
    if kind == FLOAT:
        return np.int64(real) if abs(real) < _INT_LIMIT else np.int64(0)
    return integer


@_kernel
def real(buf, pos, n):
    """Return the number at `pos` as float64, NaN when it is none."""
    kind, _, value = number(buf, pos, n)
    return np.nan if kind == OTHER else value


@_kernel
def packed_conditions(buf, pos, n):
    """Return up to 8 condition letters, low byte first; the top byte is 0xFF when one is unknown.

    Unknown: more than eight, or one that is not a single ASCII character.
    """
    at, width, children = header(buf, pos, n)
    if at < 0:
        return np.uint64(0)
    if is_string(buf[pos]):
        at, children = pos, 1
    elif not is_array(buf[pos]):
        return np.uint64(0)
    packed, used = np.uint64(0), 0
    for _ in range(children):
        start, width, _ = header(buf, at, n)
        if start < 0:
            return packed
        single = is_string(buf[at]) and width == 1
        if single and buf[start] < 0x80 and used < 8:
            packed |= np.uint64(buf[start]) << np.uint64(8 * used)
            used += 1
        elif not (is_string(buf[at]) and width == 0):
            packed |= _UNKNOWN_CONDITION
        at = skip(buf, at, n)
        if at < 0:
            return packed
    return packed


@_kernel
def letter(buf, pos, n):
    """Return the first byte of the string at `pos`, 0 when it is empty or no string."""
    at, width, _ = header(buf, pos, n)
    if at < 0 or width == 0 or not is_string(buf[pos]):
        return np.uint8(0)
    return buf[at]


@njit(nogil=True, inline="always")
def entry(buf, at, n):
    """Return (position of the value, key as a number, position after) of the map entry at `at`."""
    if at + 2 < n and buf[at] == 0xA1:  # one-letter key: the usual one
        value, name = at + 2, np.int64(buf[at + 1])
    else:
        value, name = key_name(buf, at, n)
        if value < 0 or value >= n:
            return MALFORMED, np.int64(0), MALFORMED
    width = np.int64(WIDTHS[buf[value]])
    if width > 0 and value + width <= n:
        return value, name, value + width
    return value, name, skip(buf, value, n)


@_kernel
def trade_rows(buf, spans, out):
    """Fill `out` from the spans of kind `t`; return the rows, or a negative code."""
    n = buf.size
    row = 0
    for i in range(spans.size):
        if spans["kind"][i] != KIND_TRADE:
            continue
        pos = spans["start"][i]
        if pos < 0 or pos >= n or not is_map(buf[pos]):
            return BAD_SPAN
        at, _, children = header(buf, pos, n)
        identity, size = np.int64(0), np.int64(0)
        price, conditions = np.nan, np.uint64(0)
        exchange, tape = np.uint8(0), np.uint8(0)
        for _ in range(children // 2):
            value, name, at = entry(buf, at, n)
            if at < 0:
                return MALFORMED
            if name == 112:  # p
                price = real(buf, value, n)
            elif name == 115:  # s
                size = whole(buf, value, n)
            elif name == 105:  # i
                identity = whole(buf, value, n)
            elif name == 120:  # x
                exchange = letter(buf, value, n)
            elif name == 122:  # z
                tape = letter(buf, value, n)
            elif name == 99:  # c
                conditions = packed_conditions(buf, value, n)
        out["key"][row] = spans["key"][i]
        out["key2"][row] = spans["key2"][i]
        out["ts_ns"][row] = spans["ts_ns"][i]
        out["id"][row] = identity
        out["price"][row] = price
        fits = abs(price) < _MICRO_LIMIT  # false for NaN
        out["price_micro"][row] = np.int64(np.rint(price * 1e6)) if fits else np.int64(0)
        out["size"][row] = size
        out["exchange"][row] = exchange
        out["tape"][row] = tape
        out["conditions"][row] = conditions
        row += 1
    return row


@_kernel
def quote_rows(buf, spans, out):
    """Fill `out` from the spans of kind `q`; return the rows, or a negative code."""
    n = buf.size
    row = 0
    for i in range(spans.size):
        if spans["kind"][i] != KIND_QUOTE:
            continue
        pos = spans["start"][i]
        if pos < 0 or pos >= n or not is_map(buf[pos]):
            return BAD_SPAN
        at, _, children = header(buf, pos, n)
        bid, ask = np.nan, np.nan
        bid_size, ask_size, conditions = np.int64(0), np.int64(0), np.uint64(0)
        for _ in range(children // 2):
            value, name, at = entry(buf, at, n)
            if at < 0:
                return MALFORMED
            if name == 0x6270:  # bp
                bid = real(buf, value, n)
            elif name == 0x6170:  # ap
                ask = real(buf, value, n)
            elif name == 0x6273:  # bs
                bid_size = whole(buf, value, n)
            elif name == 0x6173:  # as
                ask_size = whole(buf, value, n)
            elif name == 99:  # c
                conditions = packed_conditions(buf, value, n)
        out["key"][row] = spans["key"][i]
        out["key2"][row] = spans["key2"][i]
        out["ts_ns"][row] = spans["ts_ns"][i]
        out["bid"][row] = bid
        out["ask"][row] = ask
        out["bid_size"][row] = bid_size
        out["ask_size"][row] = ask_size
        out["conditions"][row] = conditions
        row += 1
    return row
