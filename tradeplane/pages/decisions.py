"""One decision told in full: the answer, every gate, what would flip it, score and plan."""

from collections.abc import Mapping
from typing import Any

from execution.models import Decision, Order, Run
from signals.parameters.catalogue import BY_NAME, ParameterError
from signals.session import BUCKET_NS
from tradeplane.pages import candidates, figures, outcomes

#: Which of the user's limits a gate compares with; the one whose value it names counts.
LIMITS = {
    "G3": ("entry_cutoff_min_before_close", "entry_start_delay_s"),
    "G4": ("max_relay_lag_ms", "min_shard_coverage", "max_clock_skew_ms"),
    "G5": ("account_max_age_s",),
    "G8": ("max_trades_per_day",),
    "G9": ("stop_after_take_profits",),
    "G10": ("max_consecutive_losses",),
    "G11": ("cooldown_after_trade_s",),
    "G14": ("api_calls_reserved_for_exits",),
    "G15": ("max_crowd_percent",),
    "S1": ("rvol_min",),
    "S2": ("universe_min_price", "universe_max_price"),
    "S4": ("luld_min_distance_percent",),
    "S6": ("max_trades_per_symbol_per_day", "symbol_cooldown_s"),
    "S7": ("max_signal_age_ms",),
    "S8": ("max_chase_percent",),
    "S9": ("max_adverse_bps",),
    "S10": ("min_reach_prob",),
    "S12": ("max_synthetic_share",),
    "S13": ("ao_min_magnitude_bps", "max_burst_buckets"),
    "C1": ("market_gravity_min", "min_idiosyncratic_share"),
    "C2": ("futures_trend_min",),
    "C3": ("max_spread_bps", "max_cost_to_target", "min_depth_multiple"),
    "C4": ("max_vwap_stretch_percent", "min_vwap_slope_bps"),
    "score": ("min_score",),
    "confirm": ("confirm_buckets",),
    "P1": ("max_concurrent_positions",),
}
PARTS = {
    "z": "Burst against noise",
    "a": "Acceleration",
    "v": "Volume surge",
    "r": "Reach of the target",
    "c": "Confidence",
}
ALIKE_MAX = 2_000
CAPS = {"risk": "risk per trade", "notional": "size of a position", "gap": "what a gap may cost",
        "participation": "share of the volume", "depth": "shares on offer",
        "buying_power": "free cash", "cash": "free cash"}  # fmt: skip


def told(decision: Decision, p: Mapping[str, Any]) -> dict[str, Any]:
    """Return a decision as the symbol page shows it. Args: p: the set it was decided with."""
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
        "flip": flip(decision, closed, p),
        "score": score(record, p),
        "plan": plan(record),
        "facts": facts(record),
    }


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


def gate_line(gate: Mapping[str, Any]) -> dict[str, str]:
    """Return a gate with its sign, its spoken word and its margin."""
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
        "label": _short(str(gate.get("id", ""))),
        "text": str(gate.get("text", "")),
        "margin": margin(gate),
    }


def _short(gate_id: str) -> str:
    """`C4`; the ones without a number go by their name."""
    return outcomes.GATES[gate_id] if gate_id in ("score", "confirm", "rank") else gate_id


def margin(gate: Mapping[str, Any]) -> str:
    """`0.41 over`, `1.08 left`; "" when the gate is no comparison."""
    found = gate.get("margin")
    if not isinstance(found, int | float) or not isinstance(gate.get("limit"), int | float):
        return ""
    size = abs(found)
    if size == 0 and not outcomes.is_open(gate):
        return "at the limit"
    digits = 0 if size >= 100 or float(size).is_integer() else 1 if size >= 10 else 2
    word = "left" if found >= 0 else "over" if gate.get("op") in ("<", "<=") else "short"
    return f"{figures.number(size, digits)} {word}"


def tightest(gates: list[dict[str, Any]]) -> dict[str, str] | None:
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


def flip(
    decision: Decision, closed: list[dict[str, Any]], p: Mapping[str, Any]
) -> dict[str, str] | None:
    """Return the smallest change of one limit that would have let it pass; None when it fired."""
    if decision.outcome == "fired":
        return None
    if decision.shadow:
        return {"name": "Nothing to change", "note": "A near miss is recorded, it never fires."}
    if len(closed) != 1:
        names = ", ".join(_short(gate["id"]) for gate in closed)
        return {
            "name": "Nothing small",
            "note": f"{len(closed)} gates are closed ({names}): no single limit of yours flips "
            "this one.",
        }
    gate = closed[0]
    name = _limit_of(gate, p)
    value = gate.get("value")
    if name is None or not isinstance(value, int | float) or isinstance(value, bool):
        return {
            "name": "Nothing to change",
            "note": "No limit of yours flips this one: it needs time or another price, "
            "not a setting.",
        }
    new = _just_enough(name, float(value), str(gate.get("op")))
    try:
        BY_NAME[name].typed(new)
    except ParameterError:
        return {"name": name, "note": "It would have to leave the range that is allowed."}
    alike = _alike(decision, gate["id"], new, str(gate.get("op")))
    also = (
        "No other decision of this run would flip with it."
        if not alike
        else f"{figures.counted(alike, 'more decision')} of this run would flip too; what they "
        "would have earned or lost is not known."
    )
    return {
        "name": name,
        "from": _shown(p[name]),
        "to": _shown(new),
        "note": f"Exact for this round. {also}",
    }


def _limit_of(gate: Mapping[str, Any], p: Mapping[str, Any]) -> str | None:
    limit = gate.get("limit")
    names = [
        name
        for name in LIMITS.get(str(gate.get("id")), ())
        if isinstance(limit, int | float) and abs(float(p[name]) - float(limit)) < 1e-9
    ]
    return names[0] if len(names) == 1 else None


def _just_enough(name: str, value: float, op: str) -> int | float:
    """Return the least round number that lets `value` pass `op`."""
    row = BY_NAME[name]
    unit = 1.0 if row.kind == "int" else 0.01 if abs(value) < 10 else 0.1
    steps = value / unit
    if op in ("<", "<="):
        at = int(-(-steps // 1)) + (op == "<" and float(steps).is_integer())
    else:
        at = int(steps // 1) - (op == ">" and float(steps).is_integer())
    return int(at) if row.kind == "int" else round(at * unit, 2)


def _alike(decision: Decision, gate_id: str, new: float, op: str) -> int:
    """Count the other decisions of the run that only this gate held back, and that would pass."""
    rows = Decision.objects.filter(
        run=decision.run_id, shadow=False, primary_reason__startswith=f"{gate_id}:"
    ).exclude(pk=decision.pk)
    found = 0
    for record in rows.values_list("record", flat=True)[:ALIKE_MAX]:
        closed = outcomes.failing_gates(record)
        value = closed[0].get("value") if len(closed) == 1 else None
        if not isinstance(value, int | float):
            continue
        fits = {"<": value < new, "<=": value <= new, ">": value > new, ">=": value >= new}
        found += fits.get(op, False)
    return found


def _shown(value: Any) -> str:
    return f"{value:g}" if isinstance(value, int | float) else str(value)


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
