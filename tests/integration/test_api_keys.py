"""Keys: made once, shown once, kept as a hash, revoked for good; no secret leaks anywhere."""

import datetime
import logging
import re
from datetime import UTC

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client

from tests.integration.api_builders import NOW, a_key, a_person, bearer, get, post
from tradeplane.api import keys
from tradeplane.api.scopes import ADMIN, KILL, READ
from tradeplane.models import ApiKey

pytestmark = [pytest.mark.django_db, pytest.mark.db]

TOKEN = re.compile(r"tp_([a-z2-9]{8})_([A-Za-z0-9_-]{43})")
CANARY_PLACES = ("/api/status", "/api/nope", "/api/decisions?limit=-1", "/keys/", "/admin/login/")


@pytest.fixture
def boss(client: Client) -> User:
    person = a_person("boss", superuser=True)
    client.force_login(person)
    return person


def made_on_the_page(client: Client, **form: object) -> str:
    """Return the token that the page shows."""
    answer = client.post("/keys/make", {"name": "bot", "scopes": [READ], "lifetime": "90", **form})
    assert answer.status_code == 201, answer.content
    found = TOKEN.search(answer.content.decode())
    assert found is not None
    return found.group()


def test_a_made_key_opens_the_interface_and_is_never_shown_again(
    client: Client, boss: User
) -> None:
    token = made_on_the_page(client)

    again = client.get("/keys/").content.decode()

    assert get(Client(), "status", token).status_code == 200
    assert token not in again
    assert token.split("_")[1] in again


def test_the_answer_with_the_secret_is_kept_by_no_cache(client: Client, boss: User) -> None:
    answer = client.post("/keys/make", {"name": "bot", "scopes": [READ], "lifetime": "30"})

    assert "no-store" in answer["Cache-Control"]


def test_a_revoked_key_opens_nothing_at_once(client: Client, boss: User) -> None:
    token = made_on_the_page(client)
    key = ApiKey.objects.get()

    client.post(f"/keys/{key.pk}/revoke")

    assert get(Client(), "status", token).status_code == 401
    key.refresh_from_db()
    assert key.revoked_by == "boss"
    assert "revoked" in client.get("/keys/").content.decode()


@pytest.mark.parametrize(
    ("form", "line"),
    [
        ({"name": " "}, "needs a name"),
        ({"name": "a\x00b"}, "needs a name"),
        ({"name": "x" * 61}, "needs a name"),
        ({"scopes": []}, "at least one scope"),
        ({"scopes": ["orders:write"]}, "there is no scope"),
        ({"lifetime": "7"}, "how long the key lives"),
        ({"name": "taken"}, "you have a key named"),
    ],
)
def test_a_key_that_cannot_be_is_refused_in_one_line(
    client: Client, boss: User, form: dict[str, object], line: str
) -> None:
    a_key(READ, owner=boss, name="taken")

    answer = client.post("/keys/make", {"name": "n", "scopes": [READ], "lifetime": "30"} | form)

    assert answer.status_code == 422
    assert line in answer.content.decode()
    assert ApiKey.objects.count() == 1


def test_nobody_gives_what_they_do_not_have(client: Client) -> None:
    client.force_login(a_person("viewer"))

    answer = client.post("/keys/make", {"name": "n", "scopes": [KILL], "lifetime": "30"})

    assert answer.status_code == 422
    assert ApiKey.objects.count() == 0


def test_a_viewer_neither_sees_nor_revokes_the_keys_of_others(client: Client) -> None:
    key, token = a_key(ADMIN, name="not-yours")
    client.force_login(a_person("viewer"))

    page = client.get("/keys/").content.decode()
    answers = [client.post(f"/keys/{pk}/revoke").status_code for pk in (key.pk, 10**30, 0)]

    assert "not-yours" not in page
    assert answers == [404, 404, 404]
    assert get(Client(), "status", token).status_code == 200


def test_a_key_shrinks_with_its_owner(client: Client) -> None:
    owner = a_person("op", scopes=(KILL,))
    _, token = a_key(KILL, owner=owner)
    body = {"level": "pause", "reason": "test"}

    before = post(client, "kill-switch", token, body).status_code
    owner.user_permissions.clear()
    after = post(client, "kill-switch", token, body).status_code

    assert (before, after) == (200, 403)


def test_a_key_ends_at_its_hour() -> None:
    hour = datetime.timedelta(hours=1)
    key, token = a_key(READ, expires_at=NOW + hour)

    assert keys.recognized(token, NOW + hour - datetime.timedelta(seconds=1)) == key
    assert keys.recognized(token, NOW + hour) is None


def test_the_last_use_is_written_once_a_minute() -> None:
    key, token = a_key(READ)
    used = []

    for seconds in (0, 30, 59, 60, 61):
        keys.recognized(token, NOW + datetime.timedelta(seconds=seconds))
        key.refresh_from_db()
        used.append((key.last_used_at - NOW).total_seconds())

    assert used == [0, 0, 0, 60, 60]


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "tp",
        "tp_",
        "tp__",
        "tp_a_b",
        "tp_aaaaaaaa_",
        "sk_aaaaaaaa_x",
        "é" * 50,
        "x" * 10_000,
        "tp_' OR 1=1 --_x",
        "tp_%_%",
    ],
)
def test_no_other_text_is_a_key(client: Client, text: str) -> None:
    a_key(READ)

    assert keys.recognized(text, NOW) is None
    header = text.encode().decode("latin-1")
    assert (
        client.get("/api/status", headers={"Authorization": f"Bearer {header}"}).status_code == 401
    )


def test_a_used_secret_is_in_no_log_no_row_and_no_page(
    client: Client, boss: User, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    token = made_on_the_page(client, scopes=[ADMIN])
    secret = token.split("_", 2)[2]
    pages = [client.get(place, headers=bearer(token)).content.decode() for place in CANARY_PLACES]
    body = {"level": "pause", "reason": "test"}
    post(client, "kill-switch", token, body, Idempotency_Key="once")
    post(client, "kill-switch", token, "{broken")
    post(client, "parameters", token, {"base_version": 7, "reason": "r", "changes": {}})
    get(client, "status", token + "x")

    logged = "\n".join(f"{record.getMessage()} {vars(record)}" for record in caplog.records)

    assert secret not in logged
    assert secret not in "\n".join(pages)
    assert secret not in whole_database()
    assert keys.digest(secret) in whole_database(), "the search would find it"


def whole_database() -> str:
    """Every value of every table, as text."""
    found = []
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names(cursor):
            cursor.execute(f"SELECT * FROM {connection.ops.quote_name(table)}")  # noqa: S608
            found.append(repr(cursor.fetchall()))
    return "\n".join(found)


def test_the_admin_shows_keys_without_their_hashes(client: Client) -> None:
    boss = a_person("chief", superuser=True)
    User.objects.filter(pk=boss.pk).update(is_staff=True)
    client.force_login(User.objects.get(pk=boss.pk))
    key, _ = a_key(READ)

    page = client.get(f"/admin/tradeplane/apikey/{key.pk}/change/").content.decode()

    assert key.prefix in page
    assert key.secret_sha256 not in page
    assert datetime.datetime.now(UTC) > NOW
