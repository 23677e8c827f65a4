"""Spread and liquidity: can one get in and out cheaply? Source: design, trigger 4.3."""

import math
from collections.abc import Mapping
from typing import Any

from signals.confidence.check import Check, sat, unknown_score
from signals.messages import Quote

FEES_BPS = 0.3
WIDENING = 3.0  # times the median spread of the last minute


def spread_bps(bid: float, ask: float) -> float:
    """Return the quoted spread, bps of the midpoint."""
    return 1e4 * (ask - bid) / ((ask + bid) / 2)


def impact_bps(quantity: int, sigma1m_bps: float, volume_1m: int) -> float:
    """Return the price impact of one side, bps: the square-root law with factor 1."""
    return sigma1m_bps * math.sqrt(quantity / max(volume_1m, 1))


def round_trip_bps(spread: float, impact: float) -> float:
    """Return the cost of getting in and out, bps."""
    return spread + 2 * impact + FEES_BPS


def quote_problem(quote: Quote | None, age_ms: float | None, max_age_ms: float) -> str:
    """Return why the quote must not be traded on; "" when it is sane and fresh."""
    if quote is None or age_ms is None:
        return "There is no quote."
    if quote.bid <= 0 or quote.ask <= 0 or quote.bid_size <= 0 or quote.ask_size <= 0:
        return "There is no two-sided quote."
    if quote.bid == quote.ask:
        return f"The market is locked at {quote.bid:g} USD."
    if quote.bid > quote.ask:
        return f"The market is crossed: bid {quote.bid:g} above ask {quote.ask:g} USD."
    if age_ms > max_age_ms:
        return f"The quote is {age_ms:.0f} ms old; your limit is {max_age_ms:.0f} ms."
    return ""


def check_spread(
    *,
    quote: Quote | None,
    as_of_ns: int,
    quantity: int,
    sigma1m_bps: float,
    volume_1m: int,
    take_profit_bps: float,
    parameters: Mapping[str, Any],
) -> Check:
    """Return the check; unknown only when quotes are not there at all."""
    age_ms = None if quote is None else max(0.0, (as_of_ns - quote.ts_ns) / 1e6)
    frame: dict[str, Any] = {
        "name": "spread",
        "enabled": bool(parameters["use_spread_liquidity"]),
        "thresholds": {
            "max_spread_bps": parameters["max_spread_bps"],
            "max_cost_to_target": parameters["max_cost_to_target"],
            "min_depth_multiple": parameters["min_depth_multiple"],
            "max_quote_age_ms": parameters["max_quote_age_ms"],
        },
        "as_of_ns": None if quote is None else quote.ts_ns,
        "age_ms": age_ms,
    }
    if quote is None:
        score = unknown_score(parameters["on_unknown_spread"])
        reason = "Spread and liquidity are unknown: there is no quote."
        return Check(**frame, score=score, verdict="unknown", reason=reason)
    problem = quote_problem(quote, age_ms, parameters["max_quote_age_ms"])
    if problem:
        return Check(**frame, score=0.0, verdict="fail", reason=problem)
    spread = spread_bps(quote.bid, quote.ask)
    impact = impact_bps(quantity, sigma1m_bps, volume_1m)
    cost = round_trip_bps(spread, impact)
    frame["inputs"] = {
        "spread_bps": spread,
        "impact_bps": impact,
        "round_trip_bps": cost,
        "cost_to_target": cost / take_profit_bps,
        "depth": quote.ask_size / max(quantity, 1),
        "median_spread_bps_60s": quote.median_spread_bps_60s,
    }
    return _judged(frame, quote, spread, quantity, parameters)


def _judged(
    frame: dict[str, Any],
    quote: Quote,
    spread: float,
    quantity: int,
    parameters: Mapping[str, Any],
) -> Check:
    widest, dearest = parameters["max_spread_bps"], parameters["max_cost_to_target"]
    deepest = parameters["min_depth_multiple"]
    cost_to_target, depth = frame["inputs"]["cost_to_target"], frame["inputs"]["depth"]
    score = (
        0.5 * (1 - sat(spread, 2, widest))
        + 0.3 * (1 - sat(cost_to_target, 0.02, 0.15))
        + 0.2 * sat(depth, 0.5, 3)
    )
    usual = quote.median_spread_bps_60s
    widens = usual is not None and usual > 0 and not spread <= WIDENING * usual
    # in this order; only the comparison that counts is worded
    if spread <= widest and widens:
        text = f"Spread is {spread:.2f} bps; usual in the last minute is {usual:.2f} bps."
        return _compared(frame, score, (spread, "<=", WIDENING * (usual or 0.0), text))
    if spread <= widest and not cost_to_target <= dearest:
        text = (
            f"A round trip costs {100 * cost_to_target:.1f} % of the target; "
            f"your limit is {100 * dearest:.1f} %."
        )
        return _compared(frame, score, (cost_to_target, "<=", dearest, text))
    if spread <= widest and not depth >= deepest:
        text = (
            f"The ask shows {quote.ask_size} shares, you would buy {quantity}; your minimum is "
            f"{deepest:g} times yours."
        )
        return _compared(frame, score, (depth, ">=", deepest, text))
    text = f"Spread is {spread:.2f} bps; your limit is {widest:.2f} bps."
    return _compared(frame, score, (spread, "<=", widest, text))


def _compared(
    frame: dict[str, Any], score: float, comparison: tuple[float, str, float, str]
) -> Check:
    value, op, limit, text = comparison
    margin = limit - value if op == "<=" else value - limit
    return Check(
        **frame,
        score=score,
        verdict="pass" if margin >= 0 else "fail",
        reason=text,
        value=value,
        op=op,
        limit=limit,
        margin=margin,
    )
