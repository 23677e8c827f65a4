"""The parameters page: check while typing, save with a reason, history, revert, who runs what."""

import re
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.test import Client

from execution.models import Activity, Run
from signals import selectors
from signals.models import ActiveParameters, ParameterSet
from signals.parameters.catalogue import PARAMETERS, YOUR_18, defaults
from signals.session import BUCKET_NS
from tests import page_market
from tests.servers import Valkey
from tradeplane.pages import feed


@pytest.fixture
def market(db: None, valkey: Valkey) -> Run:
    feed.shared_reader.cache_clear()
    page_market.users()
    p = page_market.some_parameters()
    parameter_version = page_market.parameter_services.save_parameters(
        values=p, author="owner", comment="first", base_version=0
    )
    page_market.parameter_services.activate(parameter_version, author="owner")
    return page_market.a_running_run(p, parameter_version)


def client_of(name: str) -> Client:
    client = Client()
    client.force_login(get_user_model().objects.get(username=name))
    return client


@pytest.fixture
def ann(market: Run) -> Client:
    return client_of("ann")


def a_form(**changes: Any) -> dict[str, Any]:
    """The form as the page sends it with nothing changed, and the changes."""
    version, active = selectors.active_parameters()
    found: dict[str, Any] = {"base": str(version), "reason": "because"}
    for row in PARAMETERS:
        value = active[row.name]
        if row.kind == "bool":
            if value:
                found[row.name] = "true"
        else:
            found[row.name] = value if isinstance(value, list) else str(value)
    found.update(changes)
    return {name: value for name, value in found.items() if value is not None}


def saved() -> int:
    return ParameterSet.objects.count()


def test_the_owners_18_come_first_and_every_parameter_has_a_field(ann: Client) -> None:
    page = ann.get("/parameters/").content.decode()

    names = re.findall(r'<div class="param[^"]*" data-name="(\w+)"', page)
    assert names[:18] == [row.name for row in PARAMETERS[:18]]
    assert set(names[:18]) == {getattr(one, "name", one) for one in YOUR_18}
    assert len(names) == len(PARAMETERS)
    assert "range 12 – 360" in page


def test_a_change_is_saved_as_a_version_with_who_when_why_and_from_when(
    ann: Client, market: Run
) -> None:
    answer = ann.post("/parameters/save/", a_form(ao_accel_rate="1.2", use_vwap_alignment=None))

    assert answer.status_code == 302
    version, values = selectors.active_parameters()
    assert (version, values["ao_accel_rate"], values["use_vwap_alignment"]) == (2, 1.2, False)
    row = ParameterSet.objects.get(version=2)
    assert (row.author, row.comment, row.base) == ("ann", "because", 1)
    active = ActiveParameters.objects.get(version=2)
    assert active.active_from_k == market.market_ns // BUCKET_NS + 2
    assert Activity.objects.filter(text="ann saved version 2: because").exists()
    page = ann.get("/parameters/").content.decode()
    assert "Version 2 saved. It counts from 10:30:15 ET on" in page
    assert "ao_accel_rate</span> 1.5 → 1.2" in page


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"slow_period": "4"}, "fast_period (5) must be smaller than slow_period (4)"),
        ({"fast_period": "many"}, "fast_period must be a number"),
        ({"min_score": "nan"}, "min_score must be a number"),
        ({"conf_weight_gravity": "0.5"}, "must be 1, not 1.25"),
        ({"ao_accel_rate": "1.2", "reason": " "}, "say why"),
        ({}, "nothing is different"),
        ({"alpaca_trading_mode": "live"}, "needs the word LIVE"),
    ],
)
def test_a_set_that_does_not_fit_is_refused_whole_with_everything_still_typed(
    ann: Client, changes: dict[str, str], said: str
) -> None:
    answer = ann.post("/parameters/save/", a_form(**changes))

    page = answer.content.decode()
    assert answer.status_code == 422
    assert said in page
    assert saved() == 1
    for name, value in changes.items():
        if name not in ("reason", "alpaca_trading_mode"):
            assert f'value="{value}"' in page


def test_going_live_takes_the_word(ann: Client) -> None:
    ann.post("/parameters/save/", a_form(alpaca_trading_mode="live", live_word="LIVE"))

    assert selectors.active_parameters()[1]["alpaca_trading_mode"] == "live"


def test_a_set_based_on_an_older_version_is_not_saved_over_a_newer_one(ann: Client) -> None:
    stale = a_form(min_score="50")
    ann.post("/parameters/save/", a_form(ao_accel_rate="1.2"))

    answer = ann.post("/parameters/save/", stale)

    assert answer.status_code == 409
    assert "Nothing was saved" in answer.content.decode()
    assert saved() == 2


def test_the_check_says_what_saving_would_and_saves_nothing(ann: Client) -> None:
    found = ann.post("/parameters/check/", a_form(slow_period="4", ao_accel_rate="1.2")).json()

    assert "fast_period (5) must be smaller" in found["errors"]["slow_period"][0]
    assert "fast_period (5) must be smaller" in found["errors"]["fast_period"][0]
    assert {"name": "ao_accel_rate", "was": "1.5", "is": "1.2"} in found["changed"]
    assert saved() == 1


def test_advice_comes_with_a_set_that_fits(ann: Client) -> None:
    found = ann.post(
        "/parameters/check/", a_form(risk_per_trade_percent="1.2", max_trades_per_day="10")
    ).json()

    assert found["errors"] == {}
    assert any("max_daily_loss_percent" in line for line in found["advice"])


def test_reverting_fills_the_form_with_the_old_set_and_saves_a_new_version(ann: Client) -> None:
    ann.post("/parameters/save/", a_form(ao_accel_rate="1.2"))

    page = ann.get("/parameters/?from=1").content.decode()
    ann.post("/parameters/save/", a_form(ao_accel_rate="1.5", reason="Back to version 1"))

    assert "1 change, not saved" in page
    assert 'value="Back to version 1"' in page
    assert selectors.active_parameters()[0] == 3
    assert selectors.active_parameters()[1]["ao_accel_rate"] == 1.5
    assert ann.get("/parameters/?from=99").status_code == 404


def test_two_versions_are_compared(ann: Client) -> None:
    ann.post("/parameters/save/", a_form(min_score="50"))

    page = ann.get("/parameters/1/2/").content.decode()

    assert "1 difference" in page
    assert "<del>45</del><ins>50</ins>" in page
    assert ann.get("/parameters/1/77/").status_code == 404


def test_the_kill_switch_is_not_a_parameter_here(ann: Client) -> None:
    ann.post("/parameters/save/", a_form(kill_switch="flatten", min_score="50"))

    values = selectors.active_parameters()[1]
    assert (values["kill_switch"], values["min_score"]) == ("none", 50.0)


def test_a_viewer_looks_and_changes_nothing(market: Run) -> None:
    vic = client_of("vic")

    page = vic.get("/parameters/").content.decode()
    answer = vic.post("/parameters/save/", a_form(ao_accel_rate="1.2"))

    assert "You may look, not change" in page
    assert answer.status_code == 403
    assert saved() == 1


def test_a_form_from_elsewhere_is_refused(market: Run) -> None:
    forged = Client(enforce_csrf_checks=True)
    forged.force_login(get_user_model().objects.get(username="ann"))

    assert forged.post("/parameters/save/", a_form(ao_accel_rate="1.2")).status_code == 403


@pytest.mark.django_db
def test_without_any_version_the_defaults_are_shown_and_may_be_changed(
    admin_client: Client, valkey: Valkey
) -> None:
    feed.shared_reader.cache_clear()

    admin_client.post("/parameters/save/", a_form(min_score="50"))

    version, values = selectors.active_parameters()
    assert version == 1
    assert values == {**defaults(), "min_score": 50.0}
