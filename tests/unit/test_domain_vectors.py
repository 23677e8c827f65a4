"""Bracket, size, reach and score against the design's worked numbers, to 1e-9."""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from execution.domain.bracket import (
    Bracket,
    bracket,
    entry_limit,
    geometry_problem,
    legs,
    percents,
    reach_probability,
    reanchored,
    sigma_horizon_bps,
)
from execution.domain.prices import ceil_tick, decimal_of, floor_tick, ticks
from execution.domain.score import score
from execution.domain.sizing import fitted, size, with_slip
from tests.unit.domain_builders import some_parameters

VECTORS: dict[str, Any] = json.loads(
    (Path(__file__).parents[1] / "data" / "vectors_trigger.json").read_text()
)
EXACT = {"rel": 1e-9, "abs": 1e-9}
ASK, SIGNAL = Decimal("20.06"), Decimal("20.02")


def near(value: float) -> Any:
    return pytest.approx(value, **EXACT)


def the_bracket(**changes: object) -> Bracket:
    return bracket(ask=ASK, signal=SIGNAL, sigma1m_bps=25.0, parameters=some_parameters(**changes))


def test_the_bracket_equals_the_worked_example() -> None:
    j, found = VECTORS["J"], the_bracket()

    assert sigma_horizon_bps(25.0, 15) == near(j["sigma15_bps"])
    assert found.stop_loss_percent == near(j["sl_pct"])
    assert found.take_profit_percent == near(j["tp_pct"])
    assert found.limit == Decimal("20.08")
    assert found.take_profit == Decimal("20.85")
    assert found.stop_loss == Decimal("19.70")
    assert float((found.take_profit - found.limit) / found.risk) == pytest.approx(2.03, abs=0.005)


def test_the_size_equals_the_worked_example() -> None:
    k, found = VECTORS["K"], the_bracket()
    sized = size(
        equity=Decimal(k["equity"]),
        available_usd=Decimal(60_000),
        limit=found.limit,
        stop_loss=found.stop_loss,
        volume_5m=90_000,
        ask_size=1200,
        parameters=some_parameters(),
    )

    assert with_slip(found.limit, found.stop_loss, some_parameters()) == Decimal("0.42016")
    assert {name: float(sized.caps[name]) for name in k["caps"]} == near(k["caps"])
    assert sized.quantity == k["qty"]
    assert sized.quantity * found.limit == Decimal("5983.84")
    assert round(sized.planned_loss, 2) == Decimal("125.21")


@pytest.mark.parametrize(
    ("minutes", "name"), [(60, "reach60"), (330, "reach330"), (120, "reach120")]
)
def test_the_reach_equals_the_worked_example(minutes: int, name: str) -> None:
    target = the_bracket().take_profit_bps

    assert reach_probability(target, 25.0, minutes) == near(VECTORS["L"][name])


def test_the_printed_odds_of_four_percent() -> None:
    assert reach_probability(400, 25, 60) == pytest.approx(0.039, abs=5e-4)
    assert reach_probability(400, 25, 330) == pytest.approx(0.378, abs=5e-4)
    assert reach_probability(400, 8, 330) == pytest.approx(0.006, abs=5e-4)


def test_no_time_and_no_movement_reach_nothing() -> None:
    assert reach_probability(100, 25, 0) == 0
    assert reach_probability(100, 0, 60) == 0


def test_the_score_equals_the_worked_example() -> None:
    m, e = VECTORS["M"], VECTORS["E"]
    found = score(
        z=e["z"],
        accel=e["accel_L3"],
        surge=e["surge"],
        reach=VECTORS["L"]["reach120"],
        confidence=m["confidence"],
        cost_to_target=VECTORS["I"]["cost_to_target"],
        parameters=some_parameters(),
    )

    assert {name: found.parts[name] for name in m["features"]} == near(m["features"])
    assert found.parts["c"] == m["confidence"]
    assert found.base == near(m["base"])
    assert found.cost == near(m["cost_fraction"])
    assert found.final == near(m["final"])


def test_an_unknown_cost_counts_as_the_dearest_and_no_volume_scores_nothing() -> None:
    found = score(
        z=99, accel=99, surge=0.0, reach=1, confidence=1, cost_to_target=None,
        parameters=some_parameters(),
    )  # fmt: skip

    assert found.parts["v"] == 0.0
    assert (found.cost, found.final) == (1.0, found.base / 2)


# --- bracket ------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("changes", "sigma", "expected"),
    [
        ({"bracket_mode": "fixed"}, 25.0, (4.0, 2.0)),
        ({}, 1.0, (3.0, 0.8)),
        ({}, 100.0, (5.0, 2.5)),
        ({"bracket_mode": "volatility"}, 1.0, (1.6, 0.8)),
        ({"bracket_mode": "volatility", "reward_risk": 4.0}, 100.0, (10.0, 2.5)),
    ],
)
def test_the_percentages_by_mode(
    changes: dict[str, object], sigma: float, expected: tuple[float, float]
) -> None:
    assert percents(sigma, some_parameters(**changes)) == near(expected)


def test_the_limit_stays_near_ask_and_signal_and_inside_the_halt_band() -> None:
    p = some_parameters()

    assert entry_limit(Decimal("20.00"), Decimal("21.00"), None, p) == Decimal("20.03")
    assert entry_limit(Decimal("20.00"), Decimal("19.90"), None, p) == Decimal("19.95")
    assert entry_limit(Decimal("20.00"), Decimal("21.00"), Decimal("20.015"), p) == Decimal("20.01")


@pytest.mark.parametrize(
    ("prices", "word"),
    [
        (("20.08", "20.85", "19.70"), ""),
        (("20.08", "20.09", "20.07"), ""),
        (("20.08", "20.85", "20.08"), "at least a cent below"),
        (("20.08", "20.08", "19.70"), "at least a cent above"),
        (("20.08", "20.85", "0"), "not above zero"),
        (("20.085", "20.85", "19.70"), "not a whole tick"),
        (("0.9001", "0.9303", "0.8702"), ""),
    ],
)
def test_the_geometry_that_the_venue_takes(prices: tuple[str, str, str], word: str) -> None:
    problem = geometry_problem(*map(Decimal, prices))

    assert (word in problem) if word else problem == ""


def test_the_legs_move_to_a_real_fill_only_when_it_is_far_enough() -> None:
    planned, p = the_bracket(), some_parameters()

    assert reanchored(Decimal("20.09"), planned, p) is None
    assert reanchored(Decimal("20.00"), planned, p) == (Decimal("20.77"), Decimal("19.62"))
    assert reanchored(Decimal("20.00"), planned, some_parameters(reanchor_after_fill=False)) is None
    tight = some_parameters(sl_max=1.0, sl_min=0.5, reward_risk=4.0)
    assert reanchored(Decimal("20.00"), planned, tight) == (Decimal("20.77"), Decimal("19.80"))


# --- ticks --------------------------------------------------------------------------------------
def test_ticks_are_cents_from_one_dollar_on() -> None:
    assert (floor_tick(Decimal("20.089")), ceil_tick(Decimal("20.081"))) == (
        Decimal("20.08"),
        Decimal("20.09"),
    )
    assert floor_tick(Decimal("0.98765")) == Decimal("0.9876")
    assert ceil_tick(Decimal("20.08")) == Decimal("20.08")
    assert ticks(Decimal("20.46")) - ticks(Decimal("20.08")) == 3800


def test_a_price_between_the_finest_steps_is_no_tick() -> None:
    with pytest.raises(ValueError, match="not on the tick grid"):
        ticks(Decimal("0.98765"))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_finite_is_no_price(value: float) -> None:
    with pytest.raises(ValueError, match="not a price"):
        decimal_of(value)


def test_a_float_becomes_the_decimal_it_is_written_as() -> None:
    assert decimal_of(20.06) == Decimal("20.06")
    assert decimal_of(5) == Decimal(5)


# --- size ---------------------------------------------------------------------------------------
@given(
    equity=st.integers(1_000, 1_000_000),
    cash=st.integers(0, 1_000_000),
    cents=st.integers(200, 40_000),
    volume=st.integers(0, 1_000_000),
    ask_size=st.none() | st.integers(0, 100_000),
)
def test_the_size_never_exceeds_a_cap(
    equity: int, cash: int, cents: int, volume: int, ask_size: int | None
) -> None:
    limit = Decimal(cents) / 100
    _, stop = legs(limit, 4.0, 2.0)

    sized = size(
        equity=Decimal(equity),
        available_usd=Decimal(cash),
        limit=limit,
        stop_loss=stop,
        volume_5m=volume,
        ask_size=ask_size,
        parameters=some_parameters(),
    )

    assert all(sized.quantity <= cap for cap in sized.caps.values())
    assert sized.quantity + 1 > sized.caps[sized.binding]
    assert sized.planned_loss <= Decimal(equity) * Decimal("0.005")


def test_the_depth_is_no_cap_without_a_quote_or_when_it_is_switched_off() -> None:
    common: dict[str, Any] = {
        "equity": Decimal(30_000),
        "available_usd": Decimal(60_000),
        "limit": Decimal("20.08"),
        "stop_loss": Decimal("19.70"),
        "volume_5m": 90_000,
    }

    without = size(**common, ask_size=None, parameters=some_parameters())
    off = size(**common, ask_size=1, parameters=some_parameters(min_depth_multiple=0.0))

    assert "depth" not in without.caps
    assert "depth" not in off.caps


@pytest.mark.parametrize(
    ("left", "expected"),
    [("100", 100), ("99.5", 99), ("25", 25), ("24.9", 0), ("0", 0), ("-5", 0)],
)
def test_a_size_is_cut_to_the_risk_that_is_left_or_skipped(left: str, expected: int) -> None:
    assert fitted(100, Decimal(1), Decimal(left)) == expected
