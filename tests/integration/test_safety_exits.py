"""Nothing blocks an exit, nothing is sold twice, nobody else's order is taken for ours."""

import threading
from datetime import timedelta
from decimal import Decimal

import pytest
from django.db.models import F

from execution import selectors
from execution.domain.exits import ladder
from execution.errors import LeaseLost, StepBlocked
from execution.hub import exits
from execution.hub.config import HubConfig
from execution.hub.coordinator import Coordinator
from execution.hub.day_end import DayEnd
from execution.hub.inbox import Inbox
from execution.hub.startup import Startup
from execution.models import Lease, Order, Run
from execution.services import lease
from execution.services.moves import OrderStatus as Status
from execution.services.moves import TradeState as T
from execution.simulation.hub import NoRedis
from tests.fakes.desk import MS, Bench
from tests.integration.test_hub_exits import at
from tests.integration.test_hub_orders import Crash, assert_books_hold

pytestmark = [pytest.mark.django_db, pytest.mark.db]


def lapse() -> None:
    """The hub was slow: its lease has run out, and nobody has taken it."""
    Lease.objects.update(expires_at=F("expires_at") - timedelta(minutes=1))


# --- the lease ------------------------------------------------------------------------------------


def test_a_lease_that_lapsed_unnoticed_blocks_no_exit() -> None:
    bench = Bench.make()
    trade = bench.open()
    lapse()

    exits.begin(bench.desk, trade, "kill", hard=True)
    bench.step(150)
    lapse()
    bench.step(150)

    assert bench.trade().state == T.CLOSED
    assert bench.held_at_venue() == 0


def test_a_lease_that_lapsed_blocks_every_entry() -> None:
    bench = Bench.make()
    (order_id,) = bench.decide()
    lapse()

    with pytest.raises(LeaseLost):
        bench.send(order_id)

    assert bench.venue.posts() == 0


def test_a_hub_that_was_replaced_can_not_even_leave() -> None:
    bench = Bench.make()
    trade = bench.open()
    lease.take("another", force=True)

    with pytest.raises(LeaseLost):
        exits.begin(bench.desk, trade, "kill", hard=True)

    assert ("DELETE", f"/v2/orders/{bench.entry().broker_id}") not in bench.venue.requests


# --- selling --------------------------------------------------------------------------------------


def crashed_while_selling(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sell's attempt is committed; whether it left nobody knows."""
    trade = bench.open()
    exits.begin(bench.desk, trade, "kill", hard=True)

    def crash(**_: object) -> None:
        raise Crash

    monkeypatch.setattr(bench.broker, "submit_sell", crash)
    with pytest.raises(Crash):
        bench.step(150)
    monkeypatch.undo()
    bench.restart()


def test_a_sell_of_unknown_fate_is_looked_up_before_another_is_sent(monkeypatch) -> None:
    bench = Bench.make()
    crashed_while_selling(bench, monkeypatch)

    bench.trader.settle()
    bench.step(1000)

    assert Order.objects.filter(purpose="f").count() == 1
    for _ in range(6):
        bench.process_time(2.1)
    bench.step(2500)
    bench.step(150)
    assert [o.status for o in Order.objects.filter(purpose="f").order_by("pk")] == [
        Status.ABANDONED,
        Status.FILLED,
    ]
    assert bench.trade().state == T.CLOSED
    assert_books_hold(bench)


def test_after_six_refused_sells_the_shares_are_protected_and_sold_later() -> None:
    bench = Bench.make()
    trade = bench.open()
    Order.objects.bulk_create(
        Order(
            run=bench.run,
            trade=trade,
            purpose="x",
            client_order_id=f"tried-{n}",
            symbol="ABCD",
            side="sell",
            type="market",
            quantity=trade.held,
            status=Status.REFUSED,
            fence_epoch=1,
            created_ns=bench.venue.now_ns,
        )
        for n in range(6)
    )

    exits.begin(bench.desk, trade, "kill", hard=True)
    for _ in range(4):
        bench.step(150)
    assert bench.trade().state == T.OPEN_PROTECTED
    assert Order.objects.filter(purpose="o").count() == 1

    bench.step(31_000)
    for _ in range(3):
        bench.step(150)

    assert (bench.trade().state, bench.trade().exit_reason) == (T.CLOSED, "kill")
    assert_books_hold(bench)


# --- names ----------------------------------------------------------------------------------------


def test_a_name_that_another_order_has_is_no_order_of_ours_and_locks_entries() -> None:
    bench = Bench.make()
    (order_id,) = bench.decide()
    name = Order.objects.get(pk=order_id).client_order_id
    bench.venue.quote("30.00", "30.02", symbol="SPY")
    bench.broker.submit_bracket(
        client_order_id=name,
        symbol="SPY",
        quantity=7,
        limit=Decimal("30.02"),
        take_profit=Decimal("31.00"),
        stop_loss=Decimal("29.00"),
        time_in_force="gtc",
    )

    order = bench.send(order_id)

    assert order.status == Status.REFUSED
    assert order.broker_id is None
    assert bench.trade().state == T.REJECTED
    assert selectors.has_unresolved_order(bench.run)


# --- the end of the day ---------------------------------------------------------------------------


def ladder_of(bench: Bench) -> DayEnd:
    return DayEnd(trader=bench.trader, parameters=lambda: bench.parameters)


def test_a_close_all_that_failed_is_asked_again(monkeypatch) -> None:
    bench = Bench.make()
    trade = bench.open()
    day_end = ladder_of(bench)
    times = ladder(bench.run.close_ns, bench.parameters)
    monkeypatch.setattr(exits, "begin", lambda *_, **__: trade)  # our own way out is stuck
    bench.venue.fail_next("DELETE", "/v2/positions", "unavailable")

    at(bench, times.close_all_ns)
    day_end.act()
    assert bench.held_at_venue() == 298
    assert day_end.wake_ns() == times.close_all_ns + 5_000 * MS
    bench.step(5_000)
    day_end.act()
    bench.step(150)
    bench.step(150)

    assert bench.held_at_venue() == 0
    assert bench.trade().state == T.CLOSED
    assert_books_hold(bench)


def test_a_position_that_must_sleep_does_so_behind_a_stop(monkeypatch) -> None:
    bench = Bench.make()
    trade = bench.open()
    day_end = ladder_of(bench)
    times = ladder(bench.run.close_ns, bench.parameters)
    at(bench, bench.run.close_ns - 1000 * MS)
    exits.begin(bench.desk, trade, "hard_flatten", hard=True)
    monkeypatch.setattr(bench.venue.engine, "_try_fill", lambda *_: None)  # halted
    bench.step(500)  # its legs are gone

    at(bench, times.verify_ns)
    for _ in range(6):
        day_end.act()
        bench.step(150)

    trade = bench.trade()
    assert (trade.held, trade.state) == (298, T.HELD_OVERNIGHT)
    assert Order.objects.filter(purpose="o", status=Status.WORKING).exists()
    assert bench.venue.engine.available("ABCD") == 0


# --- a hub that can not start ---------------------------------------------------------------------


def a_config(run: Run) -> HubConfig:
    return HubConfig(
        run_id=run.pk,
        shards=1,
        speed=1.0,
        record_dir="",
        relay_url="ws://127.0.0.1:1",
        relay_key="",
        relay_secret="",
        redis_url="",
        broker_url="http://127.0.0.1:1",
        broker_key="k",
        broker_secret="s",
        stream_url="",
        lockstep_url="",
        live_allowed=False,
    )


def test_a_hub_that_waits_for_its_relay_still_leaves_at_the_end_of_the_day() -> None:
    bench = Bench.make()
    bench.open()
    times = ladder(bench.run.close_ns, bench.parameters)
    at(bench, times.flatten_ns)
    hub = Coordinator(
        config=a_config(bench.run),
        inbox=Inbox(),
        broker=bench.broker,
        redis=NoRedis(),  # type: ignore[arg-type]
        stopping=threading.Event(),
    )
    hub.clock.wall_ns = lambda: bench.venue.now_ns
    hub.run, hub.epoch, hub.lease_at = Run.objects.get(pk=bench.run.pk), bench.epoch, hub.mono()
    startup = Startup(hub)
    looks = iter(range(12))

    def blocked() -> None:
        if next(looks, None) is not None:
            bench.venue.advance(1000)
            raise StepBlocked("the relay does not answer", waiting=True)

    startup._until_done("relay", blocked)

    assert bench.held_at_venue() == 0
    assert (bench.trade().state, bench.trade().exit_reason) == (T.CLOSED, "flatten")
    assert not hub.relay_state[0]
