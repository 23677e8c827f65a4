"""Break-even, the trailing stop, no progress and the time stop: what the rule says."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from execution.domain.software_exits import (
    MOVE_PAUSE_NS,
    NOTHING,
    Action,
    Held,
    next_action,
    progress_r,
    wake_ns,
)
from tests.unit.domain_builders import END_NS, some_parameters

MINUTE = 60 * 10**9
OPENED = END_NS
SOFTWARE = {"exit_mode": "bracket_plus_software", "trailing_enabled": True}


def held(**changes: Any) -> Held:
    """The worked example of trigger 5.5: entry 20.08, one R is 38 cents."""
    base: dict[str, Any] = {
        "entry": Decimal("20.08"),
        "first_stop": Decimal("19.70"),
        "stop": Decimal("19.70"),
        "cost": Decimal("20.08") * Decimal("0.00138106"),
        "opened_ns": OPENED,
        "high": Decimal("20.20"),
        "price": Decimal("20.20"),
    }
    return Held(**{**base, **changes})


def after(minutes: float, position: Held, **parameters: Any) -> Action:
    p = some_parameters(**{**SOFTWARE, **parameters})
    return next_action(position, OPENED + round(minutes * MINUTE), p)


@pytest.mark.parametrize(
    ("high", "action"),
    [
        ("20.20", NOTHING),
        ("20.45", NOTHING),
        ("20.46", Action(stop=Decimal("20.11"))),
        ("20.70", Action(stop=Decimal("20.32"))),
    ],
)
def test_the_stop_follows_the_highs_of_the_worked_example(high: str, action: Action) -> None:
    assert after(1, held(high=Decimal(high), price=Decimal(high))) == action


def test_a_market_that_is_below_the_raised_stop_already_is_sold_at_once() -> None:
    fallen = held(high=Decimal("20.70"), price=Decimal("20.32"))

    assert after(1, fallen) == Action(leave="trail")
    assert after(1, replace(fallen, price=Decimal("20.33"))) == Action(stop=Decimal("20.32"))
    assert after(1, replace(fallen, price=None)) == Action(stop=Decimal("20.32"))


def test_two_moves_lie_ten_seconds_apart() -> None:
    now_ns = OPENED + MINUTE
    up = held(high=Decimal("20.70"), price=Decimal("20.70"))
    p = some_parameters(**SOFTWARE)

    early = replace(up, stop_moved_ns=now_ns - MOVE_PAUSE_NS + 1)
    ripe = replace(up, stop_moved_ns=now_ns - MOVE_PAUSE_NS)

    assert next_action(early, now_ns, p) == NOTHING
    assert next_action(ripe, now_ns, p) == Action(stop=Decimal("20.32"))


def test_a_step_of_less_than_a_tick_is_no_step() -> None:
    assert after(1, held(high=Decimal("20.70"), stop=Decimal("20.32"))) == NOTHING


@pytest.mark.parametrize(
    ("minutes", "high", "why"),
    [
        (29.99, "20.08", ""),
        (30, "20.08", "no_progress"),
        (30, "20.174", "no_progress"),
        (30, "20.175", ""),
        (119.99, "20.30", ""),
        (120, "20.30", "time_stop"),
        (120, "20.08", "time_stop"),
    ],
)
def test_a_dead_trade_and_an_old_one_are_left(minutes: float, high: str, why: str) -> None:
    assert after(minutes, held(high=Decimal(high), price=Decimal("20.10"))).leave == why


def test_an_unknown_high_raises_no_stop_and_proves_no_standstill() -> None:
    blind = held(high=None, price=None)

    assert after(60, blind) == NOTHING
    assert after(120, blind).leave == "time_stop"


def test_zero_switches_each_of_them_off() -> None:
    still = held(high=Decimal("20.08"))

    assert after(40, still, no_progress_minutes=0) == NOTHING
    assert after(500, still, no_progress_minutes=0, max_hold_minutes=0) == NOTHING
    assert after(1, held(high=Decimal("20.46")), breakeven_at_r=0.0) == NOTHING


def test_a_position_of_the_brackets_alone_is_never_touched() -> None:
    worst = held(high=Decimal("20.70"), price=Decimal("20.00"))

    assert after(500, worst, exit_mode="broker_bracket") == NOTHING
    assert wake_ns(worst, OPENED, some_parameters()) is None


def test_it_wakes_for_the_next_time_that_asks() -> None:
    p = some_parameters(**SOFTWARE)

    assert wake_ns(held(), OPENED, p) == OPENED + 30 * MINUTE
    assert wake_ns(held(), OPENED + 30 * MINUTE, p) == OPENED + 120 * MINUTE
    assert wake_ns(held(), OPENED + 120 * MINUTE, p) is None


def test_progress_is_in_units_of_the_first_risk() -> None:
    assert progress_r(held(price=Decimal("20.27"), stop=Decimal("20.11"))) == Decimal("0.5")
    assert progress_r(held(price=None)) is None
    assert progress_r(held(first_stop=Decimal("20.08"))) is None


@given(highs=st.lists(st.integers(1950, 2300), min_size=1, max_size=30))
def test_along_any_path_the_stop_only_rises_and_stays_below_the_market(highs: list[int]) -> None:
    p = some_parameters(**SOFTWARE, no_progress_minutes=0)
    position = held(high=None)
    for step, cents in enumerate(highs):
        price = Decimal(cents) / 100
        high = price if position.high is None else max(position.high, price)
        position = replace(position, high=high, price=price)
        action = next_action(position, OPENED + step * MOVE_PAUSE_NS, p)
        if action.leave:
            assert action.leave == "trail"
            return
        if action.stop is not None:
            assert position.stop < action.stop < price
            position = replace(
                position, stop=action.stop, stop_moved_ns=OPENED + step * MOVE_PAUSE_NS
            )
