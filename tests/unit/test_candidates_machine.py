"""The candidate state machine: births by T2–T9, ends by reason, every allowed change of state."""

import numpy as np
import pytest

from signals import candidates
from signals.candidates import TRANSITIONS, Evidence, Reason, State, Thresholds
from signals.parameters.catalogue import defaults

LIMITS = candidates.thresholds_of(defaults())
PERFECT = {
    "x": 12.0, "z": 4.5, "accel": 4.1, "flat_length": 12, "volume": 8700, "dollars": 174_600.0,
    "surge": 8.9, "burst_length": 3, "jump_share": 0.5, "trades": 40, "synthetic_share": 0.1,
}  # fmt: skip


def evidence(**changes: float) -> Evidence:
    return Evidence(**{**PERFECT, **changes})


def born(margin: float = 1.0, **changes: float) -> bool:
    return candidates.passes(evidence(**changes), LIMITS, margin)


def test_the_design_s_example_is_born() -> None:
    assert born()


@pytest.mark.parametrize(
    ("name", "passing", "failing"),
    [
        ("x", 8.0, 7.999),
        ("z", 3.0, 2.999),
        ("accel", 1.5, 1.499),
        ("flat_length", 12, 11),
        ("volume", 5000, 4999),
        ("dollars", 100_000.0, 99_999.0),
        ("surge", 3.0, 2.999),
        ("burst_length", 12, 13),
        ("jump_share", 0.7, 0.701),
        ("trades", 10, 9),
        ("synthetic_share", 0.7, 0.701),
    ],
)
def test_each_threshold_decides_alone(name: str, passing: float, failing: float) -> None:
    assert born(**{name: passing})
    assert not born(**{name: failing})


@pytest.mark.parametrize("name", ["x", "z", "accel", "jump_share", "surge", "dollars"])
def test_what_is_unknown_passes_nothing(name: str) -> None:
    assert not born(**{name: np.nan})
    assert not born(0.3, **{name: np.nan})


@pytest.mark.parametrize(
    ("name", "near"),
    [("x", 4.8), ("z", 1.8), ("surge", 1.8), ("burst_length", 20), ("jump_share", 1.0)],
)
def test_near_misses_reach_their_share_of_every_threshold(name: str, near: float) -> None:
    assert not born(**{name: near})
    assert born(LIMITS.margin, **{name: near})


def test_a_fall_is_no_burst_even_without_thresholds() -> None:
    none = LIMITS._replace(min_magnitude=0, min_z=0, accel_rate=0)

    assert not candidates.passes(evidence(x=-1.0), none)


def test_a_jump_in_one_bucket_passes_only_when_all_of_it_is_allowed() -> None:
    free = LIMITS._replace(max_jump=1.0)

    assert candidates.passes(evidence(jump_share=1.0), free)
    assert not candidates.passes(evidence(jump_share=1.2), free)


def ends(**changes: object) -> Reason:
    given = {
        "x": np.array([5.0]), "born_k": np.array([90]), "halted": np.array([False]),
        "gap": np.array([False]), "revised": np.array([False]), **changes,
    }  # fmt: skip
    return Reason(int(candidates.endings(100, limits=LIMITS, **given)[0]))


TRUE = np.array([True])


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, Reason.NONE),
        ({"x": np.array([0.0])}, Reason.MAGNITUDE),
        ({"x": np.array([np.nan])}, Reason.MAGNITUDE),
        ({"born_k": np.array([64])}, Reason.NONE),
        ({"born_k": np.array([63])}, Reason.AGE),
        ({"revised": TRUE}, Reason.REVISED),
        ({"gap": TRUE, "revised": TRUE}, Reason.GAP),
        ({"halted": TRUE, "gap": TRUE, "x": np.array([-1.0])}, Reason.HALT),
    ],
)
def test_candidates_end_by_reason(changes: dict, reason: Reason) -> None:
    assert ends(**changes) is reason


def test_the_words_are_those_of_the_message() -> None:
    words = {reason.word for reason in Reason} - {"none"}

    assert words == {"halt", "gap", "revised", "magnitude", "age"}


def rested(state: State, **changes: bool | int) -> State:
    flags = [bool(changes.get(name)) for name in ("warm", "suspended", "restarted", "quiet")]
    return State(candidates.rested(state, int(changes.get("until_k", 0)) <= 100, *flags))


@pytest.mark.parametrize(
    ("state", "changes", "expected"),
    [
        (State.WARMUP, {}, State.WARMUP),
        (State.WARMUP, {"warm": True}, State.IDLE),
        (State.WARMUP, {"warm": True, "quiet": True}, State.ARMED),
        (State.WARMUP, {"warm": True, "until_k": 101}, State.WARMUP),
        (State.IDLE, {"warm": True, "quiet": True}, State.ARMED),
        (State.IDLE, {}, State.WARMUP),
        (State.ARMED, {"warm": True}, State.IDLE),
        (State.ARMED, {"warm": True, "quiet": True}, State.ARMED),
        (State.ARMED, {"suspended": True, "warm": True}, State.SUSPENDED),
        (State.COOLING, {"warm": True, "until_k": 101}, State.COOLING),
        (State.COOLING, {"warm": True, "until_k": 100}, State.IDLE),
        (State.COOLING, {"warm": True, "restarted": True, "until_k": 101}, State.WARMUP),
        (State.SUSPENDED, {"suspended": True, "warm": True}, State.SUSPENDED),
        (State.SUSPENDED, {}, State.WARMUP),
        (State.CANDIDATE, {"suspended": True}, State.CANDIDATE),
    ],
)
def test_states_between_candidacies(state: State, changes: dict, expected: State) -> None:
    assert rested(state, **changes) is expected


@pytest.mark.parametrize("state", list(State))
def test_no_input_leads_outside_the_table(state: State) -> None:
    for bits in range(32):
        changes = {
            name: bool(bits >> i & 1)
            for i, name in enumerate(("warm", "suspended", "restarted", "quiet"))
        }
        until_k = 101 if bits & 16 else 0
        found = rested(state, until_k=until_k, **changes)

        assert found is state or found in TRANSITIONS[state], (state, found)


def test_seconds_become_whole_buckets() -> None:
    limits = candidates.thresholds_of({**defaults(), "candidate_cooldown_s": 181})

    assert limits.cooldown == 37
    assert isinstance(limits, Thresholds)
