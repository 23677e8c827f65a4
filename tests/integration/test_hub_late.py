"""What comes too late for its round is recorded, counts for the hash, and never fires in it."""

import msgspec
import pytest

from execution.domain.records import candidate_rows
from execution.hub.finish import candidates_hash
from execution.hub.intake import Intake
from execution.models import Decision, Order, Round, RoundState
from execution.selectors import duplicates
from execution.services import rounds
from signals.digest import digest
from signals.messages import Candidate, Gravity, IndexBucket, Report
from tests.fakes.desk import Bench
from tests.unit.domain_builders import K, a_candidate, with_

pytestmark = [pytest.mark.django_db, pytest.mark.db]


def a_report(*candidates: Candidate, shard: int = 1, k: int = K, epoch: int = 1, **changes):
    base = {
        "run": "run-1", "shard": shard, "epoch": epoch, "seq": k, "k": k, "stop": None,
        "params_version": 1, "assignment": shard, "n_symbols": 10, "n_fresh": 10, "prints": 5,
        "late_prints": 0, "feed_lag_ms": 0.0, "gravity": Gravity(), "candidates": list(candidates),
    }  # fmt: skip
    return Report(**{**base, **changes})


def late(bench: Bench, *reports: Report) -> bool:
    return rounds.add_late(bench.run, reports, version=1, now_ns=bench.venue.now_ns)


def hash_of(*candidates: Candidate) -> str:
    packed = msgspec.msgpack.encode(candidate_rows(candidates))
    return digest(msgspec.msgpack.decode(packed))


def test_a_late_candidate_is_recorded_and_does_not_fire() -> None:
    bench = Bench.make()
    (order_id,) = bench.decide()
    wyx = a_candidate("WXYZ")

    assert late(bench, a_report(wyx, shard=2))

    decision = Decision.objects.get(symbol="WXYZ")
    assert decision.outcome == "late_for_round"
    assert list(Order.objects.values_list("pk", flat=True)) == [order_id]
    row = Round.objects.get(k=K)
    assert (row.state, row.n_candidates) == (RoundState.DECIDED, 1)


def test_the_hash_of_candidates_is_that_of_a_round_in_which_nobody_was_late() -> None:
    bench = Bench.make()
    bench.decide()
    early, after, before = bench.candidate(K), a_candidate("WXYZ"), a_candidate("AAAA")

    late(bench, a_report(after, shard=3))
    late(bench, a_report(before, shard=2))
    late(bench, a_report(before, shard=2))

    assert candidates_hash(bench.run) == hash_of(before, early, after)
    assert Decision.objects.count() == 3


def test_a_round_that_nobody_closed_is_made_for_its_late_candidates() -> None:
    bench = Bench.make()
    bucket = IndexBucket(symbol="SPY", k=K, close=500.0, mid=None, ts_ns=1)

    late(bench, a_report(a_candidate(), index=[bucket]))

    row = Round.objects.get(k=K)
    assert (row.state, row.n_candidates) == (RoundState.SKIPPED, 1)
    assert row.index == {"SPY": [500.0, None, 1]}
    assert candidates_hash(bench.run) == hash_of(a_candidate())


def test_a_round_that_is_not_decided_yet_is_left_alone() -> None:
    bench = Bench.make()
    bench.close_round()

    assert not late(bench, a_report(a_candidate("WXYZ")))

    assert not Decision.objects.exists()


def test_a_round_skipped_as_stale_keeps_a_record_of_each_candidate() -> None:
    bench = Bench.make()
    row = bench.close_round()

    assert rounds.skip_round(row)
    assert not rounds.skip_round(row)

    assert Decision.objects.get().outcome == "skipped_stale"


def test_reports_behind_their_round_are_kept_once_by_bucket() -> None:
    intake = Intake()
    one, two = a_report(a_candidate(), shard=2), a_report(a_candidate("B"), shard=1)

    for report in (one, two, a_report(shard=3), a_report(a_candidate(), k=K + 1)):
        intake.add(report, closed_k=K)

    assert intake.take_behind() == {K: [two, one]}
    assert intake.take_behind() == {}
    assert intake.open_ks == [K + 1]


def test_what_is_told_twice_is_remembered_with_its_stocks() -> None:
    intake, candidate = Intake(), a_candidate("WXYZ")
    for report in (
        a_report(candidate),
        a_report(candidate),
        a_report(with_(candidate, z=9.0)),
        a_report(candidate, epoch=0),
    ):
        intake.add(report, closed_k=None)

    assert intake.duplicates == 3
    assert [what for _, _, what in intake.take_ignored(K)] == ["copy", "old_life", "other"]
    assert intake.take_ignored(K) == []


def test_a_candidate_told_again_after_its_round_is_a_duplicate_of_it() -> None:
    bench = Bench.make()
    bench.decide()

    late(bench, a_report(bench.candidate(K)))

    assert duplicates(bench.run, "ABCD", K, K) == [(K, "copy")]
    assert Decision.objects.count() == 1
