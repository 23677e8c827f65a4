"""The interface put together: routes, who may pass, how often, and its own documentation."""

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.conf import settings
from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from ninja import NinjaAPI
from ninja.errors import AuthenticationError, HttpError

from tradeplane.api import errors, kill_switch, money, parameters, reads
from tradeplane.api.auth import may_read, needs
from tradeplane.api.scopes import READ
from tradeplane.api.throttle import Throttle

View = Callable[..., HttpResponse]
ABOUT = (
    "Reads what the pages show; saves parameters and turns the kill switch for those who may. "
    "Money is text, `*_ns` are UTC nanoseconds, errors are one line under `error`."
)


def for_readers(view: View) -> View:
    """Show the schema and its page to callers only; a browser is sent to sign in."""

    @wraps(view)
    def guarded(request: HttpRequest, **kwargs: Any) -> HttpResponse:
        try:
            may_read(request)
        except AuthenticationError as exc:
            if "text/html" in request.headers.get("Accept", ""):
                return redirect_to_login(request.get_full_path(), settings.LOGIN_URL)
            return api.on_exception(request, exc)
        except HttpError as exc:
            return api.on_exception(request, exc)
        return view(request, **kwargs)

    return guarded


api = NinjaAPI(
    title="Tradeplane",
    version="1",
    description=ABOUT,
    openapi_url="/schema",
    docs_url="/docs",
    docs_decorator=for_readers,
    urls_namespace="api",
    auth=needs(READ),
    throttle=Throttle("read"),
)
errors.install(api)
api.add_router("", reads.router)
api.add_router("", money.router)
api.add_router("", parameters.router)
api.add_router("", kill_switch.router)


def home(request: HttpRequest) -> HttpResponse:
    """Send those who only know `/api/` to the documentation."""
    return redirect("api:openapi-view")


def no_route(request: HttpRequest, rest: str) -> HttpResponse:
    """Say in one line that there is no such route."""
    return api.create_response(
        request, {"error": "there is no such route; see /api/docs"}, status=404
    )
