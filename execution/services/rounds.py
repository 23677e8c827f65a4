"""Decides a frozen round, once: records, reservations and intents in one transaction."""

import json
import math
from datetime import UTC, datetime
from typing import Any

import msgspec
from django.db import transaction

from execution.domain.decide import decide
from execution.domain.records import candidate_rows, decision_rows
from execution.domain.rounds import DecisionRecord, RoundDecision, RoundInput, Streak
from execution.models import Decision, Order, Round, RoundState, Run
from execution.services import lease, trades
from execution.services.moves import OrderStatus

REASON_MAX = 200
_inputs = msgspec.msgpack.Decoder(RoundInput)
_packer = msgspec.msgpack.Encoder()


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
    return bool(
        Round.objects.filter(pk=row.pk, state=RoundState.CLOSED).update(
            state=RoundState.SKIPPED,
            candidate_rows=_packer.encode(candidate_rows(inputs.candidates)),
            decided_at=datetime.now(UTC),
        )
    )


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
