"""The system page's answers about shards: who takes part, and how letters are given out."""

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_POST

from execution.services import shards
from tradeplane.pages import access
from tradeplane.pages.asked import whole_number


@login_required
@require_POST
@access.needs(access.SHARDS)
def change(request: HttpRequest) -> HttpResponse:
    """Drain or enroll a shard, or give the letters out anew; the hub acts within a moment."""
    action, number = request.POST.get("action", ""), request.POST.get("shard", "")
    actor = request.user.get_username()
    try:
        said = _change(action, number, request.POST, actor)
    except ValueError as exc:
        messages.error(request, f"Nothing was changed: {exc}.")
    else:
        messages.success(request, said)
    return redirect("system")


def _change(action: str, number: str, form: dict[str, str], actor: str) -> str:
    if action == "plan":
        chosen = form.get("plan", "")
        plan = form.get("map", "") if chosen == "map" else chosen
        shards.set_plan(plan=plan, actor=actor)
        return "Letters are given out anew."
    shard = whole_number(number)
    if action not in ("drain", "enroll") or shard is None:
        raise ValueError("no such change")
    if action == "drain":
        shards.drain_shard(shard=shard, actor=actor)
        return f"Shard {number} is being taken out; others take its letters over."
    shards.enroll_shard(shard=shard, actor=actor)
    return f"Shard {number} takes part; it gets its share when it has been steady for 5 s."
