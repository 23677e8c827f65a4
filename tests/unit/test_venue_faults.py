"""The fault plan: read from a file, the same every time, and nothing but what it says."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from execution.venue.faults import (
    KINDS,
    FaultPlan,
    FaultyStream,
    Rule,
    described,
    plan_json,
)
from execution.venue.options import VenueError


def updates(count: int) -> list[dict[str, int]]:
    return [{"sequence": n} for n in range(count)]


def passed(plan: FaultPlan, count: int = 6) -> list[int]:
    sent, _ = FaultyStream(plan).pass_on(updates(count), 0)
    return [update["sequence"] for update in sent]


def test_the_same_seed_makes_the_same_faults() -> None:
    rules = (Rule(do="http_503", rate=0.3), Rule(do="http_429", rate=0.3))

    def asked(seed: int) -> list[str]:
        plan = FaultPlan(rules=rules, seed=seed)
        found = [plan.request("GET", "/v2/orders", 0) for _ in range(60)]
        return [rule.do if rule else "" for rule in found]

    assert asked(4) == asked(4)
    assert asked(4) != asked(5)
    assert {"", "http_503", "http_429"} == set(asked(4))


def test_an_nth_rule_fires_once_on_that_occasion() -> None:
    plan = FaultPlan(rules=(Rule(do="http_503", on="POST /v2/orders", nth=2),))

    fired = [plan.request("POST", "/v2/orders", 0) is not None for _ in range(4)]
    other = plan.request("GET", "/v2/orders", 0)

    assert fired == [False, True, False, False]
    assert other is None
    assert plan.injected == {"http_503": 1}


def test_a_rule_keeps_to_its_hours_and_a_healed_plan_is_silent() -> None:
    plan = FaultPlan(rules=(Rule(do="http_500", rate=1.0, from_ns=10, until_ns=20),))

    found = [plan.request("GET", "/", now) is not None for now in (9, 10, 19, 20)]
    plan.heal()

    assert found == [False, True, True, False]
    assert plan.request("GET", "/", 12) is None


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("drop", [0, 2, 3, 4, 5]),
        ("duplicate", [0, 1, 1, 2, 3, 4, 5]),
        ("reorder", [0, 2, 1, 3, 4, 5]),
        ("silence", [0]),
    ],
)
def test_the_stream_loses_doubles_swaps_and_falls_silent(kind: str, expected: list[int]) -> None:
    assert passed(FaultPlan(rules=(Rule(do=kind, nth=2),))) == expected


def test_a_cut_comes_after_its_event() -> None:
    sent, cut = FaultyStream(FaultPlan(rules=(Rule(do="close", nth=1),))).pass_on(updates(2), 0)

    assert (len(sent), cut) == (2, True)


@given(st.integers(0, 10**6), st.integers(1, 40))
def test_a_stream_without_loss_brings_every_event(seed: int, count: int) -> None:
    rules = (Rule(do="duplicate", rate=0.3), Rule(do="reorder", rate=0.3))
    stream = FaultyStream(FaultPlan(rules=rules, seed=seed))

    sent, _ = stream.pass_on(updates(count), 0)
    sent += stream.flush()

    assert {update["sequence"] for update in sent} == set(range(count))


def test_a_plan_is_read_from_its_file(tmp_path) -> None:
    plan = FaultPlan(rules=(Rule(do="bust", nth=1, delay_ms=50),), seed=9)
    path = tmp_path / "plan.json"
    path.write_text(plan_json(plan))

    read = FaultPlan.load(path)

    assert (read.rules, read.seed) == (plan.rules, 9)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "plan.json"),
        ('{"rules": [{"do": "explode", "nth": 1}]}', "no such fault: explode"),
        ('{"rules": [{"do": "bust"}]}', "never fires"),
        ('{"rules": [{"do": "bust", "rate": 2}]}', "rate from 0 to 1"),
        ('{"rules": [{"do": "bust", "nth": 1, "oops": 1}]}', "oops"),
    ],
)
def test_a_plan_that_makes_no_sense_is_one_line(tmp_path, text: str, said: str) -> None:
    path = tmp_path / "plan.json"
    path.write_text(text)

    with pytest.raises(VenueError, match=said) as caught:
        FaultPlan.load(path)

    assert "\n" not in str(caught.value)


def test_a_missing_plan_is_named(tmp_path) -> None:
    with pytest.raises(VenueError, match=r"none\.json"):
        FaultPlan.load(tmp_path / "none.json")


def test_every_kind_is_described() -> None:
    assert len(described().splitlines()) == len(KINDS)
