"""Compiled: frames' bytes → prints in the book, in one pass.

Trades are read (`trade_kernels`) and booked as their bytes go by, other kinds leave a span for the
slower paths; nothing of a malformed frame is booked. The twin is `relay.frames.scan` with
`trades`, and the rules print by print, in the tests.
"""
# numba infers the types and mypy cannot see through its decorator:
# mypy: allow-untyped-defs, allow-untyped-calls, allow-untyped-decorators
# mypy: disable-error-code=assignment

import numpy as np

from relay.kernels import (
    KIND_QUOTE,
    KIND_TRADE,
    MALFORMED,
    NOT_A_FRAME,
    SPAN,
    header,
    is_array,
    is_string,
    timestamp,
)
from shards.compiled import inlined as _inline
from shards.compiled import kernel as _kernel
from shards.conditions import LOOKUP, TAPE_ROW
from shards.kernels import PRINT, SYMBOL_SLOT, UNKNOWN, allowed_flags, slot_of
from shards.trade_kernels import (
    AT_E,
    AT_S,
    AT_T,
    AT_TIME,
    DECODED,
    PADDING,
    PLACES,
    find_fields,
    kind_of,
    read_trade,
    read_usual,
    symbol_at,
)
from signals.session import BUCKET_NS

#: How far `take_frames` came, and what it counted.
PROGRESS = np.dtype(
    [
        ("part", "<i8"),  # the frame that it stopped at
        ("unknown", "<i8"),  # trades of that frame whose symbol was never seen
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
#: What sale conditions were found to allow, remembered by their hash.
ALLOWED = np.dtype([("conditions", "<u8"), ("tape", "<i8"), ("flags", "u1")], align=True)
ALLOWED_SLOTS = 256
DONE, BAD_FRAME, NEW_SYMBOL, NO_ROOM = 0, 1, 2, 3
#: numba keeps what it compiled as long as this file stays as it is. Raise it with any change of
#: what is compiled into it from others: `trade_kernels`, `relay.kernels`.
READERS_VERSION = 2
_MICRO_LIMIT = 9.2e12  # USD; above it a price does not fit int64 micro-dollars
_NO_OFFSET = -1
_NO_ROOM, _UNKNOWN_SYMBOL = -10, -11
_X = ord("x")
_STATUS, _LULD, _C = ord("s"), ord("l"), ord("c")


@_inline
def _row_of(one, table):
    """Return the row of the trade's symbol, -1 where it is new."""
    mask = np.uint64(table.size - 1)
    slot = slot_of(one.key, one.key2) & mask
    row = table[slot].row
    while row != -1 and (table[slot].key != one.key or table[slot].key2 != one.key2):
        slot = (slot + np.uint64(1)) & mask
        row = table[slot].row
    return row


@_inline
def _flags_of(one, lookup, tape_row, odd_lots, allowed):
    """Return `allowed_flags` of the print, remembered."""
    mixed = (one.conditions ^ np.uint64(one.tape)) * np.uint64(0x9E3779B97F4A7C15)
    known = allowed[mixed >> np.uint64(56)]
    tape = np.int64(one.tape) << 1 | np.int64(odd_lots)
    if known.conditions != one.conditions or known.tape != tape:
        known.flags = allowed_flags(one.conditions, tape_row[one.tape], lookup, odd_lots)
        known.conditions, known.tape = one.conditions, tape
    return known.flags


@_inline
def _book(
    one, row, offset, rules, lookup, tape_row, allowed, progress, open_log, late_log, packed,
    first, touched, trades,
):  # fmt: skip
    """Decide about a trade of an own symbol, and log it where it belongs.

    `touched` remembers whose print was seen (row << 1) and which was late (| 1); returns how many
    it holds.
    """
    closed_k, ts_ns, price = rules.closed_k, one.ts_ns, one.price
    k = ts_ns // BUCKET_NS
    new = offset >= rules.resumed_position or offset == _NO_OFFSET
    good = price > 0 and price < np.inf and one.size > 0
    if not new and k <= closed_k:
        return trades  # in the restored state
    if not good:
        progress.bad_prints += 1
    elif ts_ns < rules.open_ns or ts_ns >= rules.close_ns:
        progress.outside_session += 1
        good = False
    elif k > rules.last_k and offset != _NO_OFFSET:
        progress.too_far_ahead += 1
        good = False
    if not good:
        touched[trades] = row << 1
        return trades + new
    late = k <= closed_k
    touched[trades] = row << 1 | late
    if late:
        made = late_log[progress.late]
        progress.late += 1
    else:
        made = open_log[progress.open]
        packed[progress.open - first] = one.conditions
        progress.open += 1
    micro = np.rint(price * 1e6) if price < _MICRO_LIMIT else 0.0
    made.k, made.ts_ns, made.id, made.size, made.offset = k, ts_ns, one.id, one.size, offset
    made.price, made.price_micro, made.row = price, np.int64(micro), row
    flags = _flags_of(one, lookup, tape_row, rules.odd_lots_in_price != 0, allowed)
    made.exchange, made.flags = one.exchange, flags
    if flags & UNKNOWN:
        progress.unknown_conditions += 1
    return trades + 1


@_kernel
def take_frame(
    raw, start, end, offset, table, lookup, tape_row, allowed, rules, progress, places, decoded,
    rest, rest_at, open_log, late_log, packed, first, touched,
):  # fmt: skip
    """Book the messages in [start, end); return how many touched a row, or a negative code.

    After _UNKNOWN_SYMBOL `decoded` begins with the `progress.unknown` trades of new symbols.
    """
    pos, trades, unknown = start, 0, 0
    while pos < end:
        at, _, children = header(raw, pos, end)
        if at < 0:
            return MALFORMED
        if not is_array(raw[pos]):
            return NOT_A_FRAME
        if children > end - at:
            return MALFORMED
        room = min(open_log.size - progress.open, late_log.size - progress.late)
        room = min(room, packed.size - (progress.open - first), touched.size - trades)
        if children >= min(room, rest.size - progress.rest, decoded.size - unknown):
            return _NO_ROOM
        pos = at
        for _ in range(children):
            if pos >= end:
                return MALFORMED
            begin, one = pos, decoded[unknown]
            pos = read_usual(raw, begin, end, one)
            if pos < 0:
                pos = find_fields(raw, begin, end, places)
                if pos < 0:
                    return pos
                kind = kind_of(raw, places[AT_T], end)
                if kind != KIND_TRADE:
                    _leave_span(raw, begin, pos, end, kind, places, offset, rest, rest_at, progress)
                    continue
                read_trade(raw, end, places, one)
            row = _row_of(one, table)
            if row >= 0:
                trades = _book(
                    one, row, offset, rules, lookup, tape_row, allowed, progress, open_log,
                    late_log, packed, first, touched, trades,
                )  # fmt: skip
            elif row == -1:
                unknown += 1
    progress.unknown = unknown
    return _UNKNOWN_SYMBOL if unknown else trades


@_kernel
def _leave_span(raw, begin, pos, end, kind, places, offset, rest, rest_at, progress):
    """Keep where a message of another kind of data lies."""
    if kind not in (KIND_QUOTE, _STATUS, _LULD, _C, _X):
        return
    named = places[AT_S] >= 0 and is_string(raw[places[AT_S]])
    if kind == _X and places[AT_E] >= 0 and not named:
        return  # the relay's extension element
    span = rest[progress.rest]
    rest_at[progress.rest] = offset
    span.start, span.end, span.kind = begin, pos, kind
    span.key, span.key2, span.ts_ns = np.uint64(0), np.uint64(0), np.int64(0)
    if named:
        span.key, span.key2 = symbol_at(raw, places[AT_S], end)
    if places[AT_TIME] >= 0:
        span.ts_ns = timestamp(raw, places[AT_TIME], end)
    progress.rest += 1


@_kernel
def take_frames(
    raw, ends, offsets, table, lookup, tape_row, allowed, rules_, progress_, decoded, rest,
    rest_at, open_log, late_log, packed, first, touched, counts, places, before,
):  # fmt: skip
    """Book the frames from `progress.part` on; returns why it stopped.

    A frame is booked whole or not at all: what `progress` says is taken back, and `counts`
    (2, symbols), what was seen and what was late, is added to at a frame's end. After BAD_FRAME the
    caller goes on behind it. `places` (PLACES,) and `before` (1,) PROGRESS are scratch.
    """
    rules, progress = rules_[0], progress_[0]
    while progress.part < ends.size:
        part = progress.part
        start = ends[part - 1] if part else np.int64(0)
        before[0] = progress_[0]
        trades = take_frame(
            raw, start, ends[part], offsets[part], table, lookup, tape_row, allowed, rules,
            progress, places, decoded, rest, rest_at, open_log, late_log, packed, first, touched,
        )  # fmt: skip
        if trades < 0:
            unknown = progress.unknown
            progress_[0] = before[0]
            progress.unknown = unknown
            if trades == _UNKNOWN_SYMBOL:
                return NEW_SYMBOL
            return NO_ROOM if trades == _NO_ROOM else BAD_FRAME
        for i in range(trades):
            row = touched[i] >> 1
            counts[0, row] += 1
            counts[1, row] += touched[i] & 1
        progress.part += 1
    return DONE


def warm() -> None:
    """Compile the pass, or load it from the cache, before the first frame needs it."""
    raw = np.zeros(1 + PADDING, np.uint8)
    raw[0] = 0x90
    numbers, words = np.zeros(1, np.int64), np.zeros(1, np.uint64)
    take_frames(
        raw, np.ones(1, np.int64), numbers, np.zeros(2, SYMBOL_SLOT), LOOKUP, TAPE_ROW,
        np.zeros(ALLOWED_SLOTS, ALLOWED), np.zeros(1, RULES), np.zeros(1, PROGRESS),
        np.zeros(1, DECODED), np.zeros(1, SPAN), numbers, np.zeros(1, PRINT), np.zeros(1, PRINT),
        words, 0, numbers, np.zeros((2, 1), np.int64), np.zeros(PLACES, np.int64),
        np.zeros(1, PROGRESS),
    )  # fmt: skip
