"""The one thread that knows what is going on: takes events, keeps the order of things, acts.

Handlers only note what came in; acting happens in `stops` (lock-step) and `live`, so that what is
done never depends on which socket was faster. Exits, cancels and protection are direct calls here;
deciding a round and sending an entry are Celery tasks whose results come back through the inbox
and whose loss is repaired from the rows.
"""

import logging
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import msgspec
import redis
from django.db import DatabaseError, close_old_connections

from execution import nudges
from execution.brokers.port import Broker, TradeUpdate, Updates
from execution.errors import LeaseLost, Stopping
from execution.failpoints import reach
from execution.hub.agreement import Agreement
from execution.hub.allotment import Allotment
from execution.hub.barrier import Barrier
from execution.hub.clock import MarketClock
from execution.hub.config import HubConfig
from execution.hub.day_end import DayEnd
from execution.hub.desk import Desk
from execution.hub.exit_desk import ExitDesk
from execution.hub.flow import Flow
from execution.hub.inbox import Event, Inbox
from execution.hub.intake import Intake
from execution.hub.lockstep import LockstepLink, Stop, Tick
from execution.hub.new_day import NewDay
from execution.hub.relay_link import READY, RelayLink
from execution.hub.rounds import Rounds, Vitals
from execution.hub.shard_desk import Send, ShardDesk
from execution.hub.skew import ClockSkew
from execution.hub.software import SoftwareExits
from execution.hub.switches import Switches
from execution.hub.telemetry import RelayFigures, StageTimes
from execution.hub.trader import Trader
from execution.models import Run
from execution.services import activity, lease, runs
from execution.services.entries import SendFacts
from signals import messages
from signals.messages import Ack, ExitSignal, Message, Quote, Report, ShardReady, StopDone

logger = logging.getLogger(__name__)

POLL_S = 0.25
BEAT_S = 1.0
BEAT_EXPIRES_S = 5
EVENTS_AT_ONCE = 500
NEWS_NS = 30 * 60 * 1_000_000_000
NO_NEWS = "the broker's order news are away"


@dataclass(kw_only=True)
class Coordinator:
    """Args: every link to the outside, so that a test can hold them; mono is the process clock."""

    config: HubConfig
    inbox: Inbox
    broker: Broker
    redis: redis.Redis | None  # None: nobody looks for our heart-beat
    stopping: threading.Event
    send: Send = nudges.send
    mono: Callable[[], float] = time.monotonic
    holder: str = ""
    beats: Callable[[], dict[int, dict[str, str]]] = dict
    fence: Callable[[str, set[int]], None] = lambda run, numbers: None
    measured: Callable[[str], dict[str, int]] = lambda run: {}
    leads: Callable[[bool], None] = lambda now: None  # told when we begin and cease to lead

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
    software: SoftwareExits = field(init=False)
    shard_desk: ShardDesk = field(init=False)
    allotment: Allotment = field(init=False)
    relay: RelayLink | None = None
    updates: Updates | None = None
    lockstep: LockstepLink | None = None

    stream_up: bool = False
    stream_lost: bool = True  # it was away since the last reconcile: events may be missing
    relay_state: tuple[str, str] = ("", "")
    upstream: dict[str, Any] = field(default_factory=dict)
    lockstep_state: str = ""
    stop: Stop | None = None
    tape_end_ns: int | None = None  # where a paced tape has ended
    warming: bool = False  # the tape is fast-forwarded: nothing may be bought yet
    warming_ns: int = 0  # the newest market time at which it was
    continued: tuple[int, int | None] = (-1, None)
    decided: dict[int, list[int]] = field(default_factory=dict)
    submitted: dict[int, str] = field(default_factory=dict)
    flow: Flow = field(init=False)
    skew: ClockSkew = field(init=False)
    agreement: Agreement = field(init=False)
    switches: Switches = field(init=False)
    new_day: NewDay = field(init=False)
    events: int = 0  # taken from the inbox so far
    stops: int = 0
    stop_cost_s: float = 0.0
    lease_at: float = 0.0
    _beat_at: float = float("-inf")
    reported_at: float = 0.0  # when the newest report came, on the process clock
    stages: StageTimes = field(default_factory=StageTimes)
    relay_figures: RelayFigures = field(init=False)

    def __post_init__(self) -> None:
        self.clock = MarketClock(mono=self.mono, speed=self.config.speed)
        self.flow, self.switches, self.new_day = Flow(self), Switches(self), NewDay(self)
        self.skew = ClockSkew(broker=self.broker, wall_ns=self.clock.wall_ns, mono=self.mono)
        self.relay_figures = RelayFigures(self.mono)

    # --- events in --------------------------------------------------------------------------------
    def handle(self, event: Event) -> None:
        self.events += 1
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
        self._on_told(message)

    def _on_told(self, message: Message) -> None:
        """A shard's message, unpacked."""
        if message.run != self.config.run_id:
            return
        if isinstance(message, Report):
            self._take_report(message)
        elif isinstance(message, StopDone):
            if self._counts(message):
                self.barrier.done(message.assignment, message.stop)
        elif isinstance(message, ExitSignal):
            self.barrier.signal(message)
        elif isinstance(message, ShardReady) and hasattr(self, "shard_desk"):
            self.shard_desk.on_ready(message)
        elif isinstance(message, Ack) and hasattr(self, "shard_desk"):
            self.shard_desk.on_ack(message)

    def _counts(self, message: Report | StopDone) -> bool:
        """Does the shard still have these letters? Before we know, everything is taken."""
        if not hasattr(self, "shard_desk") or not self.shard_desk.grants:
            return True
        return self.shard_desk.counts(message.assignment, message.shard)

    def _take_report(self, report: Report) -> None:
        if not self._counts(report):
            return
        closed = self.rounds.last_k if hasattr(self, "rounds") else None
        self.reported_at = self.mono()
        self.intake.add(self._of_own_letters(report), closed_k=closed)
        if report.stop is not None:
            self.barrier.done(report.assignment, report.stop)

    def _of_own_letters(self, report: Report) -> Report:
        """Leave out what a shard says about letters that it was not given."""
        grant = self.shard_desk.grants.get(report.assignment) if report.candidates else None
        if grant is None or all(grant.holds(one.symbol) for one in report.candidates):
            return report
        own = [one for one in report.candidates if grant.holds(one.symbol)]
        text = f"shard {report.shard} told of stocks that are not its own: left out"
        self.note("shard", text, level="alarm", left_out=len(report.candidates) - len(own))
        return msgspec.structs.replace(report, candidates=own)

    def _on_update(self, update: TradeUpdate) -> None:
        self.barrier.update(update)

    def _on_bad_update(self, error: str) -> None:
        self.stream_lost = True

    def _on_stream(self, state: str) -> None:
        self._say_change("the broker's order news", self.stream_up, state == "up")
        self.stream_up = state == "up"
        self.stream_lost = True

    def _on_relay(self, state: tuple[str, str]) -> None:
        was, now = self.relay_state[0] in READY, state[0] in READY
        self._say_change("the relay", was, now, reason=state[1])
        self.relay_state = state

    def _on_upstream(self, message: dict[str, Any]) -> None:
        was, now = self.upstream.get("state") == "open", message.get("state") == "open"
        self._say_change("the feed", was, now, reason=str(message.get("reason") or ""))
        self.upstream = message

    def _say_change(self, what: str, was: bool, now: bool, **facts: Any) -> None:
        """Log, while rounds run, that something we lean on was lost or came back."""
        if was == now or self.state != "running":
            return
        text, level = (f"{what}: back", "info") if now else (f"{what}: lost", "warning")
        try:
            self.note("health", text, level=level, **{k: v for k, v in facts.items() if v})
        except DatabaseError as exc:
            logger.warning("not logged", extra={"what": text, "error": str(exc)})

    def _on_relay_status(self, message: dict[str, Any]) -> None:
        self.relay_figures.take(message)

    def _on_clock(self, ts_ns: int) -> None:
        self.clock.tape_at(ts_ns)

    def _on_tick(self, tick: Tick) -> None:
        self.clock.speed = tick.speed
        self.clock.tape_at(tick.t_ns)
        self.warming = tick.warm_up
        if tick.warm_up:
            self.warming_ns = tick.t_ns
        if tick.end:
            self.tape_end_ns = tick.t_ns

    def _on_lockstep(self, state: str) -> None:
        self.lockstep_state = state

    def _on_stop(self, stop: Stop) -> None:
        if stop.n <= self.continued[0]:
            if self.lockstep is not None and stop.n == self.continued[0]:
                self.lockstep.proceed(*self.continued)  # our answer was lost on its way
            return
        self.stop = stop
        self.barrier.open(stop.n, stop.updates)

    def _on_decided(self, result: tuple[int, list[int]]) -> None:
        self.decided[result[0]] = result[1]

    def _on_submitted(self, result: tuple[int, str]) -> None:
        self.submitted[result[0]] = result[1]

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

    def take_in(self, timeout_s: float) -> None:
        """Wait for an event, at most so long; then take all that are there, within bounds.

        Raises: as `pump`.
        """
        before = self.events
        self.pump(lambda: self.events > before, timeout_s)
        while self.events - before < EVENTS_AT_ONCE:
            event = self.inbox.take(0)
            if event is None:
                return
            self.handle(event)

    def chores(self) -> None:
        """What the process clock asks for, whatever the market does."""
        now = self.mono()
        if self.epoch and now - self.lease_at >= lease.RENEW_EVERY_S:
            self._renew(now)
        if self.epoch and now - self._beat_at >= BEAT_S:  # who waits says nothing in its name
            self._beat_at = now
            self.beat()

    def _renew(self, now: float) -> None:
        """Keep the lease; a database that is away for a moment is no reason to leave."""
        try:
            lease.renew(self.epoch)
            self.lease_at = now
            reach("lease.after_renew")
        except DatabaseError as exc:
            close_old_connections()
            if self.lease_left_ms <= 0:
                raise LeaseLost("the lease ran out while the database was away") from exc

    @property
    def lease_left_ms(self) -> float:
        return (lease.TTL.total_seconds() - (self.mono() - self.lease_at)) * 1000

    def beat(self) -> None:
        """Say that we live; Redis may be away."""
        if self.redis is not None:
            self._beat_in(self.redis)
        if hasattr(self, "run") and self.run.market_ns != self.clock.now_ns():
            runs.update_run(
                self.run,
                market_ns=self.clock.now_ns(),
                prints=max(self.run.prints, self.intake.prints),
            )

    def _beat_in(self, client: Any) -> None:
        facts: dict[Any, Any] = {
            "state": self.state,
            "epoch": self.epoch,
            "run": self.config.run_id,
            "market_ns": self.clock.now_ns(),
            "stop": self.stop.n if self.stop else -1,
            "waits": self.barrier.missing() if self.stop else "",
            "pid": os.getpid(),
            "at": time.time_ns(),
            "speed": self.clock.speed,
            "warming": "yes" if self.warming else "",
            "stages": "" if self.in_lockstep else self.stages.packed(),
            "rounds": self.stages.rounds,
            "late_rounds": self.stages.late_rounds,
        }
        if self.relay is not None:
            self.relay.ask_status()
        try:
            pipe = client.pipeline(transaction=False)
            pipe.hset("hb:hub", mapping=facts)
            pipe.expire("hb:hub", BEAT_EXPIRES_S)
            if self.relay_figures.facts and self.relay_state[0] in READY:
                pipe.hset("hb:relay", mapping=self.relay_figures.facts)  # type: ignore[arg-type]
                pipe.expire("hb:relay", BEAT_EXPIRES_S)
            pipe.execute()
        except redis.RedisError as exc:
            logger.debug("no heart-beat", extra={"error": str(exc)})  # the breaker has said it

    def note(self, kind: str, text: str, *, level: str = "info", **facts: Any) -> None:
        activity.note(self.run.pk, kind, text, level=level, market_ns=self.clock.now_ns(), **facts)

    def say_waiting(self, reason: str) -> None:
        """Show what the run waits for; once per reason."""
        if runs.set_step(self.run, "rounds", "blocked", reason):
            self.note("round", reason, level="warning")

    # --- facts for others -------------------------------------------------------------------------
    def vitals(self) -> Vitals:
        in_lockstep = self.in_lockstep
        lag = min((r.feed_lag_ms for r in self.intake.latest.values()), default=0.0)
        return Vitals(
            disputed=frozenset(self.shard_desk.disputed),
            stream_connected=self.stream_up,
            relay_lag_ms=0.0 if in_lockstep else lag,
            clock_skew_ms=self.skew.value_ms() if self.clock.source == "host" else 0.0,
            api_calls_left=self.broker.calls_left,
            external_symbols=frozenset(self.trader.foreign),
            news_of=self.news_of,
            doubt=self._doubt(),
        )

    def _doubt(self) -> str:
        """Return why entries are locked, whatever the market does; "" when they are not."""
        if not self.clock.known:
            return "no market clock"
        if self.warming:
            return "the market is fast-forwarded until everything is warm"
        others = self.allotment.other_builds if hasattr(self, "allotment") else {}
        if others:
            return f"another build than the hub's: shard {', '.join(map(str, sorted(others)))}"
        return self.agreement.doubt

    @property
    def takes_orders(self) -> bool:
        """Has the start-up come so far that a task may ask for `send_facts`?"""
        return hasattr(self, "rounds") and hasattr(self, "agreement")

    @property
    def agreed_ns(self) -> int | None:
        """Market time of the last comparison with the broker, None when they differed then."""
        agreement = getattr(self, "agreement", None)
        return None if agreement is None or agreement.differences else agreement.reconciled_ns

    def send_facts(self) -> SendFacts:
        """Return what the last check before an order needs; not before `takes_orders`."""
        return SendFacts(
            now_ns=self.clock.now_ns(),
            epoch=self.epoch,
            lease_left_ms=self.lease_left_ms,
            reconciled_ns=self.agreement.reconciled_ns,
            doubt=lambda: self._doubt() or ("" if self.stream_up else NO_NEWS),
            api_calls_left=self.broker.calls_left,
            account_mode=self.config.account_mode(
                str(self.rounds.parameters["alpaca_trading_mode"])
            ),
            quote_of=self.quote_of,
            slack_ns=self.clock.slack_ns,
            late_ns=self.desk.late_ns,
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

    def epoch_of(self, shard: int) -> int | None:
        """Return the newest life of a shard that has answered an assignment."""
        return self.shard_desk.life_of(shard)

    def news_of(self, symbol: str) -> bool | None:
        """Was there news of a symbol in the last 30 minutes? None: nobody brings us news."""
        if self.relay is None or not self.relay.news:
            return None
        newest_ns = self.relay.news.get(symbol)
        return newest_ns is not None and self.clock.now_ns() - newest_ns <= NEWS_NS

    def bid_of(self, symbol: str) -> Decimal | None:
        quote = self.quote_of(symbol)
        return None if quote is None or quote.bid <= 0 else Decimal(str(quote.bid))

    def stop_cost_ms(self) -> float:
        """Return what a stop cost the hub on average, waiting for others excluded."""
        return 1000 * self.stop_cost_s / self.stops if self.stops else 0.0

    def close_links(self) -> None:
        for link in (self.lockstep, self.updates, self.relay):
            if link is not None:
                link.stop()
