"""Software exits on the paper venue: the venue's own protection is never absent."""

from decimal import Decimal
from typing import Any

import pytest

from execution.hub import legs
from execution.hub.software import SoftwareExits
from execution.models import Order
from execution.services.moves import TradeState as T
from signals.messages import Gravity, Mark, Quote, Report
from signals.session import BUCKET_NS
from tests.fakes.desk import MS, Bench
from tests.integration.test_hub_orders import assert_books_hold

pytestmark = [pytest.mark.django_db, pytest.mark.db]
SOFTWARE = {"exit_mode": "bracket_plus_software", "trailing_enabled": True}


def a_report(bench: Bench, *marks: Mark) -> Report:
    return Report(
        run=bench.run.pk, shard=1, epoch=1, seq=1, k=1, stop=None, params_version=1, assignment=1,
        n_symbols=1, n_fresh=1, prints=1, late_prints=0, feed_lag_ms=0.0, gravity=Gravity(),
        candidates=[], marks=list(marks),
    )  # fmt: skip


def a_mark(bench: Bench, high: str, bid: str | None = None, **changes: Any) -> Mark:
    """The bucket that has just closed, with its high and the bid after it."""
    price = float(high)
    quote = Quote(
        bid=float(bid or high), ask=float(bid or high) + 0.02, bid_size=900, ask_size=900,
        ts_ns=bench.venue.now_ns,
    )  # fmt: skip
    base = {
        "symbol": "ABCD",
        "k": bench.venue.now_ns // BUCKET_NS,
        "high": price,
        "low": price,
        "close": price,
        "quote": quote,
    }
    return Mark(**{**base, **changes})


class Watched:
    """An open position of the worked example and the hub's software exits."""

    def __init__(self, **parameters: Any) -> None:
        self.bench = Bench.make(**{**SOFTWARE, **parameters})
        self.bench.open()
        self.exits = SoftwareExits(trader=self.bench.trader)
        self.move(10)

    def move(self, seconds: int) -> None:
        self.bench.step(seconds * 1000)
        self.assert_protected()

    def at(self, high: str, bid: str | None = None, **changes: Any) -> None:
        """Let the market stand there, tell it as a shard does, and act."""
        low = Decimal(bid or high)
        self.bench.venue.quote(str(low), str(low + Decimal("0.02")))
        self.exits.see([a_report(self.bench, a_mark(self.bench, high, bid, **changes))])
        self.exits.act()
        self.bench.trader.settle()

    def assert_protected(self) -> None:
        trade = self.bench.trade()
        if trade.held > 0 and trade.state == T.OPEN_PROTECTED:
            assert self.stops_at_venue(), "no live stop at the venue"

    def stops_at_venue(self) -> list[Decimal]:
        found = []
        for order in self.bench.broker.orders(status="all"):
            for leg in (order, *order.legs):
                live = leg.status not in legs.DEAD_LEGS
                if leg.side == "sell" and leg.stop_price is not None and live:
                    found.append(leg.stop_price)
        return found


def test_the_stop_goes_to_break_even_then_trails_and_the_venue_holds_it() -> None:
    one = Watched()
    first = one.bench.trade().stop_loss
    entry = one.bench.trade().entry_value / one.bench.trade().filled_quantity
    risk = entry - first

    one.at(str((entry + risk).quantize(Decimal("0.01")) + Decimal("0.01")))
    one.move(1)
    assert one.bench.trade().first_stop == first
    even = one.bench.trade().stop_loss
    assert entry < even < entry + Decimal("0.05")
    one.move(10)
    one.at(str((entry + 2 * risk).quantize(Decimal("0.01"))))
    one.move(1)

    trade = one.bench.trade()
    assert trade.state == T.OPEN_PROTECTED
    assert trade.stop_loss > even
    assert one.stops_at_venue() == [trade.stop_loss]
    assert ("DELETE", "/v2/orders") not in {(m, p[:10]) for m, p in one.bench.venue.requests}


def test_a_raised_stop_sells_at_the_venue_without_us() -> None:
    one = Watched()
    one.at("20.50")
    one.move(1)
    raised = one.bench.trade().stop_loss

    low = raised - Decimal("0.01")
    one.bench.venue.quote(str(low - Decimal("0.01")), str(low + Decimal("0.01")))
    one.bench.venue.trade(str(low))
    one.bench.step(0)

    trade = one.bench.trade()
    assert (trade.state, trade.exit_reason) == (T.CLOSED, "stop")
    assert_books_hold(one.bench)


def test_a_refused_move_keeps_the_old_stop_and_is_tried_again_ten_seconds_later() -> None:
    one = Watched()
    before = one.bench.trade().stop_loss
    for _ in range(2):
        one.bench.venue.fail_next("PATCH", "/v2/orders", "refused_connection")

    one.at("20.50")
    assert one.bench.trade().stop_loss == before
    assert one.stops_at_venue() == [before]
    one.move(5)
    one.at("20.50")
    assert one.bench.trade().stop_loss == before
    one.move(5)
    one.at("20.50")
    one.move(1)

    assert one.bench.trade().stop_loss > before
    assert one.stops_at_venue() == [one.bench.trade().stop_loss]


def test_a_market_that_fell_through_the_raised_stop_is_left_by_the_usual_way() -> None:
    one = Watched()

    one.at("20.80", "20.10")
    one.move(1)

    trade = one.bench.trade()
    assert (trade.state, trade.exit_reason) == (T.CLOSED, "trail")
    assert_books_hold(one.bench)


def test_a_trade_without_progress_is_left_and_one_with_progress_is_kept() -> None:
    one = Watched()
    one.at("20.09")
    one.bench.step(30 * 60_000 - 10_300)
    one.at("20.09")
    assert one.bench.trade().state == T.OPEN_PROTECTED

    assert one.exits.wake_ns() == one.bench.trade().opened_ns + 30 * 60_000 * MS
    one.bench.step(1000)
    one.at("20.09")
    one.bench.step(150)

    trade = one.bench.trade()
    assert (trade.state, trade.exit_reason) == (T.CLOSED, "no_progress")
    assert_books_hold(one.bench)


def test_the_time_stop_leaves_after_the_longest_hold() -> None:
    one = Watched(no_progress_minutes=0, max_hold_minutes=100)
    one.bench.step(100 * 60_000)

    one.exits.act()
    one.bench.step(150)

    assert one.bench.trade().exit_reason == "time_stop"


def test_nothing_moves_while_the_symbol_is_halted() -> None:
    one = Watched()
    before = one.bench.trade().stop_loss

    one.at("20.80", "20.10", halted=True)

    assert (one.bench.trade().state, one.bench.trade().stop_loss) == (T.OPEN_PROTECTED, before)


def test_the_bucket_of_the_entry_says_nothing_of_the_time_after_it() -> None:
    one = Watched()
    opened_k = one.bench.trade().opened_ns // BUCKET_NS

    one.at("20.80", k=opened_k)

    assert one.bench.trade().high is None


def test_a_restarted_hub_knows_the_high_and_the_first_stop() -> None:
    one = Watched()
    one.at("20.50")
    one.move(1)
    trade = one.bench.trade()

    one.bench.restart()
    again = SoftwareExits(trader=one.bench.trader)

    assert again.held(one.bench.trade()).high == Decimal("20.50")
    assert again.held(one.bench.trade()).first_stop == trade.first_stop
    assert again.see([]) is False


def test_a_position_of_the_brackets_alone_is_not_touched() -> None:
    one = Watched(exit_mode="broker_bracket")
    before = one.bench.trade().stop_loss

    assert one.exits.see([a_report(one.bench, a_mark(one.bench, "20.80"))]) is False
    one.exits.act()

    assert one.bench.trade().stop_loss == before
    assert one.exits.wake_ns() is None


def test_a_raised_stop_does_not_fall_when_protection_is_attached_anew() -> None:
    one = Watched()
    one.at("20.50")
    one.move(1)
    raised = one.bench.trade().stop_loss
    for order in one.bench.desk.live_orders(one.bench.trade(), "sl"):
        one.bench.broker.cancel(str(order.broker_id))

    one.bench.step(150)
    one.bench.step(150)
    one.bench.step(150)

    trade = one.bench.trade()
    assert Order.objects.filter(purpose="o").count() == 1
    assert (trade.state, trade.stop_loss) == (T.OPEN_PROTECTED, raised)
    assert one.stops_at_venue() == [raised]


def test_what_was_asked_to_be_left_is_left() -> None:
    one = Watched(exit_mode="broker_bracket")
    trade = one.bench.trade()
    trade.leave_why = "replaced"
    trade.save(update_fields=["leave_why"])

    one.exits.act()
    one.bench.step(150)

    assert one.bench.trade().exit_reason == "replaced"
