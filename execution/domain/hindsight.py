"""What an entry that was not made would have become, from the buckets after it: simulated fills.

Pessimistic where a bucket cannot tell: bought at the limit, the stop first when both were touched,
a target only from the second bucket on, what is left over is sold at the bid.
Source: design, trigger 7.2.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from execution.domain.gates import MINUTE_NS
from signals.nearmiss import Bar
from signals.session import BUCKET_NS

FEES_BPS = 0.3


@dataclass(frozen=True, kw_only=True)
class Hindsight:
    """`ended`: target, stop or time, in bucket `k`; the gain after cost, in percent of the entry
    and in R.
    """

    ended: str
    k: int
    percent: float
    r: float


def last_k(k: int, close_ns: int, p: Mapping[str, Any]) -> int:
    """Return the bucket in which an entry of round k would be left at the latest."""
    flatten_ns = close_ns - p["flatten_min_before_close"] * MINUTE_NS
    hold = p["max_hold_minutes"] * MINUTE_NS // BUCKET_NS
    flatten_k: int = flatten_ns // BUCKET_NS - 1
    return min(flatten_k, k + int(hold)) if hold else flatten_k


def hindsight(
    plan: Mapping[str, Any], bars: Sequence[Bar], *, end_k: int, spread_bps: float, slip_bps: float
) -> Hindsight | None:
    """Return what became of a plan; None while that is open or its buckets are not kept.

    Args:
        plan: of a decision record: limit, tp, sl.
        bars: every bucket after the decision's, oldest first; slip_bps: of the stop.
    """
    entry, target, stop = float(plan["limit"]), float(plan["tp"]), float(plan["sl"])
    for n, bar in enumerate(bars):
        if bar.low <= stop:
            return _left("stop", bar.k, min(stop, bar.high) * (1 - slip_bps / 1e4), entry, stop)
        if n > 0 and bar.high >= target:
            return _left("target", bar.k, target, entry, stop)
        if bar.k >= end_k:
            return _left("time", bar.k, bar.close * (1 - spread_bps / 2e4), entry, stop)
    return None


def _left(ended: str, k: int, price: float, entry: float, stop: float) -> Hindsight:
    gain = price - entry - entry * FEES_BPS / 1e4
    return Hindsight(ended=ended, k=k, percent=100 * gain / entry, r=gain / (entry - stop))
