"""Old decision records go, whole beginnings at a time, and what is left can still be verified."""

from datetime import UTC, datetime, timedelta

import pytest
from django.db.models import F

from execution.hub.books_watch import BooksWatch
from execution.models import Activity, Decision, DecisionChain, Round, Run
from execution.services import chain, replay, retention
from signals.session import BUCKET_NS
from tests.fakes.desk import Bench
from tests.unit.domain_builders import K, a_candidate

pytestmark = [pytest.mark.django_db, pytest.mark.db]
NOW = datetime(2027, 12, 1, 3, 0, tzinfo=UTC)


@pytest.fixture
def bench() -> Bench:
    """Three rounds with two records each, decided 500, 401 and 10 days ago."""
    bench = Bench.make()
    for n, days in enumerate((500, 401, 10)):
        bench.venue.now_ns = (K + n + 1) * BUCKET_NS + 800_000_000
        pair = tuple(a_candidate(symbol, k=K + n, z=1.0) for symbol in ("AAAA", "BBBB"))
        bench.decide(K + n, candidates=pair)
        Round.objects.filter(k=K + n).update(decided_at=NOW - timedelta(days=days))
    return bench


def kept() -> list[int]:
    return list(Decision.objects.order_by("pk").values_list("k", flat=True))


def test_what_is_old_goes_and_the_rest_is_still_verified_and_replayed(bench: Bench) -> None:
    assert retention.prune(now=NOW, days=400) == 4

    assert kept() == [K + 2, K + 2]
    row = DecisionChain.objects.get()
    assert (row.length, row.pruned) == (6, 4)
    assert list(chain.problems(bench.run)) == []
    assert all(one.same for one in replay.replay_run(bench.run))
    assert Activity.objects.filter(text__startswith="4 decision records").exists()
    assert retention.prune(now=NOW, days=400) == 0


def test_the_inputs_of_old_rounds_go_with_their_records_and_the_rounds_stay(bench: Bench) -> None:
    retention.prune(now=NOW, days=400)

    found = {row.k: (row.inputs is None, bool(row.funnel)) for row in Round.objects.all()}
    assert found == {K: (True, True), K + 1: (True, True), K + 2: (False, True)}


def test_a_record_changed_or_taken_out_after_the_cut_is_still_found(bench: Bench) -> None:
    retention.prune(now=NOW, days=450)
    first = Decision.objects.order_by("pk")[0]
    raw = Decision.objects.filter(pk=first.pk)

    raw._raw_delete(raw.db)

    assert any("does not follow" in said for said in chain.problems(bench.run))
    assert any("records were written" in said for said in chain.problems(bench.run))


def test_a_cut_that_nobody_wrote_down_is_found(bench: Bench) -> None:
    retention.prune(now=NOW, days=450)

    DecisionChain.objects.update(pruned=F("pruned") + 1)

    assert list(chain.problems(bench.run))


def test_batches_are_bounded(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "BATCH", 1)
    monkeypatch.setattr(retention, "BATCHES_MAX", 3)

    assert retention.prune(now=NOW, days=400) == 3
    assert list(chain.problems(bench.run)) == []
    assert retention.prune(now=NOW, days=400) == 1


def test_todays_records_never_go(bench: Bench) -> None:
    Round.objects.update(decided_at=NOW - timedelta(hours=12))

    assert retention.prune(now=NOW, days=0) == 0


@pytest.mark.parametrize(
    ("minutes_after_open", "quiet"), [(-31, True), (-29, False), (60, False), (396, True)]
)
def test_it_waits_for_a_quiet_time(minutes_after_open: int, quiet: bool) -> None:
    run = Run(open_ns=10**18, close_ns=10**18 + 390 * 60 * 10**9)
    run.market_ns = run.open_ns + minutes_after_open * 60 * 10**9

    assert retention.is_quiet(run) is quiet


def test_the_hub_tidies_outside_the_session_only(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    gone = [7, 0]

    def prune(*, now: datetime, days: int) -> int:
        asked.append(days)
        return gone.pop(0)

    monkeypatch.setattr(retention, "prune", prune)
    watch = BooksWatch(lambda: bench.run)

    Run.objects.update(market_ns=bench.run.open_ns)
    watch.tidy()
    assert asked == []
    Run.objects.update(market_ns=bench.run.close_ns + 10 * 60 * 10**9)
    watch.tidy()
    assert asked == [400]
    for _ in range(60):  # there may be more: at once again; then not before an hour
        watch.tidy()
    assert asked == [400, 400]
