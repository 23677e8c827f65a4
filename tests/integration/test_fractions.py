"""People own fractions of shares in the account that we trade: seen, said, and never ours."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from accounts import selectors as booksel
from accounts.models import Account, Fill
from execution import invariants, reconcile, selectors, way_out
from execution.brokers.port import FillActivity, Side, TradeUpdate
from execution.hub import exits, orphans
from execution.hub.agreement import Agreement
from execution.models import Activity, BrokerEvent, Difference, Order
from execution.sentinel import Sentinel, naked
from execution.services import adoption, external, rebuild, runs, venue_state
from execution.services.moves import TradeState as T
from tests.fakes.desk import Bench
from tests.integration.test_hub_orders import assert_books_hold

pytestmark = [pytest.mark.django_db, pytest.mark.db]

HALF = {
    "symbol": "VTI", "qty": "0.5", "qty_available": "0.5", "avg_entry_price": "250",
    "market_value": "125", "current_price": "250", "side": "long",
}  # fmt: skip
BY_HAND = {
    "id": "by-hand", "client_order_id": "by-hand", "symbol": "VTI", "side": "buy",
    "type": "market", "order_class": "", "status": "new", "qty": "0.5", "filled_qty": "0",
    "time_in_force": "day",
}  # fmt: skip
BOUGHT = {
    "id": "20261120101010000::hand-1", "activity_type": "FILL", "order_id": "by-hand",
    "symbol": "VTI", "side": "buy", "qty": "0.5", "price": "250", "type": "fill",
    "transaction_time": "2026-11-20T15:10:10Z",
}  # fmt: skip


@pytest.fixture(autouse=True)
def _home(settings, tmp_path) -> None:
    settings.TRADEPLANE_HOME = tmp_path


def with_more(rows: list[Any], *more: dict[str, str]) -> list[Any]:
    return [*rows, *more]


def resized(rows: list[Any], symbol: str, **changes: str) -> list[Any]:
    return [row | changes if row["symbol"] == symbol else row for row in rows]


def at_the_target(bench: Bench) -> None:
    target = bench.trade().take_profit
    bench.venue.quote(str(target), str(target + Decimal("0.02")))


def test_somebodys_half_share_locks_entries_and_our_trade_goes_on() -> None:
    bench = Bench.make()
    bench.open()
    bench.venue.alter("/v2/positions", lambda rows: with_more(rows, HALF))

    findings = reconcile.reconcile(bench.trader)

    assert findings.differences == [
        "VTI: books 0 shares, broker 0.5",
        "VTI: slots hold 0 shares, broker 0.5",
    ]
    at_the_target(bench)
    bench.step(0)
    bench.step(500)
    assert (bench.trade().state, bench.trade().exit_reason) == (T.CLOSED, "target")


def test_somebodys_half_share_is_acknowledged_with_its_money_and_entries_go_on() -> None:
    bench = Bench.make()
    agreement = Agreement(trader=bench.trader, mono=lambda: bench.mono_s, at_once=lambda: True)
    agreement.shelter = lambda: orphans.shelter(bench.desk, bench.parameters)
    bench.venue.alter("/v2/positions", lambda rows: with_more(rows, HALF))
    order_id = "4a7c1d4e-5d1f-4c39-9a70-0d6ed0f1b2aa"
    bought = BOUGHT | {"order_id": order_id}
    bench.venue.alter("/v2/account/activities/FILL", lambda rows: with_more(rows, bought))
    bench.venue.alter("/v2/account", lambda row: row | {"cash": "29875.00"})
    assert not agreement.compare()

    (row,) = Difference.objects.all()
    assert row.body["told"] == [
        f"buy 0.5 VTI at 250.00, order {order_id}",
        "no execution explains: +0.5 VTI",
    ]
    adoption.acknowledge(difference_id=row.pk, reason="a savings plan", actor="ann")

    assert agreement.compare()
    account = Account.objects.get()
    assert booksel.cash(account) == Decimal("29875.00")
    assert external.all_shares(bench.run) == {"VTI": Decimal("0.5")}
    runs.reset_kill_switch(from_level="pause", reason="seen", actor="ann")
    assert agreement.compare()
    assert selectors.kill_level() == "none"
    assert "VTI" in bench.trader.foreign


def test_a_fraction_that_is_gone_again_differs_again() -> None:
    bench = Bench.make()
    agreement = Agreement(trader=bench.trader, mono=lambda: bench.mono_s, at_once=lambda: True)
    bench.venue.alter("/v2/positions", lambda rows: with_more(rows, HALF))
    assert not agreement.compare()
    adoption.acknowledge(difference_id=Difference.objects.get().pk, reason="a gift", actor="ann")
    assert agreement.compare()

    bench.venue.alter("/v2/positions", lambda rows: rows)

    assert not agreement.compare()
    assert agreement.differences[0] == "VTI: books 0 shares, broker -0.5"


def test_a_half_share_of_nobodys_trade_pauses_entries_and_gets_no_order() -> None:
    bench = Bench.make()
    bench.venue.alter("/v2/positions", lambda rows: with_more(rows, HALF))

    assert orphans.shelter(bench.desk, bench.parameters) == ["VTI"]

    assert selectors.kill_level() == "pause"
    assert bench.venue.posts() == 0


def test_a_fractional_order_made_by_hand_is_a_strangers() -> None:
    bench = Bench.make()
    bench.venue.alter("/v2/orders", lambda rows: with_more(rows, BY_HAND))

    findings = reconcile.reconcile(bench.trader)

    assert findings.foreign == {"VTI"}
    assert not Order.objects.exists()


def test_a_fractional_order_in_our_symbol_is_not_taken_in_as_ours() -> None:
    bench = Bench.make()
    bench.open()
    order = bench.broker.order(str(bench.entry().broker_id))
    assert order is not None
    hand = replace(order, id="by-hand", client_order_id="by-hand", quantity=Decimal("0.5"), legs=())

    bench.trader.apply(TradeUpdate(event="new", order=hand, ts_ns=bench.venue.now_ns))

    assert "ABCD" in bench.trader.foreign
    assert not Order.objects.filter(purpose=venue_state.EXTERNAL).exists()


def test_somebodys_fractional_execution_leaves_ours_readable() -> None:
    bench = Bench.make()
    bench.open()
    bench.venue.alter("/v2/account/activities/FILL", lambda rows: [BOUGHT, *rows])
    at_the_target(bench)
    bench.venue.advance(500)
    bench.venue.updates()  # the stream was away over our fill

    for _ in range(3):
        bench.mono_s += 1
        bench.step(1000)
        reconcile.reconcile(bench.trader)

    assert bench.trade().state == T.CLOSED
    assert_books_hold(bench)
    assert not BrokerEvent.objects.filter(key="fill:hand-1").exists()


def test_what_is_sold_is_whole_shares_and_no_more_than_are_free() -> None:
    bench = Bench.make()
    held = bench.open().held
    bench.venue.alter(
        "/v2/positions", lambda rows: resized(rows, "ABCD", qty=f"{held}.5", qty_available="297.5")
    )
    sold: list[int] = []
    submit = bench.broker.submit_sell

    def submitted(**asked: Any) -> Any:
        sold.append(asked["quantity"])
        return submit(**asked)

    bench.broker.submit_sell = submitted  # type: ignore[method-assign]

    exits.begin(bench.desk, bench.trade(), "kill", hard=True)
    for _ in range(2):
        bench.step(150)

    assert sold == [297, held - 297]
    assert {type(shares) for shares in sold} == {int}


def test_a_fraction_that_is_left_does_not_keep_our_slot() -> None:
    bench = Bench.make()
    bench.open()
    left = HALF | {"symbol": "ABCD"}
    at_the_target(bench)
    bench.venue.alter(
        "/v2/positions", lambda rows: rows if bench.venue.engine.account.positions else [left]
    )

    bench.step(0)
    bench.step(500)

    assert bench.trade().state == T.CLOSED
    assert reconcile.reconcile(bench.trader).differences[0] == "ABCD: books 0 shares, broker 0.5"


def an_execution(bench: Bench, quantity: Any, price: str = "20.00", name: str = "odd-1") -> Any:
    return FillActivity(
        execution_id=name,
        order_id=str(bench.entry().broker_id),
        symbol="ABCD",
        side=Side.BUY,
        quantity=quantity,
        price=Decimal(price),
        ts_ns=bench.venue.now_ns,
    )


@pytest.mark.parametrize(
    ("shares", "price"), [(Decimal("0.5"), "20.00"), (0, "20.00"), (3, "0"), (3, "-1"), (3, "1e-9")]
)
def test_what_cannot_be_booked_of_our_own_order_is_an_alarm_and_not_booked(
    shares, price: str
) -> None:
    bench = Bench.make()
    held = bench.open().held

    for _ in range(2):
        venue_state.apply_fill(bench.run, an_execution(bench, shares, price))

    order = bench.entry()
    assert (order.quarantined, order.reason) == (True, "execution odd-1 cannot be booked")
    assert (bench.trade().held, Fill.objects.count()) == (held, 1)
    said = Activity.objects.filter(level="alarm", text__contains="cannot be booked")
    assert said.count() == 1
    assert selectors.has_unresolved_order(bench.run)


def test_a_fraction_of_our_own_that_is_taken_back_changes_nothing() -> None:
    bench = Bench.make()
    held = bench.open().held
    odd = an_execution(bench, Decimal("0.5"))
    venue_state.apply_fill(bench.run, odd)

    bust = replace(odd, execution_id="odd-2", kind="bust", previous_id="odd-1")
    venue_state.apply_fill(bench.run, bust)

    assert (bench.trade().held, Fill.objects.count()) == (held, 1)


def test_the_venues_sell_of_ours_and_a_fraction_together_makes_us_flat() -> None:
    """Closing all, it sells the whole shares and the fraction as two executions of one order."""
    bench = Bench.make()
    trade = bench.open()
    entry = bench.broker.order(str(bench.entry().broker_id))
    assert entry is not None
    all_of_it = replace(
        entry, id="close-all", client_order_id="close-all", side=Side.SELL, type="market", legs=(),
        quantity=trade.held + Decimal("0.5"), filled_quantity=trade.held + Decimal("0.5"),
        status="filled",
    )  # fmt: skip
    told = {
        "order": all_of_it, "ts_ns": bench.venue.now_ns, "price": Decimal("20.00"), "event": "fill",
    }  # fmt: skip

    for number, quantity in enumerate((trade.held, Decimal("0.5"))):
        update = TradeUpdate(execution_id=f"all-{number}", quantity=quantity, **told)
        venue_state.apply_update(bench.run, update)

    order = Order.objects.get(purpose=venue_state.EXTERNAL)
    assert (order.quantity, order.filled_quantity) == (trade.held, trade.held)
    assert (bench.trade().held, order.quarantined) == (0, False)


def test_a_price_finer_than_a_micro_dollar_is_booked_at_the_nearest_and_said() -> None:
    bench = Bench.make()
    bench.fire()
    bench.venue.advance(150)
    for update in bench.venue.updates():
        finer = replace(
            update,
            price=Decimal("20.05999994") if update.event == "fill" else update.price,
            raw=update.raw | {"price": "20.05999994"},
        )
        bench.trader.apply(finer)

    fill = Fill.objects.get()
    assert fill.price_usd == Decimal("20.060000")
    trade = bench.trade()
    assert trade.entry_value == trade.held * fill.price_usd
    (said,) = Activity.objects.filter(level="warning", text__contains="is booked as")
    rest = trade.held * (Decimal("20.05999994") - fill.price_usd)
    assert f"leaves out {rest} USD" in said.text
    was, made, _ = rebuild.compare(bench.run)
    assert was == made


def test_the_way_out_sells_fractions_too_and_counts_them_as_left() -> None:
    bench = Bench.make()
    bench.open()
    bench.venue.alter("/v2/positions", lambda rows: with_more(rows, HALF))

    outcome = way_out.leave(bench.broker, within_s=0)

    assert outcome.asked == 1
    assert "0.5 VTI" in outcome.left


def test_a_sentinel_does_not_take_a_fraction_for_naked_shares() -> None:
    bench = Bench.make()
    bench.open()
    bench.venue.alter("/v2/positions", lambda rows: with_more(rows, HALF))
    said: list[str] = []

    assert not Sentinel(broker=bench.broker, say=said.append).step()

    assert naked(bench.broker) == []
    assert said[-1].startswith("watching")


def test_the_invariants_name_an_order_with_a_fraction_once() -> None:
    bench = Bench.make()
    bench.open()
    venue_state.apply_fill(bench.run, an_execution(bench, Decimal("0.5")))

    broken = invariants.check_run(bench.run, bench.broker)["broken"]

    assert [line for line in broken if "cannot be booked" in line] == [
        f"I5: {bench.entry().client_order_id} is set aside: execution odd-1 cannot be booked"
    ]
