"""Shares we own are known, kept and protected, however late or by whatever way they are told."""

from dataclasses import replace

import pytest

from execution import reconcile, selectors
from execution.brokers.port import TradeUpdate
from execution.hub import exits
from execution.models import Activity, Order, Trade
from execution.services import trades
from execution.services.moves import OrderStatus as Status
from execution.services.moves import TradeState as T
from execution.venue.account import Fill
from execution.venue.faults import Rule
from execution.venue.orders import VenueOrder
from tests.fakes.desk import Bench
from tests.integration.test_hub_exits import partial_entry
from tests.integration.test_hub_orders import assert_books_hold
from tests.unit.domain_builders import K

pytestmark = [pytest.mark.django_db, pytest.mark.db]


def a_late_fill(bench: Bench, shares: int) -> TradeUpdate:
    """The venue fills the entry after it had said canceled (a race on its side)."""
    row = entry_at_the_venue(bench)
    price = row.limit
    assert price is not None
    row.filled += shares
    row.filled_value += shares * price
    account = bench.venue.engine.account
    account.apply(
        Fill(
            number=len(account.fills) + 1,
            execution_id="late-1",
            order_id=row.id,
            symbol=row.symbol,
            side="buy",
            quantity=shares,
            price=price,
            ts_ns=bench.venue.now_ns,
            cumulative=row.filled,
            leaves=row.leaves,
        )
    )
    seen = bench.broker.order(row.id)
    assert seen is not None
    return TradeUpdate(
        event="fill" if row.filled >= row.quantity else "partial_fill",
        order=seen,
        ts_ns=bench.venue.now_ns,
        execution_id="late-1",
        price=price,
        quantity=shares,
        position_quantity=account.quantity(row.symbol),
        raw={"late": True},
    )


def entry_at_the_venue(bench: Bench) -> VenueOrder:
    return bench.venue.engine.orders[str(bench.entry().broker_id)]


def given_back() -> Bench:
    """An entry that ended without a fill; its slot is free."""
    bench = Bench.make()
    bench.fire()
    bench.venue.quote("20.60", "20.62")
    bench.step(150)
    bench.step(2850)
    bench.step(150)
    assert bench.trade().state == T.ENTRY_EXPIRED
    bench.venue.quote("20.04", "20.06")
    return bench


def test_a_fill_after_the_slot_was_given_back_is_protected() -> None:
    bench = given_back()

    bench.trader.apply(a_late_fill(bench, 100))
    bench.trader.settle()
    bench.step(150)
    bench.step(150)

    trade = bench.trade()
    assert (trade.state, trade.held) == (T.OPEN_PROTECTED, 100)
    assert Order.objects.get(purpose="o").quantity == 100
    assert_books_hold(bench)


def test_a_fill_after_the_slot_was_given_back_occupies_a_place() -> None:
    bench = given_back()
    bench.trader.apply(a_late_fill(bench, 100))
    bench.trader.settle()

    orders = bench.decide(K + 1)
    sent = [bench.send(order_id) for order_id in orders]

    assert all(order.status == Status.DENIED for order in sent)
    assert bench.venue.posts() == 2  # the entry and the OCO


def test_a_slot_that_was_given_back_is_not_given_out_again_after_a_late_fill() -> None:
    bench = given_back()
    assert trades._free_slot(bench.run) == (1, 2)
    bench.trader.apply(a_late_fill(bench, 100))
    for _ in range(3):
        bench.step(150)
    bench.venue.quote("25.00", "25.02")  # over the target: the trade ends
    bench.step(150)
    bench.step(150)
    assert bench.trade().state == T.CLOSED

    assert trades._free_slot(bench.run) == (2, 1)


def test_a_fill_after_the_oco_was_placed_is_covered_too() -> None:
    bench = partial_entry()
    bench.step(2850)
    bench.step(150)
    bench.step(150)
    held = bench.trade().held
    assert bench.trade().state == T.OPEN_PROTECTED

    bench.trader.apply(a_late_fill(bench, 20))
    bench.trader.settle()
    for _ in range(3):
        bench.step(150)

    trade = bench.trade()
    assert (trade.state, trade.held) == (T.OPEN_PROTECTED, held + 20)
    assert Order.objects.filter(purpose="o").latest("pk").quantity == held + 20
    assert bench.venue.engine.available("ABCD") == 0


def test_a_canceled_entry_whose_fills_cannot_be_read_keeps_its_slot() -> None:
    bench = partial_entry_unheard()
    bench.venue.fail_next("GET", "/v2/account/activities", "unavailable")

    bench.news_but_the_fills()

    assert bench.trade().slot_key is not None
    assert bench.trade().state not in trades.ENDED
    bench.trader.settle()
    bench.step(150)
    assert bench.trade().held == bench.held_at_venue() > 0
    assert bench.trade().state == T.OPEN_PROTECTED


def test_a_hub_that_died_before_it_read_the_fills_reads_them_at_its_start() -> None:
    bench = partial_entry_unheard()
    for update in bench.updates_but_the_fills():
        bench.trader.apply(update)

    bench.restart()
    reconcile.reconcile(bench.trader)
    bench.step(150)

    assert bench.trade().held == bench.held_at_venue() > 0
    assert bench.trade().state == T.OPEN_PROTECTED


class Unheard(Bench):
    def updates_but_the_fills(self) -> list[TradeUpdate]:
        return [u for u in self.venue.updates() if u.event not in ("fill", "partial_fill")]

    def news_but_the_fills(self) -> None:
        for update in self.updates_but_the_fills():
            self.trader.apply(update)
        self.trader.settle()


def partial_entry_unheard() -> Unheard:
    """The venue has filled a part and canceled the rest; of the fill we have heard nothing."""
    bench = Unheard.make()
    assert isinstance(bench, Unheard)
    bench.venue.engine._partial_rate = 1.0
    bench.fire()
    bench.venue.advance(150)
    bench.venue.engine._partial_rate = 0.0
    bench.venue.quote("20.60", "20.62")
    for update in bench.updates_but_the_fills():  # the fill itself never comes
        bench.trader.apply(replace(update, order=replace(update.order, filled_quantity=0)))
    bench.broker.cancel(entry_at_the_venue(bench).id)
    bench.venue.advance(150)
    return bench


def test_a_fill_that_came_before_its_order_was_known_is_booked_later() -> None:
    bench = Bench.make()
    (order_id,) = bench.decide()
    bench.venue.fail_next("POST", "/v2/orders", "lost_after")
    bench.send(order_id)
    bench.venue.advance(150)
    bench.venue.updates()  # the stream is away

    bench.trader.fetch_fills()  # names an order id that nobody here knows yet
    assert Trade.objects.get().held == 0
    bench.process_time(0.5)
    reconcile.reconcile(bench.trader)

    assert bench.trade().held == bench.held_at_venue() == 298
    assert_books_hold(bench)


def test_fills_of_a_slot_given_back_are_read_although_a_newer_one_is_open() -> None:
    bench = given_back()
    a_late_fill(bench, 100)  # its event is lost
    bench.venue.now_ns += 4_000_000_000
    bench.venue.quote("20.04", "20.06")
    (order_id,) = bench.decide(K + 1)
    bench.send(order_id)

    bench.trader.fetch_fills()

    assert Trade.objects.order_by("pk")[0].held == 100


def test_an_abandoned_entry_that_appears_after_all_is_looked_after() -> None:
    bench = Bench.make()
    (order_id,) = bench.decide()
    bench.venue.quote("20.60", "20.62")
    bench.venue.fail_next("POST", "/v2/orders", "lost_after")
    bench.send(order_id)
    for _ in range(8):
        bench.venue.fail_next("GET", "/v2/orders:by_client_order_id", "not_found")
        bench.process_time(2.1)
    assert bench.entry().status == Status.ABANDONED
    assert bench.trade().state == T.ENTRY_EXPIRED

    bench.step(150)  # its event, and time: it is far beyond its end
    bench.step(4000)
    bench.step(150)

    assert bench.entry().status == Status.CANCELED
    assert bench.trade().slot_key is None
    assert bench.broker.orders() == []


@pytest.mark.parametrize("lacking", ["quantity", "price", "execution_id"])
def test_a_fill_event_that_lacks_a_fact_is_read_from_the_account_instead(lacking: str) -> None:
    bench = Bench.make()
    bench.fire()
    bench.venue.advance(150)

    for update in bench.venue.updates():
        bench.trader.apply(replace(update, **{lacking: None}))
    bench.trader.settle()

    assert (bench.trade().state, bench.trade().held) == (T.OPEN_PROTECTED, 298)
    assert_books_hold(bench)


def test_a_short_position_locks_entries() -> None:
    bench = Bench.make()
    trade = bench.open()
    Trade.objects.filter(pk=trade.pk).update(exit_quantity=trade.filled_quantity + 10)
    bench.venue.engine.account.positions["ABCD"].quantity = -10

    findings = reconcile.reconcile(bench.trader)

    assert any("short" in line for line in findings.differences)


# --- more than was asked for ----------------------------------------------------------------------


@pytest.mark.parametrize("delay_ms", [0, 1000])
def test_an_overfilled_entry_locks_entries_and_every_share_is_protected(delay_ms: int) -> None:
    bench = Bench.make(Rule(do="overfill", nth=1, delay_ms=delay_ms))
    bench.open()

    for _ in range(12):
        bench.step(500)

    entry, trade = bench.entry(), bench.trade()
    assert (entry.quantity, entry.filled_quantity) == (298, 397)
    assert (entry.quarantined, entry.reason) == (True, "overfilled: 397 of 298")
    assert selectors.has_unresolved_order(bench.run)
    (line,) = Activity.objects.filter(level="alarm", text__contains="overfilled: 397 of 298")
    assert "no entries until you looked" in line.text
    assert (trade.state, trade.held, bench.held_at_venue()) == (T.OPEN_PROTECTED, 397, 397)
    assert not bench.venue.engine.naked_since
    assert reconcile.reconcile(bench.trader).differences == []


def test_an_overfilled_entry_is_left_like_any_other() -> None:
    bench = Bench.make(Rule(do="overfill", nth=1))
    bench.open()

    exits.leave(bench.desk, bench.trade(), "kill")
    for _ in range(8):
        bench.step(500)

    assert (bench.trade().state, bench.held_at_venue()) == (T.CLOSED, 0)


def test_an_overfilled_sell_is_bought_back_and_locks_entries() -> None:
    bench = Bench.make(Rule(do="overfill", nth=2))
    bench.open()
    exits.begin(bench.desk, bench.trade(), "kill", hard=True)

    for _ in range(8):
        bench.step(500)

    assert Order.objects.get(purpose="f").quarantined
    assert Order.objects.get(purpose="c").filled_quantity == 99
    assert (bench.trade().state, bench.held_at_venue()) == (T.CLOSED, 0)
    assert selectors.has_unresolved_order(bench.run)
