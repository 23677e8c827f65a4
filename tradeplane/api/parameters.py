"""Routes of the parameters: read them, save them as one whole set."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from django.db import transaction
from django.http import HttpRequest
from ninja import Path, Query, Router
from ninja.errors import HttpError

from execution.selectors import current_run
from execution.services.preview import preview
from signals import selectors, services
from signals.errors import StaleParameters
from signals.parameters.catalogue import BY_NAME, PARAMETERS, BadValue, advice, validate
from tradeplane.api import schemas as s
from tradeplane.api.auth import caller_of, needs
from tradeplane.api.errors import CONFLICT, NOT_FOUND, REFUSALS
from tradeplane.api.idempotency import IdempotencyKey, once
from tradeplane.api.rows import only_known
from tradeplane.api.scopes import ADMIN
from tradeplane.api.scopes import PARAMETERS as SAVE
from tradeplane.api.throttle import Throttle
from tradeplane.pages.kept import bars_of
from tradeplane.pages.parameters import let_expire, mode_is_bound

router = Router(tags=["parameters"])
Answer = dict[str, Any]
NUMBER_MAX = 2**53  # above it, a whole number in JSON is not sure to arrive as it was meant
AUTHOR_MAX = 150


@router.get("/parameters", response={200: s.ParametersOut, **REFUSALS})
def parameters(request: HttpRequest) -> Answer:
    """The active set."""
    version, values = selectors.active_parameters()
    return {"version": version, "values": values}


@router.get("/parameters/catalogue", response={200: list[s.ParameterOut], **REFUSALS})
def catalogue(request: HttpRequest) -> list[Answer]:
    """Every parameter: type, unit, default, range, group, help; the user's own first."""
    return [{**asdict(row), "choices": list(row.choices)} for row in PARAMETERS]


@router.get("/parameters/history", response={200: list[s.ChangeOut], **REFUSALS})
def history(request: HttpRequest, asked: Query[s.HistoryAsked]) -> list[Answer]:
    """Who changed what, when and why; newest first."""
    only_known(request, asked)
    return [asdict(change) for change in selectors.parameter_history(asked.limit)]


@router.get(
    "/parameters/versions/{version}",
    response={200: s.ParametersOut, **REFUSALS, **NOT_FOUND},
)
def parameters_version(request: HttpRequest, version: Path[s.Version]) -> Answer:
    """A set as it was saved; version 0 is the catalogue."""
    try:
        return {"version": version, "values": selectors.parameters_of(version)}
    except BadValue as exc:
        raise HttpError(404, str(exc)) from exc


@router.post(
    "/parameters",
    response={200: s.SavedOut, **REFUSALS, **CONFLICT},
    auth=needs(SAVE),
    throttle=Throttle("write"),
)
def save_parameters(
    request: HttpRequest, body: s.ParametersIn, idempotency_key: IdempotencyKey = None
) -> Answer:
    """Save a whole set and let it count; 409 when another version became active since."""
    return once(request, idempotency_key, lambda: _saved(request, body))


def _saved(request: HttpRequest, body: s.ParametersIn) -> Answer:
    active, old = selectors.active_parameters()
    if active != body.base_version:
        raise StaleParameters(f"version {active} is active, not version {body.base_version}")
    values = _whole_set(body, old)
    author = caller_of(request).name[:AUTHOR_MAX]
    with transaction.atomic():
        version = services.save_parameters(
            values=values, author=author, comment=body.reason, base_version=active
        )
        new = selectors.parameters_of(version)
        _check_change(request, old, new)
        services.activate(version, author=author)
        let_expire(current_run(), version, body.expires_minutes)
    return {"version": version, "advice": advice(new)}


@router.post(
    "/parameters/preview",
    response={200: s.PreviewOut, **REFUSALS, **NOT_FOUND},
    throttle=Throttle("write"),
)
def preview_parameters(request: HttpRequest, body: s.PreviewIn) -> Answer:
    """What the last minutes would have fired under another set; changes nothing."""
    run = current_run()
    if run is None:
        raise HttpError(404, "no run has rounds to look at yet")
    _, old = selectors.active_parameters()
    new = validate(_whole_set(body, old))
    found = preview(
        run,
        new,
        active=old,
        minutes=body.minutes,
        bars_of=bars_of,
    )
    counted = bool(found.rounds) and not found.honesty.refused
    return {
        **asdict(found),
        "trials": services.count_trial(new, kind="preview", actor=caller_of(request).name)
        if counted
        else 0,
        "badge": found.honesty.badge,
        "note": found.honesty.note,
        "classes": found.honesty.classes,
    }


def _whole_set(body: s.ParametersIn | s.PreviewIn, old: Mapping[str, object]) -> dict[str, object]:
    """Return every name with its new value; nothing falls back to a default by being left out."""
    if (body.values is None) == (body.changes is None):
        raise HttpError(422, "send either values (every name) or changes (names that differ)")
    given = body.values if body.values is not None else body.changes or {}
    for name, value in given.items():
        if isinstance(value, int) and abs(value) > NUMBER_MAX:
            raise HttpError(422, f"{name[:60]!r} is too large a number")
    if body.values is not None and (missing := [name for name in BY_NAME if name not in given]):
        raise HttpError(
            422, f"values must hold every parameter; {len(missing)} are missing: {missing[0]} …"
        )
    return {**(old if body.changes is not None else {}), **given}


def _check_change(
    request: HttpRequest, old: Mapping[str, object], new: Mapping[str, object]
) -> None:
    """Raises: HttpError: nothing changes, or something that is changed elsewhere or by others."""
    changed = {name for name, value in new.items() if old.get(name) != value}
    if not changed:
        raise HttpError(422, "nothing would change")
    if "kill_switch" in changed:
        raise HttpError(422, "kill_switch is turned at /api/kill-switch, not saved as a parameter")
    if bound := mode_is_bound(changed):
        raise HttpError(409, bound)
    if "alpaca_trading_mode" in changed and new["alpaca_trading_mode"] == "live":
        caller_of(request).require(ADMIN)
