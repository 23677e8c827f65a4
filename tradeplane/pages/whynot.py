"""“Why not?” for any symbol at any five seconds, also for one that was no candidate.

A decision record answers when there is one. Else the evidence is recomputed from the closed buckets
that were kept: record files and archive on this host, then the shards' store, which forgets after
`bucket_ttl`. What is gone is said to be gone.
"""

from dataclasses import dataclass, replace
from datetime import datetime, time
from typing import Any
from urllib.parse import urlencode

from execution.domain.counterfactual import BADGES, class_of
from execution.models import Decision, Round, Run
from signals import nearmiss
from signals.nearmiss import Test
from signals.session import BUCKET_NS, new_york_ns
from tradeplane.pages import figures
from tradeplane.pages.decisions import gate_line
from tradeplane.pages.flips import just_enough
from tradeplane.pages.kept import kept_bars


@dataclass(frozen=True, kw_only=True)
class WhyNot:
    """`state`: decided (see the record), recomputed, young, outside, gone."""

    symbol: str
    k: int
    state: str
    said: str
    decision_id: int | None = None
    source: str = ""  # files, store
    tests: tuple[Test, ...] = ()
    note: str = ""

    @property
    def missing(self) -> tuple[Test, ...]:
        return tuple(test for test in self.tests if not test.passed)

    def changes(self) -> list[dict[str, Any]]:
        """Return what each missed limit would have had to be; empty when some have none."""
        found = []
        for test in self.missing:
            if not test.name or test.value is None or test.value <= 0:
                return []
            new = just_enough(test.name, test.value, test.op)
            found.append({"name": test.name, "from": f"{test.limit:g}", "to": f"{new:g}"})
        return found

    @property
    def query(self) -> str:
        """The query that fills the parameters form with all changes."""
        pairs = [("change", f"{one['name']}:{one['to']}") for one in self.changes()]
        return urlencode([*pairs, ("why", f"{self.symbol} was no candidate")]) if pairs else ""

    @property
    def badge(self) -> str:
        """How sure it is that these changes would have made a candidate."""
        return BADGES["B"] if any(class_of(t.name) == "B" for t in self.missing) else BADGES["C"]


def bucket_at(run: Run, text: str) -> int | None:
    """Return the bucket that holds a New York time of the run's day; None when it is no time."""
    if run.day is None:
        return None
    for form in ("%H:%M:%S", "%H:%M"):
        try:
            at: time = datetime.strptime(text.strip(), form).time()  # noqa: DTZ007
        except ValueError:
            continue
        return new_york_ns(run.day, at) // BUCKET_NS
    return None


def why_not(run: Run, symbol: str, k: int) -> WhyNot:
    """Return why a symbol did not fire in bucket k of the run."""
    stored = Decision.objects.filter(run=run, symbol=symbol, k=k).order_by("shadow").first()
    if stored is not None:
        return WhyNot(
            symbol=symbol, k=k, state="decided", said=stored.primary_reason,
            decision_id=stored.pk,
        )  # fmt: skip
    answer = WhyNot(symbol=symbol, k=k, state="outside", said=_outside(run, k))
    if answer.said:
        return answer
    row = Round.objects.filter(run=run, k=k).values_list("params_version", flat=True).first()
    p = run.parameters.get(str(run.parameters_version if row is None else row), {})
    bars, source = kept_bars(run, symbol, k, nearmiss.depth_of(p)) if p else ([], "")
    if not bars:
        return replace(answer, state="gone", said=_gone(run, symbol, p))
    warm = nearmiss.warm_of(p)
    tests = nearmiss.tests(
        nearmiss.evidence_of(bars, p), nearmiss.limits_of(p), buckets=len(bars), warm=warm
    )
    young = len(bars) < warm
    tests = [one for one in tests if not young or one.id == "T1" or one.value is not None]
    made = replace(answer, source=source, tests=tuple(tests), note=_note(source, p))
    if young:
        return replace(made, state="young", said=tests[0].text)
    return replace(made, state="recomputed", said=_said(run, made, p))


def _outside(run: Run, k: int) -> str:
    start_ns, end_ns = k * BUCKET_NS, (k + 1) * BUCKET_NS
    if not run.open_ns or start_ns < run.open_ns or end_ns > run.close_ns:
        return "The session was not open then."
    if end_ns > run.market_ns:
        return "These five seconds are not over yet."
    return ""


def _gone(run: Run, symbol: str, p: dict[str, Any]) -> str:
    minutes = int(p.get("bucket_ttl", 900)) // 60
    return (
        f"No bucket of {symbol} is kept for this time: it had not traded yet, or it is gone (the "
        f"shards keep {minutes} minutes; older ones need the archive or the tape)."
    )


def _said(run: Run, answer: WhyNot, p: dict[str, Any]) -> str:
    if answer.missing:
        first = answer.missing[0]
        return f"It was no candidate. {first.id}: {first.text}"
    resting = int(p["candidate_cooldown_s"]) // 5
    before = Decision.objects.filter(
        run=run, symbol=answer.symbol, shadow=False, k__lt=answer.k, k__gte=answer.k - resting - 1
    )
    if before.exists():
        return "It met every threshold, but its last candidacy had just ended: it was cooling down."
    return (
        "It met every threshold by the buckets that were kept: it was halted, its data had a gap, "
        "or its shard had just begun."
    )


def _note(source: str, p: dict[str, Any]) -> str:
    if source == "store":
        return "Recomputed from the shards' own buckets."
    said = "Recomputed from the archived buckets; blocks that the surge leaves out are in them."
    if p["bar_price_source"] == "mid":
        said += " Quote midpoints are not: high and low stand in for them."
    return said


def told(answer: WhyNot) -> dict[str, Any]:
    """Return the answer as the symbol page shows it."""
    changes = answer.changes()
    return {
        "symbol": answer.symbol,
        "at": figures.clock((answer.k + 1) * BUCKET_NS),
        "said": answer.said,
        "state": answer.state,
        "note": answer.note,
        "lines": [_line(test) for test in sorted(answer.tests, key=lambda one: one.passed)],
        "passed": f"{len(answer.tests) - len(answer.missing)} of {len(answer.tests)} met",
        "changes": changes,
        "query": answer.query,
        "badge": answer.badge if changes else "",
    }


def _line(test: Test) -> dict[str, Any]:
    return gate_line(
        {
            "id": test.id,
            "pass": None if test.value is None else test.passed,
            "open": test.passed,
            "text": test.text,
            "op": test.op,
            "limit": test.limit,
            "margin": test.margin,
        },
        (test.name,) if test.name else (),
    )
