"""The status page, rendered whole on the server: it works without scripts, scripts keep it new."""

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET

from tradeplane.pages.feed import shared_reader


@never_cache
@login_required
@require_GET
def status(request: HttpRequest) -> HttpResponse:
    sections, kind = shared_reader().sections()
    return render(request, "status.html", {"html": sections, "mode_kind": kind})
