"""A database that still reads and takes no write: a full disk, a replica, a read-only mount.

Other than a database that is away, it shows the hub everything and lets it keep nothing.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from django.db import OperationalError, connection

from accounts.models import Fill, JournalEntry
from execution import way_out
from execution.models import BrokerEvent, Order, OrderAttempt, Trade
from execution.services import rounds
from execution.services.moves import OrderStatus as Status
from execution.services.moves import TradeState as T
from tests.fakes.desk import Bench
from tests.integration.test_hub_orders import assert_books_hold
from tests.unit.domain_builders import K

pytestmark = [pytest.mark.django_db]


@contextmanager
def read_only() -> Iterator[None]:
    """Let every write fail in the block, as SQLite says it; reads go on."""
    connection.connection.execute("PRAGMA query_only = ON")
    try:
        yield
    finally:
        connection.connection.execute("PRAGMA query_only = OFF")
        connection.set_rollback(False)  # the test's own transaction: a hub would begin a new one


def decide(bench: Bench) -> list[int]:
    return rounds.decide_round(run_id=bench.run.pk, k=K, epoch=bench.epoch)


def counts() -> list[int]:
    kept = (Trade, Order, OrderAttempt, BrokerEvent, Fill, JournalEntry)
    return [model.objects.count() for model in kept]


def test_an_intent_that_cannot_be_kept_is_no_order_and_comes_once_when_it_can() -> None:
    bench = Bench.make()
    bench.close_round()
    with read_only(), pytest.raises(OperationalError):
        decide(bench)

    assert Order.objects.count() == 0
    assert bench.venue.posts() == 0
    (order_id,) = decide(bench)
    bench.send(order_id)
    assert decide(bench) == []
    assert bench.venue.posts() == 1


def test_an_attempt_that_cannot_be_kept_is_never_sent() -> None:
    bench = Bench.make()
    (order_id,) = bench.decide()
    before = counts()

    with read_only(), pytest.raises(OperationalError):
        bench.send(order_id)

    assert bench.venue.posts() == 0
    assert counts() == before
    assert bench.entry().status == Status.INTENT


def test_an_answer_that_cannot_be_kept_is_looked_up_and_nothing_is_sent_again(monkeypatch) -> None:
    bench = Bench.make()
    (order_id,) = bench.decide()
    full = read_only()
    submit = bench.broker.submit_bracket

    def answered(**fields: object) -> object:
        answer = submit(**fields)
        full.__enter__()
        return answer

    monkeypatch.setattr(bench.broker, "submit_bracket", answered)
    with pytest.raises(OperationalError):
        bench.send(order_id)
    full.__exit__(None, None, None)
    assert bench.entry().status == Status.SENDING

    bench.restart()
    for _ in range(8):
        bench.process_time(1)
        bench.step(500)

    assert bench.venue.posts() == 1
    assert (bench.trade().state, bench.held_at_venue()) == (T.OPEN_PROTECTED, 298)
    assert_books_hold(bench)


def test_a_fill_that_cannot_be_kept_is_booked_whole_or_not_at_all() -> None:
    bench = Bench.make()
    bench.fire()
    before = counts()
    bench.venue.advance(150)
    bench.venue.advance(150)
    news = bench.venue.updates()

    with read_only():
        for update in news:
            with pytest.raises(OperationalError):
                bench.trader.apply(update)

    assert counts() == before
    assert bench.trade().held == 0
    assert not bench.venue.engine.naked_since, "the broker holds the legs all the while"
    bench.restart()
    for _ in range(8):
        bench.process_time(1)
        bench.step(500)
    assert (bench.trade().state, bench.trade().held) == (T.OPEN_PROTECTED, 298)
    assert_books_hold(bench)


def test_the_way_out_writes_nothing() -> None:
    bench = Bench.make()
    bench.open()

    def go_on(seconds: float) -> None:
        bench.venue.advance(round(seconds * 1000))

    with read_only():
        outcome = way_out.leave(bench.broker, within_s=10, sleep=go_on)

    assert (outcome.flat, bench.held_at_venue()) == (True, 0)
