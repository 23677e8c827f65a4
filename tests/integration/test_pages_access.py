"""Who may open which page: every route of the URLconf has a row here, walked from the URLconf.

The interface's own routes are walked in test_api_access; the live connection is in
test_pages_live.
"""

from collections.abc import Iterator

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client, RequestFactory
from django.urls import URLPattern, URLResolver, get_resolver
from django.views.defaults import server_error

from tradeplane.pages import access

pytestmark = pytest.mark.django_db

METHODS = ("get", "post", "put", "patch", "delete")
OPEN, SIGNED_IN = "everybody", "signed in"
#: route → (what GET needs, what POST needs); None: the method is refused.
NEEDS: dict[str, tuple[str | None, str | None]] = {
    "": (SIGNED_IN, None),
    "why/<int:decision_id>/": (SIGNED_IN, None),
    "symbol/": (SIGNED_IN, None),
    "symbol/<str:name>/": (SIGNED_IN, None),
    "symbol/<str:name>/bars/": (SIGNED_IN, None),
    "decision/<int:decision_id>/": (SIGNED_IN, None),
    "decision/<int:decision_id>/try/": (None, SIGNED_IN),  # decides it again; counts a trial
    "trade/<int:trade_id>/why/": (SIGNED_IN, None),
    "parameters/": (SIGNED_IN, None),
    "parameters/check/": (None, SIGNED_IN),  # judges a set, saves nothing
    "parameters/preview/": (None, SIGNED_IN),  # decides stored rounds again, saves nothing
    "parameters/save/": (None, access.CHANGE_PARAMETERS),
    "parameters/<int:old>/<int:new>/": (SIGNED_IN, None),
    "system/": (SIGNED_IN, None),
    "system/shards/": (None, access.SHARDS),
    "system/adopt/": (None, access.STOP),
    "system/release/": (None, access.STOP),
    "help/": (SIGNED_IN, None),
    "log/": (SIGNED_IN, None),
    "log/acknowledge/": (None, access.ACKNOWLEDGE),
    "stop/": (SIGNED_IN, None),
    "stop/turn/": (None, access.STOP),
    "keys/": (SIGNED_IN, None),
    "keys/make": (None, SIGNED_IN),  # a key of a viewer only reads
    "keys/<int:key_id>/revoke": (None, SIGNED_IN),  # one's own; others' are not there
    "login/": (OPEN, OPEN),
    "logout/": (None, OPEN),
    "api/": (OPEN, OPEN),  # sends to the documentation, which asks for a sign-in
    "api/<path:rest>": (OPEN, OPEN),  # says that there is no such route
}
ELSEWHERE = ("admin/", "api/")  # Django's own, and tests/integration/test_api_access.py


def routes(found: list[URLPattern | URLResolver] | None = None, prefix: str = "") -> Iterator[str]:
    for entry in get_resolver().url_patterns if found is None else found:
        path = prefix + str(entry.pattern)
        if isinstance(entry, URLPattern):
            yield path
        elif path not in ELSEWHERE:
            yield from routes(entry.url_patterns, path)


def address(route: str) -> str:
    for name in ("decision_id", "trade_id", "old", "new", "key_id"):
        route = route.replace(f"<int:{name}>", "1")
    return "/" + route.replace("<str:name>", "NVTX").replace("<path:rest>", "nothing/here")


CASES = [(route, method) for route in NEEDS for method in METHODS]


def needed(route: str, method: str) -> str | None:
    return dict(zip(("get", "post"), NEEDS[route], strict=True)).get(method)


def a_user(*rights: str) -> Client:
    user = User.objects.create_user("somebody")
    for right in rights:
        app, _, name = right.partition(".")
        user.user_permissions.add(
            Permission.objects.get(content_type__app_label=app, codename=name)
        )
    client = Client()
    client.force_login(user)
    return client


def ask(client: Client, route: str, method: str) -> int:
    answer = client.generic(method.upper(), address(route), b"", content_type="text/plain")
    assert answer.status_code < 500, (route, method)
    if answer.status_code == 302 and answer["Location"].startswith("/login/"):
        return 401
    return int(answer.status_code)


def test_every_route_has_a_row_in_the_table() -> None:
    assert set(routes()) == set(NEEDS), "say in NEEDS who may open the new route"


def test_nobody_passes_without_a_sign_in() -> None:
    client = Client()

    passed = {
        (route, method): status
        for route, method in CASES
        if OPEN not in NEEDS[route] and (status := ask(client, route, method)) not in (401, 405)
    }

    assert passed == {}


def test_a_viewer_looks_everywhere_and_acts_nowhere() -> None:
    client = a_user()

    for route, method in CASES:
        if OPEN in NEEDS[route]:
            continue
        status, need = ask(client, route, method), needed(route, method)
        if need == SIGNED_IN:
            assert status in (200, 302, 404, 422), (route, method, status)
        elif need is None:
            assert status == 405, (route, method, status)
        else:
            assert status == 403, (route, method, status)


@pytest.mark.parametrize("right", access.OPERATOR_RIGHTS)
def test_each_right_opens_its_own_routes_and_no_other(right: str) -> None:
    client = a_user(right)

    for route, (_, need) in NEEDS.items():
        if need not in (None, OPEN, SIGNED_IN):
            status = ask(client, route, "post")
            assert (status != 403) == (need == right), (route, status)


def test_the_admin_is_for_staff() -> None:
    anonymous, viewer = Client().get("/admin/"), a_user().get("/admin/")

    assert anonymous["Location"].startswith("/admin/login/")
    assert viewer["Location"].startswith("/admin/login/")


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/nothing/", "There is no such page."),
        ("/trade/99/why/", "This trade has no decision."),
        ("/parameters/7/8/", "7"),
    ],
)
def test_what_is_not_here_is_said_in_the_pages_own_look(path: str, said: str) -> None:
    answer = a_user().get(path)

    assert answer.status_code == 404
    assert said in answer.content.decode()
    assert 'href="/stop/"' in answer.content.decode()


def test_a_refusal_and_a_breakdown_have_a_page_too() -> None:
    refused = a_user().post("/stop/turn/")
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(User.objects.get())
    forged = strict.post("/stop/turn/")

    assert "ask for the group “operators”" in refused.content.decode()
    assert "too old, or not from here" in forged.content.decode()
    assert "Something broke" in server_error(RequestFactory().get("/")).content.decode()
