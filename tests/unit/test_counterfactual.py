"""What another set would have made of stored rounds, and how sure that is."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from execution.domain import counterfactual
from execution.domain.counterfactual import Retrial, class_of, evidence_of, honesty_of
from execution.domain.decide import decide
from execution.domain.rounds import RoundInput
from signals import candidates as life
from signals.messages import Candidate
from signals.parameters.catalogue import PARAMETERS, validate
from signals.session import BUCKET_NS
from tests.unit.domain_builders import (
    GRACE_NS,
    K,
    a_candidate,
    a_quote,
    a_round,
    some_parameters,
    with_,
)


def at(k: int, symbol: str = "ABCD", **changes: Any) -> Candidate:
    quote = a_quote(ts_ns=(k + 1) * BUCKET_NS + GRACE_NS - 140_000_000)
    base = {"k": k, "b": K - 2, "candidate_id": f"2026-11-20-{symbol}-{K - 2}", "quote": quote}
    return a_candidate(symbol, **{**base, **changes})


def retrial(rounds: list[RoundInput], old: dict[str, Any], new: dict[str, Any], **fired: Any):
    repopulate = "C" in honesty_of([old], new).classes.values()
    again = Retrial(new=new, repopulate=repopulate, fired=fired.get("fired", {}))
    return list(again.rounds(rounds))


def recorded(rounds: list[RoundInput], p: dict[str, Any]) -> dict[int, frozenset[str]]:
    streaks: Any = {}
    found = {}
    for one in rounds:
        answer = decide(one, p, streaks)
        streaks = answer.streaks
        if answer.entries:
            found[one.k] = frozenset(e.candidate_id for e in answer.entries)
    return found


# --- classes --------------------------------------------------------------------------------------
def test_every_parameter_has_one_class() -> None:
    lists = (
        counterfactual.FEATURES,
        counterfactual.POPULATION,
        counterfactual.PATH,
        counterfactual.NO_DECISION,
    )
    names = [row.name for row in PARAMETERS]

    assert set().union(*lists) <= set(names)
    assert sum(map(len, lists)) == len(set().union(*lists))
    assert {class_of(name) for name in names} == {"A", "B", "C", "D", "-"}


@pytest.mark.parametrize(
    ("change", "badge", "said"),
    [
        ({"min_score": 30.0}, "exact", "decided again"),
        ({"ao_accel_rate": 1.0, "min_score": 30.0}, "at least", "ao_accel_rate"),
        ({"fast_period": 6, "ao_min_z": 2.0}, "refused", "--set fast_period=6 --set ao_min_z=2.0"),
        ({"max_trades_per_day": 2}, "by the day as it was", "max_trades_per_day"),
        ({"bucket_ttl": 1200}, "none", "bucket_ttl"),
    ],
)
def test_the_badge_is_that_of_the_least_certain_change(
    change: dict[str, Any], badge: str, said: str
) -> None:
    p = some_parameters()
    found = honesty_of([p], {**p, **change})

    assert found.badge == badge
    assert said in found.note
    assert set(found.classes) == set(change)


# --- thresholds of the decision -------------------------------------------------------------------
def test_the_same_set_fires_what_fired() -> None:
    p = some_parameters(confirm_buckets=2)
    rounds = [a_round(at(K + n), at(K + n, "EFGH", z=3.2), k=K + n) for n in range(3)]
    fired = recorded(rounds, p)

    answers = retrial(rounds, p, p, fired=fired)

    assert [len(a.fired) for a in answers] == [0, 1, 1]
    assert all(a.exact and not a.gained and not a.lost for a in answers)


def test_a_looser_threshold_gains_an_entry_and_what_follows_is_not_exact() -> None:
    p = some_parameters(min_score=60)
    rounds = [a_round(at(K + n), k=K + n) for n in range(3)]

    answers = retrial(rounds, p, {**p, "min_score": 45.0})

    assert [len(a.gained) for a in answers] == [1, 0, 0]  # then its symbol is busy
    assert [a.exact for a in answers] == [True, False, False]
    assert answers[1].records[at(K).candidate_id].primary_id == "S5"


def test_a_tighter_threshold_loses_the_entry_and_says_by_which_gate() -> None:
    p = some_parameters()
    rounds = [a_round(at(K), k=K)]

    (answer,) = retrial(rounds, p, {**p, "max_chase_percent": 0.5}, fired=recorded(rounds, p))

    assert answer.lost == (at(K).candidate_id,)
    assert answer.records[answer.lost[0]].primary_id == "S8"


# --- who is a candidate ---------------------------------------------------------------------------
def test_a_near_miss_becomes_a_candidate_under_looser_thresholds_and_lives_on() -> None:
    p = some_parameters(ao_min_z=5)
    rounds = [
        a_round(at(K, shadow=True, candidate_id="s-1"), k=K),
        a_round(at(K + 1, shadow=True, candidate_id="s-2", z=2.0), k=K + 1),
    ]
    new = validate({**p, "ao_min_z": 4.0, "confirm_buckets": 2, "min_score": 0})

    answers = retrial(rounds, p, new)

    assert [r.shadow for a in answers for r in a.records.values()] == [False, False]
    assert set(answers[1].records) == {"s-1"}  # one life, whatever the near misses were called
    assert answers[1].gained == ("s-1",)


def test_a_candidate_that_the_new_thresholds_would_not_bear_fires_no_more() -> None:
    p = some_parameters()
    rounds = [a_round(at(K), k=K)]

    (answer,) = retrial(rounds, p, {**p, "ao_min_z": 5.0}, fired=recorded(rounds, p))

    assert answer.lost == (at(K).candidate_id,)
    assert answer.records[answer.lost[0]].outcome == "shadow"


@given(z=st.floats(0, 10), x=st.floats(-5, 40), surge=st.floats(0, 20), flat=st.integers(0, 40))
def test_births_are_those_of_the_shards(z: float, x: float, surge: float, flat: int) -> None:
    p = some_parameters()
    limits = life.thresholds_of(p)
    one = at(K, z=z, x=x, surge=surge, flat_len=flat)

    expected = z >= limits.min_z and x >= limits.min_magnitude and surge >= limits.surge
    born = life.passes(evidence_of(one, p), limits)
    assert born == (expected and flat >= limits.min_flat)
    assert not life.passes(evidence_of(with_(one, jump_share=None), p), limits)


def test_a_birth_by_ratio_is_judged_by_the_ratio() -> None:
    p = {**some_parameters(), "ao_accel_mode": "ratio"}

    judged = evidence_of(at(K, x=12.0, accel=3.0), {**p, "ao_accel_lookback": 3})

    assert judged.accel == 12.0 / 3.0


def test_a_candidate_that_was_born_before_the_first_round_is_believed() -> None:
    p = some_parameters()
    rounds = [a_round(at(K, born_k=K - 3), k=K), a_round(at(K + 1, born_k=K - 3), k=K + 1)]

    first, second = retrial(rounds, p, {**p, "ao_min_z": 5.0})

    assert [r.shadow for a in (first, second) for r in a.records.values()] == [False, False]


# --- class B --------------------------------------------------------------------------------------
def test_the_oscillator_is_recomputed_where_buckets_are_kept_and_refused_where_only_a_tape_knows():
    p = some_parameters()

    assert honesty_of([p], {**p, "fast_period": 6}).refused
    kept = honesty_of([p], {**p, "fast_period": 6, "min_score": 30.0}, kept=True)
    assert (kept.badge, kept.reshapes, kept.repopulates) == ("recomputed", True, True)
    assert "candidates or near misses" in kept.note
    for name, value in (("lateness_grace_ms", 900), ("bar_price_source", "mid")):
        assert honesty_of([p], {**p, name: value, "fast_period": 6}, kept=True).refused
    assert not honesty_of([p], {**p, "bar_price_source": "vwap"}, kept=True).refused


def test_a_candidate_whose_buckets_are_gone_takes_no_part_and_is_not_called_lost() -> None:
    p = some_parameters()
    rounds = [a_round(at(K), at(K, "EFGH"), k=K)]
    stays = at(K, "EFGH", z=5.0)

    def reshape(c: Candidate, version: int, latched: Any) -> Candidate | None:
        return stays if c.symbol == "EFGH" else None

    again = Retrial(
        new=p, repopulate=True, reshape=reshape, fired={K: frozenset({at(K).candidate_id})}
    )
    (answer,) = again.rounds(rounds)

    assert answer.unknown == {at(K).candidate_id}
    assert list(answer.records) == [stays.candidate_id]
    assert answer.lost == ()


def test_the_burst_stays_latched_as_long_as_the_candidate_lives() -> None:
    p = some_parameters()
    rounds = [a_round(at(K), k=K), a_round(at(K + 1), k=K + 1)]
    seen = []

    def reshape(c: Candidate, version: int, latched: tuple[int, int] | None) -> Candidate:
        seen.append(latched)
        return with_(c, b=K - 1, flat_len=20)

    list(Retrial(new=p, repopulate=True, reshape=reshape, fired={}).rounds(rounds))

    assert seen == [None, (K - 1, 20)]
