"""Which candidate first: a score from 0 to 100. It ranks; it never overrides a gate.

The weights are priors. Source: design, trigger 5.4.
"""

import math
from collections.abc import Mapping
from typing import Any

import msgspec

from signals.confidence.check import sat

_WEIGHTS = {"z": "z", "a": "accel", "v": "volume", "r": "reach", "c": "confidence"}


class Score(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Parts in [0, 1], their weighted sum (0 to 100), the cost in [0, 1], the final score."""

    parts: dict[str, float]
    base: float
    cost: float
    final: float

    def as_dict(self) -> dict[str, Any]:
        return {"parts": self.parts, "base": self.base, "cost": self.cost, "final": self.final}


def score(
    *,
    z: float,
    accel: float,
    surge: float,
    reach: float,
    confidence: float,
    cost_to_target: float | None,
    parameters: Mapping[str, Any],
) -> Score:
    """Return the score; an unknown cost counts as the dearest that is allowed."""
    p = parameters
    least_surge = math.log2(p["vol_surge_multiplier"])
    parts = {
        "z": sat(z, p["ao_min_z"], p["ao_min_z"] + 3),
        "a": sat(accel, p["ao_accel_rate"], 4 * p["ao_accel_rate"]),
        "v": sat(math.log2(surge), least_surge, least_surge + 2) if surge > 0 else 0.0,
        "r": sat(reach, p["min_reach_prob"], 0.5),
        "c": confidence,
    }
    base = 100 * sum(p[f"score_weight_{_WEIGHTS[name]}"] * part for name, part in parts.items())
    cost = 1.0 if cost_to_target is None else min(1.0, cost_to_target / p["max_cost_to_target"])
    return Score(parts=parts, base=base, cost=cost, final=base * (1 - 0.5 * cost))
