"""Compiled: the bytes of one message → the fields of a trade.

`read_usual` takes a trade in the usual forms, its kind first and its fields in any order, as the
bytes go by. For every other message `find_fields` tells where its fields lie, and `read_trade`
reads them with the readers of `relay`. Whoever calls leaves PADDING bytes behind the last frame:
reading ahead then needs no check before a message is known to end inside its frame.
"""
# numba infers the types and mypy cannot see through its decorator:
# mypy: allow-untyped-defs, allow-untyped-calls, allow-untyped-decorators
# mypy: disable-error-code=assignment

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from relay.column_kernels import letter, packed_conditions, real, whole
from relay.kernels import (
    KIND_CONTROL,
    MALFORMED,
    NOT_A_FRAME,
    WIDTHS,
    header,
    is_map,
    is_string,
    key_name,
    packed_symbol,
    skip,
    timestamp,
)
from shards.compiled import inlined as _inline

DECODED = np.dtype(
    [
        ("key", "<u8"),
        ("key2", "<u8"),
        ("ts_ns", "<i8"),
        ("id", "<i8"),
        ("price", "<f8"),
        ("size", "<i8"),
        ("conditions", "<u8"),
        ("exchange", "u1"),
        ("tape", "u1"),
    ]
)
PADDING = 256  # more than the longest message of the usual forms
NOT_USUAL = -9
_USUAL_TRADE = np.uint64(0xA154A174)  # "T": "t"
_FOUR_BYTES, _BYTE = np.uint64(0xFFFFFFFF), np.uint64(0xFF)
_FIELDS_MAX = 12
#: A key of one letter, with the tags of its value where only one form is usual.
_KEY_S, _KEY_I, _KEY_SIZE, _KEY_C = (np.uint64(0xA100 | ord(name)) for name in "Sisc")
_KEY_X, _KEY_Z = (np.uint64(0xA10000 | ord(name) << 8 | 0xA1) for name in "xz")
_KEY_P = np.uint64(0xA10000 | ord("p") << 8 | 0xCB)
_KEY_T = np.uint64(0xA1000000 | ord("t") << 16 | 0xD7FF)
_CODES_MASK, _CODES_SHAPE = np.uint64(0xFF80FF80FF80FF80), np.uint64(0xA100A100A100A100)
#: Bytes behind the tag of a number that is not negative, -1 for all else.
_INTEGERS = np.full(256, -1, np.int8)
_INTEGERS[:128] = 0
_INTEGERS[0xCC:0xD0] = (1, 2, 4, 8)
_SECOND_NS = 1_000_000_000
_SECONDS_MAX = 9_223_372_035  # further away, int64 nanoseconds overflow
#: Where a field's place is kept, by its letter; all others share the last one.
_KEPT = "TStpsixzce"
AT_T, AT_S, AT_TIME, _P, _SIZE, _I, _EXCHANGE, _Z, _CONDITIONS, AT_E = range(len(_KEPT))
PLACES = len(_KEPT) + 1
FIELDS = np.full(256, PLACES - 1, np.int64)
FIELDS[[ord(name) for name in _KEPT]] = range(len(_KEPT))


@intrinsic
def _eight(typing, raw, at):
    """Return the eight bytes at `at` (checked by the caller), big-endian: one load and a swap."""

    def generate(context, builder, signature, args):
        array = context.make_array(signature.args[0])(context, builder, args[0])
        where = builder.gep(array.data, [args[1]])
        word = builder.load(builder.bitcast(where, ir.IntType(64).as_pointer()), align=1)
        return builder.bswap(word)

    return types.uint64(raw, types.int64), generate


@_inline
def _after(raw, value, end):
    """Return the position after the object at `value` (< end), or MALFORMED."""
    tag = raw[value]
    width = np.int64(WIDTHS[tag])
    if width > 0:
        at = value + width
        return at if at <= end else MALFORMED
    if 0x90 < tag <= 0x94:  # a short list of letters
        at = value + 1
        count = np.int64(tag) - 0x90
        if at + 2 * count <= end:
            for _ in range(count):
                if raw[at] != 0xA1:
                    break
                at += 2
            else:
                return at
    return skip(raw, value, end)


@_inline
def kind_of(raw, at, end):
    """Return the one letter of a `T`, KIND_CONTROL for a longer one, 0 for none."""
    if at < 0 or not is_string(raw[at]):
        return np.uint8(0)
    if raw[at] == 0xA1:
        return raw[at + 1]
    first, width, _ = header(raw, at, end)
    return raw[first] if width == 1 else np.uint8(KIND_CONTROL)


@_inline
def symbol_at(raw, at, end):
    """Return the two words of the string at `at`."""
    tag = raw[at]
    if 0xA0 < tag <= 0xA8 and at + 9 <= end:
        unused = np.uint64(64 - 8 * (np.int64(tag) - 0xA0))
        return _eight(raw, at + 1) >> unused << unused, np.uint64(0)
    first, width, _ = header(raw, at, end)
    return packed_symbol(raw, first, width, end)


@_inline
def find_fields(raw, pos, end, places):
    """Put where the values of the map at `pos` lie into `places`; return the position after it.

    A `T` or `S` that is no string is as good as none, also behind one that is: as the relay reads.
    """
    places[:] = -1
    tag = raw[pos]
    if 0x80 <= tag <= 0x8F:
        at, fields = pos + 1, np.int64(tag) & 0x0F
    elif not is_map(tag):
        return NOT_A_FRAME
    else:
        at, _, children = header(raw, pos, end)
        if at < 0:
            return MALFORMED
        fields = children // 2
    for _ in range(fields):
        if at + 2 < end and raw[at] == 0xA1:  # a key of one letter: the usual one
            value = at + 2
            field = FIELDS[raw[at + 1]]
            if field > AT_S or is_string(raw[value]):
                places[field] = value
        else:
            value, name = key_name(raw, at, end)
            if value < 0 or value >= end:
                return MALFORMED
            if name < 256 and (FIELDS[name] > AT_S or is_string(raw[value])):
                places[FIELDS[name]] = value
        width = np.int64(WIDTHS[raw[value]])
        at = value + width
        if width == 0 or at > end:
            at = _after(raw, value, end)
            if at < 0:
                return MALFORMED
    return at


@_inline
def read_trade(raw, end, places, one):
    """Read the fields of a trade in any form."""
    one.key, one.key2, one.ts_ns = np.uint64(0), np.uint64(0), np.int64(0)
    one.price, one.size, one.id = np.nan, np.int64(0), np.int64(0)
    one.exchange, one.tape, one.conditions = np.uint8(0), np.uint8(0), np.uint64(0)
    if places[AT_S] >= 0 and is_string(raw[places[AT_S]]):
        one.key, one.key2 = symbol_at(raw, places[AT_S], end)
    if places[AT_TIME] >= 0:
        one.ts_ns = timestamp(raw, places[AT_TIME], end)
    if places[_P] >= 0:
        one.price = real(raw, places[_P], end)
    if places[_SIZE] >= 0:
        one.size = whole(raw, places[_SIZE], end)
    if places[_I] >= 0:
        one.id = whole(raw, places[_I], end)
    if places[_EXCHANGE] >= 0:
        one.exchange = letter(raw, places[_EXCHANGE], end)
    if places[_Z] >= 0:
        one.tape = letter(raw, places[_Z], end)
    if places[_CONDITIONS] >= 0:
        one.conditions = packed_conditions(raw, places[_CONDITIONS], end)


@_inline
def read_usual(raw, pos, end, one):
    """Read a trade of the usual forms; return the position after it, or NOT_USUAL.

    The fields are tried in their usual order, over and over: then one comparison each finds them
    all. Reads ahead of `end` by less than PADDING, and says so by where it ends.
    """
    head = _eight(raw, pos)
    left = np.int64(head >> np.uint64(56)) - 0x81
    if (head >> np.uint64(24)) & _FOUR_BYTES != _USUAL_TRADE or not 0 <= left <= _FIELDS_MAX:
        return NOT_USUAL
    at = pos + 5
    key, ts_ns, identity, size = np.uint64(0), np.int64(0), np.int64(0), np.int64(0)
    price, conditions, exchange, tape = np.nan, np.uint64(0), np.uint8(0), np.uint8(0)
    while left > 0:
        before = left
        word = _eight(raw, at)
        if word >> np.uint64(48) == _KEY_S:
            width = np.int64((word >> np.uint64(40)) & _BYTE) - 0xA0
            if not 0 < width <= 8:
                return NOT_USUAL
            unused = np.uint64(64 - 8 * width)
            key = _eight(raw, at + 3) >> unused << unused
            at += 3 + width
            left -= 1
            word = _eight(raw, at)
        if word >> np.uint64(48) == _KEY_I:
            tag = np.int64((word >> np.uint64(40)) & _BYTE)
            width = np.int64(_INTEGERS[tag])
            if width < 0:
                return NOT_USUAL
            identity = tag
            if width > 0:
                identity = np.int64(_eight(raw, at + 3) >> np.uint64(64 - 8 * width))
            at += 3 + width
            left -= 1
            word = _eight(raw, at)
        if word >> np.uint64(40) == _KEY_X:
            exchange = np.uint8(word >> np.uint64(32))
            at += 4
            left -= 1
            word = _eight(raw, at)
        if word >> np.uint64(40) == _KEY_P:
            price = np.uint64(_eight(raw, at + 3)).view(np.float64)
            at += 11
            left -= 1
            word = _eight(raw, at)
        if word >> np.uint64(48) == _KEY_SIZE:
            tag = np.int64((word >> np.uint64(40)) & _BYTE)
            width = np.int64(_INTEGERS[tag])
            if width < 0:
                return NOT_USUAL
            size = tag
            if width > 0:
                size = np.int64(_eight(raw, at + 3) >> np.uint64(64 - 8 * width))
            at += 3 + width
            left -= 1
            word = _eight(raw, at)
        if word >> np.uint64(48) == _KEY_C:
            count = np.int64((word >> np.uint64(40)) & _BYTE) - 0x90
            if not 0 < count <= 4:
                return NOT_USUAL
            codes, unused = _eight(raw, at + 3), np.uint64(64 - 16 * count)
            if (codes & _CODES_MASK) >> unused != _CODES_SHAPE >> unused:
                return NOT_USUAL
            codes = codes >> unused << unused
            conditions = (
                (codes >> np.uint64(48)) & _BYTE
                | (codes >> np.uint64(24)) & np.uint64(0xFF00)
                | codes & np.uint64(0xFF0000)
                | (codes << np.uint64(24)) & np.uint64(0xFF000000)
            )
            at += 3 + 2 * count
            left -= 1
            word = _eight(raw, at)
        if word >> np.uint64(40) == _KEY_Z:
            tape = np.uint8(word >> np.uint64(32))
            at += 4
            left -= 1
            word = _eight(raw, at)
        if word >> np.uint64(32) == _KEY_T:
            stamp = _eight(raw, at + 4)
            nanoseconds = np.int64(stamp >> np.uint64(34))
            seconds = np.int64(stamp & np.uint64(0x3FFFFFFFF))
            if nanoseconds >= _SECOND_NS or seconds > _SECONDS_MAX:
                return NOT_USUAL
            ts_ns = seconds * _SECOND_NS + nanoseconds
            at += 12
            left -= 1
        if left == before:
            return NOT_USUAL
    if left < 0 or at > end:
        return NOT_USUAL
    one.key, one.key2, one.ts_ns, one.id = key, np.uint64(0), ts_ns, identity
    one.price, one.size, one.conditions = price, size, conditions
    one.exchange, one.tape = exchange, tape
    return at
