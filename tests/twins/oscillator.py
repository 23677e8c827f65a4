"""The slow twin of the oscillator: one symbol, one list, exact sums (`math.fsum`)."""

import math
import statistics
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

TIE = 1e-9  # bps; cents make exact ties, which the last bit of a sum must not decide


class Point(NamedTuple):
    """The oscillator after one bucket; None before warm-up."""

    ao: float | None
    ac: float | None
    x: float | None
    z: float | None
    accel: float | None


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def gain(fast: int, slow: int, smooth: int) -> float:
    """C of the Accelerator: push single price changes through it and add up the squares."""
    total = 0.0
    for age in range(slow + smooth):
        prices = [0.0] * (3 * slow + age) + [1.0] * (age + 1)
        total += _accelerator(prices, fast, slow, smooth) ** 2
    return math.sqrt(total)


def _accelerator(prices: Sequence[float], fast: int, slow: int, smooth: int) -> float:
    ao = [
        _mean(prices[k - fast + 1 : k + 1]) - _mean(prices[k - slow + 1 : k + 1])
        for k in range(len(prices) - smooth, len(prices))
    ]
    return ao[-1] - _mean(ao)


def points(
    prices: Sequence[float],
    closes: Sequence[float],
    *,
    fast: int,
    slow: int,
    smooth: int,
    lookback: int,
    history: int,
    ratio: float,
    sigma_window: int,
) -> list[Point]:
    """Return the Accelerator of every bucket; prices feed it, closes give the noise."""
    c = gain(fast, slow, smooth)
    ao: list[float | None] = []
    x: list[float | None] = []
    found = []
    for k in range(len(prices)):
        if k < slow - 1:
            ao.append(None)
        else:
            ao.append(_mean(prices[k - fast + 1 : k + 1]) - _mean(prices[k - slow + 1 : k + 1]))
        ac = None
        if k >= slow + smooth - 2:
            ac = ao[k] - _mean(ao[k - smooth + 1 : k + 1])
            x.append(1e4 * ac / _mean(prices[k - slow + 1 : k + 1]))
        else:
            x.append(None)
        sigma = noise(closes, k + 1 - burst_length(x, k, history, ratio), sigma_window)
        before = x[k - lookback] if k >= lookback else None
        found.append(
            Point(
                ao[k],
                ac,
                x[k],
                x[k] / (c * sigma) if x[k] is not None and sigma else None,
                (x[k] - before) / lookback if before is not None and x[k] is not None else None,
            )
        )
    return found


def burst_length(x: Sequence[float | None], k: int, history: int, ratio: float) -> int:
    """Buckets of the burst that ends in k; 1 where the noise window must end before k + 1 - 1."""
    now = x[k]
    if now is None or now <= TIE:
        return 1  # no burst: the window ends at k - 1
    b = k
    while b - 1 > k - history and x[b - 1] is not None and x[b - 1] > ratio * now + TIE:
        b -= 1
    return k - b + 1


def noise(closes: Sequence[float], b: int, window: int) -> float | None:
    """The noise of one return in bps, over the `window` returns that end in bucket b - 1."""
    first = max(b - 1 - window, 0)
    used = closes[first:b]
    returns = [1e4 * math.log(now / then) for then, now in pairwise(used)]
    if len(returns) < 60:
        return None
    center = statistics.median(returns)
    reach = 5 * 1.4826 * statistics.median(abs(r - center) for r in returns)
    if reach > 0:
        returns = [min(max(r, center - reach), center + reach) for r in returns]
    raw = math.fsum(r * r for r in returns) / len(returns)
    pairs = [now * then for then, now in pairwise(returns)]
    covariance = math.fsum(pairs) / len(pairs)
    return max(math.sqrt(max(raw + 2 * min(covariance, 0.0), raw / 16)), 0.5)
