from datetime import date, time
from decimal import Decimal

import pytest

from execution.venue.engine import MS, VenueEngine
from execution.venue.orders import Changes, OrderRequest
from execution.venue.rejections import Rejection
from signals.session import new_york_ns, regular_session

SESSION = regular_session(date(2013, 10, 7))
NOON = new_york_ns(SESSION.day, time(12))
LATENCY = 150 * MS


class Market:
    """An engine with a clock that only goes forward; times in milliseconds after noon."""

    def __init__(self, **options) -> None:
        self.engine = VenueEngine(session=SESSION, symbols=["AIG", "SPY"], **options)
        self.now = NOON

    def at(self, ms: int) -> "Market":
        self.now = NOON + ms * MS
        self.engine.advance(self.now)
        return self

    def quote(self, bid: str, ask: str, symbol: str = "AIG") -> "Market":
        self.engine.on_quote(symbol, Decimal(bid), Decimal(ask), self.now)
        return self

    def print(self, price: str, *, eligible: bool = True, symbol: str = "AIG") -> "Market":
        self.engine.on_trade(symbol, Decimal(price), 100, eligible, self.now)
        return self

    def submit(self, request: OrderRequest):
        return self.engine.submit(request, self.now)

    def events(self) -> list[str]:
        """Return `event role@price` since the last call."""
        return [_word(update) for update in self.engine.take_updates()]


def _word(update) -> str:
    order = update["order"]
    kind = {"stop": "stop-loss", "limit": "limit", "market": "market"}.get(order["type"], "?")
    price = f"@{update['price']}" if "price" in update else ""
    return f"{update['event']} {order['side']} {kind}{price}"


def an_order(**changes) -> OrderRequest:
    fields = {"symbol": "AIG", "side": "buy", "quantity": 10, "type": "market"} | changes
    for name in ("limit", "stop", "take_profit", "stop_loss", "stop_loss_limit"):
        if isinstance(fields.get(name), str):
            fields[name] = Decimal(fields[name])
    return OrderRequest(**fields)


def a_bracket(**changes) -> OrderRequest:
    base = {"type": "limit", "limit": "50.02", "order_class": "bracket"}
    return an_order(**base | {"take_profit": "50.50", "stop_loss": "49.50"} | changes)


def a_market(**options) -> Market:
    return Market(**options).at(0).quote("50.00", "50.02").print("50.01")


def an_open_bracket(**changes) -> tuple[Market, list]:
    market = a_market()
    entry = market.submit(a_bracket(**changes))
    market.at(150).events()
    return market, entry.group.exits


def refused(call) -> dict:
    with pytest.raises(Rejection) as caught:
        call()
    return {"status": caught.value.status, **caught.value.body}


def test_a_request_takes_effect_one_latency_later():
    market = a_market()
    order = market.submit(an_order())

    assert (order.shown_status, market.at(149).events()) == ("accepted", [])
    assert market.at(150).events() == ["new buy market", "fill buy market@50.02"]
    assert order.filled_ns == NOON + LATENCY


def test_a_limit_order_rests_until_the_far_side_reaches_it_and_fills_there():
    market = a_market()
    market.submit(an_order(type="limit", limit="49.99"))

    assert market.at(150).events() == ["new buy limit"]
    assert market.at(200).quote("49.90", "50.00").events() == []
    assert market.at(300).quote("49.90", "49.95").events() == ["fill buy limit@49.95"]


def test_locked_crossed_and_one_sided_quotes_do_not_count():
    market = a_market()
    market.submit(an_order(type="limit", limit="49.99"))
    market.at(150).events()

    for bid, ask in (("49.9", "49.9"), ("50", "49.9"), ("0", "49.9"), ("49.9", "0")):
        market.quote(bid, ask)

    assert market.events() == []
    assert market.engine.books.get("AIG").ask == Decimal("50.02")


def test_a_symbol_without_quotes_trades_at_its_last_eligible_print():
    market = Market().at(0).print("170.10", symbol="SPY").print("1", eligible=False, symbol="SPY")
    market.submit(an_order(symbol="SPY"))
    market.submit(an_order(symbol="SPY", type="limit", limit="170.00"))

    assert market.at(150).events() == [
        "new buy market",
        "fill buy market@170.1",
        "new buy limit",
    ]
    assert market.at(200).print("169.98", symbol="SPY").events() == ["fill buy limit@169.98"]


def test_legs_are_held_until_the_entry_is_filled_then_the_target_works():
    market = a_market()
    entry = market.submit(a_bracket())
    target, stop = entry.group.exits

    assert [leg.shown_status for leg in (target, stop)] == ["held", "held"]
    assert market.at(150).events() == [
        "new buy limit",
        "fill buy limit@50.02",
        "new sell limit",
    ]
    assert [leg.shown_status for leg in (target, stop)] == ["new", "held"]
    assert market.engine.available("AIG") == 0


def test_a_target_that_fills_cancels_the_stop_at_the_same_time():
    market, (target, stop) = an_open_bracket()

    market.at(1000).quote("50.51", "50.53")

    assert market.events() == ["fill sell limit@50.51", "canceled sell stop-loss"]
    assert target.filled_ns == stop.canceled_ns == NOON + 1000 * MS
    assert market.engine.account.quantity("AIG") == 0


def test_a_stop_elects_on_a_print_inside_the_nbbo_and_fills_at_the_bid():
    market, _ = an_open_bracket()

    assert market.at(1000).print("49.40").events() == []  # outside the NBBO
    market.at(1100).quote("49.45", "49.52")
    assert market.events() == []  # a quote elects nothing
    assert market.at(1200).print("49.50", eligible=False).events() == []
    assert market.at(1300).print("49.50").events() == [
        "fill sell stop-loss@49.45",
        "canceled sell limit",
    ]


def test_a_stop_without_quotes_fills_at_the_print_that_elected_it():
    market = Market().at(0).print("170.10", symbol="SPY")
    market.submit(a_bracket(symbol="SPY", limit="170.20", take_profit="171", stop_loss="169.50"))
    market.at(150).events()

    events = market.at(1000).print("169.40", symbol="SPY").events()

    assert events == ["fill sell stop-loss@169.4", "canceled sell limit"]


def test_a_stop_limit_leg_waits_for_its_limit_once_elected():
    market, (_, stop) = an_open_bracket(stop_loss_limit="49.48")

    market.at(1000).quote("49.40", "49.52").print("49.45")
    assert (market.events(), stop.shown_status) == (["new sell ?"], "new")
    assert market.at(1100).quote("49.48", "49.52").events() == [
        "fill sell ?@49.48",
        "canceled sell limit",
    ]


def test_canceling_one_member_cancels_the_rest_but_closes_nothing():
    market, (target, _) = an_open_bracket()

    market.engine.cancel(target.id, market.now)
    assert target.shown_status == "pending_cancel"

    assert market.at(400).events() == ["canceled sell limit", "canceled sell stop-loss"]
    assert market.engine.account.quantity("AIG") == 10
    assert market.engine.truth()["unprotected"] == [
        {"symbol": "AIG", "from_ns": NOON + 300 * MS, "until_ns": None}
    ]


def test_a_fill_that_is_faster_than_the_cancel_counts():
    market = a_market()
    order = market.submit(an_order(type="limit", limit="49.99"))
    market.at(150).events()
    market.engine.cancel(order.id, market.now)

    market.at(200).quote("49.90", "49.95")
    market.at(400)

    assert market.events() == ["fill buy limit@49.95"]
    body = refused(lambda: market.engine.cancel(order.id, market.now))
    assert body["message"] == 'order is already in "filled" state'


def test_a_replace_of_the_target_keeps_the_stop_live():
    market, (target, stop) = an_open_bracket()
    new = market.engine.replace(target.id, Changes(limit=Decimal("50.00")), market.now)
    assert (target.shown_status, new.shown_status) == ("pending_replace", "accepted")

    events = market.at(300).events()

    assert events == [
        "replaced sell limit",
        "new sell limit",
        "fill sell limit@50",
        "canceled sell stop-loss",
    ]
    assert (target.replaced_by, new.replaces) == (new.id, target.id)
    assert stop.shown_status == "canceled"
    assert market.engine.truth()["unprotected"] == []


def test_a_replace_of_a_held_stop_is_held_again_and_still_protects():
    market, (_, stop) = an_open_bracket()
    new = market.engine.replace(stop.id, Changes(stop=Decimal("49.80")), market.now)

    assert market.at(300).events() == ["replaced sell stop-loss"]
    assert new.shown_status == "held"
    market.at(1000).quote("49.75", "49.85").print("49.80")
    assert market.events() == ["fill sell stop-loss@49.75", "canceled sell limit"]
    assert market.engine.truth()["unprotected"] == []


def test_a_replace_that_loses_against_a_fill_is_rejected():
    market, (target, _) = an_open_bracket()
    market.engine.replace(target.id, Changes(limit=Decimal("50.60")), market.now)

    market.at(200).quote("50.55", "50.57")

    assert market.at(400).events() == [
        "fill sell limit@50.55",
        "canceled sell stop-loss",
        "rejected sell limit",
    ]


def test_an_order_not_yet_open_cannot_be_replaced():
    market = a_market()
    order = market.submit(an_order(type="limit", limit="49"))

    body = refused(lambda: market.engine.replace(order.id, Changes(quantity=5), market.now))

    assert body["code"] == 42210000
    assert body["message"] == "cannot replace order in accepted status"


def test_partial_fills_follow_the_seed_and_shrink_the_other_exit():
    market = a_market(partial_rate=0.9, seed="partial")
    entry = market.submit(a_bracket(quantity=100))
    market.at(150)
    for ms in range(200, 400, 10):
        market.at(ms).quote("50.00", "50.02")
    target, stop = entry.group.exits
    assert entry.leaves == 0

    market.at(500).quote("50.55", "50.57")

    assert 0 < target.filled < 100
    assert stop.leaves == target.leaves


def test_an_oco_holds_its_shares_once_and_one_exit_ends_the_other():
    market = a_market()
    market.submit(an_order())
    market.at(150).events()

    oco = market.submit(
        an_order(
            side="sell", type="limit", order_class="oco", take_profit="50.50", stop_loss="49.50"
        )
    )

    assert market.engine.available("AIG") == 0
    assert market.at(300).events() == ["new sell limit"]
    assert [order.shown_status for order in oco.group.members] == ["new", "held"]
    assert market.at(400).quote("50.5", "50.6").events() == [
        "fill sell limit@50.5",
        "canceled sell stop-loss",
    ]


def test_day_orders_expire_at_the_close_and_gtc_orders_stay():
    market = a_market()
    market.submit(an_order(type="limit", limit="49"))
    kept = market.submit(an_order(type="limit", limit="48", time_in_force="gtc"))
    market.at(150).events()
    assert market.engine.due_ns() == SESSION.close_ns

    market.engine.advance(SESSION.close_ns)

    assert market.events() == ["expired buy limit"]
    assert kept.is_open
    assert market.engine.due_ns() is None


def test_an_order_after_the_close_waits_for_the_next_session():
    market = a_market()
    market.engine.advance(SESSION.close_ns)
    market.now = SESSION.close_ns
    entry = market.submit(a_bracket())

    assert (entry.shown_status, market.engine.due_ns()) == ("accepted", None)
    market.engine.open_session(regular_session(date(2013, 10, 8)))
    assert market.engine.due_ns() == market.engine.session.open_ns + LATENCY


def test_ioc_and_fok_never_rest():
    market = a_market()
    market.submit(an_order(type="limit", limit="49", time_in_force="ioc"))

    assert market.at(150).events() == ["new buy limit", "canceled buy limit"]


def test_events_at_one_time_come_in_one_order_whatever_the_order_of_asking():
    market = a_market()
    order = market.submit(an_order(type="limit", limit="49.00"))
    market.engine.cancel(order.id, market.now)

    assert market.at(150).events() == ["canceled buy limit"]


def test_close_all_sells_what_is_there_when_it_arrives():
    market, (target, _) = an_open_bracket()
    market.engine.cancel_all(market.now)
    closing = market.engine.close_position("AIG", market.now, force=True)

    assert market.at(300).events() == [
        "canceled sell limit",
        "canceled sell stop-loss",
        "new sell market",
        "fill sell market@50",
    ]
    assert closing.filled == 10
    assert not target.is_open


def test_close_all_never_goes_short_when_an_exit_was_faster():
    market, _ = an_open_bracket()
    market.engine.cancel_all(market.now)
    market.engine.close_position("AIG", market.now, force=True)

    market.at(200).quote("50.60", "50.62")

    assert market.at(400).events() == [
        "fill sell limit@50.6",
        "canceled sell stop-loss",
        "rejected sell market",
    ]


# --- refusals -------------------------------------------------------------------------------------
def test_insufficient_buying_power_names_both_amounts():
    market = a_market(cash=Decimal(1000))

    body = refused(lambda: market.submit(an_order(quantity=100)))

    assert body == {
        "status": 403,
        "code": 40310000,
        "message": "insufficient buying power",
        "buying_power": "4000",
        "cost_basis": "5002.00",
    }


def test_open_orders_hold_buying_power_until_they_end():
    market = a_market(cash=Decimal(1000))
    order = market.submit(an_order(type="limit", limit="40", quantity=60))
    assert market.engine.buying_power == Decimal(1600)
    market.at(150)

    market.engine.replace(order.id, Changes(limit=Decimal(50)), market.now)
    assert market.engine.buying_power == Decimal(1000)
    market.at(300)
    assert market.engine.buying_power == Decimal(1000)
    new = market.engine.open_orders[0]
    market.engine.cancel(new.id, market.now)
    market.at(450)

    assert market.engine.buying_power == Decimal(4000)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"limit": "50.021"},
            "invalid limit_price 50.021. sub-penny increment does not fulfill minimum "
            "pricing criteria",
        ),
        ({"stop_loss": "49.505"}, "invalid stop_loss.stop_price 49.505. sub-penny"),
        ({"stop_loss": "50.02"}, "stop_loss.stop_price must be <= base_price - 0.01"),
        ({"take_profit": "50.02"}, "take_profit.limit_price must be >= base_price + 0.01"),
        ({"stop_loss": None}, "bracket orders require stop_loss.stop_price"),
        ({"time_in_force": "ioc"}, "bracket orders must be DAY or GTC"),
        ({"symbol": "NOPE"}, 'asset "NOPE" not found'),
        ({"quantity": 0}, "qty must be > 0"),
        ({"type": "limit", "limit": None}, "limit orders require limit price"),
    ],
)
def test_a_bracket_that_breaks_a_rule_is_refused(changes, message):
    market = a_market()

    body = refused(lambda: market.submit(a_bracket(**changes)))

    assert (body["status"], body["code"]) == (422, 42210000)
    assert body["message"].startswith(message)
    assert market.engine.orders == {}


def test_the_base_price_of_a_stop_leg_is_the_market_too():
    market = a_market().print("49.00").quote("48.99", "49.01")

    body = refused(lambda: market.submit(a_bracket(stop_loss="49.50", limit="50.02")))

    assert body["base_price"] == "49.00"


def test_a_client_order_id_counts_once():
    market = a_market()
    market.submit(an_order(client_order_id="one"))

    body = refused(lambda: market.submit(an_order(client_order_id="one")))

    assert body == {
        "status": 422,
        "code": 40010001,
        "message": "client_order_id must be unique",
    }


def test_held_shares_cannot_be_sold_twice():
    market, (target, stop) = an_open_bracket()

    body = refused(lambda: market.submit(an_order(side="sell")))

    assert body["status"] == 403
    assert body["message"] == "insufficient qty available for order (requested: 10, available: 0)"
    assert (body["existing_qty"], body["held_for_orders"]) == ("10", "10")
    assert body["related_orders"] == [target.id, stop.id]


def test_opposite_orders_that_could_meet_are_refused():
    market = a_market()
    existing = market.submit(an_order(type="limit", limit="49.99"))

    body = refused(lambda: market.submit(an_order(side="sell", type="limit", limit="49.99")))

    assert body["existing_order_id"] == existing.id
    assert body["message"] == "potential wash trade detected. use complex orders"


def test_shorting_can_be_forbidden():
    market = a_market()
    market.engine.account.no_shorting = True

    body = refused(lambda: market.submit(an_order(side="sell")))

    assert body["message"] == "account is not allowed to short"


def test_a_stop_that_is_already_reached_is_refused():
    market = a_market()

    body = refused(lambda: market.submit(an_order(type="stop", stop="50.00")))

    assert body["message"] == "stop price must be greater than current price"
    assert (body["market_price"], body["stop_price"]) == ("50.01", "50.00")


def test_the_same_requests_give_the_same_ids_and_updates():
    def run() -> list:
        market = a_market()
        market.submit(a_bracket(client_order_id="a"))
        market.at(150).quote("50.51", "50.53")
        return market.engine.take_updates()

    assert run() == run()


def test_a_cancel_that_a_replace_overtook_means_the_new_order():
    market, (target, _) = an_open_bracket()
    new = market.engine.replace(target.id, Changes(limit=Decimal("50.60")), market.now)
    market.at(200)
    market.engine.cancel(target.id, market.now)

    assert market.at(300).events() == ["replaced sell limit", "new sell limit"]
    assert market.at(350).events() == ["canceled sell limit", "canceled sell stop-loss"]
    assert new.shown_status == "canceled"


def test_cancel_all_leaves_nothing_open_even_in_the_middle_of_a_replace():
    market, (target, _) = an_open_bracket()
    market.engine.replace(target.id, Changes(limit=Decimal("50.60")), market.now)
    market.engine.cancel_all(market.now)

    assert market.at(300).events() == [
        "canceled sell limit",
        "canceled sell stop-loss",
        "canceled sell limit",
    ]
    assert market.engine.open_orders == []
