"""The table of candidates: the newest round that had any, strongest acceleration first."""

import math
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from execution import selectors
from execution.models import Decision, Round, Run
from execution.selectors import SeenCandidate
from signals import nearmiss
from signals.candidates import Evidence
from signals.session import BUCKET_NS
from tradeplane.pages import figures, outcomes

ROWS_MAX = 40
BARS = 36
FRESH_BUCKETS = 12  # an older round's candidates are gone
#: How a record names the fields of `Evidence`, in their order.
_EVIDENCE = (
    "x", "z", "accel", "flat_len", "cv", "cd", "surge", "n_b", "jump_share", "burst_trades",
    "synthetic_share",
)  # fmt: skip


def table(run: Run, newest: Round | None, p: Mapping[str, Any]) -> dict[str, Any]:
    """Return rows, their number, and what is said when there are none.

    Args: newest: the newest round; p: the parameters that count now.
    """
    row = selectors.newest_round(run, with_candidates=True)
    if newest is None or row is None or newest.k - row.k > FRESH_BUCKETS:
        return {"rows": [], "n": 0, "at": "", "least": p["ao_min_magnitude_bps"]}
    seen = [one for one in selectors.seen_candidates(row) if not one.shadow]
    seen.sort(key=lambda one: (-_rank(one.accel), one.symbol))
    shown = seen[:ROWS_MAX]
    decided = selectors.decisions_of(run, row.k, [one.candidate_id for one in shown])
    rows = [_row(one, decided[one.candidate_id], p) for one in shown if one.candidate_id in decided]
    return {
        "rows": rows,
        "n": row.n_candidates,
        "at": figures.clock((row.k + 1) * BUCKET_NS),
        "old": newest.k - row.k,
        "least": p["ao_min_magnitude_bps"],
        "hidden": max(0, row.n_candidates - len(rows)),
    }


def _rank(value: float) -> float:
    return value if math.isfinite(value) else -math.inf


def _row(seen: SeenCandidate, decision: Decision, p: Mapping[str, Any]) -> dict[str, Any]:
    record = decision.record
    features: Mapping[str, Any] = record.get("features") or {}
    return {
        "id": decision.pk,
        "symbol": seen.symbol,
        "spark": sparkline(seen.window),
        **_price(seen),
        "accel": figures.number(features.get("accel"), 1, signed=True),
        "accel_sort": f"{_rank(seen.accel):.6f}",
        "x": figures.number(features.get("x"), 1),
        "surge": figures.number(features.get("surge"), 1),
        "z": figures.number(features.get("z"), 1),
        **_quote(seen),
        **score(decision, p),
        **verdict(decision),
    }


def sparkline(window: Mapping[str, list[Any]]) -> str:
    """Return the last bars of the oscillator as text for the page's canvas."""
    values = (window.get("x") or [])[-BARS:]
    return ",".join(
        f"{v:.2f}" if isinstance(v, int | float) and math.isfinite(v) else "0" for v in values
    )


def _price(seen: SeenCandidate) -> dict[str, Any]:
    base = seen.session.prev_close or seen.session.open
    change = 100 * (seen.close / base - 1) if base else None
    return {
        "price": figures.price(seen.close),
        "change": ""
        if change is None
        else f"{figures.arrow(change)}{figures.NARROW}"
        f"{figures.number(abs(change), 2)}{figures.NARROW}%",
        "tone": figures.tone(change),
    }


def _quote(seen: SeenCandidate) -> dict[str, str]:
    quote = seen.quote
    if quote is None or quote.bid <= 0 or quote.ask <= 0:
        return {"quote": figures.MISSING, "spread": "no quote"}
    wide = 20_000 * (quote.ask - quote.bid) / (quote.ask + quote.bid)
    return {
        "quote": f"{figures.price(quote.bid)} × {figures.price(quote.ask)}",
        "spread": f"{wide:.0f} bps wide",
    }


def score(decision: Decision, p: Mapping[str, Any]) -> dict[str, Any]:
    """Return the score with its bar, its mark, and the dots of confirmed rounds."""
    need = int(p["confirm_buckets"])
    final = decision.score
    return {
        "score": figures.number(final, 1),
        "score_sort": f"{final if final is not None else -1:.4f}",
        "score_width": f"{min(100.0, max(0.0, final or 0.0)):.1f}",
        "score_low": final is None or final < p["min_score"],
        "bar_at": f"{p['min_score']:.1f}",
        "pips": [n < decision.streak for n in range(min(need, 6))],
        "pips_said": f"{decision.streak} of {need} rounds passed",
    }


def verdict(decision: Decision) -> dict[str, Any]:
    """Return the outcome, the gate that counted first, and its sentence."""
    record = decision.record
    closed = outcomes.failing_gates(record)
    gate_id = record.get("primary_id") or (closed[0]["id"] if closed else "")
    unknown = bool(closed) and closed[0].get("pass") is None
    found = outcomes.outcome_of(decision.outcome, gate_id, unknown=unknown)
    said = closed[0]["text"] if closed else decision.primary_reason
    chip = outcomes.label_of(gate_id) if gate_id and gate_id != "shadow" else ""
    if decision.shadow and (why := missed(decision)):
        said, chip = why, ""
    return {"out": found, "chip": chip, "why": said}


def missed(decision: Decision) -> str:
    """Say which threshold of a candidate a near miss did not reach, "" when that is not known.

    It counts before any gate: those are judged for a near miss as if it had been a candidate.
    """
    seen, version = decision.record.get("features") or {}, decision.record.get("params_version")
    p = decision.run.parameters.get(str(version))
    if p is None or not set(_EVIDENCE) <= set(seen):
        return ""
    known = Evidence._make(math.nan if seen[name] is None else seen[name] for name in _EVIDENCE)
    tests = nearmiss.tests(known, nearmiss.limits_of(p), buckets=1, warm=1)
    return next((test.text for test in tests if not test.passed), "")


def nearest_miss(run: Run, newest: Round | None) -> str:
    """Name the strongest near miss of the newest round that recorded one, or say nothing."""
    if newest is None:
        return ""
    recent = Decision.objects.filter(run=run, shadow=True, k__gt=newest.k - FRESH_BUCKETS)
    recent = recent.select_related("run")
    rows = list(recent.order_by("-k")[:ROWS_MAX])
    misses = [row for row in rows if isinstance(row.record.get("features", {}).get("x"), float)]
    if not misses:
        return ""
    best = max(misses, key=lambda row: row.record["features"]["x"])
    x = figures.number(best.record["features"]["x"], 1)
    return f"The nearest is {best.symbol} with {x} bps. {missed(best)}".rstrip()


def money_of(decision: Decision) -> Decimal | None:
    """Return what the planned order would take, USD."""
    plan = decision.record.get("plan")
    return None if not plan else Decimal(plan["limit"]) * int(plan["qty"])
