"""A stored candidate as another oscillator would have seen it, from its kept buckets.

Class B of the counterfactuals (design: trigger 8.2). What cannot be shown to be the very buckets of
the decision (they must give the stored oscillator again) is not used.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from signals import nearmiss, oscillator
from signals.messages import Candidate
from signals.nearmiss import Bar

SAME_BPS = 1e-6


def same_buckets(c: Candidate, bars: Sequence[Bar], old: Mapping[str, Any]) -> bool:
    """Tell whether the buckets give the candidate's own numbers under the set it was seen with."""
    if len(bars) < nearmiss.warm_of(old) or bars[-1].k != c.k:
        return False
    found = nearmiss.shape_of(bars, old, (c.b, c.flat_len)).evidence
    return abs(found.x - c.x) <= SAME_BPS


def reshaped(
    c: Candidate,
    bars: Sequence[Bar],
    new: Mapping[str, Any],
    latched: tuple[int, int] | None = None,
) -> Candidate:
    """Return the candidate with every number that the periods and modes shape.

    Args:
        bars: oldest first, without a gap, up to the candidate's bucket.
        latched: first bucket and quiet ones of the burst, when it was born before.
    """
    shape = nearmiss.shape_of(bars, new, latched)
    e = shape.evidence
    return msgspec.structs.replace(
        c,
        b=min(shape.first_k, c.k),
        flat_len=e.flat_length,
        x=e.x,
        z=e.z,
        accel=shape.slope,
        ao=shape.ao,
        ac=e.x * shape.slow_mean / 1e4,
        slow_mean=shape.slow_mean,
        surge=e.surge,
        cum_volume=e.volume,
        cum_dollars=e.dollars,
        jump_share=None if math.isnan(e.jump_share) else e.jump_share,
        burst_trades=e.trades,
        sigma5_bps=shape.sigma5,
        noise_gain=oscillator.noise_gain(oscillator.curve_of(new)),
        base_close=shape.base_close,
        synthetic_share=e.synthetic_share,
    )
