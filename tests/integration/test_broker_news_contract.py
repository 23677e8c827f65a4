"""What the news stream of every adapter of a broker must do; a new one joins `ACCOUNTS`.

The calls of the port are in `tests/unit/test_broker_contract.py`. Alpaca's adapter stands here
before the paper venue with the official stream class and a real socket.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any, Protocol

import pytest

from execution.brokers.connect import connect
from execution.brokers.memory import MemoryBroker, MemoryUpdates
from execution.brokers.port import Broker, BrokerOrder, Side, TradeUpdate, Updates
from signals.session import Session
from tests.fakes.venue_broker import InMemoryVenue
from tests.unit.domain_builders import CLOSE_NS, DAY, OPEN_NS
from tests.venue_fixture import KEYS, Desk, eventually, quiet_rows, running_venue, write_tape

NAME = "v1-test-131007-s1-t1-e"
LATENCY_S = 0.2


class Account(Protocol):
    """A broker whose market stands at 50.00 / 50.02 for AIG."""

    broker: Broker

    def go_on(self, stream: Updates) -> None:
        """Let the venue do what it was asked, and its news set out."""
        ...


class OverTheWire:
    def __init__(self, url: str, desk: Desk) -> None:
        self.broker = connect(url=url, key=KEYS.key, secret=KEYS.secret)
        self._desk = desk

    def go_on(self, stream: Updates) -> None:
        self._desk.go_on(LATENCY_S)


class InMemory:
    def __init__(self, venue: InMemoryVenue) -> None:
        self.broker = MemoryBroker(venue.engine, lambda: venue.now_ns)
        self._venue = venue

    def go_on(self, stream: Updates) -> None:
        self._venue.advance(round(LATENCY_S * 1000))
        assert isinstance(stream, MemoryUpdates)
        stream.deliver()


@contextmanager
def alpaca(tmp_path: Path) -> Iterator[Account]:
    tape = write_tape(tmp_path / "quiet.tape", quiet_rows(60))
    with running_venue(tape, speed=None, lockstep=True) as venue:
        desk = Desk(venue)
        desk.go_to(1)
        try:
            yield OverTheWire(venue.http, desk)
        finally:
            desk.close()


@contextmanager
def memory(tmp_path: Path) -> Iterator[Account]:
    venue = InMemoryVenue(Session(DAY, OPEN_NS, CLOSE_NS), ("AIG", "SPY"), OPEN_NS + 3600 * 10**9)
    venue.quote("50.00", "50.02", "AIG")
    yield InMemory(venue)


ACCOUNTS: dict[str, Callable[[Path], AbstractContextManager[Account]]] = {
    "alpaca": alpaca, "memory": memory,
}  # fmt: skip


class Listener:
    """Hears the stream of one account to the end of the test."""

    def __init__(self, account: Account) -> None:
        self.account, self.told = account, list[tuple[str, Any]]()
        self.stream = account.broker.updates(lambda kind, what: self.told.append((kind, what)))

    @property
    def states(self) -> list[str]:
        return [what for kind, what in self.told if kind == "stream"]

    @property
    def news(self) -> list[TradeUpdate]:
        return [what for kind, what in self.told if kind == "update"]

    def start(self) -> None:
        self.stream.start()
        self.wait_for(["up"])

    def wait_for(self, states: list[str]) -> None:
        eventually(lambda: self.states == states, f"{states}, not {self.states}")

    def buy(self, name: str = NAME, limit: str = "50.05") -> BrokerOrder:
        order = self.account.broker.submit_bracket(
            client_order_id=name,
            symbol="AIG",
            quantity=100,
            limit=Decimal(limit),
            take_profit=Decimal("51.00"),
            stop_loss=Decimal("49.00"),
            time_in_force="gtc",
        )
        self.account.go_on(self.stream)
        return order

    def of(self, order: BrokerOrder, count: int) -> list[TradeUpdate]:
        """Return the news of one order, once there are so many."""

        def found() -> list[TradeUpdate]:
            return [update for update in self.news if update.order.id == order.id]

        eventually(lambda: len(found()) >= count, f"{count} updates of {order.client_order_id}")
        return found()


@pytest.fixture(params=sorted(ACCOUNTS))
def listener(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Listener]:
    with ACCOUNTS[request.param](tmp_path) as account:
        made = Listener(account)
        yield made
        made.stream.stop()


def test_a_stream_says_that_it_listens_before_any_news(listener) -> None:
    listener.start()
    listener.of(listener.buy(), 2)

    assert listener.told[0] == ("stream", "up")


def test_the_news_of_an_entry_come_in_order_and_are_exact(listener) -> None:
    listener.start()

    order = listener.buy()

    new, fill = listener.of(order, 2)
    assert (new.event, fill.event) == ("new", "fill")
    assert (fill.order.client_order_id, fill.order.symbol, fill.order.side) == (
        NAME,
        "AIG",
        Side.BUY,
    )
    assert (fill.price, fill.quantity, fill.position_quantity) == (Decimal("50.02"), 100, 100)
    assert (fill.order.status, fill.order.filled_quantity) == ("filled", 100)
    assert fill.ts_ns >= new.ts_ns > 0


def test_news_and_activities_call_an_execution_by_the_same_name(listener) -> None:
    listener.start()

    _, fill = listener.of(listener.buy(), 2)

    (activity,) = listener.account.broker.fills(after_ns=0)
    assert activity.execution_id == fill.execution_id
    assert (activity.price, activity.quantity, activity.ts_ns) == (
        fill.price,
        fill.quantity,
        fill.ts_ns,
    )


def test_the_target_of_a_filled_entry_is_told_by_its_id(listener) -> None:
    listener.start()

    target = next(leg for leg in listener.buy().legs if leg.stop_price is None)

    assert [update.event for update in listener.of(target, 1)] == ["new"]


def test_a_cancel_is_told(listener) -> None:
    listener.start()
    order = listener.buy(limit="49.50")

    listener.account.broker.cancel(order.id)
    listener.account.go_on(listener.stream)

    assert [update.event for update in listener.of(order, 2)] == ["new", "canceled"]


def test_a_replaced_leg_is_told_with_both_its_ids(listener) -> None:
    listener.start()
    target = next(leg for leg in listener.buy().legs if leg.stop_price is None)
    listener.of(target, 1)

    new = listener.account.broker.replace(target.id, limit=Decimal("50.90"))
    listener.account.go_on(listener.stream)

    told = listener.of(target, 2)[-1]
    assert (told.event, told.order.replaced_by) == ("replaced", new.id)


def test_what_happened_before_it_listened_is_no_news(listener) -> None:
    listener.buy()

    listener.start()
    listener.of(listener.buy("v1-test-131007-s2-t1-e"), 2)

    assert NAME not in {update.order.client_order_id for update in listener.news}


def test_a_restarted_stream_says_so_and_brings_what_happens_then(listener) -> None:
    listener.start()

    listener.stream.restart()
    listener.wait_for(["up", "down", "up"])

    assert [update.event for update in listener.of(listener.buy(), 2)] == ["new", "fill"]


def test_a_stopped_stream_posts_nothing_but_that_it_is_down(listener) -> None:
    listener.start()

    listener.stream.stop()
    listener.buy()

    assert listener.told[0] == ("stream", "up")
    assert set(listener.told[1:]) == {("stream", "down")}
