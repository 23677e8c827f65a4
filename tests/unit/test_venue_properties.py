"""Whatever is asked and whatever the market does, the venue's account stays consistent."""

from datetime import date
from decimal import Decimal

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from execution.venue import holds
from execution.venue.engine import MS, VenueEngine
from execution.venue.orders import Changes, OrderRequest, Status
from execution.venue.rejections import Rejection
from signals.session import regular_session

SESSION = regular_session(date(2013, 10, 7))
CASH = Decimal(20_000)
SYMBOLS = st.sampled_from(["AIG", "SPY"])
CENTS = st.integers(4900, 5100).map(lambda cents: Decimal(cents) / 100)
QUANTITIES = st.integers(1, 120)
TERMINAL = {Status.FILLED, Status.CANCELED, Status.EXPIRED, Status.REJECTED, Status.REPLACED}


class AnyDay(RuleBasedStateMachine):
    @initialize(
        partial_rate=st.sampled_from([0.0, 0.5]),
        no_shorting=st.booleans(),
        latency_ms=st.sampled_from([0, 150]),
    )
    def open_the_day(self, partial_rate, no_shorting, latency_ms):
        self.engine = VenueEngine(
            session=SESSION,
            symbols=["AIG", "SPY"],
            cash=CASH,
            partial_rate=partial_rate,
            latency_ns=latency_ms * MS,
        )
        self.engine.account.no_shorting = no_shorting
        self.now = SESSION.open_ns
        self.updates = []
        self.ended = {}
        self.engine.on_quote("AIG", Decimal("49.99"), Decimal("50.01"), self.now)

    def _try(self, call):
        """Ask; a refusal must change nothing."""
        before = self._state()
        try:
            call()
        except Rejection:
            assert self._state() == before

    def _state(self):
        return len(self.engine.orders), self.engine.account.cash, self.engine.buying_power

    @rule(ms=st.integers(0, 400))
    def time_passes(self, ms):
        self.now += ms * MS
        self.engine.advance(self.now)

    @rule(bid=CENTS, width=st.integers(-1, 6))
    def a_quote(self, bid, width):
        self.engine.on_quote("AIG", bid, bid + Decimal(width) / 100, self.now)

    @rule(symbol=SYMBOLS, price=CENTS, eligible=st.booleans())
    def a_print(self, symbol, price, eligible):
        self.engine.on_trade(symbol, price, 100, eligible, self.now)

    @rule(
        symbol=SYMBOLS,
        quantity=QUANTITIES,
        limit=CENTS,
        up=st.integers(1, 60),
        down=st.integers(1, 60),
        tif=st.sampled_from(["day", "gtc"]),
    )
    def a_bracket(self, symbol, quantity, limit, up, down, tif):
        request = OrderRequest(
            symbol=symbol,
            side="buy",
            quantity=quantity,
            type="limit",
            limit=limit,
            order_class="bracket",
            take_profit=limit + Decimal(up) / 100,
            stop_loss=limit - Decimal(down) / 100,
            time_in_force=tif,
        )
        self._try(lambda: self.engine.submit(request, self.now))

    @rule(
        symbol=SYMBOLS,
        side=st.sampled_from(["buy", "sell"]),
        quantity=QUANTITIES,
        kind=st.sampled_from(["market", "limit", "stop"]),
        price=CENTS,
        tif=st.sampled_from(["day", "ioc", "fok"]),
    )
    def a_simple_order(self, symbol, side, quantity, kind, price, tif):
        request = OrderRequest(
            symbol=symbol,
            side=side,
            quantity=quantity,
            type=kind,
            limit=price if kind == "limit" else None,
            stop=price if kind == "stop" else None,
            time_in_force=tif,
        )
        self._try(lambda: self.engine.submit(request, self.now))

    @rule(symbol=SYMBOLS, quantity=QUANTITIES, profit=CENTS, loss=CENTS)
    def an_oco(self, symbol, quantity, profit, loss):
        request = OrderRequest(
            symbol=symbol,
            side="sell",
            quantity=quantity,
            type="limit",
            order_class="oco",
            take_profit=profit,
            stop_loss=loss,
        )
        self._try(lambda: self.engine.submit(request, self.now))

    @precondition(lambda self: self.engine.orders)
    @rule(pick=st.integers(0, 10**6))
    def a_cancel(self, pick):
        self._try(lambda: self.engine.cancel(self._any_order(pick).id, self.now))

    @precondition(lambda self: self.engine.open_orders)
    @rule(pick=st.integers(0, 10**6), price=CENTS, quantity=st.none() | QUANTITIES)
    def a_replace(self, pick, price, quantity):
        orders = self.engine.open_orders
        order = orders[pick % len(orders)]
        stop = price if order.type == "stop" else None
        limit = price if order.type == "limit" else None
        changes = Changes(quantity=quantity, limit=limit, stop=stop)
        self._try(lambda: self.engine.replace(order.id, changes, self.now))

    @rule(force=st.booleans())
    def close_all(self, force):
        if force:
            self.engine.cancel_all(self.now)
        for symbol in list(self.engine.account.positions):
            self._try(lambda s=symbol: self.engine.close_position(s, self.now, force=force))

    @rule()
    def the_close(self):
        self.now = max(self.now, SESSION.close_ns)
        self.engine.advance(self.now)

    def _any_order(self, pick):
        orders = list(self.engine.orders.values())
        return orders[pick % len(orders)]

    # --- what always holds ------------------------------------------------------------------------
    @invariant()
    def cash_and_shares_are_the_fills(self):
        account = self.engine.account
        signed = [(f, f.quantity if f.side == "buy" else -f.quantity) for f in account.fills]
        assert account.cash == CASH - sum((q * f.price for f, q in signed), Decimal(0))
        for symbol in ("AIG", "SPY"):
            assert account.quantity(symbol) == sum(q for f, q in signed if f.symbol == symbol)

    @invariant()
    def nobody_goes_short_who_may_not(self):
        if self.engine.account.no_shorting:
            assert all(p.quantity > 0 for p in self.engine.account.positions.values())

    @invariant()
    def orders_never_hold_more_than_there_is(self):
        for symbol, position in self.engine.account.positions.items():
            if position.quantity > 0 and self.engine.account.no_shorting:
                forced = any(o.closes_position for o in self.engine.open_orders)
                held, _ = holds.held_shares(self.engine.open_orders, symbol, "sell")
                assert forced or held <= position.quantity

    @invariant()
    def no_order_fills_beyond_itself_and_exits_not_beyond_their_entry(self):
        for order in self.engine.orders.values():
            assert 0 <= order.filled <= order.quantity or order.quantity == 0
            assert (order.status is Status.FILLED) == (order.leaves == 0 and order.quantity > 0)
            group = order.group
            if group is not None and group.entry is not None:
                exits = [
                    o
                    for o in self.engine.orders.values()
                    if o.group is group and o.side != group.entry.side
                ]
                assert sum(o.filled for o in exits) <= group.entered

    @invariant()
    def an_ended_order_never_changes(self):
        for order in self.engine.orders.values():
            if order.status in TERMINAL:
                known = self.ended.setdefault(order.id, (order.status, order.filled))
                assert known == (order.status, order.filled)
            assert order.is_open == (order in self.engine.open_orders)

    @invariant()
    def updates_are_numbered_without_gaps(self):
        self.updates += self.engine.take_updates()
        numbers = [update["sequence"] for update in self.updates]
        assert numbers == list(range(1, self.engine.updates_emitted + 1))

    @invariant()
    def day_orders_do_not_outlive_the_close(self):
        if self.now >= SESSION.close_ns:
            working = [o for o in self.engine.open_orders if o.armed and o.time_in_force == "day"]
            assert working == []


AnyDay.TestCase.settings = settings(stateful_step_count=40)
test_any_day = AnyDay.TestCase
