"""The live pages: who may see them, what they say, and how they stay new."""

import asyncio
import json
import re
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from asgiref.testing import ApplicationCommunicator
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.db.models import QuerySet
from django.test import Client

from execution import kill_file, reports
from execution.models import Activity, Decision, ExternalOrder, Run, ShardChange, StartupStep, Trade
from execution.services import runs
from shards.state import STORED_ROW
from tests import page_market
from tests.servers import Valkey
from tests.unit.domain_builders import K
from tradeplane.asgi import application
from tradeplane.pages import buckets, feed, figures
from tradeplane.pages.board import SECTIONS, Board
from tradeplane.pages.feed import PENDING_MAX, Feed
from tradeplane.runtime.redis import short_client

ORIGIN = (b"origin", b"http://localhost")
HOST = (b"host", b"localhost")
PAGES = ("/", "/symbol/", "/symbol/NVTX/", "/parameters/", "/system/", "/log/", "/stop/")


@pytest.fixture
def market(db: None, valkey: Valkey, settings: Any) -> Run:
    """A running run with a decided round, and living roles."""
    settings.TRADEPLANE_SHARDS = 4
    feed.shared_reader.cache_clear()
    page_market.fill()
    run = Run.objects.get()
    client = short_client(settings.REDIS_STATE_URL)
    page_market.beat(client, run, run.market_ns)
    page_market.last_price(client, "ABCD", 20.31)
    return run


@pytest.fixture
def board(market: Run, settings: Any) -> Board:
    return Board(short_client(settings.REDIS_STATE_URL))


def client_of(name: str) -> Client:
    client = Client()
    client.force_login(get_user_model().objects.get(username=name))
    return client


@pytest.fixture
def owner(market: Run) -> Client:
    return client_of("owner")


# --- who may look -------------------------------------------------------------------------------


@pytest.mark.django_db
@pytest.mark.parametrize("path", [*PAGES, "/why/1/", "/decision/1/", "/symbol/NVTX/bars/"])
def test_every_page_wants_a_sign_in(client: Client, path: str) -> None:
    answer = client.get(path)

    assert answer.status_code == 302
    assert answer["Location"].startswith("/login/?next=/")


@pytest.mark.django_db
def test_a_wrong_password_says_so_and_signs_nobody_in(client: Client) -> None:
    answer = client.post("/login/", {"username": "ann", "password": "wrong"})

    assert b"is not right" in answer.content
    assert client.get("/").status_code == 302


@pytest.mark.parametrize("path", PAGES)
def test_an_empty_database_still_makes_every_page(
    admin_client: Client, valkey: Valkey, path: str
) -> None:
    feed.shared_reader.cache_clear()

    answer = admin_client.get(path)

    assert answer.status_code == 200
    assert 'data-mode="off"' in answer.content.decode()


@pytest.mark.parametrize("path", PAGES)
def test_a_viewer_sees_every_page_under_the_strict_policy(market: Run, path: str) -> None:
    answer = client_of("vic").get(path)

    page = answer.content.decode()
    assert answer.status_code == 200
    assert "script-src 'self'" in answer["Content-Security-Policy"]
    assert "no-store" in answer["Cache-Control"]
    assert not re.search(r'\sstyle="|\son\w+="|<script>', page)


def test_a_new_database_has_viewers_and_operators(market: Run) -> None:
    call_command("migrate", verbosity=0)
    vic = get_user_model().objects.get(username="vic")
    from django.contrib.auth.models import Group  # noqa: PLC0415

    vic.groups.add(Group.objects.get(name="operators"))

    fresh = get_user_model().objects.get(username="vic")
    assert fresh.has_perm("execution.add_killswitch")
    assert fresh.has_perm("signals.add_parameterset")
    assert Group.objects.get(name="viewers").permissions.count() == 0


# --- what the live page says --------------------------------------------------------------------


def test_candidates_stand_in_order_of_acceleration_with_the_gate_that_holds_each(
    owner: Client,
) -> None:
    page = owner.get("/").content.decode()

    rows = re.findall(r'data-key="([A-Z]{4})" data-id', page)
    assert rows == ["CRWX", "NVTX", "TIVA", "ORBN", "HALQ", "MERQ", "VLTN", "PLXR", "GRDN", "BRVO"]
    assert "Ask is 2.91 % above VWAP; your limit is 2.50 % above." in page
    assert "Your only slot is busy with ABCD." in page
    assert "Nothing fired at 10:30:05 ET. Your one slot is busy with ABCD." in page
    assert (
        "10 candidates · 1 waiting for another round · 1 blocked · 8 turned down · coverage 99"
        in page
    )
    assert 'data-spark="' in page


def test_an_unknown_is_said_as_unknown(board: Board) -> None:
    rows = {row["symbol"]: row for row in board.read()[0]["candidates"]["rows"]}

    assert rows["GRDN"]["out"].word == "Unknown, so no"
    assert rows["GRDN"]["quote"] == "–"
    assert rows["CRWX"]["out"].word == "Waiting"
    assert rows["BRVO"]["chip"] == "S3 Halt"


def test_the_position_stands_between_stop_and_target_at_its_last_price(board: Board) -> None:
    values, _ = board.read()

    trade = values["position"]["trades"][0]
    kpis = {kpi["name"]: kpi for kpi in values["hero"]["kpis"]}
    assert trade["pnl"] == "+$68.54"
    assert trade["move"] == "▲ +1.15\u202f% · +0.61 R"
    assert (trade["entry_at"], trade["now_at"]) == ("33.0", "53.0")
    assert trade["planned_loss"] == "−$113.24"
    assert kpis["Today"]["value"] == "+$68.54"
    assert kpis["Loss room"]["value"] == "$518.54"
    assert kpis["Equity"]["value"] == "$30,068.54"
    assert kpis["Trades"]["value"] == "1 of 3"


def test_a_price_nobody_knows_is_not_guessed(market: Run, board: Board, settings: Any) -> None:
    short_client(settings.REDIS_STATE_URL).delete(f"cells:{market.pk}:{market.day}")

    values, _ = board.read()

    assert values["position"]["trades"][0]["pnl"] == "–"
    assert values["hero"]["kpis"][0]["value"] == "–"
    assert values["hero"]["kpis"][3]["value"] == "–"


def test_a_position_without_protection_alarms(market: Run, owner: Client) -> None:
    Trade.objects.update(state="unprotected", naked_since_ns=market.market_ns)

    page = owner.get("/").content.decode()

    assert 'class="safe naked" role="alert"' in page
    assert "Not protected since 10:30:06 ET" in page


def test_letters_show_who_is_slow_and_who_is_dark(market: Run, board: Board, settings: Any) -> None:
    client = short_client(settings.REDIS_STATE_URL)
    client.delete("hb:shard:4")

    letters = board.read()[0]["letters"]

    cells = {cell["letter"]: cell for cell in letters["cells"]}
    assert (letters["ok"], letters["slow"], letters["dark"]) == (13, 6, 7)
    assert cells["S"]["lag"] == "1,310 ms"
    assert cells["Z"]["said"] == "✕ no entries"


def test_dark_letters_say_since_when_by_the_hubs_word(market: Run, board: Board) -> None:
    dark = [{"ranges": [["H", "HM"]], "shard": 2, "since_ns": market.market_ns, "why": "silent"}]
    Run.objects.update(dark=dark)

    letters = board.read()[0]["letters"]

    said = {cell["letter"]: cell["said"] for cell in letters["cells"] if cell["state"] == "dark"}
    assert said == {"H": "✕ no entries since 10:30:06, silent"}


def test_an_operator_takes_a_shard_out_and_the_log_says_who(market: Run) -> None:
    ann = client_of("ann")

    answer = ann.post("/system/shards/", {"action": "drain", "shard": "3"}, follow=True)

    page = answer.content.decode()
    assert "Shard 3 is being taken out" in page
    assert "3 (taken out)" in page
    assert ShardChange.objects.get().shard == 3
    assert Activity.objects.filter(kind="shard", text="ann takes shard 3 out").exists()


def test_a_map_that_doubles_a_stock_changes_nothing(market: Run) -> None:
    form = {"action": "plan", "plan": "map", "map": "A-M | M-Z"}

    page = client_of("ann").post("/system/shards/", form, follow=True).content.decode()

    assert "Nothing was changed: two owners from" in page
    assert not ShardChange.objects.exists()


@pytest.mark.parametrize("form", [{"action": "drain", "shard": "x"}, {"action": "burn"}, {}])
def test_a_form_that_is_none_changes_no_shard(market: Run, form: dict[str, str]) -> None:
    page = client_of("ann").post("/system/shards/", form, follow=True).content.decode()

    assert "Nothing was changed" in page
    assert not ShardChange.objects.exists()


def test_a_viewer_moves_no_letters(market: Run) -> None:
    answer = client_of("vic").post("/system/shards/", {"action": "drain", "shard": "3"})

    assert answer.status_code == 403
    assert not ShardChange.objects.exists()


def test_the_page_says_how_many_letters_each_shard_has_in_effect(market: Run) -> None:
    Run.objects.update(plan=[0, 1])

    page = client_of("vic").get("/system/").content.decode()

    assert "1 asked for per shard; 7 in effect with 4 living shards" in page


def test_each_role_tells_the_version_it_runs(board: Board) -> None:
    roles = {row["role"]: row["version"] for row in board.read()[0]["versions"]}

    assert roles == {"Hub": "1", "Shard 1": "1", "Shard 2": "1", "Shard 3": "1", "Shard 4": "1"}


def test_a_blocked_step_is_named_while_the_run_starts(market: Run, board: Board) -> None:
    Run.objects.update(state="starting")
    StartupStep.objects.filter(name="reconcile").update(
        state="blocked", reason="cash differs by $1.00"
    )

    values, health = board.read()

    assert health.state == "loading"
    assert values["hero"]["say"] == (
        "Starting: held at “Account agrees”: books: cash differs by $1.00."
    )


def test_a_silent_hub_makes_the_page_stale(market: Run, board: Board, settings: Any) -> None:
    short_client(settings.REDIS_STATE_URL).delete("hb:hub")

    values, health = board.read()

    assert health.state == "stale"
    assert values["hero"]["say"].startswith("Entries are blocked: the hub is silent since 10:30")


def test_a_redis_that_is_away_makes_the_page_stale(market: Run) -> None:
    _, health = Board(short_client("redis://127.0.0.1:1/0")).read()

    assert (health.state, health.speed) == ("stale", 0.0)


def test_a_round_without_candidates_is_empty_and_says_that_it_is_normal(
    market: Run, board: Board
) -> None:
    QuerySet(Decision).all().delete()
    market.rounds.filter(k__gt=K - 2).delete()

    values, health = board.read()

    assert health.state == "empty"
    assert "this is normal" in values["hero"]["more"]
    assert values["candidates"]["rows"] == []


def test_the_funnel_grows_with_every_decided_round(market: Run, board: Board) -> None:
    before = {stage["name"]: stage["value"] for stage in board.read()[0]["funnel"]}
    epoch = page_market.lease.take("tests")

    page_market.decide(market, K + 1, epoch, page_market.stocks(K + 1))
    after = {stage["name"]: stage["value"] for stage in board.read()[0]["funnel"]}

    assert (before["Judged today"], after["Judged today"]) == ("20", "30")


def test_text_from_the_database_is_escaped(market: Run, owner: Client) -> None:
    Activity.objects.create(run=market, kind="round", text="<script>alert(1)</script>")
    runs.set_kill_switch(level="pause", reason="<b>news</b>", actor="ann")

    page = owner.get("/").content.decode()

    assert "<script>alert" not in page
    assert "&lt;b&gt;news&lt;/b&gt;" in page


def test_the_copy_of_the_shards_record_is_the_shards_record() -> None:
    assert buckets.ROW == STORED_ROW
    assert buckets.rows(b"TPS1 but not a blob") is None


# --- one decision -------------------------------------------------------------------------------


def test_a_decision_tells_every_gate_and_what_would_flip_it(owner: Client) -> None:
    Trade.objects.update(state="closed", open_key=None)
    orbn = Decision.objects.get(symbol="MERQ", k=K)

    page = owner.get(f"/decision/{orbn.pk}/").content.decode()

    assert "Score is 30.2; your minimum is 45.0." in page
    assert page.count('class="gate ') >= 38
    assert "Planned loss at the stop" in page
    assert "Burst against noise" in page


def test_the_smallest_change_flips_exactly_this_gate(market: Run, owner: Client) -> None:
    row = Decision.objects.get(symbol="NVTX", k=K)
    record = row.record
    for gate in record["gates"]:
        if gate["id"] == "P1":
            gate["open"] = gate["pass"] = True
    QuerySet(Decision).filter(pk=row.pk).update(record=record)  # the model refuses

    card = owner.get(f"/why/{row.pk}/").content.decode()

    assert "2.5 → 2.91" in card
    assert "max_vwap_stretch_percent" in card
    assert "0.41\u202f% over" in card


def test_a_stock_without_decisions_says_so(owner: Client) -> None:
    assert "Nothing is known about QQQQ" in owner.get("/symbol/QQQQ/").content.decode()


def test_the_search_leads_to_the_stock(owner: Client) -> None:
    assert owner.get("/symbol/?s=nvtx")["Location"] == "/symbol/NVTX/"


def test_bars_come_from_the_decision_when_the_store_has_forgotten(owner: Client) -> None:
    row = Decision.objects.get(symbol="NVTX", k=K)

    found = owner.get(f"/symbol/NVTX/bars/?decision={row.pk}&minutes=9").json()

    assert len(found["bars"]) == 36
    assert found["bars"][-1]["c"] == pytest.approx(20.62, abs=0.01)
    assert found["stretch"] == 2.5


# --- the log ------------------------------------------------------------------------------------


def test_the_log_filters_by_level_kind_and_text(owner: Client) -> None:
    errors = owner.get("/log/?level=errors").content.decode()
    trades = owner.get("/log/?kind=trade").content.decode()
    found = owner.get("/log/?q=broker+did").content.decode()

    assert "N to S are dark" in errors.partition('class="log long"')[2]
    assert "298 shares filled" not in errors.partition('class="log long"')[2]
    assert "Stop and target of ABCD" in trades.partition('class="log long"')[2]
    assert "No comparison" in found.partition('class="log long"')[2]


def test_an_operator_acknowledges_and_the_first_reader_counts(market: Run) -> None:
    row = Activity.objects.get(level="alarm")

    client_of("ann").post("/log/acknowledge/", {"id": row.pk})
    client_of("owner").post("/log/acknowledge/", {"id": row.pk, "all": "999999"})

    assert row.seen.actor == "ann"
    assert not Activity.objects.exclude(level="info").filter(seen=None).exists()
    assert "✓ ann" in client_of("vic").get("/log/").content.decode()


def test_a_viewer_acknowledges_nothing(market: Run) -> None:
    row = Activity.objects.get(level="alarm")

    answer = client_of("vic").post("/log/acknowledge/", {"id": row.pk})

    assert answer.status_code == 403
    assert not hasattr(Activity.objects.get(pk=row.pk), "seen")


# --- the stop dialog ----------------------------------------------------------------------------


def level() -> str:
    from execution.selectors import kill_level  # noqa: PLC0415

    return kill_level()


def test_an_operator_pauses_with_a_reason_and_everybody_reads_it(market: Run) -> None:
    answer = client_of("ann").post(
        "/stop/turn/", {"level": "pause", "reason": "odd news", "back": "/log/"}
    )

    assert answer["Location"] == "/log/"
    assert level() == "pause"
    page = client_of("vic").get("/").content.decode()
    assert "Entries are paused." in page
    assert "“odd news”" in page
    assert Activity.objects.filter(text="ann set the kill switch to pause: odd news").exists()


def test_while_entries_are_off_no_next_stock_is_promised_and_a_done_flatten_says_so(
    board: Board,
) -> None:
    runs.set_kill_switch(level="flatten", reason="out", actor="ann")
    selling = board.read()[0]
    Trade.objects.update(state="closed", open_key=None)

    values = board.read()[0]

    assert "Everything is being sold; entries are off." in selling["hero"]["say"]
    assert selling["switch"]["said"] == "Everything is being sold; entries are off."
    assert "Nothing is held; entries are off." in values["hero"]["say"]
    assert values["switch"]["said"] == "Nothing is held; entries are off."
    assert values["position"]["next"] == "No entry comes while the kill switch is on."


def test_an_order_of_somebody_else_is_named_where_the_next_stock_would_be(
    market: Run, board: Board
) -> None:
    ExternalOrder.objects.create(
        run=market, broker_id="b", client_order_id="mine", kind="theirs", locks=True, symbol="SPY",
        side="buy", type="limit", quantity=Decimal(5), status="new", created_ns=1,
    )  # fmt: skip

    said = board.read()[0]["position"]["next"]

    assert said == "No entry comes: an order must be looked at first (see System)."


def test_one_r_is_the_planned_loss_wherever_the_stop_is_now(market: Run, board: Board) -> None:
    trade = Trade.objects.get()
    plan = {"plan": {"stop_loss": "19.70"}}
    Trade.objects.update(
        stop_loss=Decimal("20.20"), first_stop=Decimal("19.71"), exit_parameters=plan
    )
    shown = board.read()[0]["position"]["trades"][0]
    Trade.objects.update(
        state="closed", open_key=None, exit_quantity=298, exit_value=298 * Decimal("20.46"),
        realized_pnl=298 * Decimal("0.38"), closed_ns=trade.opened_ns + 60 * 10**9,
    )  # fmt: skip

    (line,) = board.read()[0]["trades"]

    (row,) = reports.trade_rows(market.pk)
    assert shown["stop"] == "20.20"
    assert shown["planned_loss"] == "−$113.24"
    assert shown["move"].endswith("+0.61 R")  # at 20.31
    assert (line["in_r"], str(row["r"])) == ("+1.00 R", "1.00")
    Trade.objects.update(exit_parameters={})
    (row,) = reports.trade_rows(market.pk)
    assert board.read()[0]["trades"][0]["in_r"] == "+1.03 R"  # of the first stop
    assert str(row["r"]) == "1.03"


def test_the_room_of_a_later_day_is_measured_on_that_days_start(market: Run, board: Board) -> None:
    page_market.books.record_fill(
        account=page_market.books_account(), execution_id="sold", order_ref="v1-demo-x",
        symbol="ABCD", side="sell", quantity=298, price=Decimal("18.08"),
        ts_ns=market.market_ns, session_date=market.day,
    )  # fmt: skip
    Trade.objects.update(state="closed", open_key=None)
    first = {kpi["name"]: kpi for kpi in board.read()[0]["hero"]["kpis"]}
    Run.objects.update(day=market.day + timedelta(days=1))

    second = {kpi["name"]: kpi for kpi in board.read()[0]["hero"]["kpis"]}

    limits = [kpis["Loss room"]["more"] for kpis in (first, second)]
    assert limits == [figures.unbroken(f"stops at −${usd}") for usd in ("450.00", "441.06")]


@pytest.mark.parametrize("number", ["²", "99999999999999999999999", "-1", "x", "%00"])
def test_a_number_that_is_none_is_no_error_of_ours(owner: Client, number: str) -> None:
    form = {"id": number, "all": number}

    assert owner.get(f"/log/?before={number}").status_code == 200
    assert owner.get(f"/symbol/AIG/bars/?decision={number}").status_code == 200
    assert owner.get(f"/parameters/?from={number}").status_code in (200, 404)
    assert owner.post("/log/acknowledge/", form).status_code == 302
    assert owner.post("/parameters/preview/", {"minutes": number}).status_code in (200, 422)
    changed = owner.post("/system/shards/", {"action": "drain", "shard": number})
    assert changed.status_code == 302


@pytest.mark.parametrize("path", ["/symbol/%00/", "/symbol/A%00G/bars/", "/symbol/?s=%00"])
def test_what_no_stock_can_be_called_is_not_here(owner: Client, path: str) -> None:
    answer = owner.get(path)

    assert answer.status_code == 404


@pytest.mark.parametrize("path", ["/decision/999/", "/symbol/%00/", "/nowhere/"])
def test_what_is_not_here_is_said_in_one_sentence(owner: Client, path: str) -> None:
    page = owner.get(path).content.decode()

    (said,) = re.findall(r"<p>([^<]+)</p>", page)
    assert said.endswith(".")
    assert not said.endswith("..")


@pytest.mark.parametrize(
    "form",
    [
        {"level": "pause", "reason": "  "},
        {"level": "flatten", "reason": "out"},
        {"level": "flatten", "reason": "out", "word_flatten": "flatten"},
        {"level": "freeze", "reason": "out", "word_flatten": "FLATTEN"},
        {"level": "explode", "reason": "out"},
        {"level": "none", "reason": "again", "from_level": "pause"},
    ],
)
def test_nothing_stops_without_reason_and_word(market: Run, form: dict[str, str]) -> None:
    client_of("ann").post("/stop/turn/", form)

    assert level() == "none"


def test_flatten_wants_its_word(market: Run) -> None:
    form = {"level": "flatten", "reason": "out", "word_flatten": "FLATTEN"}

    client_of("ann").post("/stop/turn/", form)

    assert level() == "flatten"


def test_a_press_on_pause_does_not_weaken_what_stands(market: Run) -> None:
    runs.set_kill_switch(level="flatten", reason="a", actor="ann")
    client = client_of("ann")

    client.post("/stop/turn/", {"level": "pause", "reason": "b"})

    assert level() == "flatten"
    page = client.get("/stop/").content.decode()
    assert "Nothing was changed: the kill switch stands at flatten, which is stronger" in page


def test_a_pause_is_undone_from_the_level_that_was_seen(market: Run) -> None:
    runs.set_kill_switch(level="pause", reason="a", actor="ann")

    client_of("ann").post("/stop/turn/", {"level": "none", "reason": "b", "from_level": "freeze"})
    kept = level()
    client_of("ann").post("/stop/turn/", {"level": "none", "reason": "b", "from_level": "pause"})

    assert (kept, level()) == ("pause", "none")


@pytest.fixture
def home(settings: Any, tmp_path: Path) -> Path:
    """A home of its own: the kill file lies in it."""
    settings.TRADEPLANE_HOME = tmp_path
    return tmp_path


def test_the_page_shows_the_level_of_the_file_and_gets_out_of_it(market: Run, home: Path) -> None:
    runs.set_kill_switch(level="pause", reason="a row", actor="ann")
    kill_file.write(level="freeze", reason="a file", actor="root", at="2026-03-02T15:00:00+00:00")

    page = client_of("ann").get("/stop/").content.decode()
    seen = re.findall(r'name="from_level" value="(\w+)"', page)
    client_of("ann").post("/stop/turn/", {"level": "none", "reason": "ok", "from_level": seen[0]})

    assert "Frozen: only the stop and target at the broker act." in page
    assert "root, Mon 02 Mar 10:00 ET: “a file”" in page
    assert "Entries are paused." not in page
    assert (set(seen), level()) == ({"freeze"}, "none")


@pytest.mark.parametrize("at", ["yesterday", "2026-11-27", None])
def test_a_damaged_kill_file_is_shown_as_what_it_counts_for(
    board: Board, home: Path, at: str | None
) -> None:
    kill_file.path().write_text(json.dumps({"level": "nonsense", "at": at}))

    switch = board.read()[0]["switch"]

    assert (switch["level"], switch["by"]) == ("pause", "kill.json")
    assert switch["reason"] == "no such level: nonsense"


def test_a_viewer_stops_nothing_and_a_form_from_elsewhere_neither(market: Run) -> None:
    form = {"level": "pause", "reason": "x"}
    forged = Client(enforce_csrf_checks=True)
    forged.force_login(get_user_model().objects.get(username="ann"))

    assert client_of("vic").post("/stop/turn/", form).status_code == 403
    assert forged.post("/stop/turn/", form).status_code == 403
    assert level() == "none"


def test_after_a_stop_nobody_is_sent_to_another_site(market: Run) -> None:
    form = {"level": "pause", "reason": "x", "back": "//evil.example/"}

    assert client_of("ann").post("/stop/turn/", form)["Location"] == "/"


# --- the live connection ---------------------------------------------------------------------


class Socket:
    """A page's WebSocket against the ASGI application (channels.testing wants Daphne)."""

    def __init__(self, *headers: tuple[bytes, bytes], query: bytes = b"") -> None:
        scope = {
            "type": "websocket",
            "path": "/live/board",
            "query_string": query,
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
        self.sections = {"hero": "one", "position": "none"}

    def read(self) -> tuple[dict[str, str], dict[str, Any]]:
        return dict(self.sections), {"mode": "paper", "build": "b"}


async def next_of(queue: asyncio.Queue[dict[str, Any]]) -> dict[str, Any]:
    return await asyncio.wait_for(queue.get(), 10)


@pytest.mark.asyncio
async def test_a_page_gets_a_snapshot_then_only_what_changed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tradeplane.pages.feed.EVERY_S", 0.01)
    fake = FakeBoard()
    source = Feed(fake.read)

    queue = await source.join()
    first = await next_of(queue)
    fake.sections["position"] = "AIG"
    delta = await next_of(queue)
    while delta["type"] == "beat":
        delta = await next_of(queue)
    source.leave(queue)

    assert first["type"] == "snapshot"
    assert first["sections"] == {"hero": "one", "position": "none"}
    assert delta["type"] == "delta"
    assert delta["seq"] == first["seq"] + 1
    assert delta["sections"] == {"position": "AIG"}
    assert delta["mode"] == "paper"


@pytest.mark.asyncio
async def test_snapshot_and_deltas_add_up_to_a_fresh_snapshot() -> None:
    fake = FakeBoard()
    source = Feed(fake.read)
    await source._look()
    shown = dict(source.snapshot()["sections"])

    for n in range(5):
        fake.sections[("hero", "position")[n % 2]] = str(n)
        delta = await source._look()
        shown |= delta["sections"]

    assert shown == source.snapshot()["sections"]


@pytest.mark.asyncio
async def test_a_page_that_does_not_read_is_bounded_and_starts_anew() -> None:
    fake = FakeBoard()
    source = Feed(fake.read)
    queue: asyncio.Queue[dict[str, Any]] = asyncio.Queue(PENDING_MAX)
    source._pages.add(queue)

    for n in range(PENDING_MAX + 1):
        fake.sections["hero"] = str(n)
        source._send(await source._look())

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


@pytest.fixture
def cookie(client: Client, transactional_db: None) -> bytes:
    client.force_login(get_user_model().objects.create_user("bob"))
    return f"sessionid={client.cookies['sessionid'].value}".encode()


@pytest.mark.asyncio
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("query", "expected"),
    [(b"", set(SECTIONS)), (b"sections=mode,hero,nonsense", {"mode", "hero"})],
)
async def test_a_signed_in_page_gets_what_it_shows_and_may_ask_again(
    cookie: bytes, valkey: object, query: bytes, expected: set[str]
) -> None:
    await sync_to_async(feed.shared_reader.cache_clear)()
    socket = Socket(ORIGIN, HOST, (b"cookie", cookie), query=query)

    connected, _ = await socket.connect()
    assert connected
    first = await socket.next_of_type("snapshot")
    await socket.send({"type": "snapshot"})
    again = await socket.next_of_type("snapshot")
    await socket.close()

    assert set(first["sections"]) == expected
    assert again["seq"] >= first["seq"]
    assert again["health"]["state"] == "empty"


def test_money_is_exact(board: Board) -> None:
    Trade.objects.update(
        state="closed", open_key=None, exit_quantity=298, exit_value=Decimal("5983.640001"),
        realized_pnl=Decimal("-0.199999"), closed_ns=1,
    )  # fmt: skip

    assert board.read()[0]["hero"]["kpis"][0]["value"] == "−$0.20"


def test_a_closed_trade_is_listed_with_its_result(market: Run, owner: Client) -> None:
    trade = Trade.objects.get(symbol="ABCD")
    Trade.objects.filter(pk=trade.pk).update(
        state="closed", exit_reason="target", exit_quantity=298,
        exit_value=Decimal("6213.30"), realized_pnl=Decimal("229.46"),
        closed_ns=(trade.opened_ns or 0) + 200 * 10**9,
    )  # fmt: skip

    page = owner.get("/").content.decode()

    assert "Target reached" in page
    assert "+$229.46" in page
    assert "+2.03 R" in page
    assert "3 min 20 s" in page
