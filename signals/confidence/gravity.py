"""Market gravity: is the whole market with the trade right now, over 5 minutes?

Breadth comes from the shards' partial sums, which add up exactly however the letters are cut; the
pull comes from the index symbols. Source: design, trigger 4.1.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from signals.confidence.check import Check, sat, unknown_score
from signals.messages import Gravity

INDEX_WEIGHTS = {"SPY": 0.5, "QQQ": 0.3, "IWM": 0.2}
MIN_COVERAGE = 0.7
MAX_INDEX_AGE_NS = 10_000_000_000
_THRESHOLDS = ("market_gravity_min", "market_gravity_hard_z", "min_idiosyncratic_share")


@dataclass(frozen=True, kw_only=True)
class Burst:
    """The candidate's own move since the bucket before its burst, and SPY's; percent."""

    return_percent: float
    beta: float
    spy_percent: float | None


def breadth(total: Gravity) -> float | None:
    """Return the share of the market that rises, half by dollars and half by names."""
    if total.n <= 0:
        return None
    by_name = total.n_up2 / (2 * total.n)
    by_dollars = total.w_up2 / (2 * total.w) if total.w > 0 else by_name
    return 0.5 * by_dollars + 0.5 * by_name


def drift_z(index: Mapping[str, tuple[float, float]]) -> float | None:
    """Return the weighted 5-minute index return in units of its usual size.

    `index` maps symbol to (return, sigma), both percent; None when a symbol is missing.
    """
    parts = []
    for symbol, weight in INDEX_WEIGHTS.items():
        if symbol not in index or index[symbol][1] <= 0:
            return None
        change, sigma = index[symbol]
        parts.append(weight * change / sigma)
    return sum(parts)


def pull(drift: float) -> float:
    """Return the index's pull in [0, 1]; one half is none."""
    return 0.5 + 0.5 * math.tanh(drift / 1.5)


def gravity(breadth_share: float, index_pull: float) -> float:
    """Return the market gravity in [0, 1]."""
    return 0.5 * sat(breadth_share, 0.30, 0.70) + 0.5 * index_pull


def residual_percent(burst: Burst) -> float | None:
    """Return the part of the burst that is not the index's, percent."""
    if burst.spy_percent is None:
        return None
    return burst.return_percent - burst.beta * burst.spy_percent


@dataclass(frozen=True, kw_only=True)
class Tide:
    """What the market does in one round: the same for each of its candidates."""

    share: float | None
    drift: float | None
    coverage: float
    index_as_of_ns: int | None
    age_ns: int | None
    missing: str
    enabled: bool
    thresholds: dict[str, Any]
    unknown_score: float


def tide_of(
    *,
    total: Gravity,
    coverage: float,
    index: Mapping[str, tuple[float, float]],
    index_as_of_ns: int | None,
    as_of_ns: int,
    parameters: Mapping[str, Any],
) -> Tide:
    """Return the market's part of the check."""
    share, drift = breadth(total), drift_z(index)
    age_ns = None if index_as_of_ns is None else as_of_ns - index_as_of_ns
    return Tide(
        share=share,
        drift=drift,
        coverage=coverage,
        index_as_of_ns=index_as_of_ns,
        age_ns=age_ns,
        missing=_missing(share, drift, coverage, age_ns),
        enabled=bool(parameters["use_market_gravity"]),
        thresholds={name: parameters[name] for name in _THRESHOLDS},
        unknown_score=unknown_score(parameters["on_unknown_gravity"]),
    )


def check_gravity(tide: Tide, burst: Burst) -> Check:
    """Return the check; unknown without enough of the market or with an old index."""
    residual = residual_percent(burst)
    frame: dict[str, Any] = {
        "name": "gravity",
        "enabled": tide.enabled,
        "inputs": {
            "breadth": tide.share,
            "drift_z": tide.drift,
            "coverage": tide.coverage,
            "burst_percent": burst.return_percent,
            "residual_percent": residual,
        },
        "thresholds": tide.thresholds,
        "as_of_ns": tide.index_as_of_ns,
        "age_ms": None if tide.age_ns is None else tide.age_ns / 1e6,
    }
    own = _index_in_disguise(burst, residual, tide.thresholds["min_idiosyncratic_share"])
    if own is not None:
        return Check(**frame, score=0.0, verdict="fail", **own)
    if tide.missing or tide.share is None or tide.drift is None:
        return Check(**frame, score=tide.unknown_score, verdict="unknown", reason=tide.missing)
    return _judged(frame, gravity(tide.share, pull(tide.drift)), tide.drift, tide.thresholds)


def _missing(share: float | None, drift: float | None, coverage: float, age: int | None) -> str:
    if share is None:
        return "Market gravity is unknown: no symbol traded in the last minute."
    if coverage < MIN_COVERAGE:
        return (
            f"Market gravity is unknown: {100 * coverage:.0f} % of the market reported, "
            f"{100 * MIN_COVERAGE:.0f} % are needed."
        )
    if drift is None or age is None:
        return "Market gravity is unknown: no index data (SPY, QQQ and IWM are needed)."
    if age > MAX_INDEX_AGE_NS:
        return f"Market gravity is unknown: the index data is {age / 1e9:.1f} s old."
    return ""


def _index_in_disguise(burst: Burst, residual: float | None, share: float) -> dict[str, Any] | None:
    """Return the reason when too little of the burst is the stock's own."""
    if residual is None or share <= 0:
        return None
    need = share * burst.return_percent
    if residual >= need:
        return None
    return {
        "reason": f"Only {residual:.3f} % of the burst of {burst.return_percent:.3f} % is the "
        f"stock's own after the index; you want {need:.3f} %.",
        "value": residual,
        "op": ">=",
        "limit": need,
        "margin": residual - need,
    }


def _judged(
    frame: dict[str, Any], value: float, drift: float, thresholds: Mapping[str, Any]
) -> Check:
    least, hard = thresholds["market_gravity_min"], thresholds["market_gravity_hard_z"]
    if drift <= hard:
        return Check(
            **frame,
            score=value,
            verdict="fail",
            reason=f"The index falls hard: {drift:.2f} σ in 5 minutes; your floor is {hard:.2f} σ.",
            value=drift,
            op=">",
            limit=hard,
            margin=drift - hard,
        )
    return Check(
        **frame,
        score=value,
        verdict="pass" if value >= least else "fail",
        reason=f"Market gravity is {value:.2f}; your minimum is {least:.2f}.",
        value=value,
        op=">=",
        limit=least,
        margin=value - least,
    )
