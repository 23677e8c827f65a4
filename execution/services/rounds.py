"""Decides a frozen round, once: records, reservations and intents in one transaction.

What comes too late to be decided is recorded all the same, so that nothing seen is forgotten.
"""

import json
import math
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
from django.db import transaction

from execution.domain.decide import decide
from execution.domain.records import candidate_rows, decision_rows, passed_over_record
from execution.domain.rounds import DecisionRecord, RoundDecision, RoundInput, Streak
from execution.models import Decision, Order, Round, RoundState, Run
from execution.services import lease, trades
from execution.services.moves import OrderStatus
from signals.messages import Candidate, Report

REASON_MAX = 200
_inputs = msgspec.msgpack.Decoder(RoundInput)
_packer = msgspec.msgpack.Encoder()
_packed_rows = msgspec.msgpack.Decoder(list[list[Any]])


def decide_round(*, run_id: str, k: int, epoch: int) -> list[int]:
    """Decide round k from its stored inputs and return the orders that must be sent now.

    A second call decides nothing and returns the intents that are still unsent.

    Raises:
        Round.DoesNotExist: the round was never closed.
        LeaseLost: another hub may write now.
    """
    row = Round.objects.select_related("run").get(run_id=run_id, k=k)
    if row.state == RoundState.CLOSED:
        inputs = inputs_of(row)
        parameters = row.run.parameters[str(row.params_version)]
        decision = decide(inputs, parameters, _streaks_before(row))
        _persist(row, inputs, decision, parameters, epoch)
    unsent = Order.objects.filter(run_id=run_id, purpose="e", status=OrderStatus.INTENT, trade__k=k)
    return list(unsent.order_by("pk").values_list("pk", flat=True))


def skip_round(row: Round) -> bool:
    """Record a round that came too late to be decided; its candidates still count."""
    inputs = inputs_of(row)
    with transaction.atomic():
        skipped = Round.objects.filter(pk=row.pk, state=RoundState.CLOSED).update(
            state=RoundState.SKIPPED,
            candidate_rows=_packer.encode(candidate_rows(inputs.candidates)),
            decided_at=datetime.now(UTC),
        )
        if skipped:
            _pass_over(row, inputs.candidates, "skipped_stale", inputs.now_ns)
    return bool(skipped)


def add_late(run: Run, reports: Sequence[Report], *, version: int, now_ns: int) -> bool:
    """Add reports of one bucket to its round, which is closed already; a copy adds nothing.

    Their candidates are recorded as `late_for_round` and cannot fire in it.

    Returns: False while the round's decision is still owed: try again.
    """
    k = reports[0].k
    with transaction.atomic():
        row, _ = Round.objects.select_for_update().get_or_create(
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
        fresh = [c for r in reports for c in r.candidates if c.candidate_id not in known]
        if fresh:
            _pass_over(row, fresh, "late_for_round", now_ns)
            _count(row, fresh)
        row.index = {
            **{b.symbol: (b.close, b.mid, b.ts_ns) for r in reports for b in r.index},
            **row.index,
        }
        row.save()
    return True


def _count(row: Round, fresh: Sequence[Candidate]) -> None:
    rows = _packed_rows.decode(bytes(row.candidate_rows)) if row.candidate_rows else []
    rows += [list(fields) for fields in candidate_rows(fresh)]
    row.candidate_rows = _packer.encode(sorted(rows, key=_by_symbol))
    row.n_shadow += sum(c.shadow for c in fresh)
    row.n_candidates += sum(not c.shadow for c in fresh)


def _by_symbol(row: Sequence[Any]) -> tuple[str, str]:
    fields = Candidate.__struct_fields__
    return str(row[fields.index("symbol")]), str(row[fields.index("candidate_id")])


def _pass_over(row: Round, candidates: Iterable[Candidate], outcome: str, now_ns: int) -> None:
    mode = str(row.run.parameters[str(row.params_version)]["alpaca_trading_mode"])
    records = [
        passed_over_record(
            c,
            run=row.run_id,
            k=row.k,
            version=row.params_version,
            mode=mode,
            now_ns=now_ns,
            outcome=outcome,
        )
        for c in candidates
    ]
    made = [_decision(row.run, record) for record in records]
    Decision.objects.bulk_create(made, ignore_conflicts=True)


def inputs_of(row: Round) -> RoundInput:
    """Return what the round's decision was, or will be, made from."""
    return _inputs.decode(bytes(row.inputs or b""))


def _streaks_before(row: Round) -> dict[str, Streak]:
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


def _persist(
    row: Round,
    inputs: RoundInput,
    decision: RoundDecision,
    parameters: dict[str, Any],
    epoch: int,
) -> None:
    with transaction.atomic():
        lease.fence(epoch)
        claimed = Round.objects.filter(pk=row.pk, state=RoundState.CLOSED).update(
            state=RoundState.DECIDED,
            decided_at=datetime.now(UTC),
            funnel=decision.funnel,
            streaks={
                candidate_id: [s.k, s.count, s.params_version]
                for candidate_id, s in sorted(decision.streaks.items())
            },
            candidate_rows=_packer.encode(candidate_rows(inputs.candidates)),
            decision_rows=_packer.encode(decision_rows(decision.records)),
        )
        if not claimed:
            return
        Decision.objects.bulk_create(_decision(row.run, record) for record in decision.records)
        for plan in decision.entries:
            trades.reserve(row.run, plan, parameters, epoch=epoch, now_ns=inputs.now_ns)


def _decision(run: Run, record: DecisionRecord) -> Decision:
    final = record.score.get("final") if record.score else None
    return Decision(
        run=run,
        k=record.k,
        symbol=record.symbol,
        candidate_id=record.candidate_id,
        outcome=record.outcome,
        primary_reason=record.primary_reason[:REASON_MAX],
        shadow=record.shadow,
        streak=record.streak,
        rank=record.rank,
        score=final if isinstance(final, int | float) and math.isfinite(final) else None,
        record=_jsonable(record.as_dict()),
    )


def _jsonable(value: Any) -> Any:
    """Return plain JSON data: what JSON cannot say (NaN, infinities, Decimal) becomes text."""
    return json.loads(json.dumps(_finite(value), default=str, allow_nan=False))


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {str(name): _finite(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value
