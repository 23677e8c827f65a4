"""Who calls: a program by its key, or a signed-in person; and whether they may."""

import logging
from dataclasses import dataclass
from datetime import UTC, datetime

from django.http import HttpRequest
from ninja.errors import AuthenticationError, AuthorizationError
from ninja.security import HttpBearer, SessionAuth
from ninja.utils import check_csrf

from tradeplane.api import keys
from tradeplane.api.scopes import READ, scopes_of, widened
from tradeplane.api.throttle import count_refused

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Caller:
    """Who asked. `ident` counts their requests, `name` stands in the records."""

    ident: str
    name: str
    scopes: frozenset[str]

    def require(self, scope: str) -> None:
        """Raises: AuthorizationError: the caller may not."""
        if scope not in self.scopes:
            has = ", ".join(sorted(self.scopes)) or "nothing"
            raise AuthorizationError(message=f"this needs the scope {scope}; you have: {has}")


class ApiKeyAuth(HttpBearer):
    """`Authorization: Bearer tp_…`; a wrong key is refused, whatever else is sent."""

    def __init__(self, scope: str) -> None:
        super().__init__()
        self.scope = scope

    def authenticate(self, request: HttpRequest, token: str) -> Caller:
        key = keys.recognized(token, datetime.now(UTC))
        if key is None:
            count_refused(request)
            raise AuthenticationError(message="the key is not known, has expired or was revoked")
        caller = Caller(
            ident=f"key:{key.pk}",
            name=f"key {key.prefix} ({key.owner.get_username()})",
            scopes=widened(key.scopes) & scopes_of(key.owner),
        )
        caller.require(self.scope)
        return caller


class SignedIn(SessionAuth):
    """A person's session; what changes something needs the page's CSRF token too."""

    def __init__(self, scope: str) -> None:
        super().__init__(csrf=True)
        self.scope = scope

    def __call__(self, request: HttpRequest) -> Caller:
        if not request.user.is_authenticated:
            count_refused(request)
            raise AuthenticationError(message="send a key: Authorization: Bearer tp_…")
        if check_csrf(request) is not None:
            raise AuthorizationError(message="the X-CSRFToken header is missing or not right")
        caller = Caller(
            ident=f"user:{request.user.pk}",
            name=request.user.get_username(),
            scopes=scopes_of(request.user),
        )
        caller.require(self.scope)
        return caller


def needs(scope: str) -> list[ApiKeyAuth | SignedIn]:
    """Return who may pass where `scope` is needed."""
    return [ApiKeyAuth(scope), SignedIn(scope)]


def caller_of(request: HttpRequest) -> Caller:
    """Return who was let in by `needs`."""
    caller = getattr(request, "auth", None)
    if not isinstance(caller, Caller):
        raise AuthenticationError
    return caller


def may_read(request: HttpRequest) -> Caller:
    """Return the caller of a view that is not a route (docs, schema).

    Raises:
        AuthenticationError, AuthorizationError, Throttled: they may not.
    """
    by_key = ApiKeyAuth(READ)(request)
    return by_key if by_key is not None else SignedIn(READ)(request)
