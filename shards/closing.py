"""Compiled: what the close of a bucket does to every symbol, and the evidence of the few.

`make_buckets` writes the rings' newest row, `look` computes the features from the rings and moves
the resting states, `weigh` gathers the evidence of some rows and judges it. The rules for one
symbol are those of `signals.candidates`, compiled as they stand there. Every sum of floats runs
strictly from the oldest bucket to the newest, and is taken anew at every close: nothing drifts, and
a restart, a deeper ring or other neighbors change no bit. The slow twin is in the tests.
"""
# numba infers the types and mypy cannot see through its decorator:
# mypy: allow-untyped-defs, allow-untyped-calls, allow-untyped-decorators
# mypy: disable-error-code=assignment

import math

import numpy as np
from numba import njit

from shards.compiled import numpy_kernel as _kernel
from shards.kernels import QUOTE_STATE, SUMS
from shards.records import BUCKET_ROW
from shards.state import FOUND, RING, STATE, Every, RingArrays, Rule, Table
from signals import candidates, oscillator
from signals.candidates import Evidence, State

MINUTE = oscillator.BUCKETS_PER_MINUTE
GRAVITY_BUCKETS = 60
FRESH_BUCKETS = 12
GRAVITY_CAP_USD = 5_000_000
MEDIAN, VWAP, MID = 0, 1, 2  # what feeds the oscillator
ACCELERATOR, AWESOME, AWESOME_SMOOTHED = 0, 1, 2
NOT_TOLD, ALIVE, BORN, NEAR_MISS = 0, 1, 2, 3
_TILE = 1024  # symbols whose sums stay in the nearest cache while the rows go by
_MIN_RETURNS, _FLOOR_BPS = oscillator.MIN_RETURNS, oscillator.SIGMA_FLOOR_BPS
_CLIP = oscillator.CLIP_MAD_SD * oscillator.MAD_TO_SD
_TIE = oscillator.TIE_BPS
_CANDIDATE, _IDLE, _ARMED = int(State.CANDIDATE), int(State.IDLE), int(State.ARMED)
_rested = njit(nogil=True)(candidates.rested)
_passes = njit(nogil=True)(candidates.passes)


@_kernel
def make_buckets(k, sums, quotes, table, rings, minute_closes, price_source, restarted):
    """Add the sums of bucket k to the session and fill the rings' row of it.

    Args: minute_closes: (minutes, symbols), written when k ends a clock minute; restarted: gets
        which symbols' rings began in this bucket.
    """
    at = k & (rings.open.shape[0] - 1)
    for i in range(sums.size):
        one = sums[i]
        table.volume[i] += one.volume
        table.trades[i] += one.trades
        table.value[i] += one.value
        table.shares[i] += one.shares
        table.square[i] += one.square
        real = one.prints > 0
        restarted[i] = real and _begins(k, i, table, rings)
        if real:
            _take_prices(k, at, i, one, table, rings)
        else:
            close = table.close[i]
            rings.open[at, i], rings.high[at, i] = close, close
            rings.low[at, i], rings.close[at, i] = close, close
        _take_counts(at, i, one, real, table, rings)
        _take_quote(at, i, quotes[i], rings)
    set_source(k, sums.size, table, rings, price_source)
    if (k + 1) % MINUTE == 0:
        row = (k // MINUTE) & (minute_closes.shape[0] - 1)
        for i in range(sums.size):
            usable = k >= table.ring_k[i] and table.restart[i] == 0
            minute_closes[row, i] = table.close[i] if usable else np.nan


@_kernel
def _begins(k, i, table, rings):
    """Tell whether this price-eligible print begins the symbol's rings, and let it."""
    if table.first_k[i] < 0:
        table.first_k[i] = k
    if table.restart[i] == 0 or table.halted[i] != 0 or k < table.reopen_k[i]:
        return False
    table.ring_k[i] = k
    table.restart[i] = 0
    for row in range(rings.source.shape[0]):
        rings.source[row, i] = rings.ao[row, i] = rings.x[row, i] = np.nan
    return True


@_kernel
def _take_prices(k, at, i, one, table, rings):
    rings.open[at, i], rings.high[at, i] = one.open, one.high
    rings.low[at, i], rings.close[at, i] = one.low, one.close
    table.close[i], table.last_ns[i], table.fresh_k[i] = one.close, one.last_ns, k
    if np.isnan(table.open[i]):
        table.open[i], table.high[i], table.low[i] = one.open, one.high, one.low
    else:
        table.high[i] = max(table.high[i], one.high)
        table.low[i] = min(table.low[i], one.low)


@_kernel
def _take_counts(at, i, one, real, table, rings):
    live = table.first_k[i] >= 0
    block = one.block if 2 * one.block > one.volume else 0
    rings.volume[at, i] = one.volume if live else 0
    rings.trades[at, i] = one.trades if live else 0
    rings.value[at, i] = one.value if live else 0
    rings.shares[at, i] = one.shares if live else 0
    rings.calm[at, i] = one.volume - block if live else 0
    rings.synthetic[at, i] = live and not real


@_kernel
def _take_quote(at, i, quote, rings):
    spread = np.nan
    if quote.bid > 0 and quote.ask >= quote.bid:
        spread = 1e4 * (quote.ask - quote.bid) / ((quote.bid + quote.ask) / 2)
    rings.spread_bps[at, i] = spread
    rings.mid[at, i] = quote.mid


@_kernel
def set_source(k, size, table, rings, price_source):
    """Fill the rings' `source` of bucket k: what feeds the oscillator."""
    at = k & (rings.open.shape[0] - 1)
    for i in range(size):
        began = table.first_k[i] >= 0 and table.ring_k[i] >= 0 and k >= table.ring_k[i]
        source = np.nan
        if began and (table.restart[i] == 0 or table.halted[i] != 0):
            source = (rings.high[at, i] + rings.low[at, i]) / 2
            if price_source == VWAP:
                source = _vwap(rings, at, i)
            elif price_source == MID and not np.isnan(rings.mid[at, i]):
                source = rings.mid[at, i]
        rings.source[at, i] = source


@_kernel
def _vwap(rings, at, i):
    shares = rings.shares[at, i]
    return rings.value[at, i] / shares / 1e6 if shares > 0 else rings.close[at, i]


@_kernel
def fill_rows(k, order, rings, rows):
    """Fill the BUCKET_ROW records of bucket k, but for the names, in the given order."""
    at = k & (rings.open.shape[0] - 1)
    for place in range(order.size):
        i, row = order[place], rows[place]
        row.k = k
        row.open, row.high = rings.open[at, i], rings.high[at, i]
        row.low, row.close = rings.low[at, i], rings.close[at, i]
        row.volume, row.trades = rings.volume[at, i], rings.trades[at, i]
        row.vwap, row.synthetic = _vwap(rings, at, i), rings.synthetic[at, i]


@_kernel
def breadth(k, size, table, rings, total):
    """Return (live, fresh, prints, late prints) and gravity's (n, 2 x up, w, 2 x w_up) of bucket k.

    Gravity counts symbols that traded in the last FRESH_BUCKETS and are older than
    GRAVITY_BUCKETS: return over those, weight their dollar volume in whole USD, capped.
    """
    mask = rings.close.shape[0] - 1
    live, fresh, prints, late, n, n_up2, w, w_up2 = 0, 0, 0, 0, 0, 0, 0, 0
    window_sum(rings.value, k, GRAVITY_BUCKETS, 0, size, total)
    now, then = rings.close[k & mask], rings.close[(k - GRAVITY_BUCKETS) & mask]
    for i in range(size):
        prints += table.seen[i]
        late += table.late[i]
        if table.first_k[i] < 0:
            continue
        live += 1
        if table.fresh_k[i] <= k - FRESH_BUCKETS:
            continue
        fresh += 1
        if table.first_k[i] > k - GRAVITY_BUCKETS:
            continue
        up2 = 2 if now[i] > then[i] else 1 if now[i] == then[i] else 0
        weight = min(total[i] // 1_000_000, GRAVITY_CAP_USD)
        n, n_up2, w, w_up2 = n + 1, n_up2 + up2, w + weight, w_up2 + weight * up2
    return live, fresh, prints, late, n, n_up2, w, w_up2


@_kernel
def window_sum(ring, k, count, first, last, out):
    """Put the sums of the `count` buckets up to k into `out`, of the symbols in [first, last).

    Slices, so that the loops run from 0 and LLVM sees whole vectors.
    """
    mask, sums = ring.shape[0] - 1, out[first:last]
    row = ring[(k - count + 1) & mask, first:last]
    for i in range(sums.size):
        sums[i] = row[i]
    for j in range(k - count + 2, k + 1):
        row = ring[j & mask, first:last]
        for i in range(sums.size):
            sums[i] += row[i]


@_kernel
def curves(k, first, last, rings, rule, every):
    """Compute bucket k's AO, curve, slow mean and x of the symbols in [first, last)."""
    at = k & (rings.source.shape[0] - 1)
    slow_mean, ao, value = (
        every.slow_mean[first:last], every.ao[first:last], every.value[first:last],
    )  # fmt: skip
    x, ao_row, x_row = every.x[first:last], rings.ao[at, first:last], rings.x[at, first:last]
    window_sum(rings.source, k, rule.slow, first, last, every.slow_mean)
    window_sum(rings.source, k, rule.fast, first, last, every.ao)
    for i in range(ao.size):
        slow_mean[i] /= rule.slow
        ao[i] = ao[i] / rule.fast - slow_mean[i]
        ao_row[i] = ao[i]
    window_sum(rings.ao, k, rule.smooth, first, last, every.value)
    for i in range(ao.size):
        smoothed = value[i] / rule.smooth
        if rule.mode == AWESOME:
            value[i] = ao[i]
        elif rule.mode == ACCELERATOR:
            value[i] = ao[i] - smoothed
        else:
            value[i] = smoothed
    for i in range(ao.size):
        x[i] = 1e4 * value[i] / slow_mean[i]
        x_row[i] = x[i]


@_kernel
def rebuild(first_k, last_k, size, table, rings, rule, every, price_source):
    """Compute anew what feeds the oscillator, and its curves, from the raw buckets in the rings."""
    depth = rings.source.shape[0]
    for row in range(depth):
        for i in range(size):
            rings.source[row, i] = rings.ao[row, i] = rings.x[row, i] = np.nan
    for j in range(first_k, last_k + 1):
        set_source(j, size, table, rings, price_source)
    for j in range(max(first_k, last_k + 1 - depth + rule.slow), last_k + 1):
        curves(j, 0, size, rings, rule, every)


@_kernel
def look(k, size, table, rings, rule, restarted, every, total):
    """Compute every symbol's features in bucket k and move the states that rest.

    `every.near` gets who is alive or near enough in the cheap features to be weighed; `total`
    (symbols,) int64 is scratch.
    """
    for first in range(0, size, _TILE):
        last = min(first + _TILE, size)
        curves(k, first, last, rings, rule, every)
        _accelerate(k, first, last, rings, rule, every)
        _surge(k, first, last, rings, rule, every, total)
        _find_quiet(k, first, last, rings, rule, every, total)
        for i in range(first, last):
            every.warm[i] = k - table.ring_k[i] + 1 >= rule.warm
            _rest(k, i, table, restarted[i], every)
            every.near[i] = _is_near(i, table.state[i], rule, every)


@_kernel
def _accelerate(k, first, last, rings, rule, every):
    before = rings.x[(k - rule.lookback) & (rings.x.shape[0] - 1), first:last]
    x, accel = every.x[first:last], every.accel[first:last]
    for i in range(x.size):
        if rule.by_ratio:
            base = before[i]
            accel[i] = x[i] / (base if np.isnan(base) else max(base, 1.0))
        else:
            accel[i] = (x[i] - before[i]) / rule.lookback


@_kernel
def _surge(k, first, last, rings, rule, every, total):
    surge, calm = every.surge[first:last], total[first:last]
    window_sum(rings.calm, k, rule.fast, first, last, total)
    for i in range(surge.size):
        surge[i] = calm[i] / rule.fast
    window_sum(rings.calm, k - rule.fast, rule.history, first, last, total)
    for i in range(surge.size):
        surge[i] /= max(calm[i] / rule.history, rule.floor)


@_kernel
def _find_quiet(k, first, last, rings, rule, every, total):
    share, quiet = every.synthetic_share[first:last], every.quiet[first:last]
    synthetic, mask = total[first:last], rings.x.shape[0] - 1
    window_sum(rings.synthetic, k, rule.history, first, last, total)
    for i in range(share.size):
        share[i] = synthetic[i] / rule.history
        quiet[i] = rule.min_flat > 0 and share[i] <= rule.max_synthetic
    for j in range(k - rule.min_flat + 1, k + 1):
        x = rings.x[j & mask, first:last]
        for i in range(share.size):
            quiet[i] &= abs(x[i]) <= rule.quiet_bps


@_kernel
def _rest(k, i, table, restarted, every):
    started = table.first_k[i] >= 0
    table.state[i] = _rested(
        table.state[i],
        k >= table.until_k[i],
        every.warm[i],
        started and (table.halted[i] != 0 or table.restart[i] != 0),
        restarted and started,
        every.quiet[i],
    )


@_kernel
def _is_near(i, state, rule, every):
    if state == _CANDIDATE:
        return True
    return (
        state in (_IDLE, _ARMED)
        and every.x[i] > 0
        and every.x[i] >= rule.near_x
        and every.accel[i] >= rule.near_accel
        and every.surge[i] >= rule.near_surge
        and every.synthetic_share[i] <= rule.near_synthetic
    )


@_kernel
def weigh(k, rows, table, rings, rule, limits, every, latched, scratch, found):
    """Fill `found` (FOUND) with the evidence of the rows in bucket k, and what it makes of them.

    Args: latched: living candidates keep the burst and the noise that they were born with, and the
        noise, which costs the most, stays unknown where everything else already says no;
        scratch: (2, sigma_window + 1) for the noise.
    """
    for at in range(rows.size):
        i, one = rows[at], found[at]
        alive = latched and table.state[i] == _CANDIDATE
        if alive:
            one.length, one.flat_length = k - table.b[i] + 1, table.flat_len[i]
        else:
            one.length, one.flat_length = _burst(k, i, rings.x, limits)
        one.b = k - one.length + 1 if one.length > 0 else k
        _burst_sums(k, i, rings, rule, one)
        one.x, one.accel, one.surge = every.x[i], every.accel[i], every.surge[i]
        one.synthetic_share = every.synthetic_share[i]
        one.sigma5 = table.sigma5[i] if alive else np.nan
        one.z, one.verdict = np.inf, ALIVE if alive else NOT_TOLD
        if not alive and (not latched or _judged(one, limits) != NOT_TOLD):
            one.sigma5 = noise_before(one.b, i, table.ring_k[i], rings.close, rule, scratch)
        one.z = one.x / (rule.noise_gain * one.sigma5)
        if not alive:
            one.verdict = _judged(one, limits)


@_kernel
def _judged(one, limits):
    evidence = Evidence(
        one.x, one.z, one.accel, one.flat_length, one.volume, one.dollars, one.surge, one.length,
        one.jump_share, one.trades, one.synthetic_share,
    )  # fmt: skip
    if _passes(evidence, limits, 1.0):
        return BORN
    return NEAR_MISS if _passes(evidence, limits, limits.margin) else NOT_TOLD


@_kernel
def _burst(k, i, x, limits):
    """Return (length of the burst that ends in k, flat buckets before it); see `oscillator`."""
    mask, oldest = x.shape[0] - 1, k - limits.history + 1
    newest = x[k & mask, i]
    if not newest > _TIE:
        return 0, 0
    threshold = limits.ratio * newest + _TIE
    j = k - 1
    while j >= oldest and x[j & mask, i] > threshold:
        j -= 1
    length = k - j
    first = j
    while j >= oldest and abs(x[j & mask, i]) <= threshold:
        j -= 1
    return length, first - j


@_kernel
def _burst_sums(k, i, rings, rule, one):
    """Sum up the burst's buckets, as far as the rings are read for it."""
    mask = rings.close.shape[0] - 1
    one.volume, one.trades, one.dollars = 0, 0, 0.0
    one.base_close = rings.close[(one.b - 1) & mask, i]
    steepest = -np.inf
    for j in range(k - min(one.length, rule.burst_reach) + 1, k + 1):
        at = j & mask
        one.volume += rings.volume[at, i]
        one.trades += rings.trades[at, i]
        one.dollars += rings.volume[at, i] * _vwap(rings, at, i)
        step = rings.close[at, i] - rings.close[(j - 1) & mask, i]
        if step > steepest or np.isnan(step):
            steepest = step
    gain = rings.close[k & mask, i] - one.base_close
    one.jump_share = steepest / gain if gain > 0 else np.nan


@_kernel
def noise_before(b, i, ring_k, closes, rule, scratch):
    """Return the noise of the returns up to the one into bucket b - 1; `oscillator.noise_bps`."""
    mask, span, count = closes.shape[0] - 1, 0, 0
    returns, work = scratch
    for j in range(max(b - rule.sigma_window, ring_k + 1), b):
        one = 1e4 * math.log(closes[j & mask, i] / closes[(j - 1) & mask, i])
        returns[span] = one
        span += 1
        if not np.isnan(one):
            work[count] = one
            count += 1
    if count < _MIN_RETURNS:
        return np.nan
    center = _median(work, count)
    count = 0
    for j in range(span):
        if not np.isnan(returns[j]):
            work[count] = abs(returns[j] - center)
            count += 1
    reach = _CLIP * _median(work, count)
    if not reach > 0:
        reach = np.inf
    raw, covariance, before = 0.0, 0.0, 0.0
    for j in range(span):
        value = 0.0
        if not np.isnan(returns[j]):
            value = min(max(returns[j], center - reach), center + reach)
        raw += value * value
        if j:
            covariance += value * before
        before = value
    raw /= count
    variance = max(raw + 2 * min(covariance / (count - 1), 0.0), raw / 16)
    return max(math.sqrt(variance), _FLOOR_BPS)


@_kernel
def _median(values, count):
    """Return the median of the first values, which are left in another order."""
    middle = count // 2
    low, high = 0, count - 1
    while low < high:  # Hoare's selection
        pivot = values[(low + high) // 2]
        i, j = low, high
        while i <= j:
            while values[i] < pivot:
                i += 1
            while values[j] > pivot:
                j -= 1
            if i <= j:
                values[i], values[j] = values[j], values[i]
                i += 1
                j -= 1
        if middle <= j:
            high = j
        elif middle >= i:
            low = i
        else:
            break
    upper = values[middle]
    if count % 2:
        return upper
    lower = values[0]
    for at in range(1, middle):
        lower = max(lower, values[at])
    return (lower + upper) / 2


def warm(rule: Rule, limits: candidates.Thresholds) -> None:
    """Compile the kernels, or load them from the cache, before the first bucket closes."""
    table = Table(*(np.zeros(1, STATE[name]) for name in Table._fields))
    rings = RingArrays(*(np.zeros((2, 1), RING[name]) for name in RingArrays._fields))
    every = Every.empty(1)
    sums, quotes, restarted = np.zeros(1, SUMS), np.zeros(1, QUOTE_STATE), np.zeros(1, np.bool_)
    make_buckets(0, sums, quotes, table, rings, np.zeros((2, 1)), MEDIAN, restarted)
    look(0, 1, table, rings, rule, restarted, every, np.zeros(1, np.int64))
    rebuild(0, 0, 1, table, rings, rule, every, MEDIAN)
    rows, scratch = np.zeros(1, np.int64), np.zeros((2, rule.sigma_window + 1))
    weigh(0, rows, table, rings, rule, limits, every, True, scratch, np.zeros(1, FOUND))
    noise_before(1, 0, 0, rings.close, rule, scratch)
    window_sum(rings.value, 0, 1, 0, 1, np.zeros(1, np.int64))
    breadth(0, 1, table, rings, rows)
    fill_rows(0, rows, rings, np.zeros(1, BUCKET_ROW))
