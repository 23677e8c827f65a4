"""From closed buckets to candidates: features of every symbol, evidence of the few, their window.

Works on the shard's rings and columns; the rules are in `signals.oscillator` and
`signals.candidates`. The cheap features run over all symbols, the rest over those that live or
could be born. Choices that the design leaves open:

- Warm (T1): history + warm-up - 1 buckets since the rings began (73 with the defaults), at least
  fast + history for the surge's base and 62 for the noise.
- A synthetic bucket is a usable bucket of the noise: it is a return of 0, and `max_synthetic_share`
  keeps names that are mostly synthetic out.
- Burst and base are looked for in the last `aoHistoryBuckets` values of x; a candidate dies when
  older than that many buckets.
- Burst trades are the buckets' trade counts (volume-eligible prints).
- A print that counts as volume but sets no price, is no odd lot and is more than half of its
  bucket's volume, stays out of the surge.
- While x <= 0 there is no burst: the noise window then ends at the newest bucket.
- One-minute closes are those of whole clock minutes since the rings began.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from shards.columns import Columns, Rings
from signals import candidates as life
from signals import oscillator
from signals.candidates import Evidence, State

MINUTE = oscillator.BUCKETS_PER_MINUTE
MINUTES_KEPT = 64
GRAVITY_BUCKETS = 60
FRESH_BUCKETS = 12
GRAVITY_CAP_USD = 5_000_000


class Settings(NamedTuple):
    """The parameters of detection, typed."""

    curve: oscillator.Curve
    limits: life.Thresholds
    lookback: int
    accel_mode: str
    sigma_window: int
    vol_floor: float

    @property
    def warm(self) -> int:
        """Buckets since the rings began until a symbol may become a candidate."""
        history = self.limits.history
        return max(
            history + self.curve.warm_up - 1,
            self.curve.fast + history,
            oscillator.MIN_RETURNS + 2,
        )

    @property
    def reach(self) -> int:
        """Buckets that a close looks back."""
        limits = self.limits
        return max(
            self.sigma_window + limits.history + 2,
            limits.history + limits.max_burst + 4,
            limits.history + self.curve.slow + self.curve.smooth + 2,
            self.curve.fast + limits.history + 1,
            GRAVITY_BUCKETS + 2,
        )

    @property
    def depth(self) -> int:
        """Buckets that the rings hold: a power of two."""
        return 1 << (self.reach - 1).bit_length()


def settings_of(parameters: Mapping[str, object]) -> Settings:
    """Return the settings that the parameters ask for."""
    return Settings(
        curve=oscillator.curve_of(parameters),
        limits=life.thresholds_of(parameters),
        lookback=int(str(parameters["ao_accel_lookback"])),
        accel_mode=str(parameters["ao_accel_mode"]),
        sigma_window=int(str(parameters["sigma_window"])),
        vol_floor=float(str(parameters["vol_floor"])),
    )


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
    slow_mean = rings.total("source", k, curve.slow) / curve.slow
    ao = rings.total("source", k, curve.fast) / curve.fast - slow_mean
    rings.row("ao", k)[:] = ao
    if curve.mode == "awesome":
        value = ao
    else:
        smoothed = rings.total("ao", k, curve.smooth) / curve.smooth
        value = ao - smoothed if curve.mode == "accelerator" else smoothed
    x = oscillator.in_bps(value, slow_mean)
    rings.row("x", k)[:] = x
    return ao, value, slow_mean, x


def features(rings: Rings, k: int, ring_k: np.ndarray, settings: Settings) -> Features:
    """Return the features of every symbol in bucket k, whose raw columns are in the rings."""
    limits = settings.limits
    ao, value, slow_mean, x = curves(rings, k, settings.curve)
    accel = oscillator.acceleration(
        x,
        rings.row("x", k - settings.lookback),
        mode=settings.accel_mode,
        lookback=settings.lookback,
    )
    fast = settings.curve.fast
    recent = rings.total("calm", k, fast) / fast
    base = rings.total("calm", k - fast, limits.history) / limits.history
    floor = max(settings.vol_floor, float(np.finfo(np.float64).tiny))
    share = rings.total("synthetic", k, limits.history) / limits.history
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
    walked = oscillator.burst(rings.window("x", k, limits.history, rows), limits.ratio)
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


def worth_a_look(every: Features, state: np.ndarray, limits: life.Thresholds) -> np.ndarray:
    """Return the rows whose evidence is needed: alive, or near enough in the cheap features."""
    m = limits.margin
    near = (state == State.IDLE) | (state == State.ARMED)
    near &= (every.x > 0) & (every.x >= m * limits.min_magnitude)
    near &= (every.accel >= m * limits.accel_rate) & (every.surge >= m * limits.surge)
    near &= every.synthetic_share <= min(limits.max_synthetic / m, 1.0)
    return np.flatnonzero(near | (state == State.CANDIDATE))


class Step(NamedTuple):
    """What bucket k changed: positions into `found.rows`, and endings as (row, Reason)."""

    found: Found
    births: np.ndarray
    alive: np.ndarray
    shadows: np.ndarray
    endings: list[tuple[int, life.Reason]]


def step(
    rings: Rings, k: int, table: Columns, every: Features, settings: Settings, restarted: np.ndarray
) -> Step:
    """Advance every symbol's state by bucket k."""
    limits = settings.limits
    started = table["first_k"] >= 0
    broken = started & ((table["restart"] != 0) | restarted)
    halted = table["halted"] != 0
    state = life.rested(
        table["state"], table["until_k"], k,
        warm=every.warm, suspended=started & (halted | (table["restart"] != 0)),
        restarted=restarted & started, quiet=every.quiet,
    )  # fmt: skip
    table["state"][:] = state
    ended = _end(k, table, every, halted, broken, limits, restarted)
    found = gather(rings, k, worth_a_look(every, table["state"], limits), table, every, settings)
    alive = table["state"][found.rows] == State.CANDIDATE
    births = ~alive & life.passes(found.evidence, limits)
    shadows = ~alive & ~births & life.passes(found.evidence, limits, margin=limits.margin)
    rows = found.rows[births]
    table["state"][rows] = State.CANDIDATE
    table["born_k"][rows] = k
    table["b"][rows] = found.b[births]
    table["flat_len"][rows] = found.evidence.flat_length[births]
    table["sigma5"][rows] = found.sigma5[births]
    return Step(
        found,
        np.flatnonzero(births),
        np.flatnonzero(alive | births),
        np.flatnonzero(shadows),
        ended,
    )


def _end(
    k: int,
    table: Columns,
    every: Features,
    halted: np.ndarray,
    broken: np.ndarray,
    limits: life.Thresholds,
    restarted: np.ndarray,
) -> list[tuple[int, life.Reason]]:
    """End the candidacies that must end in bucket k; return (row, reason) of each."""
    rows = np.flatnonzero(table["state"] == State.CANDIDATE)
    if rows.size == 0:
        return []
    reasons = life.endings(
        k,
        x=every.x[rows],
        born_k=table["born_k"][rows],
        halted=halted[rows],
        gap=broken[rows],
        revised=table["revised_k"][rows] >= table["b"][rows],
        limits=limits,
    )
    ended: list[tuple[int, life.Reason]] = []
    for row, reason in zip(rows.tolist(), map(life.Reason, reasons.tolist()), strict=True):
        if reason is life.Reason.NONE:
            continue
        ended.append((row, reason))
        fresh = bool(restarted[row]) and not halted[row]
        if reason in (life.Reason.HALT, life.Reason.GAP):
            table["state"][row] = State.WARMUP if fresh else State.SUSPENDED
        else:
            table["state"][row] = State.COOLING
            table["until_k"][row] = k + limits.cooldown
    return ended
