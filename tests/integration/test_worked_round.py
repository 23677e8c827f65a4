"""The worked round of trigger 5.2b, step by step: 26 shards, one slot, two confirming rounds."""

from typing import Any

import pytest

from execution.domain.rounds import FuturesPart
from execution.hub.intake import Intake
from execution.models import Decision, Order
from execution.services import rounds
from execution.services.moves import TradeState as T
from signals.messages import Candidate
from signals.session import BUCKET_NS
from tests.fakes.desk import MS, Bench
from tests.integration.test_hub_late import a_report
from tests.integration.test_hub_round_inputs import a_hub, frozen, with_candidate
from tests.unit.domain_builders import END_NS, K, a_candidate, a_quote, with_

pytestmark = [pytest.mark.django_db, pytest.mark.db]

FUTURES = tuple(
    FuturesPart(symbol=s, weight=w, sign=g, ema_gap_bps=e, scale_bps=c, ret15_z=z)
    for s, w, g, e, c, z in (
        ("SPY", 0.40, 1, 6, 8, 0.6), ("QQQ", 0.30, 1, 9, 11, 0.8),
        ("IWM", 0.15, 1, -2, 10, -0.3), ("VIXY", 0.15, -1, -12, 30, -0.4),
    )
)  # fmt: skip


def abcd(k: int) -> Candidate:
    return with_(
        a_candidate("ABCD", quote=a_quote(ts_ns=(k + 1) * BUCKET_NS + 600 * MS)),
        k=k, last_price=20.05, last_ts_ns=(k + 1) * BUCKET_NS,
    )  # fmt: skip


def crwx(k: int) -> Candidate:
    quote = a_quote(ts_ns=(k + 1) * BUCKET_NS + 600 * MS)
    return with_(a_candidate("CRWX", z=6.0, accel=5.0, quote=quote), k=k)


def defg(k: int) -> Candidate:
    """Spread 41 bps."""
    quote = a_quote(bid=19.9779, ask=20.06, ts_ns=(k + 1) * BUCKET_NS + 600 * MS)
    return with_(a_candidate("DEFG", quote=quote), k=k)


def close(bench: Bench, k: int, intake: Intake, **changes: Any) -> list[int]:
    """What the coordinator does when round k is due: take what is there, freeze it, decide."""
    reports = intake.take(k)
    candidates = tuple(c for report in reports for c in report.candidates)
    coverage = sum(r.n_symbols for r in reports) / 260
    row = bench.close_round(
        k, candidate=candidates[0], candidates=candidates, coverage=coverage, futures=FUTURES,
        futures_as_of_ns=(k + 1) * BUCKET_NS,
        universe=frozenset([f"N{n}" for n in range(1000)] + [c.symbol for c in candidates]),
        **changes,
    )  # fmt: skip
    return rounds.decide_round(run_id=bench.run.pk, k=row.k, epoch=bench.epoch)


def record(k: int, symbol: str) -> Decision:
    return Decision.objects.get(k=k, symbol=symbol)


def test_the_worked_round() -> None:
    bench = Bench.make(confirm_buckets=2)
    intake, shards = Intake(), range(1, 27)
    bench.venue.now_ns = END_NS - BUCKET_NS + 1000 * MS
    for shard in shards:
        told = [abcd(K - 1)] if shard == 1 else []
        intake.add(a_report(*told, shard=shard, k=K - 1), closed_k=None)
    assert close(bench, K - 1, intake) == []
    assert (record(K - 1, "ABCD").streak, record(K - 1, "ABCD").outcome) == (1, "not_fired")

    # T + .82 s to 1.10 s: A, C, A again, and 23 others
    a = a_report(abcd(K), shard=1)
    assert intake.add(a, closed_k=K - 1)
    assert intake.add(a_report(crwx(K), shard=3), closed_k=K - 1)
    assert not intake.add(a, closed_k=K - 1)
    for shard in shards:
        if shard not in (1, 2, 3):
            intake.add(a_report(*([defg(K)] if shard == 4 else []), shard=shard), closed_k=K - 1)
    assert intake.duplicates == 1
    assert not intake.complete(K, set(shards)), "B is missing: the round waits for its deadline"

    # T + 1.80 s: the deadline
    bench.venue.now_ns = END_NS + 1800 * MS
    (order_id,) = close(bench, K, intake)
    fired, better, wide = record(K, "ABCD"), record(K, "CRWX"), record(K, "DEFG")
    assert (fired.outcome, fired.streak) == ("fired", 2)
    assert fired.score == pytest.approx(52.84, abs=0.05), (
        "the example rounds what it takes as given"
    )
    assert (better.streak, better.primary_reason.split(":")[0]) == (1, "confirm")
    assert better.score > fired.score
    assert wide.primary_reason.startswith("C3: Spread is 41.")
    gates = {gate["id"]: gate for gate in fired.record["gates"]}
    assert gates["G4"]["pass"]
    sent = bench.send(order_id)
    assert (sent.symbol, sent.quantity) == ("ABCD", 298)

    # T + 2.10 s: B
    late = a_report(with_(a_candidate("BLAH", z=9.0), k=K), shard=2)
    assert not intake.add(late, closed_k=K)
    for reports in intake.take_behind().values():
        assert rounds.add_late(bench.run, reports, version=1, now_ns=END_NS + 2100 * MS)
    assert record(K, "BLAH").outcome == "late_for_round"

    # T + 4.81 s: filled and protected; T + 6.20 s: the better one finds the slot busy
    bench.step(150)
    trade = bench.trade()
    assert (trade.state, trade.held, trade.slot) == (T.OPEN_PROTECTED, 298, 1)
    bench.venue.now_ns = END_NS + BUCKET_NS + 1200 * MS
    for shard in shards:
        told = [crwx(K + 1)] if shard == 3 else []
        intake.add(a_report(*told, shard=shard, k=K + 1), closed_k=K)
    busy = frozen(a_hub(bench), with_candidate(bench)).exposures
    assert close(bench, K + 1, intake, exposures=busy) == []
    again = record(K + 1, "CRWX")
    assert (again.streak, again.outcome) == (2, "not_fired")
    assert again.primary_reason.startswith("P1:")
    assert "ABCD" in again.primary_reason
    assert Order.objects.filter(purpose="e").count() == 1
