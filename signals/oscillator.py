"""The oscillator: Williams' Awesome and Accelerator over 5-second buckets, its noise, its bursts.

Windows are (T, n): T buckets, oldest first, by n symbols. NaN means not defined, and a window that
holds one gives NaN, so warm-up needs no bookkeeping. All sums run from the oldest to the newest
bucket, one symbol independent of its neighbors: the same window gives the same bits whatever the
number of symbols beside it (numpy's own `sum` would not).
Source: design trigger.md 2.2; Bill Williams, "New Trading Dimensions" (1998).
"""

import math
from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

import numpy as np

SIGMA_FLOOR_BPS = 0.5
MIN_RETURNS = 60  # fewer usable 5-second returns: the noise is unknown
MIN_MINUTES = 10  # fewer one-minute returns: scale the 5-second noise
CLIP_MAD_SD = 5.0
#: Prices lie on a grid of cents, so values of x are often exactly equal or exactly 0; closer than
#: this they are, and the last bits of a sum do not decide.
TIE_BPS = 1e-9
MAD_TO_SD = 1.4826  # of a normal distribution
BUCKETS_PER_MINUTE = 12


class Curve(NamedTuple):
    """Which curve, from which averages."""

    mode: str  # accelerator | awesome | awesome_smoothed
    fast: int
    slow: int
    smooth: int

    @property
    def warm_up(self) -> int:
        """Buckets before the first value."""
        return self.slow if self.mode == "awesome" else self.slow + self.smooth - 1


def curve_of(parameters: Mapping[str, object]) -> Curve:
    """Return the curve that the parameters ask for."""
    p = parameters
    return Curve(
        str(p["oscillator_mode"]),
        int(str(p["fast_period"])),
        int(str(p["slow_period"])),
        int(str(p["smooth_period"])),
    )


def ordered_sum(rows: np.ndarray) -> np.ndarray:
    """Return the sum over axis 0, added strictly from the first row to the last."""
    total: np.ndarray = np.add.accumulate(rows, axis=0)[-1]
    return total


@lru_cache(maxsize=64)
def noise_gain(curve: Curve) -> float:
    """Return C: the curve's standard deviation over that of one bucket's price change.

    The curve is a weighted sum of past price changes; for independent ones C is the root of the
    sum of the squared weights (C_AC(5, 34, 5) = 0.728854, C_AO(5, 34) = 2.876374).
    """
    weights = [0.0] * (curve.slow + curve.smooth)
    for i in range(curve.slow):
        weights[i] -= 1 / curve.slow
        weights[i] += 1 / curve.fast if i < curve.fast else 0.0
    if curve.mode != "awesome":
        raw = weights[: curve.slow]
        smoothed = [
            math.fsum(raw[i - j] for j in range(curve.smooth) if 0 <= i - j < curve.slow)
            / curve.smooth
            for i in range(len(weights))
        ]
        keep = 1.0 if curve.mode == "accelerator" else 0.0
        sign = -1.0 if curve.mode == "accelerator" else 1.0
        weights = [keep * w + sign * s for w, s in zip(weights, smoothed, strict=True)]
    gains = [math.fsum(weights[: i + 1]) for i in range(len(weights))]
    return math.sqrt(math.fsum(g * g for g in gains))


def log_returns_bps(closes: np.ndarray) -> np.ndarray:
    """Return (T - 1, n) log returns of (T, n) closes, in bps; NaN where either close is NaN."""
    returns: np.ndarray = 1e4 * np.log(np.ascontiguousarray(closes[1:] / closes[:-1]))
    return returns


def _median(columns: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return each column's median over its `counts` values that are not NaN (counts > 0)."""
    ordered = np.sort(columns, axis=0)  # NaN last
    each = np.arange(columns.shape[1])
    middle: np.ndarray = (ordered[(counts - 1) // 2, each] + ordered[counts // 2, each]) / 2
    return middle


def noise_bps(returns: np.ndarray, *, min_count: int = MIN_RETURNS) -> np.ndarray:
    """Return the noise of one return, in bps, free of the bid-ask bounce; NaN when unknown.

    Args: returns: (T, n) in bps, NaN where unusable (only at the old end of a column).
    The returns are clipped at 5 MAD-sd around their median; where more than half of them are
    equal the MAD is 0 and nothing is clipped. Bounce makes neighbors covary by -s²/4 (Roll 1984),
    so twice a negative covariance is taken off, down to a quarter of the raw noise. Moments are
    about zero, pairs are those of neighboring usable buckets; floor 0.5 bps.
    """
    usable = ~np.isnan(returns)
    counts = usable.sum(axis=0)
    known = counts >= min_count
    if not known.any():
        return np.full(returns.shape[1], np.nan)
    safe = np.maximum(counts, 1)
    center = _median(returns, safe)
    spread = CLIP_MAD_SD * MAD_TO_SD * _median(np.abs(returns - center), safe)
    reach = np.where(spread > 0, spread, np.inf)
    clipped = np.where(usable, np.clip(returns, center - reach, center + reach), 0.0)
    raw = ordered_sum(clipped * clipped) / safe
    covariance = ordered_sum(clipped[1:] * clipped[:-1]) / np.maximum(counts - 1, 1)
    variance = np.maximum(raw + 2 * np.minimum(covariance, 0.0), raw / 16)
    sigma = np.maximum(np.sqrt(variance), SIGMA_FLOOR_BPS)
    return np.where(known, sigma, np.nan)


def minute_noise_bps(minute_returns: np.ndarray, sigma5: np.ndarray) -> np.ndarray:
    """Return σ1m in bps: of the one-minute returns, or of σ5 while there are fewer than ten.

    Args: minute_returns: (T, n) in bps, T up to 30.
    """
    own = noise_bps(minute_returns, min_count=MIN_MINUTES)
    return np.where(np.isnan(own), sigma5 * math.sqrt(BUCKETS_PER_MINUTE), own)
