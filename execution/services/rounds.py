"""Decides a frozen round, once: records, reservations and intents in one transaction.

What comes too late to be decided is recorded all the same, so that nothing seen is forgotten.
"""

from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from datetime import UTC, datetime
from typing import Any

import msgspec
from django.db import transaction

from execution.domain.halves import CROWD, SealedDecision, Second, decide_sealed
from execution.domain.records import passed_over_record
from execution.domain.rounds import DecisionRecord, RoundInput, Streak
from execution.domain.sealing import packed_rows
from execution.failpoints import reach
from execution.models import Decision, Order, Round, RoundState, Run
from execution.selectors import REPLACED
from execution.services import chain, lease, trades, wal
from execution.services.again import again_on_deadlock
from execution.services.moves import OrderStatus
from signals.messages import Candidate, Report

DUPLICATES_MAX = 200  # of a round
_inputs = msgspec.msgpack.Decoder(RoundInput)
_packer = msgspec.msgpack.Encoder()


class LateInputs(msgspec.Struct, frozen=True, kw_only=True):
    """Candidates that came after their round was closed, kept as they came."""

    now_ns: int
    params_version: int
    mode: str
    candidates: list[Candidate]


late_inputs = msgspec.msgpack.Decoder(LateInputs)


def decide_round(*, run_id: str, k: int, epoch: int, second: Second | None = None) -> list[int]:
    """Decide round k from its stored inputs and return the orders that must be sent now.

    A second call decides nothing and returns the intents that are still unsent.

    Args: second: helps with a crowd.

    Raises:
        Round.DoesNotExist: the round was never closed.
        LeaseLost: another hub may write now.
    """
    row = Round.objects.select_related("run").get(run_id=run_id, k=k)
    if row.state == RoundState.CLOSED:
        packed = bytes(row.inputs or b"")
        parameters = row.run.parameters[str(row.params_version)]
        decision = decide_sealed(
            packed, parameters, streaks_before(row),
            inputs_ref=chain.ref_of(packed), code=chain.rules_version(), second=second,
        )  # fmt: skip
        _persist(row, decision, parameters, epoch)
        reach("rounds.after_decision")
    unsent = Order.objects.filter(run_id=run_id, purpose="e", status=OrderStatus.INTENT, trade__k=k)
    return list(unsent.order_by("pk").values_list("pk", flat=True))


def skip_round(row: Round) -> bool:
    """Record a round that came too late to be decided; its candidates still count."""
    inputs = inputs_of(row)
    with transaction.atomic():
        skipped = Round.objects.filter(pk=row.pk, state=RoundState.CLOSED).update(
            state=RoundState.SKIPPED,
            decided_at=datetime.now(UTC),
        )
        if skipped:
            packed = bytes(row.inputs or b"")
            chain.append(row.run, chain.sealed(skipped_records(row, inputs), packed))
    return bool(skipped)


def add_late(run: Run, reports: Sequence[Report], *, version: int, now_ns: int) -> bool:
    """Add reports of one bucket to its round, which is closed already; a copy adds nothing.

    Their candidates are recorded as `late_for_round` and cannot fire in it.

    Returns: False while the round's decision is still owed: try again.
    """
    k = reports[0].k
    with transaction.atomic():
        light = Round.objects.select_for_update().defer("inputs", "decision_rows")
        row, _ = light.get_or_create(
            run=run,
            k=k,
            defaults={
                "state": RoundState.SKIPPED,
                "closed_ns": now_ns,
                "params_version": version,
                "coverage": 0.0,
                "decided_at": datetime.now(UTC),
            },
        )
        if row.state == RoundState.CLOSED:
            return False
        of_round = Decision.objects.filter(run=run, k=k)
        known = set(of_round.values_list("candidate_id", flat=True))
        came = {c.candidate_id: c for r in reports for c in r.candidates}
        fresh = [c for name, c in came.items() if name not in known]
        again = [[c.symbol, name, "copy"] for name, c in sorted(came.items()) if name in known]
        row.duplicates = (row.duplicates + again)[:DUPLICATES_MAX]
        if fresh:
            _keep_late(row, fresh, now_ns)
            _count(row, fresh)
        row.index = {
            **{b.symbol: (b.close, b.mid, b.ts_ns) for r in reports for b in r.index},
            **row.index,
        }
        row.save(update_fields=["duplicates", "index", "late_inputs", "n_candidates", "n_shadow"])
    return True


def _count(row: Round, fresh: Sequence[Candidate]) -> None:
    row.n_shadow += sum(c.shadow for c in fresh)
    row.n_candidates += sum(not c.shadow for c in fresh)


def _keep_late(row: Round, fresh: list[Candidate], now_ns: int) -> None:
    late = LateInputs(
        now_ns=now_ns,
        params_version=row.params_version,
        mode=_mode(row),
        candidates=fresh,
    )
    packed = _packer.encode(late)
    before = msgspec.msgpack.decode(bytes(row.late_inputs)) if row.late_inputs else []
    row.late_inputs = _packer.encode([*before, packed])
    chain.append(row.run, chain.sealed(late_records(row, late), packed))


def _mode(row: Round) -> str:
    return str(row.run.parameters[str(row.params_version)]["alpaca_trading_mode"])


def skipped_records(row: Round, inputs: RoundInput) -> list[DecisionRecord]:
    """Return the records of a round that came too late to be decided."""
    return _passed_over(
        row, inputs.candidates, "skipped_stale", inputs.now_ns, inputs.params_version, _mode(row)
    )


def late_records(row: Round, late: LateInputs) -> list[DecisionRecord]:
    """Return the records of candidates that came after their round."""
    return _passed_over(
        row, late.candidates, "late_for_round", late.now_ns, late.params_version, late.mode
    )


def _passed_over(
    row: Round,
    candidates: Iterable[Candidate],
    outcome: str,
    now_ns: int,
    version: int,
    mode: str,
) -> list[DecisionRecord]:
    return [
        passed_over_record(
            c, run=row.run_id, k=row.k, version=version, mode=mode, now_ns=now_ns, outcome=outcome
        )
        for c in candidates
    ]


def inputs_of(row: Round) -> RoundInput:
    """Return what the round's decision was, or will be, made from."""
    return _inputs.decode(bytes(row.inputs or b""))


def candidates_of(row: Round) -> list[Candidate]:
    """Return every candidate that the round was told of, in time or after it."""
    found = list(inputs_of(row).candidates) if row.inputs is not None else []
    for packed in msgspec.msgpack.decode(bytes(row.late_inputs)) if row.late_inputs else []:
        found += late_inputs.decode(packed).candidates
    return found


def streaks_before(row: Round) -> dict[str, Streak]:
    """Return the streaks of the newest decided round before this one."""
    before = (
        Round.objects.filter(run_id=row.run_id, k__lt=row.k, state=RoundState.DECIDED)
        .order_by("-k")
        .values_list("streaks", flat=True)
        .first()
    )
    return {
        candidate_id: Streak(k=k, count=count, params_version=version)
        for candidate_id, (k, count, version) in (before or {}).items()
    }


@again_on_deadlock
def _persist(row: Round, decision: SealedDecision, parameters: dict[str, Any], epoch: int) -> None:
    rows = packed_rows(decision.sealed)
    crowd = len(decision.sealed) >= CROWD
    with wal.folded_later() if crowd else nullcontext(), transaction.atomic():
        lease.fence(epoch)
        claimed = Round.objects.filter(pk=row.pk, state=RoundState.CLOSED).update(
            state=RoundState.DECIDED,
            decided_at=datetime.now(UTC),
            funnel=decision.funnel,
            streaks={
                candidate_id: [s.k, s.count, s.params_version]
                for candidate_id, s in sorted(decision.streaks.items())
            },
            decision_rows=rows,
        )
        if not claimed:
            return
        chain.append(row.run, decision.sealed)
        for plan in decision.entries:
            trades.reserve(row.run, plan, parameters, epoch=epoch, now_ns=decision.now_ns)
        if decision.replacement is not None:
            trades.ask_to_leave(row.run, decision.replacement.leaves, REPLACED)
