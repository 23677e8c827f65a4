"""Prices: one log return per name and minute of the day, and a bridge of seconds inside a minute.

Any minute can be made without the ones before it: the minutes' levels are made once, the seconds
inside are a Brownian bridge between two levels, drawn from a stream named by minute and symbol.
"""
# numba infers the types and mypy cannot see through its decorator:
# mypy: allow-untyped-defs, allow-untyped-calls, allow-untyped-decorators

import numpy as np
from numba import njit

from execution.venue.synthetic import facts
from execution.venue.synthetic.draws import bits, mix, normal
from execution.venue.synthetic.universe import Universe

MINUTE_S = 60
_BRIDGE, _MARKET = 11, 12
_VARIANCE_STEPS = 64
#: Volatility factors with mean square 1, drawn per 5 s.
_levels = np.sort(np.random.default_rng(0).standard_normal(200_001))[
    np.linspace(0, 200_000, _VARIANCE_STEPS + 2).astype(int)[1:-1]
]
VARIANCE = np.exp(facts.VARIANCE_SD * _levels)
VARIANCE /= np.sqrt(np.mean(VARIANCE**2))


def day_shape(minutes: int) -> np.ndarray:
    """Return the trading intensity of each minute as a multiple of the day's mean, (minutes,)."""
    at, value = np.array(facts.DAY_SHAPE).T
    # a half day keeps its open and its close and loses the middle
    position = np.arange(minutes, dtype=float)
    position[minutes // 2 :] += 390 - minutes
    shape: np.ndarray = np.interp(position, at, value)
    shape /= shape.mean()
    return shape


def own_activity(seed: int, minute: int, count: int) -> np.ndarray:
    """Return each name's own intensity factor in a minute, mean 1, (count,)."""
    draw = np.random.default_rng([seed, 4, minute]).standard_normal(count)
    factor: np.ndarray = np.exp(facts.OWN_SD * draw - facts.OWN_SD**2 / 2)
    return factor


class MinuteLevels:
    """Log return since the open of every name at every minute: `levels[minute, name]`."""

    def __init__(self, seed: int, universe: Universe, minutes: int) -> None:
        shape = np.sqrt(day_shape(minutes))
        shape /= np.sqrt(np.mean(shape**2))
        per_minute = shape / np.sqrt(minutes)
        count = len(universe.symbols)
        rng = np.random.default_rng([seed, 5])
        self.market_sd = facts.MARKET_DAY_SD * per_minute
        market = self.market_sd * rng.standard_normal(minutes)
        self.own_sd = per_minute
        self.levels = np.zeros((minutes + 1, count), np.float32)
        level = np.zeros(count)
        for minute in range(minutes):
            own = np.sqrt(own_activity(seed, minute, count)) * rng.standard_normal(count)
            level += universe.beta * market[minute] + universe.day_sd * per_minute[minute] * own
            self.levels[minute + 1] = level


@njit(cache=True, nogil=True)
def bridge(seed, minute, levels, beta, own_sd, market_sd, calm_from, calm_until, variance, out):
    """Fill `out` (n, 61) with the log return of each name at each second of a minute.

    Args:
        levels: (2, n) at the begin and the end of the minute.
        own_sd, market_sd: (n,) and scalar standard deviation of a second's log return.
        calm_from, calm_until: (n,) seconds since the open in which a name moves less.
    """
    stream = np.empty(1, np.uint64)
    walk = np.empty(MINUTE_S + 1)
    market = np.empty(MINUTE_S + 1)
    stream[0] = mix(seed, _MARKET, minute)
    _walk(stream, market_sd, 0, 0, variance, market)
    for i in range(levels.shape[1]):
        stream[0] = mix(seed, _BRIDGE, minute * 65_536 + i)
        calm_0, calm_1 = calm_from[i] - minute * MINUTE_S, calm_until[i] - minute * MINUTE_S
        _walk(stream, own_sd[i], calm_0, calm_1, variance, walk)
        first, step = levels[0, i], (levels[1, i] - levels[0, i]) / MINUTE_S
        for s in range(MINUTE_S + 1):
            out[i, s] = first + s * step + walk[s] + beta[i] * market[s]


@njit(cache=True, nogil=True)
def _walk(stream, sd, calm_0, calm_1, variance, out):
    """Fill `out` with a walk that starts and ends at 0."""
    out[0] = 0.0
    scale = sd
    for s in range(MINUTE_S):
        if s % 5 == 0:
            scale = sd * variance[bits(stream) & np.uint64(63)]
        calm = 0.35 if calm_0 <= s < calm_1 else 1.0
        out[s + 1] = out[s] + calm * scale * normal(stream)
    last = out[MINUTE_S] / MINUTE_S
    for s in range(MINUTE_S + 1):
        out[s] -= s * last
