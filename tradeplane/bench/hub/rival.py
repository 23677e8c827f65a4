"""The rival of the crowd: the loop that one writes first, which asks the database per candidate.

It judges with the same gates and stores the same record for each candidate; its transaction is one,
as ours, which flatters it.
"""

from dataclasses import replace

from django.db import transaction

from execution import selectors
from execution.domain.decide import decide
from execution.domain.records import decision_rows
from execution.domain.rounds import RoundInput, Streak, SymbolFacts
from execution.models import Decision, KillSwitch, Order, Round, Trade
from execution.services import chain, rounds
from signals.messages import Candidate


def decide_row_by_row(row: Round, count: int) -> None:
    """Decide the first `count` candidates of a round, each with facts and a row of its own."""
    inputs = rounds.inputs_of(row)
    with transaction.atomic():
        for candidate in inputs.candidates[:count]:
            _decide(row, inputs, candidate)


def _decide(row: Round, inputs: RoundInput, candidate: Candidate) -> None:
    run, symbol = row.run, candidate.symbol
    parameters = run.parameters[str(row.params_version)]
    newest = KillSwitch.objects.first()
    day = selectors.trading_day(run)
    same = Trade.objects.filter(run=run, symbol=symbol)
    before = Decision.objects.filter(run=run, candidate_id=candidate.candidate_id, k=row.k - 1)
    streak = before.values_list("streak", flat=True).first() or 0
    one = replace(
        inputs,
        candidates=(candidate,),
        kill_switch="none" if newest is None else newest.level,
        trades_today=day.trades,
        busy_symbols=frozenset({symbol}) if same.filter(closed_ns=None).exists() else frozenset(),
        unresolved_order=Order.objects.filter(run=run, quarantined=True).exists(),
        symbols={symbol: SymbolFacts(trades_today=same.count())},
    )
    previous = {candidate.candidate_id: Streak(k=row.k - 1, count=streak, params_version=1)}
    (record,) = decide(one, parameters, previous).records
    decision_rows([record])
    Decision.objects.create(
        run=run, k=row.k, symbol=symbol, candidate_id=record.candidate_id, outcome=record.outcome,
        primary_reason=record.primary_reason, shadow=record.shadow, streak=record.streak,
        rank=record.rank, record=chain.plain(record.as_dict()),
    )  # fmt: skip
