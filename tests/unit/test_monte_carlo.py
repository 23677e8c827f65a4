"""The design's simulated figures, simulated again by our own arithmetic, to 3 standard errors.

Seeded, so that they always say the same. TRADEPLANE_MC multiplies the symbol-days.
"""

import math
import os

import numpy as np
import pytest

from execution.domain.bracket import reach_probability
from signals import candidates as life
from signals.candidates import Evidence
from signals.oscillator import Curve, noise_gain
from signals.parameters.catalogue import defaults
from tests.twins import closing

MANY = int(os.environ.get("TRADEPLANE_MC", "1"))
DAYS = 300 * MANY  # symbol-days of each walk
BUCKETS = 4680
SIGMA_BPS = 250 / math.sqrt(BUCKETS)  # of a stock that moves 2.5 % a day
CURVE = Curve("accelerator", 5, 34, 5)
LIMITS = life.thresholds_of(defaults())
PRINTED_DAYS = 1200  # symbol-days behind the design's own figures


def means(prices: np.ndarray, count: int) -> np.ndarray:
    """Running means over `count` rows; NaN before there are so many."""
    sums = np.cumsum(np.vstack([np.zeros((1, prices.shape[1])), prices]), axis=0)
    out = np.full_like(prices, np.nan)
    out[count - 1 :] = (sums[count:] - sums[:-count]) / count
    return out


def x_of(prices: np.ndarray) -> np.ndarray:
    """The accelerator in bps for whole days at once, from its first bucket on."""
    slow = means(prices, CURVE.slow)
    ao = means(prices, CURVE.fast) - slow
    value = ao[CURVE.slow - 1 :]
    value = value - means(value, CURVE.smooth)
    return (1e4 * value / slow[CURVE.slow - 1 :])[CURVE.smooth - 1 :]


def a_walk(seed: int, days: int, *, steps: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """(high + low) / 2 and close of driftless buckets, USD; `steps` prints in each."""
    rng = np.random.default_rng(seed)
    middle, closes = np.empty((2, BUCKETS, days))
    last = np.zeros(days)
    for k in range(BUCKETS):
        moves = rng.normal(0, SIGMA_BPS / 1e4 / math.sqrt(steps), (steps, days))
        path = np.cumsum(moves, axis=0) + last
        middle[k] = 50 * (np.exp(path.max(axis=0)) + np.exp(path.min(axis=0)))
        closes[k], last = 100 * np.exp(path[-1]), path[-1]
    return middle, closes


def runs(x: np.ndarray) -> list[tuple[int, int]]:
    """The stretches [start, end) of one day in which x is above zero."""
    edges = np.diff(np.r_[0, (x > 0).astype(int), 0])
    return list(zip(np.flatnonzero(edges == 1), np.flatnonzero(edges == -1), strict=True))


def agrees(found: float, printed: float, *, count: int, rounding: float) -> bool:
    """Is a count per symbol-day what is printed, given how many days made both?"""
    error = math.sqrt(printed / count + printed / PRINTED_DAYS)
    return abs(found - printed) < 3 * error + rounding


@pytest.fixture(scope="module")
def closes() -> np.ndarray:
    return a_walk(2, DAYS)[1]


@pytest.fixture(scope="module")
def x(closes: np.ndarray) -> np.ndarray:
    return x_of(closes)


def test_whole_days_at_once_are_the_same_as_bucket_by_bucket(closes: np.ndarray) -> None:
    few = closes[:200, :3]

    slow_twin = closing.series(few, CURVE).x[CURVE.warm_up - 1 :]

    assert x_of(few) == pytest.approx(slow_twin, abs=1e-6)


@pytest.mark.parametrize(("steps", "printed"), [(1, 0.728854), (30, 0.718)])
def test_the_noise_gain_of_closes_and_of_high_low_middles(steps: int, printed: float) -> None:
    middle, _ = a_walk(3, 120 * MANY, steps=steps)
    by_day = x_of(middle).std(axis=0) / SIGMA_BPS

    error = by_day.std() / math.sqrt(by_day.size)

    assert abs(by_day.mean() - printed) < 3 * error + 5e-4
    assert noise_gain(CURVE) == pytest.approx(0.728854, abs=5e-7)


def test_a_positive_run_of_noise_lasts_seven_buckets_in_the_median() -> None:
    middle, _ = a_walk(4, 100 * MANY, steps=12)
    noise = x_of(middle)

    lengths = [end - start for day in noise.T for start, end in runs(day)]

    assert np.median(lengths) == 7
    assert np.percentile(lengths, 90) == pytest.approx(16, abs=0.5)


@pytest.mark.parametrize(
    ("z", "printed", "rounding"), [(2, 37, 0.5), (3, 2.95, 0.005), (4, 0.08, 0.005)]
)
def test_how_often_noise_reaches_a_z(
    x: np.ndarray, z: float, printed: float, rounding: float
) -> None:
    scale = noise_gain(CURVE) * SIGMA_BPS

    found = sum(day[start:end].max() / scale >= z for day in x.T for start, end in runs(day))

    assert agrees(found / DAYS, printed, count=DAYS, rounding=rounding)


def born(x: np.ndarray, closes: np.ndarray) -> int:
    """Candidates of one day of noise by the price-side thresholds; volume is taken as given."""
    found, rests_until = 0, -1
    for k in np.flatnonzero((x >= LIMITS.min_magnitude) & (x >= 3 * 0.728854 * SIGMA_BPS)):
        if k < LIMITS.history or k <= rests_until:
            continue
        walked = closing.burst(x[k - LIMITS.history + 1 : k + 1, None], LIMITS.ratio)
        length = int(walked.length[0])
        window = closes[k - length : k + 1]
        gain = window[-1] - window[0]
        seen = Evidence(
            x=x[k],
            z=x[k] / (0.728854 * SIGMA_BPS),
            accel=(x[k] - x[k - 3]) / 3,
            flat_length=int(walked.flat_length[0]),
            volume=1e9, dollars=1e9, surge=99.0, trades=999, synthetic_share=0.0,
            burst_length=length,
            jump_share=np.diff(window).max() / gain if gain > 0 else math.nan,
        )  # fmt: skip
        if life.passes(seen, LIMITS):
            found += 1
            fades = np.flatnonzero(x[k:] <= 0)
            rests_until = k + (int(fades[0]) if fades.size else BUCKETS) + LIMITS.cooldown
    return found


def test_the_price_side_alone_fires_a_quarter_time_a_day_on_noise(
    x: np.ndarray, closes: np.ndarray
) -> None:
    prices = closes[CURVE.warm_up - 1 :]

    found = sum(born(x[:, day], prices[:, day]) for day in range(DAYS))

    assert agrees(found / DAYS, 0.24, count=DAYS, rounding=0.005)


def test_the_largest_of_eight_thousand_is_no_news() -> None:
    rng = np.random.default_rng(5)
    largest = rng.standard_normal((400, 8000)).max(axis=1)

    assert abs(largest.mean() - 3.8) < 3 * largest.std() / 20 + 0.05


@pytest.mark.parametrize(
    ("sigma1m", "minutes", "printed"), [(25, 60, 0.039), (25, 330, 0.378), (8, 330, 0.006)]
)
def test_how_often_a_walk_reaches_four_percent(
    sigma1m: float, minutes: int, printed: float
) -> None:
    """Each minute's highest point is drawn exactly, given where the minute begins and ends."""
    rng, paths = np.random.default_rng(6), 20_000
    at, best = np.zeros(paths), np.zeros(paths)
    for _ in range(minutes):
        step = rng.normal(0, sigma1m, paths)
        tail = -2 * sigma1m**2 * np.log(1 - rng.random(paths))
        best = np.maximum(best, at + (step + np.sqrt(step**2 + tail)) / 2)
        at += step
    found = float((best >= 400).mean())
    error = math.sqrt(found * (1 - found) / paths)

    assert abs(found - printed) < 3 * error + 5e-4
    assert abs(found - reach_probability(400, sigma1m, minutes)) < 3 * error


TOUCHES = [
    (2.5, 60, (0.000, 0.041, 0.959)), (2.5, 330, (0.081, 0.384, 0.534)),
    (4.0, 60, (0.011, 0.202, 0.787)), (4.0, 330, (0.247, 0.580, 0.172)),
    (6.0, 60, (0.089, 0.395, 0.516)), (6.0, 330, (0.325, 0.658, 0.017)),
    (10.0, 60, (0.266, 0.600, 0.134)), (10.0, 330, (0.333, 0.667, 0.000)),
]  # fmt: skip


@pytest.mark.parametrize(("daily", "minutes", "printed"), TOUCHES)
def test_which_leg_of_four_and_two_a_walk_touches_first(
    daily: float, minutes: int, printed: tuple[float, float, float]
) -> None:
    """Steps are finer as the walk moves faster: which leg came first in a step is not asked."""
    rng, paths = np.random.default_rng(7), 8000
    steps = minutes * max(2, round(daily))
    sd = daily * math.sqrt(minutes / 390 / steps)
    at, fate = np.zeros(paths), np.zeros(paths, np.int8)
    for _ in range(steps):
        step = rng.normal(0, sd, paths)
        up, down = -2 * sd**2 * np.log(1 - rng.random((2, paths)))
        high = at + (step + np.sqrt(step**2 + up)) / 2
        low = at + (step - np.sqrt(step**2 + down)) / 2
        at += step
        fate = np.where((fate == 0) & (low <= -2), 2, fate)
        fate = np.where((fate == 0) & (high >= 4), 1, fate)

    for share, expected in zip((1, 2, 0), printed, strict=True):
        found = float((fate == share).mean())
        assert abs(found - expected) < 3 * math.sqrt(max(expected, 1e-4) / paths) + 5e-4
