"""The parameters page: look, check while typing, save as one set, revert, compare."""

from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST

from execution import selectors as execution_selectors
from signals import selectors, services
from signals.errors import StaleParameters
from signals.parameters.catalogue import PARAMETERS, BadValue, ParameterError
from signals.session import BUCKET_NS
from tradeplane.pages import access, figures, parameters, previews
from tradeplane.pages.asked import whole_number
from tradeplane.pages.kept import bars_of
from tradeplane.pages.parameters import Judged
from tradeplane.pages.shell import page

NOT_HERE = {"kill_switch": "Turned by the Stop button, not saved as a parameter."}


@never_cache
@login_required
@require_GET
def show(request: HttpRequest) -> HttpResponse:
    """The set that counts; the form may be filled with something else, to look at or to save.

    `?from=7` fills it with version 7, `?change=name:value` (repeated) with single changes.
    """
    version, active = selectors.active_parameters()
    asked = request.GET.get("from", "")
    if words := request.GET.getlist("change"):
        return _changed_form(request, version, active, words)
    wanted = whole_number(asked)
    if wanted is None:
        return _form(request, version, active)
    try:
        old = selectors.parameters_of(wanted)
    except ParameterError as exc:
        raise Http404(str(exc)) from exc
    typed = {**old, "kill_switch": active["kill_switch"]}
    judged = parameters.judge({n: parameters.as_typed(v) for n, v in typed.items()}, active)
    return _form(request, version, active, judged, typed, reason=f"Back to version {asked}")


def _changed_form(
    request: HttpRequest, version: int, active: dict[str, Any], words: list[str]
) -> HttpResponse:
    try:
        typed = parameters.with_changes(words, active)
    except ParameterError as exc:
        raise Http404(str(exc)) from exc
    typed["kill_switch"] = str(active["kill_switch"])
    judged = parameters.judge(typed, active)
    return _form(request, version, active, judged, typed, reason=request.GET.get("why", "")[:300])


@login_required
@require_POST
@access.needs(access.CHANGE_PARAMETERS)
def save(request: HttpRequest) -> HttpResponse:
    """Save the whole set under a new version, or show why not with everything still typed."""
    version, active = selectors.active_parameters()
    typed = parameters.typed_form(request.POST)
    typed["kill_switch"] = str(active["kill_switch"])
    reason = request.POST.get("reason", "").strip()[: parameters.REASON_MAX]
    judged = parameters.judge(typed, active)
    if problem := _problem(request, judged, reason):
        messages.error(request, problem)
        return _form(request, version, active, judged, typed, reason=reason, status=422)
    base, expires = request.POST.get("base", ""), request.POST.get("expires_minutes", "")
    try:
        made, from_k = parameters.save(
            judged.values,
            author=request.user.get_username(),
            comment=reason,
            base_version=-1 if (seen := whole_number(base)) is None else seen,
            expires_minutes=(whole_number(expires) or 0) if expires else None,
        )
    except BadValue as exc:
        messages.error(request, f"Nothing was saved: {exc}.")
        return _form(request, version, active, judged, typed, reason=reason, status=422)
    except StaleParameters as exc:
        messages.error(request, f"Nothing was saved: {exc}. Below are your values against it.")
        return _form(request, version, active, judged, typed, reason=reason, status=409)
    when = f"from {figures.clock(from_k * BUCKET_NS)} on" if from_k else "from the next start on"
    messages.success(request, f"Version {made} saved. It counts {when}, on hub and shards alike.")
    return redirect("parameters")


def _problem(request: HttpRequest, judged: Judged, reason: str) -> str:
    if judged.errors:
        return "Nothing was saved: some values do not fit."
    if not judged.changed:
        return "Nothing was saved: nothing is different."
    if not reason:
        return "Nothing was saved: say why, it is kept in the history."
    if bound := parameters.mode_is_bound(judged.changed):
        return f"Nothing was saved: {bound}."
    if parameters.goes_live(judged) and request.POST.get("live_word") != parameters.LIVE_WORD:
        return f"Nothing was saved: going live needs the word {parameters.LIVE_WORD} typed."
    return ""


@login_required
@require_POST
def check(request: HttpRequest) -> JsonResponse:
    """Judge a form as saving would; changes nothing."""
    _, active = selectors.active_parameters()
    typed = parameters.typed_form(request.POST)
    typed["kill_switch"] = str(active["kill_switch"])
    judged = parameters.judge(typed, active)
    return JsonResponse({**judged.as_json(), "live": parameters.goes_live(judged)})


@login_required
@require_POST
def preview(request: HttpRequest) -> JsonResponse:
    """What the last minutes would have fired under the form's set; changes nothing."""
    _, active = selectors.active_parameters()
    typed = parameters.typed_form(request.POST)
    typed["kill_switch"] = str(active["kill_switch"])
    judged = parameters.judge(typed, active)
    minutes = request.POST.get("minutes", "")
    if judged.errors:
        return JsonResponse({"refused": "Some values do not fit."}, status=422)
    run = execution_selectors.current_run()
    if run is None:
        return JsonResponse({"refused": "No run has rounds to look at yet."}, status=422)
    found = previews.preview(
        run,
        judged.values,
        active=active,
        minutes=whole_number(minutes) or previews.MINUTES,
        bars_of=bars_of,
    )
    trials = 0
    if found.rounds and not found.honesty.refused:
        trials = services.count_trial(judged.values, kind="preview", actor=str(request.user))
    return JsonResponse(previews.told(found, trials))


@never_cache
@login_required
@require_GET
def compare(request: HttpRequest, old: int, new: int) -> HttpResponse:
    """What differs between two versions."""
    try:
        first, second = selectors.parameters_of(old), selectors.parameters_of(new)
    except ParameterError as exc:
        raise Http404(str(exc)) from exc
    context = {"old": old, "new": new, "rows": parameters.difference(first, second)}
    return page(request, "compare.html", "parameters", context)


def _form(
    request: HttpRequest,
    version: int,
    active: dict[str, Any],
    judged: Judged | None = None,
    typed: dict[str, Any] | None = None,
    *,
    reason: str = "",
    status: int = 200,
) -> HttpResponse:
    groups = parameters.groups(active, judged, typed or {})
    context = {
        "version": version,
        "groups": groups,
        "judged": judged,
        "changed": judged.as_json()["changed"] if judged else [],
        "loose_errors": judged.errors.get("", []) if judged else [],
        "reason": reason,
        "not_here": NOT_HERE,
        "history": parameters.history(version),
        "n_parameters": len(PARAMETERS),
    }
    return page(request, "parameters.html", "parameters", context, status=status)
