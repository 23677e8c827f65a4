"""The page where keys are made and revoked. A secret is in one answer, once, and nowhere else."""

from datetime import UTC, datetime, timedelta
from typing import Any

from django.contrib.auth.decorators import login_required
from django.contrib.auth.models import User
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST

from tradeplane.api import keys
from tradeplane.api.scopes import READ, SCOPES, scopes_of
from tradeplane.models import ApiKey
from tradeplane.pages import figures
from tradeplane.pages.shell import page

#: choice of the form → days; None never ends.
LIFETIMES: dict[str, int | None] = {"30": 30, "90": 90, "365": 365, "never": None}
LIFETIME_DEFAULT = "90"
SHOWN_MAX = 200


@never_cache
@login_required
@require_GET
def key_list(request: HttpRequest) -> HttpResponse:
    return _page(request)


@never_cache
@login_required
@require_POST
def make_key(request: HttpRequest) -> HttpResponse:
    """Make a key and show its token in this answer only; sent again, the name is in use."""
    now = datetime.now(UTC)
    lifetime = request.POST.get("lifetime", LIFETIME_DEFAULT)
    try:
        if lifetime not in LIFETIMES:
            raise keys.KeyRefused("choose how long the key lives")
        days = LIFETIMES[lifetime]
        key, token = keys.make_key(
            owner=_person(request),
            name=request.POST.get("name", ""),
            scopes=request.POST.getlist("scopes"),
            expires_at=None if days is None else now + timedelta(days=days),
            now=now,
        )
    except keys.KeyRefused as exc:
        return _page(request, status=422, refused=str(exc), name=request.POST.get("name", "")[:60])
    return _page(request, status=201, made=key, token=token)


@never_cache
@login_required
@require_POST
def revoke_key(request: HttpRequest, key_id: int) -> HttpResponse:
    try:
        keys.revoke_key(key_id=key_id, by=_person(request), now=datetime.now(UTC))
    except ApiKey.DoesNotExist:
        raise Http404("there is no such key") from None
    return redirect("api-keys")


def _page(request: HttpRequest, *, status: int = 200, **more: Any) -> HttpResponse:
    person, now = _person(request), datetime.now(UTC)
    rows = ApiKey.objects.select_related("owner")
    if not person.is_superuser:
        rows = rows.filter(owner=person)
    may = scopes_of(person)
    context = {
        "rows": [_row(key, now) for key in rows[:SHOWN_MAX]],
        "scopes": [
            {"name": name, "words": words, "may": name in may, "on": name == READ}
            for name, words in SCOPES.items()
        ],
        "lifetimes": [(value, _lifetime(days)) for value, days in LIFETIMES.items()],
        "lifetime": LIFETIME_DEFAULT,
    }
    return page(request, "keys/list.html", "api-keys", context | more, status=status)


def _row(key: ApiKey, now: datetime) -> dict[str, Any]:
    return {
        "key": key,
        "state": _state(key, now),
        "made": figures.wall(key.made_at, now),
        "ends": "never" if key.expires_at is None else f"{key.expires_at:%d %b %Y}",
        "used": "never" if key.last_used_at is None else figures.wall(key.last_used_at, now),
        "revoked": "" if key.revoked_at is None else figures.wall(key.revoked_at, now),
    }


def _state(key: ApiKey, now: datetime) -> str:
    if key.revoked_at is not None:
        return "revoked"
    return "expired" if key.expires_at is not None and key.expires_at <= now else "live"


def _lifetime(days: int | None) -> str:
    return "never ends" if days is None else f"{days} days"


def _person(request: HttpRequest) -> User:
    """The signed-in person; `login_required` came before."""
    if not isinstance(request.user, User):
        raise Http404
    return request.user
