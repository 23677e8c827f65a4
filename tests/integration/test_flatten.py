"""`flatten` counts while it stands: for what is held, and for what is bought afterwards."""

from types import SimpleNamespace

import pytest

from execution.hub.switches import KILL_LOOK_S, Switches
from execution.models import Order
from execution.services import journal, runs
from execution.services.moves import OrderStatus as Status
from execution.services.moves import TradeState as T
from execution.venue.faults import Rule
from tests.fakes.desk import Bench
from tests.integration.test_safety_venue import asleep, next_morning

pytestmark = [pytest.mark.django_db, pytest.mark.db]


@pytest.fixture(autouse=True)
def home(settings, tmp_path):
    settings.TRADEPLANE_HOME = tmp_path


class Hub:
    """A bench with its switches, each turn as `Flow.settle` makes it."""

    def __init__(self, bench: Bench) -> None:
        self.bench, self.mono_s = bench, 0.0
        rounds = SimpleNamespace(parameters=bench.parameters, params_version=1, last_k=None)
        hub = SimpleNamespace(
            rounds=rounds,
            run=bench.desk.run,
            trader=bench.trader,
            desk=bench.desk,
            mono=lambda: self.mono_s,
            note=lambda *_, **__: None,
            flow=SimpleNamespace(news=False),
            clock=SimpleNamespace(now_ns=lambda: bench.venue.now_ns, known=True),
        )
        self.switches = Switches(hub)  # type: ignore[arg-type]

    def turn(self, level: str) -> None:
        runs.set_kill_switch(level=level, reason="a test", actor="test")
        self.heed()

    def heed(self) -> None:
        self.mono_s += KILL_LOOK_S
        self.switches.heed_kill()

    def live(self, seconds: int) -> None:
        for _ in range(2 * seconds):
            self.heed()
            self.bench.mono_s += 0.5
            self.bench.step(500)
            if self.switches.enforce():
                self.bench.trader.settle()


def test_an_entry_of_unknown_fate_that_was_filled_is_sold() -> None:
    bench = Bench.make(Rule(do="execute_then_504", on="POST /v2/orders", nth=1))
    (order_id,) = bench.decide()
    assert bench.send(order_id).status == Status.UNKNOWN
    hub = Hub(bench)
    hub.turn("flatten")

    hub.live(10)

    assert (bench.trade().state, bench.held_at_venue()) == (T.CLOSED, 0)
    assert bench.trade().exit_reason == "kill"


def test_an_entry_that_was_on_its_way_is_sold(monkeypatch) -> None:
    bench = Bench.make()
    hub, post = Hub(bench), journal._post

    def turned_meanwhile(*args: object) -> object:
        hub.turn("flatten")
        return post(*args)

    monkeypatch.setattr(journal, "_post", turned_meanwhile)
    (order_id,) = bench.decide()
    bench.send(order_id)
    monkeypatch.undo()

    hub.live(10)

    assert (bench.trade().state, bench.held_at_venue()) == (T.CLOSED, 0)


def test_an_entry_that_comes_to_work_later_is_taken_back() -> None:
    bench = Bench.make(Rule(do="execute_then_504", on="POST /v2/orders", nth=1))
    bench.venue.quote("20.10", "20.30")  # above its limit: it will not be filled
    (order_id,) = bench.decide()
    assert bench.send(order_id).status == Status.UNKNOWN
    hub = Hub(bench)
    hub.turn("cancel_entries")

    hub.live(3)

    assert bench.entry().status == Status.CANCELED
    assert bench.broker.orders(status="open") == []


def test_what_slept_is_sold_when_the_market_opens_and_not_before(monkeypatch) -> None:
    bench = asleep(monkeypatch)
    hub = Hub(bench)
    hub.turn("flatten")
    hub.live(5)
    assert (bench.trade().state, bench.trade().held) == (T.HELD_OVERNIGHT, bench.held_at_venue())

    next_morning(bench)
    hub.live(10)

    assert (bench.trade().state, bench.held_at_venue()) == (T.CLOSED, 0)


def test_a_cancel_that_never_arrived_is_asked_for_again_and_not_at_once() -> None:
    bench = Bench.make(Rule(do="lose_request", on="DELETE /v2/orders", nth=1))
    bench.open()
    legs = Order.objects.filter(side="sell")
    bench.desk.cancel_sells(bench.trade())
    bench.desk.cancel_sells(bench.trade())
    assert [leg.attempts.filter(kind="cancel").count() for leg in legs] == [1, 1]

    bench.venue.advance(2_000)
    bench.desk.cancel_sells(bench.trade())

    assert [leg.attempts.filter(kind="cancel").count() for leg in legs] == [2, 2]
