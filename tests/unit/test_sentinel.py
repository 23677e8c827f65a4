"""The sentinel acts when the hub is silent near the close, and soon after whatever it says."""

from decimal import Decimal

import pytest

from execution import kill_file, sentinel, way_out
from execution.sentinel import SECOND, Look, Sentinel, Watch, must_act
from execution.simulation import market
from tests.fakes.venue_broker import InMemoryVenue

CLOSE = market.SESSION.close_ns
MINUTE = 60 * SECOND
MS = SECOND // 1000
LEAVE = way_out.leave


def a_look(minutes: float, *, age: float | None = None, **changes: object) -> Look:
    base = {
        "now_ns": CLOSE - int(minutes * MINUTE),
        "close_ns": CLOSE,
        "is_open": True,
        "left": ("10 ABCD",),
        "hub_age_s": age,
    }
    return Look(**{**base, **changes})


@pytest.mark.parametrize(
    ("look", "acts"),
    [
        (a_look(3.1), False),
        (a_look(3.0), True),  # a hub that never spoke is silent
        (a_look(3.0, age=1.0), False),  # it is at it
        (a_look(3.0, age=16.0), True),
        (a_look(2.0, age=1.0), True),  # whatever it says
        (a_look(2.0, left=()), False),
        (a_look(2.0, left=None), True),  # nobody can see what is held
        (a_look(3.0, left=None, age=1.0), False),
        (a_look(3.0, left=None), True),
        (a_look(200, left=None), False),
        (a_look(1.0, left=None, is_open=False), False),
        (a_look(1.0, is_open=False), False),
        (a_look(200, naked_s=9.9), False),
        (a_look(200, naked_s=10.0), True),
        (a_look(200, naked_s=60.0, age=1.0), False),  # it is at it
        (a_look(200, naked_s=60.0, age=16.0), True),
        (a_look(200, naked_s=60.0, is_open=False), False),
    ],
)
def test_when_it_acts(look: Look, acts: bool) -> None:
    assert bool(must_act(look, Watch())) == acts


class Host:
    """A sentinel on the paper venue, with a position behind its bracket; the test moves time."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, minutes: float) -> None:
        self.said: list[str] = []
        self.venue = InMemoryVenue(market.SESSION, ("ABCD", "SPY"), CLOSE - int(minutes * MINUTE))
        self.venue.quote("20.04", "20.06")
        self.broker = self.venue.broker()
        self.broker.submit_bracket(
            client_order_id="v1-test-261120-s1-t1-e",
            symbol="ABCD",
            quantity=100,
            limit=Decimal("20.06"),
            take_profit=Decimal("21.00"),
            stop_loss=Decimal("19.00"),
            time_in_force="gtc",
        )
        self.venue.advance(200)
        self.age: float | None = None
        self.sentinel = Sentinel(
            broker=self.broker, say=self.said.append, hub_age_s=lambda: self.age, mono=self.mono
        )
        leave = way_out.leave
        monkeypatch.setattr(
            sentinel.way_out,
            "leave",
            lambda broker, *, within_s: leave(
                broker, within_s=within_s, mono=self.mono, sleep=self.sleep
            ),
        )

    def mono(self) -> float:
        return self.venue.now_ns / SECOND

    def sleep(self, seconds: float) -> None:
        self.venue.advance(int(1000 * seconds))

    def lose_the_exits(self) -> None:
        (bracket,) = self.broker.orders(status="open")
        self.broker.cancel(bracket.legs[0].id)  # takes the other along
        self.venue.advance(200)

    def held(self) -> int:
        return sum(position.quantity for position in self.broker.positions())


def test_naked_shares_of_a_silent_hub_are_closed_after_ten_seconds(monkeypatch, home) -> None:
    host = Host(monkeypatch, minutes=200)
    assert not host.sentinel.step()
    assert sentinel.naked(host.broker) == []
    host.lose_the_exits()
    assert sentinel.naked(host.broker) == ["ABCD"]

    assert not host.sentinel.step()
    host.venue.advance(9_000)
    assert not host.sentinel.step()
    host.venue.advance(1_000)

    assert host.sentinel.step()
    assert host.held() == 0
    assert "shares without a stop for 10 s and the hub is silent: closing everything" in host.said


def test_a_target_alone_protects_nothing(monkeypatch, home) -> None:
    host = Host(monkeypatch, minutes=200)
    host.lose_the_exits()
    host.broker.submit_sell(
        client_order_id="v1-test-261120-s1-t1-x1", symbol="ABCD", quantity=100,
        limit=Decimal("21.00"),
    )  # fmt: skip
    host.venue.advance(200)

    assert sentinel.naked(host.broker) == ["ABCD"]


def test_shares_that_got_a_stop_again_are_left_alone(monkeypatch, home) -> None:
    host = Host(monkeypatch, minutes=200)
    host.lose_the_exits()
    assert not host.sentinel.step()
    host.broker.submit_oco(
        client_order_id="v1-test-261120-s1-t1-o1",
        symbol="ABCD",
        quantity=100,
        take_profit=Decimal("21.00"),
        stop_loss=Decimal("19.00"),
        time_in_force="gtc",
    )
    host.venue.advance(20_000)

    assert not host.sentinel.step()
    assert host.held() == 100


@pytest.fixture
def home(settings, tmp_path):
    settings.TRADEPLANE_HOME = tmp_path
    return tmp_path


def test_a_position_that_the_hub_left_is_closed_at_three_minutes(monkeypatch, home) -> None:
    host = Host(monkeypatch, minutes=3.2)
    assert not host.sentinel.step()
    assert host.held() == 100

    host.venue.advance(15_000)

    assert host.sentinel.step()
    assert host.held() == 0
    assert host.broker.orders(status="open") == []
    assert host.said[-1].startswith("flat after")


def test_a_living_hub_gets_one_minute_more(monkeypatch, home) -> None:
    host = Host(monkeypatch, minutes=2.9)
    host.age = 0.5
    assert not host.sentinel.step()

    host.venue.advance(60_000)

    assert host.sentinel.step()
    assert host.held() == 0


def test_a_venue_that_refuses_is_asked_again(monkeypatch, home) -> None:
    host = Host(monkeypatch, minutes=2.5)
    for _ in range(3):
        host.venue.fail_next("DELETE", "/v2/positions", "unavailable")

    host.sentinel.step()

    assert host.held() == 0


def test_one_that_cannot_get_out_says_so(monkeypatch, home) -> None:
    host = Host(monkeypatch, minutes=2.5)
    host.venue.engine.halted.add("ABCD")

    host.sentinel.step()

    assert "NOT FLAT" in host.said[-1]
    assert host.held() == 100


def test_a_silent_broker_is_said_once_and_nothing_is_assumed(monkeypatch, home) -> None:
    host = Host(monkeypatch, minutes=2.5)
    for _ in range(2):
        host.venue.fail_next("GET", "/v2/clock", "unavailable")

    host.sentinel.step()
    host.sentinel.step()

    assert len(host.said) == 1
    assert host.held() == 100


@pytest.mark.parametrize("path", ["/v2/positions", "/v2/orders", "/v2/clock"])
def test_an_answer_it_cannot_read_does_not_keep_it_from_closing(monkeypatch, home, path) -> None:
    host = Host(monkeypatch, minutes=4)
    assert not host.sentinel.step()
    host.venue.alter(path, lambda _: [{"no": "key of ours"}])
    assert not host.sentinel.step()
    assert not host.sentinel.step()
    assert [line[:27] for line in host.said[1:]] == ["the broker does not answer:"]
    host.venue.advance(60_000)

    assert host.sentinel.step()

    host.venue.heal()
    assert host.held() == 0


def test_an_error_that_nobody_thought_of_does_not_end_it(monkeypatch, home) -> None:
    host = Host(monkeypatch, minutes=4)
    assert not host.sentinel.step()
    monkeypatch.setattr(host.broker, "positions", lambda: 1 / 0)
    host.venue.advance(60_000)

    assert host.sentinel.step()

    monkeypatch.undo()
    assert host.held() == 0


def test_naked_shares_stay_naked_while_nobody_says_otherwise(monkeypatch, home) -> None:
    host = Host(monkeypatch, minutes=200)
    host.lose_the_exits()
    assert not host.sentinel.step()
    host.venue.alter("/v2/orders", lambda _: {})
    host.venue.advance(10_000)

    assert host.sentinel.step()

    host.venue.heal()
    assert host.held() == 0


def test_the_times_of_the_last_clock_go_on_and_end_at_its_close(monkeypatch, home) -> None:
    host = Host(monkeypatch, minutes=1)
    host.age = 0.5
    host.sentinel.look()
    host.venue.alter("/v2/clock", lambda _: {})

    host.venue.advance(30_000)
    late = host.sentinel.look()
    host.venue.advance(30_000)
    closed = host.sentinel.look()

    assert late is not None
    assert closed is not None
    assert (late.is_open, late.close_ns - late.now_ns) == (True, 30 * SECOND - 200 * MS)
    assert not closed.is_open


def test_the_kill_file_of_its_host_is_its_button(monkeypatch, home) -> None:
    host = Host(monkeypatch, minutes=120)
    kill_file.write(level="flatten", reason="a test", actor="test", at="now")

    assert host.sentinel.step()

    assert host.held() == 0
    assert not host.sentinel.step()


@pytest.mark.parametrize("text", ["{", '{"level": "oops"}', "[]"])
def test_a_damaged_kill_file_says_pause(home, text: str) -> None:
    kill_file.path().write_text(text)

    assert kill_file.read()["level"] == "pause"


@pytest.mark.parametrize("patience_s", [0.0, 4.0])
@pytest.mark.parametrize("path", ["/v2/positions", "/v2/orders"])
def test_a_look_without_an_answer_does_not_keep_the_way_out_from_asking(
    monkeypatch, home, path: str, patience_s: float
) -> None:
    host = Host(monkeypatch, minutes=120)
    host.venue.alter(path, lambda _: [{"no": "key of ours"}])
    before = host.venue.now_ns

    outcome = LEAVE(
        host.broker, within_s=20, patience_s=patience_s, mono=host.mono, sleep=host.sleep
    )

    first = host.venue.requests.index(("DELETE", "/v2/positions"))
    assert (outcome.flat, outcome.asked >= 1) == (False, True)
    assert len([one for one in host.venue.requests[:first] if one[0] == "GET"]) <= 2
    assert host.venue.now_ns - before >= 20 * SECOND
    host.venue.heal()
    assert host.held() == 0


def test_while_somebody_is_seen_to_be_at_it_the_way_out_waits(monkeypatch, home) -> None:
    host = Host(monkeypatch, minutes=120)

    outcome = LEAVE(host.broker, within_s=3, patience_s=4.0, mono=host.mono, sleep=host.sleep)

    assert (outcome.asked, host.held()) == (0, 100)
