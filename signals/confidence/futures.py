"""Futures trend: the tide of the last 15 to 60 minutes.

Alpaca has no futures, so a provider gives the parts, by default from index ETFs. Source: design,
trigger 4.2.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from signals.confidence.check import Check, unknown_score

MAX_AGE_NS = 30_000_000_000


class TrendPart(NamedTuple):
    """One leg: weight, +1 or −1, gap of the two averages and its usual size (bps), 15-min z."""

    weight: float
    sign: int
    ema_gap_bps: float
    scale_bps: float
    ret15_z: float


def trend_score(parts: Sequence[TrendPart]) -> float | None:
    """Return the trend in [0, 1], one half is flat; None without usable parts."""
    usable = [part for part in parts if part.scale_bps > 0 and part.weight > 0]
    total = sum(part.weight for part in usable)
    if total <= 0:
        return None
    pulled = sum(
        part.weight
        * (
            0.5 * math.tanh(part.sign * part.ema_gap_bps / part.scale_bps)
            + 0.5 * math.tanh(part.sign * part.ret15_z / 1.5)
        )
        for part in usable
    )
    return 0.5 + 0.5 * pulled / total


def check_futures(
    *,
    parts: Sequence[TrendPart],
    parts_as_of_ns: int | None,
    as_of_ns: int,
    parameters: Mapping[str, Any],
) -> Check:
    """Return the check; unknown without a provider, without parts, or when they are old."""
    least = parameters["futures_trend_min"]
    age_ns = None if parts_as_of_ns is None else as_of_ns - parts_as_of_ns
    score = trend_score(parts)
    frame: dict[str, Any] = {
        "name": "futures",
        "enabled": bool(parameters["use_futures_trend"]),
        "inputs": {"trend": score, "parts": len(parts)},
        "thresholds": {"futures_trend_min": least},
        "as_of_ns": parts_as_of_ns,
        "age_ms": None if age_ns is None else age_ns / 1e6,
    }
    missing = ""
    if parameters["futures_provider"] == "none":
        missing = "Futures trend is unknown: no provider is set."
    elif score is None or age_ns is None:
        missing = "Futures trend is unknown: the provider has no data yet."
    elif age_ns > MAX_AGE_NS:
        missing = f"Futures trend is unknown: its data is {age_ns / 1e9:.1f} s old."
    if missing or score is None:
        neutral = unknown_score(parameters["on_unknown_futures"])
        return Check(**frame, score=neutral, verdict="unknown", reason=missing)
    proxy = " (ETF proxy)" if parameters["futures_provider"] == "etf_proxy" else ""
    return Check(
        **frame,
        score=score,
        verdict="pass" if score >= least else "fail",
        reason=f"Futures trend{proxy} is {score:.2f}; your minimum is {least:.2f}.",
        value=score,
        op=">=",
        limit=least,
        margin=score - least,
    )
