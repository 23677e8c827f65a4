"""From a decided round to flat, on a real database and the venue's own engine."""

from decimal import Decimal
from typing import Any

import pytest

from accounts import check as books_check
from accounts.models import Account
from execution import invariants, reconcile, selectors
from execution.models import Order, OrderAttempt, Trade
from execution.services import lease, rounds, runs
from execution.services.moves import OrderStatus as Status
from execution.services.moves import TradeState as T
from execution.venue.orders import OrderRequest
from tests.fakes.desk import Bench
from tests.unit.domain_builders import K

pytestmark = [pytest.mark.django_db, pytest.mark.db]


def assert_books_hold(bench: Bench) -> None:
    account = Account.objects.get(run_id=bench.run.pk)
    assert books_check.check(account) == []
    assert reconcile.reconcile(bench.trader).differences == []
    assert invariants.check_run(bench.run, bench.broker)["broken"] == []


def test_a_fired_round_reserves_a_slot_and_sends_one_bracket() -> None:
    bench = Bench.make()

    trade = bench.fire()

    assert (trade.state, trade.slot, trade.quantity) == (T.SUBMITTED, 1, 298)
    assert bench.venue.posts() == 1
    entry = bench.entry()
    assert entry.status == Status.WORKING
    assert {leg.purpose for leg in entry.legs.all()} == {"tp", "sl"}
    assert entry.client_order_id.endswith("-s1-t1-e")


def test_a_filled_entry_is_protected_at_the_venue_before_it_counts_as_open() -> None:
    bench = Bench.make()
    bench.fire()

    bench.step(150)

    trade = bench.trade()
    assert trade.state == T.OPEN_PROTECTED
    assert trade.held == bench.held_at_venue() == 298
    assert trade.naked_ns == 0
    assert trade.naked_since_ns is None
    assert_books_hold(bench)


def test_legs_move_to_the_real_fill_price() -> None:
    bench = Bench.make()
    bench.fire()
    bench.venue.quote("20.02", "20.04")

    bench.step(150)
    bench.step(150)

    trade = bench.trade()
    assert trade.entry_value / trade.filled_quantity == Decimal("20.04")
    assert trade.reanchored
    seen = bench.broker.order(bench.entry().broker_id)
    live = {leg.type: leg for leg in seen.legs if leg.status in ("new", "held")}
    assert live["limit"].limit_price == trade.take_profit < Decimal("20.85")
    assert live["stop"].stop_price == trade.stop_loss
    assert trade.state == T.OPEN_PROTECTED
    assert_books_hold(bench)


def test_the_target_closes_the_trade_and_frees_the_slot_when_the_venue_is_flat() -> None:
    bench = Bench.make()
    trade = bench.open()

    bench.venue.quote(str(trade.take_profit), str(trade.take_profit + Decimal("0.02")))
    bench.step(0)

    trade = bench.trade()
    assert (trade.state, trade.exit_reason, trade.held) == (T.CLOSED, "target", 0)
    assert trade.realized_pnl > 0
    assert trade.open_key is None
    assert_books_hold(bench)


def test_the_stop_closes_the_trade() -> None:
    bench = Bench.make()
    trade = bench.open()

    low = trade.stop_loss - Decimal("0.01")
    bench.venue.quote(str(low - Decimal("0.01")), str(low + Decimal("0.01")))
    bench.venue.trade(str(low))
    bench.step(0)

    trade = bench.trade()
    assert (trade.state, trade.exit_reason) == (T.CLOSED, "stop")
    assert trade.realized_pnl < 0
    assert_books_hold(bench)


def test_an_entry_without_a_fill_is_canceled_at_its_time_and_gives_the_slot_back() -> None:
    bench = Bench.make()
    bench.fire()
    bench.venue.quote("20.60", "20.62")

    bench.step(150)
    bench.step(2850)
    assert bench.entry().cancel_requested_ns is not None
    bench.step(150)

    trade = bench.trade()
    assert trade.state == T.ENTRY_EXPIRED
    assert trade.slot_key is None
    assert bench.entry().status == Status.CANCELED
    assert_books_hold(bench)


def test_the_next_entry_takes_the_returned_slot_with_the_next_try() -> None:
    bench = Bench.make()
    bench.fire()
    bench.venue.quote("20.60", "20.62")
    bench.step(150)
    bench.step(2850)
    bench.step(2000)  # the next bucket's end

    bench.decide(K + 1)

    entry = Order.objects.filter(purpose="e").order_by("-pk")[0]
    assert entry.client_order_id.endswith("-s1-t2-e")


def test_deciding_a_round_twice_changes_nothing() -> None:
    bench = Bench.make()
    first = bench.decide()

    again = rounds.decide_round(run_id=bench.run.pk, k=K, epoch=bench.epoch)

    assert first == again
    assert Trade.objects.count() == 1


def test_sending_an_order_twice_posts_once() -> None:
    bench = Bench.make()
    (order_id,) = bench.decide()

    bench.send(order_id)
    bench.send(order_id)

    assert bench.venue.posts() == 1
    assert OrderAttempt.objects.count() == 1


def test_a_hub_without_the_lease_neither_decides_nor_sends() -> None:
    bench = Bench.make()
    (order_id,) = bench.decide()
    lease.take("another", force=True)

    with pytest.raises(lease.LeaseLost):
        bench.send(order_id)

    assert bench.venue.posts() == 0
    assert bench.entry().status == Status.INTENT


def test_our_own_denial_is_recorded_and_nothing_is_sent() -> None:
    bench = Bench.make()
    (order_id,) = bench.decide()

    order = bench.send(order_id, reconciled_ns=None)

    assert order.status == Status.DENIED
    assert order.reason.startswith("reconcile")
    assert (order.denied_code, order.denied_value, order.denied_limit) == ("reconcile", None, 90)
    assert bench.trade().state == T.REJECTED
    assert bench.venue.posts() == 0


def test_what_comes_into_doubt_between_decision_and_socket_stops_the_entry() -> None:
    bench = Bench.make()
    (order_id,) = bench.decide()
    bench.venue.engine.submit(
        OrderRequest(
            client_order_id="byhand", symbol="SPY", side="buy", type="limit", quantity=5,
            limit=Decimal(1), time_in_force="day",
        ),
        bench.venue.now_ns,
    )  # fmt: skip
    bench.step(300)

    order = bench.send(order_id)

    assert order.reason == (
        "doubt: Entries are locked: an order's fate is unknown, or people must look at it."
    )
    assert bench.venue.posts() == 0


def test_shares_without_protection_stop_the_entry_of_a_later_round() -> None:
    bench = Bench.make()
    (order_id,) = bench.decide()
    trade = bench.trade()
    other = Trade.objects.get(pk=trade.pk)
    other.pk, other.slot, other.k, other.state = None, 2, trade.k - 1, T.UNPROTECTED
    other.open_key = other.slot_key = None
    other.save()

    assert bench.send(order_id).denied_code == "doubt"
    assert bench.venue.posts() == 0


def test_a_denial_is_kept_and_told_with_its_figures() -> None:
    bench = Bench.make()
    (order_id,) = bench.decide()

    order = bench.send(order_id, api_calls_left=59)

    kept = Order.objects.get(pk=order_id)
    assert (kept.denied_code, kept.denied_value, kept.denied_limit) == ("api_budget", 59, 60)
    assert selectors.broken_limit(order) == {
        "denied": "api_budget", "measured": "59", "allowed": "60",
    }  # fmt: skip
    assert selectors.broken_limit(Order(status="working")) == {}


def test_a_refused_entry_gives_the_slot_back() -> None:
    bench = Bench.make()
    (order_id,) = bench.decide()
    bench.venue.fail_next("POST", "/v2/orders", "refused_connection")

    order = bench.send(order_id)

    assert order.status == Status.REFUSED
    assert bench.trade().state == T.REJECTED
    assert bench.venue.posts() == 0


# --- unknown outcomes and crashes ----------------------------------------------------------------


@pytest.mark.parametrize("how", ["lost_after", "http_504_after"])
def test_an_answer_that_was_lost_is_looked_up_and_adopted_never_sent_again(how: str) -> None:
    bench = Bench.make()
    (order_id,) = bench.decide()
    bench.venue.fail_next("POST", "/v2/orders", how)

    order = bench.send(order_id)
    assert order.status == Status.UNKNOWN
    assert bench.trade().state == T.UNKNOWN
    bench.process_time(0.5)

    assert bench.entry().status == Status.WORKING
    bench.step(150)
    assert bench.trade().state == T.OPEN_PROTECTED
    assert bench.venue.posts() == 1
    assert_books_hold(bench)


def test_an_order_the_venue_never_saw_is_abandoned_only_after_two_late_looks() -> None:
    bench = Bench.make()
    (order_id,) = bench.decide()
    bench.venue.fail_next("POST", "/v2/orders", "lost_before")
    bench.send(order_id)

    for _ in range(3):
        bench.process_time(0.6)
    assert bench.entry().status == Status.UNKNOWN
    for _ in range(4):
        bench.process_time(2.1)

    assert bench.entry().status == Status.ABANDONED
    assert bench.trade().state == T.ENTRY_EXPIRED
    assert bench.venue.posts() == 0


def test_an_unknown_order_stays_unknown_while_the_venue_does_not_answer() -> None:
    bench = Bench.make()
    (order_id,) = bench.decide()
    bench.venue.fail_next("POST", "/v2/orders", "lost_before")
    bench.send(order_id)

    for _ in range(12):
        bench.venue.fail_next("GET", "/v2/orders:by_client_order_id", "unavailable")
        bench.process_time(2.1)

    assert bench.entry().status == Status.UNKNOWN


class Crash(BaseException):
    """Ends the hub where it stands."""


def test_a_crash_between_attempt_and_socket_leaves_an_order_to_look_up(monkeypatch) -> None:
    bench = Bench.make()
    (order_id,) = bench.decide()

    def crash(**_: object) -> None:
        raise Crash

    monkeypatch.setattr(bench.broker, "submit_bracket", crash)
    with pytest.raises(Crash):
        bench.send(order_id)
    bench.restart()
    bench.trader.settle()

    assert bench.entry().status == Status.SENDING
    for _ in range(6):
        bench.process_time(2.1)
    assert bench.entry().status == Status.ABANDONED
    assert bench.venue.posts() == 0


def test_a_crash_after_the_socket_is_adopted_by_the_next_hub() -> None:
    bench = Bench.make()
    (order_id,) = bench.decide()
    bench.send_and_die(order_id)
    bench.venue.advance(150)
    bench.venue.updates()  # lost with the crash
    bench.restart()
    reconcile.reconcile(bench.trader)

    trade = bench.trade()
    assert trade.state == T.OPEN_PROTECTED
    assert trade.held == 298
    assert bench.venue.posts() == 1
    assert_books_hold(bench)


def test_a_crash_before_the_decision_is_stored_decides_the_same_again(monkeypatch) -> None:
    bench = Bench.make()
    bench.close_round()

    def crash(*_: object, **__: object) -> None:
        raise Crash

    monkeypatch.setattr(rounds.trades, "reserve", crash)
    with pytest.raises(Crash):
        rounds.decide_round(run_id=bench.run.pk, k=K, epoch=bench.epoch)
    monkeypatch.undo()
    bench.restart()

    orders = rounds.decide_round(run_id=bench.run.pk, k=K, epoch=bench.epoch)

    assert len(orders) == 1
    assert Trade.objects.count() == 1


def test_an_intent_that_is_too_old_to_send_ends_without_a_send() -> None:
    bench = Bench.make()
    bench.decide()
    bench.restart()

    bench.step(4000)

    assert bench.entry().status == Status.EXPIRED_LOCAL
    assert bench.trade().state == T.ENTRY_EXPIRED
    assert bench.venue.posts() == 0


def test_lost_trade_updates_are_read_from_the_venue() -> None:
    bench = Bench.make()
    bench.fire()
    bench.venue.advance(150)
    bench.venue.updates()  # the stream was away

    findings = reconcile.reconcile(bench.trader)

    assert findings.clean
    assert bench.trade().state == T.OPEN_PROTECTED
    assert_books_hold(bench)


def test_a_copy_of_a_trade_update_changes_nothing() -> None:
    bench = Bench.make()
    bench.fire()
    bench.venue.advance(150)
    updates = bench.venue.updates()

    for update in updates + updates[::-1]:
        bench.trader.apply(update)
    bench.trader.settle()

    assert bench.trade().held == 298
    assert_books_hold(bench)


def count_now(bench: Bench, **changes: Any) -> None:
    """Another set of parameters began to count after the decision."""
    values = {"1": bench.parameters, "2": {**bench.parameters, **changes}}
    runs.update_run(bench.run, parameters=values, parameters_version=2)


def test_an_entry_whose_parameters_are_gone_is_denied() -> None:
    bench = Bench.make()
    (order_id,) = bench.decide()
    runs.update_run(bench.run, parameters={"2": bench.parameters}, parameters_version=2)

    order = bench.send(order_id)

    assert (order.status, order.denied_code) == (Status.DENIED, "parameters")
    assert bench.venue.posts() == 0
    assert bench.trade().slot_key is None


@pytest.mark.parametrize(
    "broken", [{"stop_loss_percent": -1.0}, {"no_such_name": 1}, {"alpaca_trading_mode": "live"}]
)
def test_an_entry_whose_parameters_are_not_valid_is_denied(broken: dict[str, Any]) -> None:
    bench = Bench.make()
    (order_id,) = bench.decide()
    runs.update_run(bench.run, parameters={"1": {**bench.parameters, **broken}})

    assert bench.send(order_id).denied_code == "parameters"
    assert bench.venue.posts() == 0


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({}, ""),
        ({"cooldown_after_trade_s": 5}, ""),
        ({"alpaca_trading_mode": "off"}, "parameters"),
        ({"max_spread_bps": 1.0}, "spread"),
        ({"tp_max": "wide"}, "parameters"),
    ],
)
def test_what_counts_since_the_decision_may_forbid_its_entry(
    changes: dict[str, Any], code: str
) -> None:
    bench = Bench.make()
    (order_id,) = bench.decide()
    count_now(bench, **changes)

    assert bench.send(order_id).denied_code == code
    assert bench.venue.posts() == (not code)
