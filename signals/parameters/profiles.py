"""Starting points: a profile is the defaults with some values changed.

There is deliberately no aggressive one. `quiet` fits large, quiet names on a tape of a few
symbols, where the defaults would never fire; it is for demonstration and tests.
"""

from signals.parameters.parameter import UnknownParameter
from signals.parameters.table import defaults

_PROFILES: dict[str, dict[str, object]] = {
    "research": {"alpaca_trading_mode": "shadow", "shadow_margin": 0.5},
    "careful": {"alpaca_trading_mode": "paper"},
    "small_live": {
        "alpaca_trading_mode": "live",
        "risk_per_trade_percent": 0.1,
        "max_notional_percent": 5.0,
    },
    "quiet": {
        "alpaca_trading_mode": "paper",
        # a candidate: small bursts after a short, loosely flat base
        "ao_min_magnitude_bps": 1.5,
        "ao_min_z": 1.5,
        "ao_accel_rate": 0.25,
        "min_5s_flatline_ao_buckets": 2,
        "flatline_ratio": 0.5,
        "vol_surge_multiplier": 1.2,
        "min_cumulative_ao_volume": 1000,
        "min_burst_trades": 5,
        "max_jump_share": 1.0,
        "max_synthetic_share": 0.9,
        # four symbols: no universe to speak of, every burst is a crowd
        "universe_min_price": 10.0,
        "universe_min_dollar_volume_20d": 0.0,
        "universe_include_etfs": True,
        "max_crowd_percent": 100.0,
        "min_idiosyncratic_share": 0.0,
        "luld_min_distance_percent": 0.0,
        # a narrow bracket that is really reached, and what it costs
        "bracket_mode": "fixed",
        "take_profit_percent": 0.25,
        "stop_loss_percent": 0.25,
        # legs hang on the limit: near the ask, else a fill at the ask is born at its stop
        "entry_limit_offset_bps": 2.0,
        "min_reach_prob": 0.0,
        "max_cost_to_target": 0.5,
        "vwap_require_above": False,
        "min_vwap_slope_bps": -100.0,
        "min_depth_multiple": 0.0,
        # fire soon and often
        "confirm_buckets": 1,
        "min_score": 5.0,
        "score_hysteresis": 0.0,
        "max_trades_per_day": 20,
        "max_trades_per_symbol_per_day": 20,
        "stop_after_take_profits": 0,
        "max_consecutive_losses": 50,
        "cooldown_after_trade_s": 30,
        "symbol_cooldown_s": 60,
        "risk_per_trade_percent": 0.1,
        "max_daily_loss_percent": 5.0,
    },
}


def profiles() -> tuple[str, ...]:
    """Return the names of the profiles."""
    return tuple(_PROFILES)


def profile(name: str) -> dict[str, object]:
    """Return the complete set of a profile.

    Raises:
        UnknownParameter: no such profile; the text tells which there are.
    """
    if name not in _PROFILES:
        raise UnknownParameter(f"unknown profile {name!r}; there are {', '.join(_PROFILES)}")
    return {**defaults(), **_PROFILES[name]}
