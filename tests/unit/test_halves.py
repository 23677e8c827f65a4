"""A crowd decided by two gives what one gives, whatever becomes of the second."""

import msgspec
import numpy as np
import pytest

from execution.domain import halves
from execution.domain.decide import decide
from execution.domain.halves import Answer, Ask, SealedDecision, answer, decide_sealed
from execution.domain.records import decision_rows
from execution.domain.rounds import RoundInput, Streak
from execution.domain.sealing import LINK, canonical, packed_rows, seal
from execution.second import SecondHand
from tests.unit.domain_builders import K, a_round, some_parameters
from tradeplane.bench.hub import crowd

COUNT = 60
NAMES = {"inputs_ref": "sha256:1", "code": "rules:1"}
EASY = {
    "max_crowd_percent": 100.0,
    "confirm_buckets": 1,
    "min_score": 20.0,
    "use_market_gravity": False,
    "min_reach_prob": 0.0,
}


@pytest.fixture(autouse=True)
def _small_crowds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(halves, "CROWD", 10)


def a_crowd() -> RoundInput:
    names = crowd.universe()[:COUNT]
    found = crowd.candidates(names, K, np.random.default_rng(1), K - 2)
    bad = msgspec.structs.replace(found[-1], x=float("nan"))
    return a_round(*found[:-1], bad, universe=frozenset(names))


def decided(second: halves.Second | None, **parameters: float) -> SealedDecision:
    packed = msgspec.msgpack.encode(a_crowd())
    old = {f"{crowd.DAY}-{crowd.universe()[3]}-{K - 2}": Streak(k=K - 1, count=1, params_version=1)}
    p = some_parameters(**{**EASY, **parameters})
    return decide_sealed(packed, p, old, **NAMES, second=second)


def by_wire(ask: Ask) -> Answer:
    told = msgspec.msgpack.decode(msgspec.msgpack.encode(ask), type=Ask)
    return msgspec.msgpack.decode(msgspec.msgpack.encode(answer(told)), type=Answer)


@pytest.mark.parametrize("least", [20.0, 100.0])
def test_two_decide_what_one_decides(least: float) -> None:
    asked: list[Ask] = []

    def second(ask: Ask) -> object:
        asked.append(ask)
        return lambda: by_wire(ask)

    alone, both = decided(None, min_score=least), decided(second, min_score=least)  # type: ignore[arg-type]

    assert both == alone
    assert len(asked) == 1
    assert 0 < asked[0].first < COUNT
    assert bool(both.entries) is (least == 20.0), "among those who fire, ranks cross the parts"


def test_without_an_answer_the_first_does_it_all() -> None:
    assert decided(lambda ask: lambda: None) == decided(None)


def test_an_answer_is_taken_away_also_when_the_first_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """Left where it is, it would be read as the answer to the next round's question."""
    taken: list[bool] = []

    def fails(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(halves, "drafted", fails)
    with pytest.raises(ZeroDivisionError):
        decided(lambda _: lambda: taken.append(True))  # type: ignore[func-returns-value]

    assert taken == [True]


def test_a_few_are_decided_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(halves, "CROWD", COUNT + 1)

    def never(ask: Ask) -> object:
        raise AssertionError("asked")

    assert decided(never) == decided(None)  # type: ignore[arg-type]


def test_a_sealed_record_is_the_canonical_one_with_room_for_its_link() -> None:
    records = decide(a_crowd(), some_parameters(**EASY), {}).records

    sealed = seal(records, **NAMES)

    added = {"inputs_ref": "sha256:1", "code_version": "rules:1", "prev_record": "abc"}
    assert [one.head + b"abc" + one.tail for one in sealed] == [
        canonical({**record.fields(), **added}) for record in records
    ]
    assert all(one.head.endswith(LINK) for one in sealed)
    assert packed_rows(reversed(sealed)) == msgspec.msgpack.encode(decision_rows(records))


def test_the_second_process_answers_and_ends_with_its_input() -> None:
    hand = SecondHand(patience=1e6)
    try:
        assert decided(hand.ask) == decided(None)
        process = hand._process
        assert process is not None
        assert process.poll() is None, "it served"
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(timeout=30) == 0
        assert decided(hand.ask) == decided(None), "a new one is started"
    finally:
        hand.stop()


def test_a_second_that_dies_or_dawdles_costs_nothing_but_time() -> None:
    hand = SecondHand(patience=0.0)
    try:
        assert decided(hand.ask) == decided(None)
        assert hand._process is None, "the late one was let go"
    finally:
        hand.stop()
