"""What every page shares: badge, clock, state, pages, stop dialog, and who is looking."""

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from tradeplane.pages import access, words
from tradeplane.pages.feed import build, shared_reader

#: (url name, word, icon of the sprite); the keys 1 to 9 go there in this order.
PAGES = (
    ("live", "Live", "i-live"),
    ("symbol", "Symbol", "i-chart"),
    ("parameters", "Parameters", "i-sliders"),
    ("system", "System", "i-grid"),
    ("log", "Log", "i-log"),
)


def page(
    request: HttpRequest, template: str, here: str, context: dict[str, Any], *, status: int = 200
) -> HttpResponse:
    """Render a page inside the shell.

    Args: here: url name of the page, marked in the navigation; the template extends shell.html.
    """
    values, (html, facts) = shared_reader().look()
    shell = {
        "pages": PAGES,
        "here": here,
        "html": html,
        "now": values,
        "facts": facts,
        "build": build(),
        "keys": words.KEYS,
        "short_words": words.in_short(),
        "may_stop": access.may(request.user, access.STOP),
        "may_change": access.may(request.user, access.CHANGE_PARAMETERS),
        "may_acknowledge": access.may(request.user, access.ACKNOWLEDGE),
        "may_shards": access.may(request.user, access.SHARDS),
    }
    return render(request, template, shell | context, status=status)
