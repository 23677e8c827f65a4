"""How often a caller may ask: per key, per address, with Redis and without."""

import itertools
from collections.abc import Iterator

import pytest
from django.core.cache import caches
from django.test import Client
from pytest_django import Settings

from tests.integration.api_builders import a_key, a_person, get, post
from tests.servers import Valkey
from tradeplane.api import throttle
from tradeplane.api.scopes import ADMIN, READ

pytestmark = pytest.mark.django_db

PAUSE = {"level": "pause", "reason": "test"}


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that stands still until it is set."""
    now = [1_000_000_020.0]  # the beginning of a window
    for one in every_throttle():
        monkeypatch.setattr(one, "_clock", lambda: now[0])
    return now


@pytest.fixture(autouse=True)
def _few(settings: Settings, clock: list[float]) -> Iterator[None]:
    settings.API_RATES = {"read": 3, "write": 2, "kill": 2, "anonymous": 2}
    caches["local"].clear()
    yield
    caches["local"].clear()
    throttle._avoid_until = 0.0


def every_throttle() -> list[throttle.Throttle]:
    from tradeplane.api.app import api  # noqa: PLC0415 - after the settings

    views = itertools.chain(*(r.path_operations.values() for r in api._get_bound_routers()))
    found = {
        id(one): one
        for view in views
        for operation in view.operations
        for one in operation.throttle_objects
    }
    return [throttle.ANONYMOUS, *found.values()]


def statuses(client: Client, token: str, count: int) -> list[int]:
    return [get(client, "kill-switch", token).status_code for _ in range(count)]


def test_a_caller_over_the_rate_is_told_when_to_come_back(
    client: Client, clock: list[float]
) -> None:
    token = a_key(READ)[1]
    clock[0] += 18

    codes = statuses(client, token, 4)
    refused = get(client, "kill-switch", token)
    clock[0] += 42

    assert codes == [200, 200, 200, 429]
    assert refused["Retry-After"] == "42"
    assert refused.json()["error"] == "Too many requests."
    assert statuses(client, token, 1) == [200]


def test_one_caller_does_not_use_up_anothers_share(client: Client) -> None:
    owner = a_person("boss", superuser=True)
    first, second = (a_key(READ, owner=owner, name=name)[1] for name in "ab")

    assert statuses(client, first, 4)[-1] == 429
    assert statuses(client, second, 1) == [200]


def test_reading_does_not_use_up_the_kill_switch(client: Client) -> None:
    token = a_key(ADMIN)[1]
    statuses(client, token, 4)

    assert post(client, "kill-switch", token, PAUSE).status_code == 200


def test_strangers_are_limited_and_lock_nobody_out(client: Client) -> None:
    token = a_key(READ)[1]

    strangers = [get(client, "status", "tp_aaaaaaaa_guess").status_code for _ in range(4)]
    forged = client.get("/api/status", headers={"X-Forwarded-For": "10.0.0.1"}).status_code

    assert strangers == [401, 401, 429, 429]
    assert forged == 429, "an address of the caller's own making does not count"
    assert statuses(client, token, 1) == [200]


def test_redis_counts_for_all_processes(client: Client, valkey: Valkey) -> None:
    token = a_key(READ)[1]
    throttle._avoid_until = 0.0
    caches["default"].clear()

    statuses(client, token, 3)
    caches["local"].clear()  # as another process

    assert statuses(client, token, 1) == [429]


def test_without_redis_each_process_counts_for_itself(client: Client, valkey: Valkey) -> None:
    token = a_key(READ)[1]
    valkey.kill()
    try:
        codes = statuses(client, token, 4)
    finally:
        valkey.start()

    assert codes == [200, 200, 200, 429]


def test_every_route_is_throttled() -> None:
    from tradeplane.api.app import api  # noqa: PLC0415 - after the settings

    for router in api._get_bound_routers():
        for path, view in router.path_operations.items():
            assert all(operation.throttle_objects for operation in view.operations), path
