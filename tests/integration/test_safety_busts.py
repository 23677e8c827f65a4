"""Executions that the venue takes back at a bad moment: what is left is known, nothing hangs."""

from decimal import Decimal

import pytest

from execution import reconcile
from execution.models import Order
from execution.services.moves import OrderStatus as Status
from execution.services.moves import TradeState as T
from execution.venue.faults import Rule
from tests.fakes.desk import Bench
from tests.integration.test_hub_orders import assert_books_hold
from tests.integration.test_safety_venue import reach_the_target

pytestmark = [pytest.mark.django_db, pytest.mark.db]


def test_a_part_that_is_broken_after_the_rest_was_canceled_closes_the_trade() -> None:
    bench = Bench.make(Rule(do="partial", nth=1), Rule(do="bust", nth=1, delay_ms=5000))
    bench.fire()
    bench.step(150)
    assert bench.trade().held > 0
    bench.venue.quote("20.60", "20.62")

    for _ in range(16):
        bench.step(500)

    assert (bench.entry().status, bench.entry().filled_quantity) == (Status.CANCELED, 0)
    assert (bench.trade().state, bench.trade().held) == (T.CLOSED, 0)
    assert bench.broker.orders(status="open") == []
    assert_books_hold(bench)


def test_an_entry_whose_part_was_broken_before_we_heard_of_it_has_ended() -> None:
    bench = Bench.make(Rule(do="partial", nth=1), Rule(do="bust", nth=1, delay_ms=100))
    bench.fire()
    bench.venue.advance(150)
    bench.venue.quote("20.04", "20.06")
    bench.venue.advance(500)
    bench.venue.updates()  # the stream is away

    reconcile.reconcile(bench.trader)
    for _ in range(16):
        bench.step(500)

    entry = bench.entry()
    assert (entry.status, 0 < entry.filled_quantity < 298) == (Status.BUSTED, True)
    assert (bench.trade().state, bench.trade().held) == (T.OPEN_PROTECTED, entry.filled_quantity)
    assert_books_hold(bench)


def test_shares_bought_back_for_a_sale_that_is_broken_afterwards_are_protected() -> None:
    bench = Bench.make(
        Rule(do="bust", nth=1, delay_ms=3000), Rule(do="bust", nth=1, delay_ms=12000)
    )
    bench.open()
    reach_the_target(bench)
    bench.venue.quote("20.04", "20.06")
    for _ in range(14):
        bench.step(500)
    assert Order.objects.get(purpose="c").status == Status.FILLED
    assert (bench.entry().status, bench.trade().state) == (Status.BUSTED, T.CLOSED)

    for _ in range(20):
        bench.step(500)

    assert (bench.trade().state, bench.trade().held) == (T.OPEN_PROTECTED, 298)
    assert bench.held_at_venue() == 298
    assert_books_hold(bench)


def test_a_target_that_the_venue_made_smaller_has_ended_when_it_is_filled() -> None:
    bench = Bench.make()
    bench.open()
    target, stop = (Order.objects.get(purpose=p) for p in ("tp", "sl"))
    venue = bench.venue.engine.orders
    row = venue[str(target.broker_id)]
    row.quantity = 96  # its stop has sold the others

    reach_the_target(bench)
    bench.step(0)

    target.refresh_from_db()
    assert (target.status, target.quantity, target.filled_quantity) == (Status.FILLED, 96, 96)
    assert stop.quantity == 298
    assert bench.trade().exit_value == 96 * Decimal(str(target.limit))


def test_a_close_all_whose_news_were_lost_is_read_from_the_account() -> None:
    bench = Bench.make()
    bench.open()
    bench.broker.close_all()
    bench.venue.advance(150)
    bench.venue.advance(150)
    bench.venue.updates()  # the hub died, nobody listened

    bench.restart()
    reconcile.reconcile(bench.trader)

    assert Order.objects.get(purpose="ext").status == Status.FILLED
    assert (bench.trade().state, bench.trade().held) == (T.CLOSED, 0)
    assert_books_hold(bench)


def test_our_own_sale_without_an_answer_is_known_by_its_fill() -> None:
    """It was sent, its answer was lost and the hub died: nobody else's order, and no crash."""
    bench = Bench.make()
    bench.open()
    sale = Order.objects.get(purpose="tp")
    sale.pk, sale.purpose, sale.type, sale.limit, sale.broker_id = None, "f", "market", None, None
    sale.status = Status.UNKNOWN
    bench.broker.close_all()
    bench.venue.advance(150)
    bench.venue.advance(150)
    bench.venue.updates()  # nobody listened
    (sold,) = (o for o in bench.venue.engine.orders.values() if o.type == "market")
    sale.client_order_id = sold.client_order_id
    sale.save()

    bench.restart()
    reconcile.reconcile(bench.trader)

    sale.refresh_from_db()
    assert (sale.status, sale.broker_id) == (Status.FILLED, sold.id)
    assert not Order.objects.filter(purpose="ext").exists()
    assert (bench.trade().state, bench.trade().held) == (T.CLOSED, 0)
    assert_books_hold(bench)


@pytest.mark.parametrize("status", [Status.UNKNOWN, Status.SENDING])
def test_an_order_without_an_answer_whose_trade_has_ended_is_looked_up(status: Status) -> None:
    """The hub died while it sent it, and the position ended in another way meanwhile."""
    bench = Bench.make()
    bench.open()
    reach_the_target(bench)
    bench.step(500)
    lost = Order.objects.get(purpose="tp")
    lost.pk, lost.purpose, lost.broker_id, lost.status = None, "c", None, status
    lost.client_order_id, lost.sent_ns = "never-arrived", bench.venue.now_ns
    lost.save()

    bench.restart()
    for _ in range(12):
        reconcile.reconcile(bench.trader)
        bench.mono_s += 1.0
        bench.step(1000)

    lost.refresh_from_db()
    assert (lost.status, bench.trade().state) == (Status.ABANDONED, T.CLOSED)
