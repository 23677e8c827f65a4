"""Compiled kernels of the tape import: CSV bytes to messages, messages to frames."""
# numba infers the types and mypy cannot see through its decorator:
# mypy: allow-untyped-defs, allow-untyped-calls, allow-untyped-decorators
# mypy: disable-error-code=assignment

import numpy as np
from numba import njit

COLUMNS = (
    "ts_ns,symbol,kind,price,size,exchange,conditions,tape,flags,suspicious,"
    "bid,bid_size,bid_ex,ask,ask_size,ask_ex"
)
FIELDS = 16
ROW_BYTES = 160  # of an encoded message, conditions aside
OUT_OF_ORDER = 100  # error codes below it are the number of the bad field
TOO_FEW_FIELDS = 101
_TS, _SYMBOL, _KIND, _PRICE, _SIZE, _EXCHANGE, _CONDITIONS, _TAPE = range(8)
_BID, _BID_SIZE, _BID_EX, _ASK, _ASK_SIZE, _ASK_EX = range(10, 16)
_MAX_MANTISSA = 1 << 53  # exact as float64; divided by a power of ten it rounds correctly
_MAX_TS_NS = (1 << 34) * 1_000_000_000  # within it the 8-byte timestamp fits
_POWERS = 10.0 ** np.arange(23)
_COMMA, _SEMICOLON, _DOT, _MINUS = 44, 59, 46, 45

_kernel = njit(cache=True, nogil=True)


@_kernel
def decimal(buf, start, end):
    """Return (ok, value as float64, value as int64 when it has no point) of plain decimal text."""
    at = start
    negative = at < end and buf[at] == _MINUS
    if negative:
        at += 1
    mantissa, digits, places, point = np.int64(0), 0, 0, False
    while at < end:
        byte = np.int64(buf[at])
        if byte == _DOT and not point:
            point = True
        elif 48 <= byte <= 57 and mantissa < _MAX_MANTISSA * 100:
            mantissa = mantissa * 10 + byte - 48
            digits += 1
            places += 1 if point else 0
        else:
            return False, 0.0, np.int64(0)
        at += 1
    while places > 0 and mantissa > _MAX_MANTISSA and mantissa % 10 == 0:
        mantissa //= 10
        places -= 1
    if digits == 0 or places > 22 or (point and mantissa > _MAX_MANTISSA):
        return False, 0.0, np.int64(0)
    if negative:
        mantissa = -mantissa
    return True, np.float64(mantissa) / _POWERS[places], mantissa


@_kernel
def put_big_endian(out, at, value, width):
    for i in range(width):
        out[at + i] = np.uint8((value >> np.uint64(8 * (width - 1 - i))) & np.uint64(0xFF))
    return at + width


@_kernel
def put_key(out, at, first, second):
    if second == 0:
        out[at], out[at + 1] = 0xA1, first
        return at + 2
    out[at], out[at + 1], out[at + 2] = 0xA2, first, second
    return at + 3


@_kernel
def put_text(out, at, buf, start, end):
    """Write buf[start:end], shorter than 32 bytes, as a string; empty becomes one space."""
    if end == start:
        out[at], out[at + 1] = 0xA1, 32
        return at + 2
    out[at] = 0xA0 | (end - start)
    out[at + 1 : at + 1 + end - start] = buf[start:end]
    return at + 1 + end - start


@_kernel
def put_int(out, at, value):
    if value < 0:
        out[at] = 0xD3
        return put_big_endian(out, at + 1, np.uint64(value), 8)
    if value < 0x80:
        out[at] = value
        return at + 1
    tag, width = 0xCF, 8
    if value < 0x100:
        tag, width = 0xCC, 1
    elif value < 0x10000:
        tag, width = 0xCD, 2
    elif value < 0x100000000:
        tag, width = 0xCE, 4
    out[at] = tag
    return put_big_endian(out, at + 1, np.uint64(value), width)


@_kernel
def put_float(out, at, value):
    out[at] = 0xCB
    return put_big_endian(out, at + 1, np.float64(value).view(np.uint64), 8)


@_kernel
def put_conditions(out, at, buf, start, end):
    """Write the `;`-separated names as an array of strings; returns a negative code when bad."""
    count = 0
    if end > start:
        count = 1
        for i in range(start, end):
            count += 1 if buf[i] == _SEMICOLON else 0
    if count > 15:
        return -1
    out[at] = 0x90 | count
    at += 1
    first = start
    for _ in range(count):
        last = first
        while last < end and buf[last] != _SEMICOLON:
            last += 1
        if last == first or last - first > 31:
            return -1
        at = put_text(out, at, buf, first, last)
        first = last + 1
    return at


@_kernel
def put_tail(out, at, buf, begins, ends, ts_ns):
    """Write `c`, `z` and `t`, which end both kinds of message."""
    at = put_key(out, at, 99, 0)
    at = put_conditions(out, at, buf, begins[_CONDITIONS], ends[_CONDITIONS])
    if at < 0:
        return at
    at = put_key(out, at, 122, 0)
    at = put_text(out, at, buf, begins[_TAPE], ends[_TAPE])
    at = put_key(out, at, 116, 0)
    out[at], out[at + 1] = 0xD7, 0xFF
    seconds, nanoseconds = ts_ns // 1_000_000_000, ts_ns % 1_000_000_000
    stamp = (np.uint64(nanoseconds) << np.uint64(34)) | np.uint64(seconds)
    return put_big_endian(out, at + 2, stamp, 8)


@_kernel
def put_trade(out, at, buf, begins, ends, row, ts_ns):
    """Write the trade; returns the position after it, or minus the bad field minus one."""
    ok, price, _ = decimal(buf, begins[_PRICE], ends[_PRICE])
    if not ok:
        return -_PRICE - 1
    ok, real, size = decimal(buf, begins[_SIZE], ends[_SIZE])
    if not ok or real != size:
        return -_SIZE - 1
    at = put_key(out, at, 105, 0)  # i
    at = put_int(out, at, row)
    at = put_key(out, at, 120, 0)  # x
    at = put_text(out, at, buf, begins[_EXCHANGE], ends[_EXCHANGE])
    at = put_key(out, at, 112, 0)  # p
    at = put_float(out, at, price)
    at = put_key(out, at, 115, 0)  # s
    return put_int(out, at, size)


@_kernel
def put_side(out, at, buf, begins, ends, first, field):
    """Write one side of a quote (exchange, price, size); an empty side is 0 at exchange " "."""
    ok, price, _ = decimal(buf, begins[field], ends[field])
    if not ok and ends[field] > begins[field]:
        return -field - 1
    ok, real, size = decimal(buf, begins[field + 1], ends[field + 1])
    if (not ok and ends[field + 1] > begins[field + 1]) or real != size:
        return -field - 2
    at = put_key(out, at, first, 120)
    at = put_text(out, at, buf, begins[field + 2], ends[field + 2])
    at = put_key(out, at, first, 112)
    at = put_float(out, at, price)
    at = put_key(out, at, first, 115)
    return put_int(out, at, size)


@_kernel
def put_quote(out, at, buf, begins, ends):
    at = put_side(out, at, buf, begins, ends, 98, _BID)
    return put_side(out, at, buf, begins, ends, 97, _ASK) if at >= 0 else at


@_kernel
def split_fields(buf, start, end, begins, ends):
    """Note where the fields of one line begin and end; return how many there are."""
    count, first = 0, start
    for i in range(start, end + 1):
        if i < end and buf[i] != _COMMA:
            continue
        if count == FIELDS:
            return count + 1
        begins[count], ends[count] = first, i
        count += 1
        first = i + 1
    return count


@_kernel
def put_row(out, at, buf, begins, ends, row, ts_ns):
    """Write one message; returns the position after it, or minus the bad field minus one."""
    for field in (_SYMBOL, _EXCHANGE, _TAPE, _BID_EX, _ASK_EX):
        if ends[field] - begins[field] > 16:
            return -field - 1
    if ends[_SYMBOL] == begins[_SYMBOL]:
        return -_SYMBOL - 1
    kind = buf[begins[_KIND]] if ends[_KIND] - begins[_KIND] == 1 else np.uint8(0)
    if kind != 116 and kind != 113:
        return -_KIND - 1
    out[at] = 0x89 if kind == 116 else 0x8B
    at = put_key(out, at + 1, 84, 0)  # T
    at = put_key(out, at, kind, 0)
    at = put_key(out, at, 83, 0)  # S
    at = put_text(out, at, buf, begins[_SYMBOL], ends[_SYMBOL])
    if kind == 116:
        at = put_trade(out, at, buf, begins, ends, row, ts_ns)
    else:
        at = put_quote(out, at, buf, begins, ends)
    if at < 0:
        return at
    at = put_tail(out, at, buf, begins, ends, ts_ns)
    return at if at >= 0 else -_CONDITIONS - 1


@_kernel
def encode_rows(buf, row, last_ts_ns, out):
    """Write the lines of `buf` as messages, back to back, from row number `row` on.

    Returns: (messages, bytes, newest ts_ns, error code or -1, first byte of the bad line).
    """
    begins, ends = np.empty(FIELDS, np.int64), np.empty(FIELDS, np.int64)
    n, start, at, messages = buf.size, 0, 0, 0
    while start < n:
        end = start
        while end < n and buf[end] != 10:
            end += 1
        last = end - 1 if end > start and buf[end - 1] == 13 else end
        if split_fields(buf, start, last, begins, ends) != FIELDS:
            return messages, at, last_ts_ns, TOO_FEW_FIELDS, start
        ok, _, ts_ns = decimal(buf, begins[_TS], ends[_TS])
        for i in range(begins[_TS], ends[_TS]):
            ok = ok and buf[i] != _DOT
        if not ok or ts_ns < 0 or ts_ns >= _MAX_TS_NS:
            return messages, at, last_ts_ns, _TS, start
        if ts_ns < last_ts_ns:
            return messages, at, last_ts_ns, OUT_OF_ORDER, start
        after = put_row(out, at, buf, begins, ends, row + messages, ts_ns)
        if after < 0:
            return messages, at, last_ts_ns, -after - 1, start
        at, last_ts_ns = after, ts_ns
        messages += 1
        start = end + 1
    return messages, at, last_ts_ns, -1, 0


@_kernel
def join_frames(buf, spans, group, limit, out, lengths, firsts):
    """Write messages as frames: neighbors of one group together, at most `limit` (< 65536) each.

    Fills `lengths` (bytes) and `firsts` (its first span) per frame; returns (frames, bytes).
    The caller has checked the spans and gives `out` three bytes per message on top of the data.
    """
    frames, at, i = 0, 0, 0
    while i < spans.size:
        j = i + 1
        while j < spans.size and group[j] == group[i] and j - i < limit:
            j += 1
        begin = at
        if j - i < 16:
            out[at] = 0x90 | (j - i)
            at += 1
        else:
            out[at] = 0xDC
            at = put_big_endian(out, at + 1, np.uint64(j - i), 2)
        for k in range(i, j):
            start, end = spans["start"][k], spans["end"][k]
            out[at : at + end - start] = buf[start:end]
            at += end - start
        lengths[frames], firsts[frames] = at - begin, i
        frames += 1
        i = j
    return frames, at
