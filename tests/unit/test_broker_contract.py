"""What every adapter of a broker must do, whatever stands behind it; a new one joins `ADAPTERS`."""

from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from execution.brokers.memory import MemoryBroker
from execution.brokers.port import Broker, BrokerOrder, NameTaken, OutcomeUnknown, Refused, Side
from execution.simulation.venue import FaultyBroker, Late
from execution.venue.faults import FaultPlan, Rule
from signals.session import Session
from tests.fakes.venue_broker import InMemoryVenue
from tests.unit.domain_builders import CLOSE_NS, DAY, OPEN_NS

NAME = "v1-test-261120-s1-t1-e"
NOW_NS = OPEN_NS + 3600 * 10**9


def alpaca(venue: InMemoryVenue) -> Broker:
    return venue.broker()


def memory(venue: InMemoryVenue) -> Broker:
    return MemoryBroker(venue.engine, lambda: venue.now_ns)


def simulated(venue: InMemoryVenue) -> Broker:
    return FaultyBroker(
        venue.engine,
        lambda: venue.now_ns,
        lambda name: None,
        Counter(),
        Counter(),
        lambda seconds: None,
        Late(),
    )


ADAPTERS: dict[str, Callable[[InMemoryVenue], Broker]] = {
    "alpaca": alpaca, "memory": memory, "simulated": simulated,
}  # fmt: skip
#: Those with a network between us and the venue; what the engine itself says is never in doubt.
FAULTY = ("alpaca", "simulated")
Make = Callable[..., tuple[Broker, InMemoryVenue]]


@pytest.fixture(params=sorted(ADAPTERS))
def make(request: pytest.FixtureRequest) -> Make:
    return making(request.param)


@pytest.fixture(params=FAULTY)
def make_faulty(request: pytest.FixtureRequest) -> Make:
    return making(request.param)


def making(adapter: str) -> Make:
    def build(*rules: Rule) -> tuple[Broker, InMemoryVenue]:
        session = Session(DAY, OPEN_NS, CLOSE_NS)
        venue = InMemoryVenue(session, ("ABCD", "SPY"), NOW_NS, FaultPlan(rules=rules))
        venue.quote("20.04", "20.06")
        return ADAPTERS[adapter](venue), venue

    return build


def buy(broker: Broker, **changes: Any) -> BrokerOrder:
    asked: dict[str, Any] = {
        "client_order_id": NAME,
        "symbol": "ABCD",
        "quantity": 100,
        "limit": Decimal("20.06"),
        "take_profit": Decimal("21.00"),
        "stop_loss": Decimal("19.00"),
        "time_in_force": "gtc",
    }
    return broker.submit_bracket(**{**asked, **changes})


def opened(make: Any, *rules: Rule) -> tuple[Broker, InMemoryVenue]:
    broker, venue = make(*rules)
    buy(broker)
    venue.advance(200)
    return broker, venue


def test_an_answer_names_the_order_and_both_its_legs(make) -> None:
    broker, _ = make()

    order = buy(broker)

    assert (order.client_order_id, order.symbol, order.side) == (NAME, "ABCD", Side.BUY)
    assert (order.quantity, order.limit_price, order.filled_quantity) == (100, Decimal("20.06"), 0)
    assert {leg.stop_price is None for leg in order.legs} == {True, False}
    assert all(leg.side == Side.SELL and leg.quantity == 100 for leg in order.legs)
    assert len({order.id, *(leg.id for leg in order.legs)}) == 3


def test_the_same_order_again_is_the_same_order(make) -> None:
    broker, _ = make()

    assert buy(broker).id == buy(broker).id
    assert len(broker.orders(status="open")) == 1


def test_a_name_of_another_order_is_taken(make) -> None:
    broker, _ = make()
    buy(broker)

    with pytest.raises(NameTaken):
        buy(broker, quantity=7)


def test_an_order_is_found_by_both_its_names_with_its_legs(make) -> None:
    broker, _ = make()
    order = buy(broker)

    for found in (broker.order(order.id), broker.order_by_client_id(NAME)):
        assert found is not None
        assert (found.id, len(found.legs)) == (order.id, 2)


def test_what_is_not_there_is_none_and_not_an_error(make) -> None:
    broker, _ = make()

    assert broker.order_by_client_id("v1-test-261120-s9-t1-e") is None
    assert broker.order("00000000-0000-0000-0000-000000000000") is None
    assert broker.positions() == []


def test_a_filled_entry_is_a_position_whose_shares_its_legs_hold(make) -> None:
    broker, _ = opened(make)

    (position,) = broker.positions()

    assert (position.symbol, position.quantity, position.available) == ("ABCD", 100, 0)
    assert position.average_price == Decimal("20.06")
    order = broker.order_by_client_id(NAME)
    assert order is not None
    assert (order.status, order.filled_quantity, order.average_price) == (
        "filled",
        100,
        Decimal("20.06"),
    )


def test_executions_are_told_once_with_exact_prices(make) -> None:
    broker, venue = opened(make)

    (fill,) = broker.fills(after_ns=0)

    order = broker.order_by_client_id(NAME)
    assert order is not None
    assert (fill.order_id, fill.side, fill.quantity, fill.price, fill.kind) == (
        order.id,
        Side.BUY,
        100,
        Decimal("20.06"),
        "fill",
    )
    assert broker.fills(after_ns=venue.now_ns) == []


def test_a_plain_sell_is_refused_while_legs_hold_the_shares(make) -> None:
    broker, _ = opened(make)

    with pytest.raises(Refused, match="insufficient qty") as refused:
        broker.submit_sell(client_order_id="x", symbol="ABCD", quantity=100, limit=None)

    assert refused.value.status == 403


def test_canceling_one_leg_takes_the_group_and_frees_the_shares(make) -> None:
    broker, venue = opened(make)
    order = broker.order_by_client_id(NAME)
    assert order is not None

    broker.cancel(order.legs[0].id)
    venue.advance(200)

    assert broker.orders(status="open") == []
    assert broker.positions()[0].available == 100


def test_a_cancel_of_what_has_ended_is_refused(make) -> None:
    broker, _ = opened(make)
    order = broker.order_by_client_id(NAME)
    assert order is not None

    with pytest.raises(Refused) as refused:
        broker.cancel(order.id)

    assert refused.value.status == 422


def test_a_replaced_leg_has_a_new_id_and_names_the_old(make) -> None:
    broker, venue = opened(make)
    order = broker.order_by_client_id(NAME)
    assert order is not None
    target = next(leg for leg in order.legs if leg.stop_price is None)

    new = broker.replace(target.id, limit=Decimal("20.50"))
    venue.advance(200)

    assert new.id != target.id
    assert new.replaces == target.id
    seen = broker.order(new.id)
    assert seen is not None
    assert (seen.limit_price, seen.status) == (Decimal("20.50"), "new")
    old = broker.order(target.id)
    assert old is not None
    assert (old.status, old.replaced_by) == ("replaced", new.id)


def test_an_oco_covers_free_shares(make) -> None:
    broker, venue = opened(make)
    order = broker.order_by_client_id(NAME)
    assert order is not None
    broker.cancel(order.legs[0].id)
    venue.advance(200)

    oco = broker.submit_oco(
        client_order_id="v1-test-261120-s1-t1-o1",
        symbol="ABCD",
        quantity=100,
        take_profit=Decimal("21.00"),
        stop_loss=Decimal("19.00"),
        time_in_force="gtc",
    )
    venue.advance(200)

    assert (oco.side, len(oco.legs)) == (Side.SELL, 1)
    assert broker.positions()[0].available == 0


def test_close_all_leaves_nothing_held_and_nothing_ordered(make) -> None:
    broker, venue = opened(make)

    broker.close_all()
    venue.advance(200)
    venue.advance(200)

    assert broker.positions() == []
    assert broker.orders(status="open") == []


def test_shorting_can_be_forbidden(make) -> None:
    broker, _ = make()
    broker.forbid_shorting()

    with pytest.raises(Refused, match="not allowed to short"):
        broker.submit_sell(client_order_id="x", symbol="ABCD", quantity=1, limit=None)


def test_trading_can_be_switched_off_and_on_at_the_broker(make) -> None:
    broker, _ = make()
    broker.suspend(suspended=True)
    assert broker.account().suspended_by_user
    with pytest.raises(Refused):
        buy(broker)

    broker.suspend(suspended=False)

    assert buy(broker).client_order_id == NAME


def test_a_short_is_bought_back(make) -> None:
    broker, venue = opened(make, Rule(do="both_legs", nth=1))
    venue.quote("21.00", "21.02")
    venue.advance(200)
    assert broker.positions()[0].quantity == -100

    broker.submit_cover(client_order_id="v1-test-261120-s1-t1-c1", symbol="ABCD", quantity=100)
    venue.advance(200)

    assert broker.positions() == []


def test_a_broken_and_a_corrected_execution_name_the_one_before(make) -> None:
    broker, venue = opened(make, Rule(do="bust", nth=1, delay_ms=100))
    venue.advance(200)

    told = broker.fills(after_ns=0)

    assert [fill.kind for fill in told] == ["bust"]
    assert told[0].previous_id
    assert told[0].previous_id != told[0].execution_id


def activity(stamp: str, day: str, **changes: str) -> dict[str, str]:
    return {
        "id": f"{stamp}::a",
        "activity_type": "DIV",
        "date": day,
        "net_amount": "1.02",
    } | changes


def test_cash_without_an_order_is_told_from_a_new_york_day_on_oldest_first(make) -> None:
    broker, venue = make()
    venue.engine.account.activities += [
        activity("20261119235959999", "2026-11-19"),
        activity("20261120000000000", "2026-11-20"),  # of many the broker knows the date only
        activity("20261120093000500", "2026-11-20", activity_type="FEE", symbol="ABCD", qty="2"),
    ]

    told = broker.cash_activities(since=DAY)

    assert [(one.kind, one.symbol, one.amount, one.shares) for one in told] == [
        ("DIV", "", Decimal("1.02"), Decimal(0)),
        ("FEE", "ABCD", Decimal("1.02"), Decimal(2)),
    ]
    assert [one.day for one in told] == [DAY, DAY]
    assert told[1].ts_ns == OPEN_NS + 500_000_000
    assert len(broker.cash_activities(since=DAY - timedelta(days=1))) == 3
    assert broker.cash_activities(since=DAY + timedelta(days=1)) == []


def test_an_execution_is_no_cash_without_an_order(make) -> None:
    broker, _ = opened(make)

    assert broker.cash_activities(since=DAY) == []


def test_cancel_all_leaves_positions_and_no_orders(make) -> None:
    broker, venue = opened(make)
    buy(broker, client_order_id="v1-test-261120-s2-t1-e", limit=Decimal("19.50"))

    broker.cancel_all()
    venue.advance(200)

    assert broker.orders(status="open") == []
    assert [position.available for position in broker.positions()] == [100]


@pytest.mark.parametrize("there", [True, False])
def test_an_order_without_an_answer_is_unknown_and_looked_up(make_faulty, there: bool) -> None:
    do = "execute_then_time_out" if there else "lose_request"
    broker, _ = make_faulty(Rule(do=do, nth=1, on="POST /v2/orders"))

    with pytest.raises(OutcomeUnknown):
        buy(broker)

    found = broker.order_by_client_id(NAME)
    assert (found is not None) == there
    assert len(broker.orders(status="open")) == there


@pytest.mark.parametrize("do", ["http_500", "execute_then_504", "bad_json"])
def test_a_cancel_or_a_change_without_a_clear_answer_is_unknown(make_faulty, do: str) -> None:
    rules = (
        Rule(do=do, nth=1, on="PATCH /v2/orders"),
        Rule(do=do, nth=1, on="DELETE /v2/positions"),
    )
    broker, _ = opened(make_faulty, *rules)
    order = broker.order_by_client_id(NAME)
    assert order is not None

    with pytest.raises(OutcomeUnknown):
        broker.replace(order.legs[0].id, limit=Decimal("20.50"))
    with pytest.raises(OutcomeUnknown):
        broker.close_all()


@pytest.mark.parametrize(
    ("path", "ask"),
    [
        ("/v2/positions", lambda broker: broker.positions()),
        ("/v2/orders", lambda broker: broker.orders()),
        ("/v2/account", lambda broker: broker.account()),
        ("/v2/account/activities", lambda broker: broker.fills(after_ns=0)),
        ("/v2/account/activities", lambda broker: broker.cash_activities(since=DAY)),
    ],
)
def test_a_question_without_an_answer_never_reads_as_nothing_there(make_faulty, path, ask) -> None:
    broker, _ = opened(make_faulty, Rule(do="http_503", nth=1, on=f"GET {path}"))

    with pytest.raises(OutcomeUnknown):
        ask(broker)


def test_the_calendar_and_the_clock_agree_on_today(make) -> None:
    broker, venue = make()

    clock = broker.clock()
    days = broker.calendar(DAY, DAY + timedelta(days=7))

    assert clock.is_open
    assert clock.ts_ns == venue.now_ns
    today = next(day for day in days if day.day == DAY)
    assert today.close_ns == clock.next_close_ns == CLOSE_NS
    assert days == sorted(days, key=lambda day: day.day)


def test_the_account_and_the_assets_are_told(make) -> None:
    broker, venue = make()

    account = broker.account()

    assert (account.status, account.cash) == ("ACTIVE", Decimal(30_000))
    assert account.number == venue.engine.account.number
    assert [asset.symbol for asset in broker.assets()] == ["ABCD", "SPY"]


def test_too_dear_an_order_is_refused_with_the_venues_words(make) -> None:
    broker, _ = make()

    with pytest.raises(Refused, match="insufficient buying power") as refused:
        buy(broker, quantity=100_000)

    assert refused.value.status == 403
