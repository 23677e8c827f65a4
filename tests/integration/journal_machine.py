"""A state machine that treats the order journal and the slots badly.

Hypothesis chooses what the venue does wrong (late, double, busted and corrected fills), when
requests and events are lost, doubled or swapped, when the hub dies or another takes over, and when
somebody else cancels. After every step the slots, orders and books must hold; in the end everything
heals, and books, broker and a ledger made of the raw events alone must agree.
"""

from collections import Counter
from decimal import Decimal
from typing import Any

from django.db import transaction
from django.db.models import Count, F
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from accounts import check as books_check
from accounts.models import Account, JournalEntry
from accounts.models import Fill as BookedFill
from execution import invariants, reconcile
from execution.brokers.port import BrokerError, TradeUpdate
from execution.domain.orders import OrderStatus as Status
from execution.domain.orders import TradeState
from execution.errors import LeaseLost
from execution.models import BrokerEvent, Decision, Order, OrderAttempt, Trade
from execution.services import lease, rebuild, trades
from execution.venue.faults import Rule
from tests.fakes.desk import MS, Bench
from tests.unit.domain_builders import GRACE_NS, K

MAX_PER_DAY = 4
FAULTS = ("", "refused_connection", "lost_before", "lost_after", "http_504_after", "unavailable")
MISHAPS = ("partial", "late_fill", "both_legs", "bust", "correct", "hidden", "lose_leg", "overfill")
BUCKET_MS = 5_000
SLOT_FREE = (Status.DENIED, Status.REFUSED, Status.ABANDONED, Status.EXPIRED_LOCAL)
HEAL_STEPS = 60


class JournalMachine(RuleBasedStateMachine):
    """One day of one account, in a transaction that is rolled back."""

    @initialize(kinds=st.sets(st.sampled_from(MISHAPS), max_size=3), fault=st.sampled_from(FAULTS))
    def open_the_day(self, kinds: set[str], fault: str) -> None:
        self.life = transaction.atomic()
        self.life.__enter__()
        rules = [Rule(do=kind, rate=0.5, times=2, delay_ms=400) for kind in sorted(kinds)]
        self.bench = Bench.make(
            *rules, max_trades_per_day=MAX_PER_DAY, max_trades_per_symbol_per_day=MAX_PER_DAY,
            symbol_cooldown_s=0, cooldown_after_trade_s=0,
            stop_after_take_profits=0, max_consecutive_losses=50,
        )  # fmt: skip
        self.k, self.last = K, []
        self.decide_and_send(fault, twice=False)

    # --- what the hub does ------------------------------------------------------------------------
    @rule(fault=st.sampled_from(FAULTS), twice=st.booleans())
    def decide_and_send(self, fault: str, twice: bool) -> None:
        """A round closes on the worked candidate; its entry is sent, perhaps by two tasks."""
        bench = self.bench
        if trades.active(bench.run).exists():
            return  # the gates keep such a candidate out; the round's inputs here do not tell them
        self.k += 13  # past the minute in which a symbol is a duplicate
        now_ns = (self.k + 1) * BUCKET_MS * MS + GRACE_NS
        if now_ns <= bench.venue.now_ns:
            return
        bench.venue.advance((now_ns - bench.venue.now_ns) // MS)
        bench.venue.quote("20.04", "20.06")
        for order_id in self._fenced(lambda: bench.decide(self.k)) or []:
            if fault:
                bench.venue.fail_next("POST", "/v2/orders", fault)
            for _ in range(1 + twice):
                self._fenced(lambda one=order_id: bench.send(one))
        self._settle()

    @rule(fault=st.sampled_from(FAULTS), bid=st.sampled_from(["19.20", "21.40"]))
    def a_trade_runs_its_course(self, fault: str, bid: str) -> None:
        """Bought, protected, and left by its stop or its target; then the next one may come."""
        self.decide_and_send(fault, twice=False)
        for _ in range(2):
            self.time_passes(150)
        self.the_price_moves(bid)
        for _ in range(2):
            self.time_passes(1_000)

    @rule(ms=st.sampled_from([150, 1_000, 6_000]))
    def time_passes(self, ms: int) -> None:
        self.bench.venue.advance(ms)
        self._take(self.bench.venue.updates())

    @rule(seconds=st.sampled_from([0.6, 2.5, 5.0]))
    def answers_are_awaited(self, seconds: float) -> None:
        self._fenced(lambda: self.bench.process_time(seconds))

    @rule()
    def compares(self) -> None:
        self._fenced(lambda: reconcile.reconcile(self.bench.trader))

    @rule(path=st.sampled_from(["/v2/positions", "/v2/orders", "/v2/account"]))
    def compares_and_a_query_fails(self, path: str) -> None:
        """No answer never reads as nothing there: no verdict, and nobody is flat by it."""
        closed = Trade.objects.filter(state=TradeState.CLOSED)
        before = set(closed.values_list("pk", flat=True))
        self.bench.venue.silent = path
        findings = self._fenced(lambda: reconcile.reconcile(self.bench.trader))
        self.bench.venue.silent = ""
        assert findings is None, f"compared without {path}: {findings}"
        if path == "/v2/positions":
            assert set(closed.values_list("pk", flat=True)) == before

    @rule()
    def dies_and_comes_back(self) -> None:
        self.bench.restart()
        self.compares()

    @rule()
    def is_replaced_while_it_sleeps(self) -> None:
        """Another takes over; what the old one still tries is fenced, then it leads again."""
        lease.take("another", force=True)
        before = OrderAttempt.objects.count()
        self.bench.venue.advance(150)
        posts = self.bench.venue.posts()
        self._take(self.bench.venue.updates())
        self._settle()
        assert OrderAttempt.objects.count() == before
        assert self.bench.venue.posts() == posts
        lease.take("test", force=True)
        self.dies_and_comes_back()

    # --- what the world does ----------------------------------------------------------------------
    @rule(bid=st.sampled_from(["19.20", "19.90", "20.04", "20.50", "21.40"]))
    def the_price_moves(self, bid: str) -> None:
        ask = Decimal(bid) + Decimal("0.02")
        self.bench.venue.quote(bid, str(ask))
        self.bench.venue.trade(bid)

    @rule(ms=st.sampled_from([150, 2_000]))
    def events_are_lost(self, ms: int) -> None:
        self.bench.venue.advance(ms)
        self.bench.venue.updates()
        self.bench.desk.fills_missing = True  # as the coordinator says when the stream was away

    @rule(ms=st.sampled_from([150, 2_000]))
    def events_come_the_wrong_way_round(self, ms: int) -> None:
        self.bench.venue.advance(ms)
        self._take(list(reversed(self.bench.venue.updates())))

    @precondition(lambda self: self.last)
    @rule(which=st.integers(0, 9))
    def an_event_comes_again(self, which: int) -> None:
        self._take([self.last[which % len(self.last)]])

    @rule(which=st.integers(0, 9))
    def somebody_cancels(self, which: int) -> None:
        tops = self.bench.broker.orders(status="open")
        live = [one for top in tops for one in (top, *top.legs) if one.status in ("new", "held")]
        if live:
            order = live[which % len(live)]
            self._fenced(lambda: self.bench.broker.cancel(order.id))

    # --- what must hold after every step ----------------------------------------------------------
    @invariant()
    def slots_are_used_once_and_never_too_many(self) -> None:
        """Property 12: its intent takes a slot; only what certainly never bought frees it."""
        entries = Order.objects.filter(purpose="e").select_related("trade")
        taken = [
            order.trade.slot
            for order in entries
            if order.filled_quantity or order.status not in (*SLOT_FREE, Status.CANCELED)
        ]
        assert len(taken) <= MAX_PER_DAY, taken
        assert max(Counter(taken).values(), default=0) <= 1, taken

    @invariant()
    def nothing_is_sent_twice(self) -> None:
        """Intents, attempts and what the venue has seen: three numbers that must agree."""
        attempts = OrderAttempt.objects.filter(kind="submit").values("order")
        assert not attempts.annotate(n=Count("pk")).filter(n__gt=1)
        assert self.bench.venue.posts() <= len(attempts)
        seen = Counter(
            one.client_order_id for one in self.bench.venue_orders() if one.client_order_id
        )
        ours = set(Order.objects.values_list("client_order_id", flat=True))
        assert max(seen.values(), default=0) <= 1
        assert {name for name in seen if name.startswith("v1-")} <= ours

    @invariant()
    def no_order_has_more_than_it_asked_for(self) -> None:
        """Property 11: more executions than shares ordered are set aside, for people."""
        over = Order.objects.filter(filled_quantity__gt=F("quantity"), quarantined=False)
        assert list(over) == []

    @invariant()
    def every_row_has_what_it_comes_from(self) -> None:
        """Property 15: fill, event, order, trade, decision, parameters; no orphan either way."""
        booked = {
            fill.execution_id: fill.order_ref
            for fill in BookedFill.objects.filter(entry__reversed_by=None)
        }
        events = set(
            BrokerEvent.objects.filter(key__startswith="fill:", order__isnull=False)
            .exclude(event="void")
            .values_list("key", flat=True)
        )
        busted = BrokerEvent.objects.filter(key__startswith="bust:").values_list("key", flat=True)
        events -= {key.replace("bust:", "fill:", 1) for key in busted}
        assert {f"fill:{one}" for one in booked} == events
        assert set(booked.values()) <= set(Order.objects.values_list("client_order_id", flat=True))
        for trade in Trade.objects.all():
            fired = Decision.objects.filter(k=trade.k, candidate_id=trade.candidate_id)
            assert fired.filter(outcome="fired").exists()
            assert str(trade.parameters_version) in self.bench.run.parameters
        assert not JournalEntry.objects.filter(kind="fill", fill=None).exists()

    @invariant()
    def the_books_hold(self) -> None:
        """Properties 1, 2 (here), 7, 10, 14: what `check_books` says of a living database."""
        assert books_check.check(self._account()) == []

    # --- the end ---------------------------------------------------------------------------------
    def teardown(self) -> None:
        if not hasattr(self, "life"):
            return
        try:
            if hasattr(self, "bench"):
                self._heal()
        finally:
            transaction.set_rollback(True)
            self.life.__exit__(None, None, None)

    def _heal(self) -> None:
        """Nothing goes wrong any more: it must come to agree by itself (properties 2, 5 and 6)."""
        bench = self.bench
        bench.venue.engine.faults.heal()
        bench.venue.heal()
        bench.restart()
        bench.venue.quote("20.04", "20.06")
        for _ in range(HEAL_STEPS):
            bench.venue.advance(1_000)
            self._take(bench.venue.updates())
            self._fenced(lambda: bench.process_time(1.0))
            if self._agrees():
                break
        assert reconcile.reconcile(bench.trader).differences == []
        broken = invariants.check_run(bench.run, bench.broker)["broken"]
        over = [line for line in broken if "overfilled" in line or "is set aside" in line]
        assert bool(over) <= bool(bench.venue.engine.faults.injected["overfill"]), over
        rest = [line for line in broken if line not in over]
        assert [line for line in rest if line[:2] in ("I1", "I2", "I5", "I6")] == []
        account = Account.objects.get(run_id=bench.run.pk)
        found = [line for lines in books_check.check_all(account).values() for line in lines]
        assert [line for line in found if "overfilled" not in line] == []
        was, made, differences = rebuild.compare(bench.run)
        assert was == made, differences
        assert not Order.objects.filter(status__in=[str(Status.SENDING), str(Status.UNKNOWN)])

    def _agrees(self) -> bool:
        unsettled = Order.objects.filter(status__in=[str(Status.SENDING), str(Status.UNKNOWN)])
        exiting = Trade.objects.filter(state__in=("exiting", "partial", "unprotected"))
        if unsettled.exists() or exiting.exists():
            return False
        return reconcile.reconcile(self.bench.trader).clean

    # --- helpers ----------------------------------------------------------------------------------
    def _take(self, updates: list[TradeUpdate]) -> None:
        self.last = updates or self.last
        for update in updates:
            self._fenced(lambda one=update: self.bench.trader.apply(one))
        self._settle()

    def _settle(self) -> None:
        self._fenced(self.bench.trader.settle)

    def _fenced(self, call: Any) -> Any:
        """Do something as the coordinator would: a silent broker and a lost lease are survived."""
        try:
            return call()
        except (BrokerError, LeaseLost):
            return None

    def _account(self) -> Account:
        return Account.objects.get(run_id=self.bench.run.pk)
