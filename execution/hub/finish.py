"""The end of a tape: a last comparison, the invariants, the hashes, the summary."""

import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from accounts import check as books_check
from accounts.models import Account
from execution import invariants, selectors
from execution.domain.records import candidate_rows
from execution.errors import RunFailed
from execution.hub.coordinator import Coordinator
from execution.models import Round, Run, RunState
from execution.services import days, rounds, runs
from shards.records import bucket_hash, read_rows, sorted_rows
from signals.digest import digest

logger = logging.getLogger(__name__)


def finish(hub: Coordinator, *, wall_s: float) -> None:
    """Close the run and save what it was."""
    hub.rounds.flush()
    hub.flow.act()
    clean = hub.agreement.compare()
    run = hub.run
    run.refresh_from_db()
    account = Account.objects.get(run_id=run.pk, number=run.account_number)
    violations = books_check.check(account)
    checked = invariants.check_run(run, hub.broker)
    for line in [*violations, *checked["broken"]]:
        hub.note("reconcile", line, level="alarm")
    days.close_when_over(run, agreed_ns=hub.agreed_ns, books_hold=not violations)
    buckets, bucket_digest = recorded_buckets(hub.config.record_dir)
    summary: dict[str, Any] = {
        "run": run.pk,
        "prints": hub.intake.prints,
        "buckets": buckets,
        **selectors.counts(run),
        "trades": selectors.trade_rows(run),
        "parameters_version": run.parameters_version,
        "kill_switch": selectors.kill_level(),
        "hashes": {
            "buckets": bucket_digest,
            "candidates": candidates_hash(run),
            "decisions": decisions_hash(run),
        },
        "books_ok": clean and not violations,
        "invariants": checked,
        "stops": hub.stops,
        "stop_cost_ms": round(hub.stop_cost_ms(), 3),
        "wall_s": round(wall_s, 3),
    }
    runs.end_run(run, state=RunState.ENDED, summary=summary)
    hub.state = "ended"
    hub.note("startup", f"the run ended: {len(summary['trades'])} trades", wall_s=summary["wall_s"])


def candidates_hash(run: Run) -> str:
    """Return the SHA-256 of every candidate that a round saw, or that came after its round."""
    return digest(_candidates(run))


def _candidates(run: Run) -> Iterator[Any]:
    stored = Round.objects.filter(run=run).order_by("k")
    told = stored.exclude(inputs=None, late_inputs=None).only("inputs", "late_inputs")
    for row in told.iterator(chunk_size=20):
        yield from candidate_rows(rounds.candidates_of(row))


def decisions_hash(run: Run) -> str:
    """Return the SHA-256 of every round's decision rows, in order of k."""
    return digest(_decisions(run))


def _decisions(run: Run) -> Iterator[Any]:
    packed = Round.objects.filter(run=run, decision_rows__isnull=False).order_by("k")
    for body in packed.values_list("decision_rows", flat=True).iterator(chunk_size=20):
        yield from msgspec.msgpack.decode(bytes(body or b""))


def recorded_buckets(folder: str) -> tuple[int, str]:
    """Return how many buckets the shards have recorded, each counted once, and their hash.

    A shard that was taken over may have written a bucket twice; the copies must be equal.

    Raises:
        RunFailed: two different rows for one bucket of one symbol.
    """
    if not folder:
        return 0, ""
    files = sorted(Path(folder).glob("buckets-*.rows"))
    rows = sorted_rows(read_rows(path.read_bytes()) for path in files)
    again = (rows["k"][1:] == rows["k"][:-1]) & (rows["symbol"][1:] == rows["symbol"][:-1])
    if again.any():
        raise RunFailed("two shards disagree about a bucket")
    return int(rows.size), bucket_hash(rows)


def elapsed_since(run: Run) -> float:
    """Return the run's age on the host's clock, seconds."""
    return max(0.0, time.time() - run.started_at.timestamp())
