"""Who may do what on the pages: whoever signs in may look, operators may act.

The rights are Django's own model permissions, so the admin's users and groups pages hand them out.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.contrib.auth.models import AbstractBaseUser, AnonymousUser
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse

STOP = "execution.add_killswitch"
CHANGE_PARAMETERS = "signals.add_parameterset"
ACKNOWLEDGE = "execution.add_acknowledgement"
SHARDS = "execution.add_shardchange"
OPERATOR_RIGHTS = (STOP, CHANGE_PARAMETERS, "signals.add_activeparameters", ACKNOWLEDGE, SHARDS)
OPERATORS, VIEWERS = "operators", "viewers"

View = Callable[..., HttpResponse]


def may(user: AbstractBaseUser | AnonymousUser, right: str) -> bool:
    return bool(user.has_perm(right))  # type: ignore[union-attr]


def needs(right: str) -> Callable[[View], View]:
    """Refuse (403) whoever lacks a right; goes below `login_required`."""

    def decorate(view: View) -> View:
        @wraps(view)
        def checked(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
            if not may(request.user, right):
                raise PermissionDenied("You may look, not act: ask for the group “operators”.")
            return view(request, *args, **kwargs)

        return checked

    return decorate
