"""Sells that the broker refuses: the shares are not without a stop for longer than it wants."""

from dataclasses import dataclass, field
from functools import partial

import pytest

from execution.brokers.port import Refused
from execution.hub import exits
from execution.hub.desk import SECOND
from execution.services.moves import TradeState as T
from tests.fakes.desk import Bench

pytestmark = [pytest.mark.django_db, pytest.mark.db]


@dataclass
class Refusals:
    """A broker that takes no order and changes none, but cancels."""

    bench: Bench
    names: tuple[str, ...] = ("submit_oco", "submit_sell", "replace")
    asked: list[tuple[str, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        for name in self.names:
            setattr(self.bench.desk.broker, name, partial(self._refuse, name))

    def _refuse(self, name: str, *args: object, **fields: object) -> None:
        self.asked.append((name, self.bench.venue.now_ns))
        raise Refused("trading is blocked", status=403)

    def end(self) -> None:
        for name in self.names:
            delattr(self.bench.desk.broker, name)

    def count(self, name: str, *, from_ns: int = 0) -> int:
        return sum(one == name and at >= from_ns for one, at in self.asked)


def steps(bench: Bench, seconds: float, each_ms: int = 250) -> None:
    for _ in range(int(seconds * 1000 / each_ms)):
        bench.step(each_ms)


@pytest.mark.parametrize("why", ["stop", "kill"])
def test_when_neither_a_sell_nor_a_stop_is_accepted_both_are_tried_again_soon_and_not_too_often(
    why: str,
) -> None:
    bench = Bench.make()
    trade = bench.open()
    refusals = Refusals(bench)

    exits.begin(bench.desk, trade, why, hard=True)
    steps(bench, 5)
    assert refusals.count("submit_sell") >= 4
    before = len(bench.venue.requests)
    steps(bench, 60, each_ms=1000)
    assert refusals.count("submit_sell", from_ns=bench.venue.now_ns - 30 * SECOND) >= 3
    assert refusals.count("submit_oco", from_ns=bench.venue.now_ns - 10 * SECOND) >= 2
    assert len(bench.venue.requests) - before + len(refusals.asked) < 200

    refusals.end()
    steps(bench, 6)

    trade = bench.trade()
    assert trade.exit_why == why
    assert trade.state == T.CLOSED or (trade.state == T.OPEN_PROTECTED and trade.exit_due_ns)


def test_the_switch_does_not_wait_for_the_pause_of_an_exit_that_failed() -> None:
    bench = Bench.make()
    trade = bench.open()
    refusals = Refusals(bench, names=("submit_sell",))
    exits.begin(bench.desk, trade, "time_stop", hard=True)
    steps(bench, 1)
    refusals.end()
    assert bench.trade().state == T.OPEN_PROTECTED

    exits.begin(bench.desk, bench.trade(), "kill", hard=True)
    bench.step(150)
    bench.step(150)

    trade = bench.trade()
    assert (trade.state, trade.exit_reason) == (T.CLOSED, "kill")
