"""VWAP alignment: above the day's average price, but not far above it. Source: trigger 4.4."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from signals.confidence.check import Check, sat, unknown_score
from signals.messages import SessionState

MIN_SESSION_NS = 300_000_000_000
MIN_TRADES = 50
DEEPEST_PERCENT = -0.5  # no score at or below this


def vwap_and_sd(prices: Sequence[float], sizes: Sequence[int]) -> tuple[float, float]:
    """Return the volume-weighted mean price and its volume-weighted standard deviation, USD."""
    volume = sum(sizes)
    mean = sum(p * s for p, s in zip(prices, sizes, strict=True)) / volume
    variance = sum(s * (p - mean) ** 2 for p, s in zip(prices, sizes, strict=True)) / volume
    return mean, math.sqrt(variance)


def stretch_percent(price: float, vwap: float) -> float:
    """Return how far the price stands above the day's average, percent."""
    return 100 * (price / vwap - 1)


def slope_bps(vwap: float, vwap_5min_ago: float) -> float:
    """Return the change of the day's average over 5 minutes, bps."""
    return 1e4 * (vwap / vwap_5min_ago - 1)


def stretch_score(stretch: float, most: float) -> float:
    """Return 0 at −0.5 % and below, 1 from 0 to half of `most`, 0 at `most` and above."""
    if stretch < 0:
        return sat(stretch, DEEPEST_PERCENT, 0.0)
    return 1.0 - sat(stretch, most / 2, most)


def check_vwap(
    *,
    session: SessionState,
    price: float,
    open_ns: int,
    as_of_ns: int,
    parameters: Mapping[str, Any],
) -> Check:
    """Return the check; unknown in the first minutes and with few trades."""
    most = parameters["max_vwap_stretch_percent"]
    vwap, before = session.vwap, session.vwap_5min_ago
    frame: dict[str, Any] = {
        "name": "vwap",
        "enabled": bool(parameters["use_vwap_alignment"]),
        "thresholds": {
            "max_vwap_stretch_percent": most,
            "vwap_require_above": parameters["vwap_require_above"],
            "min_vwap_slope_bps": parameters["min_vwap_slope_bps"],
        },
        "as_of_ns": as_of_ns,
        "age_ms": 0.0,
    }
    missing = ""
    if as_of_ns - open_ns < MIN_SESSION_NS:
        missing = "VWAP is unknown: the session is younger than 5 minutes."
    elif session.trades < MIN_TRADES:
        missing = f"VWAP is unknown: {session.trades} trades today, {MIN_TRADES} are needed."
    elif vwap is None or before is None:
        missing = "VWAP is unknown: there is no average of 5 minutes ago."
    if missing or vwap is None or before is None:
        score = unknown_score(parameters["on_unknown_vwap"])
        return Check(**frame, score=score, verdict="unknown", reason=missing)
    stretch, slope = stretch_percent(price, vwap), slope_bps(vwap, before)
    band = (price - vwap) / session.vwap_sd if session.vwap_sd else None
    frame["inputs"] = {
        "vwap": vwap,
        "price": price,
        "stretch_percent": stretch,
        "band": band,
        "slope_bps": slope,
    }
    return _judged(frame, stretch, slope, parameters)


def _judged(
    frame: dict[str, Any], stretch: float, slope: float, parameters: Mapping[str, Any]
) -> Check:
    most, least_slope = parameters["max_vwap_stretch_percent"], parameters["min_vwap_slope_bps"]
    above = parameters["vwap_require_above"]
    side = "above" if stretch >= 0 else "below"
    value, op, limit = stretch, "<=", most
    # in this order; only the comparison that counts is worded
    if stretch <= most and above and not stretch >= 0:
        op, limit = ">=", 0.0
        text = f"Ask is {abs(stretch):.2f} % {side} VWAP; you buy only above it."
    elif stretch <= most and not slope >= least_slope:
        value, op, limit = slope, ">=", least_slope
        text = f"VWAP moved {slope:.2f} bps in 5 minutes; your minimum is {least_slope:.2f} bps."
    else:
        text = f"Ask is {abs(stretch):.2f} % {side} VWAP; your limit is {most:.2f} % above."
    margin = limit - value if op == "<=" else value - limit
    return Check(
        **frame,
        score=stretch_score(stretch, most),
        verdict="pass" if margin >= 0 else "fail",
        reason=text,
        value=value,
        op=op,
        limit=limit,
        margin=margin,
    )
