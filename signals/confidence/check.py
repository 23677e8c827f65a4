"""The common result of the four confidence checks (design: trigger 4)."""

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

Verdict = Literal["pass", "fail", "unknown"]
Number = float | int | str | bool | None
NEUTRAL_SCORE = 0.5


class Check(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What one check found.

    `score` is in [0, 1]. `value`, `op` and `limit` are the comparison that `reason` tells about;
    `margin` is positive on the passing side. An unknown check counts by policy (`on_unknown_…`).
    """

    name: str
    enabled: bool
    score: float
    verdict: Verdict
    reason: str
    inputs: dict[str, Number] = {}
    thresholds: dict[str, Number] = {}
    as_of_ns: int | None = None
    age_ms: float | None = None
    value: Number = None
    op: str = ""
    limit: Number = None
    margin: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the check as JSON-able data."""
        return {
            "name": self.name,
            "enabled": self.enabled,
            "score": self.score,
            "verdict": self.verdict,
            "reason": self.reason,
            "inputs": self.inputs,
            "thresholds": self.thresholds,
            "as_of_ns": self.as_of_ns,
            "age_ms": self.age_ms,
            "margin": self.margin,
        }


def sat(value: float, low: float, high: float) -> float:
    """Return where `value` stands between `low` (0) and `high` (1), clipped."""
    if high <= low:
        return 1.0 if value >= low else 0.0
    return min(1.0, max(0.0, (value - low) / (high - low)))


def unknown_score(policy: str) -> float:
    """Return the score of a check without data: neutral counts half, fail counts nothing."""
    return NEUTRAL_SCORE if policy == "neutral" else 0.0


def composite(checks: Mapping[str, Check], weights: Mapping[str, float]) -> float:
    """Return the confidence: the weighted mean of the scores of the enabled checks."""
    enabled = [name for name in weights if checks[name].enabled]
    total = sum(weights[name] for name in enabled)
    if total <= 0:
        return NEUTRAL_SCORE
    return sum(weights[name] * checks[name].score for name in enabled) / total
