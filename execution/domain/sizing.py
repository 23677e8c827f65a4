"""How many shares: the smallest of six caps. Source: design, trigger 5.6."""

from collections.abc import Mapping
from decimal import ROUND_FLOOR, Decimal
from typing import Any

import msgspec

from execution.domain.bracket import BPS, HUNDRED
from execution.domain.prices import exact

BUYING_POWER_SHARE = Decimal("0.95")
LEAST_SHARE_OF_PLAN = Decimal("0.25")  # a position cut below this is not worth it


#: The caps of a size, in words.
CAPS = {
    "risk": "risk per trade",
    "notional": "the size of a position",
    "gap": "what a gap may cost",
    "participation": "its share of the volume",
    "depth": "the shares on offer",
    "buying_power": "buying power",
    "cash": "cash",
}


class Sizing(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Whole shares, every cap in shares (not rounded), and the one that binds."""

    quantity: int
    caps: dict[str, Decimal]
    binding: str
    planned_loss: Decimal  # at the stop, with slippage, USD


def with_slip(limit: Decimal, stop_loss: Decimal, parameters: Mapping[str, Any]) -> Decimal:
    """Return the planned loss of one share, with the stop's expected slippage, USD."""
    return limit - stop_loss + limit * exact(parameters["stop_slip_bps"]) / BPS


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
    budget = budget_of(equity, available_usd, parameters)
    return sized(budget, limit, stop_loss, volume_5m, ask_size)


class Budget(msgspec.Struct, frozen=True, kw_only=True):
    """What every candidate of a round is sized by, USD; the rest are shares of something."""

    risk: Decimal
    notional: Decimal
    gap: Decimal
    power: Decimal
    participation_percent: Decimal
    depth_multiple: Decimal
    slip_bps: Decimal


def budget_of(equity: Decimal, available_usd: Decimal, parameters: Mapping[str, Any]) -> Budget:
    """Return the budget; its arguments are those of `size`."""
    p = {name: exact(parameters[name]) for name in _NAMES}
    return Budget(
        risk=equity * p["risk_per_trade_percent"] / HUNDRED,
        notional=equity * p["max_notional_percent"] / HUNDRED,
        gap=equity * (p["max_gap_loss_percent"] / p["halt_gap_assumption_percent"]),
        power=BUYING_POWER_SHARE * available_usd,
        participation_percent=p["max_participation_percent"],
        depth_multiple=p["min_depth_multiple"],
        slip_bps=p["stop_slip_bps"],
    )


def sized(
    budget: Budget, limit: Decimal, stop_loss: Decimal, volume_5m: int, ask_size: int | None
) -> Sizing:
    """Return the size of one entry within the budget."""
    distance = limit - stop_loss + limit * budget.slip_bps / BPS
    caps = {
        "risk": budget.risk / distance,
        "notional": budget.notional / limit,
        "gap": budget.gap / limit,
        "participation": volume_5m * budget.participation_percent / HUNDRED,
        "buying_power": budget.power / limit,
    }
    if ask_size is not None and budget.depth_multiple > 0:
        caps["depth"] = ask_size / budget.depth_multiple
    least, binding = min((cap, name) for name, cap in caps.items())
    quantity = max(0, int(least))
    return Sizing(quantity=quantity, caps=caps, binding=binding, planned_loss=quantity * distance)


_NAMES = (
    "max_gap_loss_percent",
    "halt_gap_assumption_percent",
    "risk_per_trade_percent",
    "max_notional_percent",
    "max_participation_percent",
    "min_depth_multiple",
    "stop_slip_bps",
)


def fitted(quantity: int, risk_per_share: Decimal, risk_left: Decimal) -> int:
    """Return the quantity cut to the risk that is left; 0 when too little of the plan remains."""
    if quantity * risk_per_share <= risk_left:
        return quantity
    cut = max(0, int((risk_left / risk_per_share).to_integral_value(ROUND_FLOOR)))
    return cut if cut >= LEAST_SHARE_OF_PLAN * quantity else 0
