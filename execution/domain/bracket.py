"""Where the limit, the take-profit and the stop-loss go. Source: design, trigger 5.5."""

import math
from collections.abc import Mapping
from decimal import Decimal
from functools import lru_cache
from typing import Any

import msgspec

from execution.domain.prices import CENT, ceil_tick, decimal_of, exact, floor_tick

HUNDRED = Decimal(100)
BPS = Decimal(10_000)


class Bracket(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Three prices on the tick grid, and the percentages they came from."""

    limit: Decimal
    take_profit: Decimal
    stop_loss: Decimal
    take_profit_percent: float
    stop_loss_percent: float

    @property
    def take_profit_bps(self) -> float:
        return 100 * self.take_profit_percent

    @property
    def risk(self) -> Decimal:
        """Planned loss per share without slippage, USD."""
        return self.limit - self.stop_loss


def sigma_horizon_bps(sigma1m_bps: float, minutes: float) -> float:
    """Return the usual movement over `minutes`, bps."""
    return sigma1m_bps * math.sqrt(minutes)


def percents(sigma1m_bps: float, parameters: Mapping[str, Any]) -> tuple[float, float]:
    """Return (take-profit, stop-loss) in percent for this mode and this movement."""
    if parameters["bracket_mode"] == "fixed":
        return parameters["take_profit_percent"], parameters["stop_loss_percent"]
    horizon = sigma_horizon_bps(sigma1m_bps, parameters["vol_horizon_minutes"])
    wanted = parameters["vol_stop_multiple"] * horizon / 100
    stop = min(max(wanted, parameters["sl_min"]), parameters["sl_max"])
    target = parameters["reward_risk"] * stop
    if parameters["bracket_mode"] == "hybrid":
        target = min(max(target, parameters["tp_min"]), parameters["tp_max"])
    return target, stop


def entry_limit(
    ask: Decimal, signal: Decimal, luld_up: Decimal | None, parameters: Mapping[str, Any]
) -> Decimal:
    """Return the highest price to pay: near the ask, near the signal, inside the halt band."""
    offset, adverse = parameters["entry_limit_offset_bps"], parameters["max_adverse_bps"]
    highest = min(ask * _above(offset), signal * _above(adverse))
    if luld_up is not None:
        highest = min(highest, luld_up)
    return floor_tick(highest)


@lru_cache(maxsize=64)
def _above(bps: float) -> Decimal:
    return 1 + exact(bps) / BPS


def legs(
    limit: Decimal, take_profit_percent: float, stop_loss_percent: float
) -> tuple[Decimal, Decimal]:
    """Return (take-profit, stop-loss) prices of an entry at `limit`."""
    target = floor_tick(limit * (1 + decimal_of(take_profit_percent) / HUNDRED))
    stop = ceil_tick(limit * (1 - decimal_of(stop_loss_percent) / HUNDRED))
    return target, stop


def bracket(
    *,
    ask: Decimal,
    signal: Decimal,
    sigma1m_bps: float,
    luld_up: Decimal | None = None,
    parameters: Mapping[str, Any],
) -> Bracket:
    """Return the bracket of a buy; `geometry_problem` says whether it can be sent."""
    target_percent, stop_percent = percents(sigma1m_bps, parameters)
    limit = entry_limit(ask, signal, luld_up, parameters)
    take_profit, stop_loss = legs(limit, target_percent, stop_percent)
    return Bracket(
        limit=limit,
        take_profit=take_profit,
        stop_loss=stop_loss,
        take_profit_percent=target_percent,
        stop_loss_percent=stop_percent,
    )


def stop_limit(stop: Decimal, parameters: Mapping[str, Any]) -> Decimal | None:
    """Return the lowest price that an elected stop may sell at; None: any (`stop_type` stop).

    It lies `stop_slip_bps` below the stop, which is what the size of the position reckons with.
    A set from before the two were kept has a plain stop.
    """
    if parameters.get("stop_type", "stop") != "stop_limit":
        return None
    return floor_tick(stop * (1 - exact(parameters["stop_slip_bps"]) / BPS))


def geometry_problem(limit: Decimal, take_profit: Decimal, stop_loss: Decimal) -> str:
    """Return why the venue would refuse these three prices; "" when it would not."""
    if stop_loss <= 0:
        return f"The stop of {stop_loss} USD is not above zero."
    if stop_loss > limit - CENT:
        return f"The stop of {stop_loss} USD must be at least a cent below the limit of {limit}."
    if take_profit < limit + CENT:
        return f"The target of {take_profit} USD must be at least a cent above {limit}."
    for price in (limit, take_profit, stop_loss):
        if floor_tick(price) != price:
            return f"{price} USD is not a whole tick."
    return ""


REANCHOR_BPS = 10  # a smaller difference between fill and limit is left alone


def reanchored(
    fill: Decimal, planned: Bracket, parameters: Mapping[str, Any]
) -> tuple[Decimal, Decimal] | None:
    """Return new (take-profit, stop-loss) from the real fill price; None leaves the legs alone.

    The stop is never wider than `sl_max` (in fixed mode: than the planned percentage).
    """
    if not parameters["reanchor_after_fill"]:
        return None
    if abs(fill - planned.limit) * BPS <= REANCHOR_BPS * planned.limit:
        return None
    widest = planned.stop_loss_percent
    if parameters["bracket_mode"] != "fixed":
        widest = min(widest, parameters["sl_max"])
    return legs(fill, planned.take_profit_percent, widest)


def reach_probability(take_profit_bps: float, sigma1m_bps: float, minutes: float) -> float:
    """Return the chance that a driftless walk touches the target within `minutes`."""
    if minutes <= 0 or sigma1m_bps <= 0:
        return 0.0
    return math.erfc(take_profit_bps / sigma_horizon_bps(sigma1m_bps, minutes) / math.sqrt(2))
