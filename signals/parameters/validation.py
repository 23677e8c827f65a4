"""Checks a whole set of parameters: every value alone, then every pair that must agree."""

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from signals.parameters.parameter import InvalidParameters, ParameterError, UnknownParameter
from signals.parameters.table import BY_NAME, PARAMETERS, defaults

SHORTEST_SESSION_MIN = 210  # a half day: 09:30 to 13:00
TICK_USD = 0.01
_CONF_WEIGHTS = tuple(f"conf_weight_{part}" for part in ("gravity", "futures", "spread", "vwap"))
_SCORE_WEIGHTS = tuple(
    f"score_weight_{part}" for part in ("z", "accel", "volume", "reach", "confidence")
)


def validate(values: Mapping[str, object]) -> dict[str, object]:
    """Return the complete, typed set; a name that is missing gets its default.

    Raises:
        InvalidParameters: with every reason; a reason about two fields names both.
    """
    complete, errors = _typed(values)
    if not errors:
        errors = _disagreements(complete)
    if errors:
        raise InvalidParameters(errors)
    return complete


def advice(values: Mapping[str, object]) -> list[str]:
    """Return warnings about a valid set: allowed, but probably not meant."""
    p: Mapping[str, Any] = values
    found = []
    if p["max_trades_per_day"] * p["risk_per_trade_percent"] > 2 * p["max_daily_loss_percent"]:
        found.append(
            "max_trades_per_day × risk_per_trade_percent is over twice max_daily_loss_percent: "
            "the daily stop will bind long before the number of trades"
        )
    slots = p["max_concurrent_positions"] if p["concurrent_trading"] else 1
    if slots * p["risk_per_trade_percent"] > p["max_open_risk_percent"]:
        found.append(
            "max_concurrent_positions × risk_per_trade_percent exceeds max_open_risk_percent: "
            "later positions will be smaller"
        )
    if slots * p["max_notional_percent"] >= p["max_total_exposure_percent"]:
        found.append(
            "max_concurrent_positions × max_notional_percent reaches max_total_exposure_percent: "
            "the exposure cap will bind"
        )
    if p["stop_type"] != "stop":
        found.append(
            "stop_type stop_limit: after a gap through its limit (stop_slip_bps below the stop) "
            "the broker sells nothing; then the hub sells by itself, while it lives"
        )
    return found


def parse_assignment(text: str) -> tuple[str, object]:
    """Return (name, typed value) of a `name=value`.

    Raises:
        UnknownParameter: no such name; the text tells the nearest one.
        ParameterError: no `=`, or a value of the wrong type or out of range.
    """
    name, separator, value = text.partition("=")
    name = name.strip()
    if not separator:
        raise ParameterError(f"expected name=value, not {text!r}")
    if name not in BY_NAME:
        raise UnknownParameter(unknown(name))
    return name, BY_NAME[name].parsed(value)


def unknown(name: str) -> str:
    """Return the one line about a name that is not in the catalogue."""
    lowered = {known.lower(): known for known in BY_NAME}
    near = get_close_matches(name.lower(), lowered, n=1, cutoff=0.5)
    hint = f"; did you mean {lowered[near[0]]}?" if near else ""
    return f"unknown parameter {name!r}{hint}"


def _typed(values: Mapping[str, object]) -> tuple[dict[str, object], list[str]]:
    errors = [unknown(name) for name in values if name not in BY_NAME]
    complete = defaults()
    for row in PARAMETERS:
        if row.name in values:
            try:
                complete[row.name] = row.typed(values[row.name])
            except ParameterError as exc:
                errors.append(str(exc))
    return complete, errors


def _disagreements(values: Mapping[str, object]) -> list[str]:
    p: Mapping[str, Any] = values
    return [*_oscillator(p), *_bracket(p), *_risk(p), *_times(p), *_weights(p)]


def _oscillator(p: Mapping[str, Any]) -> list[str]:
    errors = []
    fast, slow, smooth = p["fast_period"], p["slow_period"], p["smooth_period"]
    lookback, history, burst = p["ao_accel_lookback"], p["aoHistoryBuckets"], p["max_burst_buckets"]
    if fast >= slow:
        errors.append(f"fast_period ({fast}) must be smaller than slow_period ({slow})")
    if smooth > slow:
        errors.append(f"smooth_period ({smooth}) must be at most slow_period ({slow})")
    if smooth == 1 and p["oscillator_mode"] == "accelerator":
        errors.append(
            "smooth_period (1) makes the Accelerator zero everywhere: "
            "raise it or change oscillator_mode (accelerator)"
        )
    if lookback > history - 1:
        errors.append(f"ao_accel_lookback ({lookback}) must be below aoHistoryBuckets ({history})")
    if lookback > burst:
        errors.append(f"ao_accel_lookback ({lookback}) must be at most max_burst_buckets ({burst})")
    need = p["min_5s_flatline_ao_buckets"] + burst + lookback
    if history < need:
        errors.append(
            f"aoHistoryBuckets ({history}) must hold min_5s_flatline_ao_buckets + "
            f"max_burst_buckets + ao_accel_lookback ({need})"
        )
    if p["ao_accel_mode"] == "ratio" and p["ao_accel_rate"] <= 1:
        errors.append(
            f"ao_accel_rate ({p['ao_accel_rate']:g}) must be above 1 when ao_accel_mode is ratio"
        )
    ttl = 5 * max(history + slow + smooth - 2, p["sigma_window"] + burst + 2) + 60
    if p["bucket_ttl"] < ttl:
        errors.append(
            f"bucket_ttl ({p['bucket_ttl']} s) must be at least {ttl} s to outlive "
            "aoHistoryBuckets with slow_period and smooth_period, and sigma_window"
        )
    return errors


def _bracket(p: Mapping[str, Any]) -> list[str]:
    errors = []
    if p["sl_min"] > p["sl_max"]:
        errors.append(f"sl_min ({p['sl_min']:g} %) must be at most sl_max ({p['sl_max']:g} %)")
    if p["sl_max"] >= p["tp_max"]:
        errors.append(f"sl_max ({p['sl_max']:g} %) must be below tp_max ({p['tp_max']:g} %)")
    if p["tp_min"] > p["tp_max"]:
        errors.append(f"tp_min ({p['tp_min']:g} %) must be at most tp_max ({p['tp_max']:g} %)")
    widest = p["reward_risk"] * p["sl_max"]
    if p["bracket_mode"] == "hybrid" and widest < p["tp_min"]:
        errors.append(
            f"reward_risk × sl_max ({widest:g} %) must reach tp_min ({p['tp_min']:g} %), "
            "else the target is always clamped"
        )
    if p["stop_type"] == "stop_limit" and p["stop_slip_bps"] == 0:
        errors.append(
            "stop_slip_bps (0) must be above 0 when stop_type is stop_limit: so far below the stop "
            "lies the limit"
        )
    if p["universe_min_price"] >= p["universe_max_price"]:
        errors.append(
            f"universe_min_price ({p['universe_min_price']:g} USD) must be below "
            f"universe_max_price ({p['universe_max_price']:g} USD)"
        )
    return errors + _affordable_tick(p)


def _affordable_tick(p: Mapping[str, Any]) -> list[str]:
    """A spread of one tick on the cheapest stock must fit into the cost that is allowed."""
    field, target = {
        "fixed": ("take_profit_percent", p["take_profit_percent"]),
        "hybrid": ("tp_min", p["tp_min"]),
        "volatility": ("reward_risk × sl_min", p["reward_risk"] * p["sl_min"]),
    }[p["bracket_mode"]]
    allowed_bps = p["max_cost_to_target"] * target * 100
    tick_bps = 1e4 * TICK_USD / p["universe_min_price"]
    if allowed_bps >= tick_bps - 1e-9:
        return []
    return [
        f"max_cost_to_target × {field} ({allowed_bps:.2f} bps) must cover one tick at "
        f"universe_min_price ({tick_bps:.2f} bps)"
    ]


def _risk(p: Mapping[str, Any]) -> list[str]:
    errors = []
    if p["risk_per_trade_percent"] > p["max_daily_loss_percent"]:
        errors.append(
            f"risk_per_trade_percent ({p['risk_per_trade_percent']:g} %) must be at most "
            f"max_daily_loss_percent ({p['max_daily_loss_percent']:g} %)"
        )
    if p["alpaca_trading_mode"] == "live" and p["kill_switch"] != "none":
        errors.append(f"alpaca_trading_mode (live) needs kill_switch none, not {p['kill_switch']}")
    return errors


def _times(p: Mapping[str, Any]) -> list[str]:
    errors = []
    hard, flatten = p["hard_flatten_min"], p["flatten_min_before_close"]
    cutoff, delay_s = p["entry_cutoff_min_before_close"], p["entry_start_delay_s"]
    if hard >= flatten:
        errors.append(
            f"hard_flatten_min ({hard}) must be below flatten_min_before_close ({flatten})"
        )
    if flatten >= cutoff:
        errors.append(
            f"flatten_min_before_close ({flatten}) must be below "
            f"entry_cutoff_min_before_close ({cutoff})"
        )
    if cutoff + delay_s / 60 >= SHORTEST_SESSION_MIN:
        errors.append(
            f"entry_cutoff_min_before_close ({cutoff} min) + entry_start_delay_s ({delay_s} s) "
            f"must leave time in the shortest session ({SHORTEST_SESSION_MIN} min)"
        )
    grace, deadline = p["lateness_grace_ms"], p["decision_deadline_ms"]
    if grace + 300 >= deadline:
        errors.append(
            f"lateness_grace_ms ({grace}) + 300 must be below decision_deadline_ms ({deadline})"
        )
    if deadline >= p["max_signal_age_ms"]:
        errors.append(
            f"decision_deadline_ms ({deadline}) must be below "
            f"max_signal_age_ms ({p['max_signal_age_ms']})"
        )
    return errors


def _weights(p: Mapping[str, Any]) -> list[str]:
    errors = []
    for names in (_CONF_WEIGHTS, _SCORE_WEIGHTS):
        total = sum(p[name] for name in names)
        if abs(total - 1) > 1e-6:
            errors.append(f"{' + '.join(names)} must be 1, not {total:g}")
    return errors
