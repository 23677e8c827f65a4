"""A leg protects only where the trade plans it; what the venue echoes is what we asked for."""

import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from execution import reconcile, selectors
from execution.hub import exits, protect
from execution.models import Activity, Order, Trade
from execution.services import venue_state
from execution.services.moves import TradeState as T
from execution.venue.orders import Changes, VenueOrder
from tests.fakes.desk import Bench
from tests.integration.test_hub_exits import partial_entry
from tests.integration.test_hub_orders import assert_books_hold

pytestmark = [pytest.mark.django_db, pytest.mark.db]
Row = dict[str, Any]


def answer(bench: Bench, method: str, change: Callable[[Row], None], *, times: int = 10**9) -> None:
    """Alter what the venue answers about orders; legs are given to `change` like their parents."""
    serve, left = bench.venue.serve, [times]

    def altered(asked: str, path: str, query: bytes, body: bytes) -> tuple[int, bytes]:
        status, content = serve(asked, path, query, body)
        if asked != method or not path.startswith("/v2/orders") or status != 200 or not left[0]:
            return status, content
        left[0] -= 1
        told = json.loads(content)
        for row in told if isinstance(told, list) else [told]:
            for one in (row, *(row.get("legs") or [])):
                change(one)
        return status, json.dumps(told).encode()

    bench.venue.serve = altered  # type: ignore[method-assign]


def a_stop_at(price: str) -> Callable[[Row], None]:
    def change(row: Row) -> None:
        if row["stop_price"]:
            row["stop_price"] = price

    return change


def alarms(bench: Bench) -> list[str]:
    return list(Activity.objects.filter(level="alarm").values_list("text", flat=True))


def leg_at_venue(bench: Bench, kind: str) -> VenueOrder:
    """Return the live stop or target."""
    live = [one for one in bench.venue_orders() if one.is_open and one.side == "sell"]
    (leg,) = [one for one in live if (one.stop is not None) == (kind == "stop")]
    return leg


def moved_by_somebody(bench: Bench, kind: str, price: str) -> None:
    leg = leg_at_venue(bench, kind)
    changes = Changes(**{"stop" if kind == "stop" else "limit": Decimal(price)})
    bench.venue.engine.replace(leg.id, changes, bench.venue.now_ns)
    bench.venue.advance(150)


# --- the echo -------------------------------------------------------------------------------------

ALTERED = [
    ("symbol", "SPY", "symbol planned ABCD, seen SPY"),
    ("side", "sell", "side planned buy, seen sell"),
    ("qty", "29", "quantity planned 298, seen 29"),
    ("type", "market", "type planned limit, seen market"),
    ("time_in_force", "day", "time in force planned gtc, seen day"),
    ("order_class", "", "order class planned bracket, seen none"),
    ("limit_price", "99.00", "limit planned 20.08, seen 99.00"),
    ("limit_price", None, "limit planned 20.08, seen none"),
]


@pytest.mark.parametrize(("field", "value", "text"), ALTERED)
def test_an_entry_that_is_echoed_otherwise_locks_entries(field: str, value: Any, text: str) -> None:
    bench = Bench.make()
    (order_id,) = bench.decide()

    def change(row: Row) -> None:
        if row["side"] == "buy":
            row[field] = value

    answer(bench, "POST", change)

    order = bench.send(order_id)

    assert (order.quarantined, order.status) == (True, "working")
    assert text in order.reason
    assert selectors.has_unresolved_order(bench.run)
    assert any(text in line for line in alarms(bench))


@pytest.mark.parametrize(
    ("field", "value", "text"),
    [
        ("stop_price", "1.00", "stop planned 19.70, seen 1.00"),
        ("limit_price", "40.00", "target planned 20.85, seen 40.00"),
    ],
)
def test_legs_that_are_echoed_at_other_prices_lock_entries(
    field: str, value: str, text: str
) -> None:
    bench = Bench.make()
    (order_id,) = bench.decide()

    def change(row: Row) -> None:
        if row["side"] == "sell" and row[field]:
            row[field] = value

    answer(bench, "POST", change)

    order = bench.send(order_id)

    assert order.quarantined
    assert text in order.reason


def test_an_echo_that_writes_the_same_numbers_otherwise_is_the_same() -> None:
    bench = Bench.make()
    (order_id,) = bench.decide()

    def change(row: Row) -> None:
        for name in ("limit_price", "stop_price"):
            row[name] = row[name] and f"{Decimal(row[name]):.6f}"

    answer(bench, "POST", change)

    assert not bench.send(order_id).quarantined


def test_an_oco_that_is_echoed_with_another_stop_locks_entries_and_is_put_right() -> None:
    bench = partial_entry()
    answer(bench, "POST", a_stop_at("1.00"))

    for _ in range(6):
        bench.step(1000)

    assert Order.objects.get(purpose="o").quarantined
    assert bench.trade().state == T.OPEN_PROTECTED
    assert leg_at_venue(bench, "stop").stop == bench.trade().stop_loss


# --- where the legs are ---------------------------------------------------------------------------


def test_a_stop_that_stands_elsewhere_than_asked_protects_nothing_and_is_moved() -> None:
    """The venue took 1.00 for our stop: it is put where it belongs, and entries wait for that."""
    bench = Bench.make(reanchor_after_fill=False)
    bench.fire()
    leg_at_venue(bench, "stop").stop = Decimal("1.00")

    bench.step(150)

    assert bench.trade().state == T.UNPROTECTED
    assert "ABCD: stop planned 19.70, seen 1.00: moving it" in alarms(bench)
    for _ in range(3):
        bench.step(150)
    assert leg_at_venue(bench, "stop").stop == Decimal("19.70")
    assert bench.trade().state == T.OPEN_PROTECTED
    assert_books_hold(bench)


def test_a_venue_that_shows_no_stop_where_it_was_asked_for_is_left() -> None:
    """Neither a move nor an OCO helps: the position does not stay behind such a stop."""
    bench = Bench.make(reanchor_after_fill=False)
    answer(bench, "GET", a_stop_at("1.00"))
    answer(bench, "POST", a_stop_at("1.00"))
    answer(bench, "PATCH", a_stop_at("1.00"))
    bench.fire()

    for _ in range(12):
        assert bench.trade().state != T.OPEN_PROTECTED
        bench.step(500)

    assert (bench.trade().state, bench.held_at_venue()) == (T.CLOSED, 0)
    assert bench.trade().exit_reason == "unprotected"
    assert reconcile.reconcile(bench.trader).differences == []


@pytest.mark.parametrize("away", ["0.01", "-0.01"])
def test_a_stop_that_the_venue_rounds_by_a_tick_is_where_it_should_be(away: str) -> None:
    bench = Bench.make(reanchor_after_fill=False)
    bench.fire()
    leg_at_venue(bench, "stop").stop = Decimal("19.70") + Decimal(away)

    for _ in range(4):
        bench.step(1000)
    reconcile.reconcile(bench.trader)

    assert bench.trade().state == T.OPEN_PROTECTED
    assert not [one for one in bench.venue.requests if one[0] == "PATCH"]


def test_a_plain_stop_does_not_pass_for_one_with_a_limit() -> None:
    bench = Bench.make(reanchor_after_fill=False, stop_type="stop_limit")
    bench.fire()
    leg_at_venue(bench, "stop").limit = Decimal("19.70")  # it would not sell below

    bench.step(150)

    assert any("limit of the stop planned 19." in line for line in alarms(bench))
    for _ in range(3):
        bench.step(150)
    assert bench.trade().state == T.OPEN_PROTECTED
    assert leg_at_venue(bench, "stop").limit < Decimal("19.70")


@pytest.mark.parametrize("heard", ["stream", "rest", "restart"])
@pytest.mark.parametrize(("kind", "price"), [("stop", "1.00"), ("target", "60.00")])
def test_a_leg_that_somebody_moved_is_moved_back(kind: str, price: str, heard: str) -> None:
    bench = Bench.make()
    trade = bench.open()
    moved_by_somebody(bench, kind, price)

    if heard != "stream":
        bench.venue.updates()  # lost
        if heard == "restart":
            bench.restart()
        reconcile.reconcile(bench.trader)
    else:
        bench.news()

    assert any(f"{kind} planned" in line and "moving it" in line for line in alarms(bench))
    assert bench.trade().state == T.UNPROTECTED
    for _ in range(3):
        bench.step(150)
    leg = leg_at_venue(bench, kind)
    assert (leg.stop or leg.limit) == (trade.stop_loss if kind == "stop" else trade.take_profit)
    assert bench.trade().state == T.OPEN_PROTECTED
    assert "ABCD: protection is gone" not in alarms(bench)


def test_a_re_anchored_leg_is_where_the_trade_plans_it_now() -> None:
    bench = Bench.make()
    bench.venue.quote("19.90", "19.92")  # filled better than the limit: the legs move with it
    trade = bench.open()
    for _ in range(3):
        bench.step(150)
        reconcile.reconcile(bench.trader)

    assert trade.stop_loss < Decimal("19.70")
    assert bench.trade().state == T.OPEN_PROTECTED
    assert alarms(bench) == []


@pytest.mark.parametrize("how", ["lost_before", "lost_after"])
def test_a_leg_whose_move_was_not_answered_is_found_and_ends_where_it_is_planned(how: str) -> None:
    bench = Bench.make()
    bench.open()
    bench.venue.fail_next("PATCH", "/v2/orders", how)
    trade = bench.trade()
    assert protect.move_leg(bench.desk, trade, ("sl",), stop=Decimal("19.90"))
    Trade.objects.filter(pk=trade.pk).update(stop_loss=Decimal("19.90"))

    bench.step(150)
    assert bench.trade().state == T.OPEN_PROTECTED  # no evidence against it yet
    reconcile.reconcile(bench.trader)
    for _ in range(3):
        bench.step(150)

    assert leg_at_venue(bench, "stop").stop == Decimal("19.90")
    assert bench.trade().state == T.OPEN_PROTECTED
    moved = [line for line in alarms(bench) if "moving it" in line]
    assert len(moved) == (how == "lost_before")


def test_a_move_that_is_answered_with_another_price_is_not_believed() -> None:
    bench = Bench.make()
    bench.open()
    answer(bench, "PATCH", a_stop_at("1.00"), times=1)
    trade = bench.trade()
    assert protect.move_leg(bench.desk, trade, ("sl",), stop=Decimal("19.90"))
    Trade.objects.filter(pk=trade.pk).update(stop_loss=Decimal("19.90"))

    for _ in range(4):
        bench.step(150)

    assert leg_at_venue(bench, "stop").stop == Decimal("19.90")
    assert bench.trade().state == T.OPEN_PROTECTED


# --- a leg that is filled in part, then moved -----------------------------------------------------


def part_filled_and_moved(bench: Bench, shares: int) -> None:
    """The target sells some, then is moved: what is left of it goes on under a new id."""
    bench.open()
    fill_target(bench, shares)
    bench.news()
    trade = bench.trade()
    assert protect.move_leg(bench.desk, trade, ("tp",), limit=Decimal("20.90"))
    Trade.objects.filter(pk=trade.pk).update(take_profit=Decimal("20.90"))
    bench.step(150)
    assert leg_at_venue(bench, "target").filled == 0


def fill_target(bench: Bench, shares: int) -> None:
    leg = leg_at_venue(bench, "target")
    assert leg.limit is not None
    bench.venue.engine._fill(leg, shares, leg.limit, bench.venue.now_ns)


@pytest.mark.parametrize("heard", [True, False])
def test_a_leg_that_was_moved_half_filled_ends_with_its_last_share(heard: bool) -> None:
    bench = Bench.make()
    part_filled_and_moved(bench, 100)

    fill_target(bench, 150)
    fill_target(bench, 48)
    if not heard:
        bench.venue.updates()
    reconcile.reconcile(bench.trader)
    for _ in range(4):
        bench.step(500)

    target = Order.objects.get(purpose="tp")
    assert (target.status, target.quantity, target.filled_quantity) == ("filled", 298, 298)
    assert (bench.trade().state, bench.held_at_venue()) == (T.CLOSED, 0)
    assert_books_hold(bench)


def test_a_stop_that_the_venue_cut_ends_although_it_was_moved_half_filled() -> None:
    bench = Bench.make()
    bench.open()
    stop = leg_at_venue(bench, "stop")
    bench.venue.engine._fill(stop, 49, Decimal("19.70"), bench.venue.now_ns)
    bench.news()
    trade = bench.trade()
    assert protect.move_leg(bench.desk, trade, ("sl",), stop=Decimal("19.60"))
    Trade.objects.filter(pk=trade.pk).update(stop_loss=Decimal("19.60"))
    bench.step(150)
    fill_target(bench, 208)

    stop = leg_at_venue(bench, "stop")
    assert stop.leaves == 41
    bench.venue.engine._fill(stop, 41, Decimal("19.60"), bench.venue.now_ns)
    for _ in range(4):
        bench.step(500)

    row = Order.objects.get(purpose="sl")
    assert (row.status, row.filled_quantity) == ("filled", 90)
    assert (bench.trade().state, bench.held_at_venue()) == (T.CLOSED, 0)
    assert_books_hold(bench)


def test_what_a_moved_leg_has_filled_is_counted_under_its_own_id() -> None:
    bench = Bench.make()
    part_filled_and_moved(bench, 100)
    fill_target(bench, 98)
    bench.news()
    leg = leg_at_venue(bench, "target")
    fill_target(bench, 100)  # 198 under this id, 198 booked in all: a hundred are still missing
    bench.venue.updates()

    row, seen = Order.objects.get(purpose="tp"), bench.broker.order(leg.id)
    assert seen is not None
    assert (row.filled_quantity, seen.filled_quantity, seen.status) == (198, 198, "filled")
    applied = venue_state.take_over(row, seen, now_ns=bench.venue.now_ns)

    row.refresh_from_db()
    assert applied.fills_missing
    assert row.status == "partial"


def test_a_rest_that_could_not_be_sold_has_a_stop_until_the_next_attempt_however_small() -> None:
    bench = partial_entry()
    for _ in range(12):
        bench.step(500)
    assert bench.trade().state == T.OPEN_PROTECTED
    assert Order.objects.filter(purpose="o").exists()
    fill_target(bench, bench.trade().held - 3)
    bench.news()
    exits.begin(bench.desk, bench.trade(), "manual", hard=True)
    bench.venue.fail_next("POST", "/v2/orders", "refused_connection")
    for _ in range(6):
        bench.step(500)

    assert (bench.trade().state, bench.trade().held) == (T.OPEN_PROTECTED, 3)
    assert (leg_at_venue(bench, "stop").leaves, bench.venue.engine.naked_since) == (3, {})
    for _ in range(70):
        bench.step(500)
    assert (bench.trade().state, bench.held_at_venue()) == (T.CLOSED, 0)
    assert_books_hold(bench)
