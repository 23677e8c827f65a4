"""The Alpaca side of the port: three outcomes only, exact numbers, one request per call."""

from datetime import date, timedelta
from decimal import Decimal

import pytest

from execution.brokers import alpaca, wire
from execution.brokers.port import OutcomeUnknown, Refused, is_whole
from signals.session import Session
from tests.fakes.venue_broker import InMemoryVenue
from tests.unit.domain_builders import CLOSE_NS, DAY, END_NS, OPEN_NS


@pytest.fixture
def venue() -> InMemoryVenue:
    made = InMemoryVenue(Session(DAY, OPEN_NS, CLOSE_NS), ("ABCD",), END_NS)
    made.quote("20.04", "20.06")
    return made


def bracket(**changes: object) -> dict[str, object]:
    base = {
        "client_order_id": "v1-test-261120-s1-t1-e",
        "symbol": "ABCD",
        "quantity": 10,
        "limit": Decimal("20.08"),
        "take_profit": Decimal("20.85"),
        "stop_loss": Decimal("19.70"),
        "time_in_force": "gtc",
    }
    return {**base, **changes}


def test_a_bracket_comes_back_with_its_legs_and_exact_prices(venue) -> None:
    order = venue.broker().submit_bracket(**bracket())

    assert (order.status, order.quantity, order.limit_price) == ("accepted", 10, Decimal("20.08"))
    assert {leg.limit_price or leg.stop_price for leg in order.legs} == {
        Decimal("20.85"),
        Decimal("19.7"),
    }


def test_a_stop_limit_leg_reaches_the_venue_with_both_prices(venue) -> None:
    order = venue.broker().submit_bracket(**bracket(stop_limit=Decimal("19.66")))

    (stop,) = [leg for leg in order.legs if leg.stop_price is not None]
    assert (stop.type, stop.stop_price, stop.limit_price) == (
        "stop_limit", Decimal("19.7"), Decimal("19.66"),
    )  # fmt: skip


def test_a_duplicate_client_id_is_fetched_and_adopted(venue) -> None:
    broker = venue.broker()
    first = broker.submit_bracket(**bracket())

    again = broker.submit_bracket(**bracket())

    assert again.id == first.id
    assert len(again.legs) == 2
    assert len(venue.engine.open_orders) == 3


@pytest.mark.parametrize(
    ("how", "outcome"),
    [
        ("refused_connection", Refused),
        ("lost_before", OutcomeUnknown),
        ("lost_after", OutcomeUnknown),
        ("http_504_after", OutcomeUnknown),
        ("unavailable", OutcomeUnknown),
    ],
)
def test_every_failure_is_one_of_two_outcomes_after_one_request(venue, how, outcome) -> None:
    broker = venue.broker()
    venue.fail_next("POST", "/v2/orders", how)

    with pytest.raises(outcome):
        broker.submit_bracket(**bracket())

    assert venue.posts() == (1 if how.endswith("after") else 0)


def test_the_venues_own_refusal_carries_its_code(venue) -> None:
    with pytest.raises(Refused) as caught:
        venue.broker().submit_bracket(**bracket(stop_loss=Decimal("20.20")))

    assert (caught.value.status, caught.value.code) == (422, 42210000)


def test_an_unknown_order_is_none_and_a_failed_look_up_is_not(venue) -> None:
    broker = venue.broker()
    assert broker.order_by_client_id("nobody") is None

    venue.fail_next("GET", "/v2/orders:by_client_order_id", "unavailable")
    with pytest.raises(OutcomeUnknown):
        broker.order_by_client_id("nobody")


def test_reading_the_account_the_day_and_what_is_left_of_the_rate(venue) -> None:
    broker = venue.broker()

    assert broker.account().cash == Decimal(30_000)
    (day,) = broker.calendar(DAY, DAY)
    assert (day.open_ns, day.close_ns) == (OPEN_NS, CLOSE_NS)
    assert broker.calls_left == 180
    assert [asset.symbol for asset in broker.assets()] == ["ABCD"]
    assert broker.calendar(DAY + timedelta(days=1), DAY + timedelta(days=1)) == []


def test_fills_carry_the_execution_ids_of_the_stream(venue) -> None:
    broker = venue.broker()
    broker.submit_bracket(**bracket())
    venue.advance(150)

    streamed = [u.execution_id for u in venue.updates() if u.event == "fill"]

    assert [fill.execution_id for fill in broker.fills(after_ns=OPEN_NS)] == streamed


READS = {
    "account": ("/v2/account", lambda broker: broker.account()),
    "clock": ("/v2/clock", lambda broker: broker.clock()),
    "calendar": ("/v2/calendar", lambda broker: broker.calendar(DAY, DAY)),
    "assets": ("/v2/assets", lambda broker: broker.assets()),
    "positions": ("/v2/positions", lambda broker: broker.positions()),
    "orders": ("/v2/orders", lambda broker: broker.orders()),
    "fills": ("/v2/account/activities/FILL", lambda broker: broker.fills(after_ns=0)),
    "cash": ("/v2/account/activities", lambda broker: broker.cash_activities(since=DAY)),
}


@pytest.mark.parametrize("body", [{}, [{}], None, 7, "up", ["up"], [None], {"cash": "NaN"}])
@pytest.mark.parametrize("name", sorted(READS))
def test_an_answer_of_another_shape_is_an_unknown_outcome(venue, name, body) -> None:
    path, read = READS[name]
    venue.alter(path, lambda _: body)

    with pytest.raises(OutcomeUnknown):
        read(venue.broker())


@pytest.mark.parametrize("cash", ["NaN", "Infinity", "1e999999999", "", "twelve", None, True])
def test_money_that_is_no_amount_is_not_read(venue, cash) -> None:
    venue.alter("/v2/account", lambda row: row | {"cash": cash})

    with pytest.raises(OutcomeUnknown):
        venue.broker().account()


@pytest.mark.parametrize(
    ("told", "shares"), [("0.5", Decimal("0.5")), ("-3", -3), ("7.000", 7), (2.25, Decimal("2.25"))]
)
def test_a_fraction_of_a_share_is_carried_exactly(venue, told, shares) -> None:
    row = {"symbol": "VTI", "qty": told, "avg_entry_price": "250"}
    venue.alter("/v2/positions", lambda rows: [*rows, row])

    (position,) = venue.broker().positions()

    assert (position.quantity, position.available) == (shares, shares)
    assert is_whole(position.quantity) == isinstance(shares, int)


def test_an_order_by_value_has_no_shares_until_it_is_filled(venue) -> None:
    row = {
        "id": "x", "client_order_id": "by-hand", "symbol": "VTI", "side": "buy", "type": "market",
        "status": "partially_filled", "qty": None, "notional": "100", "filled_qty": "0.4",
        "time_in_force": "day",
    }  # fmt: skip
    venue.alter("/v2/orders", lambda rows: [*rows, row])

    (order,) = venue.broker().orders()

    assert (order.quantity, order.filled_quantity) == (0, Decimal("0.4"))


def test_the_time_in_an_activitys_id_is_new_yorks() -> None:
    """The identifier and the time are those of one FILL in the broker's own documentation."""
    row = {
        "id": "20190524113406977::8efc7b9a-8b2b-4000-9955-d36e7db0df74",
        "activity_type": "DIV",
        "date": "2019-05-24",
        "net_amount": "1.02",
    }

    told = wire.cash_activity(row)

    assert wire.rfc3339(told.ts_ns) == "2019-05-24T15:34:06.977000000Z"
    assert told.day == date(2019, 5, 24)


def test_of_an_activity_without_a_time_the_day_is_what_we_know() -> None:
    told = wire.cash_activity({"id": "a-b-c", "activity_type": "FEE", "date": "2026-11-20"})

    assert wire.rfc3339(told.ts_ns) == "2026-11-20T05:00:00.000000000Z"


def test_the_paper_venue_names_activities_as_the_broker_does(venue) -> None:
    broker = venue.broker()
    broker.submit_bracket(**bracket())
    venue.advance(150)

    (row,) = broker._call(broker._client.get, "/account/activities/FILL", {})

    stamp, told = row["id"].partition("::")[0], wire.ns(row["transaction_time"])
    assert wire._stamped_ns(stamp, None) == told // 1_000_000 * 1_000_000


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1970-01-01T00:00:01Z", 1_000_000_000),
        ("1970-01-01T00:00:01.5Z", 1_500_000_000),
        ("1970-01-01T00:00:01.000000001Z", 1_000_000_001),
        ("1969-12-31T19:00:01.25-05:00", 1_250_000_000),
        (None, 0),
    ],
)
def test_times_keep_their_nanoseconds(text, expected) -> None:
    assert wire.ns(text) == expected


def test_a_time_survives_the_round_trip() -> None:
    assert wire.ns(wire.rfc3339(END_NS + 123_456_789)) == END_NS + 123_456_789


@pytest.mark.parametrize("text", ["", "<html>", "[]", "null", "3"])
def test_a_foreign_error_page_has_no_message(text) -> None:
    assert wire.error_body(text) == (None, "")


def test_the_list_of_all_assets_has_more_time_than_an_order(venue, monkeypatch) -> None:
    broker = venue.broker()
    monkeypatch.setattr(alpaca, "TOTAL_TIMEOUT_S", -1.0)  # every answer trickles too slowly

    with pytest.raises(OutcomeUnknown):
        broker.account()
    assert [asset.symbol for asset in broker.assets()] == ["ABCD"]
