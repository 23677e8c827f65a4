"""The system page's answer about what differs from the broker."""

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_POST

from execution.services import adoption
from tradeplane.pages import access


@login_required
@require_POST
@access.needs(access.STOP)
def adopt(request: HttpRequest) -> HttpResponse:
    """Acknowledge the difference that was looked at; the hub takes exactly that over."""
    number, reason = request.POST.get("difference", ""), request.POST.get("reason", "")
    try:
        if not (number.isdecimal() and number.isascii() and len(number) <= 18):
            raise ValueError("no such difference")
        actor = request.user.get_username()
        adoption.acknowledge(difference_id=int(number), reason=reason, actor=actor)
    except ValueError as exc:
        messages.error(request, f"Nothing was changed: {exc}.")
    else:
        messages.success(request, "Acknowledged: the hub takes it into the books.")
    return redirect("system")
