"""The system page's answers about what differs from the broker, and about orders set aside."""

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_POST

from execution import selectors
from execution.services import adoption
from execution.services import release as set_aside
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


@login_required
@require_POST
@access.needs(access.STOP)
def release(request: HttpRequest) -> HttpResponse:
    """Say that an order which was set aside was looked at."""
    name, reason = request.POST.get("order", ""), request.POST.get("reason", "")
    run = selectors.current_run()
    try:
        if run is None:
            raise ValueError("there is no run yet")
        set_aside.release(run, name=name, reason=reason, actor=request.user.get_username())
    except ValueError as exc:
        messages.error(request, f"Nothing was changed: {exc}.")
    else:
        messages.success(request, f"Released: {name} locks entries no more.")
    return redirect("system")
