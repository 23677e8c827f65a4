"""A real hub on virtual time: its coordinator, its live loop, its start-up; tasks run in place."""

import threading
from collections.abc import Callable
from typing import Any, NoReturn

import redis

from execution import nudges
from execution.brokers.port import BrokerOrder
from execution.errors import LeaseLost
from execution.hub.config import HubConfig
from execution.hub.coordinator import Coordinator
from execution.hub.inbox import Event, Inbox
from execution.hub.startup import Startup
from execution.models import Order, Round, RoundState
from execution.services import entries, journal, rounds, runs, trades
from execution.simulation import market
from execution.simulation.tasks import ANSWER, GO_ON, Tasks
from execution.simulation.venue import AnswerKept, FaultyBroker

SECOND = 1_000_000_000
SHARD = 1
POLL_NS = 250_000_000  # how often it looks around by itself when something waits


class NoRedis:
    """Redis is away all the time, whatever it is asked: nothing about money may need it."""

    def __getattr__(self, command: str) -> Callable[..., NoReturn]:
        def away(*_: object, **__: object) -> NoReturn:
            raise redis.ConnectionError(f"{command}: away")

        return away


class VirtualInbox(Inbox):
    """An inbox whose waiting lets the world go on, and the worker's other threads."""

    def __init__(self, wait: Callable[[float], None]) -> None:
        super().__init__()
        self._wait = wait

    def take(self, timeout_s: float) -> Event | None:
        event = super().take(0)
        if event is None and timeout_s > 0:
            self._wait(timeout_s)
            event = super().take(0)
        return event


class SimulatedHub:
    """One process of the hub: made at its start, gone with its death."""

    def __init__(
        self,
        *,
        run_id: str,
        holder: str,
        broker: FaultyBroker,
        now_ns: Callable[[], int],
        wait: Callable[[float], None],
        tasks: Tasks,
    ) -> None:
        self.broker, self._tasks = broker, tasks
        self._waits = wait
        self.hub = Coordinator(
            config=_config(run_id),
            inbox=VirtualInbox(self._wait),
            broker=broker,
            redis=NoRedis(),  # type: ignore[arg-type]
            stopping=threading.Event(),
            send=self._send,
            mono=lambda: now_ns() / SECOND,
            holder=holder,
            beats=lambda: {SHARD: {}},
        )
        self.hub._beat_at = float("inf")  # the pages' heart-beat is nothing about money
        self.hub.clock.wall_ns = self.hub.skew.wall_ns = now_ns

    def start(self, *, force: bool = False) -> None:
        """Do the steps of the start-up that concern orders; the blocked ones wait and retry.

        Args: force: take the lease from a living holder, as the explicit command does.
        """
        hub = self.hub
        hub.run = runs.open_run(hub.config.run_id)
        startup = Startup(hub, take_over=force)
        hub.clock.follow_host()
        for name, step in startup.steps:
            if name == "updates":
                hub.stream_up = True
            elif name in ("lease", "account", "reconcile"):
                startup._until_done(name, step)
        hub.flow.sweep()
        hub.state = "running"

    def work(self) -> None:
        """Take what is in the inbox and do one pass of the live loop, without its shards."""
        hub = self.hub
        self.take_tasks()
        hub.chores()
        while (event := Inbox.take(hub.inbox, 0)) is not None:
            hub.handle(event)
        if hub.switches.look():
            hub.flow.sweep()
        hub.skew.look()
        if hub.stream_up and hub.stream_lost and hub.agreement.after_a_gap():
            hub.stream_lost = False
            hub.flow.news = True
        hub.flow.take_updates()
        hub.flow.act()
        hub.agreement.on_process_time()

    def next_due_ns(self) -> int:
        """Return when the hub wants to look again, whatever the world does."""
        hub, now = self.hub, self.hub.clock.now_ns()
        due = [now + 2 * SECOND]
        if hub.flow._wake_ns is not None:
            due.append(hub.flow._wake_ns)
        if hub.desk.unsettled and hub.flow._agains:
            due.append(int(hub.flow._again_at * SECOND) + 1)
        return max(now + POLL_NS, min(due))

    def decide(self, k: int) -> None:
        """Close round k with the one candidate and see it through, as at a bucket's end."""
        hub = self.hub
        now = hub.clock.now_ns()
        found = market.candidate(k, now)
        inputs = market.with_a_market(hub.rounds._inputs(k, (), (found,), 1, 1.0))
        Round.objects.create(
            run=hub.run,
            k=k,
            state=RoundState.CLOSED,
            closed_ns=now,
            params_version=hub.rounds.params_version,
            inputs=rounds._packer.encode(inputs),
        )
        hub.flow._see_through(k)

    def take_tasks(self) -> None:
        """Run what has arrived by now."""
        for task in self._tasks.arrived():
            self._run(task.name, task.kwargs)

    def _wait(self, seconds: float) -> None:
        self._waits(seconds)
        self.take_tasks()

    def _send(self, task: str, kwargs: dict[str, Any], queue: str) -> bool:
        """Run a task as the worker would: at once, later, twice or never, as Redis may."""
        arrivals = self._tasks.arrivals()
        for delay_ns in arrivals or ():
            if delay_ns:
                self._tasks.post(delay_ns, task, kwargs)
            else:
                self._run(task, kwargs)
        return arrivals is not None

    def _run(self, task: str, kwargs: dict[str, Any]) -> None:
        hub = self.hub
        try:
            if task == GO_ON:
                kwargs["go_on"]()
            elif not hub.takes_orders:
                return
            elif task == nudges.DECIDE_ROUND:
                k = kwargs["k"]
                made = rounds.decide_round(run_id=kwargs["run"], k=k, epoch=hub.epoch)
                hub.inbox.post("decided", (k, made))
            elif task == nudges.SUBMIT_ORDER:
                self._tasks.send(lambda: self._submit(kwargs["order_id"]))
            elif task == ANSWER:
                self._answered(**kwargs)
        except LeaseLost:
            pass  # the task only logs it; the coordinator finds out by itself

    def _submit(self, order_id: int) -> None:
        """Send an entry; while its answer is on the way the live loop goes on."""
        hub, late_ns = self.hub, self._tasks.answers()
        self.broker.keeps_answers = late_ns > 0
        try:
            order = entries.submit_entry(
                order_id=order_id, broker=self.broker, facts=hub.send_facts()
            )
        except AnswerKept as kept:
            self._tasks.post(late_ns, ANSWER, {"order_id": order_id, "answer": kept.answer})
            return
        finally:
            self.broker.keeps_answers = False
        hub.inbox.post("submitted", (order.pk, order.status))

    def _answered(self, order_id: int, answer: BrokerOrder) -> None:
        """Store an answer that took its time, as the task that waited for it does."""
        order = Order.objects.get(pk=order_id)
        attempt = order.attempts.get(kind="submit")
        journal.settle(order, attempt, lambda: answer, order.sent_ns or 0)
        trades.follow_entry(order.trade, order.sent_ns or 0)
        self.hub.inbox.post("submitted", (order.pk, order.status))


def _config(run_id: str) -> HubConfig:
    return HubConfig(
        run_id=run_id,
        shards=1,
        speed=1.0,
        record_dir="",
        relay_url="",
        relay_key="",
        relay_secret="",
        redis_url="",
        broker_url="http://127.0.0.1",
        broker_key="",
        broker_secret="",
        stream_url="",
        lockstep_url="",
        live_allowed=False,
    )
