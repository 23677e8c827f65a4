"""Compiled kernels over msgpack bytes: message boundaries, routing, gathering.

Every index that comes from a network byte is checked against the buffer (numba does not do it).
A kernel never raises: malformed input is a negative code, and `relay.frames` makes it an error.
All buffers are read-only C-contiguous uint8 arrays, so that each kernel has one specialization.
"""
# numba infers the types and mypy cannot see through its decorator:
# mypy: allow-untyped-defs, allow-untyped-calls, allow-untyped-decorators
# mypy: disable-error-code=assignment

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

SPAN = np.dtype(
    [
        ("start", "<i8"),
        ("end", "<i8"),
        ("kind", "u1"),
        ("key", "<u8"),
        ("key2", "<u8"),
        ("ts_ns", "<i8"),
    ]
)

MALFORMED = -1  # not msgpack, or cut off
NOT_A_FRAME = -2  # msgpack, but not an array of maps
TOO_MANY = -3  # more messages than the output has room for
BAD_SPAN = -4  # a span points outside the buffer, or not at a map

KIND_NONE, KIND_CONTROL, KIND_EXTENSION = 0, 1, 2
KIND_TRADE, KIND_QUOTE = ord("t"), ord("q")
_X = ord("x")
_NANOSECONDS = 1_000_000_000
_MAX_SECONDS = 9_223_372_035  # further away, int64 nanoseconds overflow
_LONG_SYMBOL = np.uint64(0xFFFFFFFFFFFFFFFF)  # no ASCII symbol has this second half
UNSIGNED, SIGNED, FLOAT, OTHER = 0, 1, 2, 3  # up to SIGNED: integers


def _fixed_widths() -> np.ndarray:
    """Return the total bytes of an object by its tag; 0 where more must be read to know."""
    widths = np.zeros(256, np.uint8)
    widths[:0x80] = widths[0xE0:] = widths[0xC0] = widths[0xC2] = widths[0xC3] = 1
    widths[0xA0:0xC0] = np.arange(1, 33)
    for tag, width in ((0xCC, 2), (0xCD, 3), (0xCE, 5), (0xCF, 9)):
        widths[tag] = widths[tag + 4] = width
    widths[0xCA], widths[0xCB] = 5, 9
    widths[0xD4:0xD9] = (3, 4, 6, 10, 18)
    return widths


WIDTHS = _fixed_widths()
_kernel = njit(cache=True, nogil=True)


@intrinsic
def word_at(typing_context, buf, pos):
    """Return the eight bytes at `pos` as a big-endian word; the caller has checked the bounds."""
    signature = types.uint64(buf, types.int64)

    def generate(context, builder, _signature, arguments):
        data = context.make_array(buf)(context, builder, arguments[0]).data
        word = ir.IntType(64)
        pointer = builder.bitcast(builder.gep(data, [arguments[1]]), word.as_pointer())
        return builder.bswap(builder.load(pointer, align=1))

    return signature, generate


@_kernel
def big_endian(buf, pos, width):
    """Return `width` bytes at `pos` as an unsigned number; the caller has checked the bounds."""
    value = np.uint64(0)
    for i in range(width):
        value = (value << np.uint64(8)) | np.uint64(buf[pos + i])
    return value


@_kernel
def header(buf, pos, n):
    """Return (payload start, payload bytes, children) of the object at `pos`.

    Scalars have no children, containers no payload; a negative start is MALFORMED.
    """
    if pos < 0 or pos >= n:
        return MALFORMED, 0, 0
    tag = buf[pos]
    width, extra, children = 0, 0, 0
    at = pos + 1
    if tag <= 0x7F or tag >= 0xE0 or tag == 0xC0 or tag == 0xC2 or tag == 0xC3:
        return at, 0, 0
    if tag <= 0x8F:
        return at, 0, 2 * (tag & 0x0F)
    if tag <= 0x9F:
        return at, 0, tag & 0x0F
    if tag <= 0xBF:
        width = tag & 0x1F
        return (at, width, 0) if at + width <= n else (MALFORMED, 0, 0)
    if tag == 0xC1:
        return MALFORMED, 0, 0
    if tag == 0xCA or tag == 0xCE or tag == 0xD2:
        width = 4
    elif tag == 0xCB or tag == 0xCF or tag == 0xD3:
        width = 8
    elif tag == 0xCC or tag == 0xD0:
        width = 1
    elif tag == 0xCD or tag == 0xD1:
        width = 2
    elif 0xD4 <= tag <= 0xD8:
        width = 1 + (1 << (tag - 0xD4))
    else:  # a length follows: bin, ext, str, array, map
        if tag >= 0xDC:
            length = 2 if tag == 0xDC or tag == 0xDE else 4
        elif tag >= 0xD9:
            length = 1 << (tag - 0xD9)
        elif tag >= 0xC7:
            length, extra = 1 << (tag - 0xC7), 1
        else:
            length = 1 << (tag - 0xC4)
        if at + length > n:
            return MALFORMED, 0, 0
        count = np.int64(big_endian(buf, at, length))
        at += length
        if tag >= 0xDE:
            return at, 0, 2 * count
        if tag >= 0xDC:
            return at, 0, count
        width = count + extra
    if at + width > n:
        return MALFORMED, 0, 0
    return at, width, children


@_kernel
def skip(buf, pos, n):
    """Return the position after the object at `pos` with all that it contains, or MALFORMED."""
    todo = 1
    while todo > 0:
        if pos < n and WIDTHS[buf[pos]] > 0:
            pos += np.int64(WIDTHS[buf[pos]])
            todo -= 1
            continue
        at, width, children = header(buf, pos, n)
        if at < 0:
            return MALFORMED
        pos = at + width
        todo += children - 1
        if todo > n - pos:  # each object takes at least one byte
            return MALFORMED
    return pos if pos <= n else MALFORMED


@_kernel
def is_string(tag):
    return 0xA0 <= tag <= 0xBF or 0xD9 <= tag <= 0xDB


@_kernel
def is_map(tag):
    return 0x80 <= tag <= 0x8F or tag == 0xDE or tag == 0xDF


@_kernel
def is_array(tag):
    return 0x90 <= tag <= 0x9F or tag == 0xDC or tag == 0xDD


@_kernel
def number(buf, pos, n):
    """Return (class, integer, float) of the number at `pos`; class OTHER when it is none.

    An integer above int64 keeps its 64 bits (and so turns negative).
    """
    at, width, _ = header(buf, pos, n)
    if at < 0:
        return OTHER, np.int64(0), 0.0
    tag = buf[pos]
    if tag <= 0x7F:
        return UNSIGNED, np.int64(tag), np.float64(tag)
    if tag >= 0xE0:
        return SIGNED, np.int64(tag) - 256, np.float64(tag) - 256.0
    if 0xCC <= tag <= 0xCF:
        raw = big_endian(buf, at, width)
        return UNSIGNED, np.int64(raw), np.float64(raw)
    if 0xD0 <= tag <= 0xD3:
        raw = big_endian(buf, at, width)
        shift = np.int64(64 - 8 * width)
        value = (np.int64(raw) << shift) >> shift
        return SIGNED, value, np.float64(value)
    if tag == 0xCB:
        return FLOAT, np.int64(0), np.uint64(big_endian(buf, at, 8)).view(np.float64)
    if tag == 0xCA:
        bits = big_endian(buf, at, 4)
        return FLOAT, np.int64(0), np.float64(np.uint32(bits).view(np.float32))
    return OTHER, np.int64(0), 0.0


@_kernel
def timestamp(buf, pos, n):
    """Return the time at `pos` in UTC ns: msgpack ext -1 of 4, 8 or 12 bytes, or an int; else 0."""
    if pos + 10 <= n and buf[pos] == 0xD7 and buf[pos + 1] == 0xFF:  # the usual form
        raw = word_at(buf, pos + 2)
        nanoseconds = np.int64(raw >> np.uint64(34))
        seconds = np.int64(raw & np.uint64(0x3FFFFFFFF))
        fits = nanoseconds < _NANOSECONDS and seconds <= _MAX_SECONDS
        return seconds * _NANOSECONDS + nanoseconds if fits else np.int64(0)
    at, width, _ = header(buf, pos, n)
    if at < 0:
        return np.int64(0)
    tag = buf[pos]
    extension = 0xD4 <= tag <= 0xD8 or 0xC7 <= tag <= 0xC9
    if not extension:
        kind, integer, _ = number(buf, pos, n)
        return integer if kind <= SIGNED else np.int64(0)
    if buf[at] != 0xFF:
        return np.int64(0)
    seconds, nanoseconds = np.int64(0), np.int64(0)
    if width == 5:
        seconds = np.int64(big_endian(buf, at + 1, 4))
    elif width == 9:
        raw = big_endian(buf, at + 1, 8)
        nanoseconds = np.int64(raw >> np.uint64(34))
        seconds = np.int64(raw & np.uint64(0x3FFFFFFFF))
    elif width == 13:
        nanoseconds = np.int64(big_endian(buf, at + 1, 4))
        seconds = np.int64(big_endian(buf, at + 5, 8))
    if nanoseconds >= _NANOSECONDS or seconds > _MAX_SECONDS or seconds < -_MAX_SECONDS:
        return np.int64(0)
    return seconds * _NANOSECONDS + nanoseconds


@_kernel
def packed_symbol(buf, at, width, n):
    """Return the string as two big-endian words, so that uint64 order is string order."""
    if 0 < width < 8 and at + 8 <= n:  # nearly always
        unused = np.uint64(64 - 8 * width)
        return word_at(buf, at) >> unused << unused, np.uint64(0)
    first = min(width, 8)
    key = big_endian(buf, at, first)
    if width < 8:
        return key << np.uint64(64 - 8 * first) if first else key, np.uint64(0)
    second = min(width, 16) - 8
    if second == 0:
        return key, np.uint64(0)
    if width > 16:
        return key, _LONG_SYMBOL
    return key, big_endian(buf, at + 8, second) << np.uint64(64 - 8 * second)


@_kernel
def key_name(buf, pos, n):
    """Return (position after a map key, its one or two characters as a number, else 0)."""
    at, width, _ = header(buf, pos, n)
    if at < 0:
        return MALFORMED, 0
    after = skip(buf, pos, n)
    if not is_string(buf[pos]) or width < 1 or width > 2:
        return after, 0
    name = np.int64(buf[at])
    if width == 2:
        name = name * 256 + np.int64(buf[at + 1])
    return after, name


@_kernel
def scan_message(buf, pos, n, out, row):
    """Fill `out[row]` from the map at `pos`; return the position after it or a negative code."""
    if pos >= n:
        return MALFORMED
    if not is_map(buf[pos]):
        return NOT_A_FRAME
    at, _, children = header(buf, pos, n)
    if at < 0:
        return MALFORMED
    kind, key, key2, ts_ns = np.uint8(KIND_NONE), np.uint64(0), np.uint64(0), np.int64(0)
    has_symbol, has_epoch = False, False
    for _ in range(children // 2):
        # `column_kernels.entry`, written out: here it is a third of the relay's cost per message
        if at + 2 < n and buf[at] == 0xA1:
            value, name = at + 2, np.int64(buf[at + 1])
        else:
            value, name = key_name(buf, at, n)
            if value < 0 or value >= n:
                return MALFORMED
        width = np.int64(WIDTHS[buf[value]])
        at = value + width
        if width == 0 or at > n:
            at = skip(buf, value, n)
            if at < 0:
                return MALFORMED
        if name == 116:  # t
            ts_ns = timestamp(buf, value, n)
        elif name == 84 and buf[value] == 0xA1:  # T of one letter; `at <= n` was checked
            kind = buf[value + 1]
        elif name == 84 and is_string(buf[value]):
            start, width, _ = header(buf, value, n)
            kind = buf[start] if width == 1 else np.uint8(KIND_CONTROL)
        elif name == 83 and 0xA1 <= buf[value] <= 0xBF:  # S, up to 31 bytes
            key, key2 = packed_symbol(buf, value + 1, np.int64(buf[value] & 0x1F), n)
            has_symbol = True
        elif name == 83 and is_string(buf[value]):
            start, width, _ = header(buf, value, n)
            key, key2 = packed_symbol(buf, start, width, n)
            has_symbol = True
        elif name == 101:  # e
            has_epoch = True
    if kind == _X and has_epoch and not has_symbol:
        kind = np.uint8(KIND_EXTENSION)
    out["start"][row] = pos
    out["end"][row] = at
    out["kind"][row] = kind
    out["key"][row] = key
    out["key2"][row] = key2
    out["ts_ns"][row] = ts_ns
    return at


@_kernel
def scan_part(buf, pos, n, out, rows):
    """Fill `out[rows:]` from the frames in `buf[pos:n]`; return as `scan_frames` does."""
    while pos < n:
        at, _, children = header(buf, pos, n)
        if at < 0:
            return MALFORMED
        if not is_array(buf[pos]):
            return NOT_A_FRAME
        if children > n - at:
            return MALFORMED
        pos = at
        for _ in range(children):
            if rows == out.size:
                return TOO_MANY
            pos = scan_message(buf, pos, n, out, rows)
            if pos < 0:
                return pos
            rows += 1
    return rows


@_kernel
def scan_frames(buf, ends, out):
    """Fill `out` with the messages of the frames in `buf`; return how many, or a negative code.

    No frame reaches over one of `ends`: one that is cut off must not swallow the next.
    """
    if ends.size == 0:
        return scan_part(buf, 0, buf.size, out, 0)
    start, rows = 0, 0
    for i in range(ends.size):
        if ends[i] < start or ends[i] > buf.size:
            return BAD_SPAN
        rows = scan_part(buf, start, ends[i], out, rows)
        if rows < 0:
            return rows
        start = ends[i]
    return rows


@_kernel
def gathered_size(buf, spans, mask):
    """Return (messages, bytes) that `gather_into` will copy; negative: BAD_SPAN."""
    count, size = 0, 0
    for i in range(spans.size):
        if mask.size and not mask[i]:
            continue
        start, end = spans["start"][i], spans["end"][i]
        if start < 0 or end < start or end > buf.size:
            return BAD_SPAN, 0
        count += 1
        size += end - start
    return count, size


@_kernel
def gather_into(buf, spans, mask, out, at):
    """Copy the selected messages to `out[at:]`, neighbors in one piece; sizes were checked."""
    first, last = np.int64(0), np.int64(0)
    for i in range(spans.size):
        if mask.size and not mask[i]:
            continue
        start, end = spans["start"][i], spans["end"][i]
        if start != last:
            out[at : at + last - first] = buf[first:last]
            at += last - first
            first = start
        last = end
    out[at : at + last - first] = buf[first:last]
    return at + last - first


@_kernel
def route_mask(spans, slots, starts, low, low2, high, high2, out):
    """Mark the spans that fall into the ranges of their kind's slot.

    Slot s owns ranges [starts[s], starts[s+1]), disjoint and ascending, of symbol words
    [(low, low2), (high, high2)); slot -1 takes nothing.
    """
    for i in range(spans.size):
        slot = slots[spans["kind"][i]]
        if slot < 0:
            out[i] = False
            continue
        key, key2 = spans["key"][i], spans["key2"][i]
        first, last = starts[slot], starts[slot + 1]
        while first < last:  # find the first range that begins above the symbol
            middle = (first + last) // 2
            if low[middle] < key or (low[middle] == key and low2[middle] <= key2):
                first = middle + 1
            else:
                last = middle
        at = first - 1
        out[i] = at >= starts[slot] and (key < high[at] or (key == high[at] and key2 < high2[at]))


@_kernel
def newest_times(spans, kind, keys, keys2, times):
    """Raise `times[i]` to the newest time of a message of this kind with the i-th symbol.

    Args: keys, keys2: the symbols' words, ascending; times: int64, one for each.
    """
    for i in range(spans.size):
        if spans[i]["kind"] != kind:
            continue
        key, key2 = spans[i]["key"], spans[i]["key2"]
        low, high = 0, keys.size
        while low < high:
            middle = (low + high) // 2
            before = keys[middle] < key or (keys[middle] == key and keys2[middle] < key2)
            if before:
                low = middle + 1
            else:
                high = middle
        if low < keys.size and keys[low] == key and keys2[low] == key2:
            times[low] = max(times[low], spans[i]["ts_ns"])
