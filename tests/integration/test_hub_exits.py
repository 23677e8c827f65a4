"""Getting out early, partial entries, shards' exit signals, and the end of the day."""

from decimal import Decimal

import pytest

from execution.domain.exits import ladder
from execution.hub import exits, protect
from execution.hub.day_end import DayEnd
from execution.hub.exit_desk import ExitDesk
from execution.models import Activity, ExitSignalRecord, Order
from execution.services.moves import OrderStatus as Status
from execution.services.moves import TradeState as T
from signals.messages import ExitSignal, Mark, Quote, Withdrawn
from tests.fakes.desk import MS, Bench
from tests.integration.test_hub_orders import assert_books_hold

pytestmark = [pytest.mark.django_db, pytest.mark.db]


def a_signal(bench: Bench, kind: str = "stop", **changes: object) -> ExitSignal:
    trade = bench.trade()
    level = trade.stop_loss if kind == "stop" else trade.take_profit
    base = {
        "run": bench.run.pk,
        "signal_id": f"{kind}-1",
        "position_id": trade.position_id,
        "position_version": trade.version,
        "symbol": trade.symbol,
        "shard": 1,
        "epoch": 1,
        "k": trade.k + 1,
        "kind": kind,
        "threshold": float(level),
        "price": float(level),
        "size": 100,
        "ts_ns": bench.venue.now_ns,
        "trade_id": 1,
        "exchange": "N",
        "conditions": [],
        "prior_price": float(level),
        "prior_ts_ns": bench.venue.now_ns - MS,
        "prints_through": 2,
        "sigma5_bps": 4.0,
        "bid": float(level) - 0.01,
        "ask": float(level) + 0.01,
        "quote_ts_ns": bench.venue.now_ns,
    }
    return ExitSignal(**{**base, **changes})


def test_an_early_exit_moves_the_target_to_the_market_and_keeps_the_stop() -> None:
    bench = Bench.make()
    trade = bench.open()

    exits.begin(bench.desk, trade, "time_stop")
    assert bench.venue.requests[-1][0] == "PATCH"
    bench.step(150)

    trade = bench.trade()
    assert (trade.state, trade.exit_reason) == (T.CLOSED, "time_stop")
    assert Order.objects.filter(purpose__in=("x", "f")).count() == 0
    assert_books_hold(bench)


def test_every_line_of_the_log_about_a_trade_says_which_trade_in_its_facts() -> None:
    bench = Bench.make()
    trade = bench.open()

    exits.begin(bench.desk, trade, "time_stop")
    bench.step(150)

    lines = Activity.objects.filter(run=bench.run, kind__in=("order", "trade", "exit"))
    assert {line.kind for line in lines} == {"order", "trade", "exit"}
    for line in lines:
        assert (line.facts.get("symbol"), line.facts.get("slot")) == (trade.symbol, 1), line.text


def test_when_the_patch_is_refused_we_cancel_confirm_and_sell() -> None:
    bench = Bench.make()
    trade = bench.open()
    bench.venue.fail_next("PATCH", "/v2/orders", "refused_connection")

    exits.begin(bench.desk, trade, "time_stop")
    assert bench.trade().exit_step == "canceling"
    assert Order.objects.filter(purpose="x").count() == 0
    bench.step(150)
    assert Order.objects.filter(purpose="x").count() == 1
    bench.step(150)

    trade = bench.trade()
    assert (trade.state, trade.exit_reason) == (T.CLOSED, "time_stop")
    assert_books_hold(bench)


def test_a_hard_exit_sells_at_the_market_after_the_cancel_is_confirmed() -> None:
    bench = Bench.make()
    trade = bench.open()

    exits.begin(bench.desk, trade, "kill", hard=True)
    bench.step(150)
    bench.step(150)

    sell = Order.objects.get(purpose="f")
    assert (sell.type, sell.status) == ("market", Status.FILLED)
    assert bench.trade().state == T.CLOSED
    assert_books_hold(bench)


def test_a_restart_in_the_middle_of_an_exit_goes_on_where_it_was() -> None:
    bench = Bench.make()
    trade = bench.open()
    exits.begin(bench.desk, trade, "kill", hard=True)

    bench.restart()
    bench.step(150)
    bench.restart()
    bench.step(150)

    assert bench.trade().state == T.CLOSED
    assert Order.objects.filter(purpose="f").count() == 1
    assert_books_hold(bench)


def test_a_signal_whose_leg_has_filled_is_confirmed_by_the_broker() -> None:
    bench = Bench.make()
    trade = bench.open()
    signal = a_signal(bench)
    low = trade.stop_loss - Decimal("0.01")
    bench.venue.quote(str(low - Decimal("0.01")), str(low + Decimal("0.01")))
    bench.venue.trade(str(low))
    bench.step(0)

    ExitDesk(trader=bench.trader).receive(signal)

    record = ExitSignalRecord.objects.get()
    assert (record.outcome, record.reason) == ("confirmed_by_broker", "leg_already_filled")


def test_a_true_signal_waits_for_the_broker_and_is_then_acted_on() -> None:
    bench = Bench.make()
    bench.open()
    desk = ExitDesk(trader=bench.trader)
    signal = a_signal(bench, "stop", bid=19.68, ask=19.70)

    desk.receive(signal)
    record = ExitSignalRecord.objects.get()
    assert (record.outcome, record.reason) == ("deferred", "broker_grace")
    assert desk.wake_ns() == signal.ts_ns + 1500 * MS
    bench.step(1500)
    desk.retry_due()

    assert ExitSignalRecord.objects.get().outcome == "acted"
    assert bench.trade().state in (T.EXITING, T.CLOSED)
    bench.step(150)
    assert bench.trade().state == T.CLOSED
    assert_books_hold(bench)


def test_a_copy_of_a_signal_is_ignored() -> None:
    bench = Bench.make()
    bench.open()
    desk = ExitDesk(trader=bench.trader)
    signal = a_signal(bench)

    desk.receive(signal)
    desk.receive(signal)

    assert ExitSignalRecord.objects.get().tries == 1


def test_a_signal_for_an_old_version_of_the_position_is_rejected() -> None:
    bench = Bench.make()
    bench.open()

    ExitDesk(trader=bench.trader).receive(a_signal(bench, position_version=1))

    record = ExitSignalRecord.objects.get()
    assert (record.outcome, record.reason) == ("rejected", "stale_version")
    assert bench.trade().state == T.OPEN_PROTECTED


# --- partial entries ----------------------------------------------------------------------------


def partial_entry() -> Bench:
    """100 of 298 shares bought; the rest rests below the market until the entry's time is up."""
    bench = Bench.make()
    bench.venue.engine._partial_rate = 1.0
    bench.fire()
    bench.venue.advance(150)
    entry = bench.entry()
    seen = bench.broker.order(entry.broker_id)
    assert 0 < seen.filled_quantity < 298
    bench.venue.engine._partial_rate = 0.0
    bench.venue.quote("20.60", "20.62")
    bench.news()
    return bench


def test_a_partial_entry_at_its_time_is_canceled_then_bracketed_for_exactly_its_shares() -> None:
    bench = partial_entry()
    assert bench.trade().state == T.PARTIAL
    assert bench.desk.live_orders(bench.trade(), "o") == []

    bench.step(2850)
    assert bench.entry().cancel_requested_ns is not None
    bench.step(150)
    bench.step(150)

    trade = bench.trade()
    assert trade.state == T.OPEN_PROTECTED
    oco = Order.objects.get(purpose="o")
    assert oco.quantity == trade.held == bench.held_at_venue()
    assert trade.naked_ns > 0
    assert bench.entry().status == Status.CANCELED


def test_a_partial_entry_whose_oco_is_refused_twice_is_closed() -> None:
    bench = partial_entry()
    bench.step(2850)
    bench.venue.fail_next("POST", "/v2/orders", "refused_connection")
    bench.venue.fail_next("POST", "/v2/orders", "refused_connection")

    bench.step(150)
    bench.step(150)

    trade = bench.trade()
    assert (trade.state, trade.exit_reason) == (T.CLOSED, "unprotected")
    assert bench.held_at_venue() == 0


# --- the end of the day -------------------------------------------------------------------------


def at(bench: Bench, ts_ns: int) -> None:
    bench.venue.advance((ts_ns - bench.venue.now_ns) // MS)
    bench.news()


def test_the_ladder_leaves_the_position_ten_minutes_before_the_close() -> None:
    bench = Bench.make()
    bench.open()
    day_end = DayEnd(trader=bench.trader, parameters=lambda: bench.parameters)
    times = ladder(bench.run.close_ns, bench.parameters)

    at(bench, times.flatten_ns - MS)
    day_end.act()
    assert bench.trade().state == T.OPEN_PROTECTED
    assert day_end.wake_ns() == times.flatten_ns
    at(bench, times.flatten_ns)
    day_end.act()
    bench.step(150)

    trade = bench.trade()
    assert (trade.state, trade.exit_reason) == (T.CLOSED, "flatten")
    assert_books_hold(bench)


def test_what_the_first_rung_left_is_sold_at_the_market_three_minutes_before_the_close() -> None:
    bench = Bench.make()
    bench.open()
    day_end = DayEnd(trader=bench.trader, parameters=lambda: bench.parameters)
    times = ladder(bench.run.close_ns, bench.parameters)

    at(bench, times.hard_flatten_ns)
    day_end.act()
    bench.step(150)
    bench.step(150)

    assert bench.trade().state == T.CLOSED
    assert bench.held_at_venue() == 0


# --- what the hub knows besides the signal -------------------------------------------------------


def judged(bench: Bench, signal: ExitSignal, **knows: object) -> tuple[str, str]:
    desk = ExitDesk(trader=bench.trader, **knows)  # type: ignore[arg-type]
    desk.receive(signal)
    record = ExitSignalRecord.objects.get(signal_id=signal.signal_id)
    return record.outcome, record.reason


def a_mark_of(bench: Bench, **changes: object) -> dict[str, Mark]:
    base = {"symbol": "ABCD", "k": 1, "high": 20.0, "low": 20.0, "close": 20.0}
    return {"ABCD": Mark(**{**base, **changes})}


@pytest.mark.parametrize("code", sorted("CGHIMNPQRTUVZ479"))
def test_a_print_that_elects_no_stop_confirms_none(code: str) -> None:
    bench = Bench.make()
    bench.open()

    assert judged(bench, a_signal(bench, conditions=["@", code])) == (
        "rejected",
        "ineligible_print",
    )


@pytest.mark.parametrize(("in_price", "reason"), [(False, "ineligible_print"), (True, "")])
def test_an_odd_lot_confirms_when_odd_lots_set_prices(in_price: bool, reason: str) -> None:
    bench = Bench.make(include_odd_lots_in_price=in_price)
    bench.open()

    _, said = judged(bench, a_signal(bench, conditions=["I"]))

    assert said == (reason or "broker_grace")


def test_a_print_that_was_canceled_meanwhile_confirms_nothing() -> None:
    bench = Bench.make()
    bench.open()
    signal = a_signal(bench, trade_id=77)

    assert judged(bench, signal, marks=a_mark_of(bench, revised=[77]))[1] == "ineligible_print"


def test_a_halted_symbol_holds_the_signal_and_the_stop() -> None:
    bench = Bench.make()
    bench.open()

    outcome = judged(bench, a_signal(bench), marks=a_mark_of(bench, halted=True))

    assert outcome == ("deferred", "halted")
    assert bench.trade().state == T.OPEN_PROTECTED


def test_a_signal_of_a_shards_former_life_is_stale() -> None:
    bench = Bench.make()
    bench.open()

    assert judged(bench, a_signal(bench, epoch=1), epoch_of=lambda _: 2)[1] == "stale_version"
    again = a_signal(bench, epoch=2, signal_id="stop-2")
    assert judged(bench, again, epoch_of=lambda _: 2)[1] == "broker_grace"


def test_the_newest_quote_counts_whoever_saw_it() -> None:
    bench = Bench.make()
    bench.open()
    crossed = Quote(bid=21.0, ask=20.0, bid_size=1, ask_size=1, ts_ns=bench.venue.now_ns + 1)

    outcome = judged(bench, a_signal(bench), quote_of=lambda _: crossed)

    assert outcome == ("deferred", "no_sane_quote")


# --- candidacies that end after we fired ---------------------------------------------------------


def withdrawn(bench: Bench, reason: str) -> Withdrawn:
    return Withdrawn(
        candidate_id=bench.trade().candidate_id, symbol="ABCD", k=bench.trade().k + 1, reason=reason
    )


@pytest.mark.parametrize("reason", ["halt", "revised"])
def test_an_unfilled_entry_of_a_withdrawn_candidate_is_canceled(reason: str) -> None:
    bench = Bench.make()
    bench.venue.quote("20.60", "20.62")
    bench.fire()

    bench.trader.withdraw([withdrawn(bench, reason)])
    bench.step(150)
    bench.step(150)

    assert bench.trade().state == T.ENTRY_EXPIRED
    assert bench.entry().status == Status.CANCELED
    assert bench.held_at_venue() == 0


def test_an_intent_of_a_withdrawn_candidate_is_never_sent() -> None:
    bench = Bench.make()
    (order_id,) = bench.decide()

    bench.trader.withdraw([withdrawn(bench, "halt")])
    bench.send(order_id)
    bench.trader.settle()

    assert bench.venue.posts() == 0
    assert bench.entry().status == Status.DENIED
    assert bench.trade().state == T.REJECTED


def test_a_position_born_from_a_canceled_print_keeps_its_bracket_and_is_marked() -> None:
    bench = Bench.make()
    bench.open()

    bench.trader.withdraw([withdrawn(bench, "revised")])
    bench.trader.withdraw([withdrawn(bench, "revised")])
    bench.step(150)

    trade = bench.trade()
    assert (trade.state, trade.flags) == (T.OPEN_PROTECTED, ["born_from_canceled_print"])


@pytest.mark.parametrize("reason", ["magnitude", "age", "gap"])
def test_a_burst_that_merely_ends_takes_nothing_back(reason: str) -> None:
    bench = Bench.make()
    bench.venue.quote("20.60", "20.62")
    bench.fire()

    bench.trader.withdraw([withdrawn(bench, reason)])

    assert bench.entry().cancel_requested_ns is None


# --- stop_type stop_limit -------------------------------------------------------------------------
def stop_leg(bench: Bench) -> Order:
    return bench.trade().orders.get(purpose="sl")


def test_a_stop_limit_is_sent_as_one_with_its_limit_the_slippage_below_the_stop() -> None:
    bench = Bench.make(stop_type="stop_limit")
    trade = bench.open()

    leg = stop_leg(bench)
    assert (leg.type, leg.stop, leg.limit) == ("stop_limit", trade.stop_loss, Decimal("19.66"))
    assert trade.state == T.OPEN_PROTECTED


def test_a_stop_limit_leg_moves_with_its_limit() -> None:
    bench = Bench.make(stop_type="stop_limit")
    trade = bench.open()

    assert protect.move_leg(bench.desk, trade, ("sl",), stop=Decimal("20.00"))

    leg = stop_leg(bench)
    assert (leg.stop, leg.limit) == (Decimal("20.00"), Decimal("19.96"))
    seen = bench.broker.order(str(leg.broker_id))
    assert seen is not None
    assert (seen.type, seen.stop_price, seen.limit_price) == (
        "stop_limit", Decimal("20.00"), Decimal("19.96"),
    )  # fmt: skip


def test_after_a_gap_through_the_limit_the_broker_sells_nothing_and_the_hub_does() -> None:
    bench = Bench.make(stop_type="stop_limit")
    trade = bench.open()
    bench.venue.quote("19.30", "19.32")
    bench.venue.trade("19.31")
    bench.step(0)
    assert bench.held_at_venue() == trade.held

    desk = ExitDesk(trader=bench.trader)
    desk.receive(a_signal(bench, "stop", bid=19.30, ask=19.32, price=19.31, prior_price=19.31))
    bench.step(1500)
    desk.retry_due()
    for _ in range(4):
        bench.step(500)

    assert bench.trade().state == T.CLOSED
    assert bench.held_at_venue() == 0
    assert_books_hold(bench)
