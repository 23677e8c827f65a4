"""The one thread that knows what is going on: takes events, keeps the order of things, acts.

Handlers only note what came in; acting happens in `_work_stop` (lock-step) and `_work_live`, so
that what is done never depends on which socket was faster. Exits, cancels and protection are
direct calls here; deciding a round and sending an entry are Celery tasks whose results come back
through the inbox and whose loss is repaired from the rows.
"""

import logging
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import redis
from django.db import DatabaseError, close_old_connections

from execution import nudges, reconcile, selectors
from execution.brokers.port import Broker, BrokerError, TradeUpdate
from execution.errors import LeaseLost, RunFailed, Stopping
from execution.hub import exits
from execution.hub.barrier import Barrier
from execution.hub.clock import MarketClock
from execution.hub.config import HubConfig
from execution.hub.day_end import DayEnd
from execution.hub.desk import MS, Desk
from execution.hub.exit_desk import ExitDesk
from execution.hub.inbox import Event, Inbox
from execution.hub.intake import Intake
from execution.hub.lockstep import LockstepLink, Stop, Tick
from execution.hub.relay_link import RelayLink
from execution.hub.rounds import Rounds, Vitals
from execution.hub.shard_desk import Send, ShardDesk
from execution.hub.trader import Trader
from execution.hub.updates import UpdatesStream
from execution.models import Order, Round, RoundState, Run, Trade
from execution.services import activity, lease, rounds, runs, trades
from execution.services.entries import SendFacts
from execution.services.moves import OrderStatus as Status
from execution.services.moves import TradeState as T
from signals import messages
from signals import selectors as parameter_selectors
from signals.messages import Ack, ExitSignal, Quote, Report, ShardReady, StopDone
from signals.session import BUCKET_NS

logger = logging.getLogger(__name__)

POLL_S = 0.25
BEAT_S = 1.0
BEAT_EXPIRES_S = 5
LOOK_S = 2.0  # at kill switch, parameters, shards
STOP_LATE_S = 2.0
TASK_AGAIN_S = 5.0
TASK_WAIT_LIVE_S = 3.0
SETTLE_PAUSE_S = 0.25
RECONCILE_BUSY_NS = 15_000_000_000
RECONCILE_IDLE_S = 60.0
RECONCILE_FRESH_NS = 60_000_000_000


@dataclass(kw_only=True)
class Coordinator:
    """Args: every link to the outside, so that a test can hold them; mono is the process clock."""

    config: HubConfig
    inbox: Inbox
    broker: Broker
    redis: redis.Redis
    stopping: threading.Event
    send: Send = nudges.send
    mono: Callable[[], float] = time.monotonic
    holder: str = ""
    beats: Callable[[], dict[int, dict[str, str]]] = dict

    run: Run = field(init=False)
    epoch: int = 0
    clock: MarketClock = field(init=False)
    state: str = "starting"
    barrier: Barrier = field(default_factory=Barrier)
    intake: Intake = field(default_factory=Intake)
    desk: Desk = field(init=False)
    trader: Trader = field(init=False)
    rounds: Rounds = field(init=False)
    exit_desk: ExitDesk = field(init=False)
    day_end: DayEnd = field(init=False)
    shard_desk: ShardDesk = field(init=False)
    relay: RelayLink | None = None
    updates: UpdatesStream | None = None
    lockstep: LockstepLink | None = None

    stream_up: bool = False
    stream_lost: bool = True  # it was away since the last reconcile: events may be missing
    relay_state: tuple[str, str] = ("", "")
    upstream: dict[str, Any] = field(default_factory=dict)
    lockstep_state: str = ""
    stop: Stop | None = None
    doubt: str = ""  # why entries are locked
    reconciled_ns: int | None = None
    ended: bool = False
    _differences: list[str] = field(default_factory=list)
    _continued: tuple[int, int | None] = (-1, None)
    _decided: dict[int, list[int]] = field(default_factory=dict)
    _submitted: dict[int, str] = field(default_factory=dict)
    _lease_at: float = 0.0
    _beat_at: float = float("-inf")
    _look_at: float = float("-inf")
    _reconcile_at: float = 0.0
    _kill: str = "none"
    _kill_acted: str = "none"
    _next_parameters: tuple[int, dict[str, Any], int] | None = None
    _stop_cost_s: float = 0.0
    _stops: int = 0

    def __post_init__(self) -> None:
        self.clock = MarketClock(mono=self.mono, speed=self.config.speed)

    # --- events in --------------------------------------------------------------------------------
    def handle(self, event: Event) -> None:
        handler = getattr(self, f"_on_{event.kind}", None)
        if handler is None:
            logger.error("unknown event", extra={"event": event.kind})
            return
        handler(event.payload)

    def _on_wake(self, _: Any) -> None:
        pass

    def _on_message(self, body: str) -> None:
        try:
            message = messages.unpack(body)
        except messages.MessageError as exc:
            logger.warning("a message from a shard was refused", extra={"error": str(exc)})
            return
        if message.run != self.config.run_id:
            return
        if isinstance(message, Report):
            self._take_report(message)
        elif isinstance(message, StopDone):
            self.barrier.shard_done(message.shard, message.stop)
        elif isinstance(message, ExitSignal):
            self.barrier.signal(message)
        elif isinstance(message, ShardReady) and hasattr(self, "shard_desk"):
            self.shard_desk.on_ready(message)
        elif isinstance(message, Ack) and hasattr(self, "shard_desk"):
            self.shard_desk.on_ack(message)

    def _take_report(self, report: Report) -> None:
        closed = self.rounds.last_k if hasattr(self, "rounds") else None
        self.intake.add(report, closed_k=closed)
        if report.stop is not None:
            self.barrier.shard_done(report.shard, report.stop)

    def _on_update(self, update: TradeUpdate) -> None:
        self.barrier.update(update)

    def _on_bad_update(self, error: str) -> None:
        self.stream_lost = True

    def _on_stream(self, state: str) -> None:
        self.stream_up = state == "up"
        self.stream_lost = True

    def _on_relay(self, state: tuple[str, str]) -> None:
        self.relay_state = state

    def _on_upstream(self, message: dict[str, Any]) -> None:
        self.upstream = message

    def _on_clock(self, ts_ns: int) -> None:
        self.clock.tape_at(ts_ns)

    def _on_tick(self, tick: Tick) -> None:
        self.clock.speed = tick.speed
        self.clock.tape_at(tick.t_ns)
        if tick.end:
            self.stop = Stop(n=-1, t_ns=tick.t_ns, updates=0, end=True)

    def _on_lockstep(self, state: str) -> None:
        self.lockstep_state = state

    def _on_stop(self, stop: Stop) -> None:
        if stop.n <= self._continued[0]:
            if self.lockstep is not None and stop.n == self._continued[0]:
                self.lockstep.proceed(*self._continued)  # our answer was lost on its way
            return
        self.stop = stop
        self.barrier.open(stop.n, stop.updates)

    def _on_decided(self, result: tuple[int, list[int]]) -> None:
        self._decided[result[0]] = result[1]

    def _on_submitted(self, result: tuple[int, str]) -> None:
        self._submitted[result[0]] = result[1]

    @property
    def in_lockstep(self) -> bool:
        """Does the venue stop for us?"""
        return self.clock.source == "stop"

    # --- waiting ----------------------------------------------------------------------------------
    def pump(self, until: Callable[[], bool], timeout_s: float | None = None) -> bool:
        """Take events until something holds; False when it did not in time.

        Raises:
            Stopping: we are asked to leave.
            LeaseLost: another hub may write now.
        """
        deadline = None if timeout_s is None else self.mono() + timeout_s
        while not until():
            if self.stopping.is_set():
                raise Stopping
            self.chores()
            left = POLL_S if deadline is None else min(POLL_S, deadline - self.mono())
            event = self.inbox.take(left)
            if event is not None:
                self.handle(event)
            elif deadline is not None and self.mono() >= deadline:
                return until()
        return True

    def chores(self) -> None:
        """What the process clock asks for, whatever the market does."""
        now = self.mono()
        if self.epoch and now - self._lease_at >= lease.RENEW_EVERY_S:
            self._renew(now)
        if now - self._beat_at >= BEAT_S:
            self._beat_at = now
            self.beat()

    def _renew(self, now: float) -> None:
        """Keep the lease; a database that is away for a moment is no reason to leave."""
        try:
            lease.renew(self.epoch)
            self._lease_at = now
        except DatabaseError as exc:
            close_old_connections()
            if self.lease_left_ms <= 0:
                raise LeaseLost("the lease ran out while the database was away") from exc

    @property
    def lease_left_ms(self) -> float:
        return (lease.TTL.total_seconds() - (self.mono() - self._lease_at)) * 1000

    def beat(self) -> None:
        """Say that we live; Redis may be away."""
        facts = {
            "state": self.state,
            "epoch": self.epoch,
            "run": self.config.run_id,
            "market_ns": self.clock.now_ns(),
            "stop": self.stop.n if self.stop else -1,
            "waits": self.barrier.missing() if self.stop else "",
            "pid": os.getpid(),
            "at": time.time_ns(),
        }
        try:
            pipe = self.redis.pipeline(transaction=False)
            pipe.hset("hb:hub", mapping=facts)
            pipe.expire("hb:hub", BEAT_EXPIRES_S)
            pipe.execute()
        except redis.RedisError as exc:
            logger.warning("no heart-beat", extra={"error": str(exc)})
        if hasattr(self, "run") and self.run.market_ns != self.clock.now_ns():
            runs.update_run(
                self.run,
                market_ns=self.clock.now_ns(),
                prints=max(self.run.prints, self.intake.prints),
            )

    def note(self, kind: str, text: str, *, level: str = "info", **facts: Any) -> None:
        activity.note(self.run.pk, kind, text, level=level, market_ns=self.clock.now_ns(), **facts)

    # --- lock-step --------------------------------------------------------------------------------
    def run_lockstep(self) -> None:
        """Work off stop after stop until the tape ends."""
        while not self.ended:
            self.pump(lambda: self.stop is not None)
            stop = self.stop
            if stop is None:
                continue
            self.clock.stop_at(stop.t_ns)
            self._await_stop()
            started = self.mono()
            self._look_now_and_then()
            wake_at = self._work_stop()
            self._stop_cost_s += self.mono() - started
            self._stops += 1
            if stop.end:
                self.ended = True
                return
            self.stop, self._continued = None, (stop.n, wake_at)
            if self.lockstep is not None:
                self.lockstep.proceed(stop.n, wake_at)

    def _await_stop(self) -> None:
        """Wait for every shard's acknowledgement and every trade update of the stop."""
        waited = False
        if self.barrier.stop == 0:  # nothing was sent before it: who is ready has nothing to do
            for shard in self.shard_desk.ready:
                self.barrier.shard_done(shard, 0)
        while not self.pump(lambda: self.barrier.complete, STOP_LATE_S):
            waited = True
            self._say_waiting(f"stop {self.barrier.stop}: waiting for {self.barrier.missing()}")
            self.shard_desk.look_after()
            self.shard_desk.assign_where_owed()
            missing = self.barrier.shards_missing
            if missing:
                from_k = (self.rounds.last_k or 0) + 1
                self.shard_desk.ask_again(from_k, self.barrier.stop, missing)
            if self.barrier.updates_missing and self.stream_up:
                self._reconcile()  # the stream lost them: read them from the venue
                self.barrier.forgive_updates()
        if waited:
            runs.set_step(self.run, "rounds", "done")
        if self.stream_lost:
            self.stream_lost = not self.stream_up
            self._reconcile()
            self.barrier.forgive_updates()

    def _say_waiting(self, reason: str) -> None:
        if runs.set_step(self.run, "rounds", "blocked", reason):
            self.note("round", reason, level="warning")

    def _work_stop(self) -> int | None:
        """Do all that this stop asks for, in canonical order; returns when to be woken."""
        self._take_updates()
        self._act_on_time()
        self._reconcile_on_market_time()
        for k in self.intake.open_ks:
            self._close_round(k)
        self._until_settled()
        self.pump(self.shard_desk.watch)
        return self._wake_ns()

    def _take_updates(self) -> None:
        updates = self.barrier.take_updates()
        for update in updates:
            self.trader.apply(update)
        if updates or self.trader.busy:
            self._settle()
        for signal in self.barrier.take_signals():
            self.exit_desk.receive(signal)

    def _act_on_time(self) -> None:
        """Deferred signals, time stops, the day's end, the kill switch."""
        if self.trader.busy:
            self.exit_desk.retry_due()
            self.day_end.act()
            self._act_on_kill_switch()
            self._settle()

    def _settle(self) -> None:
        """Bring the trades forward; shards are told of positions that closed meanwhile."""
        if self._kill == "freeze":
            return
        before = {trade.pk for trade in self.trader.active_trades()}
        self.trader.settle()
        after = {trade.pk for trade in self.trader.active_trades()}
        for trade in Trade.objects.filter(pk__in=before - after).order_by("pk"):
            self.shard_desk.release(trade)

    def _until_settled(self) -> None:
        """In lock-step the market waits until every order's fate is known."""
        while self.desk.unsettled and self._kill != "freeze":
            self.pump(lambda: False, SETTLE_PAUSE_S)
            self._settle()

    def _wake_ns(self) -> int | None:
        now = self.clock.now_ns()
        if not self.trader.busy:
            return None
        due = [self.trader.wake_ns(), self.exit_desk.wake_ns(), self.day_end.wake_ns()]
        return min((max(one, now + 1) for one in due if one is not None), default=None)

    # --- rounds -----------------------------------------------------------------------------------
    def _close_round(self, k: int) -> None:
        """Close round k and see its decision and its entries through."""
        if self.rounds.last_k is not None and k <= self.rounds.last_k:
            self.intake.take(k)
            return
        self._switch_parameters(k)
        expected = sum(report.n_symbols for report in self.intake.latest.values())
        if not self.rounds.close(k, self.intake.take(k), expected):
            return
        if self._is_stale(k):
            rounds.skip_round(Round.objects.get(run=self.run, k=k))
            return
        self._see_through(k)

    def _is_stale(self, k: int) -> bool:
        age = self.clock.now_ns() - (k + 1) * BUCKET_NS
        return age > int(self.rounds.parameters["max_signal_age_ms"]) * MS

    def _see_through(self, k: int) -> None:
        """Have round k decided by its task, then its entries sent by theirs."""
        self._decided.pop(k, None)
        if not self._await_task(
            lambda: nudges_sent(self.send, nudges.DECIDE_ROUND, self.run.pk, k),
            lambda: k in self._decided,
        ):
            return
        orders = self._decided.pop(k)
        if orders:
            self.trader.busy = True
            self._fresh_reconcile()
        for order_id in orders:
            self._send_entry(order_id)

    def _send_entry(self, order_id: int) -> None:
        self._submitted.pop(order_id, None)
        self.trader.in_flight[order_id] = self.mono()
        done = self._await_task(
            lambda: self.send(nudges.SUBMIT_ORDER, {"order_id": order_id}, "hub.orders"),
            lambda: order_id in self._submitted,
        )
        if done:
            self._submitted.pop(order_id, None)
            self.trader.in_flight.pop(order_id, None)
            self._say_sent(order_id)
        self._settle()

    def _say_sent(self, order_id: int) -> None:
        order = Order.objects.select_related("trade").get(pk=order_id)
        self.note(
            "order",
            f"{order.symbol}: buy {order.quantity} up to {order.limit}: {order.status}"
            + (f" ({order.reason})" if order.reason else ""),
            level="info" if order.status not in (Status.REFUSED, Status.UNKNOWN) else "warning",
            client_order_id=order.client_order_id,
        )
        if order.status == Status.REFUSED:
            self.rounds.forget_account()

    def _await_task(self, send: Callable[[], bool], done: Callable[[], bool]) -> bool:
        """Send a task and wait for its answer; lost ones are sent again.

        In lock-step it waits as long as it takes; live it goes on, and the sweep finishes it.
        """
        while True:
            sent = send()
            live = not self.in_lockstep
            if self.pump(done, TASK_WAIT_LIVE_S if live else TASK_AGAIN_S):
                return True
            if live:
                return False
            if not sent:
                self._say_waiting("the task queue does not answer (Redis)")

    def sweep(self) -> None:
        """Finish what a crash or a lost message left: closed rounds, unsent entries."""
        for row in Round.objects.filter(run=self.run, state=RoundState.CLOSED).order_by("k"):
            if self._is_stale(row.k):
                rounds.skip_round(row)
            else:
                self._see_through(row.k)
        unsent = Order.objects.filter(run=self.run, purpose="e", status=Status.INTENT)
        for order_id, before_ns in unsent.values_list("pk", "trade__send_before_ns"):
            if self.clock.now_ns() <= before_ns:
                self._send_entry(order_id)

    # --- live and paced ---------------------------------------------------------------------------
    def run_live(self) -> None:
        """Work whenever there is something to do, at least every quarter of a second."""
        while not self.ended:
            self.pump(self._has_work, POLL_S)
            self._look_now_and_then()
            self._work_live()
            if self.stop is not None and self.stop.end:
                self.ended = True

    def _has_work(self) -> bool:
        return bool(self.intake.reports) or self.barrier.updates_seen > 0

    def _work_live(self) -> None:
        if self.stream_up and self.stream_lost:
            self.stream_lost = False
            self._reconcile()
        self._take_updates()
        self.barrier.updates_seen = 0
        self._act_on_time()
        for k in self.intake.open_ks:
            if self._round_is_due(k):
                self._close_round(k)
        self.shard_desk.watch()
        if self.relay is not None:
            self.relay.want_quotes(self._quote_symbols())
        busy = self.trader.busy
        interval = 15.0 if busy else RECONCILE_IDLE_S
        if self.mono() - self._reconcile_at >= interval:
            self._reconcile()

    def _round_is_due(self, k: int) -> bool:
        alive = set(self.beats()) & self.shard_desk.shards or self.shard_desk.shards
        if self.intake.complete(k, alive):
            return True
        deadline = int(self.rounds.parameters["decision_deadline_ms"]) * MS
        return self.clock.now_ns() >= (k + 1) * BUCKET_NS + deadline

    def _quote_symbols(self) -> set[str]:
        recent = {c.symbol for report in self.intake.latest.values() for c in report.candidates}
        return recent | {trade.symbol for trade in self.trader.active_trades()}

    # --- reconciling ------------------------------------------------------------------------------
    def _reconcile_on_market_time(self) -> None:
        """In lock-step: each 15 s of market time while something is open, at a stop only."""
        last = self.reconciled_ns
        if self.trader.busy and (last is None or self.clock.now_ns() - last >= RECONCILE_BUSY_NS):
            self._reconcile()

    def _fresh_reconcile(self) -> None:
        """Entries need a clean comparison of the last moments."""
        last = self.reconciled_ns
        if last is None or self.clock.now_ns() - last >= RECONCILE_FRESH_NS:
            self._reconcile()

    def _reconcile(self) -> bool:
        """Compare with the broker; two differing reads in a row lock entries until a clean one."""
        self._reconcile_at = self.mono()
        try:
            findings = reconcile.reconcile(self.trader)
        except BrokerError as exc:
            self.note("reconcile", f"no comparison: {exc}", level="warning")
            return False
        if findings.clean:
            if self.doubt:
                self.note("reconcile", "books and broker agree again")
            self.reconciled_ns, self.doubt, self._differences = self.clock.now_ns(), "", []
            return True
        again = findings.differences == self._differences
        if again or self.in_lockstep:
            self.doubt = "; ".join(findings.differences)[:200]
        if not again:
            self.note("reconcile", "; ".join(findings.differences), level="alarm")
        self._differences = findings.differences
        return False

    # --- switches ---------------------------------------------------------------------------------
    def _look_now_and_then(self) -> None:
        """Read what people may have changed: kill switch, parameters; look after the shards."""
        now = self.mono()
        if now - self._look_at < LOOK_S:
            return
        self._look_at = now
        self._kill = selectors.kill_level()
        self._look_at_parameters()
        if not self.in_lockstep:
            self.shard_desk.look_after()
            self.shard_desk.assign_where_owed()
            self.sweep()

    def kill_level(self) -> str:
        return self._kill

    def _act_on_kill_switch(self) -> None:
        if self._kill == self._kill_acted:
            return
        self._kill_acted = self._kill
        self.note("kill", f"kill switch: {self._kill}", level="alarm")
        if self._kill not in ("cancel_entries", "flatten"):
            return
        for trade in self.trader.active_trades():
            entry = trade.orders.get(purpose="e")
            if entry.broker_id and entry.status in (Status.WORKING, Status.PARTIAL):
                Order.objects.filter(pk=entry.pk).update(expires_ns=self.clock.now_ns())
            holds = trade.state in (T.OPEN_PROTECTED, T.UNPROTECTED, T.PARTIAL)
            if self._kill == "flatten" and trade.held > 0 and holds:
                exits.begin(self.desk, trade, "kill", hard=True)

    def _look_at_parameters(self) -> None:
        version, values = parameter_selectors.active_parameters()
        pending = self._next_parameters[0] if self._next_parameters else None
        if version in (self.rounds.params_version, pending):
            return
        from_k = (self.rounds.last_k or self.clock.now_ns() // BUCKET_NS) + 2
        self._next_parameters = (version, dict(values), from_k)
        self.shard_desk.send_parameters(version, values, from_k)
        self.note("startup", f"parameters version {version} count from bucket {from_k}")

    def _switch_parameters(self, k: int) -> None:
        if self._next_parameters is None or k < self._next_parameters[2]:
            return
        version, values, _ = self._next_parameters
        self._next_parameters = None
        self.use_parameters(version, values)

    def use_parameters(self, version: int, values: dict[str, Any]) -> None:
        """Let a set count from now on; the run keeps every set it ever used."""
        runs.update_run(
            self.run,
            parameters_version=version,
            mode=str(values["alpaca_trading_mode"]),
            parameters={**self.run.parameters, str(version): values},
        )
        if hasattr(self, "rounds"):
            self.rounds.parameters, self.rounds.params_version = values, version
        if hasattr(self, "shard_desk"):
            self.shard_desk.parameters, self.shard_desk.params_version = values, version

    # --- facts for others -------------------------------------------------------------------------
    def vitals(self) -> Vitals:
        in_lockstep = self.in_lockstep
        lag = max((r.feed_lag_ms for r in self.intake.latest.values()), default=0.0)
        doubt = self.doubt if self.clock.known else "no market clock"
        return Vitals(
            stream_connected=self.stream_up,
            relay_lag_ms=0.0 if in_lockstep else lag,
            clock_skew_ms=0.0,
            api_calls_left=getattr(self.broker, "calls_left", None),
            external_symbols=frozenset(self.trader.foreign),
            doubt=doubt,
        )

    def send_facts(self) -> SendFacts:
        return SendFacts(
            now_ns=self.clock.now_ns(),
            epoch=self.epoch,
            lease_left_ms=self.lease_left_ms,
            reconciled_ns=self.reconciled_ns,
            api_calls_left=getattr(self.broker, "calls_left", None),
            account_mode=self.config.account_mode(
                str(self.rounds.parameters["alpaca_trading_mode"])
            ),
            quote_of=self.quote_of,
        )

    def quote_of(self, symbol: str) -> Quote | None:
        """Return the hub's own newest quote; in lock-step the shards' reports are as new."""
        seen = self.relay.quotes.get(symbol) if self.relay and not self.in_lockstep else None
        if seen is None:
            return None
        return Quote(
            bid=seen.bid, ask=seen.ask, bid_size=seen.bid_size, ask_size=seen.ask_size,
            ts_ns=seen.ts_ns,
        )  # fmt: skip

    def bid_of(self, symbol: str) -> Decimal | None:
        quote = self.quote_of(symbol)
        return None if quote is None or quote.bid <= 0 else Decimal(str(quote.bid))

    def stop_cost_ms(self) -> float:
        """Return what a stop cost the hub on average, waiting for others excluded."""
        return 1000 * self._stop_cost_s / self._stops if self._stops else 0.0

    def close_links(self) -> None:
        for link in (self.lockstep, self.updates, self.relay):
            if link is not None:
                link.stop()


def nudges_sent(send: Send, task: str, run_id: str, k: int) -> bool:
    return send(task, {"run": run_id, "k": k}, "hub.decide")


__all__ = ["Coordinator", "RunFailed", "trades"]
