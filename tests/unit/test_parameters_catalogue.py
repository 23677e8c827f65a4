"""The table of parameters, its profiles, and what makes a set valid."""

import re
from pathlib import Path
from typing import Any

import pytest

from signals.parameters.catalogue import (
    BY_NAME,
    PARAMETERS,
    BadValue,
    InvalidParameters,
    ParameterError,
    UnknownParameter,
    advice,
    defaults,
    parse_assignment,
    profile,
    profiles,
    reference_markdown,
    validate,
)

ROOT = Path(__file__).resolve().parents[2]
OWNERS_18 = [
    "alpaca_trading_mode", "ao_accel_lookback", "ao_accel_rate", "aoHistoryBuckets",
    "bucket_ttl", "fast_period", "flatline_ratio", "letters_per_shard",
    "max_vwap_stretch_percent", "min_5s_flatline_ao_buckets", "min_cumulative_ao_volume",
    "slow_period", "smooth_period", "use_market_gravity", "use_spread_liquidity",
    "use_vwap_alignment", "vol_floor", "vol_surge_multiplier",
]  # fmt: skip


def errors_of(**changes: object) -> list[str]:
    """The reasons why the defaults with these changes are refused."""
    with pytest.raises(InvalidParameters) as refused:
        validate({**defaults(), **changes})
    return refused.value.errors


def test_the_owners_eighteen_come_first_and_are_spelled_as_written() -> None:
    assert [row.name for row in PARAMETERS[:18]] == OWNERS_18


def test_no_name_occurs_twice() -> None:
    assert len(BY_NAME) == len(PARAMETERS)


def test_the_defaults_are_valid_and_typed() -> None:
    assert validate({}) == defaults()
    for row in PARAMETERS:
        assert row.typed(row.default) == row.default
        assert type(row.typed(row.default)) is type(row.default)


@pytest.mark.parametrize("name", profiles())
def test_every_profile_is_a_complete_valid_set(name: str) -> None:
    assert validate(profile(name)) == profile(name)


def test_a_profile_gives_fresh_values() -> None:
    taken: Any = profile("quiet")

    taken["universe_exclude"].clear()

    assert profile("quiet")["universe_exclude"]


def test_an_unknown_profile_is_named_with_those_there_are() -> None:
    with pytest.raises(UnknownParameter, match="'loud'; there are research, careful"):
        profile("loud")


@pytest.mark.parametrize("row", PARAMETERS, ids=lambda row: row.name)
def test_a_value_at_its_bound_is_taken_and_one_beyond_is_refused_by_name(row: Any) -> None:
    if row.kind not in ("int", "float"):
        with pytest.raises(BadValue, match=row.name):
            row.typed(object())
        return
    step = 1 if row.kind == "int" else 1e-6

    assert row.typed(row.low) == row.low
    assert row.typed(row.high) == row.high
    for beyond in (row.low - step, row.high + step):
        with pytest.raises(BadValue, match=rf"{row.name} must be between"):
            row.typed(beyond)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), True, "3", None, [1]])
def test_a_number_is_a_finite_number(bad: object) -> None:
    with pytest.raises(BadValue, match="ao_accel_rate must be a number"):
        BY_NAME["ao_accel_rate"].typed(bad)


def test_a_whole_number_may_come_as_a_float_but_not_as_a_fraction() -> None:
    assert BY_NAME["fast_period"].typed(5.0) == 5
    with pytest.raises(BadValue, match="whole number"):
        BY_NAME["fast_period"].typed(5.5)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("fast_period=7", ("fast_period", 7)),
        ("ao_accel_rate = 2", ("ao_accel_rate", 2.0)),
        ("use_margin=true", ("use_margin", True)),
        ("use_margin=off", ("use_margin", False)),
        ("oscillator_mode=awesome", ("oscillator_mode", "awesome")),
        ("universe_exclude=otc, warrants", ("universe_exclude", ["warrants", "otc"])),
        ("universe_exclude=", ("universe_exclude", [])),
    ],
)
def test_an_assignment_is_typed_by_the_table(text: str, expected: tuple[str, object]) -> None:
    assert parse_assignment(text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("fast_perod=7", "unknown parameter 'fast_perod'; did you mean fast_period?"),
        ("AOHISTORYBUCKETS=7", "did you mean aoHistoryBuckets?"),
        ("zzzzzzzzz=7", "unknown parameter 'zzzzzzzzz'"),
        ("fast_period", "expected name=value, not 'fast_period'"),
        ("fast_period=soon", "fast_period must be a number, not 'soon'"),
        ("fast_period=nan", "fast_period must be a number"),
        ("use_margin=perhaps", "use_margin must be true or false, not 'perhaps'"),
        ("oscillator_mode=loud", "oscillator_mode must be one of accelerator, awesome"),
        ("universe_exclude=cats", "universe_exclude knows"),
    ],
)
def test_a_bad_assignment_gives_one_line_that_names_it(text: str, message: str) -> None:
    with pytest.raises(ParameterError, match=re.escape(message)) as refused:
        parse_assignment(text)
    assert "\n" not in str(refused.value)


CROSS = [
    ("fast_period slow_period", {"fast_period": 34}),
    ("smooth_period slow_period", {"smooth_period": 35}),
    ("smooth_period oscillator_mode", {"smooth_period": 1}),
    ("ao_accel_lookback max_burst_buckets", {"ao_accel_lookback": 13}),
    (
        "aoHistoryBuckets min_5s_flatline_ao_buckets max_burst_buckets ao_accel_lookback",
        {"aoHistoryBuckets": 26},
    ),
    (
        "ao_accel_lookback aoHistoryBuckets",
        {"aoHistoryBuckets": 12, "ao_accel_lookback": 12, "min_5s_flatline_ao_buckets": 0},
    ),
    ("ao_accel_rate ao_accel_mode", {"ao_accel_mode": "ratio", "ao_accel_rate": 1.0}),
    ("bucket_ttl aoHistoryBuckets sigma_window", {"bucket_ttl": 300}),
    ("sl_min sl_max", {"sl_min": 2.6}),
    ("sl_max tp_max", {"sl_max": 5.0}),
    ("tp_min tp_max", {"tp_min": 5.1}),
    ("reward_risk sl_max tp_min", {"reward_risk": 1.1}),
    ("universe_min_price universe_max_price", {"universe_min_price": 500.0}),
    ("max_cost_to_target tp_min universe_min_price", {"max_cost_to_target": 0.06}),
    (
        "max_cost_to_target take_profit_percent universe_min_price",
        {"bracket_mode": "fixed", "take_profit_percent": 0.5},
    ),
    (
        "risk_per_trade_percent max_daily_loss_percent",
        {"risk_per_trade_percent": 2.0},
    ),
    ("hard_flatten_min flatten_min_before_close", {"hard_flatten_min": 10}),
    (
        "flatten_min_before_close entry_cutoff_min_before_close",
        {"flatten_min_before_close": 45},
    ),
    (
        "entry_cutoff_min_before_close entry_start_delay_s",
        {"entry_cutoff_min_before_close": 205},
    ),
    ("lateness_grace_ms decision_deadline_ms", {"lateness_grace_ms": 1500}),
    ("decision_deadline_ms max_signal_age_ms", {"decision_deadline_ms": 3500}),
    ("conf_weight_gravity conf_weight_vwap", {"conf_weight_vwap": 0.26}),
    ("score_weight_z score_weight_confidence", {"score_weight_z": 0.24}),
    (
        "alpaca_trading_mode kill_switch",
        {"alpaca_trading_mode": "live", "kill_switch": "pause"},
    ),
]


@pytest.mark.parametrize(("fields", "changes"), CROSS, ids=[fields for fields, _ in CROSS])
def test_two_parameters_that_disagree_are_refused_naming_both(
    fields: str, changes: dict[str, object]
) -> None:
    errors = errors_of(**changes)

    assert any(all(field in error for field in fields.split()) for error in errors), errors


NEIGHBORS = [
    {"fast_period": 33},
    {"smooth_period": 34},
    {"smooth_period": 1, "oscillator_mode": "awesome"},
    {"ao_accel_lookback": 12},
    {"aoHistoryBuckets": 27},
    {"ao_accel_mode": "ratio", "ao_accel_rate": 1.01},
    {"bucket_ttl": 730},
    {"sl_min": 2.5},
    {"sl_max": 4.9},
    {"tp_min": 5.0},
    {"reward_risk": 1.2},
    {"max_cost_to_target": 0.2 / 3 + 1e-9},
    {"risk_per_trade_percent": 1.5},
    {"hard_flatten_min": 9},
    {"flatten_min_before_close": 44},
    {"entry_cutoff_min_before_close": 204},
    {"lateness_grace_ms": 1499},
    {"decision_deadline_ms": 3499},
    {"conf_weight_vwap": 0.24, "conf_weight_gravity": 0.26},
    {"alpaca_trading_mode": "live"},
]


@pytest.mark.parametrize("changes", NEIGHBORS, ids=lambda changes: " ".join(changes))
def test_the_last_value_that_agrees_is_taken(changes: dict[str, object]) -> None:
    assert validate({**defaults(), **changes}) == {**defaults(), **changes}


def test_a_set_is_refused_with_every_reason_at_once() -> None:
    errors = errors_of(fast_period=1, slow_perod=3, use_margin=1)

    assert len(errors) == 3


def test_advice_warns_about_sets_that_are_allowed_but_probably_not_meant() -> None:
    loud = {**defaults(), "max_trades_per_day": 7, "concurrent_trading": True}

    assert advice(defaults()) == []
    assert "max_daily_loss_percent" in advice(loud)[0]
    assert any("max_total_exposure_percent" in line for line in advice(loud))
    assert any("max_open_risk_percent" in x for x in advice({**loud, "risk_per_trade_percent": 1}))


def test_the_reference_page_is_up_to_date() -> None:
    page = ROOT / "docs" / "parameters.md"

    assert page.read_text(encoding="utf-8") == reference_markdown(), (
        "run: script/manage parameters --write-docs"
    )
