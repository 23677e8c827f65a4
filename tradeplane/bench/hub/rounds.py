"""A crowd of 5,000 candidates in one round, on the hub's own code and a real database.

Reports come as they travel (packed), are taken in, the round's inputs are stored, and the task's
service decides them and commits records: what a hub process does between a report and its orders.
"""

import gc
import statistics
import sys
import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np

from execution.brokers.port import AccountSnapshot
from execution.hub.desk import Desk
from execution.hub.intake import Intake
from execution.hub.rounds import Rounds, Vitals
from execution.models import Decision, Lease, Round, Run
from execution.resident import COLLECTOR
from execution.second import SecondHand
from execution.services import lease, rounds
from shards.outbox import pack_bounded
from signals.messages import Report, unpack
from signals.parameters import catalogue
from signals.session import BUCKET_NS
from tradeplane.bench.hub import crowd
from tradeplane.bench.hub.options import Options
from tradeplane.bench.hub.rival import decide_row_by_row

CROWD = 5_000
RUN = "bench-crowd"
HOUR_NS = 3_600_000_000_000
AFTER_NS = 900_000_000  # the last report comes this long after the bucket's end
RIVAL_ROUNDS = 2


class Place:
    """A run with everything a round needs; the account never changes."""

    def __init__(self) -> None:
        session = crowd.session()
        self.parameters = dict(catalogue.validate(catalogue.profile("careful")))
        self.run = Run.objects.create(
            id=RUN, account_number="PA1", day=crowd.DAY, open_ns=session.open_ns,
            close_ns=session.close_ns, parameters_version=1, parameters={"1": self.parameters},
            universe=crowd.universe(), opening_cash=Decimal(60_000),
        )  # fmt: skip
        self.epoch = lease.take("bench")
        kept = datetime.now(UTC) + timedelta(hours=6)  # the coordinator's thread renews it, in life
        Lease.objects.update(expires_at=kept)
        self.first_k = (session.open_ns + HOUR_NS) // BUCKET_NS
        self.now_ns = 0
        self.second = SecondHand()
        self.second.start()
        broker: Any = _Account()
        desk = Desk(run=self.run, broker=broker, epoch=self.epoch, now_ns=lambda: self.now_ns)
        self.rounds = Rounds(
            desk=desk, parameters=self.parameters, params_version=1, kill_level=lambda: "none",
            vitals=Vitals,
        )  # fmt: skip

    def at(self, k: int) -> None:
        self.now_ns = (k + 1) * BUCKET_NS + AFTER_NS


class _Account:
    """The broker as far as a round asks it."""

    def account(self) -> AccountSnapshot:
        return AccountSnapshot(
            number="PA1", status="ACTIVE", cash=Decimal(60_000), equity=Decimal(30_000),
            last_equity=Decimal(30_000), buying_power=Decimal(60_000), trading_blocked=False,
            account_blocked=False, suspended_by_user=False,
        )  # fmt: skip


def figures(options: Options) -> dict[str, float]:
    """Return the times of rounds with 5,000 candidates, ours and the rival's."""
    count = 2 if options.quick else 12
    _note(f"{count} rounds of {CROWD:,} candidates in {crowd.SHARDS} reports")
    place = Place()
    rng = np.random.default_rng(options.seed)
    names = [crowd.universe()[int(i)] for i in rng.permutation(crowd.UNIVERSE)[:CROWD]]
    before = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(*COLLECTOR)  # as in the hub's process
    try:
        spent = [_round(place, names, place.first_k + n, rng) for n in range(count + 1)][1:]
    finally:
        place.second.stop()
        gc.set_threshold(*before)
        gc.unfreeze()
    rival = _rival(place, names, place.first_k + count + 1, rng, quick=options.quick)
    whole = [ms for ms, _, _ in spent]
    return {
        "round_ms_p50_5000_candidates": _percentile(whole, 50),
        "round_ms_p99_5000_candidates": _percentile(whole, 99),
        "round_with_intake_ms_p99_5000_candidates": _percentile([ms for _, ms, _ in spent], 99),
        "round_cpu_ms_p50_5000_candidates": _percentile([ms for _, _, ms in spent], 50),
        "row_by_row_ms_5000_candidates": round(rival),
        "vs_row_by_row": round(rival / statistics.median(whole), 2),
    }


def _round(
    place: Place, names: list[str], k: int, rng: np.random.Generator
) -> tuple[float, float, float]:
    """Return ms from the last report, and from the first, to the committed decision.

    The third are ms of processor time since the last report, of the hub's own process: what else
    the machine does matters less to them.
    """
    told = crowd.candidates(names, k, rng, place.first_k - 2)
    packed = [pack_bounded(report) for report in crowd.reports(RUN, k, told, k)]
    place.at(k)
    intake = Intake()
    started = time.perf_counter()
    for body in packed[:-1]:
        _take(intake, body)
    last, busy = time.perf_counter(), time.process_time()
    _take(intake, packed[-1])
    place.rounds.close(k, intake.take(k), crowd.UNIVERSE)
    rounds.decide_round(run_id=RUN, k=k, epoch=place.epoch, second=place.second.ask)
    ended, worked = time.perf_counter(), time.process_time() - busy
    _check(k, len(names))
    return 1_000 * (ended - last), 1_000 * (ended - started), 1_000 * worked


def _take(intake: Intake, body: str) -> None:
    report = unpack(body)
    if not isinstance(report, Report):
        raise TypeError("not a report")
    intake.add(report, closed_k=None)


def _check(k: int, count: int) -> None:
    if (found := Decision.objects.filter(run_id=RUN, k=k).count()) != count:
        raise RuntimeError(f"{found} records of {count} candidates")


def _rival(
    place: Place, names: list[str], k: int, rng: np.random.Generator, *, quick: bool
) -> float:
    """Return the median ms of the rival on rounds like ours, from its first query.

    A smoke test lets it do a fifth of a round and counts that five times.
    """
    spent, part = [], 5 if quick else 1
    for n in range(1 if quick else RIVAL_ROUNDS):
        told = crowd.candidates(names, k + n, rng, place.first_k - 2)
        inputs = Intake()
        for report in crowd.reports(RUN, k + n, told, k + n):
            inputs.add(report, closed_k=None)
        place.at(k + n)
        place.rounds.close(k + n, inputs.take(k + n), crowd.UNIVERSE)
        row = Round.objects.get(run_id=RUN, k=k + n)
        started = time.perf_counter()
        decide_row_by_row(row, len(names) // part)
        spent.append(1_000 * part * (time.perf_counter() - started))
        _check(k + n, len(names) // part)
    return statistics.median(spent)


def _percentile(values: list[Any], q: float) -> float:
    return round(float(np.percentile(values, q)), 1)


def _note(text: str) -> None:
    sys.stderr.write(text + "\n")
