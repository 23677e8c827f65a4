"""The status page: who may see it, what it says, and how it stays new."""

import asyncio
import datetime
import json
from collections.abc import Iterator
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from asgiref.testing import ApplicationCommunicator
from django.contrib.auth import get_user_model
from django.test import Client

from execution.models import Activity, Decision, Order, Round, Run, StartupStep, Trade
from tradeplane.asgi import application
from tradeplane.pages import board as pages_board
from tradeplane.pages.feed import PENDING_MAX, Feed

OPEN_NS = 1_381_152_600_000_000_000  # 2013-10-07 09:30 New York
K = OPEN_NS // 5_000_000_000 + 12
ORIGIN = (b"origin", b"http://localhost")
HOST = (b"host", b"localhost")


def a_run(**fields: Any) -> Run:
    values = {
        "id": "tape-1",
        "state": "running",
        "lockstep": True,
        "market_ns": OPEN_NS + 61 * 10**9,
    }
    return Run.objects.create(**values | fields)


def a_decision(run: Run, symbol: str = "AIG", **fields: Any) -> Decision:
    values = {
        "k": K,
        "candidate_id": f"2013-10-07-{symbol}-{K}",
        "outcome": "turned_down",
        "primary_reason": "C4",
        "rank": 1,
        "score": 61.4,
        "record": {
            "features": {"x": 3.21, "z": 2.5, "accel": -0.5},
            "gates": [
                {"id": "C1", "pass": True, "text": "fine"},
                {"id": "C4", "pass": False, "text": "Ask is 2.91 % above VWAP <b>; limit 2.50 %."},
            ],
        },
    }
    return Decision.objects.create(run=run, symbol=symbol, **values | fields)


def a_trade(run: Run, **fields: Any) -> Trade:
    values = {
        "account_number": "PA1",
        "day": datetime.date(2013, 10, 7),
        "slot": 1,
        "symbol": "BAC",
        "state": "open",
        "k": K,
        "candidate_id": "c",
        "quantity": 100,
        "limit": 14,
        "take_profit": "14.07",
        "stop_loss": "13.93",
        "filled_quantity": 100,
        "entry_value": 1400,
        "parameters_version": 1,
        "reserved_ns": OPEN_NS,
        "opened_ns": OPEN_NS + 10**9,
        "protected_ns": OPEN_NS + 2 * 10**9,
    }
    return Trade.objects.create(run=run, **values | fields)


@pytest.fixture
def signed_in(client: Client, db: None) -> Iterator[Client]:
    client.force_login(get_user_model().objects.create_user("ann"))
    return client


@pytest.mark.django_db
def test_the_page_wants_a_sign_in(client: Client) -> None:
    answer = client.get("/")

    assert answer.status_code == 302
    assert answer["Location"] == "/login/?next=/"
    assert client.get("/login/").status_code == 200


@pytest.mark.django_db
def test_a_wrong_password_says_so_and_signs_nobody_in(client: Client) -> None:
    answer = client.post("/login/", {"username": "ann", "password": "wrong"})

    assert b"is not right" in answer.content
    assert client.get("/").status_code == 302


def test_an_empty_database_still_makes_a_page(signed_in: Client) -> None:
    page = signed_in.get("/").content.decode()

    assert "Nothing has run yet" in page
    assert 'data-mode="off"' in page


def test_the_page_works_without_scripts_and_escapes_what_it_shows(signed_in: Client) -> None:
    run = a_run(assignments={"1": [["A", "C"]]})
    StartupStep.objects.create(run=run, position=1, name="relay", state="done")
    Round.objects.create(run=run, k=K, state="decided", closed_ns=OPEN_NS, params_version=1)
    a_decision(run)
    a_trade(run)
    Activity.objects.create(run=run, kind="round", text="<script>alert(1)</script>")

    page = signed_in.get("/").content.decode()

    assert "SIMULATED" in page
    assert "C4 Ask is 2.91 % above VWAP &lt;b&gt;; limit 2.50 %." in page
    assert "13.93" in page
    assert "14.07" in page
    assert "−0.50" in page
    assert "<script>alert" not in page


def test_the_policy_allows_own_scripts_only(signed_in: Client) -> None:
    answer = signed_in.get("/")

    assert "script-src 'self'" in answer["Content-Security-Policy"]
    assert "style=" not in answer.content.decode()
    assert "no-store" in answer["Cache-Control"]


@pytest.mark.db
@pytest.mark.django_db
def test_a_blocked_step_is_the_first_sentence() -> None:
    run = a_run(market_ns=0)
    StartupStep.objects.create(run=run, position=1, name="relay", state="done")
    StartupStep.objects.create(
        run=run, position=2, name="account", state="blocked", reason="cash differs by $1.00"
    )

    hero = pages_board.board({})["hero"]

    assert hero["say"] == "Start-up is blocked at “account”: cash differs by $1.00"


@pytest.mark.db
@pytest.mark.django_db
def test_the_board_adds_up_money_exactly_and_shows_orders() -> None:
    run = a_run(day=datetime.date(2013, 10, 7))
    trade = a_trade(run, realized_pnl="0.100001", slot_key="a", state="closed", closed_ns=2)
    a_trade(run, realized_pnl="-0.300001", slot=2, slot_key="b", state="closed", closed_ns=1)
    Order.objects.create(
        run=run, trade=trade, purpose="e", client_order_id="x", symbol="BAC", side="buy",
        type="limit", quantity=100, status="filled", fence_epoch=1, created_ns=OPEN_NS,
    )  # fmt: skip

    board = pages_board.board(None)

    assert board["hero"]["kpis"][0] == {
        "name": "Today", "value": "−$0.20", "more": "realized", "tone": "down",
    }  # fmt: skip
    assert [order["symbol"] for order in board["orders"]] == ["BAC"]
    assert board["shards"][0]["word"] == "Redis does not answer"


@pytest.mark.django_db
def test_a_silent_shard_is_dark_and_a_speaking_one_shows_its_lag() -> None:
    a_run(assignments={"1": [["A", "M"]], "2": [["M", "["]]})

    shards = pages_board.board({"1": {"state": "live", "lag_ms": "12.6", "letters": "A–L"}})[
        "shards"
    ]

    assert [(shard["state"], shard["letters"]) for shard in shards] == [
        ("ok", "A–L"),
        ("dark", "M–["),
    ]
    assert shards[0]["lag"] == "13 ms"


# --- the live connection ---------------------------------------------------------------------


class Socket:
    """A page's WebSocket against the ASGI application (channels.testing wants Daphne)."""

    def __init__(self, *headers: tuple[bytes, bytes]) -> None:
        scope = {
            "type": "websocket",
            "path": "/live/status",
            "query_string": b"",
            "subprotocols": [],
        }
        self._app = ApplicationCommunicator(application, scope | {"headers": list(headers)})

    async def connect(self) -> tuple[bool, int]:
        await self._app.send_input({"type": "websocket.connect"})
        answer = await self._app.receive_output(10)
        return answer["type"] == "websocket.accept", answer.get("code", 0)

    async def send(self, message: dict[str, Any]) -> None:
        await self._app.send_input({"type": "websocket.receive", "text": json.dumps(message)})

    async def next_of_type(self, kind: str) -> dict[str, Any]:
        while True:
            answer = await self._app.receive_output(10)
            message = json.loads(answer["text"])
            if message["type"] == kind:
                return message

    async def close(self) -> None:
        await self._app.send_input({"type": "websocket.disconnect", "code": 1001})
        await self._app.wait(10)


class FakeBoard:
    """A reader whose sections the test changes."""

    def __init__(self) -> None:
        self.sections = {"hero": "one", "trade": "none"}

    def read(self) -> tuple[dict[str, str], str]:
        return dict(self.sections), "paper"


async def next_of(queue: asyncio.Queue[dict[str, Any]]) -> dict[str, Any]:
    return await asyncio.wait_for(queue.get(), 10)


@pytest.mark.asyncio
async def test_a_page_gets_a_snapshot_then_only_what_changed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tradeplane.pages.feed.EVERY_S", 0.01)
    fake = FakeBoard()
    feed = Feed(fake.read)

    queue = await feed.join()
    first = await next_of(queue)
    fake.sections["trade"] = "AIG"
    delta = await next_of(queue)
    while delta["type"] == "beat":
        delta = await next_of(queue)
    feed.leave(queue)

    assert first["type"] == "snapshot"
    assert first["sections"] == {"hero": "one", "trade": "none"}
    assert delta["type"] == "delta"
    assert delta["seq"] == first["seq"] + 1
    assert delta["sections"] == {"trade": "AIG"}


@pytest.mark.asyncio
async def test_snapshot_and_deltas_add_up_to_a_fresh_snapshot() -> None:
    fake = FakeBoard()
    feed = Feed(fake.read)
    await feed._look()
    shown = dict(feed.snapshot()["sections"])

    for n in range(5):
        fake.sections[("hero", "trade")[n % 2]] = str(n)
        delta = await feed._look()
        assert delta is not None
        shown |= delta["sections"]

    assert shown == feed.snapshot()["sections"]


@pytest.mark.asyncio
async def test_a_page_that_does_not_read_is_bounded_and_starts_anew() -> None:
    fake = FakeBoard()
    feed = Feed(fake.read)
    queue: asyncio.Queue[dict[str, Any]] = asyncio.Queue(PENDING_MAX)
    feed._pages.add(queue)

    for n in range(PENDING_MAX + 1):
        fake.sections["hero"] = str(n)
        feed._send(await feed._look())

    assert queue.qsize() == 1
    assert queue.get_nowait()["type"] == "snapshot"


@pytest.mark.asyncio
@pytest.mark.django_db(transaction=True)
async def test_an_anonymous_connection_is_refused() -> None:
    assert await Socket(ORIGIN, HOST).connect() == (False, 4401)


@pytest.mark.asyncio
@pytest.mark.django_db(transaction=True)
async def test_a_connection_from_another_site_is_refused(valkey: object) -> None:
    connected, _ = await Socket((b"origin", b"http://evil.example"), HOST).connect()

    assert not connected


@pytest.mark.asyncio
@pytest.mark.django_db(transaction=True)
async def test_a_signed_in_page_gets_a_snapshot_and_may_ask_again(client: Client) -> None:
    user = await sync_to_async(get_user_model().objects.create_user)("bob")
    await sync_to_async(client.force_login)(user)
    cookie = f"sessionid={client.cookies['sessionid'].value}".encode()
    socket = Socket(ORIGIN, HOST, (b"cookie", cookie))

    connected, _ = await socket.connect()
    assert connected
    first = await socket.next_of_type("snapshot")
    await socket.send({"type": "snapshot"})
    again = await socket.next_of_type("snapshot")
    await socket.close()

    assert set(first["sections"]) == set(pages_board.SECTIONS)
    assert again["seq"] >= first["seq"]
