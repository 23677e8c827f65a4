"""Before a set of parameters is applied: what the last minutes would have fired under it."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from django.db.models import Q

from execution.domain.counterfactual import FEATURES, Again, Honesty, Reshape, Retrial, honesty_of
from execution.domain.reshape import reshaped, same_buckets
from execution.domain.rounds import RoundInput
from execution.models import Decision, Round, RoundState, Run
from execution.services import path
from execution.services.replay import set_of
from execution.services.rounds import inputs_of, streaks_before
from signals.messages import Candidate
from signals.nearmiss import Bar, depth_of, warm_of
from signals.session import BUCKET_NS

GONE = "Its buckets are not kept any more, or are not those that it was decided with."
MINUTES_MAX = 120
BUCKETS_PER_MINUTE = 12
#: Candidates looked at in all: a bound on time, some seconds on a small machine.
CANDIDATES_MAX = 20_000
RESHAPED_MAX = 300  # candidates whose oscillator is computed again, bucket by bucket
LISTED_MAX = 50
#: The closed buckets of a symbol up to k without a gap, oldest first, at most `depth`.
BarsOf = Callable[[Run, str, int, int], list[Bar]]
CROWD_MAX = 2_000  # candidates of the one round that `what_if` decides again


@dataclass(frozen=True, kw_only=True)
class Change:
    """A candidate in a round that would have gone another way."""

    k: int
    symbol: str
    candidate_id: str
    exact: bool  # nothing before it went another way
    score: float | None
    was: str  # the reason that was recorded
    would: str  # the reason under the other set
    decision_id: int | None


@dataclass(frozen=True, kw_only=True)
class Preview:
    """`rounds` with candidates in `minutes` up to `last_k`; `short` when not all were looked at."""

    minutes: int
    first_k: int
    last_k: int
    rounds: int
    candidates: int
    short: bool
    unknown: int  # candidates that could not be recomputed: their buckets are gone
    honesty: Honesty
    fired_before: int
    fired: int
    gained: tuple[Change, ...]
    lost: tuple[Change, ...]


def preview(
    run: Run,
    new: Mapping[str, Any],
    *,
    active: Mapping[str, Any],
    minutes: int,
    bars_of: BarsOf | None = None,
) -> Preview:
    """Decide the stored rounds of the last minutes again, under a complete valid set.

    Args:
        active: the set that `new` changes.
        minutes: of market time, 1 to 120, up to the newest round.
        bars_of: reads kept buckets, for changes of the oscillator; without it they are refused.
    """
    minutes = max(1, min(minutes, MINUTES_MAX))
    newest = Round.objects.filter(run=run).order_by("-k").values_list("k", flat=True).first()
    last_k = run.market_ns // BUCKET_NS if newest is None else newest
    first_k = last_k - minutes * BUCKETS_PER_MINUTE
    reshapes = honesty_of([active], new, kept=bars_of is not None).reshapes
    most = RESHAPED_MAX if reshapes else CANDIDATES_MAX
    stored = _Stored(run, first_k, last_k, most)
    honesty = honesty_of([active, *stored.sets.values()], new, kept=bars_of is not None)
    ks = [] if honesty.refused else stored.ks
    before = _fired(run, ks)
    again = Retrial(
        repopulate=honesty.repopulates,
        new=new,
        fired=before,
        reshape=_reshape(run, new, bars_of) if honesty.reshapes and bars_of else None,
    )
    answers = list(again.rounds(stored.inputs(ks)))
    gained = [(a, one) for a in answers for one in a.gained]
    lost = [(a, one) for a in answers for one in a.lost]
    return Preview(
        minutes=minutes,
        first_k=first_k + 1,
        last_k=last_k,
        rounds=len(ks),
        candidates=stored.candidates,
        short=stored.short,
        unknown=sum(len(a.unknown) for a in answers),
        honesty=honesty,
        fired_before=sum(map(len, before.values())),
        fired=sum(len(a.fired) for a in answers),
        gained=tuple(_change(run, a, one) for a, one in gained[:LISTED_MAX]),
        lost=tuple(_change(run, a, one) for a, one in lost[:LISTED_MAX]),
    )


@dataclass(frozen=True, kw_only=True)
class WhatIf:
    """One decision under another set. `outcome` None: it cannot be told, `honesty` says why."""

    honesty: Honesty
    outcome: str | None
    reason: str


def what_if(
    decision: Decision,
    new: Mapping[str, Any],
    *,
    old: Mapping[str, Any],
    bars_of: BarsOf | None = None,
) -> WhatIf:
    """Decide a decision's round again under a complete valid set.

    Args:
        old: the set that it was decided with.
        bars_of: reads kept buckets, for changes of the oscillator; without it they are refused.
    """
    honesty = honesty_of([old], new, kept=bars_of is not None)
    row = Round.objects.select_related("run").filter(run=decision.run_id, k=decision.k).first()
    if honesty.refused:
        return WhatIf(honesty=honesty, outcome=None, reason=honesty.note)
    if row is None or row.inputs is None or row.state != RoundState.DECIDED:
        return WhatIf(honesty=honesty, outcome=None, reason="Its inputs are not kept.")
    if row.n_candidates + row.n_shadow > CROWD_MAX:
        return WhatIf(honesty=honesty, outcome=None, reason="Its round is a crowd of thousands.")
    if honesty.by_the_day and bars_of is not None:
        by_path = path.played(row, decision.candidate_id, new, honesty, bars_of)
        if by_path is not None:
            told, last = by_path
            return WhatIf(honesty=told, outcome=last.outcome, reason=last.primary_reason)
    again = Retrial(
        new=new,
        repopulate=honesty.repopulates,
        fired={},
        streaks=streaks_before(row),
        reshape=_reshape(row.run, new, bars_of) if honesty.reshapes and bars_of else None,
    )
    (answer,) = again.rounds([inputs_of(row)])
    if decision.candidate_id in answer.unknown:
        return WhatIf(honesty=honesty, outcome=None, reason=GONE)
    record = answer.records.get(decision.candidate_id)
    if record is None:
        return WhatIf(honesty=honesty, outcome=None, reason="It came too late for its round.")
    return WhatIf(honesty=honesty, outcome=record.outcome, reason=record.primary_reason)


def _reshape(run: Run, new: Mapping[str, Any], bars_of: BarsOf) -> Reshape:
    """Return what computes a candidate again from its kept buckets."""
    same_source = {v: set_of(run, int(v))["bar_price_source"] for v in run.parameters}

    def reshape(c: Candidate, version: int, latched: tuple[int, int] | None) -> Candidate | None:
        old = set_of(run, version)
        bars = bars_of(run, c.symbol, c.k, max(depth_of(old), depth_of(new)))
        if not bars or not same_buckets(c, bars, old) or len(bars) < warm_of(new):
            return None
        if same_source.get(str(version)) != new["bar_price_source"]:
            bars = [bar._replace(source=None) for bar in bars]
        return reshaped(c, bars, new, latched)

    return reshape


class _Stored:
    """The decided rounds with candidates in (after_k, last_k], newest ones when there are many.

    A round before the oscillator was changed is of another kind: it and what is older is left out.
    """

    def __init__(self, run: Run, after_k: int, last_k: int, most: int) -> None:
        self._rows = Round.objects.filter(
            Q(n_candidates__gt=0) | Q(n_shadow__gt=0),
            run=run,
            k__gt=after_k,
            k__lte=last_k,
            state=RoundState.DECIDED,
            inputs__isnull=False,
        )
        self.candidates, self.short, self.ks = 0, False, list[int]()
        self.sets: dict[int, Mapping[str, Any]] = {}
        counts = self._rows.order_by("-k").values_list(
            "k", "n_candidates", "n_shadow", "params_version"
        )
        for k, n, shadows, version in counts:
            total = self.candidates + n + shadows
            if self.ks and (total > most or not self._same_kind(run, version)):
                self.short = True
                break
            self.candidates = total
            self.sets[version] = set_of(run, version)
            self.ks.append(k)
        self.ks.reverse()

    def _same_kind(self, run: Run, version: int) -> bool:
        newest, mine = next(iter(self.sets.values())), set_of(run, version)
        return all(newest[name] == mine[name] for name in FEATURES)

    def inputs(self, ks: list[int]) -> Iterator[RoundInput]:
        if ks:
            for row in self._rows.filter(k__gte=ks[0]).order_by("k").iterator(chunk_size=20):
                yield inputs_of(row)


def _fired(run: Run, ks: list[int]) -> dict[int, frozenset[str]]:
    if not ks:
        return {}
    found: dict[int, frozenset[str]] = {}
    rows = Decision.objects.filter(run=run, k__gte=ks[0], k__lte=ks[-1], outcome="fired")
    for k, candidate_id in rows.values_list("k", "candidate_id"):
        found[k] = found.get(k, frozenset()) | {candidate_id}
    return found


def _change(run: Run, answer: Again, candidate_id: str) -> Change:
    record = answer.records.get(candidate_id)
    stored = Decision.objects.filter(run=run, k=answer.k)
    row = stored.filter(candidate_id=candidate_id).first()
    if row is None and record is not None:  # a near miss under the name it was kept under
        row = stored.filter(symbol=record.symbol).first()
    score = record.score.get("final") if record is not None else None
    return Change(
        k=answer.k,
        symbol=record.symbol if record is not None else row.symbol if row else "",
        candidate_id=candidate_id,
        exact=answer.exact,
        score=score if isinstance(score, float) else None,
        was=row.primary_reason if row else "",
        would=record.primary_reason if record is not None else "It would be no candidate.",
        decision_id=row.pk if row else None,
    )
