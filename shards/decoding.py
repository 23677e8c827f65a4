"""Compiled: a frame's bytes → its trades with their symbols' rows, booked in one more pass.

One pass over the bytes finds where each field of a message lies; only trades are read further, the
other kinds leave a span for the slower paths. Every index that comes from a byte is checked, every
unusual form goes to the readers of `relay`, and nothing of a malformed frame is booked. The twin is
`relay.frames.scan` with `trades`, and the rules print by print, in the tests.
"""
# numba infers the types and mypy cannot see through its decorator:
# mypy: allow-untyped-defs, allow-untyped-calls, allow-untyped-decorators
# mypy: disable-error-code=assignment

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from relay.column_kernels import letter, packed_conditions, real, whole
from relay.kernels import (
    KIND_CONTROL,
    KIND_QUOTE,
    KIND_TRADE,
    MALFORMED,
    NOT_A_FRAME,
    SPAN,
    WIDTHS,
    header,
    is_array,
    is_map,
    is_string,
    key_name,
    packed_symbol,
    skip,
    timestamp,
)
from shards.kernels import PRINT, UNKNOWN, allowed_flags, slot_of
from signals.session import BUCKET_NS

DECODED = np.dtype(
    [
        ("key", "<u8"),
        ("key2", "<u8"),
        ("ts_ns", "<i8"),
        ("id", "<i8"),
        ("price", "<f8"),
        ("size", "<i8"),
        ("conditions", "<u8"),
        ("row", "<i8"),  # -1: a symbol never seen
        ("exchange", "u1"),
        ("tape", "u1"),
    ]
)
#: How far `take_frames` came, and what it counted.
PROGRESS = np.dtype(
    [
        ("part", "<i8"),  # the frame that it stopped at
        ("decoded", "<i8"),  # trades of that frame
        ("open", "<i8"),  # prints of open buckets in the log
        ("late", "<i8"),
        ("rest", "<i8"),
        ("bad_prints", "<i8"),
        ("outside_session", "<i8"),
        ("too_far_ahead", "<i8"),
        ("unknown_conditions", "<i8"),
    ]
)
#: What decides about a print.
RULES = np.dtype(
    [
        ("open_ns", "<i8"),
        ("close_ns", "<i8"),
        ("closed_k", "<i8"),
        ("resumed_position", "<i8"),
        ("last_k", "<i8"),  # later ones are not believed, when they came with an offset
        ("odd_lots_in_price", "u1"),
    ]
)
DONE, BAD_FRAME, NEW_SYMBOL, NO_ROOM, NO_SCRATCH = 0, 1, 2, 3, 4
_MICRO_LIMIT = 9.2e12  # USD; above it a price does not fit int64 micro-dollars
_NO_OFFSET = -1
_TOO_MANY = -9
_X = ord("x")
_STATUS, _LULD, _C = ord("s"), ord("l"), ord("c")
_SECOND_NS = 1_000_000_000
_SECONDS_MAX = 9_223_372_035  # further away, int64 nanoseconds overflow
#: Where a field's place is kept, by its letter; all others share the last one.
_KEPT = "TStpsixzce"
_T, _S, _TIME, _P, _SIZE, _I, _EXCHANGE, _Z, _CONDITIONS, _E = range(len(_KEPT))
_PLACES = len(_KEPT) + 1
FIELDS = np.full(256, _PLACES - 1, np.int64)
FIELDS[[ord(name) for name in _KEPT]] = range(len(_KEPT))
_kernel = njit(cache=True, nogil=True)
_inline = njit(nogil=True, inline="always")


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
def _small(raw, at, end):
    """Return the integer at `at`: the usual forms here, the others as `relay` reads them."""
    tag = raw[at]
    if tag <= 0x7F:
        return np.int64(tag)
    if tag == 0xCC:
        return np.int64(raw[at + 1])
    if tag == 0xCD:
        return np.int64(raw[at + 1]) << 8 | np.int64(raw[at + 2])
    if tag == 0xCE:
        high = np.int64(raw[at + 1]) << 24 | np.int64(raw[at + 2]) << 16
        return high | np.int64(raw[at + 3]) << 8 | np.int64(raw[at + 4])
    return whole(raw, at, end)


@_inline
def _letters(raw, at, end):
    """Return the packed conditions at `at`."""
    tag = raw[at]
    if 0x90 < tag <= 0x94:
        packed = np.uint64(0)
        for i in range(np.int64(tag) - 0x90):
            if raw[at + 1 + 2 * i] != 0xA1 or raw[at + 2 + 2 * i] >= 0x80:
                return packed_conditions(raw, at, end)
            packed |= np.uint64(raw[at + 2 + 2 * i]) << np.uint64(8 * i)
        return packed
    return packed_conditions(raw, at, end)


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
def _letter(raw, at, end):
    return raw[at + 1] if raw[at] == 0xA1 else letter(raw, at, end)


@_inline
def _time(raw, at, end):
    """Return UTC ns of the usual eight-byte form here, of the others as `relay` reads them."""
    if raw[at] == 0xD7 and raw[at + 1] == 0xFF:
        word = _eight(raw, at + 2)
        nanoseconds = np.int64(word >> np.uint64(34))
        seconds = np.int64(word & np.uint64(0x3FFFFFFFF))
        if nanoseconds < _SECOND_NS and seconds <= _SECONDS_MAX:
            return seconds * _SECOND_NS + nanoseconds
    return timestamp(raw, at, end)


@_inline
def _kind(raw, at, end):
    """Return the one letter of a `T`, KIND_CONTROL for a longer one, 0 for none."""
    if at < 0 or not is_string(raw[at]):
        return np.uint8(0)
    if raw[at] == 0xA1:
        return raw[at + 1]
    first, width, _ = header(raw, at, end)
    return raw[first] if width == 1 else np.uint8(KIND_CONTROL)


@_inline
def _symbol(raw, at, end):
    """Return the two words of the string at `at`."""
    tag = raw[at]
    if 0xA0 < tag <= 0xA8 and at + 9 <= end:
        unused = np.uint64(64 - 8 * (np.int64(tag) - 0xA0))
        return _eight(raw, at + 1) >> unused << unused, np.uint64(0)
    first, width, _ = header(raw, at, end)
    return packed_symbol(raw, first, width, end)


@_kernel
def decode_frame(raw, start, end, places, out, rest, progress):
    """Decode the messages in [start, end): trades to `out`, spans of other data to `rest`.

    Args: places: scratch for where each field of a message lies.
    Returns the number of trades, or a negative code; sets `progress.rest`.
    """
    pos, trades, spans = start, 0, progress.rest
    while pos < end:
        at, _, children = header(raw, pos, end)
        if at < 0:
            return MALFORMED
        if not is_array(raw[pos]):
            return NOT_A_FRAME
        if children > end - at:
            return MALFORMED
        pos = at
        for _ in range(children):
            if pos >= end:
                return MALFORMED
            if trades == out.size or spans == rest.size:
                return _TOO_MANY
            begin = pos
            pos = _find_fields(raw, begin, end, places)
            if pos < 0:
                return pos
            kind = _kind(raw, places[_T], end)
            if kind == KIND_TRADE:
                _read_trade(raw, end, places, out[trades])
                trades += 1
            elif kind in (KIND_QUOTE, _STATUS, _LULD, _C, _X):
                named = places[_S] >= 0 and is_string(raw[places[_S]])
                if kind == _X and places[_E] >= 0 and not named:
                    continue  # the relay's extension element
                span = rest[spans]
                span.start, span.end, span.kind = begin, pos, kind
                span.key, span.key2, span.ts_ns = np.uint64(0), np.uint64(0), np.int64(0)
                if named:
                    span.key, span.key2 = _symbol(raw, places[_S], end)
                if places[_TIME] >= 0:
                    span.ts_ns = _time(raw, places[_TIME], end)
                spans += 1
    progress.rest = spans
    return trades


@_inline
def _find_fields(raw, pos, end, places):
    """Put where the values of the map at `pos` lie into `places`; return the position after it."""
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
            places[FIELDS[raw[at + 1]]] = value
        else:
            value, name = key_name(raw, at, end)
            if value < 0 or value >= end:
                return MALFORMED
            if name < 256:
                places[FIELDS[name]] = value
        width = np.int64(WIDTHS[raw[value]])
        at = value + width
        if width == 0 or at > end:
            at = _after(raw, value, end)
            if at < 0:
                return MALFORMED
    return at


@_inline
def _read_trade(raw, end, places, one):
    """Read the fields of a trade."""
    one.key, one.key2, one.ts_ns = np.uint64(0), np.uint64(0), np.int64(0)
    one.price, one.size, one.id = np.nan, np.int64(0), np.int64(0)
    one.exchange, one.tape, one.conditions = np.uint8(0), np.uint8(0), np.uint64(0)
    if places[_S] >= 0 and is_string(raw[places[_S]]):
        one.key, one.key2 = _symbol(raw, places[_S], end)
    if places[_TIME] >= 0:
        one.ts_ns = _time(raw, places[_TIME], end)
    at = places[_P]
    if at >= 0:
        if raw[at] == 0xCB:
            one.price = np.uint64(_eight(raw, at + 1)).view(np.float64)
        else:
            one.price = real(raw, at, end)
    if places[_SIZE] >= 0:
        one.size = _small(raw, places[_SIZE], end)
    if places[_I] >= 0:
        one.id = _small(raw, places[_I], end)
    if places[_EXCHANGE] >= 0:
        one.exchange = _letter(raw, places[_EXCHANGE], end)
    if places[_Z] >= 0:
        one.tape = _letter(raw, places[_Z], end)
    if places[_CONDITIONS] >= 0:
        one.conditions = _letters(raw, places[_CONDITIONS], end)


@_kernel
def find_symbols(decoded, count, table_key, table_key2, table_row):
    """Set the row of each trade's symbol, -1 where it is new; return how many are new."""
    mask, fresh = np.uint64(table_row.size - 1), 0
    for i in range(count):
        one = decoded[i]
        slot = slot_of(one.key, one.key2) & mask
        row = table_row[slot]
        while row != -1 and (table_key[slot] != one.key or table_key2[slot] != one.key2):
            slot = (slot + np.uint64(1)) & mask
            row = table_row[slot]
        one.row = row
        fresh += row == -1
    return fresh


@_kernel
def book(
    decoded, count, offset, rules, lookup, tape_row, progress, open_log, late_log, packed, first,
    counts,
):  # fmt: skip
    """Decide about the decoded trades of own symbols, and log them where they belong.

    `packed` gets the conditions of open prints, counted from `first`; `counts` (2, symbols) counts
    what was seen and what was late.
    """
    closed_k, last_k = rules.closed_k, rules.last_k
    open_ns, close_ns = rules.open_ns, rules.close_ns
    new = offset >= rules.resumed_position or offset == _NO_OFFSET
    odd_lots = rules.odd_lots_in_price != 0
    n_open, n_late = progress.open, progress.late
    for i in range(count):
        one = decoded[i]
        row, ts_ns, price = one.row, one.ts_ns, one.price
        k = ts_ns // BUCKET_NS
        if row < 0 or (not new and k <= closed_k):
            continue  # another shard's, or in the restored state
        good = price > 0 and price < np.inf and one.size > 0
        if not good:
            progress.bad_prints += 1
        elif ts_ns < open_ns or ts_ns >= close_ns:
            progress.outside_session += 1
            good = False
        elif k > last_k and offset != _NO_OFFSET:
            progress.too_far_ahead += 1
            good = False
        if new or good:
            counts[0, row] += 1
        if not good:
            continue
        if k <= closed_k:
            made = late_log[n_late]
            n_late += 1
            counts[1, row] += 1
        else:
            made = open_log[n_open]
            packed[n_open - first] = one.conditions
            n_open += 1
        micro = np.rint(price * 1e6) if price < _MICRO_LIMIT else 0.0
        made.row, made.k, made.ts_ns, made.id = row, k, ts_ns, one.id
        made.price, made.price_micro = price, np.int64(micro)
        made.size, made.offset, made.exchange = one.size, offset, one.exchange
        flags = allowed_flags(one.conditions, tape_row[one.tape], lookup, odd_lots)
        made.flags = flags
        if flags & UNKNOWN:
            progress.unknown_conditions += 1
    progress.open, progress.late = n_open, n_late


@_kernel
def take_frames(
    raw, ends, offsets, table_key, table_key2, table_row, lookup, tape_row,
    rules_, progress_, scratch, rest, rest_at, open_log, late_log, packed, first, counts,
):  # fmt: skip
    """Decode and book the frames from `progress.part` on; returns why it stopped.

    A frame is booked whole or not at all. After NEW_SYMBOL the scratch holds its trades, those with
    row -1 are new; after BAD_FRAME the caller goes on behind it.
    """
    rules, progress = rules_[0], progress_[0]
    places = np.empty(_PLACES, np.int64)
    while progress.part < ends.size:
        part = progress.part
        start = ends[part - 1] if part else np.int64(0)
        before = progress.rest
        trades = decode_frame(raw, start, ends[part], places, scratch, rest, progress)
        if trades == _TOO_MANY:
            return NO_SCRATCH
        if trades < 0:
            return BAD_FRAME
        if find_symbols(scratch, trades, table_key, table_key2, table_row):
            progress.rest = before
            progress.decoded = trades
            return NEW_SYMBOL
        room = open_log.size - progress.open >= trades and late_log.size - progress.late >= trades
        if not room or packed.size - (progress.open - first) < trades:
            progress.rest = before
            return NO_ROOM
        for at in range(before, progress.rest):
            rest_at[at] = offsets[part]
        book(
            scratch, trades, offsets[part], rules, lookup, tape_row, progress, open_log, late_log,
            packed, first, counts,
        )  # fmt: skip
        progress.part += 1
    return DONE


def warm() -> None:
    """Compile the pass, or load it from the cache, before the first frame needs it."""
    symbol = np.zeros(2, np.uint64)
    rows = np.full(2, -1, np.int64)
    take_frames(
        np.frombuffer(b"\x90", np.uint8), np.ones(1, np.int64), np.zeros(1, np.int64), symbol,
        symbol, rows, np.zeros((1, 256), np.uint8), np.zeros(256, np.int64),
        np.zeros(1, RULES), np.zeros(1, PROGRESS), np.zeros(1, DECODED), np.zeros(1, SPAN),
        np.zeros(1, np.int64), np.zeros(1, PRINT), np.zeros(1, PRINT), symbol, 0,
        np.zeros((2, 1), np.int64),
    )  # fmt: skip
