"""Why a symbol was no candidate in a bucket: every threshold, and by how much.

The shards compute the same numbers for all symbols in compiled loops; here it is one symbol, one
bucket, from the closed buckets that were kept, slow and plain. What kept buckets do not tell: a
volume-only block that the shard leaves out of the surge, quotes for `bar_price_source = mid`,
halts, and a cool-down.
Source: design trigger.md 2.2 and 3 (T1 to T9).
"""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from signals import candidates as life
from signals import oscillator
from signals.candidates import Evidence, Thresholds


class Bar(NamedTuple):
    """One closed bucket; prices USD, volume shares.

    `source` feeds the oscillator, `calm` is the volume that the surge counts; None: derive them.
    """

    k: int
    high: float
    low: float
    close: float
    volume: int
    trades: int
    vwap: float
    synthetic: bool
    source: float | None = None
    calm: int | None = None


class Test(NamedTuple):
    """One threshold. `value` None is unknown, and passes nothing; `name` is its parameter."""

    id: str
    name: str
    value: float | None
    op: str
    limit: float
    passed: bool
    text: str

    @property
    def margin(self) -> float | None:
        """How much is left (over 0) or missing (below 0), in the threshold's own unit."""
        if self.value is None:
            return None
        return self.limit - self.value if self.op == "<=" else self.value - self.limit


def warm_of(parameters: Mapping[str, Any]) -> int:
    """Return how many buckets a symbol needs before it may become a candidate (T1)."""
    curve, history = oscillator.curve_of(parameters), int(parameters["aoHistoryBuckets"])
    return max(history + curve.warm_up - 1, curve.fast + history, oscillator.MIN_RETURNS + 2)


def depth_of(parameters: Mapping[str, Any]) -> int:
    """Return how many buckets back the answer looks."""
    history = int(parameters["aoHistoryBuckets"])
    return max(int(parameters["sigma_window"]) + history + 2, warm_of(parameters))


def price_of(bar: Bar, source: str) -> float:
    """Return what feeds the oscillator; the median stands in for a midpoint that was not kept."""
    if bar.source is not None:
        return bar.source
    return bar.vwap if source == "vwap" else (bar.high + bar.low) / 2


class Shape(NamedTuple):
    """What a bucket looks like under a set: the evidence, and what else depends on the periods.

    `first_k` is the burst's first bucket; prices USD, sigma5 in bps.
    """

    evidence: Evidence
    first_k: int
    base_close: float  # of the bucket before the burst, NaN when it is not kept
    slow_mean: float
    ao: float
    sigma5: float
    slope: float  # what a candidate carries as `accel`, whatever the mode


def evidence_of(bars: Sequence[Bar], parameters: Mapping[str, Any]) -> Evidence:
    """Return the evidence of the newest bucket.

    Args: bars: oldest first, without a gap, as many as there are up to `depth_of`.
    """
    return shape_of(bars, parameters).evidence


def shape_of(
    bars: Sequence[Bar], parameters: Mapping[str, Any], latched: tuple[int, int] | None = None
) -> Shape:
    """Return the shape of the newest bucket.

    Args: latched: first bucket of the burst and the quiet ones before it, as they were at birth.
    """
    p, curve = parameters, oscillator.curve_of(parameters)
    history, lookback = int(p["aoHistoryBuckets"]), int(p["ao_accel_lookback"])
    prices = [price_of(bar, str(p["bar_price_source"])) for bar in bars]
    x = _curve(prices, curve)
    length, flat = _burst(x[-history:], float(p["flatline_ratio"]))
    if latched is not None:
        length, flat = min(bars[-1].k - latched[0] + 1, len(bars)), latched[1]
    burst = bars[len(bars) - length :] if length else []
    sigma = _noise(bars, max(length, 1), int(p["sigma_window"]))
    window = bars[-history:]
    slow_mean = _mean(prices[-curve.slow :])
    evidence = Evidence(
        x=x[-1],
        z=x[-1] / (oscillator.noise_gain(curve) * sigma),
        accel=_accel(x, lookback, str(p["ao_accel_mode"])),
        flat_length=flat,
        volume=sum(bar.volume for bar in burst),
        dollars=math.fsum(bar.volume * bar.vwap for bar in burst),
        surge=_surge(bars, curve.fast, history, float(p["vol_floor"])),
        burst_length=length,
        jump_share=_jump(bars, length),
        trades=sum(bar.trades for bar in burst),
        synthetic_share=sum(bar.synthetic for bar in window) / history,
    )
    return Shape(
        evidence=evidence,
        first_k=bars[-1].k - length + 1,
        base_close=bars[-length - 1].close if len(bars) > length else math.nan,
        slow_mean=slow_mean,
        ao=_mean(prices[-curve.fast :]) - slow_mean,
        sigma5=sigma,
        slope=_accel(x, lookback, "slope"),
    )


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def _curve(prices: Sequence[float], curve: oscillator.Curve) -> list[float]:
    """Return x of each bucket in bps, NaN before warm-up."""
    ao = [math.nan] * len(prices)
    found = [math.nan] * len(prices)
    for i in range(curve.slow - 1, len(prices)):
        slow = _mean(prices[i - curve.slow + 1 : i + 1])
        ao[i] = value = _mean(prices[i - curve.fast + 1 : i + 1]) - slow
        if curve.mode != "awesome":
            smoothed = _mean(ao[i - curve.smooth + 1 : i + 1]) if i >= curve.smooth else math.nan
            value = ao[i] - smoothed if curve.mode == "accelerator" else smoothed
        found[i] = 1e4 * value / slow
    return found


def _accel(x: Sequence[float], lookback: int, mode: str) -> float:
    if len(x) <= lookback:
        return math.nan
    then = x[-1 - lookback]
    return (x[-1] - then) / lookback if mode == "slope" else x[-1] / max(then, 1.0)


def _burst(x: Sequence[float], ratio: float) -> tuple[int, int]:
    """Return (length of the burst that ends now, flat buckets before it)."""
    if not x or not x[-1] > oscillator.TIE_BPS:
        return 0, 0
    threshold = ratio * x[-1] + oscillator.TIE_BPS
    at = len(x) - 2
    while at >= 0 and x[at] > threshold:
        at -= 1
    length, first = len(x) - 1 - at, at
    while at >= 0 and abs(x[at]) <= threshold:
        at -= 1
    return length, first - at


def _noise(bars: Sequence[Bar], length: int, window: int) -> float:
    """Return the noise before the burst in bps, NaN when there are too few buckets."""
    closes = [bar.close for bar in bars[: len(bars) - length]][-window - 1 :]
    if len(closes) < 2:
        return math.nan
    column = np.array(closes, np.float64)[:, None]
    return float(oscillator.noise_bps(oscillator.log_returns_bps(column))[0])


def _surge(bars: Sequence[Bar], fast: int, history: int, floor: float) -> float:
    volumes = [bar.volume if bar.calm is None else bar.calm for bar in bars]
    if len(volumes) < fast + history:
        return math.nan
    base = _mean(volumes[-fast - history : -fast])
    return _mean(volumes[-fast:]) / max(base, floor, 1e-300)


def _jump(bars: Sequence[Bar], length: int) -> float:
    if not length or len(bars) <= length:
        return math.nan
    closes = [bar.close for bar in bars[-length - 1 :]]
    gain = closes[-1] - closes[0]
    steps = [now - then for then, now in pairwise(closes)]
    return max(steps) / gain if gain > 0 else math.nan


def tests(evidence: Evidence, limits: Thresholds, *, buckets: int, warm: int) -> list[Test]:
    """Return T1 to T9, each with its value, its limit and one sentence.

    Args: buckets: since the symbol's first one, as far as is known; warm: needed (`warm_of`).
    """
    e, p = evidence, limits

    def floor(id: str, name: str, value: float, limit: float, text: str) -> Test:
        return _test(id, name, value, ">=", limit, text)

    def ceiling(id: str, name: str, value: float, limit: float, text: str) -> Test:
        return _test(id, name, value, "<=", limit, text)

    found = [
        floor("T1", "", buckets, warm, "{v:.0f} buckets are known; {l:.0f} are needed."),
        floor("T2", "ao_min_magnitude_bps", e.x, p.min_magnitude,
              "The accelerator stands at {v:.2f} bps; your minimum is {l:.2f} bps."),
        floor("T3", "ao_min_z", e.z, p.min_z,
              "That is {v:.2f} times its own noise; your minimum is {l:.2f}."),
        floor("T4", "ao_accel_rate", e.accel, p.accel_rate,
              "It rises by {v:.2f} per bucket; your minimum is {l:.2f}."),
        floor("T5", "min_5s_flatline_ao_buckets", e.flat_length, p.min_flat,
              "{v:.0f} quiet buckets lie before the burst; you ask for {l:.0f}."),
        floor("T6", "min_cumulative_ao_volume", e.volume, p.min_volume,
              "{v:,.0f} shares since the burst began; your minimum is {l:,.0f}."),
        floor("T6", "min_cumulative_ao_dollars", e.dollars, p.min_dollars,
              "{v:,.0f} USD since the burst began; your minimum is {l:,.0f} USD."),
        floor("T7", "vol_surge_multiplier", e.surge, p.surge,
              "Volume is {v:.2f} times the base; your minimum is {l:.2f}."),
        ceiling("T8", "max_burst_buckets", e.burst_length, p.max_burst,
                "The burst is {v:.0f} buckets old; your limit is {l:.0f}."),
        ceiling("T9", "max_jump_share", e.jump_share, p.max_jump,
                "{v:.2f} of its gain came in one bucket; your limit is {l:.2f}."),
        floor("T9", "min_burst_trades", e.trades, p.min_trades,
              "{v:.0f} trades since the burst began; your minimum is {l:.0f}."),
        ceiling("T9", "max_synthetic_share", e.synthetic_share, p.max_synthetic,
                "{v:.2f} of the buckets are without a trade; your limit is {l:.2f}."),
    ]  # fmt: skip
    if e.burst_length < 1:
        nothing = "There is no burst: the accelerator is not above zero."
        found = [t._replace(passed=False, text=nothing) if t.id == "T8" else t for t in found]
    return found


def _test(id: str, name: str, value: float, op: str, limit: float, text: str) -> Test:
    if math.isnan(value):
        return Test(id, name, None, op, limit, False, f"{name or 'This'} cannot be judged yet.")
    passed = value <= limit if op == "<=" else value >= limit
    return Test(id, name, float(value), op, float(limit), passed, text.format(v=value, l=limit))


def limits_of(parameters: Mapping[str, Any]) -> Thresholds:
    """Return the thresholds of a set."""
    return life.thresholds_of(parameters)
