"""What it costs the hub to find that there is nothing to do, and that it finds nothing else."""

from types import SimpleNamespace

import pytest

from execution.hub import waiting
from execution.hub.flow import Flow
from execution.models import Trade
from execution.services import seen, trades
from tests.fakes.desk import Bench

pytestmark = [pytest.mark.db, pytest.mark.django_db]


@pytest.fixture
def bench() -> Bench:
    return Bench.make()


def test_one_look_reads_the_busy_trades_with_their_orders(bench: Bench) -> None:
    trade = bench.open()

    (one,) = seen.read(bench.run)

    assert [one.trade] == list(trades.active(bench.run)) == [trade]
    assert one.orders == list(trade.orders.order_by("pk"))
    assert (one.entry.purpose, {o.purpose for o in one.live(("tp", "sl"))}) == ("e", {"tp", "sl"})


def test_a_look_at_an_idle_desk_is_one_query(bench: Bench, django_assert_num_queries) -> None:
    bench.trader.settle()

    with django_assert_num_queries(1):
        bench.trader.settle()


def test_a_look_at_a_protected_position_is_two_queries(
    bench: Bench, django_assert_num_queries
) -> None:
    bench.open()

    with django_assert_num_queries(2):
        bench.trader.settle()


def test_an_execution_that_is_booked_is_not_taken_up_again(
    bench: Bench, django_assert_num_queries
) -> None:
    bench.open()

    with django_assert_num_queries(2):  # since when, and which of them are known
        assert bench.trader.fetch_fills()


def test_a_position_whose_stop_is_gone_does_not_wait(bench: Bench) -> None:
    trade = bench.open()
    assert waiting.waits(bench.trader, bench.trader.look()[0])

    trade.orders.filter(purpose="sl").update(status="canceled")

    assert not waiting.waits(bench.trader, bench.trader.look()[0])


def test_a_position_that_is_over_does_not_wait_for_its_end(bench: Bench) -> None:
    trade = bench.open()

    Trade.objects.filter(pk=trade.pk).update(exit_quantity=trade.filled_quantity)

    assert not waiting.waits(bench.trader, bench.trader.look()[0])


def test_a_position_that_ended_during_a_comparison_is_released_too(bench: Bench) -> None:
    trade, told = bench.open(), []
    flow = Flow(
        SimpleNamespace(
            trader=bench.trader,
            switches=SimpleNamespace(kill="none", enforce=lambda: False),
            shard_desk=SimpleNamespace(release=told.append),
        )
    )
    flow.settle()

    Trade.objects.update(state="closed", exit_quantity=trade.filled_quantity)
    bench.trader.settle()  # as a comparison does
    flow.settle()

    assert told == [trade]
