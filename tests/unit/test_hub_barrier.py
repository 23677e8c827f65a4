"""A lock-step stop is complete when all have spoken, and its news has one order."""

import itertools

import pytest

from execution.brokers.port import BrokerOrder, Side, TradeUpdate
from execution.hub.barrier import Barrier
from execution.hub.clock import RUN_ON_NS, MarketClock
from execution.hub.inbox import Inbox
from signals.messages import ExitSignal


def an_update(number: int | None) -> TradeUpdate:
    order = BrokerOrder(
        id="1", client_order_id="c", symbol="ABCD", side=Side.BUY, type="limit", order_class="",
        status="new", quantity=1, filled_quantity=0, average_price=None, limit_price=None,
        stop_price=None, time_in_force="gtc",
    )  # fmt: skip
    raw = {} if number is None else {"sequence": number}
    return TradeUpdate(event="new", order=order, ts_ns=number or 0, raw=raw)


def a_signal(ts_ns: int, symbol: str, signal_id: str) -> ExitSignal:
    return ExitSignal(
        run="r", signal_id=signal_id, position_id="r:1", position_version=1, symbol=symbol,
        shard=1, epoch=1, k=1, kind="stop", threshold=1.0, price=1.0, size=1, ts_ns=ts_ns,
        trade_id=1, exchange="N", conditions=[], prior_price=None, prior_ts_ns=None,
        prints_through=1, sigma5_bps=None, bid=None, ask=None, quote_ts_ns=None,
    )  # fmt: skip


def test_a_stop_waits_for_every_shard_and_every_update() -> None:
    barrier = Barrier(grants={11: 1, 12: 2})
    barrier.open(3, updates=2)
    assert barrier.missing() == "shards 1, 2 and 2 trade updates"

    barrier.done(11, 3)
    barrier.update(an_update(1))
    barrier.done(12, 2)
    assert not barrier.complete
    barrier.update(an_update(2))
    barrier.done(12, 3)

    assert barrier.complete


def test_an_acknowledgement_may_come_before_its_stop() -> None:
    barrier = Barrier(grants={11: 1})
    barrier.done(11, 5)

    barrier.open(5, updates=0)

    assert barrier.complete


def test_news_has_one_order_whatever_arrives_first() -> None:
    signals = [a_signal(2, "B", "x"), a_signal(1, "C", "y"), a_signal(2, "A", "z")]
    for arrival in itertools.permutations([1, 2, 3]):
        barrier = Barrier()
        for number in arrival:
            barrier.update(an_update(number))
            barrier.update(an_update(number))
            barrier.signal(signals[number - 1])

        assert [update.ts_ns for update in barrier.take_updates()] == [1, 2, 3]
        assert [signal.signal_id for signal in barrier.take_signals()] == ["y", "z", "x"]
        assert not barrier.has_news


def test_updates_without_numbers_keep_their_arrival() -> None:
    barrier = Barrier()
    barrier.open(1, updates=2)

    barrier.update(an_update(None))
    barrier.update(an_update(None))

    assert barrier.updates_missing == 0
    assert len(barrier.take_updates()) == 2


def test_a_market_clock_never_runs_backwards_and_knows_when_it_is_stale() -> None:
    now = [0.0]
    clock = MarketClock(mono=lambda: now[0], speed=10.0)
    assert not clock.known

    clock.tape_at(1_000)
    clock.tape_at(500)
    assert clock.now_ns() == 1_000
    now[0] = 0.05
    assert clock.now_ns() == 1_000 + 5 * 10**8
    now[0] = 2.5
    assert not clock.known


def test_between_two_frames_a_fast_tape_is_not_believed_to_run_far() -> None:
    now = [0.0]
    clock = MarketClock(mono=lambda: now[0], speed=60.0)
    clock.tape_at(1_000)

    now[0] = 0.5
    ran_on = clock.now_ns()
    clock.tape_at(2_000)

    assert ran_on == 1_000 + RUN_ON_NS
    assert clock.now_ns() == ran_on


def test_a_slow_tape_is_not_stale_between_two_frames() -> None:
    now = [0.0]
    clock = MarketClock(mono=lambda: now[0], speed=0.05)
    clock.tape_at(1_000)

    now[0] = 15.0

    assert clock.known


@pytest.mark.parametrize(("speed", "slack_s"), [(0.5, 0.0), (1.0, 0.0), (3.0, 1.0), (61.0, 30.0)])
def test_on_a_fast_tape_our_own_work_is_excused(speed: float, slack_s: float) -> None:
    clock = MarketClock(mono=lambda: 0.0, speed=speed)
    assert clock.slack_ns == 0

    clock.tape_at(1_000)

    assert clock.slack_ns == slack_s * 10**9


def test_a_stop_excuses_nothing() -> None:
    clock = MarketClock(mono=lambda: 0.0, speed=60.0)

    clock.stop_at(1_000)

    assert clock.slack_ns == 0


def test_a_stop_holds_the_market_clock() -> None:
    clock = MarketClock(mono=lambda: 0.0)

    clock.stop_at(7)
    clock.tape_at(99)

    assert clock.now_ns() == 7
    assert clock.known


def test_an_inbox_gives_nothing_when_nothing_comes() -> None:
    inbox = Inbox(size=1)

    inbox.post("a", 1)
    inbox.wake()

    assert inbox.take(0) == ("a", 1)
    assert inbox.take(0) is None
