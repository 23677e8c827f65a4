"""Thousands of candidates in one bucket: all are judged and recorded, and nothing grows with them.

Counted, not timed: `script/bench hub` has the times.
"""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from execution.hub.intake import Intake
from execution.hub.rounds import WINDOWS_MAX, Rounds, Vitals, bounded
from execution.models import Decision, Lease, Order, Round, RoundState
from execution.services import chain, rounds
from shards.outbox import WHOLE_MAX, pack_bounded
from signals.messages import MAX_PACKED_BYTES, Report, unpack
from tests.fakes.desk import Bench
from tests.unit.domain_builders import K
from tradeplane.bench.hub import crowd

pytestmark = [pytest.mark.django_db, pytest.mark.db]
CROWD, FEW = 3_000, 30


def names(count: int) -> list[str]:
    return crowd.universe()[:: crowd.UNIVERSE // count][:count]


def reports(count: int, k: int = K, shards: int = crowd.SHARDS) -> list[Report]:
    found = crowd.candidates(names(count), k, np.random.default_rng(count), k - 2)
    return crowd.reports("run-1", k, found, k, shards)


class Hub:
    """What stands between a report on the queue and a stored decision."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        bench.run.universe = crowd.universe()
        bench.run.save()
        Lease.objects.update(expires_at=datetime.now(UTC) + timedelta(hours=1))
        self.rounds = Rounds(
            desk=bench.desk, parameters=bench.parameters, params_version=1,
            kill_level=lambda: "none", vitals=Vitals,
        )  # fmt: skip

    def decide(self, packed: list[str], k: int = K) -> list[int]:
        intake = Intake()
        for body in packed:
            told = unpack(body)
            assert isinstance(told, Report)
            intake.add(told, closed_k=None)
        assert self.rounds.close(k, intake.take(k), crowd.UNIVERSE)
        return rounds.decide_round(run_id=self.bench.run.pk, k=k, epoch=self.bench.epoch)


def test_thousands_of_candidates_are_judged_and_recorded_with_as_many_queries_as_a_few() -> None:
    hub = Hub(Bench.make())
    first, few = ([pack_bounded(report) for report in reports(FEW, k)] for k in (K, K + 1))
    many = [pack_bounded(report) for report in reports(CROWD, K + 2)]
    hub.decide(first, K)  # begins the chain of records

    with CaptureQueriesContext(connection) as for_few:
        hub.decide(few, K + 1)
    with CaptureQueriesContext(connection) as for_many:
        hub.decide(many, K + 2)

    assert Decision.objects.filter(k=K + 1).count() == FEW
    assert Decision.objects.filter(k=K + 2).count() == CROWD
    log = 2 * (connection.vendor == "sqlite")  # it is told not to fold the log now, and to again
    assert len(for_many) - log == len(for_few) < 25
    assert list(chain.problems(hub.bench.run)) == []


def test_a_crowd_is_the_market_and_not_the_stock_so_nobody_fires() -> None:
    hub = Hub(Bench.make())

    sent = hub.decide([pack_bounded(report) for report in reports(CROWD)])

    assert (sent, Order.objects.count()) == ([], 0)
    row = Round.objects.get(k=K)
    assert (row.state, row.n_candidates) == (RoundState.DECIDED, CROWD)
    assert row.funnel["closed"]["G15"] == CROWD


def test_a_round_keeps_the_windows_of_its_strongest_whoever_reported_them() -> None:
    told = [c for report in reports(CROWD) for c in report.candidates]

    kept = bounded(told)

    assert [c.candidate_id for c in kept] == [c.candidate_id for c in told]
    whole = {c.symbol for c in kept if c.window}
    weakest = min(c.z for c in kept if c.window)
    assert len(whole) == WINDOWS_MAX
    assert all(c.z <= weakest for c in kept if not c.window)
    assert {c.symbol for c in bounded(told[::-1]) if c.window} == whole


def test_a_report_that_is_too_large_keeps_every_candidate_and_says_which_may_not_fire() -> None:
    (whole,) = reports(1_200, shards=1)

    packed = pack_bounded(whole)
    told = unpack(packed)

    assert len(packed) <= MAX_PACKED_BYTES
    assert isinstance(told, Report)
    assert told.flags == ["arrays_dropped"]
    assert [c.symbol for c in told.candidates] == sorted(c.symbol for c in whole.candidates)
    lean = [c for c in told.candidates if c.flags == ["arrays_dropped"]]
    assert len(lean) == 1_200 - WHOLE_MAX
    assert all(not c.window and not c.returns_1m_bps for c in lean)
    assert max(c.z for c in lean) <= min(c.z for c in told.candidates if not c.flags)
