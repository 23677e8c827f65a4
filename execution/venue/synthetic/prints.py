"""Kernels of one second: which prints happen, then what each of them and its quote looks like.

Prints come in clusters (one order sweeping several venues), clusters at a Poisson rate: that gives
the measured bursts. Quotes follow the bridge of `prices`; a print whose time sees another NBBO
than the last one sent brings the new quote along, just before itself.
"""
# numba infers the types and mypy cannot see through its decorator:
# mypy: allow-untyped-defs, allow-untyped-calls, allow-untyped-decorators

import numpy as np
from numba import njit

from execution.venue.synthetic import facts
from execution.venue.synthetic.draws import (
    exponential,
    geometric,
    normal,
    poisson,
    scramble,
    uniform,
)
from execution.venue.synthetic.universe import POINTS, TICK_POINTS

EVENT = np.dtype(
    [("at", "<i8"), ("ts", "<i8"), ("name", "<i4"), ("kind", "u1"), ("side", "i1"), ("late", "u1")]
)
#: Of a trade: price, size, id, –, exchange, condition list. Of a quote: bid, its size, ask, its
#: size, exchange of the bid, of the ask. Prices in points. A message: its begin and end in a blob.
ROW = np.dtype(
    [("at", "<i8"), ("ts", "<i8"), ("name", "<i4"), ("kind", "u1"), ("a", "<i8"), ("b", "<i8"),
     ("c", "<i8"), ("d", "<i8"), ("x", "u1"), ("y", "u1")]
)  # fmt: skip
PRINT, REFRESH, OPENING, CLOSING, REOPENING, MESSAGE = range(6)
ROWS_PER_EVENT = 3  # a quote, a print, an official print
TRADE_ROW, QUOTE_ROW = ord("t"), ord("q")
TOO_MANY = -1
# the first condition lists of every tape; rare ones follow
REGULAR, ODD, SWEEP, ODD_SWEEP, OPENED, OFFICIAL_OPEN, CLOSED, OFFICIAL_CLOSE, REOPENED = range(9)

_SECOND_NS = 1_000_000_000
_GAP_SHARES = np.cumsum([share for share, _ in facts.GAPS])
_GAP_NS = np.array([mean for _, mean in facts.GAPS], np.float64)
_ODD_SIZES = np.array(facts.ODD_SIZES, np.int64)
_ODD_CUMULATIVE = np.cumsum(facts.ODD_WEIGHTS) / (1000 * facts.ODD_LOT_SHARE)
_SPREAD_LEVELS = np.exp(
    facts.SPREAD_SD
    * np.sort(np.random.default_rng(0).standard_normal(64_001))[
        np.linspace(0, 64_000, 66).astype(int)[1:-1]
    ]
)
_LATE = facts.LATE_SHARE
_SIX_BITS = np.uint64(63)


@njit(cache=True, nogil=True)
def spawn(stream, start_ns, limit_ns, second, rate, factor, boost, tilt, cluster, refresh, out):
    """Write the events that start within one second; return their number, or TOO_MANY.

    Args:
        limit_ns: no event comes at or after it (the end of the minute).
        rate: (n,) clusters per second; `factor` times `boost` (n,) of it happen, 0 is halted.
        tilt: (n,) probability that a cluster buys.
        cluster: (3, n) mean of small and of large clusters, share of large ones.
        refresh: (2, n) period and phase of quote refreshes, s.
    """
    count = 0
    for i in range(rate.size):
        if boost[i] == 0.0:
            continue
        if (second + refresh[1, i]) % refresh[0, i] == 0:
            if count >= out.size:
                return TOO_MANY
            at = start_ns + int(uniform(stream) * _SECOND_NS)
            _event(out, count, at, at, i, REFRESH, 0, 0)
            count += 1
        for _ in range(poisson(stream, rate[i] * factor * boost[i])):
            at = start_ns + int(uniform(stream) * _SECOND_NS)
            mean = cluster[1, i] if uniform(stream) < cluster[2, i] else cluster[0, i]
            side = 1 if uniform(stream) < tilt[i] else -1
            for _ in range(geometric(stream, mean)):
                if count >= out.size:
                    return TOO_MANY
                ts, late = at, 0
                if uniform(stream) < _LATE:
                    delay = 900_000_000 + min(int(exponential(stream) * 1.6e9), 7_000_000_000)
                    ts, late = max(limit_ns - 60 * _SECOND_NS, at - delay), 1
                _event(out, count, at, ts, i, PRINT, side, late)
                count += 1
                at += _gap(stream)
                if at >= limit_ns:  # a straggler of a minute's last second stays in it
                    at = start_ns + (at - limit_ns) % (limit_ns - start_ns)
    return count


@njit(cache=True, nogil=True, inline="always")
def _event(out, n, at, ts, name, kind, side, late):
    out[n].at = at
    out[n].ts = ts
    out[n].name = name
    out[n].kind = kind
    out[n].side = side
    out[n].late = late


@njit(cache=True, nogil=True)
def _gap(stream):
    draw = uniform(stream)
    for k in range(_GAP_NS.size):
        if draw < _GAP_SHARES[k]:
            return int(exponential(stream) * _GAP_NS[k])
    return 0


@njit(cache=True, nogil=True)
def quote_and_print(
    stream, events, names, grid, minute_ns, widen, halted, book, exchanges, rare, next_id, out
):
    """Turn events, in order of arrival, into rows; return (rows, next id).

    Args:
        names: (n,) NAME, what does not change over the day.
        grid: (n, 61) log return since the open at each second of the minute from `minute_ns`.
        halted: (2, n) from and until, UTC ns: no rows in between.
        book: (2, n) bid and ask last sent, points; -1 unknown; updated.
        exchanges: (shares (3, k) cumulative, letters (3, k)) by tape.
        rare: (shares (3, m) cumulative, strays (3, m), lists (3, m, 2) regular and odd) by tape.
        out: at least ROWS_PER_EVENT rows per event.
    """
    n = 0
    for e in range(events.size):
        event = events[e]
        i = event.name
        if event.kind == MESSAGE:
            out[n].kind, out[n].at, out[n].name = 0, event.at, i
            n += 1
            continue
        if halted[0, i] <= event.ts < halted[1, i]:
            continue
        bid, ask, tick, mid = nbbo(names[i], grid, i, event.ts - minute_ns, widen, event.ts)
        moved = bid != book[0, i] or ask != book[1, i]
        if event.late == 0 and (moved or event.kind == REFRESH):
            _quote(stream, out[n], event, names[i], bid, ask, exchanges)
            book[0, i], book[1, i] = bid, ask
            n += 1
        if event.kind == REFRESH:
            continue
        _trade(stream, out[n], event, names[i], bid, ask, tick, mid, exchanges, rare, next_id)
        next_id += 1
        n += 1
        if event.kind == OPENING or event.kind == CLOSING:  # the listing market's official print
            out[n] = out[n - 1]
            out[n].y += 1
            out[n].c = next_id
            next_id += 1
            n += 1
    return n, next_id


@njit(cache=True, nogil=True)
def nbbo(name, grid, i, offset_ns, widen, ts_ns):
    """Return (bid, ask, tick, mid) at a time: points, points, points, ticks."""
    second = min(offset_ns // _SECOND_NS, grid.shape[1] - 2)
    part = (offset_ns - second * _SECOND_NS) / _SECOND_NS
    level = grid[i, second] + part * (grid[i, second + 1] - grid[i, second])
    points = name.price * POINTS * np.exp(level)
    tick = TICK_POINTS if points >= POINTS else 1
    mid = max(points / tick, 2.0)
    word = scramble(np.uint64(ts_ns // (4 * _SECOND_NS)) * np.uint64(65_537) + np.uint64(i))
    wide = name.spread * widen * _SPREAD_LEVELS[word & _SIX_BITS]
    width = max(1, int(wide * mid + 0.5))
    bid = max(1, int(np.floor(mid - 0.5 * width + 0.5)))
    return bid * tick, (bid + width) * tick, tick, mid


@njit(cache=True, nogil=True)
def _quote(stream, row, event, name, bid, ask, exchanges):
    row.kind = QUOTE_ROW
    row.at, row.ts, row.name = event.at, event.ts, event.name
    row.a, row.c = bid, ask
    row.b, row.d = _displayed(stream, name.depth), _displayed(stream, name.depth)
    row.x, row.y = (
        _exchange(stream, name.tape, exchanges, 1),
        _exchange(stream, name.tape, exchanges, 1),
    )


@njit(cache=True, nogil=True)
def _displayed(stream, depth):
    """Return shares at the NBBO, in round lots."""
    return 100 * max(1, int(depth * np.exp(0.6 * normal(stream)) / 100.0 + 0.5))


@njit(cache=True, nogil=True)
def _exchange(stream, tape, exchanges, first):
    """Return the letter of an exchange; with `first` = 1 not the reporting facility (the first)."""
    shares, letters = exchanges
    off_exchange = shares[tape, 0] if first else 0.0
    draw = off_exchange + uniform(stream) * (1.0 - off_exchange)
    for k in range(first, shares.shape[1]):
        if draw < shares[tape, k]:
            return letters[tape, k]
    return letters[tape, 1]


@njit(cache=True, nogil=True)
def _trade(stream, row, event, name, bid, ask, tick, mid, exchanges, rare, number):
    row.kind = TRADE_ROW
    row.at, row.ts, row.name, row.c = event.at, event.ts, event.name, number
    row.d = 0
    if event.kind != PRINT:
        share = 0.008 if event.kind == OPENING else 0.06 if event.kind == CLOSING else 0.01
        row.a = int(mid + 0.5) * tick
        row.b = 100 + 100 * int(name.volume * share * np.exp(0.4 * normal(stream)) / 100)
        row.x = exchanges[1][name.tape, 2 if name.tape == 0 else 1]
        kind = event.kind
        row.y = OPENED if kind == OPENING else CLOSED if kind == CLOSING else REOPENED
        return
    row.b = _size(stream, name)
    row.x = exchanges[1][0, 0] if event.late else _exchange(stream, name.tape, exchanges, 0)
    off_exchange = row.x == exchanges[1][0, 0]
    row.a = _price(stream, event.side, bid, ask, tick, mid, off_exchange)
    odd = 1 if row.b < 100 else 0
    draw = uniform(stream)
    if draw < facts.RARE_SHARE:
        k = np.searchsorted(rare[0][name.tape], draw / facts.RARE_SHARE)
        row.y = rare[2][name.tape, k, odd]
        if rare[1][name.tape, k]:
            row.a = max(1, int(mid * tick * (1.0 + 6e-4 * normal(stream))))
    elif draw < facts.RARE_SHARE + (0.7 if off_exchange else 1.1) * facts.ISO_SHARE:
        row.y = ODD_SWEEP if odd else SWEEP
    else:
        row.y = ODD if odd else REGULAR


@njit(cache=True, nogil=True)
def _price(stream, side, bid, ask, tick, mid, off_exchange):
    """Return the price of a print in points: mostly the side of the NBBO that it takes."""
    far = ask if side > 0 else bid
    draw = uniform(stream)
    if off_exchange:
        if draw < facts.TRF_MIDPOINT_SHARE:
            return max(1, (bid + ask) // 2)
        if draw < facts.TRF_MIDPOINT_SHARE + facts.TRF_IMPROVED_SHARE and tick > 1:
            return far - side * min(1 + int(uniform(stream) * 20), (ask - bid) // 2)
        return far
    if draw < facts.INSIDE_SHARE:
        return bid + int(uniform(stream) * ((ask - bid) // tick + 1)) * tick
    if draw < facts.INSIDE_SHARE + facts.BEYOND_SHARE:
        return max(tick, far + side * tick)
    return far


@njit(cache=True, nogil=True)
def _size(stream, name):
    draw = uniform(stream)
    if draw < name.odd:
        k = np.searchsorted(_ODD_CUMULATIVE, draw / name.odd)
        return _ODD_SIZES[k] if k < _ODD_SIZES.size else 11 + int(uniform(stream) * 89)
    if draw < name.odd + name.hundred:
        return 100
    lots = max(2, int(np.exp(name.lots + 0.9 * normal(stream)) + 0.5))
    mixed = int(uniform(stream) * 99) + 1 if uniform(stream) < 0.4 else 0
    return 100 * lots + mixed
