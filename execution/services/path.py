"""One decision by a day that was played again from the open (`domain.path`)."""

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from execution.domain.counterfactual import Honesty
from execution.domain.path import FOLLOWED, DayPath, PathLost
from execution.domain.rounds import DecisionRecord, RoundInput
from execution.models import Round, RoundState, Run
from execution.services.rounds import inputs_of
from signals.nearmiss import Bar

CANDIDATES_MAX = 20_000  # of all rounds before: some seconds on a small machine
BADGE = "simulated day"
NOTE = (
    "The day was played again from its first round, with {names} changed: {played} by then instead "
    "of {really}. Fills are simulated and pessimistic; the kill switch is as it was."
)
BarsOf = Callable[[Run, str, int, int], list[Bar]]


def played(
    row: Round, candidate_id: str, new: Mapping[str, Any], honesty: Honesty, bars_of: BarsOf
) -> tuple[Honesty, DecisionRecord] | None:
    """Return the candidate's record at the end of the played day, with what can be said of it.

    Returns: None when simulated trades cannot follow the change, the day is too large, or buckets
        are gone.
    """
    names = [name for name, letter in honesty.classes.items() if letter == "D"]
    before = _before(row)
    if not FOLLOWED.issuperset(names) or before is None:
        return None
    day = DayPath(new=new, bars_after=_bars_after(row.run, bars_of), until_k=row.k)
    try:
        answer = deque(day.play(_inputs(row, before)), maxlen=1)[0]
    except PathLost:
        return None
    found = next((one for one in answer.records if one.candidate_id == candidate_id), None)
    if found is None:
        return None
    count = sum(one.plan.k < row.k for one in day.trades)
    really = row.run.trades.filter(k__lt=row.k, slot_key__isnull=False).count()
    note = NOTE.format(names=" and ".join(names), played=_trades(count), really=really)
    return replace(honesty, badge=BADGE, note=note), found


def _trades(count: int) -> str:
    return "1 trade" if count == 1 else f"{count or 'no'} trades"


def _before(row: Round) -> list[int] | None:
    """Return the pks of the run's decided rounds with candidates up to this one."""
    rows = Round.objects.filter(
        run=row.run_id, k__lte=row.k, state=RoundState.DECIDED, inputs__isnull=False,
        n_candidates__gt=0,
    ).exclude(pk=row.pk)  # fmt: skip
    told = list(rows.order_by("k").values_list("pk", "n_candidates"))
    return [pk for pk, _ in told] if sum(n for _, n in told) <= CANDIDATES_MAX else None


def _inputs(row: Round, before: list[int]) -> Iterator[RoundInput]:
    """Yield the rounds; near misses take no part before the round that is asked about."""
    for first in range(0, len(before), 20):
        for one in Round.objects.filter(pk__in=before[first : first + 20]).order_by("k"):
            inputs = inputs_of(one)
            yield replace(inputs, candidates=tuple(c for c in inputs.candidates if not c.shadow))
    yield inputs_of(row)


def _bars_after(run: Run, bars_of: BarsOf) -> Callable[[str, int, int], list[Bar]]:
    return lambda symbol, k, newest: bars_of(run, symbol, newest, newest - k)
