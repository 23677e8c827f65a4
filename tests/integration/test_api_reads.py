"""What the interface tells: bounded pages, exact money, one line for every bad question."""

from decimal import Decimal
from typing import Any

import pytest
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from accounts import services
from execution import reports
from execution.models import Round
from signals.parameters.catalogue import PARAMETERS, defaults
from tests.integration import accounts_builders as books
from tests.integration.api_builders import (
    OPEN_NS,
    K,
    a_key,
    a_run,
    a_trade,
    an_order,
    decisions,
    get,
    post,
)
from tradeplane.api.scopes import READ

pytestmark = [pytest.mark.django_db, pytest.mark.db]

LISTS = ("decisions", "trades", "orders", "accounts", "ledger")


@pytest.fixture
def token() -> str:
    return a_key(READ)[1]


def asked(client: Client, token: str, path: str) -> Any:
    answer = get(client, path, token)
    assert answer.status_code == 200, answer.content
    return answer.json()


@pytest.mark.parametrize(
    "path", [*LISTS, "positions", "candidates", "status", "kill-switch", "sums", "equity"]
)
def test_an_empty_database_has_answers(client: Client, token: str, path: str) -> None:
    asked(client, token, path)


@pytest.mark.parametrize("path", [*LISTS, "parameters/history", "kill-switch/history"])
@pytest.mark.parametrize("limit", [0, -1, 501, 10**30, "x", ""])
def test_no_list_is_longer_than_500(client: Client, token: str, path: str, limit: object) -> None:
    answer = get(client, f"{path}?limit={limit}", token)

    assert answer.status_code == 422
    assert answer.json()["error"].startswith("limit: ")
    assert "\n" not in answer.json()["error"]


def test_pages_hold_every_decision_once(client: Client, token: str) -> None:
    decisions(a_run(), 11)
    seen, before = [], ""

    while True:
        page = asked(client, token, f"decisions?limit=4{before}")
        seen += [row["k"] for row in page["items"]]
        if page["next"] is None:
            break
        before = f"&before={page['next']}"

    assert seen == [K + n for n in reversed(range(11))]


def test_a_full_page_of_decisions_costs_few_queries_and_little_memory(
    client: Client, token: str, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    decisions(a_run(), 600)

    with django_assert_max_num_queries(6):
        answer = get(client, "decisions?limit=500", token)

    assert len(answer.json()["items"]) == 500
    assert len(answer.content) < 300_000


@pytest.mark.parametrize(
    ("question", "found"),
    [
        ("symbol=BAC", 2),
        (f"k={K}", 2),
        ("outcome=fired", 2),
        (f"symbol=AIG&k={K}", 1),
        ("outcome=shadow", 0),
        ("run=tape-1&symbol=AIG", 3),
    ],
)
def test_decisions_are_filtered(client: Client, token: str, question: str, found: int) -> None:
    run = a_run()
    decisions(run, 3)
    decisions(run, 2, symbol="BAC", outcome="fired")

    assert len(asked(client, token, f"decisions?{question}")["items"]) == found


@pytest.mark.parametrize(
    "path",
    [
        "decisions?symbol=%27;--",
        "decisions?outcome=won",
        "decisions?k=-1",
        "decisions/0",
        f"decisions?k={10**30}",
        "decisions?symbl=AIG",
        "decisions/x",
        f"decisions/{10**30}",
        "trades?day=2",
        "orders?trade=0",
        "ledger?account=x",
        "ledger?kind=%00",
        "accounts/0",
        "trades?state=closde",
        "orders?status=workng",
        "ledger?kind=fil",
        "ledger?ledger=csh",
        "positions?foo=1",
        "candidates?x=1",
        "funnel?runs=1",
        "why-not?symbol=AIG&kk=1",
        "parameters/history?last=1",
        "kill-switch/history?last=1",
        "decisions?symbol=%F0%9F%92%A9",
        "parameters/versions/-1",
        "trades?run=%00",
        f"positions?account={10**30}",
    ],
)
def test_a_bad_question_is_refused_in_one_line(client: Client, token: str, path: str) -> None:
    a_run()

    answer = get(client, path, token)

    assert answer.status_code == 422
    assert "\n" not in answer.json()["error"]


def test_a_word_that_a_filter_does_not_know_is_answered_with_those_it_knows(
    client: Client, token: str
) -> None:
    a_trade(a_run())

    answer = get(client, "trades?state=closde", token)
    known = asked(client, token, "trades?state=closed")

    assert "'open_protected'" in answer.json()["error"]
    assert known["items"] == []


@pytest.mark.parametrize(
    "path",
    ["decisions/7", "accounts/7", "parameters/versions/7", "trades?run=nope", "ledger?account=7"],
)
def test_what_is_not_there_is_not_found(client: Client, token: str, path: str) -> None:
    answer = get(client, path, token)

    assert answer.status_code == 404
    assert answer.json()["error"]


def test_a_decision_has_its_whole_record(client: Client, token: str) -> None:
    decisions(a_run(), 1)
    listed = asked(client, token, "decisions")["items"][0]

    whole = asked(client, token, f"decisions/{listed['id']}")

    assert "record" not in listed
    assert whole["record"]["gates"][0]["id"] == "C4"


def test_candidates_say_which_gates_hold_them_back(client: Client, token: str) -> None:
    decisions(a_run(), 2)

    answer = asked(client, token, "candidates")

    assert answer["k"] == K + 1
    assert answer["items"][0]["held_back_by"] == [{"id": "C4", "text": "Ask is above VWAP."}]
    assert answer["items"][0]["features"] == {"x": 3.21, "z": None}


def test_money_is_text_and_exact(client: Client, token: str) -> None:
    trade = a_trade(a_run(), realized_pnl=Decimal("-0.000001"), limit=Decimal("12345678.123456"))
    an_order(trade)

    row = asked(client, token, "trades")["items"][0]
    order = asked(client, token, "orders?symbol=BAC&status=working")["items"][0]

    assert (row["realized_pnl"], row["limit"]) == ("-0.000001", "12345678.123456")
    assert (order["limit"], order["stop"], order["trade_id"]) == ("14.010000", None, trade.pk)


def test_the_books_are_told_leg_by_leg(client: Client, token: str) -> None:
    account = books.an_account(run_id=a_run().pk)
    books.record(account)

    legs = asked(client, token, "ledger?kind=fill")["items"]
    detail = asked(client, token, f"accounts/{account.pk}")
    held = asked(client, token, "positions")

    assert sum(Decimal(leg["amount_usd"]) for leg in legs) == 0
    assert {leg["ledger"] for leg in legs} >= {"cash", "position"}
    assert detail["cash"] == "99552.700000"
    assert held["items"] == [
        {"symbol": "AIG", "quantity": 10, "cost": "447.300000", "average_price": "44.730000"}
    ]


def test_status_tells_the_run_in_one_look(client: Client, token: str, settings: Any) -> None:
    settings.REDIS_STATE_URL = "redis://127.0.0.1:9/0"  # the discard port: nobody answers
    run = a_run(latches={"daily_loss": "…"})
    Round.objects.create(run=run, k=K, state="decided", closed_ns=OPEN_NS, params_version=1)

    answer = asked(client, token, "status")

    assert (answer["run"], answer["state"], answer["round"]["k"]) == ("tape-1", "running", K)
    assert answer["blocked_by"] == ["daily_loss"]
    assert answer["shards"] is None, "no Redis answers in this test"


def test_parameters_are_told_whole(client: Client, token: str) -> None:
    active = asked(client, token, "parameters")
    catalogue = asked(client, token, "parameters/catalogue")

    assert active == {"version": 0, "values": defaults()}
    assert [row["name"] for row in catalogue] == [row.name for row in PARAMETERS]


def test_one_decision_is_decided_again_with_other_parameters(client: Client, token: str) -> None:
    run = a_run()
    (row,) = decisions(run, 1)

    told = post(client, f"decisions/{row.pk}/what-if", token, {"changes": {"min_score": 30}})

    assert told.status_code == 200
    assert told.json()["badge"] == "exact"
    assert (told.json()["outcome"], told.json()["reason"]) == (None, "Its inputs are not kept.")
    wrong = post(client, f"decisions/{row.pk}/what-if", token, {"changes": {"fast_period": 99}})
    assert wrong.status_code == 422
    assert post(client, "decisions/999/what-if", token, {"changes": {}}).status_code == 404


@pytest.mark.parametrize("path", ["sums", "equity"])
def test_days_the_wrong_way_round_are_refused(client: Client, token: str, path: str) -> None:
    a_run()

    answer = get(client, f"{path}?first=2026-11-21&last=2026-11-20", token)

    assert answer.status_code == 422
    assert "first 2026-11-21 is after last 2026-11-20" in answer.json()["error"]
    assert get(client, f"{path}?first=2026-11-20&last=2026-11-20", token).status_code == 200


def test_sums_and_the_curve_are_those_of_the_reports(client: Client, token: str) -> None:
    run = a_run()
    account = books.an_account(run_id=run.pk)
    books.record(account)
    services.record_cash(
        account, source_id="f1", kind="fee", amount=Decimal("-0.25"), ts_ns=OPEN_NS,
        session_date=run.day,
    )  # fmt: skip

    sums = asked(client, token, "sums?by=hour")
    curve = asked(client, token, "equity")

    told = reports.report(run.pk)
    assert Decimal(sums["items"][-1]["fees"]) == reports.sums(told, "hour")[-1]["fees"]
    assert Decimal(curve["items"][-1]["equity"]) == reports.equity_curve(told)[-1]["equity"]
    assert sums["run"] == curve["run"] == run.pk
