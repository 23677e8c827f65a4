"""Who may call what: every route × method × caller, walked from the routes themselves."""

import datetime
from collections.abc import Callable
from datetime import UTC

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import NoReverseMatch, reverse

from tests.integration.api_builders import NOW, a_key, a_person, bearer
from tradeplane.api.app import api
from tradeplane.api.scopes import ADMIN, KILL, PARAMETERS, READ
from tradeplane.api.throttle import ANONYMOUS

pytestmark = pytest.mark.django_db

METHODS = ("get", "post", "put", "patch", "delete")
#: What each route needs. A route without a row here fails: decide first who may call it.
NEEDS = {
    ("get", "/status"): READ,
    ("get", "/candidates"): READ,
    ("get", "/decisions"): READ,
    ("get", "/decisions/{decision_id}"): READ,
    ("post", "/decisions/{decision_id}/what-if"): READ,  # decides again, changes nothing
    ("get", "/funnel"): READ,
    ("get", "/equity"): READ,
    ("get", "/sums"): READ,
    ("get", "/why-not"): READ,
    ("get", "/trades"): READ,
    ("get", "/orders"): READ,
    ("get", "/positions"): READ,
    ("get", "/accounts"): READ,
    ("get", "/accounts/{account_id}"): READ,
    ("get", "/ledger"): READ,
    ("get", "/parameters"): READ,
    ("get", "/parameters/catalogue"): READ,
    ("get", "/parameters/history"): READ,
    ("get", "/parameters/versions/{version}"): READ,
    ("post", "/parameters"): PARAMETERS,
    ("post", "/parameters/preview"): READ,  # decides stored rounds again, changes nothing
    ("get", "/kill-switch"): READ,
    ("get", "/kill-switch/history"): READ,
    ("post", "/kill-switch"): KILL,
    ("post", "/kill-switch/reset"): ADMIN,
}
BOUND = [item for router in api._get_bound_routers() for item in router.path_operations.items()]
ROUTES = sorted(dict(BOUND))
CASES = [(method, path) for path in ROUTES for method in METHODS]
SCOPES_OF = {  # caller → what they have
    "key:read": {READ},
    "key:params": {READ, PARAMETERS},
    "key:kill": {READ, KILL},
    "key:admin": {READ, PARAMETERS, KILL, ADMIN},
    "key:admin of a viewer": {READ},
    "session:viewer": {READ},
    "session:operator": {READ, PARAMETERS, KILL},
    "session:superuser": {READ, PARAMETERS, KILL, ADMIN},
}
NOBODY = (
    "anonymous",
    "wrong secret",
    "unknown key",
    "expired",
    "revoked",
    "owner left",
    "not ours",
)

Ask = Callable[[str, str], int]


def asks(caller: str) -> Ask:
    """Return how this caller asks: (method, path) → status."""
    client = Client()
    kind, _, role = caller.partition(":")
    headers = {}
    if kind == "session":
        client.force_login(session_person(role))
    elif caller != "anonymous":
        headers = bearer(token_of(caller))

    def ask(method: str, path: str) -> int:
        url = "/api" + path.format(decision_id=1, account_id=1, version=0)
        answer = client.generic(
            method.upper(), url, "{}", content_type="application/json", headers=headers
        )
        assert answer.status_code < 500, answer.content
        return answer.status_code

    return ask


def session_person(role: str) -> User:
    operator = (PARAMETERS, KILL) if role == "operator" else ()
    return a_person(role, scopes=operator, superuser=role == "superuser")


def token_of(caller: str) -> str:
    past = NOW - datetime.timedelta(days=365)
    if caller == "key:admin of a viewer":
        owner = a_person("was-admin", superuser=True)
        _, token = a_key(ADMIN, owner=owner)
        User.objects.filter(pk=owner.pk).update(is_superuser=False)
        return token
    if caller == "owner left":
        owner = a_person("gone", superuser=True)
        _, token = a_key(owner=owner)
        User.objects.filter(pk=owner.pk).update(is_active=False)
        return token
    if caller.startswith("key:"):
        scope = {"read": READ, "params": PARAMETERS, "kill": KILL, "admin": ADMIN}[caller[4:]]
        return a_key(scope)[1]
    if caller == "expired":
        return a_key(expires_at=past)[1]
    if caller == "revoked":
        return a_key(revoked_at=past)[1]
    key, token = a_key()
    wrong = {
        "wrong secret": f"tp_{key.prefix}_{'x' * 43}",
        "unknown key": f"tp_aaaaaaaa_{token[12:]}",
    }
    return wrong.get(caller, "not-a-key")


def test_every_route_has_a_row_in_the_table() -> None:
    walked = {
        (method.lower(), path)
        for path, view in BOUND
        for operation in view.operations
        for method in operation.methods
    }

    assert walked == set(NEEDS), "say in NEEDS who may call the new route"


@pytest.mark.parametrize("caller", NOBODY)
def test_who_is_nobody_is_refused_on_every_route(caller: str) -> None:
    ask = asks(caller)

    answers = {case: ask(*case) for case in CASES}

    assert {case: got for case, got in answers.items() if case in NEEDS and got != 401} == {}
    assert {answers[case] for case in CASES if case not in NEEDS} == {405}


@pytest.mark.parametrize("caller", SCOPES_OF)
def test_each_caller_passes_exactly_where_their_scopes_reach(caller: str) -> None:
    ask = asks(caller)

    for case in CASES:
        status = ask(*case)
        if case not in NEEDS:
            assert status == 405, case
        elif NEEDS[case] in SCOPES_OF[caller]:
            assert status in (200, 404, 422), case
        else:
            assert status == 403, case


@pytest.mark.parametrize("path", ["/api/schema", "/api/docs"])
def test_the_documentation_is_for_callers_too(client: Client, path: str) -> None:
    anonymous = client.get(path)
    browser = client.get(path, headers={"Accept": "text/html"})
    with_key = client.get(path, headers=bearer(a_key(READ)[1]))

    assert anonymous.status_code == 401
    assert browser["Location"].startswith("/login/?next=/api/")
    assert with_key.status_code == 200


@pytest.mark.parametrize("path", ["/api/nope", "/api/status/", "/api/keys/1"])
def test_an_unknown_route_is_one_line_of_json(client: Client, path: str) -> None:
    answer = client.post(path)

    assert answer.status_code == 404
    assert "no such route" in answer.json()["error"]


def test_a_session_needs_the_csrf_token_to_change_something() -> None:
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(a_person("op", scopes=(KILL,)))
    body = {"level": "pause", "reason": "test"}

    without = strict.post("/api/kill-switch", body, content_type="application/json")
    strict.get("/keys/")
    token = strict.cookies["csrftoken"].value
    with_token = strict.post(
        "/api/kill-switch", body, content_type="application/json", headers={"X-CSRFToken": token}
    )

    assert without.status_code == 403
    assert "X-CSRFToken" in without.json()["error"]
    assert with_token.status_code == 200


def test_a_key_needs_no_csrf_token_and_outranks_the_session() -> None:
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(a_person("boss", superuser=True))
    reader = a_key(READ)[1]

    answer = strict.post(
        "/api/kill-switch", "{}", content_type="application/json", headers=bearer(reader)
    )

    assert answer.status_code == 403
    assert "scope kill" in answer.json()["error"]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("url", ["api-keys", "api-key-make", "api-key-revoke"])
def test_the_page_of_keys_wants_a_sign_in(client: Client, url: str, method: str) -> None:
    try:
        path = reverse(url)
    except NoReverseMatch:
        path = reverse(url, args=[1])

    answer = client.generic(method.upper(), path)

    assert answer.status_code == 302
    assert answer["Location"].startswith("/login/")


def test_now_is_after_the_builders_clock() -> None:
    assert datetime.datetime.now(UTC) > NOW, "keys of the builders would be from the future"
    assert ANONYMOUS.name == "anonymous"
