"""Edge cases 36 to 59, 61, 65, 66: the broker's odd days, and ours."""

import time
from datetime import timedelta
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest

from execution import reconcile, selectors
from execution.domain.bracket import entry_limit, legs
from execution.domain.decide import decide
from execution.domain.limits import denials
from execution.domain.rounds import RoundInput, Streak
from execution.errors import LeaseLost, StepBlocked
from execution.hub import exits, orphans
from execution.hub.agreement import Agreement
from execution.hub.startup import Startup
from execution.hub.switches import Switches
from execution.models import Activity, Difference, KillSwitch, Order, Run, Trade
from execution.services import adoption, lease, rounds
from execution.services.entries import plan_of
from execution.services.moves import OrderStatus as Status
from execution.services.moves import TradeState as T
from execution.venue.faults import Rule
from execution.venue.orders import OrderRequest
from tests.edge_cases.judging import gate, judged
from tests.fakes.desk import Bench
from tests.integration.test_hub_exits import partial_entry
from tests.integration.test_hub_orders import assert_books_hold
from tests.integration.test_hub_round_inputs import a_hub, frozen, with_candidate
from tests.integration.test_safety_fills import a_late_fill, given_back
from tests.integration.test_safety_venue import reach_the_target
from tests.unit.domain_builders import (
    DAY,
    END_NS,
    K,
    a_candidate,
    a_round,
    an_account,
    some_parameters,
)
from tests.unit.test_domain_limits import a_context
from tradeplane.pages.parameters import mode_is_bound

pytestmark = [pytest.mark.django_db]


def refuse(bench: Bench, times: int = 1) -> None:
    for _ in range(times):
        bench.venue.fail_next("POST", "/v2/orders", "refused_connection")


def test_case_36_two_intents_do_not_spend_the_same_money() -> None:
    pair = a_candidate("AAAA"), a_candidate("BBBB")
    poor = an_account(cash=Decimal(8_000), buying_power=Decimal(8_000))
    two = {"concurrent_trading": True, "max_trades_per_day": 9, "max_entries_per_round": 2}

    decision = decide(a_round(*pair, account=poor), some_parameters(**two), {})
    assert [entry.symbol for entry in decision.entries] == ["AAAA"]
    assert decision.records[1].all_failed == ("P7",)


def test_case_36_an_entry_that_the_broker_refused_frees_its_slot_and_is_not_sent_again() -> None:
    bench = Bench.make()
    (order_id,) = bench.decide()
    refuse(bench)

    bench.send(order_id)
    bench.send(order_id)
    bench.trader.settle()

    trade = bench.trade()
    assert (trade.state, trade.slot_key, bench.entry().status) == (T.REJECTED, None, Status.REFUSED)
    assert bench.venue.posts() == 0
    assert rounds.decide_round(run_id=bench.run.pk, k=K, epoch=bench.epoch) == []


def test_case_37_a_refused_symbol_rests_and_three_refusals_pause_entries() -> None:
    bench = Bench.make(max_trades_per_day=9)
    for n in range(3):
        bench.venue.advance(65_000)  # the same symbol again is refused by us for a minute
        bench.venue.quote("20.04", "20.06")
        (order_id,) = bench.decide(K + 13 * (n + 1))
        refuse(bench)
        bench.send(order_id)
        assert selectors.kill_level() == ("pause" if n == 2 else "none")

    facts = frozen(a_hub(bench), with_candidate(bench, "ABCD")).symbols["ABCD"]
    assert facts.last_exit_ns == bench.trade().closed_ns
    assert judged(facts={"last_exit_ns": END_NS - 1}).primary_id == "S6"
    assert bench.venue.posts() == 0, "never sent again unchanged"


@pytest.mark.parametrize("how", ["lost_after", "http_504_after"])
def test_case_38_without_an_answer_the_slot_stays_busy_until_the_fate_is_known(how: str) -> None:
    bench = Bench.make()
    (order_id,) = bench.decide()
    bench.venue.fail_next("POST", "/v2/orders", how)

    order = bench.send(order_id)
    assert order.status == Status.UNKNOWN
    assert selectors.has_unresolved_order(bench.run)
    bench.trader.settle()
    bench.process_time(1.0)

    assert bench.entry().status != Status.UNKNOWN
    assert bench.venue.posts() == 1, "looked up by its name, not sent again"


def test_case_39_entries_leave_the_last_requests_to_exits() -> None:
    bench = Bench.make()
    (order_id,) = bench.decide()
    plan = plan_of(bench.trade())

    refused = [d.code for d in denials(plan, a_context(api_calls_left=60), bench.parameters)]
    assert "api_budget" in refused
    order = bench.send(order_id, api_calls_left=60)
    assert (order.status, bench.venue.posts()) == (Status.DENIED, 0)
    assert judged(round={"api_calls_left": 60}).primary_id == "G14"


def test_case_39_an_exit_asks_no_budget() -> None:
    bench = Bench.make()
    trade = bench.open()
    bench.broker.calls_left = 0

    exits.begin(bench.desk, trade, "manual")
    bench.step(150)

    assert bench.trade().state == T.CLOSED


def test_case_40_a_fill_that_overtakes_the_answer_is_matched_by_our_name() -> None:
    bench = Bench.make()
    (order_id,) = bench.decide()
    bench.venue.fail_next("POST", "/v2/orders", "lost_after")
    bench.send(order_id)

    bench.venue.advance(150)
    updates = bench.venue.updates()
    for update in reversed(updates):
        bench.trader.apply(update)
    bench.trader.settle()
    bench.step(0)

    trade = bench.trade()
    assert (trade.held, trade.state) == (298, T.OPEN_PROTECTED)
    assert_books_hold(bench)


def test_case_41_copies_count_once_and_what_was_lost_is_read() -> None:
    bench = Bench.make()
    bench.fire()
    bench.venue.advance(150)
    updates = bench.venue.updates()

    for update in (*updates[:-1], *updates[:-1]):
        bench.trader.apply(update)
    assert reconcile.reconcile(bench.trader).clean
    for update in updates:
        bench.trader.apply(update)
    bench.trader.settle()

    assert bench.trade().held == 298
    assert_books_hold(bench)


def test_case_42_a_partial_entry_is_canceled_then_bracketed_for_what_it_has() -> None:
    bench = partial_entry()

    bench.step(2850)
    bench.step(150)
    bench.step(150)

    trade = bench.trade()
    assert trade.state == T.OPEN_PROTECTED
    assert Order.objects.get(purpose="o").quantity == trade.held == bench.held_at_venue()
    assert trade.held < 298


def test_case_43_a_fill_after_the_cancel_is_covered_by_the_oco() -> None:
    bench = given_back()

    bench.trader.apply(a_late_fill(bench, 100))
    bench.trader.settle()
    bench.step(150)
    bench.step(150)

    assert (bench.trade().state, bench.trade().held) == (T.OPEN_PROTECTED, 100)
    assert Order.objects.get(purpose="o").quantity == 100


def test_case_44_after_a_partly_filled_target_the_stop_covers_the_rest() -> None:
    bench = Bench.make()
    bench.open()
    bench.venue.engine._partial_rate = 1.0
    reach_the_target(bench)
    bench.venue.engine._partial_rate = 0.0
    bench.venue.quote("20.30", "20.32")
    bench.step(0)
    trade = bench.trade()
    assert 0 < trade.held < 298

    low = trade.stop_loss - Decimal("0.01")
    bench.venue.quote(str(low - Decimal("0.01")), str(low + Decimal("0.01")))
    bench.venue.trade(str(low))
    for _ in range(4):
        bench.step(150)

    assert bench.held_at_venue() == 0
    assert bench.trade().state == T.CLOSED
    assert_books_hold(bench)


def test_case_45_a_short_after_both_exits_is_bought_back_and_entries_pause() -> None:
    bench = Bench.make(Rule(do="both_legs", nth=1, delay_ms=0))
    bench.open()

    reach_the_target(bench)
    for _ in range(8):
        bench.step(500)

    assert bench.held_at_venue() == 0
    assert bench.trade().state == T.CLOSED
    assert selectors.kill_level() == "pause"


def an_order_by_hand(bench: Bench) -> None:
    """A limit far below the market, made in the broker's app."""
    order = OrderRequest(
        client_order_id="from-the-app", symbol="SPY", side="buy", type="limit",
        limit=Decimal("1.00"), time_in_force="gtc", quantity=5,
    )  # fmt: skip
    bench.venue.engine.submit(order, bench.venue.now_ns)
    bench.step(300)


def frozen_with_strangers(bench: Bench) -> RoundInput:
    hub = a_hub(bench, external_symbols=frozenset(bench.trader.foreign))
    return frozen(hub, with_candidate(bench))


def test_case_46_an_order_that_is_not_ours_locks_entries_until_acknowledged() -> None:
    bench = Bench.make()
    bench.open()
    an_order_by_hand(bench)
    told = frozen_with_strangers(bench)
    assert (told.unresolved_order, "SPY" in told.busy_symbols) == (True, True)
    assert judged(round={"unresolved_order": True}).primary_id == "G12"
    assert judged(round={"busy_symbols": frozenset({"ABCD"})}).primary_id == "S5"

    bench.restart()
    agreement = Agreement(trader=bench.trader, mono=lambda: 0.0, at_once=lambda: True)
    assert not agreement.compare(), "the mark survives a restart"
    assert frozen_with_strangers(bench).unresolved_order
    assert bench.trade().state == T.OPEN_PROTECTED, "and keeps nobody from protecting"

    row = Difference.objects.get(open_key__isnull=False)
    adoption.acknowledge(difference_id=row.pk, reason="my own order", actor="ann")
    assert agreement.compare()
    told = frozen_with_strangers(bench)
    assert (told.unresolved_order, "SPY" in told.busy_symbols) == (False, True)


def test_case_46_the_hub_starts_with_entries_locked_when_books_and_broker_differ() -> None:
    bench = Bench.make()
    a_stranger(bench, with_stop=True)
    agreement = Agreement(trader=bench.trader, mono=lambda: 0.0, at_once=lambda: False)
    hub = SimpleNamespace(agreement=agreement, desk=bench.desk, mono=lambda: 0.0)
    startup = Startup(hub)  # type: ignore[arg-type]

    for _ in range(3):  # news may be on their way
        with pytest.raises(StepBlocked, match="SPY"):
            startup.reconcile()
    said = startup.reconcile()

    assert said.startswith("entries are locked until this is acknowledged")
    assert judged(round={"doubt": agreement.doubt}).primary_id == "G12"
    assert Difference.objects.get().body["blocked"] == ""


def test_case_46_a_broker_that_does_not_answer_is_no_difference_and_blocks() -> None:
    bench = Bench.make()
    agreement = Agreement(trader=bench.trader, mono=lambda: 0.0, at_once=lambda: True)
    hub = SimpleNamespace(agreement=agreement, desk=bench.desk, mono=lambda: 0.0)
    startup = Startup(hub)  # type: ignore[arg-type]

    for _ in range(5):
        bench.venue.fail_next("GET", "/v2/positions", "unavailable")
        with pytest.raises(StepBlocked, match="does not answer"):
            startup.reconcile()


def test_case_46_shares_that_were_added_by_hand_are_adopted_and_protected() -> None:
    bench = Bench.make()
    held = bench.open().held
    bench.broker.submit_cover(client_order_id="from-the-app", symbol="ABCD", quantity=10)
    bench.venue.advance(150)

    reconcile.reconcile(bench.trader)
    for _ in range(6):
        bench.step(500)

    assert bench.held_at_venue() == bench.trade().held == held + 10
    assert Order.objects.get(client_order_id="from-the-app").purpose == "ext"
    assert bench.trade().state == T.OPEN_PROTECTED
    assert [quantity for _, quantity, _, _ in stops_of(bench)] == [held + 10]
    assert_books_hold(bench)


def a_stranger(bench: Bench, *, with_stop: bool) -> None:
    """Three shares of SPY bought in the broker's app, near 500 USD."""
    bench.venue.quote("500.00", "500.02", symbol="SPY")
    bench.broker.submit_bracket(
        client_order_id="stranger", symbol="SPY", quantity=3, limit=None,
        take_profit=Decimal("520.00"), stop_loss=Decimal("490.00"), time_in_force="gtc",
    )  # fmt: skip
    bench.venue.advance(150)
    if not with_stop:
        bench.broker.cancel_all()
        bench.venue.advance(150)


def compared(bench: Bench) -> Agreement:
    """Two comparisons, as at a start: one alone may be news on its way."""
    agreement = Agreement(trader=bench.trader, mono=lambda: 0.0, at_once=lambda: False)
    agreement.shelter = lambda: orphans.shelter(bench.desk, bench.parameters)
    assert not agreement.compare()
    assert selectors.kill_level() == "none"
    assert not agreement.compare()
    return agreement


def stops_of(bench: Bench) -> list[tuple[str, int, Decimal | None, Decimal | None]]:
    return [
        (leg.client_order_id[:7], leg.quantity, order.limit_price, leg.stop_price)
        for order in bench.broker.orders(status="open")
        for leg in (order, *order.legs)
        if leg.stop_price is not None
    ]


def test_case_47_a_position_that_nobody_knows_gets_a_stop_and_entries_pause() -> None:
    bench = Bench.make()
    a_stranger(bench, with_stop=False)

    agreement = compared(bench)
    bench.venue.advance(150)

    (found,) = bench.broker.orders(status="open")
    price = bench.broker.positions()[0].current_price
    assert price is not None
    target, stop = legs(price, bench.parameters["tp_max"], bench.parameters["sl_max"])
    assert (found.client_order_id[:7], found.quantity, found.limit_price) == ("orphan-", 3, target)
    assert [leg.stop_price for leg in found.legs] == [stop]
    assert selectors.kill_level() == "pause"
    assert "SPY" in KillSwitch.objects.first().reason  # type: ignore[union-attr]
    assert judged(round={"doubt": agreement.doubt}).primary_id == "G12"
    assert bench.held_at_venue() == 3, "nobody sells what is not ours"


def test_case_47_a_trade_of_another_day_does_not_explain_it_one_of_today_does() -> None:
    bench = Bench.make()
    bench.open()
    reach_the_target(bench)
    for _ in range(4):
        bench.step(500)
    assert bench.trade().state == T.CLOSED
    bench.broker.submit_cover(client_order_id="from-the-app", symbol="ABCD", quantity=10)
    bench.venue.advance(150)

    assert orphans.shelter(bench.desk, bench.parameters) == []
    Trade.objects.update(day=DAY - timedelta(days=1))
    assert orphans.shelter(bench.desk, bench.parameters) == ["ABCD"]

    bench.venue.advance(150)
    assert [quantity for _, quantity, _, _ in stops_of(bench)] == [10]


def test_case_47_a_stranger_with_a_stop_keeps_it_and_is_asked_about() -> None:
    bench = Bench.make()
    a_stranger(bench, with_stop=True)
    before = stops_of(bench)

    compared(bench)
    bench.venue.advance(150)

    assert stops_of(bench) == before
    assert selectors.kill_level() == "pause"


def test_case_47_the_stop_that_a_person_took_away_is_not_given_again() -> None:
    bench = Bench.make()
    a_stranger(bench, with_stop=False)
    agreement = compared(bench)
    bench.venue.advance(150)
    assert len(bench.broker.orders(status="open")) == 1
    bench.broker.cancel_all()
    bench.venue.advance(150)

    assert not agreement.compare()

    assert bench.broker.orders(status="open") == []
    assert bench.held_at_venue() == 3


def test_case_48_a_position_that_the_broker_has_no_more_is_booked_from_its_fills() -> None:
    bench = Bench.make()
    bench.open()
    reach_the_target(bench)
    bench.venue.advance(150)
    bench.venue.updates()  # lost

    findings = reconcile.reconcile(bench.trader)
    bench.trader.settle()

    assert findings.clean
    assert (bench.trade().state, bench.trade().exit_reason) == (T.CLOSED, "target")
    assert_books_hold(bench)


def test_case_49_an_intent_from_before_the_crash_is_sent_young_and_expires_old() -> None:
    young = Bench.make()
    (order_id,) = young.decide()
    young.restart()
    assert young.send(order_id).status != Status.EXPIRED_LOCAL
    assert young.venue.posts() == 1


def test_case_49_an_old_intent_is_never_sent() -> None:
    bench = Bench.make()
    (order_id,) = bench.decide()
    bench.restart()
    bench.step(3600)

    order = bench.send(order_id)

    assert (order.status, bench.venue.posts()) == (Status.EXPIRED_LOCAL, 0)
    assert bench.trade().slot_key is None


def test_case_50_an_entry_from_before_the_crash_is_adopted_with_its_bracket() -> None:
    bench = Bench.make()
    bench.fire()
    bench.venue.advance(150)
    bench.venue.updates()  # lost with the crash
    bench.restart()

    reconcile.reconcile(bench.trader)

    assert (bench.trade().state, bench.trade().held) == (T.OPEN_PROTECTED, 298)
    assert bench.venue.posts() == 1


def test_case_51_of_two_hubs_the_old_one_can_neither_write_nor_name_another_order() -> None:
    bench = Bench.make()
    (order_id,) = bench.decide()
    old = bench.epoch
    lease.take("standby", force=True)

    with pytest.raises(LeaseLost):
        bench.send(order_id)
    with pytest.raises(LeaseLost):
        rounds.decide_round(run_id=bench.run.pk, k=bench.close_round(K + 1).k, epoch=old)

    assert bench.venue.posts() == 0
    assert bench.entry().client_order_id.endswith("-s1-t1-e"), "no symbol: they would collide"


def test_case_52_new_parameters_start_the_streak_again() -> None:
    c = a_candidate()
    old = {c.candidate_id: Streak(k=K - 1, count=3, params_version=1)}

    same = decide(a_round(c), some_parameters(confirm_buckets=2), old).records[0]
    changed = decide(a_round(c, params_version=2), some_parameters(confirm_buckets=2), old)

    assert (same.streak, same.outcome) == (4, "fired")
    assert (changed.records[0].streak, changed.records[0].primary_id) == (1, "confirm")


def test_case_53_the_trading_mode_waits_until_flat() -> None:
    bench = Bench.make()
    bench.open()
    hub = SimpleNamespace(
        rounds=SimpleNamespace(parameters=bench.parameters),
        trader=bench.trader,
        mono=time.monotonic,
        note=lambda kind, text, **_: Activity.objects.create(run=bench.run, kind=kind, text=text),
    )  # fmt: skip
    switches = Switches(hub)  # type: ignore[arg-type]

    assert switches._mode_is_bound({"alpaca_trading_mode": "shadow"})
    assert switches._mode_is_bound({"alpaca_trading_mode": "shadow"})
    assert not switches._mode_is_bound({"alpaca_trading_mode": "paper"})
    assert Activity.objects.filter(text="trading mode shadow waits until flat").count() == 1
    assert "position or order (ABCD)" in mode_is_bound({"alpaca_trading_mode"})
    assert mode_is_bound({"min_score"}) == ""
    exits.begin(bench.desk, bench.trade(), "manual")
    bench.step(150)
    assert not switches._mode_is_bound({"alpaca_trading_mode": "shadow"})
    assert mode_is_bound({"alpaca_trading_mode"}) == ""


def test_case_54_the_daily_loss_stays_latched_when_the_loss_recovers() -> None:
    bench = Bench.make()
    hub = a_hub(bench)
    account = an_account(last_equity=Decimal(30_000))

    assert not hub._loss_latched(Decimal("-449.99"), account)
    assert hub._loss_latched(Decimal("-450.00"), account)
    assert hub._loss_latched(Decimal(100), account)
    bench.restart()
    assert Run.objects.get(pk=bench.run.pk).latches == {"daily_loss": True}
    assert judged(round={"daily_loss_latched": True}).primary_id == "G7"


def test_case_55_in_a_cash_account_todays_proceeds_buy_nothing() -> None:
    sold = {"account": an_account(cash=Decimal(6_000)), "unsettled_usd": Decimal(5_000)}

    cash = judged(round=sold, day_trade_policy="cash")
    margin = judged(round=sold)

    assert cash.plan is not None
    assert margin.plan is not None
    assert cash.plan["qty"] == 47  # .95 × 1000 ÷ 20.08
    assert margin.plan["qty"] == 283


@pytest.mark.parametrize(("equity", "done", "opens"), [
    (24_999, 2, True), (24_999, 3, False), (25_000, 3, True),
])  # fmt: skip
def test_case_56_the_old_day_trading_rule_where_the_broker_still_has_it(
    equity: int, done: int, opens: bool
) -> None:
    account = an_account(equity=Decimal(equity))
    inputs = {"account": account, "day_trades_5d": done}

    record = judged(round=inputs, day_trade_policy="legacy_pdt_guard")

    assert gate(record, "G8").open is opens
    assert gate(judged(round=inputs), "G8").open


def test_case_57_a_risk_too_small_for_one_share_says_so() -> None:
    poor = {"account": an_account(equity=Decimal(80), last_equity=Decimal(80))}

    record = judged(round=poor)
    small = judged(round=poor, max_notional_percent=100.0, max_gap_loss_percent=100.0)

    assert "S11" in record.all_failed
    assert "S11" in small.all_failed
    for one in (record, small):
        assert gate(one, "S11").text.startswith("Less than one share, limited by")


def test_case_58_a_target_above_the_halt_band_is_allowed_a_limit_is_not() -> None:
    band = {"luld_up": 20.30}

    record = judged(candidate=band)

    assert record.outcome == "fired"
    assert Decimal(record.plan["tp"]) > Decimal("20.30") > Decimal(record.plan["limit"])
    p = some_parameters()
    assert entry_limit(Decimal("20.06"), Decimal("20.06"), Decimal("20.07"), p) == Decimal("20.07")


def test_case_59_a_stop_that_cannot_be_placed_means_out_at_once() -> None:
    bench = partial_entry()
    bench.venue.quote("19.00", "19.02")
    bench.venue.trade("19.00")

    bench.step(2850)
    for _ in range(8):
        bench.step(500)

    assert bench.held_at_venue() == 0
    assert bench.trade().state == T.CLOSED


def test_case_61_thousands_of_candidates_are_all_judged_in_time_and_none_fires() -> None:
    crowd = [a_candidate(f"A{n}") for n in range(2000)]
    inputs = a_round(*crowd, universe=frozenset(f"A{n}" for n in range(11_000)))

    started = time.process_time()
    decision = decide(inputs, some_parameters(), {})
    spent = time.process_time() - started

    assert len(decision.records) == 2000
    assert decision.entries == ()
    assert {record.primary_id for record in decision.records} == {"G15"}
    assert spent < 6, "a second or less on a quiet core"


def test_case_65_live_is_refused_on_the_feed_of_one_exchange() -> None:
    hub = SimpleNamespace(
        upstream={"feed": "iex"}, config=SimpleNamespace(account_mode=lambda mode: mode),
        mono=time.monotonic,
    )  # fmt: skip
    startup = Startup(hub)  # type: ignore[arg-type]

    with pytest.raises(StepBlocked, match="live needs the sip feed"):
        startup._allow("ACTIVE", "live")
    startup._allow("ACTIVE", "paper")
    hub.upstream["feed"] = "sip"
    startup._allow("ACTIVE", "live")


def test_case_66_an_entry_in_flight_at_the_cut_off_is_kept_and_no_other_follows() -> None:
    bench = Bench.make(max_trades_per_day=9, symbol_cooldown_s=0, cooldown_after_trade_s=0)
    bench.fire()
    cutoff = {"close_ns": bench.venue.now_ns + 44 * 60 * 10**9}

    bench.step(150)

    assert bench.trade().state == T.OPEN_PROTECTED
    assert judged(round=cutoff).primary_id == "G3"
    reached: dict[str, Any] = {"close_ns": bench.venue.now_ns + 44 * 60 * 10**9}
    assert bench.decide(K + 1, **reached) == []
