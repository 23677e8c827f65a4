"""The unmodified alpaca-py against the venue: trading, trade updates and market data."""

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from alpaca.common.exceptions import APIError
from alpaca.data.live import StockDataStream
from alpaca.trading import requests as ask
from alpaca.trading.client import TradingClient
from alpaca.trading.enums import OrderClass, OrderSide, OrderStatus, QueryOrderStatus, TimeInForce
from alpaca.trading.stream import TradingStream

from tests.venue_fixture import (
    KEYS,
    SESSION,
    TIMEOUT_S,
    Desk,
    a_print,
    a_quote,
    eventually,
    quiet_rows,
    running_venue,
    write_tape,
)

CYCLE_S = 10
CYCLES = 60
LATENCY_S = 0.151


def cycling_rows() -> list[tuple[float, dict]]:
    """Ten seconds, again and again: quiet, at 5 s a spike up, at 8 s a dip; each half a second."""
    rows = [row for row in quiet_rows(CYCLE_S * CYCLES, step=0.5) if not _busy(row)]
    for cycle in range(CYCLES):
        at = cycle * CYCLE_S
        rows += [
            (at + 5.0, a_quote("AIG", 50.60, 50.62)),
            (at + 5.1, a_print("AIG", 50.61)),
            (at + 8.0, a_quote("AIG", 49.30, 49.42)),
            (at + 8.1, a_print("AIG", 49.40)),
        ]
    return sorted(rows, key=lambda row: row[0])


def _busy(row: tuple[float, dict]) -> bool:
    at, message = row
    return message["S"] == "AIG" and at % CYCLE_S in (5.0, 8.0)


class Market:
    """The venue, the official clients on it, and the desk that moves its tape."""

    def __init__(self, venue, desk: Desk) -> None:
        self.venue = venue
        self.desk = desk
        self.trading = TradingClient(KEYS.key, KEYS.secret, url_override=venue.http)
        self.updates: list = []

    def next_cycle(self) -> None:
        """Leave nothing behind of the test before, and stand at the start of a quiet stretch."""
        self.trading.close_all_positions(cancel_orders=True)
        self.desk.go_on(LATENCY_S)
        assert self.trading.get_all_positions() == []
        self.desk.go_to((self.desk.seconds // CYCLE_S + 1) * CYCLE_S + 1)
        self.updates.clear()

    def events_of(self, order) -> list[tuple[str, str]]:
        """Return (event, order type) for an order and its legs once the venue's count arrived."""
        ids = {order.id, *(leg.id for leg in order.legs or ())}
        return [(u.event, u.order.type.value) for u in self.updates if u.order.id in ids]

    def wait_for_events(self, order, count: int) -> list[tuple[str, str]]:
        eventually(lambda: len(self.events_of(order)) >= count, f"{count} updates")
        return self.events_of(order)


def stopped(stream, thread: threading.Thread) -> None:
    stream.stop()
    thread.join(TIMEOUT_S)
    assert not thread.is_alive()


@pytest.fixture(scope="module")
def market(tmp_path_factory) -> Iterator[Market]:
    tape = write_tape(tmp_path_factory.mktemp("tape") / "cycles.tape", cycling_rows())
    with running_venue(tape, speed=None, lockstep=True) as venue:
        found = Market(venue, Desk(venue))
        stream = TradingStream(KEYS.key, KEYS.secret, url_override=f"{venue.ws}/stream")

        async def on_update(update) -> None:
            found.updates.append(update)

        stream.subscribe_trade_updates(on_update)
        thread = threading.Thread(target=stream.run)
        thread.start()
        listening = venue.venue.updates
        eventually(lambda: listening.listeners == 1, "the trading stream listens")
        yield found
        found.desk.close()
        stopped(stream, thread)


def a_bracket(**changes) -> ask.LimitOrderRequest:
    fields = {
        "symbol": "AIG",
        "qty": 10,
        "side": OrderSide.BUY,
        "limit_price": 50.05,
        "time_in_force": TimeInForce.DAY,
        "order_class": OrderClass.BRACKET,
        "take_profit": ask.TakeProfitRequest(limit_price=50.50),
        "stop_loss": ask.StopLossRequest(stop_price=49.45),
    }
    return ask.LimitOrderRequest(**fields | changes)


def a_limit(**changes) -> ask.LimitOrderRequest:
    fields = {
        "symbol": "AIG",
        "qty": 10,
        "side": OrderSide.BUY,
        "limit_price": 45.00,
        "time_in_force": TimeInForce.DAY,
    }
    return ask.LimitOrderRequest(**fields | changes)


def refusal(call) -> tuple[int, dict]:
    with pytest.raises(APIError) as caught:
        call()
    return caught.value.status_code, caught.value.response.json()


def test_a_bracket_enters_and_its_take_profit_fills(market):
    market.next_cycle()
    order = market.trading.submit_order(a_bracket())
    assert order.status == OrderStatus.ACCEPTED
    assert [leg.status for leg in order.legs] == [OrderStatus.HELD, OrderStatus.HELD]

    market.desk.go_on(LATENCY_S)
    position = market.trading.get_open_position("AIG")
    assert (position.qty, position.qty_available, position.avg_entry_price) == ("10", "0", "50.02")
    market.desk.go_on(5)

    assert market.wait_for_events(order, 5) == [
        ("new", "limit"),
        ("fill", "limit"),
        ("new", "limit"),
        ("fill", "limit"),
        ("canceled", "stop"),
    ]
    fill = market.updates[3]
    assert (fill.price, fill.qty, fill.position_qty) == (50.60, 10, 0)
    found = market.trading.get_order_by_id(order.id)
    assert [leg.status for leg in found.legs] == [OrderStatus.FILLED, OrderStatus.CANCELED]
    assert refusal(lambda: market.trading.get_open_position("AIG"))[0] == 404


def test_a_bracket_enters_and_its_stop_loss_fills(market):
    market.next_cycle()
    target = ask.TakeProfitRequest(limit_price=55.00)
    order = market.trading.submit_order(a_bracket(take_profit=target))

    market.desk.go_on(9)

    assert market.wait_for_events(order, 5)[3:] == [("fill", "stop"), ("canceled", "limit")]
    assert market.updates[3].price == 49.30
    rows = market.trading.get("/account/activities/FILL", {"direction": "asc"})
    assert [(row["side"], row["price"]) for row in rows[-2:]] == [
        ("buy", "50.02"),
        ("sell", "49.3"),
    ]


def test_an_order_is_found_by_its_client_id_replaced_and_canceled(market):
    market.next_cycle()
    order = market.trading.submit_order(a_limit(client_order_id="v1-abc-s1-t1-entry"))
    market.desk.go_on(LATENCY_S)
    found = market.trading.get_order_by_client_id("v1-abc-s1-t1-entry")
    assert (found.id, found.status) == (order.id, OrderStatus.NEW)

    change = ask.ReplaceOrderRequest(qty=5, limit_price=46.10)
    new = market.trading.replace_order_by_id(order.id, change)
    market.desk.go_on(LATENCY_S)
    assert (new.replaces, new.qty, new.limit_price) == (order.id, "5", "46.1")
    assert market.trading.get_order_by_id(order.id).status == OrderStatus.REPLACED
    open_ids = [row.id for row in market.trading.get_orders()]
    assert open_ids == [new.id]

    market.trading.cancel_order_by_id(new.id)
    market.desk.go_on(LATENCY_S)
    assert market.trading.get_order_by_id(new.id).status == OrderStatus.CANCELED
    assert market.wait_for_events(order, 2) == [("new", "limit"), ("replaced", "limit")]
    assert market.wait_for_events(new, 2) == [("new", "limit"), ("canceled", "limit")]


def test_an_oco_protects_a_position_and_is_listed_nested(market):
    market.next_cycle()
    market.trading.submit_order(
        ask.MarketOrderRequest(
            symbol="AIG", qty=4, side=OrderSide.BUY, time_in_force=TimeInForce.DAY
        )
    )
    market.desk.go_on(LATENCY_S)
    market.trading.submit_order(
        ask.LimitOrderRequest(
            symbol="AIG",
            qty=4,
            side=OrderSide.SELL,
            time_in_force=TimeInForce.DAY,
            order_class=OrderClass.OCO,
            take_profit=ask.TakeProfitRequest(limit_price=56.00),
            stop_loss=ask.StopLossRequest(stop_price=44.00),
        )
    )
    market.desk.go_on(LATENCY_S)

    query = ask.GetOrdersRequest(status=QueryOrderStatus.OPEN, nested=True)
    (listed,) = market.trading.get_orders(query)

    assert (listed.limit_price, listed.legs[0].stop_price) == ("56", "44")
    assert market.trading.get_open_position("AIG").qty_available == "0"
    closing = market.trading.close_all_positions(cancel_orders=True)
    market.desk.go_on(LATENCY_S)
    assert closing[0].status == 200
    assert market.trading.get_all_positions() == []


def test_every_refusal_has_alpacas_status_code_and_body(market):
    market.next_cycle()
    trading = market.trading

    status, body = refusal(lambda: trading.submit_order(a_limit(qty=1_000_000)))
    assert (status, body["code"], body["message"]) == (403, 40310000, "insufficient buying power")
    assert set(body) == {"code", "message", "buying_power", "cost_basis"}
    status, body = refusal(lambda: trading.submit_order(a_limit(limit_price=45.123)))
    assert (status, body["code"]) == (422, 42210000)
    assert body["message"].startswith("invalid limit_price 45.123. sub-penny increment")
    wrong = ask.StopLossRequest(stop_price=50.05)
    status, body = refusal(lambda: trading.submit_order(a_bracket(stop_loss=wrong)))
    assert (status, body["base_price"]) == (422, "50.05")
    assert body["message"] == "stop_loss.stop_price must be <= base_price - 0.01"
    trading.submit_order(a_limit(client_order_id="twice"))
    status, body = refusal(lambda: trading.submit_order(a_limit(client_order_id="twice")))
    assert (status, body) == (
        422,
        {"code": 40010001, "message": "client_order_id must be unique"},
    )
    unknown = "00000000-0000-0000-0000-000000000000"
    assert refusal(lambda: trading.get_order_by_id(unknown))[1]["code"] == 40410000
    assert refusal(lambda: trading.cancel_order_by_id(unknown))[0] == 404
    assert refusal(lambda: trading.get_order_by_client_id("nobody"))[0] == 404


def test_shares_held_by_a_bracket_cannot_be_sold_again(market):
    market.next_cycle()
    order = market.trading.submit_order(a_bracket())
    market.desk.go_on(LATENCY_S)

    status, body = refusal(lambda: market.trading.close_position("AIG"))

    assert (status, body["code"]) == (403, 40310000)
    assert body["message"] == "insufficient qty available for order (requested: 10, available: 0)"
    assert body["related_orders"] == [str(leg.id) for leg in order.legs]


def test_wrong_keys_get_401_and_nothing_else(market):
    stranger = TradingClient(KEYS.key, "wrong", url_override=market.venue.http)

    assert refusal(stranger.get_account) == (401, {"message": "unauthorized."})


def test_account_assets_clock_and_calendar_are_what_the_sdk_expects(market):
    trading = TradingClient(KEYS.key, KEYS.secret, url_override=f"{market.venue.http}/")
    account = trading.get_account()
    assert account.account_number.startswith("PA")
    assert account.trading_blocked is False
    assert sorted(asset.symbol for asset in trading.get_all_assets()) == ["AIG", "SPY"]
    assert trading.get_asset("AIG").tradable
    clock = trading.get_clock()
    assert clock.is_open
    now = datetime.fromtimestamp(SESSION.open_ns // 10**9, UTC)
    assert timedelta(0) <= clock.timestamp - now < timedelta(minutes=12)
    assert clock.next_close == now + timedelta(hours=6, minutes=30)
    query = ask.GetCalendarRequest(start=SESSION.day, end=SESSION.day + timedelta(days=60))
    days = trading.get_calendar(query)
    halves = [str(day.date) for day in days if day.close.hour == 13]
    assert halves == ["2013-11-29"]
    assert trading.get_account_configurations().no_shorting is False


def test_the_data_stream_receives_what_the_tape_holds(market):
    stream = StockDataStream(KEYS.key, KEYS.secret, url_override=f"{market.venue.ws}/v2/sip")
    prints, quotes = [], []

    async def on_trade(trade) -> None:
        prints.append((trade.symbol, trade.price, trade.timestamp.timestamp()))

    async def on_quote(quote) -> None:
        quotes.append((quote.symbol, quote.bid_price, quote.ask_price))

    stream.subscribe_trades(on_trade, "*")
    stream.subscribe_quotes(on_quote, "AIG")
    thread = threading.Thread(target=stream.run)
    thread.start()
    market.venue.wait_for_subscribers(1)
    first = market.desk.seconds

    market.desk.go_on(20)
    last = market.desk.seconds

    expected = [row for row in cycling_rows() if first < round(row[0], 3) <= last]
    trades = [message for _, message in expected if message["T"] == "t"]
    eventually(lambda: len(prints) >= len(trades), "all prints")
    assert [(symbol, price) for symbol, price, _ in prints] == [(m["S"], m["p"]) for m in trades]
    shown = [(m["S"], m["bp"], m["ap"]) for _, m in expected if m["T"] == "q"]
    assert quotes == shown
    stopped(stream, thread)
