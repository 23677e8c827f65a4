"""Decision records, the funnel of a round, and the rows that prove two runs equal."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import msgspec

from execution.domain.gates import OPERATIONAL
from execution.domain.portfolio import Place
from execution.domain.rounds import (
    DecisionRecord,
    EntryPlan,
    GateResult,
    RoundInput,
    SymbolFacts,
)
from execution.domain.setup import Draft, Setup
from signals.digest import Value
from signals.messages import Candidate
from signals.session import BUCKET_NS

REASON_CHARS = 200
PASSED_OVER = {
    "late_for_round": "Its report came after the round was closed.",
    "skipped_stale": "The round was closed too late to be decided.",
}
_PLAIN = frozenset({bool, int, float, str, type(None)})
STAGES = ("G", "S", "C", "score", "confirm", "P", "rank")


class Judged(Protocol):
    """What the funnel counts: a record, or what was kept of it."""

    @property
    def shadow(self) -> bool: ...
    @property
    def outcome(self) -> str: ...
    @property
    def all_failed(self) -> tuple[str, ...]: ...


def record_of(
    draft: Draft,
    r: RoundInput,
    found: Place,
    *,
    rank: int | None = None,
    entry: EntryPlan | None = None,
    beaten: Sequence[dict[str, Any]] = (),
) -> DecisionRecord:
    """Return the record of a candidate whose place is known."""
    s = draft.setup
    c = s.candidate
    gates = (*draft.gates, *found.gates)
    closed = [gate for gate in gates if not gate.open]
    primary_id, reason = _primary(c, closed, s, entry)
    return DecisionRecord(
        run=r.run,
        k=r.k,
        symbol=c.symbol,
        candidate_id=c.candidate_id,
        shadow=c.shadow,
        outcome="fired" if entry else "shadow" if c.shadow else "not_fired",
        primary_id=primary_id,
        primary_reason=reason,
        all_failed=tuple(gate.id for gate in closed),
        streak=draft.streak,
        rank=rank,
        params_version=r.params_version,
        mode=r.mode,
        clock=_clock(r),
        features=_features(c, s.reach, s.facts),
        quote=_quote(c, s.checks["spread"].age_ms),
        gates=gates,
        confidence={
            **{name: check.score for name, check in s.checks.items()},
            "composite": s.confidence,
        },
        checks=tuple(check.as_dict() for check in s.checks.values()),
        score=s.score.as_dict(),
        plan=_plan(s, found.quantity),
        would_be_action="enter" if entry or (c.shadow and not closed) else "none",
        beat=tuple(beaten) if entry else (),
    )


def rejected_record(c: Candidate, r: RoundInput, gates: tuple[GateResult, ...]) -> DecisionRecord:
    """Return the record of a candidate with a number that cannot be."""
    closed = [gate for gate in gates if not gate.open]
    return DecisionRecord(
        run=r.run,
        k=r.k,
        symbol=c.symbol,
        candidate_id=c.candidate_id,
        shadow=c.shadow,
        outcome="shadow" if c.shadow else "not_fired",
        primary_id="S12",
        primary_reason=next(gate.text for gate in closed if gate.id == "S12"),
        all_failed=tuple(gate.id for gate in closed),
        streak=0,
        rank=None,
        params_version=r.params_version,
        mode=r.mode,
        clock=_clock(r),
        features=_features(c, None),
        quote=_quote(c, None),
        gates=gates,
        confidence={},
        checks=(),
        score={},
        plan=None,
        would_be_action="none",
    )


def passed_over_record(
    c: Candidate, *, run: str, k: int, version: int, mode: str, now_ns: int, outcome: str
) -> DecisionRecord:
    """Return the record of a candidate that nobody judged: it, or its round, came too late."""
    return DecisionRecord(
        run=run,
        k=k,
        symbol=c.symbol,
        candidate_id=c.candidate_id,
        shadow=c.shadow,
        outcome=outcome,
        primary_id="late",
        primary_reason=PASSED_OVER[outcome],
        all_failed=(),
        streak=0,
        rank=None,
        params_version=version,
        mode=mode,
        clock={"bucket_end_ns": (k + 1) * BUCKET_NS, "decided_ns": now_ns},
        features=_features(c, None),
        quote=_quote(c, None),
        gates=(),
        confidence={},
        checks=(),
        score={},
        plan=None,
        would_be_action="none",
    )


def decision_rows(records: Iterable[DecisionRecord]) -> list[tuple[Value, ...]]:
    """Return the rows for `signals.digest`, sorted: market facts only, floats exact.

    Nothing of wall clock, shard, epoch or run; a gate that judges our own machines (`OPERATIONAL`)
    gives its answer, not its number; reasons are ids, because their text repeats numbers.
    """
    ordered = sorted(records, key=lambda d: (d.k, d.symbol, d.candidate_id))
    return [decision_row(record) for record in ordered]


def candidate_rows(candidates: Iterable[Candidate]) -> list[tuple[Value, ...]]:
    """Return every field of the candidates as rows for `signals.digest`, sorted."""
    ordered = sorted(candidates, key=lambda c: (c.k, c.symbol, c.candidate_id))
    return [tuple(_flat(getattr(c, name)) for name in Candidate.__struct_fields__) for c in ordered]


def funnel_of(records: Sequence[Judged]) -> dict[str, Any]:
    """Return how many candidates were left after each stage, and how often each gate closed."""
    real = [record for record in records if not record.shadow]
    left = {"candidates": len(real)}
    alive = real
    for stage in STAGES:
        alive = [d for d in alive if not any(_stage(i) == stage for i in d.all_failed)]
        left[stage] = len(alive)
    left["fired"] = sum(d.outcome == "fired" for d in real)
    closed: dict[str, int] = {}
    for d in real:
        for gate_id in d.all_failed:
            closed[gate_id] = closed.get(gate_id, 0) + 1
    return {**left, "shadow": len(records) - len(real), "closed": dict(sorted(closed.items()))}


def _stage(gate_id: str) -> str:
    return gate_id if gate_id in ("score", "confirm", "rank") else gate_id[0]


def _primary(
    c: Candidate, closed: Sequence[GateResult], s: Setup, entry: EntryPlan | None
) -> tuple[str, str]:
    """The first closed gate counts; gates are in the fixed order G, S, C, score, confirm, P."""
    if entry is not None:
        return "", f"Fired: every gate is open, score {s.score.final:.1f}, rank {entry.rank}."
    if c.shadow:
        text = "A near miss: recorded, never fires."
        if closed:
            text = f"{text} {closed[0].id}: {closed[0].text}"
        return "shadow", text[:REASON_CHARS]
    first = closed[0]
    return first.id, f"{first.id}: {first.text}"[:REASON_CHARS]


def _clock(r: RoundInput) -> dict[str, int]:
    return {"bucket_end_ns": r.bucket_end_ns, "decided_ns": r.now_ns}


def _features(
    c: Candidate, reach: float | None, facts: SymbolFacts | None = None
) -> dict[str, float | int | None]:
    found: dict[str, float | int | None] = {
        "x": c.x,
        "z": c.z,
        "accel": c.accel,
        "ao": c.ao,
        "ac": c.ac,
        "flat_len": c.flat_len,
        "n_b": c.k - c.b + 1,
        "cv": c.cum_volume,
        "cd": c.cum_dollars,
        "surge": c.surge,
        "jump_share": c.jump_share,
        "burst_trades": c.burst_trades,
        "sigma5": c.sigma5_bps,
        "sigma1m": c.sigma1m_bps,
        "p_reach": reach,
        "close": c.close,
        "base_close": c.base_close,
        "volume_5m": c.volume_5m,
        "dollar_volume_1m": c.dollar_volume_1m,
        "synthetic_share": c.synthetic_share,
    }
    if facts is not None:
        found["has_news"], found["rvol"] = facts.has_news, facts.rvol
    if math.isfinite(sum(value for value in found.values() if value is not None)):
        return found
    return {name: _finite(value) for name, value in found.items()}


def _quote(c: Candidate, age_ms: float | None) -> dict[str, float | int | None] | None:
    if c.quote is None:
        return None
    return {
        "bid": _finite(c.quote.bid),
        "ask": _finite(c.quote.ask),
        "bid_size": c.quote.bid_size,
        "ask_size": c.quote.ask_size,
        "age_ms": age_ms,
    }


def _finite(value: float | int | None) -> float | int | None:
    """JSON has no NaN."""
    return value if value is None or math.isfinite(value) else None


def _plan(s: Setup, quantity: int) -> dict[str, Any]:
    b = s.bracket
    plan: dict[str, Any] = {
        "limit": str(b.limit),
        "tp": str(b.take_profit),
        "sl": str(b.stop_loss),
        "qty": quantity,
        "tp_percent": b.take_profit_percent,
        "sl_percent": b.stop_loss_percent,
    }
    if s.sizing is not None:
        plan["binding"] = s.sizing.binding
        plan["caps"] = {name: float(cap) for name, cap in s.sizing.caps.items()}
        plan["planned_loss"] = f"{s.sizing.planned_loss:.2f}"
    return plan


def decision_row(d: DecisionRecord) -> tuple[Value, ...]:
    """Return one record's row of `decision_rows`."""
    score, plan = d.score, d.plan
    return (
        d.k,
        d.symbol,
        d.candidate_id,
        d.outcome,
        d.primary_id,
        list(d.all_failed),
        d.streak,
        d.rank,
        [*score.get("parts", {}).values(), score.get("base"), score.get("cost"),
         score.get("final")],
        [
            [gate.id, gate.passed, None if gate.id in OPERATIONAL else gate.value]
            for gate in d.gates
        ],
        None if plan is None else [plan["limit"], plan["tp"], plan["sl"], plan["qty"]],
    )  # fmt: skip


def _flat(value: Any) -> Value:
    """Return a message's value as what `digest` takes: structs and maps become lists."""
    if type(value) in _PLAIN or (type(value) is list and _PLAIN.issuperset(map(type, value))):
        plain: Value = value  # nearly everything: a window is not walked in Python
        return plain
    if isinstance(value, msgspec.Struct):
        return [_flat(getattr(value, name)) for name in value.__struct_fields__]
    if isinstance(value, Mapping):
        return [[str(key), _flat(value[key])] for key in sorted(value)]
    if isinstance(value, list | tuple):
        return [_flat(part) for part in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return float(value)  # numpy's own
