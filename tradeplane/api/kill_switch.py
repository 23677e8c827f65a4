"""Routes of the kill switch: stopping is easy, going on again is not."""

from typing import Any

from django.http import HttpRequest
from ninja import Query, Router
from ninja.errors import HttpError

from execution.errors import SwitchMoved, SwitchStands
from execution.models import KillSwitch
from execution.services import runs
from tradeplane.api import rows
from tradeplane.api import schemas as s
from tradeplane.api.auth import caller_of, needs
from tradeplane.api.errors import CONFLICT, REFUSALS
from tradeplane.api.idempotency import IdempotencyKey, once
from tradeplane.api.scopes import ADMIN, KILL
from tradeplane.api.throttle import Throttle

router = Router(tags=["kill switch"])
Answer = dict[str, Any]


@router.get("/kill-switch", response={200: s.SwitchOut, **REFUSALS})
def kill_switch(request: HttpRequest) -> Answer:
    """The level that counts, and who turned it."""
    return rows.switch()


@router.get("/kill-switch/history", response={200: list[s.SwitchOut], **REFUSALS})
def kill_switch_history(request: HttpRequest, asked: Query[s.HistoryAsked]) -> list[Answer]:
    """Every turn of the switch, newest first."""
    rows.only_known(request, asked)
    return [rows.switch_row(row) for row in KillSwitch.objects.all()[: asked.limit]]


@router.post(
    "/kill-switch",
    response={200: s.SwitchOut, **REFUSALS, **CONFLICT},
    auth=needs(KILL),
    throttle=Throttle("kill"),
)
def turn_kill_switch(
    request: HttpRequest, body: s.SwitchIn, idempotency_key: IdempotencyKey = None
) -> Answer:
    """Stop: the hub acts within its next look. 409 when a stronger stop stands."""

    def act() -> Answer:
        actor = caller_of(request).name
        try:
            row = runs.set_kill_switch(level=body.level, reason=body.reason, actor=actor)
        except SwitchStands as exc:
            raise HttpError(409, str(exc)) from exc
        return _jsonable(row)

    return once(request, idempotency_key, act)


@router.post(
    "/kill-switch/reset",
    response={200: s.SwitchOut, **REFUSALS, **CONFLICT},
    auth=needs(ADMIN),
    throttle=Throttle("kill"),
)
def reset_kill_switch(
    request: HttpRequest, body: s.ResetIn, idempotency_key: IdempotencyKey = None
) -> Answer:
    """Allow entries again; 409 when the switch is not at `from_level` anymore."""

    def act() -> Answer:
        actor = caller_of(request).name
        try:
            row = runs.reset_kill_switch(
                from_level=body.from_level, reason=body.reason, actor=actor
            )
        except SwitchMoved as exc:
            raise HttpError(409, str(exc)) from exc
        return _jsonable(row)

    return once(request, idempotency_key, act)


def _jsonable(row: KillSwitch) -> Answer:
    """The answer as it is kept for a repeated request."""
    return {**rows.switch_row(row), "at": row.at.isoformat()}
