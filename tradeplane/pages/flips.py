"""What would flip a decision: the smallest change of limits, or any change that people ask for."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from execution.models import Decision
from execution.services.preview import what_if
from signals.parameters.catalogue import (
    BY_NAME,
    InvalidParameters,
    ParameterError,
    parse_assignment,
    validate,
)
from signals.services import count_trial
from tradeplane.pages import alike, outcomes
from tradeplane.pages.kept import bars_of

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
#: Every parameter that a gate looks at: its limits, and those that no small change could flip.
ASKS_FOR: dict[str, tuple[str, ...]] = {
    **LIMITS,
    "G1": ("alpaca_trading_mode",),
    "G7": ("max_daily_loss_percent",),
    "S3": ("reopen_cooldown_s",),
    "S11": ("risk_per_trade_percent", "max_notional_percent", "max_participation_percent"),
    "P2": ("max_total_exposure_percent",),
    "P3": ("max_open_risk_percent",),
    "P4": ("max_per_letter",),
    "P5": ("max_per_sector",),
    "P6": ("max_pair_correlation",),
    "P7": ("use_margin",),
}
TAGS = {
    "exact": "up",
    "at least": "warn",
    "recomputed": "warn",
    "refused": "down",
    "none": "",
}  # of a badge
REASON_CHARS = 200


def flip(
    decision: Decision,
    closed: list[dict[str, Any]],
    p: Mapping[str, Any],
    *,
    judge: str = "",
) -> dict[str, Any] | None:
    """Return the smallest change of limits that would have let it pass; None when it fired.

    `changes` are the limits to change, together; `query` fills the parameters form with them;
    `others`: there are more that would flip, and what became of them was not asked.

    Args: judge: who asks what became of the others, "" nobody does; asking is a trial.
    """
    if decision.outcome == "fired":
        return None
    if decision.shadow:
        return {"name": "Nothing to change", "note": "A near miss is recorded, it never fires."}
    found = [(gate, change_of(gate, p)) for gate in closed]
    if not found or any(change is None for _, change in found):
        return _no_flip([gate for gate, change in found if change is None], closed)
    changes = [change for _, change in found if change is not None]
    if bad := [one["name"] for one in changes if not one["allowed"]]:
        return {"name": bad[0], "note": "It would have to leave the range that is allowed."}
    note, badge = _verified(decision, changes, p)
    others = False
    if len(closed) == 1:
        also, others = _also(decision, closed[0], changes[0], p, judge)
        note = f"{note} {also}"
    else:
        note = f"No single one of them flips it. {note}"
    return {
        "name": changes[0]["name"] if len(changes) == 1 else f"{len(changes)} limits together",
        "from": changes[0]["from"] if len(changes) == 1 else "",
        "to": changes[0]["to"] if len(changes) == 1 else "",
        "changes": changes,
        "query": urlencode(
            [("change", f"{one['name']}:{one['to']}") for one in changes]
            + [("why", f"{decision.symbol}: {decision.primary_reason}"[:REASON_CHARS])]
        ),
        "note": note,
        "badge": badge,
        "tag": TAGS.get(badge, "warn"),
        "others": others,
    }


def change_of(gate: Mapping[str, Any], p: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the least change of the one limit that closed a gate; None when no limit did."""
    name, value = _limit_of(gate, p), gate.get("value")
    if name is None or not isinstance(value, int | float) or isinstance(value, bool):
        return None
    new = just_enough(name, float(value), str(gate.get("op")))
    try:
        BY_NAME[name].typed(new)
    except ParameterError:
        allowed = False
    else:
        allowed = True
    return {
        "name": name, "from": _shown(p[name]), "to": _shown(new), "value": new, "allowed": allowed,
    }  # fmt: skip


def _no_flip(hard: list[dict[str, Any]], closed: list[dict[str, Any]]) -> dict[str, Any]:
    names = ", ".join(outcomes.short_of(gate["id"]) for gate in hard)
    if len(closed) > 1 and hard:
        word = "is" if len(hard) == 1 else "are"
        return {
            "name": "Nothing small",
            "note": f"{len(closed)} gates are closed, and {names} {word} no limit of yours: no "
            "setting flips this one.",
        }
    return {
        "name": "Nothing to change",
        "note": "No limit of yours flips this one: it needs time or another price, not a setting.",
    }


def _verified(
    decision: Decision, changes: list[dict[str, Any]], p: Mapping[str, Any]
) -> tuple[str, str]:
    """Decide the stored round again with the changes; return what became of it, and the badge."""
    new = {**p, **{one["name"]: one["value"] for one in changes}}
    try:
        validate(new)
    except InvalidParameters as exc:
        return f"The set would not fit together: {exc.errors[0]}.", ""
    found = what_if(decision, new, old=p, bars_of=bars_of)
    if found.outcome is None:
        return found.reason, ""
    badge = found.honesty.badge
    sure = "Exact for this round" if badge == "exact" else "By what was kept"
    if found.outcome == "fired":
        return f"{sure}: it would have fired.", badge
    return f"{sure}: it would then wait. {found.reason}", badge


def tried(decision: Decision, text: str, p: Mapping[str, Any], *, actor: str) -> dict[str, str]:
    """Return what `name=value, name=value` would have made of a decision, or why it cannot be."""
    try:
        changes = dict(parse_assignment(one) for one in text.split(",") if one.strip())
        new = validate({**p, **changes})
    except ParameterError as exc:
        return {"asked": text, "said": str(exc), "badge": "", "tag": ""}
    found = what_if(decision, new, old=p, bars_of=bars_of)
    if found.outcome is None:
        said = found.reason
    elif found.outcome == "fired":
        said = "It would have fired."
    elif found.outcome == decision.outcome and found.reason == decision.primary_reason:
        said = f"Nothing would have changed. {found.reason}"
    else:
        said = f"It would not have fired. {found.reason}"
    badge = found.honesty.badge
    count = 0
    if found.outcome is not None:
        count = count_trial(new, kind="what_if", actor=actor)
    return {
        "asked": text,
        "trials": trials_said(count) if count else "",
        "said": said,
        "badge": badge,
        "tag": TAGS.get(badge, "warn"),
        "note": found.honesty.note if found.outcome is not None else "",
        "query": urlencode(
            [("change", f"{name}:{_word(value)}") for name, value in changes.items()]
        ),
    }


def _word(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return ",".join(value) if isinstance(value, list) else str(value)


def _also(
    decision: Decision,
    gate: Mapping[str, Any],
    change: Mapping[str, Any],
    p: Mapping[str, Any],
    judge: str,
) -> tuple[str, bool]:
    """Say which others would flip, and whether there is more to ask about them.

    Their results make the changed set a trial.
    """
    rows = alike.alike(decision, str(gate["id"]), change["value"], str(gate.get("op")))
    new = {**p, change["name"]: change["value"]}
    found = alike.results(rows, new) if judge else []
    told = alike.said(rows, found, judged=bool(judge))
    if found:
        told = f"{told} {trials_said(count_trial(new, kind='flip', actor=judge))}"
    return told, bool(rows) and not judge


def trials_said(count: int) -> str:
    """Return how many sets were tried so far, and what that means."""
    return f"Sets tried so far: {count}. The more are tried, the better the best looks by chance."


def _limit_of(gate: Mapping[str, Any], p: Mapping[str, Any]) -> str | None:
    limit = gate.get("limit")
    names = [
        name
        for name in LIMITS.get(str(gate.get("id")), ())
        if isinstance(limit, int | float) and abs(float(p[name]) - float(limit)) < 1e-9
    ]
    return names[0] if len(names) == 1 else None


def just_enough(name: str, value: float, op: str) -> int | float:
    """Return the least round number that lets `value` pass `op`."""
    row = BY_NAME[name]
    unit = 1.0 if row.kind == "int" else 0.01 if abs(value) < 10 else 0.1
    steps = value / unit
    if op in ("<", "<="):
        at = int(-(-steps // 1)) + (op == "<" and float(steps).is_integer())
    else:
        at = int(steps // 1) - (op == ">" and float(steps).is_integer())
    return int(at) if row.kind == "int" else round(at * unit, 2)


def _shown(value: Any) -> str:
    return f"{value:g}" if isinstance(value, int | float) else str(value)
