"""How many shares: the smallest of six caps. Source: design, trigger 5.6."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_FLOOR, Decimal
from typing import Any

from execution.domain.bracket import BPS, HUNDRED
from execution.domain.prices import decimal_of

BUYING_POWER_SHARE = Decimal("0.95")
LEAST_SHARE_OF_PLAN = Decimal("0.25")  # a position cut below this is not worth it


@dataclass(frozen=True, kw_only=True)
class Sizing:
    """Whole shares, every cap in shares (not rounded), and the one that binds."""

    quantity: int
    caps: dict[str, Decimal]
    binding: str
    planned_loss: Decimal  # at the stop, with slippage, USD


def with_slip(limit: Decimal, stop_loss: Decimal, parameters: Mapping[str, Any]) -> Decimal:
    """Return the planned loss of one share, with the stop's expected slippage, USD."""
    return limit - stop_loss + limit * decimal_of(parameters["stop_slip_bps"]) / BPS


def size(
    *,
    equity: Decimal,
    available_usd: Decimal,
    limit: Decimal,
    stop_loss: Decimal,
    volume_5m: int,
    ask_size: int | None,
    parameters: Mapping[str, Any],
) -> Sizing:
    """Return the size of one entry.

    Args:
        equity: of the start of the day, or the present one if lower, USD.
        available_usd: buying power or cash that is not reserved, USD.
        ask_size: shares at the ask; None without a quote, then depth is no cap.
    """
    p = {name: decimal_of(parameters[name]) for name in _NAMES}
    distance = with_slip(limit, stop_loss, parameters)
    gap = p["max_gap_loss_percent"] / p["halt_gap_assumption_percent"]
    caps = {
        "risk": equity * p["risk_per_trade_percent"] / HUNDRED / distance,
        "notional": equity * p["max_notional_percent"] / HUNDRED / limit,
        "gap": equity * gap / limit,
        "participation": volume_5m * p["max_participation_percent"] / HUNDRED,
        "buying_power": BUYING_POWER_SHARE * available_usd / limit,
    }
    if ask_size is not None and p["min_depth_multiple"] > 0:
        caps["depth"] = ask_size / p["min_depth_multiple"]
    binding = min(caps, key=lambda name: (caps[name], name))
    quantity = max(0, int(caps[binding].to_integral_value(ROUND_FLOOR)))
    return Sizing(quantity=quantity, caps=caps, binding=binding, planned_loss=quantity * distance)


_NAMES = (
    "max_gap_loss_percent",
    "halt_gap_assumption_percent",
    "risk_per_trade_percent",
    "max_notional_percent",
    "max_participation_percent",
    "min_depth_multiple",
)


def fitted(quantity: int, risk_per_share: Decimal, risk_left: Decimal) -> int:
    """Return the quantity cut to the risk that is left; 0 when too little of the plan remains."""
    if quantity * risk_per_share <= risk_left:
        return quantity
    cut = max(0, int((risk_left / risk_per_share).to_integral_value(ROUND_FLOOR)))
    return cut if cut >= LEAST_SHARE_OF_PLAN * quantity else 0
