"""Compiled kernels of the shard: symbols to rows, print eligibility, one bucket from its prints.

Integers are summed as integers and each symbol's prints are taken in (time, id, exchange) order,
so a bucket does not depend on how its prints arrived. No fastmath, for the same reason.
"""
# numba infers the types and mypy cannot see through its decorator:
# mypy: allow-untyped-defs, allow-untyped-calls, allow-untyped-decorators
# mypy: disable-error-code=assignment

import numpy as np

from relay.frames import QUOTES
from shards.compiled import kernel as _kernel

PRICE, VOLUME, VWAP, SOLD_LAST, UNKNOWN, ODD_LOT, DROPPED = 1, 2, 4, 8, 16, 32, 64

PRINT = np.dtype(  # a cache line
    [
        ("k", "<i8"),
        ("ts_ns", "<i8"),
        ("id", "<i8"),
        ("price", "<f8"),
        ("price_micro", "<i8"),
        ("size", "<i8"),
        ("offset", "<i8"),  # of the frame that brought it
        ("row", "<i4"),  # the symbol's row in this process
        ("exchange", "u1"),
        ("flags", "u1"),
    ],
    align=True,
)
#: A place of the hash table from symbols to rows; row -1 where it is free.
SYMBOL_SLOT = np.dtype([("key", "<u8"), ("key2", "<u8"), ("row", "<i8"), ("unused", "<i8")])
#: What one close makes of the prints of a bucket, one element per symbol row.
SUMS = np.dtype(
    [
        ("prints", "<i8"),  # price-eligible ones; 0 makes the bucket synthetic
        ("open", "<f8"),
        ("high", "<f8"),
        ("low", "<f8"),
        ("close", "<f8"),
        ("last_ns", "<i8"),
        ("volume", "<i8"),
        ("trades", "<i8"),
        ("block", "<i8"),  # largest print that counts in volume but sets no price
        ("value", "<i8"),  # sum of price_micro x size over VWAP prints
        ("shares", "<i8"),  # sum of size over the same
        ("square", "<f8"),  # sum of size x (price_micro - anchor)^2
        ("seen", "<i8"),  # all prints
    ]
)
QUOTE_STATE = np.dtype(
    [
        ("ts_ns", "<i8"),
        ("bid", "<f8"),
        ("ask", "<f8"),
        ("bid_size", "<i8"),
        ("ask_size", "<i8"),
        ("mid", "<f8"),
        ("mid_ns", "<i8"),
    ]
)
FOREIGN = -2
_GAPS = np.array([7983, 3548, 1577, 701, 301, 132, 57, 23, 10, 4, 1], np.int64)


@_kernel
def find_rows(keys, keys2, table, out):
    """Put each symbol's row into `out`, -1 where the hash table does not know it.

    Returns the number of unknown ones.
    """
    mask = np.uint64(table.size - 1)
    unknown = 0
    for i in range(keys.size):
        slot = slot_of(keys[i], keys2[i]) & mask
        out[i] = -1
        while table[slot].row != -1:
            if table[slot].key == keys[i] and table[slot].key2 == keys2[i]:
                out[i] = table[slot].row
                break
            slot = (slot + np.uint64(1)) & mask
        if out[i] == -1:
            unknown += 1
    return unknown


@_kernel
def slot_of(key, key2):
    """Return a well-mixed hash of the two words of a symbol."""
    mixed = (key ^ (key >> np.uint64(31))) * np.uint64(0x9E3779B97F4A7C15)
    mixed ^= key2 * np.uint64(0xC2B2AE3D27D4EB4F)
    return mixed ^ (mixed >> np.uint64(29))


@_kernel
def insert_row(key, key2, row, table):
    """Add a symbol to the hash table, which must have room."""
    mask = np.uint64(table.size - 1)
    slot = slot_of(key, key2) & mask
    while table[slot].row != -1:
        slot = (slot + np.uint64(1)) & mask
    place = table[slot]
    place.key, place.key2, place.row = key, key2, row


@_kernel
def allowed_flags(codes, row, lookup, odd_lots_in_price):
    """Combine the codes of one print: the strictest wins for price and for volume.

    `row` is the tape's in the table.
    """
    allowed = PRICE | VOLUME
    marks = 0
    while codes:
        rule = lookup[row, np.uint8(codes & np.uint64(0xFF))]
        codes >>= np.uint64(8)
        if odd_lots_in_price and rule & ODD_LOT:
            rule |= PRICE
        allowed &= rule
        marks |= rule & (SOLD_LAST | UNKNOWN | ODD_LOT)
    if allowed & PRICE or (marks & ODD_LOT and allowed & VOLUME):
        allowed |= VWAP
    return allowed | marks


@_kernel
def eligibility(tape, conditions, lookup, tape_row, odd_lots_in_price, flags):
    """Fill `flags` of each print."""
    for i in range(tape.size):
        row = tape_row[tape[i]]
        flags[i] = allowed_flags(conditions[i], row, lookup, odd_lots_in_price)


@_kernel
def _before(a, b):
    """Tell whether print `a` comes before print `b` of the same symbol."""
    if a.ts_ns != b.ts_ns:
        return a.ts_ns < b.ts_ns
    if a.id != b.id:
        return a.id < b.id
    if a.exchange != b.exchange:
        return a.exchange < b.exchange
    if a.size != b.size:  # the rest only makes the order total
        return a.size < b.size
    return a.price_micro < b.price_micro


@_kernel
def _same(a, b):
    """Tell whether two prints of a symbol are one print delivered twice."""
    return (
        a.ts_ns == b.ts_ns
        and a.id == b.id
        and a.exchange == b.exchange
        and a.size == b.size
        and a.price_micro == b.price_micro
    )


@_kernel
def _sort(prints, order, first, last):
    """Shell-sort `order[first:last]`; nearly sorted input, the usual case, costs one pass."""
    in_order = True
    for i in range(first + 1, last):
        if _before(prints[order[i]], prints[order[i - 1]]):
            in_order = False
            break
    if in_order:
        return
    for gap in _GAPS:
        for i in range(first + gap, last):
            moving = order[i]
            j = i
            while j >= first + gap and _before(prints[moving], prints[order[j - gap]]):
                order[j] = order[j - gap]
                j -= gap
            order[j] = moving


@_kernel
def by_symbol(prints, k, n_symbols, starts, order):
    """Order the prints up to bucket k by symbol row, each in the order of arrival.

    `starts` gets n_symbols + 1 bounds into `order`, and has room for one more.
    """
    starts[:] = 0
    for i in range(prints.size):
        if prints[i].k <= k:
            starts[prints[i].row + 2] += 1
    for row in range(n_symbols):
        starts[row + 2] += starts[row + 1]
    for i in range(prints.size):  # a row's end moves from where it begins to where it ends
        if prints[i].k <= k:
            row = prints[i].row
            order[starts[row + 1]] = i
            starts[row + 1] += 1


@_kernel
def keep_later(prints, k, out):
    """Copy the prints after bucket k to `out`; return how many."""
    kept = 0
    for i in range(prints.size):
        if prints[i].k > k:
            out[kept] = prints[i]
            kept += 1
    return kept


@_kernel
def sum_prints(prints, order, starts, anchor_micro, sums):
    """Make each symbol's SUMS of one bucket; sets `anchor_micro` from its first VWAP print.

    Brings each symbol's part of `order` into (time, id, exchange) order first.

    Returns the number of duplicates, which count once.
    """
    duplicates = 0
    for row in range(sums.size):
        first, last = starts[row], starts[row + 1]
        if last - first > 1:
            _sort(prints, order, first, last)
        total = sums[row]
        for at in range(first, last):
            one = prints[order[at]]
            if at > first and _same(one, prints[order[at - 1]]):
                duplicates += 1
                continue
            total.seen += 1
            if one.flags & DROPPED:
                continue
            sets_price = one.flags & PRICE != 0
            if sets_price and one.flags & SOLD_LAST:
                sets_price = _is_newest(prints, order, at, last)
            _add(one, sets_price, row, anchor_micro, total)
    return duplicates


@_kernel
def _is_newest(prints, order, at, last):
    """Tell whether no price-eligible print of the symbol comes after the one at `at`."""
    for later in range(at + 1, last):
        if prints[order[later]].flags & (PRICE | DROPPED) == PRICE and not _same(
            prints[order[later]], prints[order[at]]
        ):
            return False
    return True


@_kernel
def _add(one, sets_price, row, anchor_micro, total):
    if one.flags & VOLUME:
        total.volume += one.size
        total.trades += 1
        if not one.flags & (PRICE | ODD_LOT) and one.size > total.block:
            total.block = one.size
    if one.flags & VWAP and (sets_price or one.flags & ODD_LOT):
        if anchor_micro[row] == 0:
            anchor_micro[row] = one.price_micro
        away = float(one.price_micro - anchor_micro[row])
        total.value += one.price_micro * one.size
        total.shares += one.size
        total.square += one.size * away * away
    if sets_price:
        if total.prints == 0:
            total.open = total.high = total.low = one.price
        total.high = max(total.high, one.price)
        total.low = min(total.low, one.price)
        total.close = one.price
        total.last_ns = one.ts_ns
        total.prints += 1


@_kernel
def apply_quotes(rows, quotes, offsets, end_ns, grace_ns, best, keep):
    """Bring the quotes up to `end_ns + grace_ns` into `best` (QUOTE_STATE); mark later ones.

    Its mid is that of the last sane two-sided quote before `end_ns`. Returns the lowest frame
    offset of the quotes marked in `keep`, or -1.
    """
    lowest = -1
    for i in range(rows.size):
        quote = quotes[i]
        keep[i] = quote.ts_ns > end_ns + grace_ns
        if keep[i]:
            if lowest < 0 or offsets[i] < lowest:
                lowest = offsets[i]
            continue
        newest = best[rows[i]]
        sane = quote.bid > 0 and quote.ask >= quote.bid
        if sane and quote.ts_ns < end_ns and quote.ts_ns >= newest.mid_ns:
            newest.mid = (quote.bid + quote.ask) / 2
            newest.mid_ns = quote.ts_ns
        if quote.ts_ns >= newest.ts_ns:
            newest.ts_ns = quote.ts_ns
            newest.bid, newest.ask = quote.bid, quote.ask
            newest.bid_size, newest.ask_size = quote.bid_size, quote.ask_size
    return lowest


@_kernel
def ring_window(ring, last, columns, out):
    """Fill `out` (count, n) with each column's buckets up to its own last one, oldest first.

    `ring` is (depth, symbols), the depth a power of two.
    """
    mask, count = ring.shape[0] - 1, out.shape[0]
    for row in range(count):
        back = count - 1 - row
        for i in range(columns.size):
            out[row, i] = ring[(last[i] - back) & mask, columns[i]]


def warm() -> None:
    """Compile every kernel, or load it from the cache, before the first print needs it."""
    words = np.array([1, 2], np.uint64)
    table = np.zeros(8, SYMBOL_SLOT)
    table["row"] = -1
    found = np.empty(2, np.int64)
    insert_row(np.uint64(1), np.uint64(1), 0, table)
    find_rows(words, words, table, found)
    prints, sums = np.zeros(2, PRINT), np.zeros(1, SUMS)
    starts, order = np.empty(3, np.int64), np.empty(2, np.int64)
    by_symbol(prints, 0, 1, starts, order)
    sum_prints(prints, order, starts, np.zeros(1, np.int64), sums)
    keep_later(prints, 0, prints)
    rows, offsets, keep = np.zeros(1, np.int64), np.zeros(1, np.int64), np.zeros(1, np.bool_)
    apply_quotes(rows, np.zeros(1, QUOTES), offsets, 1, 1, np.zeros(1, QUOTE_STATE), keep)
    for kind in (np.float64, np.int64, np.uint8):
        ring_window(np.zeros((2, 1), kind), rows, rows, np.zeros((1, 1), kind))
