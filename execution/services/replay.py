"""Replaying stored rounds: the inputs that were kept must give the record that was written."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from execution.domain.decide import decide
from execution.domain.rounds import DecisionRecord
from execution.models import Decision, Round, RoundState, Run
from execution.services import chain, rounds
from signals.parameters.catalogue import defaults

_MISSING = "there is no such record"


@dataclass(frozen=True, kw_only=True)
class Replayed:
    """One stored record against its replay; `differs` names the fields that are not the same."""

    k: int
    symbol: str
    candidate_id: str
    outcome: str
    differs: tuple[str, ...] = ()
    other_rules: bool = False  # it was decided by another version of the code

    @property
    def same(self) -> bool:
        return not self.differs


def replay_run(run: Run, *, symbol: str = "", k: int | None = None) -> Iterator[Replayed]:
    """Yield every record of the run, or of one symbol or bucket, replayed from stored inputs."""
    kept = Decision.objects.filter(run=run).order_by("k")
    if symbol:
        kept = kept.filter(symbol=symbol)
    if k is not None:
        kept = kept.filter(k=k)
    for one in kept.values_list("k", flat=True).distinct().iterator():
        row = Round.objects.select_related("run").get(run=run, k=one)
        yield from (r for r in replay_round(row) if symbol in ("", r.symbol))


def replay_round(row: Round) -> list[Replayed]:
    """Return each record of a round, as stored and as its inputs give it again."""
    again = {record["candidate_id"]: record for record in records_again(row)}
    found = []
    for stored in Decision.objects.filter(run=row.run_id, k=row.k).order_by("pk"):
        made = again.pop(stored.candidate_id, None)
        found.append(_compared(stored, made))
    return found + [
        Replayed(
            k=row.k, symbol=made["symbol"], candidate_id=name, outcome=made["outcome"],
            differs=(_MISSING,),
        )
        for name, made in sorted(again.items())
    ]  # fmt: skip


def set_of(run: Run, version: int) -> dict[str, Any]:
    """Return the set that a run used under a version; a parameter that is younger, its default."""
    return {**defaults(), **run.parameters.get(str(version), {})}


def records_again(row: Round) -> list[dict[str, Any]]:
    """Return the records that the stored inputs of a round give now."""
    made: list[DecisionRecord] = []
    if row.inputs is not None and row.state == RoundState.DECIDED:
        parameters = set_of(row.run, row.params_version)
        made += decide(rounds.inputs_of(row), parameters, rounds.streaks_before(row)).records
    elif row.inputs is not None and row.state == RoundState.SKIPPED:
        made += rounds.skipped_records(row, rounds.inputs_of(row))
    for packed in msgspec.msgpack.decode(bytes(row.late_inputs)) if row.late_inputs else []:
        made += rounds.late_records(row, rounds.late_inputs.decode(packed))
    return [chain.plain(record.fields()) for record in made]


def _compared(stored: Decision, made: Mapping[str, Any] | None) -> Replayed:
    record = {name: v for name, v in stored.record.items() if name not in chain.ADDED}
    if made is None:
        differs: tuple[str, ...] = ("its inputs do not give it",)
    else:
        names = sorted({*record, *made})
        differs = tuple(name for name in names if record.get(name) != made.get(name))
    return Replayed(
        k=stored.k,
        symbol=stored.symbol,
        candidate_id=stored.candidate_id,
        outcome=stored.outcome,
        differs=differs,
        other_rules=stored.record.get("code_version") != chain.rules_version(),
    )
