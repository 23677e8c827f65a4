"""A position that is held over a split: books, trade and protection go on in new shares."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from django.core.management import call_command

from accounts import check as books_check
from accounts import selectors as books
from accounts.domain.ledger import Ledger
from accounts.models import Account, JournalEntry
from execution import reconcile
from execution.domain.prices import ceil_tick, floor_tick
from execution.hub.agreement import Agreement
from execution.models import Activity, BrokerEvent, Order, Run, Trade
from execution.services import cash, rebuild, trades
from execution.services.moves import TradeState as T
from execution.venue import mishaps, wire
from execution.venue.account import Split
from tests.fakes.desk import MS, Bench
from tests.integration.test_safety_venue import asleep

pytestmark = [pytest.mark.django_db, pytest.mark.db]
HELD = 298
HOUR_NS = 3_600_000 * MS


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    """A position of 298 shares that sleeps behind its stop."""
    made = asleep(monkeypatch)
    Run.objects.filter(pk=made.run.pk).update(started_at=datetime(2026, 11, 20, tzinfo=UTC))
    restarted(made)
    assert made.trade().held == made.held_at_venue() == HELD
    return made


def restarted(bench: Bench) -> None:
    """A new hub, which shares the run's row with the bench."""
    bench.restart()
    bench.desk.run = bench.run


def split(bench: Bench, before: int, after: int, bid: str, ask: str) -> None:
    """The night of a split: the venue ends the orders and says what came; then it is morning."""
    bench.venue.now_ns += 10 * HOUR_NS  # past midnight
    mishaps.split(bench.venue.engine, "ABCD", before, after, bench.venue.now_ns)
    morning(bench, bid, ask)


def morning(bench: Bench, bid: str, ask: str) -> None:
    """Let the next session be open for a minute."""
    engine, run = bench.venue.engine, bench.run
    run.open_ns, run.close_ns = run.open_ns + 24 * HOUR_NS, run.close_ns + 24 * HOUR_NS
    run.save()
    bench.venue.now_ns = run.open_ns + 60_000 * MS
    engine.open_session(type(engine.session)(engine.session.day, run.open_ns, run.close_ns))
    engine.halted.clear()
    bench.venue.quote(bid, ask)


def account(bench: Bench) -> Account:
    return Account.objects.get(run_id=bench.run.pk)


def agreement(bench: Bench) -> Agreement:
    return Agreement(trader=bench.trader, mono=lambda: bench.mono_s, at_once=lambda: True)


def legs(bench: Bench) -> tuple[Order, Order]:
    """Return the newest OCO and its stop."""
    oco = Order.objects.filter(purpose="o").latest("pk")
    return oco, oco.legs.get()


def assert_all_agrees(bench: Bench, shares: int) -> None:
    assert reconcile.reconcile(bench.trader).differences == []
    assert bench.trade().held == bench.held_at_venue() == shares
    assert books_check.check(account(bench)) == []
    ours, twin, _ = rebuild.compare(bench.run)
    assert ours == twin


@pytest.mark.parametrize("heard", [True, False])
def test_a_position_that_was_split_two_for_one_is_booked_and_protected_again(
    bench: Bench, heard: bool
) -> None:
    before = bench.trade()
    cost = books.positions(account(bench))["ABCD"].cost
    split(bench, 1, 2, "10.02", "10.03")
    if not heard:
        bench.venue.updates()  # the stream was away: a new hub compares first
        restarted(bench)
    made = agreement(bench)

    assert heard or made.compare()
    for _ in range(4):
        bench.step(250)

    trade = bench.trade()
    assert (trade.state, trade.held, trade.entry_value) == (
        T.HELD_OVERNIGHT, 2 * HELD, before.entry_value,
    )  # fmt: skip
    oco, stop = legs(bench)
    assert (oco.quantity, stop.quantity) == (2 * HELD, 2 * HELD)
    assert abs(2 * oco.limit - before.take_profit) <= Decimal("0.02")
    assert abs(2 * stop.stop - before.stop_loss) <= Decimal("0.02")
    assert (trade.take_profit, trade.stop_loss) == (oco.limit, stop.stop)
    assert 2 * trade.limit == before.limit
    assert books.positions(account(bench))["ABCD"].cost == cost
    call_command("overnight", str(trade.pk), "keep", "--reason", "it was only a split")
    bench.step(250)
    assert made.compare()
    assert (made.doubt, bench.trade().state) == ("", T.OPEN_PROTECTED)
    assert_all_agrees(bench, 2 * HELD)


def test_a_new_hub_sends_nothing_for_the_old_number_of_shares(bench: Bench) -> None:
    trades.note_unprotected(bench.trade(), bench.venue.now_ns)  # the old one died looking
    split(bench, 1, 2, "10.02", "10.03")
    bench.venue.updates()
    restarted(bench)
    before = set(bench.venue.engine.orders)

    reconcile.reconcile(bench.trader)

    made = [one for name, one in bench.venue.engine.orders.items() if name not in before]
    assert {order.quantity for order in made} == {2 * HELD}


def test_a_venue_that_adjusts_the_orders_by_itself_is_believed(bench: Bench) -> None:
    engine = bench.venue.engine
    kept = list(engine.open_orders)
    bench.venue.now_ns += 10 * HOUR_NS
    made = Split(symbol="ABCD", before=1, after=2, ts_ns=bench.venue.now_ns)
    engine.account.splits.append(made)
    row = wire.split_json("ABCD", engine.account.scale(made), made.ts_ns, "a")
    engine.account.activities.append(row)
    for order in kept:
        order.quantity *= 2
        order.limit = order.limit and floor_tick(order.limit / 2)
        order.stop = order.stop and ceil_tick(order.stop / 2)
    morning(bench, "10.02", "10.03")

    reconcile.reconcile(bench.trader)
    for _ in range(4):
        bench.step(250)

    assert bench.trade().state == T.HELD_OVERNIGHT
    assert list(engine.open_orders) == kept
    assert not Activity.objects.filter(text__contains="protection is gone").exists()
    assert_all_agrees(bench, 2 * HELD)


def test_what_is_sold_after_a_split_realizes_sales_less_purchases(bench: Bench) -> None:
    split(bench, 1, 2, "10.02", "10.03")
    for _ in range(4):
        bench.step(250)
    _, stop = legs(bench)

    bench.venue.quote("9.50", "9.52")
    bench.venue.trade("9.51")
    for _ in range(4):
        bench.step(250)

    trade = bench.trade()
    assert (trade.state, trade.exit_reason) == (T.CLOSED, "stop")
    assert stop.stop is not None
    assert trade.realized_pnl == 2 * HELD * Decimal("9.50") - trade.entry_value
    assert books.realized_pnl(account(bench)) == trade.realized_pnl
    (trip,) = books.round_trips(account(bench))
    assert (trip.quantity, trip.realized) == (2 * HELD, trade.realized_pnl)
    assert_all_agrees(bench, 0)


def test_a_split_is_booked_once_and_belongs_to_its_day(bench: Bench) -> None:
    split(bench, 1, 2, "10.02", "10.03")
    reconcile.reconcile(bench.trader)

    assert cash.take_in(bench.run, bench.broker, now_ns=bench.venue.now_ns) == 0
    restarted(bench)
    reconcile.reconcile(bench.trader)

    entry = JournalEntry.objects.get(kind="split")
    assert str(entry.session_date) == "2026-11-21"
    assert entry.reason == "SPLIT 298"
    assert BrokerEvent.objects.get(event="split").order == bench.entry()
    assert books.day_summary(account(bench), entry.session_date).fills == 0
    assert books.balances(account(bench))[Ledger.EXTERNAL, "ABCD"] == (0, -HELD)


def test_of_a_reverse_split_the_fraction_is_cash(bench: Bench) -> None:
    before = bench.trade()
    split(bench, 10, 1, "200.40", "200.60")  # 29.8 shares: 29, and cash for the rest
    engine = bench.venue.engine
    row = engine.account.activities.pop()
    gone = row | {"id": row["id"] + "1", "qty": str(-HELD)}
    came = row | {"id": row["id"] + "2", "qty": "29.8"}
    paid = row | {"id": row["id"] + "3", "activity_type": "CIL", "net_amount": "160.32", "qty": "0"}
    engine.account.activities += [gone, came, paid]
    engine.account.cash += Decimal("160.32")

    for _ in range(2):
        reconcile.reconcile(bench.trader)
        for _ in range(4):
            bench.step(250)

    trade = bench.trade()
    assert (trade.state, trade.held) == (T.HELD_OVERNIGHT, 29)
    assert trade.stop_loss > 9 * before.stop_loss
    assert_all_agrees(bench, 29)


@pytest.mark.parametrize(
    "changes",
    [
        {"qty": "100"},  # not what came
        {"qty": "298.5", "activity_type": "JNLS"},  # a transfer leaves the price as it is
        {"symbol": "SPY"},
    ],
)
def test_shares_that_are_not_explained_lock_entries(bench: Bench, changes: dict[str, str]) -> None:
    split(bench, 1, 2, "10.02", "10.03")
    activities = bench.venue.engine.account.activities
    activities[-1] |= changes
    made = agreement(bench)

    assert not made.compare()
    assert not made.compare()

    assert "slots hold 298 shares, broker 596" in made.doubt
    assert not JournalEntry.objects.filter(kind="split").exists()
    assert Trade.objects.get().filled_quantity == HELD
    said = Activity.objects.filter(level="alarm", text__contains="shares came without an order")
    assert said.count() == 1


def test_without_a_split_a_night_costs_no_question_for_activities(bench: Bench) -> None:
    morning(bench, "20.04", "20.06")
    bench.venue.requests.clear()

    assert reconcile.reconcile(bench.trader).differences == []

    asked = [path for _, path in bench.venue.requests]
    assert "/v2/account/activities" not in asked
