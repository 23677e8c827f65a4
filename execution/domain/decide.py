"""The one decision per round: which candidates become orders, and why the others do not.

Pure and total: the same input gives the same answer, whatever the order in which reports and
candidates came. Nothing is skipped: every gate is evaluated for every candidate.
Source: design, trigger 5.2.
"""

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Any

import msgspec

from execution.domain.gates import global_gates, state, unknown
from execution.domain.portfolio import Place, Portfolio, place
from execution.domain.prices import decimal_of
from execution.domain.records import funnel_of, record_of, rejected_record
from execution.domain.replacement import replacement
from execution.domain.rounds import (
    DecisionRecord,
    EntryPlan,
    Exposure,
    GateResult,
    Replacement,
    RoundDecision,
    RoundInput,
    Streak,
)
from execution.domain.sealing import Sealed
from execution.domain.setup import Common, Draft, Setup, bad_input, common_of, set_up
from execution.domain.sizing import with_slip
from execution.domain.symbol_gates import confidence_gates, symbol_gates
from signals.messages import Candidate

SYMBOL_GATES = tuple(f"S{n}" for n in range(1, 14))
CONFIDENCE_GATES = tuple(f"C{n}" for n in range(1, 5))
PORTFOLIO_GATES = tuple(f"P{n}" for n in range(1, 8))
ALL = slice(None)
_encoder = msgspec.msgpack.Encoder()


def decide(
    round: RoundInput, parameters: Mapping[str, Any], previous: Mapping[str, Streak]
) -> RoundDecision:
    """Return the round's decision.

    Args:
        parameters: a complete, valid set (`signals.parameters.catalogue`).
        previous: the streaks that the round before returned, by candidate id.
    """
    found = drafted(round, parameters, previous)
    placed, entries, replaced = places(found.ready, round, parameters)
    records = sorted(found.records + placed, key=in_order)
    return RoundDecision(
        records=tuple(records),
        entries=tuple(entries),
        streaks=found.streaks,
        funnel=funnel_of(records),
        replacement=replaced,
    )


def in_order(record: DecisionRecord | Sealed) -> tuple[str, str]:
    """Return what the records of a round are sorted by."""
    return record.symbol, record.candidate_id


@dataclass(kw_only=True)
class Drafted:
    """Candidates judged each for itself: who is not ready has its record already."""

    records: list[DecisionRecord] = field(default_factory=list)
    ready: list[Draft] = field(default_factory=list)
    streaks: dict[str, Streak] = field(default_factory=dict)


def drafted(
    round: RoundInput,
    parameters: Mapping[str, Any],
    previous: Mapping[str, Streak],
    part: slice = ALL,
    only: Container[str] | None = None,
) -> Drafted:
    """Judge the round's candidates, or a part of them.

    Args:
        part: of the candidates in their order.
        only: ids; the others are left out. None: nobody is.
    """
    shared, common = global_gates(round, parameters), common_of(round, parameters)
    portfolio, found = Portfolio(round, parameters), Drafted()
    for c in _unique(round.candidates)[part]:
        if only is not None and c.candidate_id not in only:
            continue
        if bad := bad_input(c):
            found.records.append(rejected_record(c, round, _rejected_gates(shared, bad)))
            continue
        draft = _draft(c, round, parameters, shared, previous, common)
        if draft.streak > 0:
            found.streaks[c.candidate_id] = Streak(
                k=round.k, count=draft.streak, params_version=round.params_version
            )
        if draft.ready:
            found.ready.append(draft)
        else:  # written at once: of a crowd only the record stays in memory
            found.records.append(record_of(draft, round, portfolio.place(draft.setup)))
    return found


def _unique(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Return the candidates in a total order, one for each id: the newest, then by content."""

    def identity(c: Candidate) -> tuple[str, str]:
        return c.symbol, c.candidate_id

    ordered = sorted(candidates, key=identity)
    grouped = (list(same) for _, same in groupby(ordered, key=identity))
    return [
        same[0] if len(same) == 1 else min(same, key=lambda c: (-c.k, _encoder.encode(c)))
        for same in grouped
    ]


def _draft(
    c: Candidate,
    r: RoundInput,
    p: Mapping[str, Any],
    shared: tuple[GateResult, ...],
    previous: Mapping[str, Streak],
    common: Common,
) -> Draft:
    setup = set_up(c, r, p, common)
    gates = (*shared, *symbol_gates(setup, r, p), *confidence_gates(setup, r, p))
    ok = all(gate.open for gate in gates)
    streak = _streak(setup, r, p, previous.get(c.candidate_id), ok)
    score = _score_gate(setup, p)
    confirm = _confirm_gate(streak, p, asked=ok and score.open)
    return Draft(
        setup=setup,
        gates=(*gates, score, confirm),
        streak=streak,
        ready=ok and score.open and confirm.open and not c.shadow,
    )


def _streak(s: Setup, r: RoundInput, p: Mapping[str, Any], old: Streak | None, ok: bool) -> int:
    """Return the rounds in a row; a gap or other parameters start again, a shadow never counts."""
    if not ok or s.candidate.shadow:
        return 0
    goes_on = (
        old is not None
        and old.count > 0
        and old.k + 1 == r.k
        and old.params_version == r.params_version
    )
    if old is not None and goes_on and s.score.final >= p["min_score"] - p["score_hysteresis"]:
        return old.count + 1
    return 1 if s.score.final >= p["min_score"] else 0


def _score_gate(s: Setup, p: Mapping[str, Any]) -> GateResult:
    final, least = s.score.final, p["min_score"]
    return GateResult(
        id="score",
        passed=final >= least,
        open=final >= least,
        text=f"Score is {final:.1f}; your minimum is {least:.1f}.",
        value=final,
        op=">=",
        limit=least,
        margin=final - least,
    )


def _confirm_gate(streak: int, p: Mapping[str, Any], *, asked: bool) -> GateResult:
    need = p["confirm_buckets"]
    if not asked:
        return unknown("confirm", "Not asked: something before it is closed.", open=True)
    rounds = "1 round" if streak == 1 else f"{streak} rounds"
    return GateResult(
        id="confirm",
        passed=streak >= need,
        open=streak >= need,
        text=f"Passed every gate in {rounds}; you ask for {need} in a row.",
        value=streak,
        op=">=",
        limit=need,
        margin=streak - need,
    )


def _order(d: Draft) -> tuple[float, float, float, str, str]:
    c = d.setup.candidate
    return -d.setup.score.final, -c.dollar_volume_1m, d.setup.spread, c.symbol, c.candidate_id


def places(
    drafts: Iterable[Draft], r: RoundInput, p: Mapping[str, Any]
) -> tuple[list[DecisionRecord], list[EntryPlan], Replacement | None]:
    """Return records, entries and the replacement of the ready ones.

    They are taken in rank order until slots, caps or the round's number are used up."""
    ready = sorted(drafts, key=_order)
    entries: list[EntryPlan] = []
    taken: list[Exposure] = []
    answers: list[tuple[Draft, Place, EntryPlan | None]] = []
    replaced: Replacement | None = None
    for rank, d in enumerate(ready, 1):
        found = place(d.setup, r, p, taken)
        turn = _turn_gate(r, p, entries)
        found = replace(found, gates=(*found.gates, turn))
        entry = None
        if all(gate.open for gate in found.gates):
            entry = _entry(d, r, p, rank, found.quantity)
            entries.append(entry)
            taken.append(_as_exposure(d, entry))
        elif replaced is None and turn.open and not found.gates[0].open:
            replaced = replacement(d.setup, r, p, taken)
            found = _saying(found, replaced)
        answers.append((d, found, entry))
    beaten = tuple(
        {"symbol": d.setup.candidate.symbol, "final": d.setup.score.final}
        for d, _, entry in answers
        if entry is None
    )
    records = [
        record_of(d, r, found, rank=rank, entry=entry, beaten=beaten)
        for rank, (d, found, entry) in enumerate(answers, 1)
    ]
    return records, entries, replaced


def _saying(found: Place, replaced: Replacement | None) -> Place:
    """Add to P1 what makes room for the candidate; it stays closed until that is sold."""
    if replaced is None:
        return found
    busy, *rest = found.gates
    text = f"{busy.text} {replaced.text}"
    return replace(found, gates=(msgspec.structs.replace(busy, text=text), *rest))


def _turn_gate(r: RoundInput, p: Mapping[str, Any], entries: Sequence[EntryPlan]) -> GateResult:
    """Is it this candidate's turn, after the entries with a better rank?"""
    names = ", ".join(f"{e.symbol} {e.score:.1f}" for e in entries)
    most = min(p["max_entries_per_round"], p["max_trades_per_day"] - (r.trades_today or 0))
    return state(
        "rank",
        len(entries) < most,
        "It is this candidate's turn.",
        f"Beaten by {names}; {most} entries are left for this round.",
    )


def _entry(d: Draft, r: RoundInput, p: Mapping[str, Any], rank: int, quantity: int) -> EntryPlan:
    s = d.setup
    b = s.bracket
    return EntryPlan(
        symbol=s.candidate.symbol,
        candidate_id=s.candidate.candidate_id,
        k=r.k,
        rank=rank,
        score=s.score.final,
        quantity=quantity,
        limit=b.limit,
        take_profit=b.take_profit,
        stop_loss=b.stop_loss,
        entry_style=p["entry_style"],
        time_in_force=p["bracket_tif"],
        take_profit_percent=b.take_profit_percent,
        stop_loss_percent=b.stop_loss_percent,
        planned_loss=quantity * with_slip(b.limit, b.stop_loss, p),
        signal_price=decimal_of(s.candidate.close),
        expires_ns=r.bucket_end_ns + p["max_signal_age_ms"] * 1_000_000,
        params_version=r.params_version,
        sector=s.facts.sector,
        round_trip_bps=float(s.checks["spread"].inputs.get("round_trip_bps") or 0.0),
    )


def _as_exposure(d: Draft, entry: EntryPlan) -> Exposure:
    return Exposure(
        symbol=entry.symbol,
        quantity=entry.quantity,
        entry=entry.limit,
        stop=entry.stop_loss,
        sector=entry.sector,
        returns_1m_bps=tuple(d.setup.candidate.returns_1m_bps),
    )


def _rejected_gates(shared: tuple[GateResult, ...], bad: str) -> tuple[GateResult, ...]:
    """A number that cannot be: S12 says so, nothing else of the candidate is judged."""
    rest = (*SYMBOL_GATES, *CONFIDENCE_GATES, *PORTFOLIO_GATES)
    return shared + tuple(
        state("S12", False, "", f"Bad input: {bad}.", "bad_input")
        if gate_id == "S12"
        else unknown(gate_id, "Not evaluated: the candidate's data is bad.", open=True)
        for gate_id in rest
    )
