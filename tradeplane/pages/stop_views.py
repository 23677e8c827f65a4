"""The stop dialog's answers: turn the kill switch, or end its level."""

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST

from execution import selectors
from execution.errors import SwitchMoved, SwitchStands
from execution.services import activity, runs
from tradeplane.pages import access
from tradeplane.pages.shell import page

#: What must be typed before a level that sells, or that stops even exits.
WORDS = {"flatten": "FLATTEN", "freeze": "FREEZE"}
SAID = {
    "none": "Entries are on again.",
    "pause": "Entries are paused. Positions stay protected at the broker.",
    "cancel_entries": "Entries are paused; open entry orders are being canceled.",
    "flatten": (
        "Flattening: everything is sold at the market, also what is filled later; "
        "while the market is closed, its stop keeps it."
    ),
    "freeze": "Frozen. Only the stop and target at the broker act now.",
}


@never_cache
@login_required
@require_GET
def stop(request: HttpRequest) -> HttpResponse:
    """The dialog as a page of its own, for browsers without scripts and for when they fail."""
    return page(request, "stop.html", "stop", {})


@login_required
@require_POST
@access.needs(access.STOP)
def turn(request: HttpRequest) -> HttpResponse:
    """Turn the switch; nothing happens without a reason, and selling needs its word."""
    level, reason = request.POST.get("level", ""), request.POST.get("reason", "").strip()
    word = WORDS.get(level)
    if word is not None and request.POST.get(f"word_{level}", "").strip() != word:
        messages.error(request, f"Nothing was changed: type {word} to confirm.")
        return _back(request)
    if not reason:
        messages.error(request, "Nothing was changed: say why, it is kept with the switch.")
        return _back(request)
    actor = request.user.get_username()
    try:
        if level == "none":
            runs.reset_kill_switch(
                from_level=request.POST.get("from_level", ""), reason=reason, actor=actor
            )
        else:
            runs.set_kill_switch(level=level, reason=reason, actor=actor)
    except (ValueError, SwitchMoved, SwitchStands) as exc:
        messages.error(request, f"Nothing was changed: {exc}.")
        return _back(request)
    run = selectors.current_run()
    if run is not None:
        text = f"{actor} set the kill switch to {level}: {reason}"
        activity.note(run.pk, "kill", text, market_ns=run.market_ns, actor=actor)
    messages.success(request, SAID[level])
    return _back(request)


def _back(request: HttpRequest) -> HttpResponse:
    where = request.POST.get("back", "")
    safe = url_has_allowed_host_and_scheme(where, allowed_hosts=None)
    return redirect(where if where.startswith("/") and safe else "live")
