"""One candidate before the gates, in one line."""

from typing import Any

from execution.domain.decide import decide
from execution.domain.rounds import DecisionRecord, GateResult, SymbolFacts
from tests.unit.domain_builders import a_candidate, a_quote, a_round, some_parameters


def judged(
    *,
    quote: dict[str, Any] | None = None,
    candidate: dict[str, Any] | None = None,
    facts: dict[str, Any] | None = None,
    round: dict[str, Any] | None = None,
    **parameters: Any,
) -> DecisionRecord:
    """The record of the worked candidate with these changes."""
    seen = a_candidate(**{"quote": a_quote(**(quote or {})), **(candidate or {})})
    inputs = a_round(seen, **{"symbols": {seen.symbol: SymbolFacts(**(facts or {}))},
                              **(round or {})})  # fmt: skip
    return decide(inputs, some_parameters(**parameters), {}).records[0]


def gate(record: DecisionRecord, gate_id: str) -> GateResult:
    return next(one for one in record.gates if one.id == gate_id)
