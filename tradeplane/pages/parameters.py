"""The parameters page's data: fields in groups, a whole set from a form, history, what differs."""

from collections.abc import Container, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import Any

from django.db import transaction
from django.http import QueryDict

from execution import selectors as execution_selectors
from execution.models import Run
from execution.services import activity
from signals import selectors, services
from signals.models import ActiveParameters
from signals.parameters.catalogue import (
    BY_NAME,
    PARAMETERS,
    BadValue,
    InvalidParameters,
    Parameter,
    ParameterError,
    advice,
    shown,
    validate,
)
from signals.session import BUCKET_NS
from tradeplane.pages import figures

HISTORY = 30
REASON_MAX = 300
BUCKETS_AHEAD = 2
LIVE_WORD = "LIVE"
MINUTE_NS = 60_000_000_000
EXPIRES_MINUTES_MAX = 390
CHANGES_MAX = 20


@dataclass(frozen=True)
class Judged:
    """What a form amounts to: the typed set, or why not, by field and as a whole."""

    values: dict[str, object]
    changed: dict[str, tuple[str, str]]  # name → (was, is), as shown
    errors: dict[str, list[str]]  # by field; "" for those that name none
    advice: list[str]

    def as_json(self) -> dict[str, Any]:
        return {
            "changed": [{"name": n, "was": a, "is": b} for n, (a, b) in self.changed.items()],
            "errors": self.errors,
            "advice": self.advice,
        }


def groups(values: Mapping[str, Any], judged: Judged | None, raw: Mapping[str, Any]) -> Any:
    """Return the fields in the catalogue's order and groups.

    Args: values: the set that counts; judged, raw: a refused form, its errors and what was typed.
    """
    return [
        {
            "name": name,
            "slug": name.lower().replace(" ", "-"),
            "fields": [_field(row, values[row.name], judged, raw) for row in rows],
        }
        for name, rows in groupby(PARAMETERS, key=lambda row: row.group)
    ]


def _field(
    row: Parameter, value: Any, judged: Judged | None, raw: Mapping[str, Any]
) -> dict[str, Any]:
    typed = raw.get(row.name, value)
    return {
        "name": row.name,
        "kind": row.kind,
        "help": row.help,
        "unit": row.unit,
        "range": row.range_text if row.kind in ("int", "float") else "",
        "default": _said(row.default),
        "saved": _text(row, value),
        "value": typed if isinstance(typed, str) else _text(row, typed),
        "on": typed is True or typed == "true",
        "choices": [
            {"word": word, "on": word in typed if row.kind == "list" else word == typed}
            for word in row.choices
        ],
        "errors": judged.errors.get(row.name, []) if judged else [],
        "was": judged.changed[row.name][0] if judged and row.name in judged.changed else "",
    }


def _text(row: Parameter, value: Any) -> str:
    """Return a value as its field holds it."""
    if row.kind == "bool":
        return "true" if value else "false"
    if row.kind == "list":
        return ",".join(value)
    return f"{value:.10g}" if isinstance(value, float) else str(value)


def _said(value: Any) -> str:
    """Return a value as people read it."""
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, list):
        return ", ".join(value) or "none"
    return shown(value)


def typed_form(form: QueryDict) -> dict[str, Any]:
    """Return what was typed, by parameter: text, or the chosen words of a list."""
    found: dict[str, Any] = {}
    for row in PARAMETERS:
        if row.kind == "bool":
            found[row.name] = "true" if form.get(row.name) == "true" else "false"
        elif row.kind == "list":
            found[row.name] = form.getlist(row.name)
        elif row.name in form:
            found[row.name] = form[row.name]
    return found


def judge(typed: Mapping[str, Any], active: Mapping[str, Any]) -> Judged:
    """Check a whole form as saving would."""
    values: dict[str, object] = dict(active)
    errors: dict[str, list[str]] = {}
    for name, text in typed.items():
        row = BY_NAME[name]
        try:
            values[name] = row.typed(text) if isinstance(text, list) else row.parsed(str(text))
        except ParameterError as exc:
            errors.setdefault(name, []).append(str(exc))
    if not errors:
        try:
            values = validate(values)
        except InvalidParameters as exc:
            for sentence in exc.errors:
                for name in _named(sentence) or [""]:
                    errors.setdefault(name, []).append(sentence)
    changed = {
        row.name: (_said(active[row.name]), _said(values[row.name]))
        for row in PARAMETERS
        if values[row.name] != active[row.name]
    }
    return Judged(values, changed, errors, [] if errors else advice(values))


def _named(sentence: str) -> list[str]:
    """Return the parameters that a sentence is about."""
    words = set(sentence.replace("(", " ").replace(")", " ").replace(",", " ").split())
    return [row.name for row in PARAMETERS if row.name in words]


def save(
    values: Mapping[str, object],
    *,
    author: str,
    comment: str,
    base_version: int,
    expires_minutes: int | None = None,
) -> tuple[int, int]:
    """Save a set and let it count two buckets from now; returns (version, active_from_k).

    Args: expires_minutes: of market time, after which the change goes back by itself.
    Raises:
        ParameterError: nothing was saved (`InvalidParameters`, `StaleParameters`, `BadValue`).
    """
    run = execution_selectors.current_run()
    now_k = 0 if run is None or run.market_ns <= 0 else run.market_ns // BUCKET_NS
    from_k = now_k + BUCKETS_AHEAD if now_k else 0
    with transaction.atomic():
        version = services.save_parameters(
            values=values, author=author, comment=comment, base_version=base_version
        )
        services.activate(version, active_from_k=from_k, author=author)
        until = let_expire(run, version, expires_minutes)
        if run is not None:
            activity.note(
                run.pk,
                "parameters",
                f"{author} saved version {version}{until}: {comment}",
                market_ns=run.market_ns,
                version=version,
                base=base_version,
            )
    return version, from_k


def let_expire(run: Run | None, version: int, minutes: int | None) -> str:
    """Note when the change goes back; returns ` until 10:45:00 ET`, "" when it stays."""
    if minutes is None:
        return ""
    if not 1 <= minutes <= EXPIRES_MINUTES_MAX:
        raise BadValue(f"a change may go back after 1 to {EXPIRES_MINUTES_MAX} minutes")
    if run is None or run.market_ns <= 0:
        raise BadValue("a change goes back by the market clock, and no market is running")
    due_ns = run.market_ns + minutes * MINUTE_NS
    services.let_expire(version, due_ns=due_ns)
    return f" until {figures.clock(due_ns)}"


def with_changes(words: list[str], active: Mapping[str, Any]) -> dict[str, Any]:
    """Return the form that `?change=name:value` asks for.

    Raises:
        ParameterError: an unknown name, or no value.
    """
    typed = {name: as_typed(value) for name, value in active.items()}
    for word in words[:CHANGES_MAX]:
        name, colon, value = word.partition(":")
        if not colon or name not in BY_NAME:
            raise BadValue(f"{word[:60]!r} is no parameter and value")
        typed[name] = value
    return typed


def as_typed(value: Any) -> Any:
    """Return a saved value as a form would send it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, list) else str(value)


def history(active: int) -> list[dict[str, Any]]:
    """Return the newest versions with who, when, why, from when on, and what changed."""
    from_k = {
        row.version_id: row.active_from_k
        for row in ActiveParameters.objects.order_by("-id")[: 2 * HISTORY]
    }
    until = selectors.expiring()
    return [
        {
            "version": change.version,
            "until": figures.clock(until[change.version]) if change.version in until else "",
            "base": change.base,
            "active": change.version == active,
            "author": change.author,
            "comment": change.comment,
            "at": figures.wall(datetime.fromisoformat(change.saved_at)),
            "from": figures.clock((from_k.get(change.version) or 0) * BUCKET_NS),
            "changed": [
                {"name": name, "was": _said(old), "is": _said(new)}
                for name, (old, new) in list(change.changed.items())[:6]
            ],
            "more": max(0, len(change.changed) - 6),
        }
        for change in selectors.parameter_history(HISTORY)
    ]


def difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[dict[str, str]]:
    """Return what differs between two sets, in the catalogue's order."""
    return [
        {"name": row.name, "was": _said(old[row.name]), "is": _said(new[row.name])}
        for row in PARAMETERS
        if old[row.name] != new[row.name]
    ]


def mode_is_bound(changed: Container[str]) -> str:
    """Return why the trading mode cannot change now; "" when it can."""
    run = execution_selectors.current_run() if "alpaca_trading_mode" in changed else None
    busy = [] if run is None else execution_selectors.active_trades(run)
    if not busy:
        return ""
    names = ", ".join(sorted({trade.symbol for trade in busy}))
    return f"the trading mode cannot change while there is a position or order ({names})"


def goes_live(judged: Judged) -> bool:
    """Would this set begin to trade real money?"""
    return "alpaca_trading_mode" in judged.changed and (
        judged.values["alpaca_trading_mode"] == "live"
    )
