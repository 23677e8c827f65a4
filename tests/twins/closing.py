"""The slow twin of `shards.closing`: the close's arithmetic with numpy, array after array.

The oscillator's window functions first, then the features of all symbols, the evidence of some, and
the resting states. Windows are (T, n): T buckets, oldest first, by n symbols.
"""

from typing import NamedTuple

import numpy as np

from shards.columns import Columns, Rings
from shards.detector import Settings
from signals import oscillator
from signals.candidates import State, Thresholds
from signals.oscillator import TIE_BPS, Curve, ordered_sum


def ordered_mean(rows: np.ndarray) -> np.ndarray:
    """Return the mean over axis 0 of `ordered_sum`."""
    mean: np.ndarray = ordered_sum(rows) / rows.shape[0]
    return mean


def awesome(prices: np.ndarray, curve: Curve) -> tuple[np.ndarray, np.ndarray]:
    """Return AO and the slow mean of the newest bucket, in price units.

    Args: prices: (slow or more, n), what feeds the oscillator.
    """
    slow_mean = ordered_mean(prices[-curve.slow :])
    return ordered_mean(prices[-curve.fast :]) - slow_mean, slow_mean


def curve_value(ao: np.ndarray, curve: Curve) -> np.ndarray:
    """Return the curve of the newest bucket (AC, AO or smoothed AO), in price units.

    Args: ao: (smooth or more, n) Awesome values.
    """
    newest: np.ndarray = ao[-1]
    if curve.mode == "awesome":
        return newest
    smoothed = ordered_mean(ao[-curve.smooth :])
    return newest - smoothed if curve.mode == "accelerator" else smoothed


def in_bps(value: np.ndarray, slow_mean: np.ndarray) -> np.ndarray:
    """Return x: the curve in basis points of the slow mean."""
    x: np.ndarray = 1e4 * value / slow_mean
    return x


class Series(NamedTuple):
    """A whole run of curves, (T, n) each, NaN before warm-up. USD, and bps for x."""

    ao: np.ndarray
    value: np.ndarray
    slow_mean: np.ndarray
    x: np.ndarray


def series(prices: np.ndarray, curve: Curve) -> Series:
    """Return the curves of every bucket; the same bits as bucket by bucket.

    Args: prices: (T,) or (T, n).
    """
    columns = prices.reshape(prices.shape[0], -1).astype(np.float64)
    out = Series(*(np.full(columns.shape, np.nan) for _ in Series._fields))
    for k in range(curve.slow - 1, columns.shape[0]):
        out.ao[k], out.slow_mean[k] = awesome(columns[k - curve.slow + 1 : k + 1], curve)
        if k >= curve.warm_up - 1:
            out.value[k] = curve_value(out.ao[k - curve.smooth + 1 : k + 1], curve)
            out.x[k] = in_bps(out.value[k], out.slow_mean[k])
    return Series(*(each.reshape(prices.shape) for each in out))


def acceleration(now: np.ndarray, before: np.ndarray, *, mode: str, lookback: int) -> np.ndarray:
    """Return how fast x rises: bps per bucket, or in ratio mode x over max(former x, 1 bp)."""
    if mode == "ratio":
        ratio: np.ndarray = now / np.where(np.isnan(before), np.nan, np.maximum(before, 1.0))
        return ratio
    slope: np.ndarray = (now - before) / lookback
    return slope


class Burst(NamedTuple):
    """Where the rise of the newest bucket began, counted back from it; (n,) int64 each."""

    length: np.ndarray  # n_b: buckets of the burst with the newest, 0 while x <= 0
    flat_length: np.ndarray  # flat buckets directly before it


def burst(x: np.ndarray, ratio: float) -> Burst:
    """Find the burst and the flat base before it, as far as the window reaches.

    Args: x: (T, n) bps, oldest first; ratio: flatline_ratio.
    Walks back from the newest bucket while x exceeds ratio times its x; then counts buckets whose
    |x| stays within that threshold. NaN ends both walks.
    """
    newest = x[-1]
    threshold = ratio * newest + TIE_BPS
    rising = newest > TIE_BPS
    length = rising.astype(np.int64)
    flat_length = np.zeros_like(length)
    flat = rising.copy()
    for value in x[-2::-1]:
        rising = rising & (value > threshold)
        length += rising
        flat = flat & (rising | (np.abs(value) <= threshold))
        flat_length += flat & ~rising
    return Burst(length, flat_length)


def surge(volume: np.ndarray, *, fast: int, history: int, floor: float) -> np.ndarray:
    """Return recent over former volume per bucket, the former at least `floor` shares.

    Args: volume: (T, n) shares; the last `fast` rows are recent, up to `history` rows before them
        the base (all there are when the window is shorter).
    """
    recent = ordered_sum(volume[-fast:]) / fast
    base_rows = volume[max(volume.shape[0] - fast - history, 0) : -fast]
    base = ordered_sum(base_rows) / base_rows.shape[0]
    found: np.ndarray = recent / np.maximum(base, max(floor, float(np.finfo(np.float64).tiny)))
    return found


class Evidence(NamedTuple):
    """`signals.candidates.Evidence` of many symbols, (n,) each."""

    x: np.ndarray
    z: np.ndarray
    accel: np.ndarray
    flat_length: np.ndarray
    volume: np.ndarray
    dollars: np.ndarray
    surge: np.ndarray
    burst_length: np.ndarray
    jump_share: np.ndarray
    trades: np.ndarray
    synthetic_share: np.ndarray


def total(rings: Rings, name: str, k: int, count: int) -> np.ndarray:
    """Return the sum over the `count` buckets up to k, added strictly oldest to newest."""
    kind = np.float64 if rings.dtype[name].kind == "f" else np.int64
    rows = np.array([rings.row(name, j) for j in range(k - count + 1, k + 1)], kind)
    return np.add.accumulate(rows, axis=0)[-1]


class Features(NamedTuple):
    """Of every symbol in the bucket that closes, (symbols,) each."""

    ao: np.ndarray
    value: np.ndarray  # AC or what the mode asks for, USD
    slow_mean: np.ndarray
    x: np.ndarray
    accel: np.ndarray
    surge: np.ndarray
    warm: np.ndarray
    quiet: np.ndarray
    synthetic_share: np.ndarray


class Found(NamedTuple):
    """Evidence of some symbols, (n,) each; `rows` are their row numbers."""

    rows: np.ndarray
    b: np.ndarray
    evidence: Evidence
    sigma5: np.ndarray
    base_close: np.ndarray


def curves(rings: Rings, k: int, curve: oscillator.Curve) -> tuple[np.ndarray, ...]:
    """Compute bucket k's AO and x into the rings; return (ao, value, slow mean, x)."""
    slow_mean = total(rings, "source", k, curve.slow) / curve.slow
    ao = total(rings, "source", k, curve.fast) / curve.fast - slow_mean
    rings.row("ao", k)[:] = ao
    if curve.mode == "awesome":
        value = ao
    else:
        smoothed = total(rings, "ao", k, curve.smooth) / curve.smooth
        value = ao - smoothed if curve.mode == "accelerator" else smoothed
    x = in_bps(value, slow_mean)
    rings.row("x", k)[:] = x
    return ao, value, slow_mean, x


def features(rings: Rings, k: int, ring_k: np.ndarray, settings: Settings) -> Features:
    """Return the features of every symbol in bucket k, whose raw columns are in the rings."""
    limits = settings.limits
    ao, value, slow_mean, x = curves(rings, k, settings.curve)
    accel = acceleration(
        x,
        rings.row("x", k - settings.lookback),
        mode=settings.accel_mode,
        lookback=settings.lookback,
    )
    fast = settings.curve.fast
    recent = total(rings, "calm", k, fast) / fast
    base = total(rings, "calm", k - fast, limits.history) / limits.history
    floor = max(settings.vol_floor, float(np.finfo(np.float64).tiny))
    share = total(rings, "synthetic", k, limits.history) / limits.history
    quiet = np.full(x.size, limits.min_flat > 0)
    for j in range(k - limits.min_flat + 1, k + 1):
        quiet &= np.abs(rings.row("x", j)) <= limits.ratio * limits.min_magnitude
    quiet &= share <= limits.max_synthetic
    return Features(
        ao, value, slow_mean, x, accel,
        surge=recent / np.maximum(base, floor),
        warm=k - ring_k + 1 >= settings.warm,
        quiet=quiet,
        synthetic_share=share,
    )  # fmt: skip


def sigma5_bps(
    rings: Rings, b: np.ndarray, rows: np.ndarray, ring_k: np.ndarray, window: int
) -> np.ndarray:
    """Return the noise before bucket `b` of each row: `window` returns, the last one into b - 1."""
    last = b - 1
    closes = rings.windows("close", last, window + 1, rows)
    age = np.arange(window, -1, -1)[:, None]
    closes = np.where(last - age >= ring_k[rows], closes, np.nan)
    return oscillator.noise_bps(oscillator.log_returns_bps(closes))


def gather(
    rings: Rings,
    k: int,
    rows: np.ndarray,
    table: Columns,
    every: Features,
    settings: Settings,
    *,
    latched: bool = True,
) -> Found:
    """Return the evidence of the given rows in bucket k.

    Args: latched: living candidates keep the burst and the noise that they were born with.
    """
    limits = settings.limits
    alive = (table["state"][rows] == State.CANDIDATE) & latched
    walked = burst(rings.window("x", k, limits.history, rows), limits.ratio)
    length = np.where(alive, k - table["b"][rows] + 1, walked.length)
    flat_length = np.where(alive, table["flat_len"][rows], walked.flat_length)
    b = k - length + 1
    b = np.where(length > 0, b, k)
    depth = limits.history + limits.max_burst + 2
    inside = np.arange(depth - 1, -1, -1)[:, None] < length

    def window(name: str) -> np.ndarray:
        return rings.window(name, k, depth, rows)

    volume, value, shares = window("volume"), window("value"), window("shares")
    closes = rings.window("close", k, depth + 1, rows)
    vwap = np.where(shares > 0, value / np.maximum(shares, 1) / 1e6, closes[1:])
    dollars = oscillator.ordered_sum(np.where(inside, volume * vwap, 0.0))
    base_close = rings.windows("close", b - 1, 1, rows)[0]
    gain = closes[-1] - base_close
    steps = np.where(inside, closes[1:] - closes[:-1], -np.inf).max(axis=0)
    sigma5 = sigma5_bps(rings, b, rows, table["ring_k"], settings.sigma_window)
    sigma5 = np.where(alive, table["sigma5"][rows], sigma5)
    x = every.x[rows]
    evidence = Evidence(
        x=x,
        z=x / (oscillator.noise_gain(settings.curve) * sigma5),
        accel=every.accel[rows],
        flat_length=flat_length,
        volume=np.where(inside, volume, 0).sum(axis=0),
        dollars=dollars,
        surge=every.surge[rows],
        burst_length=length,
        jump_share=np.where(gain > 0, steps / np.where(gain > 0, gain, 1.0), np.nan),
        trades=np.where(inside, window("trades"), 0).sum(axis=0),
        synthetic_share=every.synthetic_share[rows],
    )
    return Found(rows, b, evidence, sigma5, base_close)


def worth_a_look(every: Features, state: np.ndarray, limits: Thresholds) -> np.ndarray:
    """Return the rows whose evidence is needed: alive, or near enough in the cheap features."""
    m = limits.margin
    near = (state == State.IDLE) | (state == State.ARMED)
    near &= (every.x > 0) & (every.x >= m * limits.min_magnitude)
    near &= (every.accel >= m * limits.accel_rate) & (every.surge >= m * limits.surge)
    near &= every.synthetic_share <= min(limits.max_synthetic / m, 1.0)
    return np.flatnonzero(near | (state == State.CANDIDATE))


def rested(
    state: np.ndarray,
    until_k: np.ndarray,
    k: int,
    *,
    warm: np.ndarray,
    suspended: np.ndarray,
    restarted: np.ndarray,
    quiet: np.ndarray,
) -> np.ndarray:
    """Return the states of bucket k before births and ends are looked at.

    Args (n, each): until_k: COOLING and WARMUP last while k < until_k; warm: rings are full
        enough; suspended: halted, or waiting for the reopening print; restarted: the rings began
        anew in this bucket; quiet: a flat base lies directly behind (informational).
    """
    new = state.copy()
    over = k >= until_k
    new[restarted & (state != State.CANDIDATE)] = State.WARMUP
    new[(new == State.WARMUP) & warm & over] = State.IDLE
    new[(new == State.COOLING) & over] = State.IDLE
    new[(new == State.IDLE) & ~warm] = State.WARMUP
    new[(new == State.ARMED) & ~warm] = State.WARMUP
    new[(new == State.ARMED) & ~quiet] = State.IDLE
    new[(new == State.IDLE) & quiet] = State.ARMED
    new[state == State.SUSPENDED] = State.WARMUP  # one bucket at least
    new[suspended & (state != State.CANDIDATE)] = State.SUSPENDED
    return new


def passes(evidence: Evidence, limits: Thresholds, *, margin: float = 1.0) -> np.ndarray:
    """Tell which symbols meet T2–T9 (T1, warmth, is the caller's), or the given share of each.

    A floor is met at margin x floor and a ceiling at ceiling / margin; shares never exceed 1.
    """
    e, p, m = evidence, limits, margin
    ok: np.ndarray = (e.x > 0) & (e.x >= m * p.min_magnitude)
    ok &= e.z >= m * p.min_z
    ok &= e.accel >= m * p.accel_rate
    ok &= e.flat_length >= m * p.min_flat
    ok &= (e.volume >= m * p.min_volume) & (e.dollars >= m * p.min_dollars)
    ok &= e.surge >= m * p.surge
    ok &= (e.burst_length >= 1) & (e.burst_length <= p.max_burst / m)
    ok &= e.jump_share <= min(p.max_jump / m, 1.0)
    ok &= e.trades >= m * p.min_trades
    ok &= e.synthetic_share <= min(p.max_synthetic / m, 1.0)
    return ok
