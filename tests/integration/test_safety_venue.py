"""What a venue may do: fill both exits, fill what it canceled, break and correct executions."""

from collections.abc import Callable
from decimal import Decimal
from types import SimpleNamespace

import pytest
from django.core.management import CommandError, call_command

from execution import failpoints, reconcile, selectors
from execution.brokers.port import OutcomeUnknown
from execution.domain.exits import ladder
from execution.errors import LeaseLost
from execution.hub import exits, overnight, waiting
from execution.hub.day_end import DayEnd
from execution.models import Activity, KillSwitch, Lease, Order, OrderAttempt
from execution.services import external, journal, lease, runs, trades
from execution.services.moves import OrderStatus as Status
from execution.services.moves import TradeState as T
from execution.venue.faults import Rule
from execution.venue.orders import OrderRequest
from tests.fakes.desk import MS, Bench, K
from tests.integration.test_hub_exits import at
from tests.integration.test_hub_orders import assert_books_hold

pytestmark = [pytest.mark.django_db, pytest.mark.db]


def reach_the_target(bench: Bench) -> None:
    target = bench.trade().take_profit
    bench.venue.quote(str(target), str(target + Decimal("0.02")))


def stop_out(bench: Bench) -> None:
    low = bench.trade().stop_loss - Decimal("0.01")
    bench.venue.quote(str(low - Decimal("0.01")), str(low + Decimal("0.01")))
    bench.venue.trade(str(low))


# --- both exits -----------------------------------------------------------------------------------


@pytest.mark.parametrize("delay_ms", [0, 100, 3000])
def test_both_exits_that_fill_are_bought_back_to_flat_and_entries_pause(delay_ms: int) -> None:
    bench = Bench.make(Rule(do="both_legs", nth=1, delay_ms=delay_ms))
    bench.open()

    reach_the_target(bench)
    for _ in range(8):
        bench.step(500)

    cover = Order.objects.get(purpose="c")
    assert (cover.side, cover.type, cover.quantity) == ("buy", "market", 298)
    assert bench.held_at_venue() == 0
    trade = bench.trade()
    assert (trade.held, trade.state) == (0, T.CLOSED)
    assert trade.realized_pnl == trade.exit_value - trade.entry_value
    assert selectors.kill_level() == "pause"
    assert "both exits filled" in KillSwitch.objects.first().reason
    assert_books_hold(bench)


def frozen_in_sending(bench: Bench) -> None:
    """The task that sends stands still: its order is at the venue, its answer is not here."""
    (order_id,) = bench.decide()
    bench.send_and_die(order_id)
    bench.trader.in_flight[order_id] = bench.mono_s


def test_a_leg_that_was_taken_for_a_strangers_order_locks_nothing_once_it_is_known() -> None:
    bench = Bench.make()
    frozen_in_sending(bench)
    seen = bench.broker.order_by_client_id(bench.entry().client_order_id)
    assert seen is not None
    for leg in seen.legs:
        external.note_order(bench.run, leg, now_ns=bench.venue.now_ns, locks=True)
    assert len(external.locking(bench.run)) == 2

    bench.mono_s += 7
    bench.step(7000)
    for _ in range(3):
        bench.step(500)

    assert bench.trade().state == T.OPEN_PROTECTED
    assert external.locking(bench.run) == []
    assert not selectors.has_unresolved_order(bench.run)


def test_an_answer_that_is_late_is_asked_for_and_a_short_is_bought_back() -> None:
    bench = Bench.make(Rule(do="both_legs", nth=1))
    frozen_in_sending(bench)
    bench.step(0)
    assert bench.entry().status == Status.SENDING
    bench.venue.advance(500)
    reach_the_target(bench)
    bench.venue.advance(200)
    assert bench.held_at_venue() == -298
    bench.venue.updates()  # none of it is heard

    wake_ns = bench.trader.wake_ns()
    assert wake_ns is not None
    for _ in range(4):
        bench.venue.advance(1000)
        bench.process_time(1)
    assert bench.entry().status == Status.SENDING, "a task may still answer"
    assert bench.venue.now_ns < wake_ns < bench.venue.now_ns + 3000 * MS
    for _ in range(6):
        bench.mono_s += 1
        bench.step(1000)

    assert bench.venue.posts() == 2
    assert Order.objects.get(purpose="c").filled_quantity == 298
    assert (bench.trade().state, bench.held_at_venue()) == (T.CLOSED, 0)
    assert_books_hold(bench)


def test_a_cover_of_unknown_fate_is_looked_up_and_not_sent_again() -> None:
    bench = Bench.make(
        Rule(do="both_legs", nth=1), Rule(do="execute_then_time_out", on="POST /v2/orders", nth=2)
    )
    bench.open()

    reach_the_target(bench)
    for _ in range(8):
        bench.step(500)
        bench.process_time(1.0)

    assert Order.objects.filter(purpose="c").count() == 1
    assert bench.held_at_venue() == 0
    assert_books_hold(bench)


def test_a_cover_whose_news_are_lost_is_asked_about() -> None:
    bench = Bench.make(Rule(do="both_legs", nth=1))
    bench.open()
    reach_the_target(bench)
    while not Order.objects.filter(purpose="c").exists():
        bench.step(20)
    bench.venue.advance(400)
    bench.venue.updates()  # the stream brings nothing of the cover
    assert Order.objects.get(purpose="c").status == Status.WORKING

    for _ in range(3):
        bench.step(1000)

    assert Order.objects.get(purpose="c").status == Status.FILLED
    assert (bench.held_at_venue(), bench.trade().state) == (0, T.CLOSED)


def test_the_venue_is_not_asked_to_close_what_is_being_bought_back() -> None:
    bench = Bench.make(Rule(do="both_legs", nth=1))
    bench.open()
    times = ladder(bench.run.close_ns, bench.parameters)
    day_end = DayEnd(trader=bench.trader, parameters=lambda: bench.parameters)
    bench.venue.advance((times.close_all_ns - bench.venue.now_ns) // MS)
    reach_the_target(bench)
    bench.step(500)  # both exits are known, the buy-back is on its way
    assert Order.objects.get(purpose="c").status == Status.WORKING

    day_end.act()
    for _ in range(4):
        bench.step(500)

    assert ("DELETE", "/v2/positions") not in bench.venue.requests
    assert (bench.held_at_venue(), bench.trade().state) == (0, T.CLOSED)


def test_a_buy_back_in_one_stock_keeps_nobody_in_another() -> None:
    bench = Bench.make()
    bench.open()  # long
    short = SimpleNamespace(held=-5, orders=bench.trade().orders)
    bench.trader.active_trades = lambda: [short, bench.trade()]  # type: ignore[method-assign]
    day_end = DayEnd(trader=bench.trader, parameters=lambda: bench.parameters)

    day_end._close_all()

    assert ("DELETE", "/v2/positions") in bench.venue.requests


def test_what_the_venues_close_all_bought_beside_our_own_buy_back_is_ours() -> None:
    """The stream told of our order only; the trade had ended when the other one was found."""
    bench = Bench.make(
        Rule(do="both_legs", nth=1, delay_ms=3000), Rule(do="late_fill", nth=1, delay_ms=400)
    )
    bench.open()
    reach_the_target(bench)
    bench.step(500)
    bench.step(3000)
    bench.venue.engine.latency_ns //= 10  # it overtakes our order
    bench.broker.close_all()  # by the sentinel, or by hand
    cover = Order.objects.get(purpose="c")
    bench.venue.advance(200)
    bench.venue.advance(500)
    for update in bench.venue.updates():
        if update.order.client_order_id == cover.client_order_id:
            bench.trader.apply(update)
    bench.trader.settle()
    assert (bench.trade().state, bench.held_at_venue()) == (T.CLOSED, 298)

    reconcile.reconcile(bench.trader)
    bench.step(500)

    assert Order.objects.get(purpose="ext").status == Status.FILLED
    assert (bench.trade().state, bench.trade().held) == (T.OPEN_PROTECTED, 298)
    assert_books_hold(bench)


def test_a_market_order_made_after_our_trade_had_ended_stays_a_strangers() -> None:
    bench = Bench.make()
    bench.open()
    reach_the_target(bench)
    bench.step(500)
    assert bench.trade().state == T.CLOSED
    bench.venue.engine.submit(
        OrderRequest(
            client_order_id="theirs",
            symbol="ABCD",
            side="buy",
            type="market",
            time_in_force="day",
            quantity=5,
        ),
        bench.venue.now_ns,
    )
    bench.venue.advance(200)

    bench.news()
    reconcile.reconcile(bench.trader)

    assert (bench.trade().state, bench.trade().held) == (T.CLOSED, 0)
    assert not Order.objects.filter(purpose="ext").exists()
    assert "ABCD" in bench.trader.foreign


def test_a_short_the_venue_does_not_have_is_not_bought() -> None:
    bench = Bench.make()
    trade = bench.open()
    reach_the_target(bench)
    bench.step(0)
    type(trade).objects.filter(pk=trade.pk).update(exit_quantity=trade.filled_quantity + 100)

    bench.trader.settle()

    assert not Order.objects.filter(purpose="c").exists()
    assert bench.desk.unsettled


# --- busts and corrections ------------------------------------------------------------------------


def test_a_broken_entry_leaves_neither_shares_nor_orders_nor_money() -> None:
    bench = Bench.make(Rule(do="bust", nth=1, delay_ms=1000))
    bench.open()

    for _ in range(6):
        bench.step(500)

    trade = bench.trade()
    assert (trade.held, trade.filled_quantity, trade.state) == (0, 0, T.CLOSED)
    assert trade.realized_pnl == 0
    assert bench.entry().status == Status.BUSTED
    assert bench.broker.orders(status="open") == []
    assert_books_hold(bench)


def test_a_broken_entry_whose_answer_was_lost_leaves_no_legs_behind() -> None:
    """Nobody here has heard of its legs when its shares are gone: they would sell short."""
    bench = Bench.make(
        Rule(do="execute_then_504", on="POST /v2/orders", nth=1),
        Rule(do="http_429", on="GET /v2/orders", nth=1),
        Rule(do="bust", nth=1),
    )
    bench.fire()
    bench.venue.advance(150)
    for update in bench.venue.updates():
        if update.order.side == "buy":  # what the stream said of the legs is lost
            bench.trader.apply(update)
    assert list(Order.objects.values_list("purpose", "status")) == [("e", Status.BUSTED)]

    bench.trader.settle()
    for _ in range(4):
        bench.step(500)

    assert bench.trade().state == T.CLOSED
    assert bench.broker.orders(status="open") == []
    assert_books_hold(bench)


def test_a_broken_exit_gives_the_shares_back_and_they_are_protected() -> None:
    bench = Bench.make(Rule(do="bust", nth=2, delay_ms=1000))
    bench.open()

    stop_out(bench)
    bench.step(0)
    assert bench.trade().state == T.CLOSED
    bench.venue.quote("20.04", "20.06")
    for _ in range(6):
        bench.step(500)

    trade = bench.trade()
    assert (trade.held, trade.state) == (298, T.OPEN_PROTECTED)
    assert trade.realized_pnl == 0
    assert_books_hold(bench)


def test_a_corrected_price_changes_the_result_and_not_the_shares() -> None:
    bench = Bench.make(Rule(do="correct", nth=1, delay_ms=1000, ticks=3))
    bench.open()
    before = bench.trade().entry_value

    for _ in range(4):
        bench.step(500)

    trade = bench.trade()
    assert (trade.held, trade.state) == (298, T.OPEN_PROTECTED)
    assert trade.entry_value == before + 298 * Decimal("0.03")
    assert_books_hold(bench)


def test_a_bust_heard_twice_and_before_its_fill_counts_once() -> None:
    bench = Bench.make(Rule(do="bust", nth=1, delay_ms=1000), Rule(do="duplicate", rate=1.0))
    bench.fire()
    bench.venue.advance(150)
    fill = bench.venue.updates()
    bench.venue.advance(1000)
    for update in reversed([*fill, *bench.venue.updates()]):
        bench.trader.apply(update)

    for _ in range(6):
        bench.step(500)

    assert bench.trade().filled_quantity == 0
    assert bench.held_at_venue() == 0
    assert_books_hold(bench)


# --- fills after the end --------------------------------------------------------------------------


def test_an_entry_filled_after_its_cancel_is_protected_with_an_oco() -> None:
    bench = Bench.make(Rule(do="late_fill", nth=1, delay_ms=200))
    bench.fire()
    bench.venue.quote("20.60", "20.62")
    bench.step(150)
    bench.step(2850)
    for _ in range(6):
        bench.step(150)

    trade = bench.trade()
    assert (trade.held, trade.state) == (298, T.OPEN_PROTECTED)
    assert bench.held_at_venue() == 298
    assert_books_hold(bench)


# --- a leader that was paused ---------------------------------------------------------------------


def test_shares_that_an_old_order_sold_late_are_not_sold_again_by_the_new_one() -> None:
    bench = Bench.make()
    trade = bench.open()
    target, stop = Order.objects.get(purpose="tp"), Order.objects.get(purpose="sl")
    target.quantity = stop.quantity = trade.held
    assert waiting.stands([target, stop], trade.held)

    target.filled_quantity = 100  # told of by the stream; the venue has shrunk the stop
    assert waiting.stands([target, stop], trade.held - 100)
    stop.quantity -= 100  # we have asked
    assert waiting.stands([target, stop], trade.held - 100)

    assert not waiting.stands([target, stop], trade.held - 105), "an old order sold 5 of them"
    assert not waiting.stands([target, stop], trade.held - 250)
    assert not waiting.stands([target, stop], trade.held)


def test_the_exits_of_an_entry_that_bought_nothing_are_not_filled_late() -> None:
    bench = Bench.make(Rule(do="late_fill", nth=2), Rule(do="late_fill", nth=3))
    bench.venue.quote("20.07", "20.20")  # above its limit
    bench.fire()
    bench.step(300)
    bench.broker.cancel(str(bench.entry().broker_id))
    for _ in range(4):
        bench.step(500)

    assert bench.entry().status == Status.CANCELED
    assert bench.venue.engine.account.fills == []


def test_a_leader_paused_before_its_socket_write_sends_nothing_once_replaced(monkeypatch) -> None:
    bench = Bench.make()
    (order_id,) = bench.decide()
    guard = journal._guard_send

    def paused(*args: object, **kwargs: object) -> None:
        lease.take("another", force=True)
        guard(*args, **kwargs)

    monkeypatch.setattr(journal, "_guard_send", paused)

    with pytest.raises(LeaseLost):
        bench.send(order_id)

    assert bench.venue.posts() == 0
    assert OrderAttempt.objects.get().outcome is None  # the new leader looks it up


def test_an_entry_whose_lease_is_about_to_end_is_held_back_and_not_in_doubt(monkeypatch) -> None:
    bench = Bench.make()
    (order_id,) = bench.decide()
    guard = journal._guard_send

    def paused(*args: object, **kwargs: object) -> None:
        Lease.objects.update(expires_at=lease._in(lease.SEND_MARGIN / 2))
        guard(*args, **kwargs)

    monkeypatch.setattr(journal, "_guard_send", paused)

    order = bench.send(order_id)
    assert (order.status, order.denied_code) == (Status.DENIED, "lease")
    assert bench.venue.posts() == 0
    assert bench.trade().state == T.REJECTED


@pytest.mark.parametrize("step", ["cancel", "replace"])
def test_a_replaced_leader_cancels_and_replaces_nothing(monkeypatch, step: str) -> None:
    bench = Bench.make()
    bench.open()
    guard = journal._guard_send

    def paused(*args: object, **kwargs: object) -> None:
        lease.take("another", force=True)
        guard(*args, **kwargs)

    monkeypatch.setattr(journal, "_guard_send", paused)
    before = list(bench.venue.requests)
    leg = Order.objects.filter(purpose="tp").latest("pk")
    now = {"epoch": bench.epoch, "now_ns": bench.venue.now_ns}
    changes = {"limit": Decimal("20.90")} if step == "replace" else {}

    with pytest.raises(LeaseLost):
        getattr(journal, step)(leg, bench.broker, **now, **changes)

    assert bench.venue.requests == before


# --- a night --------------------------------------------------------------------------------------


def asleep(monkeypatch: pytest.MonkeyPatch) -> Bench:
    """A position that could not be sold before the close."""
    bench = Bench.make()
    trade = bench.open()
    at(bench, bench.run.close_ns - 1000 * MS)
    bench.venue.engine.halted.add("ABCD")
    exits.begin(bench.desk, trade, "hard_flatten", hard=True)
    bench.step(500)
    day_end = DayEnd(trader=bench.trader, parameters=lambda: bench.parameters)
    at(bench, day_end.times.verify_ns)
    for _ in range(6):
        day_end.act()
        bench.step(150)
    assert bench.trade().state == T.HELD_OVERNIGHT
    return bench


def next_morning(bench: Bench) -> None:
    """The next session, the market trades again; only the clock of the run moves."""
    night_ns = 18 * 3600 * 1000 * MS
    run = bench.desk.run
    run.open_ns, run.close_ns = run.open_ns + night_ns, run.close_ns + night_ns
    run.save()
    bench.venue.now_ns = run.open_ns + 60_000 * MS
    session = bench.venue.engine.session
    bench.venue.engine.open_session(type(session)(session.day, run.open_ns, run.close_ns))
    bench.venue.engine.halted.clear()
    bench.venue.quote("20.04", "20.06")
    bench.step(150)


def test_time_alone_wakes_a_position_that_slept_at_the_open(monkeypatch) -> None:
    bench = asleep(monkeypatch)
    run = bench.desk.run
    assert overnight.wake_ns(bench.desk, bench.trade()) is None  # the session is over
    before_ns = bench.venue.now_ns + 60_000 * MS

    run.open_ns, run.close_ns = before_ns + 3600_000 * MS, before_ns + 7200_000 * MS

    assert overnight.wake_ns(bench.desk, bench.trade()) == run.open_ns
    bench.venue.now_ns = run.open_ns
    assert overnight.wake_ns(bench.desk, bench.trade()) == run.open_ns + 2_000 * MS


def test_a_position_that_slept_and_is_kept_is_watched_again(monkeypatch) -> None:
    bench = asleep(monkeypatch)
    trade = bench.trade()
    type(trade).objects.update(watch_acked=trade.version)
    call_command("overnight", str(trade.pk), "keep", "--reason", "halt is over")

    next_morning(bench)
    bench.step(1000)

    trade = bench.trade()
    assert (trade.state, trade.watch_acked < trade.version) == (T.OPEN_PROTECTED, True)


def test_a_position_that_slept_waits_for_its_review_and_locks_entries(monkeypatch) -> None:
    bench = asleep(monkeypatch)

    next_morning(bench)
    bench.step(1000)

    assert bench.trade().state == T.HELD_OVERNIGHT
    assert bench.held_at_venue() == 298


def test_a_position_that_slept_and_lost_its_orders_sleeps_on_protected(monkeypatch) -> None:
    bench = asleep(monkeypatch)
    bench.venue.engine.end_orders("ABCD", bench.venue.now_ns)
    next_morning(bench)

    for _ in range(4):
        bench.step(500)

    assert bench.trade().state == T.HELD_OVERNIGHT
    assert bench.held_at_venue() == 298
    assert not bench.venue.engine.naked_since


def test_a_review_that_says_sell_sells_at_the_open(monkeypatch) -> None:
    bench = asleep(monkeypatch)
    call_command("overnight", str(bench.trade().pk), "sell", "--reason", "bad news")
    bench.step(1000)
    assert bench.trade().state == T.HELD_OVERNIGHT  # the market is closed

    next_morning(bench)
    for _ in range(6):
        bench.step(500)

    assert (bench.trade().state, bench.trade().exit_reason) == (T.CLOSED, "review")
    assert bench.held_at_venue() == 0


def test_a_review_that_says_keep_makes_it_a_position_of_the_day(monkeypatch) -> None:
    bench = asleep(monkeypatch)
    call_command("overnight", str(bench.trade().pk), "keep", "--reason", "halt is over")

    next_morning(bench)
    bench.step(1000)

    assert bench.trade().state == T.OPEN_PROTECTED
    day_end = DayEnd(trader=bench.trader, parameters=lambda: bench.parameters)
    at(bench, day_end.times.flatten_ns)
    bench.venue.quote("20.04", "20.06")
    day_end.act()
    for _ in range(4):
        bench.step(500)
    assert bench.trade().state == T.CLOSED


def test_only_what_slept_is_reviewed_and_only_with_a_reason(monkeypatch, capsys) -> None:
    bench = Bench.make()
    trade = bench.open()
    with pytest.raises(CommandError, match="not held overnight"):
        call_command("overnight", str(trade.pk), "sell", "--reason", "x")
    with pytest.raises(CommandError, match="no trade 999"):
        call_command("overnight", "999", "sell", "--reason", "x")
    call_command("overnight")
    assert "nothing is held overnight" in capsys.readouterr().out


@pytest.mark.parametrize("quick_ms", [0, 150, 400])
def test_legs_that_the_stream_told_of_before_the_orders_answer_protect(quick_ms: int) -> None:
    """The entry is filled and its legs stand while the POST that made them is still unanswered."""
    bench, slow = Bench.make(), [quick_ms]

    def answer_slowly(name: str) -> None:
        if name == "journal.after_answer" and slow:
            slow.clear()
            bench.step(quick_ms)
            bench.step(150)
            bench.step(150)

    failpoints.arm(answer_slowly)
    try:
        bench.fire()
    finally:
        failpoints.arm(None)
    bench.step(150)

    legs = Order.objects.filter(side="sell")
    assert {leg.purpose for leg in legs} == {"tp", "sl"}
    assert {(leg.parent, leg.reason) for leg in legs} == {(bench.entry(), "")}
    assert bench.trade().state == T.OPEN_PROTECTED
    assert not Activity.objects.filter(text__contains="protection is gone").exists()
    stop_out(bench)
    bench.step(500)
    assert (bench.trade().state, bench.trade().exit_reason) == (T.CLOSED, "stop")


def test_an_exit_that_begins_before_the_entrys_answer_finds_out_who_holds_the_shares() -> None:
    bench, slow = Bench.make(), [True]

    def answer_slowly(name: str) -> None:
        if name == "journal.after_answer" and slow:
            slow.clear()
            bench.venue.advance(150)
            for update in bench.venue.updates():
                bench.trader.apply(update)
            assert set(Order.objects.filter(side="sell").values_list("purpose", flat=True)) == {
                "ext"
            }
            exits.leave(bench.desk, bench.trade(), "kill")
            raise OutcomeUnknown("the answer is lost")

    failpoints.arm(answer_slowly)
    try:
        bench.fire()
    finally:
        failpoints.arm(None)
    for _ in range(8):
        bench.step(500)
        bench.process_time(1.0)

    assert (bench.held_at_venue(), bench.trade().state) == (0, T.CLOSED)
    assert bench.trade().exit_reason == "kill"
    assert_books_hold(bench)


def test_an_entry_that_was_given_up_while_its_sender_stood_still_is_never_sent() -> None:
    bench = Bench.make()
    (order_id,) = bench.decide()

    def stand_still(name: str) -> None:
        if name == "journal.after_attempt":
            journal.abandon(Order.objects.get(pk=order_id), now_ns=bench.venue.now_ns)
            bench.trader.settle()

    failpoints.arm(stand_still)
    try:
        order = bench.send(order_id)
    finally:
        failpoints.arm(None)

    assert bench.venue.posts() == 0
    assert (order.status, order.quarantined) == (Status.ABANDONED, False)
    (attempt,) = OrderAttempt.objects.all()
    assert (attempt.outcome, attempt.message) == ("refused", "given up before it was sent")
    assert bench.trade().state == T.ENTRY_EXPIRED
    assert not selectors.has_unresolved_order(bench.run)


def signal_grows_old(bench: Bench) -> None:
    bench.venue.advance(4000)


def news_are_away(bench: Bench) -> None:
    bench.doubt = "the broker's order news are away"


def another_gets_no_answer(bench: Bench) -> None:
    entry = Order.objects.get(run=bench.run)
    entry.pk, entry.client_order_id, entry.status = None, "another-x", Status.UNKNOWN
    entry.purpose = "x"
    entry.save()


def switch_is_turned(bench: Bench) -> None:
    runs.set_kill_switch(level="pause", reason="a look", actor="test")


def send_after(bench: Bench, order_id: int, happens: Callable[[Bench], None]) -> Order:
    """Send an entry; something happens while its sender stands still before the socket."""

    def stand_still(name: str) -> None:
        if name == "journal.after_attempt":
            happens(bench)

    failpoints.arm(stand_still)
    try:
        return bench.send(order_id)
    finally:
        failpoints.arm(None)


@pytest.mark.parametrize(
    ("happens", "status", "code", "why"),
    [
        (signal_grows_old, Status.EXPIRED_LOCAL, "signal_age", "The signal expired"),
        (news_are_away, Status.DENIED, "doubt", "Entries are locked: the broker's order news"),
        (another_gets_no_answer, Status.DENIED, "doubt", "Entries are locked: an order's fate"),
        (switch_is_turned, Status.DENIED, "kill_switch", "The kill switch is at pause"),
    ],
)
def test_an_entry_that_nobody_would_send_any_more_when_its_sender_goes_on_is_not_sent(
    happens: Callable[[Bench], None], status: Status, code: str, why: str
) -> None:
    bench = Bench.make()
    (order_id,) = bench.decide()

    order = send_after(bench, order_id, happens)

    assert bench.venue.posts() == 0
    assert (order.status, order.denied_code) == (status, code)
    assert order.reason.startswith(f"{code}: {why}")
    attempt = OrderAttempt.objects.get(order=order)
    assert (attempt.outcome, attempt.message) == ("refused", f"not sent: {order.reason}")
    bench.trader.settle()
    assert bench.trade().state in (T.REJECTED, T.ENTRY_EXPIRED)
    assert bench.trade().slot_key is None


def test_entries_that_we_hold_back_ourselves_are_no_refusals_of_the_venue() -> None:
    bench = Bench.make()

    for n in range(trades.REFUSALS_MAX):
        (order_id,) = bench.decide(K + n)
        assert send_after(bench, order_id, news_are_away).status == Status.DENIED
        bench.trader.settle()
        bench.doubt = ""
        bench.venue.advance(5000)
        bench.venue.quote("20.04", "20.06")

    assert selectors.kill_level() == "none"
    assert selectors.trading_day(bench.run).last_exit_of == {}
    (order_id,) = bench.decide(K + trades.REFUSALS_MAX)
    assert bench.send(order_id).status == Status.WORKING, "nor was the symbol bought a minute ago"


def test_the_age_of_a_signal_is_asked_after_all_that_takes_its_time(monkeypatch) -> None:
    bench = Bench.make()
    (order_id,) = bench.decide()
    asked = selectors.has_unresolved_order

    def slow(*args: object, **facts: object) -> bool:
        bench.venue.advance(2000)  # a database that takes its time, at both looks
        return asked(*args, **facts)

    monkeypatch.setattr(selectors, "has_unresolved_order", slow)

    order = bench.send(order_id)

    assert (bench.venue.posts(), order.denied_code) == (0, "signal_age")


def test_a_replaced_hub_writes_nothing_of_what_it_would_hold_back() -> None:
    bench = Bench.make()
    (order_id,) = bench.decide()

    def replaced(bench: Bench) -> None:
        lease.take("another", force=True)
        news_are_away(bench)

    with pytest.raises(LeaseLost):
        send_after(bench, order_id, replaced)

    assert bench.venue.posts() == 0
    assert Order.objects.get(pk=order_id).status == Status.SENDING


def test_shares_bought_back_for_a_sale_that_is_broken_are_protected_although_none_were_bought() -> (
    None
):
    """Entry and target are filled unheard and both broken: what is left was bought back."""
    bench = Bench.make(Rule(do="bust", nth=1, delay_ms=50), Rule(do="bust", nth=1, delay_ms=300))
    bench.fire()
    bench.venue.advance(200)
    bench.venue.advance(100)
    reach_the_target(bench)
    bench.venue.advance(50)
    assert bench.held_at_venue() == -298
    bench.venue.updates()  # the hub has heard of none of it
    reconcile.reconcile(bench.trader)
    bench.venue.advance(500)  # the cover is filled, the sale is broken
    assert bench.held_at_venue() == 298
    assert bench.trade().state == T.SUBMITTED

    for _ in range(8):
        bench.step(500)

    assert (bench.entry().status, bench.trade().held) == (Status.BUSTED, 298)
    assert (bench.trade().state, bench.held_at_venue()) == (T.OPEN_PROTECTED, 298)
    assert not bench.venue.engine.naked_since
    assert_books_hold(bench)
