"""When a much better candidate may push the weakest position out, and when not."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from execution.domain.decide import decide
from execution.domain.rounds import Exposure, OpenPosition, RoundDecision
from tests.unit.domain_builders import END_NS, a_candidate, a_round, some_parameters

MINUTE = 60 * 10**9
FULL = {"concurrent_trading": True, "max_concurrent_positions": 2, "max_trades_per_day": 9,
        "replace_weaker": True}  # fmt: skip


def a_position(symbol: str, score: float = 30.0, **changes: Any) -> Exposure:
    base = {"opened_ns": END_NS - 10 * MINUTE, "score": score, "progress_r": 0.25,
            "round_trip_bps": 13.8}  # fmt: skip
    return Exposure(
        symbol=symbol,
        quantity=10,
        entry=Decimal(50),
        stop=Decimal(49),
        position=OpenPosition(**{**base, **changes}),
    )


def decided(*exposures: Exposure, round_: dict[str, Any] | None = None, **p: Any) -> RoundDecision:
    """The worked candidate (52.1) before two full slots."""
    inputs = a_round(a_candidate(), exposures=exposures, **(round_ or {}))
    return decide(inputs, some_parameters(**{**FULL, **p}), {})


def leaves(decision: RoundDecision) -> str:
    return decision.replacement.leaves if decision.replacement else ""


def test_the_weakest_makes_room_and_the_record_says_so() -> None:
    decision = decided(a_position("WEAK", 30.0), a_position("GOOD", 36.0))

    assert leaves(decision) == "WEAK"
    assert decision.entries == ()
    record = decision.records[0]
    assert record.primary_id == "P1"
    assert "WEAK makes room: entered with 30.0, it stands at +0.25 R" in record.primary_reason
    assert decision.replacement is not None
    assert decision.replacement.candidate_id == record.candidate_id


@pytest.mark.parametrize(
    ("changes", "allowed"),
    [
        ({"opened_ns": END_NS - 10 * MINUTE}, True),
        ({"opened_ns": END_NS - 10 * MINUTE + 1}, False),
        ({"progress_r": 0.25}, True),
        ({"progress_r": 0.2501}, False),
        ({"progress_r": -0.25}, True),
        ({"progress_r": -0.2501}, False),
        ({"progress_r": None}, False),
        ({"score": 37.0}, True),
        ({"score": 37.3}, False),
        ({"round_trip_bps": 38.72}, True),
        ({"round_trip_bps": 38.74}, False),
    ],
)
def test_each_condition_on_both_sides(changes: dict[str, Any], allowed: bool) -> None:
    score = changes.pop("score", 30.0)

    decision = decided(a_position("WEAK", score, **changes), a_position("GOOD", 40.0))

    assert leaves(decision) == ("WEAK" if allowed else "")


@pytest.mark.parametrize(("minutes", "allowed"), [(60, True), (59.99, False)])
def test_at_most_once_an_hour(minutes: float, allowed: bool) -> None:
    last_ns = END_NS - round(minutes * MINUTE)

    decision = decided(
        a_position("WEAK"), a_position("GOOD"), round_={"last_replacement_ns": last_ns}
    )

    assert bool(decision.replacement) is allowed


def test_it_is_off_by_default_and_with_one_slot() -> None:
    pair = (a_position("WEAK"), a_position("GOOD"))

    assert decided(*pair, replace_weaker=False).replacement is None
    assert decided(a_position("WEAK"), concurrent_trading=False).replacement is None


def test_with_a_free_slot_it_enters_and_nobody_leaves() -> None:
    decision = decided(a_position("WEAK"))

    assert [entry.symbol for entry in decision.entries] == ["ABCD"]
    assert decision.replacement is None


def test_a_cap_that_would_still_be_closed_keeps_everybody() -> None:
    rich = replace(a_position("GOOD", 40.0), quantity=400)

    assert decided(a_position("WEAK"), rich, max_total_exposure_percent=60.0).replacement is None


def test_a_position_that_leaves_already_makes_no_room() -> None:
    going = replace(a_position("WEAK"), position=None)

    assert leaves(decided(going, a_position("GOOD", 31.0))) == "GOOD"


def test_only_the_best_candidate_replaces() -> None:
    inputs = a_round(
        a_candidate("AAAA"), a_candidate("ZZZZ", z=6.0),
        exposures=(a_position("WEAK"), a_position("GOOD")),
    )  # fmt: skip

    decision = decide(inputs, some_parameters(**FULL), {})

    assert decision.replacement is not None
    assert decision.replacement.enters == "ZZZZ"
