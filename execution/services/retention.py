"""Forgets decision records that are older than `decision_retention_days`, oldest first.

Only beginnings of a run's chain go, a few hundred rows at a time; where it was cut, the digest of
the last record that went is kept in `DecisionChain`, so what is left still hangs together and
`manage.py decisions verify` still finds every change. The packed inputs of a round go once no
record names them. Rounds themselves, orders, trades and books stay.
"""

from datetime import datetime, timedelta
from itertools import takewhile

from django.db import transaction
from django.db.models import Exists, F, OuterRef

from execution.models import Decision, DecisionChain, Round, Run
from execution.services import activity

BATCH = 500
BATCHES_MAX = 20  # per call
BEFORE_OPEN_NS = 30 * 60 * 1_000_000_000
AFTER_CLOSE_NS = 5 * 60 * 1_000_000_000


def is_quiet(run: Run) -> bool:
    """Tell whether the run's session is neither on nor near, by its market clock."""
    return not run.open_ns - BEFORE_OPEN_NS <= run.market_ns < run.close_ns + AFTER_CLOSE_NS


def prune(*, now: datetime, days: int) -> int:
    """Delete records decided more than `days` days ago (never today's); return how many went."""
    before, gone = now - timedelta(days=max(days, 1)), 0
    left = BATCHES_MAX
    for chain in DecisionChain.objects.filter(length__gt=F("pruned")).order_by("run_id"):
        last_k = _last_k(chain.run_id, before)
        went = 0
        while last_k is not None and left > 0:
            left -= 1
            count = _cut(chain.run_id, last_k)
            went += count
            if count < BATCH:
                break
        if went:
            text = f"{went} decision records older than {days} days were deleted"
            activity.note(chain.run_id, "round", text, records=went)
        gone += went
    _forget_inputs(before)
    return gone


def _last_k(run_id: str, before: datetime) -> int | None:
    old = Round.objects.filter(run_id=run_id, decided_at__lt=before).order_by("-k")
    return old.values_list("k", flat=True).first()


@transaction.atomic
def _cut(run_id: str, last_k: int) -> int:
    """Cut the chain's first records off, at most a batch, and remember where."""
    chain = DecisionChain.objects.select_for_update().get(run_id=run_id)
    mine = Decision.objects.filter(run_id=run_id).order_by("pk").values_list("pk", "k", "digest")
    first = list(takewhile(lambda row: row[1] <= last_k, mine[:BATCH]))
    if not first:
        return 0
    old = Decision.objects.filter(pk__in=[pk for pk, _, _ in first])
    old._raw_delete(old.db)  # the one way round `AppendOnly`: here, with the cut written down
    chain.pruned += len(first)
    chain.pruned_head = first[-1][2]
    chain.save(update_fields=["pruned", "pruned_head"])
    return len(first)


def _forget_inputs(before: datetime) -> None:
    """Drop the packed inputs of old rounds that no record names any more, a batch of them."""
    naming = Decision.objects.filter(run=OuterRef("run"), k=OuterRef("k"))
    old = Round.objects.filter(~Exists(naming), decided_at__lt=before, inputs__isnull=False)
    rows = list(old.order_by("pk").values_list("pk", flat=True)[:BATCH])
    Round.objects.filter(pk__in=rows).update(inputs=None, late_inputs=None, decision_rows=None)
