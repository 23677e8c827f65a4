"""Other decisions of a run that one changed limit would flip too, and what had become of them."""

from collections.abc import Mapping, Sequence
from typing import Any

from execution.domain.hindsight import Hindsight, hindsight, last_k
from execution.models import Decision
from signals.session import BUCKET_NS
from tradeplane.pages import figures, outcomes
from tradeplane.pages.kept import bars_of

ALIKE_MAX = 2_000
JUDGED_MAX = 10  # candidates whose later buckets are read
NOT_KEPT = "what they would have earned or lost is not known: their later buckets are not kept."


def alike(decision: Decision, gate_id: str, new: float, op: str) -> list[Decision]:
    """Return the other decisions that only this gate held back, and that would pass."""
    rows = Decision.objects.filter(
        run=decision.run_id, shadow=False, primary_reason__startswith=f"{gate_id}:"
    ).exclude(pk=decision.pk)
    found = []
    for row in rows.order_by("-pk")[:ALIKE_MAX]:
        closed = outcomes.failing_gates(row.record)
        value = closed[0].get("value") if len(closed) == 1 else None
        if not isinstance(value, int | float):
            continue
        fits = {"<": value < new, "<=": value <= new, ">": value > new, ">=": value >= new}
        if fits.get(op, False):
            found.append(row)
    return found


def results(rows: Sequence[Decision], p: Mapping[str, Any]) -> list[Hindsight]:
    """Return what became of the first round of each candidate, as far as buckets are kept."""
    first = {row.candidate_id: row for row in sorted(rows, key=lambda row: -row.k)}
    judged = [_result(row, p) for row in list(first.values())[:JUDGED_MAX]]
    return [one for one in judged if one is not None]


def _result(row: Decision, p: Mapping[str, Any]) -> Hindsight | None:
    run, plan = row.run, row.record.get("plan")
    if not plan or not run.close_ns:
        return None
    end_k = last_k(row.k, run.close_ns, p)
    newest = min(end_k, run.market_ns // BUCKET_NS - 1)
    if newest <= row.k:
        return None
    bars = bars_of(run, row.symbol, newest, newest - row.k)
    if not bars or bars[0].k != row.k + 1:
        return None
    quote = row.record.get("quote") or {}
    bid, ask = quote.get("bid") or 0.0, quote.get("ask") or 0.0
    spread_bps = 2e4 * (ask - bid) / (ask + bid) if bid and ask else float(p["max_spread_bps"])
    return hindsight(
        plan, bars, end_k=end_k, spread_bps=spread_bps, slip_bps=float(p["stop_slip_bps"])
    )


def said(rows: Sequence[Decision], found: Sequence[Hindsight], *, judged: bool) -> str:
    """Return one sentence about the others, with their results where these are known."""
    if not rows:
        return "No other decision of this run would flip with it."
    many = f"{figures.counted(len(rows), 'more decision')} of this run would flip too"
    if not judged:
        return f"{many}; the full record tells what became of them when it is asked."
    if not found:
        return f"{many}; {NOT_KEPT}"
    ends = [one.ended for one in found]
    mean = sum(one.percent for one in found) / len(found)
    stocks = len({row.candidate_id for row in rows})
    return (
        f"{many} ({figures.counted(stocks, 'candidate')}). By hindsight, with simulated fills: of "
        f"{len(found)} that are known {ends.count('target')} reached the target, "
        f"{ends.count('stop')} the stop, {ends.count('time')} neither; "
        f"{figures.percent(mean)} on average after cost."
    )
