"""Parameters are saved as one set or not at all; the kill switch stops easily and resets hard."""

import json
from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from execution import kill_file, selectors
from execution.models import KillSwitch
from execution.services import runs
from signals.models import ParameterSet
from signals.parameters.catalogue import defaults
from signals.selectors import active_parameters
from signals.selectors import expiring as expiring_versions
from tests.integration.api_builders import a_key, a_person, a_run, get, post
from tradeplane.api.scopes import ADMIN, KILL, PARAMETERS
from tradeplane.models import IdempotentAnswer

pytestmark = [pytest.mark.django_db, pytest.mark.db]

CHANGE = {"base_version": 0, "reason": "fewer", "changes": {"max_trades_per_day": 2}}
PAUSE = {"level": "pause", "reason": "lunch"}
RESET = {"from_level": "pause", "reason": "back from lunch"}


@pytest.fixture
def token() -> str:
    return a_key(ADMIN, owner=a_person("boss", superuser=True))[1]


def test_a_change_makes_a_version_that_counts_and_says_who_and_why(
    client: Client, token: str
) -> None:
    answer = post(client, "parameters", token, CHANGE)

    version, values = active_parameters()
    saved = get(client, "parameters/history", token).json()[0]
    assert answer.json() == {"version": 1, "advice": []}
    assert (version, values["max_trades_per_day"]) == (1, 2)
    assert saved["comment"] == "fewer"
    assert saved["author"].startswith("key ")
    assert "boss" in saved["author"]
    assert list(saved["changed"]) == ["max_trades_per_day"]


def test_a_whole_set_is_saved_as_it_is(client: Client, token: str) -> None:
    values = defaults() | {"max_trades_per_day": 4}
    body = {"base_version": 0, "reason": "all of it", "values": values}

    assert post(client, "parameters", token, body).status_code == 200
    assert active_parameters() == (1, values)


def test_a_stale_base_is_a_conflict_and_changes_nothing(client: Client, token: str) -> None:
    post(client, "parameters", token, CHANGE)

    answer = post(client, "parameters", token, CHANGE | {"changes": {"max_trades_per_day": 9}})

    assert answer.status_code == 409
    assert answer.json()["error"] == "version 1 is active, not version 0"
    assert active_parameters()[1]["max_trades_per_day"] == 2


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"changes": {"max_trades_per_dy": 2}}, "did you mean max_trades_per_day?"),
        ({"changes": {"max_trades_per_day": 10**400}}, "too large a number"),
        ({"changes": {"max_trades_per_day": "2"}}, "must be a number"),
        ({"changes": {"max_trades_per_day": None}}, "must be a number"),
        ({"changes": {"max_trades_per_day": [[[]]]}}, "must be a number"),
        ({"changes": {"max_trades_per_day": -5}}, "must be between"),
        ({"changes": {"kill_switch": "pause"}}, "/api/kill-switch"),
        ({"changes": {}}, "nothing would change"),
        ({"changes": None}, "send either values"),
        ({"values": {}}, "send either values"),
        ({"changes": None, "values": {"max_trades_per_day": 2}}, "must hold every parameter"),
        ({"reason": ""}, "reason"),
        ({"reason": "   "}, "reason"),
        ({"reason": "a\nb"}, "reason"),
        ({"reason": "x" * 301}, "reason"),
        ({"base_version": -1}, "base_version"),
        ({"base_version": 10**30}, "base_version"),
        ({"why": "typo"}, "why: Extra inputs"),
    ],
)
def test_a_bad_set_is_refused_in_one_line_and_nothing_is_saved(
    client: Client, token: str, change: dict[str, Any], line: str
) -> None:
    answer = post(client, "parameters", token, CHANGE | change)

    assert answer.status_code == 422
    assert line in answer.json()["error"]
    assert "\n" not in answer.json()["error"]
    assert ParameterSet.objects.count() == 0


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"a":' * 20_000,
        b"1" * 9_000,
        b'{"reason": "\\ud800"}',
        json.dumps(CHANGE).replace("2", "NaN").encode(),
        b" " * 3_000_000,
    ],
)
def test_a_broken_body_is_refused_in_one_line(client: Client, token: str, body: bytes) -> None:
    answer = post(client, "parameters", token, body)

    assert answer.status_code in (400, 422)
    assert answer.json()["error"]
    assert ParameterSet.objects.count() == 0


def test_going_live_needs_admin(client: Client) -> None:
    owner = a_person("op", scopes=(PARAMETERS,))
    _, token = a_key(PARAMETERS, owner=owner)
    body = CHANGE | {"changes": {"alpaca_trading_mode": "live"}}

    answer = post(client, "parameters", token, body)

    assert answer.status_code == 403
    assert active_parameters()[0] == 0


def test_the_switch_turns_and_says_who(client: Client, token: str) -> None:
    answer = post(client, "kill-switch", token, PAUSE).json()

    assert (answer["level"], answer["reason"]) == ("pause", "lunch")
    assert selectors.kill_level() == "pause"
    assert get(client, "kill-switch", token).json()["actor"].startswith("key ")


def test_a_level_that_only_the_file_says_is_told_by_every_route_and_reset(
    client: Client, token: str, settings: Any, tmp_path: Path
) -> None:
    settings.TRADEPLANE_HOME = tmp_path
    post(client, "kill-switch", token, PAUSE)
    kill_file.write(level="freeze", reason="by hand", actor="root", at="2026-11-27T15:00:00+00:00")

    told = get(client, "kill-switch", token).json()
    levels = (told["level"], get(client, "status", token).json()["kill_switch"])
    answer = post(client, "kill-switch/reset", token, RESET | {"from_level": told["level"]})

    assert levels == ("freeze", "freeze")
    assert (told["reason"], told["actor"]) == ("by hand", "root")
    assert told["at"] == "2026-11-27T15:00:00Z"
    assert (answer.status_code, selectors.kill_level()) == (200, "none")


@pytest.mark.parametrize("body", [{"level": "none", "reason": "x"}, {"level": "pause"}, {}])
def test_the_switch_is_not_reset_by_turning_it(
    client: Client, token: str, body: dict[str, str]
) -> None:
    runs.set_kill_switch(level="flatten", reason="test", actor="test")

    assert post(client, "kill-switch", token, body).status_code == 422
    assert selectors.kill_level() == "flatten"


def test_the_right_to_stop_is_not_the_right_to_weaken_a_stop(client: Client) -> None:
    token = a_key(KILL)[1]
    first = post(client, "kill-switch", token, {"level": "freeze", "reason": "fire"})

    answer = post(client, "kill-switch", token, PAUSE)

    assert (first.status_code, answer.status_code) == (200, 409)
    assert answer.json()["error"] == (
        "the kill switch stands at freeze, which is stronger than pause; end freeze first"
    )
    assert selectors.kill_level() == "freeze"
    assert KillSwitch.objects.count() == 1


@pytest.mark.parametrize("reason", ["", "   ", "\t"])
def test_a_blank_reason_is_refused_in_words(client: Client, token: str, reason: str) -> None:
    turned = post(client, "kill-switch", token, PAUSE | {"reason": reason})
    saved = post(client, "parameters", token, CHANGE | {"reason": reason})

    assert {turned.status_code, saved.status_code} == {422}
    assert turned.json() == saved.json() == {"error": "reason: say why, it is kept"}


def test_a_reset_needs_a_typed_reason_and_the_level_it_ends(client: Client, token: str) -> None:
    post(client, "kill-switch", token, PAUSE)

    hasty = post(client, "kill-switch/reset", token, RESET | {"reason": "ok"})
    wrong = post(client, "kill-switch/reset", token, RESET | {"from_level": "flatten"})
    right = post(client, "kill-switch/reset", token, RESET)
    again = post(client, "kill-switch/reset", token, RESET)

    codes = [answer.status_code for answer in (hasty, wrong, right, again)]
    assert codes == [422, 409, 200, 409]
    assert selectors.kill_level() == "none"


def test_a_stop_that_came_in_between_is_not_undone(client: Client, token: str) -> None:
    post(client, "kill-switch", token, PAUSE)
    runs.set_kill_switch(level="flatten", reason="somebody else saw fire", actor="bob")

    answer = post(client, "kill-switch/reset", token, RESET)

    assert answer.json()["error"] == "the kill switch is at flatten, not at pause"
    assert selectors.kill_level() == "flatten"


def test_a_repeated_post_acts_once_and_answers_the_same(client: Client, token: str) -> None:
    answers = [post(client, "kill-switch", token, PAUSE, Idempotency_Key="a1") for _ in range(3)]
    saved = [post(client, "parameters", token, CHANGE, Idempotency_Key="a2") for _ in range(3)]

    assert len({answer.content for answer in answers}) == 1
    assert [answer.json()["version"] for answer in saved] == [1, 1, 1]
    assert KillSwitch.objects.count() == 1
    assert ParameterSet.objects.count() == 1


def test_an_idempotency_key_is_for_one_request_of_one_caller(client: Client, token: str) -> None:
    other = a_key(KILL, name="other")[1]
    post(client, "kill-switch", token, PAUSE, Idempotency_Key="a1")

    changed = post(client, "kill-switch", token, PAUSE | {"reason": "x"}, Idempotency_Key="a1")
    elsewhere = post(client, "kill-switch/reset", token, RESET, Idempotency_Key="a1")
    theirs = post(client, "kill-switch", other, PAUSE, Idempotency_Key="a1")

    assert [a.status_code for a in (changed, elsewhere, theirs)] == [422, 422, 200]
    assert KillSwitch.objects.count() == 2


def test_a_refusal_is_not_kept(client: Client, token: str) -> None:
    refused = post(client, "kill-switch/reset", token, RESET, Idempotency_Key="a1")
    runs.set_kill_switch(level="pause", reason="test", actor="test")

    later = post(client, "kill-switch/reset", token, RESET, Idempotency_Key="a1")

    assert (refused.status_code, later.status_code) == (409, 200)
    assert IdempotentAnswer.objects.count() == 1


@pytest.mark.parametrize("key", ["", " ", "x" * 65, "é"])
def test_a_strange_idempotency_key_is_refused(client: Client, token: str, key: str) -> None:
    answer = post(client, "kill-switch", token, PAUSE, Idempotency_Key=key)

    assert answer.status_code == 422
    assert KillSwitch.objects.count() == 0


def test_a_set_is_previewed_and_a_change_may_go_back_by_itself(client: Client, token: str) -> None:
    body = {"changes": {"min_score": 30.0}, "minutes": 15}
    assert post(client, "parameters/preview", token, body).status_code == 404
    expiring = CHANGE | {"expires_minutes": 5}
    refused = post(client, "parameters", token, expiring)
    assert refused.status_code == 422
    assert "no market is running" in refused.json()["error"]
    assert not ParameterSet.objects.exists()
    a_run(parameters_version=0)

    told = post(client, "parameters/preview", token, body).json()
    saved = post(client, "parameters", token, expiring)

    assert (told["badge"], told["classes"], told["gained"]) == ("exact", {"min_score": "A"}, [])
    assert saved.status_code == 200
    assert list(expiring_versions()) == [1]
    wrong = post(client, "parameters/preview", token, {"changes": {"fast_period": 99}})
    assert wrong.status_code == 422
