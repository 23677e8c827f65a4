"""The futures trend read from index ETFs, minute by minute.

The usual size of the gap between the two averages is its deviation over the last five sessions.
Where these are not known (a tape) it is that of a driftless walk with the day's own 1-minute
movement, so a tape gives the same trend wherever it runs.
Source: design, trigger 4.2.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from functools import cache
from itertools import pairwise
from typing import NamedTuple

from signals.confidence.index import MINUTES_KEPT, IndexSeries
from signals.session import BUCKET_NS

FAST_MINUTES, SLOW_MINUTES = 8, 21
MIN_MINUTES = 21
RETURN_MINUTES = 15
#: Symbol: (weight, sign). VIXY rises when the market falls.
LEGS = {"SPY": (0.40, 1), "QQQ": (0.30, 1), "IWM": (0.15, 1), "VIXY": (0.15, -1)}


class Leg(NamedTuple):
    """One leg of the trend: gap of the averages and its usual size in bps, z of 15 minutes."""

    symbol: str
    weight: float
    sign: int
    ema_gap_bps: float
    scale_bps: float
    ret15_z: float


def proxy_legs(
    series: Mapping[str, IndexSeries], scales: Mapping[str, float] | None = None
) -> tuple[tuple[Leg, ...], int | None]:
    """Return the legs that can be read and the time they are as of (of the oldest), ns.

    A symbol with fewer than 21 whole minutes, or that stands still, gives no leg.

    Args: scales: usual size of a symbol's gap in bps, where earlier sessions tell it.
    """
    legs, times = [], []
    for symbol, (weight, sign) in LEGS.items():
        one = series.get(symbol)
        usual = (scales or {}).get(symbol)
        found = None if one is None else _leg(symbol, weight, sign, tuple(one.minutes), usual)
        if one is not None and found is not None:
            legs.append(found)
            times.append((one.last_k + 1) * BUCKET_NS)
    return tuple(legs), min(times, default=None)


def _leg(
    symbol: str, weight: float, sign: int, closes: Sequence[float], usual: float | None
) -> Leg | None:
    if len(closes) < MIN_MINUTES:
        return None
    returns = [1e4 * math.log(new / old) for old, new in pairwise(closes)]
    sigma = math.sqrt(sum(r * r for r in returns) / len(returns))
    if sigma <= 0:
        return None
    return Leg(
        symbol=symbol,
        weight=weight,
        sign=sign,
        ema_gap_bps=ema_gap_bps(closes),
        scale_bps=sigma * gap_gain(len(closes)) if usual is None else usual,
        ret15_z=1e4 * math.log(closes[-1] / closes[-1 - RETURN_MINUTES]) / (sigma * math.sqrt(15)),
    )


def ema(closes: Sequence[float], minutes: int) -> float:
    """Return the exponential average with span `minutes`, started at the first close."""
    share, value = 2 / (minutes + 1), closes[0]
    for close in closes[1:]:
        value += share * (close - value)
    return value


def ema_gap_bps(closes: Sequence[float]) -> float:
    """Return how far the fast average stands above the slow one, bps."""
    return 1e4 * (ema(closes, FAST_MINUTES) / ema(closes, SLOW_MINUTES) - 1)


def gap_scale(sessions: Sequence[Sequence[Sequence[float]]]) -> float | None:
    """Return the standard deviation of the gap over whole sessions, bps; None when it stood still.

    Args: sessions: of each day the minute closes, in pieces without a missing minute.
    """
    gaps = [
        ema_gap_bps(piece[max(0, n - MINUTES_KEPT) : n])
        for pieces in sessions
        for piece in pieces
        for n in range(MIN_MINUTES, len(piece) + 1)
    ]
    scale = statistics.pstdev(gaps) if gaps else 0.0
    return scale if scale > 0 else None


@cache
def gap_gain(count: int) -> float:
    """Return the gap's standard deviation over `count` closes of a walk with steps of size 1.

    The gap is linear in the steps; each step weighs what the two averages make of all later closes.
    """
    weights = [a - b for a, b in zip(_ema_weights(count, FAST_MINUTES),
                                     _ema_weights(count, SLOW_MINUTES), strict=True)]  # fmt: skip
    after, total = 0.0, 0.0
    for weight in reversed(weights[1:]):
        after += weight
        total += after * after
    return math.sqrt(total)


def _ema_weights(count: int, minutes: int) -> list[float]:
    """Return what each of `count` closes weighs in the average, oldest first."""
    share = 2 / (minutes + 1)
    return [
        (1 - share) ** (count - 1) if at == 0 else share * (1 - share) ** (count - 1 - at)
        for at in range(count)
    ]
