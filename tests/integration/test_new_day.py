"""A hub that runs for days: real start-ups and live loops over a venue whose calendar goes on.

The relay and the shard are reduced to their words; the broker's adapter, the venue, the tasks and
the rows are real. Waiting is what moves the market, so a weekend takes no time.
"""

from collections.abc import Callable, Iterator
from datetime import date
from typing import Any

import pytest

from execution import nudges, resident, selectors, tasks
from execution.brokers.alpaca import AlpacaBroker
from execution.hub import startup
from execution.models import Activity, Decision, Order, OvernightReview, Round, Run, UniverseEntry
from execution.resident import HubResident
from execution.services import lease, rounds, runs
from execution.services.moves import TradeState as T
from execution.simulation.hub import NoRedis, VirtualInbox
from signals.messages import Ack, Message, Report, ShardReady
from signals.session import BUCKET_NS, regular_session
from tests.fakes.desk import MS, Bench
from tests.integration.test_hub_late import a_report
from tests.integration.test_safety_exits import a_config
from tests.integration.test_safety_venue import asleep
from tests.unit.domain_builders import DAY, a_candidate
from tradeplane.pages.board import Funnel

pytestmark = [pytest.mark.django_db]

MONDAY = regular_session(date(2026, 11, 23))
MINUTE = 60_000 * MS
POLL_MS = 100
Script = Iterator[object]


class Link:
    """The relay and the broker's order news: up, and silent."""

    news: dict[str, int] = {}
    quotes: dict[str, Any] = {}

    def __init__(self, *, post: Callable[..., None], **_: Any) -> None:
        self.post = post

    def stop(self) -> None:
        pass

    def ask_status(self) -> None:
        pass

    def want_quotes(self, symbols: set[str]) -> None:
        pass

    def open_upstream(self, key: str, secret: str) -> None:
        self.post("upstream", {"state": "open", "feed": "sip"})


class Relay(Link):
    def start(self) -> None:
        self.post("relay", ("subscribed", ""))


class News(Link):
    def start(self) -> None:
        self.post("stream", "up")


class Nights:
    """One account and database over days; each `hub` is a life of the resident."""

    def __init__(self, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
        self.bench, self.venue = bench, bench.venue
        self.script: Script = iter(())
        self.lives = 0
        self.assigned: list[dict[str, Any]] = []
        self.hub: HubResident | None = None
        monkeypatch.setattr(HubResident, "_broker", lambda _: self.venue.broker())
        monkeypatch.setattr(resident, "guarded", lambda _: NoRedis())
        monkeypatch.setattr(resident, "read_beats", self._beats)
        monkeypatch.setattr(resident, "read_load", lambda client, run: {})
        monkeypatch.setattr(resident.connections, "close_all", lambda: None)
        for module in (resident, startup, tasks):  # the test's transaction lives in one
            monkeypatch.setattr(module, "close_old_connections", lambda: None)
        monkeypatch.setattr(startup, "RelayLink", Relay)
        monkeypatch.setattr(AlpacaBroker, "updates", lambda _, post: News(post=post))
        monkeypatch.setattr(resident, "_current", None)

    @property
    def run(self) -> Run:
        return Run.objects.get(pk=self.bench.run.pk)

    def live(self, *script: Script) -> HubResident:
        """Let a hub live as its worker would: each time it ends for a new day, a fresh one."""
        for one in script:
            self.script, self.lives = one, self.lives + 1
            self.hub = made = HubResident(a_config(self.run))
            resident._current = made
            self._bind(made)
            made._run()
            if not made.begins_anew:
                break
        return made

    def _bind(self, made: HubResident) -> None:
        hub = made.hub
        made.inbox = hub.inbox = VirtualInbox(self._wait)
        made.second.ask = lambda _: lambda: None  # type: ignore[method-assign, assignment]
        hub.send = self._send
        hub.mono = hub.clock.mono = hub.skew.mono = lambda: self.venue.now_ns / 10**9
        hub.clock.wall_ns = hub.skew.wall_ns = lambda: self.venue.now_ns

    def _beats(self, _: object) -> dict[int, dict[str, str]]:
        return {1: {"epoch": "1", "alive": str(self.venue.now_ns)}}

    def _send(self, task: str, kwargs: dict[str, Any], queue: str) -> bool:
        if task == nudges.DECIDE_ROUND:
            tasks.decide_round(**kwargs)
        elif task == nudges.SUBMIT_ORDER:
            tasks.submit_order(**kwargs)
        elif task == "shards.assign":
            self._take_up(kwargs["assignment"])
        elif task == "shards.watch":
            told = kwargs["position"]
            self._tell(
                Ack(
                    run=self.run.pk, shard=1, what="watch", ref=told["position_id"],
                    version=told["version"],
                )
            )  # fmt: skip
        return True

    def _take_up(self, assignment: dict[str, Any]) -> None:
        self.assigned.append(assignment)
        self._tell(
            ShardReady(
                run=assignment["run"], shard=1, epoch=1, assignment=assignment["assignment"],
                params_version=1, last_k=None, resumed=False,
            )
        )  # fmt: skip

    def _tell(self, message: Message) -> None:
        assert self.hub is not None
        self.hub.hub._on_told(message)

    def _wait(self, timeout_s: float) -> None:
        """What happens outside while the hub waits: a moment of market, and the script's next."""
        assert self.hub is not None
        self.venue.advance(min(POLL_MS, round(timeout_s * 1000)))
        for update in self.venue.updates():
            self.hub.post("update", update)
        if self.hub.hub.state == "running" and next(self.script, None) is None:
            self.hub._stopping.set()

    # --- what scripts say -------------------------------------------------------------------------
    def until(self, ts_ns: int, *, polls: int = 12) -> Script:
        """Jump to a time, and let the hub look around there."""
        self.venue.now_ns = max(ts_ns, self.venue.now_ns)
        self.venue.engine.advance(self.venue.now_ns)
        for _ in range(polls):
            yield self

    def open_monday(self) -> None:
        self.venue.engine.open_session(MONDAY)
        self.venue.engine.halted.clear()
        self.venue.now_ns = max(self.venue.now_ns, MONDAY.open_ns - 200 * MS)
        self.venue.quote("20.04", "20.06")

    def report(self, k: int) -> Report:
        number = self.run.grants[0]["number"]
        return a_report(a_candidate(k=k), shard=1, k=k, assignment=number)

    def close_round(self, k: int) -> Script:
        yield from self.until((k + 1) * BUCKET_NS + 800 * MS, polls=1)
        self._tell(self.report(k))
        yield from self.until(0, polls=4)


class Steps(list[Any]):
    """A script of parts, each begun when the one before is over."""

    def __iter__(self) -> Iterator[object]:
        for part in list.__iter__(self):
            made = part() if callable(part) else part
            yield from made if made is not None else ()


@pytest.fixture
def nights(monkeypatch: pytest.MonkeyPatch) -> Nights:
    """Friday evening; a position could not be sold and sleeps."""
    bench = asleep(monkeypatch)
    lease.release(bench.epoch)
    return Nights(bench, monkeypatch)


def test_the_hub_begins_monday_and_sells_at_the_open_what_its_review_said(nights: Nights) -> None:
    trade = nights.bench.trade()
    seen: dict[str, Any] = {}

    def friday() -> None:
        seen["friday"] = nights.run.day
        runs.update_run(nights.run, latches={"daily_loss": True}, universe=["OLD"])

    def monday() -> None:
        seen["begun"] = nights.venue.now_ns

    def review() -> None:
        OvernightReview.objects.create(trade=trade, decision="sell", reason="out", actor="me")

    def held_before_the_open() -> None:
        seen["held"] = nights.bench.held_at_venue()

    ended = nights.live(
        iter(Steps([
            friday, lambda: nights.until(MONDAY.open_ns - 61 * MINUTE),
            review, lambda: nights.until(MONDAY.open_ns - 60 * MINUTE, polls=20_000),
        ])),
        iter(Steps([
            monday, lambda: nights.until(MONDAY.open_ns - MINUTE), held_before_the_open,
            nights.open_monday, lambda: nights.until(0, polls=40),
        ])),
    )  # fmt: skip

    assert not ended.begins_anew
    assert nights.lives == 2
    run = nights.run
    assert (seen["friday"], run.day) == (DAY, MONDAY.day)
    assert (run.open_ns, run.close_ns) == (MONDAY.open_ns, MONDAY.close_ns)
    assert 0 <= seen["begun"] - (MONDAY.open_ns - 60 * MINUTE) < MINUTE
    assert seen["held"] == 298
    trade.refresh_from_db()
    assert (trade.state, trade.exit_reason, nights.bench.held_at_venue()) == (
        T.CLOSED,
        "review",
        0,
    )
    assert trade.closed_ns - MONDAY.open_ns < 5_000 * MS
    assert run.latches == {}
    assert run.universe == sorted(
        UniverseEntry.objects.filter(included=True).values_list("symbol", flat=True)
    )
    assert "OLD" not in run.universe
    said = Activity.objects.filter(text__startswith="the trading day")
    assert [one.text for one in said] == [
        "the trading day 2026-11-23 begins, 09:30 to 16:00 New York; 2026-11-20 is over"
    ]


def test_the_shards_get_the_new_session_under_a_new_number(nights: Nights) -> None:
    nights.live(
        iter(Steps([lambda: nights.until(MONDAY.open_ns - 60 * MINUTE, polls=20_000)])),
        iter(Steps([lambda: nights.until(0)])),
    )

    friday, monday = nights.assigned[0], nights.assigned[-1]
    assert (friday["day"], monday["day"]) == ("2026-11-20", "2026-11-23")
    assert (monday["open_ns"], monday["close_ns"]) == (MONDAY.open_ns, MONDAY.close_ns)
    assert monday["assignment"] > friday["assignment"]
    assert monday["ranges"] == friday["ranges"]
    assert monday["from_k"] == 0
    old = a_report(a_candidate(), shard=1, assignment=friday["assignment"])
    hub = nights.hub.hub
    hub._on_told(old)
    assert hub.intake.latest == {}


def test_a_round_of_monday_is_judged_by_monday_s_session_and_counts(nights: Nights) -> None:
    nights.bench.trade().__class__.objects.update(state=T.CLOSED)  # nothing locks entries
    k = MONDAY.open_ns // BUCKET_NS + 720
    nights.live(
        iter(Steps([lambda: nights.until(MONDAY.open_ns - 60 * MINUTE, polls=20_000)])),
        iter(Steps([nights.open_monday, lambda: nights.close_round(k)])),
    )

    row = Round.objects.get(k=k)
    inputs = rounds.inputs_of(row)
    assert (inputs.day, inputs.open_ns, inputs.trades_today) == (MONDAY.day, MONDAY.open_ns, 0)
    record = Decision.objects.get(k=k).record
    (session,) = (gate for gate in record["gates"] if gate["id"] == "G3")
    assert session["pass"] is True
    assert selectors.trading_day(nights.run).trades == 0


def test_pages_count_the_day_and_not_the_run(nights: Nights) -> None:
    run, trade = nights.run, nights.bench.trade()
    for k in (run.open_ns // BUCKET_NS + 9, MONDAY.open_ns // BUCKET_NS + 9):
        fields = {"closed_ns": 1, "params_version": 1, "n_candidates": 1, "state": "decided"}
        Round.objects.create(run=run, k=k, funnel={"candidates": 1}, **fields)
    type(trade).objects.update(state=T.CLOSED, closed_ns=run.close_ns - 1)
    board = Funnel()
    assert board.read(run)["candidates"] == 3  # with the one that was bought
    assert selectors.funnel(run)["candidates"] == 2
    assert selectors.closed_trades(run) == [trade]

    runs.begin_day(run, day=MONDAY.day, open_ns=MONDAY.open_ns, close_ns=MONDAY.close_ns)

    assert board.read(run)["candidates"] == selectors.funnel(run)["candidates"] == 1
    assert selectors.closed_trades(run) == []
    type(trade).objects.update(closed_ns=MONDAY.open_ns + MINUTE)  # it had slept
    assert selectors.closed_trades(run) == [trade]


def test_before_the_new_day_s_start_up_no_entry_is_sent(nights: Nights) -> None:
    seen: dict[str, Any] = {}

    def look(made: HubResident) -> None:
        tasks.submit_order(order_id=Order.objects.order_by("pk")[0].pk)
        seen["takes"] = made.takes_orders

    before = nights._bind

    def bind(made: HubResident) -> None:
        before(made)
        if nights.lives == 2:
            look(made)

    nights._bind = bind  # type: ignore[method-assign]
    nights.live(
        iter(Steps([lambda: nights.until(MONDAY.open_ns - 60 * MINUTE, polls=20_000)])),
        iter(Steps([lambda: nights.until(0)])),
    )

    assert seen == {"takes": False}


def test_a_lid_that_was_shut_over_the_weekend_opens_in_monday(nights: Nights) -> None:
    nights.live(
        iter(Steps([
            nights.open_monday, lambda: nights.until(MONDAY.open_ns + 90 * MINUTE, polls=20_000),
        ])),
        iter(Steps([lambda: nights.until(0)])),
    )  # fmt: skip

    assert (nights.lives, nights.run.day) == (2, MONDAY.day)


def test_a_market_that_the_venue_plays_has_one_day(nights: Nights) -> None:
    made = HubResident(a_config(nights.run))
    nights._bind(made)
    hub = made.hub
    hub.run = nights.run
    hub.clock.follow_host()
    nights.venue.now_ns = MONDAY.open_ns + MINUTE
    object.__setattr__(hub.config, "lockstep_url", "ws://127.0.0.1:1/lockstep")

    hub.new_day.look()

    assert not any(path == "/v2/calendar" for _, path in nights.venue.requests)


def test_a_broker_without_an_answer_is_asked_again(nights: Nights) -> None:
    nights.live(
        iter(Steps([
            lambda: nights.venue.fail_next("GET", "/v2/calendar", "unavailable"),
            lambda: nights.until(MONDAY.open_ns - 60 * MINUTE, polls=20_000),
        ])),
        iter(Steps([lambda: nights.until(0)])),
    )  # fmt: skip

    assert nights.run.day == MONDAY.day
