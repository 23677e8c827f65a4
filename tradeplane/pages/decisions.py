"""One decision told in full: the answer, every gate, what would flip it, score and plan."""

from collections.abc import Mapping, Sequence
from typing import Any

from execution import selectors
from execution.domain.sizing import CAPS
from execution.models import Decision, Order, Run
from signals.session import BUCKET_NS
from tradeplane.pages import candidates, figures, flips, outcomes

PARTS = {
    "z": "Burst against noise",
    "a": "Acceleration",
    "v": "Volume surge",
    "r": "Reach of the target",
    "c": "Confidence",
}
STAGES = {
    "candidates": "Candidates",
    "G": "left by the whole system",
    "S": "left by their stock",
    "C": "confident",
    "score": "with the score",
    "confirm": "confirmed",
    "P": "that fit the portfolio",
    "fired": "fired",
}
ENDINGS = {
    "magnitude": "It accelerates no more.",
    "age": "The burst grew too old.",
    "halt": "The stock was halted.",
    "gap": "Its data had a gap.",
    "revised": "A print of the burst was taken back.",
}
IGNORED = {
    "copy": "It was told a second time: the copy was ignored.",
    "other": "It was told a second time, and differently: the first one counts.",
    "old_life": "A shard's life that is over told of it: ignored.",
}
AFTER = 12  # buckets behind the newest decision
#: Gates whose value is a share: told in percent.
SHARES = frozenset({"S10", "S12", "G4"})
UNITS = {"S4": "%", "S7": "ms", "S8": "%", "S9": "bps", "C4": "%", "G15": "%", "P2": "%", "P3": "%"}


def told(decision: Decision, p: Mapping[str, Any], *, judge: str = "") -> dict[str, Any]:
    """Return a decision as the symbol page shows it.

    Args: p: the set it was decided with; judge: who asks what became of others that would flip
            too, "" nobody does.
    """
    record = decision.record
    closed = outcomes.failing_gates(record)
    gates = record.get("gates") or []
    seen = candidates.verdict(decision)
    return {
        "id": decision.pk,
        "symbol": decision.symbol,
        "k": decision.k,
        "at": figures.clock((decision.k + 1) * BUCKET_NS),
        "version": record.get("params_version"),
        **seen,
        "fired": decision.outcome == "fired",
        "title": title(decision),
        "passed": f"{len(gates) - len(closed)} of {len(gates)} passed",
        "first": [gate_line(gate) for gate in closed],
        "tightest": tightest(gates),
        "groups": groups(gates),
        "flip": flips.flip(decision, closed, p, judge=judge),
        "score": score(record, p),
        "plan": plan(record),
        "facts": facts(record),
        "round": round_funnel(decision),
    }


def round_funnel(decision: Decision) -> dict[str, Any] | None:
    """Return how its round narrowed down, and which gates stood in the way most often."""
    found = selectors.funnel(decision.run, decision.k)
    if "candidates" not in found:
        return None
    left = [(word, found[name]) for name, word in STAGES.items() if name in found]
    closed = ", ".join(
        f"{outcomes.label_of(gate)} {count}" for gate, count in list(found["closed"].items())[:5]
    )
    return {"stages": left, "closed": closed}


def title(decision: Decision) -> str:
    if decision.outcome == "fired":
        return f"Why did {decision.symbol} fire?"
    return f"Why not {decision.symbol}?"


def summary(decision: Decision) -> dict[str, Any]:
    """Return one line of a symbol's decision record."""
    clock = decision.record.get("clock") or {}
    took = None
    if clock.get("decided_ns") and clock.get("bucket_end_ns"):
        took = (clock["decided_ns"] - clock["bucket_end_ns"]) / 1e6
    return {
        "id": decision.pk,
        "at": figures.time_of((decision.k + 1) * BUCKET_NS),
        **candidates.verdict(decision),
        "score": figures.number(decision.score, 1),
        "streak": decision.streak,
        "took": figures.milliseconds(took),
    }


def timeline(run: Run, rows: list[Decision]) -> list[dict[str, Any]]:
    """Return a symbol's decisions, and between them what else was told of it; newest first."""
    lines = [(row.k, 0, summary(row)) for row in rows]
    if rows:
        # one that ended has no decision in that round: look a little behind the newest
        ended = selectors.withdrawals(run, rows[0].symbol, rows[-1].k, rows[0].k + AFTER)
        lines += [(k, 1, _withdrawn(k, reason)) for k, reason in ended]
        copies = selectors.duplicates(run, rows[0].symbol, rows[-1].k, rows[0].k + AFTER)
        lines += [(k, -1, _ignored(k, what)) for k, what in copies]
    return [line for _, _, line in sorted(lines, key=lambda one: one[:2], reverse=True)]


def _withdrawn(k: int, reason: str) -> dict[str, Any]:
    return _aside(k, outcomes.WITHDRAWN, ENDINGS.get(reason, figures.words(reason)))


def _ignored(k: int, what: str) -> dict[str, Any]:
    return _aside(k, outcomes.DUPLICATE, IGNORED.get(what, figures.words(what)))


def _aside(k: int, out: outcomes.Outcome, why: str) -> dict[str, Any]:
    """A line of the timeline that is no decision."""
    return {
        "id": None,
        "at": figures.time_of((k + 1) * BUCKET_NS),
        "out": out,
        "why": why,
        "score": figures.MISSING,
        "streak": figures.MISSING,
        "took": figures.MISSING,
    }


def gate_line(gate: Mapping[str, Any], names: Sequence[str] = ()) -> dict[str, Any]:
    """Return a gate with its sign, its spoken word, its margin and the parameters it asks for."""
    if gate.get("pass") is None:
        key, icon, spoken = "unk", "i-q", "unknown: "
        if outcomes.is_open(gate):
            key, icon, spoken = "off", "i-dash", "not asked or unknown, lets pass: "
    elif outcomes.is_open(gate):
        key, icon, spoken = "pass", "i-check", "passed: "
    else:
        key, icon, spoken = "fail", "i-x", "failed: "
    return {
        "key": key,
        "icon": icon,
        "spoken": spoken,
        "label": outcomes.short_of(str(gate.get("id", ""))),
        "text": str(gate.get("text", "")),
        "names": names or flips.ASKS_FOR.get(str(gate.get("id")), ()),
        "margin": margin(gate),
    }


def margin(gate: Mapping[str, Any]) -> str:
    """`0.41 over`, `1.08 left`; "" when the gate is no comparison."""
    found = gate.get("margin")
    if not isinstance(found, int | float) or not isinstance(gate.get("limit"), int | float):
        return ""
    size, unit = abs(found), UNITS.get(str(gate.get("id")), "")
    if gate.get("id") in SHARES and abs(gate["limit"]) <= 1:
        size, unit = 100 * size, "%"
    if size == 0 and not outcomes.is_open(gate):
        return "at the limit"
    digits = 0 if size >= 100 or float(size).is_integer() else 1 if size >= 10 else 2
    word = "left" if found >= 0 else "over" if gate.get("op") in ("<", "<=") else "short"
    shown = figures.number(size, digits)
    return f"{shown}{figures.NARROW}{unit} {word}" if unit else f"{shown} {word}"


def tightest(gates: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Return the open gate that came nearest to its limit, measured in its own limit."""
    close = [
        (gate["margin"] / abs(gate["limit"]), n)
        for n, gate in enumerate(gates)
        if outcomes.is_open(gate)
        and gate.get("pass")
        and isinstance(gate.get("margin"), int | float)
        and isinstance(gate.get("limit"), int | float)
        and gate["limit"]
    ]
    return gate_line(gates[min(close)[1]]) if close else None


def groups(gates: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the gates in their groups; one with a closed gate stands open on the page."""
    found = []
    for name, _ in outcomes.GROUPS:
        mine = [gate for gate in gates if outcomes.group_of(gate["id"]) == name]
        if not mine:
            continue
        bad = sum(not outcomes.is_open(gate) for gate in mine)
        lines = sorted(mine, key=outcomes.is_open)
        said = f"all {len(mine)} passed" if not bad else f"{len(mine) - bad} of {len(mine)} passed"
        found.append(
            {"name": name, "open": bad > 0, "said": said, "gates": [gate_line(g) for g in lines]}
        )
    return found


def score(record: Mapping[str, Any], p: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parts of the score as bars, what cost took off, and the bar to pass."""
    found = record.get("score") or {}
    parts = found.get("parts") or {}
    cost = found.get("cost")
    return {
        "final": figures.number(found.get("final"), 1),
        "bar": f"{p['min_score']:.1f}",
        "base": figures.number(found.get("base"), 1),
        "cost": "" if cost is None else f"{figures.MINUS}{50 * cost:.0f}{figures.NARROW}%",
        "parts": [
            {
                "name": PARTS.get(name, name),
                "value": figures.number(value, 2),
                "width": f"{100 * min(1.0, max(0.0, value)):.0f}",
            }
            for name, value in parts.items()
            if isinstance(value, int | float)
        ],
    }


def plan(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the order that was, or would have been, sent."""
    found = record.get("plan")
    if not found:
        return []
    rows = [
        ("Buy", f"{found['qty']:,} shares"),
        ("At most at", figures.price(float(found["limit"]))),
        ("Target", f"{figures.price(float(found['tp']))} "
                   f"({figures.percent(found.get('tp_percent'))})"),
        ("Stop", f"{figures.price(float(found['sl']))} "
                 f"({figures.percent(-found['sl_percent'])})"),
    ]  # fmt: skip
    if "planned_loss" in found:
        rows.append(("Planned loss at the stop", f"{figures.MINUS}${found['planned_loss']}"))
    if found.get("binding"):
        binding = str(found["binding"])
        rows.append(("Limited by", CAPS.get(binding, figures.words(binding))))
    return rows


def facts(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the figures that the decision was made from."""
    f: Mapping[str, Any] = record.get("features") or {}
    quote: Mapping[str, Any] = record.get("quote") or {}
    bid, ask = quote.get("bid"), quote.get("ask")
    sides = f"{figures.price(bid)} × {figures.price(ask)}" if bid and ask else "no quote"
    return [
        ("Bid × ask", sides),
        ("Accelerator", f"{figures.number(f.get('x'), 1)} bps"),
        ("Acceleration", f"{figures.number(f.get('accel'), 2, signed=True)} bps per bucket"),
        ("Burst", f"{figures.number(f.get('n_b'), 0)} buckets, {figures.number(f.get('z'), 1)} σ"),
        ("Quiet before", f"{figures.number(f.get('flat_len'), 0)} buckets"),
        ("Surge", f"{figures.number(f.get('surge'), 1)} × the base"),
        ("Shares since the burst", figures.count(f.get("cv"))),
    ]  # fmt: skip


def decision_of_trade(run: Run, symbol: str, k: int) -> Decision | None:
    """Return the decision that opened a trade."""
    return Decision.objects.filter(run=run, symbol=symbol, k=k, outcome="fired").first()


def orders_of(run: Run, symbol: str) -> list[Order]:
    return list(Order.objects.filter(run=run, symbol=symbol).order_by("-pk")[:20])
