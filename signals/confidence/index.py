"""Remembers the closed buckets of the index symbols: for gravity, the beta check and the trend."""

import math
from collections import deque
from itertools import pairwise

from signals.confidence.gravity import INDEX_WEIGHTS
from signals.messages import IndexBucket

MINUTE = 12  # buckets
RETURN_BUCKETS = 5 * MINUTE
SIGMA_MINUTES = 30
MIN_SIGMA_MINUTES = 10
KEPT = SIGMA_MINUTES * MINUTE + 1
MINUTES_KEPT = 90
MAX_BRIDGED = 2  # missing buckets (10 s) over which a minute's close is carried
#: Also remembered: the trend's fourth leg.
SYMBOLS = (*INDEX_WEIGHTS, "VIXY")


class IndexSeries:
    """Closes of one index symbol, one per bucket; a gap starts the series again.

    `minutes` are the closes of whole clock minutes; they start again only after a gap of more than
    10 seconds.
    """

    def __init__(self) -> None:
        self.last_k = -1
        self.as_of_ns = 0
        self.closes: deque[float] = deque(maxlen=KEPT)
        self.minutes: deque[float] = deque(maxlen=MINUTES_KEPT)

    def add(self, bucket: IndexBucket) -> None:
        """Take the next bucket; one that is not newer is ignored."""
        if bucket.k <= self.last_k:
            return
        self._carry(bucket.k)
        if bucket.k != self.last_k + 1:
            self.closes.clear()
        self.closes.append(bucket.close)
        if (bucket.k + 1) % MINUTE == 0:
            self.minutes.append(bucket.close)
        self.last_k, self.as_of_ns = bucket.k, bucket.ts_ns

    def _carry(self, k: int) -> None:
        """Close the minute whose last bucket is missing, or forget them all after a long gap."""
        missing = range(self.last_k + 1, k)
        if len(missing) > MAX_BRIDGED:
            self.minutes.clear()
        elif any((j + 1) % MINUTE == 0 for j in missing):
            self.minutes.append(self.closes[-1])

    def return_percent(self, buckets: int) -> float | None:
        """Return the change over the last `buckets` buckets, percent; None when too young."""
        if len(self.closes) <= buckets:
            return None
        return 100 * (self.closes[-1] / self.closes[-1 - buckets] - 1)

    def sigma_5m_percent(self) -> float | None:
        """Return the usual size of a 5-minute return: rms of 1-minute returns times √5."""
        minutes = list(self.closes)[::-MINUTE]  # newest first
        returns = [100 * (new / old - 1) for new, old in pairwise(minutes)]
        if len(returns) < MIN_SIGMA_MINUTES:
            return None
        return math.sqrt(5 * sum(r * r for r in returns) / len(returns))


class IndexBook:
    """The series of all index symbols."""

    def __init__(self) -> None:
        self.series = {symbol: IndexSeries() for symbol in SYMBOLS}

    def add(self, bucket: IndexBucket) -> None:
        """Take a bucket of an index symbol; other symbols are ignored."""
        if bucket.symbol in self.series:
            self.series[bucket.symbol].add(bucket)
