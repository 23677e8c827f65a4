"""A whole run in one process: tape, venue, shards and hub, without sockets, Redis or Celery.

The hub's own coordinator works stop after stop, as it does in lock-step; only its links are
replaced: the market moves when it says go on, the shards' duties get their frames directly, tasks
are calls, and the official SDK is answered by the venue's API in memory. So decisions, orders and
fills are those of the real processes over the same tape.
"""

import itertools
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
import numpy as np

from execution import nudges
from execution.brokers import wire
from execution.brokers.alpaca import AlpacaBroker
from execution.brokers.port import BrokerError
from execution.errors import ExecutionError, StepBlocked
from execution.hub.config import HubConfig
from execution.hub.coordinator import Coordinator
from execution.hub.finish import finish
from execution.hub.inbox import Inbox
from execution.hub.lockstep import LockstepLink, Stop
from execution.hub.startup import Startup
from execution.hub.stops import run_lockstep
from execution.models import Run
from execution.services import entries, rounds, runs
from execution.venue.cursor import TapeCursor
from execution.venue.delivery import clock_frame, data_frames, joined
from execution.venue.engine import VenueEngine
from execution.venue.grid import Grid
from execution.venue.local import URL, LocalTransport
from execution.venue.options import Credentials, VenueOptions
from execution.venue.replay import Replay, tape_books
from execution.venue.rest import TradingApi
from execution.venue.run import tape_options
from relay.tape import TapeReader
from shards.assignment import assignment_of
from shards.duty import Duty
from shards.engine import Engine
from signals import messages, services
from signals.messages import WatchedPosition
from tradeplane.lab.database import own_database

RUN = "lab"
STEPS = (
    "lease", "account", "clock", "reconcile", "universe", "shards", "rounds",
)  # fmt: skip
MS = 1_000_000


class LabError(Exception):
    """The run cannot go on; the text is one line for the operator."""


class LocalShards:
    """The shards' duties in this process: the hub's messages in, frames in, reports out."""

    def __init__(self, inbox: Inbox) -> None:
        self._inbox = inbox
        self._duties: dict[int, Duty] = {}
        self._seq = itertools.count(1)

    def take(self, frame: bytes) -> None:
        for duty in self._duties.values():
            duty.take(frame)

    def close(self) -> None:
        for duty in self._duties.values():
            duty.close()

    def receive(self, task: str, kwargs: dict[str, Any], shard: int) -> None:
        """Do what a shard's task of this name does."""
        if task == "shards.assign":
            self._assign(kwargs["assignment"])
            return
        engine = self._duties[shard].engine
        if task == "shards.watch":
            position = msgspec.convert(kwargs["position"], WatchedPosition)
            engine.watch(position)
            self._acknowledge(shard, "watch", position.position_id, position.version)
        elif task == "shards.release":
            engine.release(kwargs["position_id"])
            self._acknowledge(shard, "release", kwargs["position_id"], kwargs["version"])

    def _assign(self, payload: dict[str, Any]) -> None:
        new = assignment_of(payload)
        engine = Engine(
            session=new.session, parameters=new.parameters,
            parameters_version=new.parameters_version, ranges=new.ranges, shard=new.shard,
            epoch=1, run=new.run, assignment=new.assignment,
        )  # fmt: skip
        path = new.record_path(1)
        self._duties[new.shard] = Duty(
            new, engine, send=self._tell, seq=lambda: next(self._seq), keep=None,
            now_ns=time.time_ns, record=path.open("ab") if path else None,
        )  # fmt: skip
        self._tell(
            messages.ShardReady(
                run=new.run, shard=new.shard, epoch=1, assignment=new.assignment,
                params_version=new.parameters_version, last_k=None, resumed=False,
            )
        )  # fmt: skip

    def _acknowledge(self, shard: int, what: str, ref: str, version: int) -> None:
        self._tell(messages.Ack(run=RUN, shard=shard, what=what, ref=ref, version=version))

    def _tell(self, message: messages.Message) -> None:
        self._inbox.post("told", messages.as_received(message))


class LocalMarket(LockstepLink):
    """Tape and venue: moves to the next stop when the hub says so, as the venue's player does."""

    def __init__(self, options: VenueOptions, grace_ns: int, inbox: Inbox) -> None:
        cursor = TapeCursor(options.blocks() if options.blocks else _blocks_of(options))
        self.engine = VenueEngine(
            session=options.session, symbols=options.symbols, cash=options.cash,
            seed=options.seed, latency_ns=options.latency_ns, partial_rate=options.partial_rate,
            books=tape_books(cursor),
        )  # fmt: skip
        self.replay = Replay(cursor, self.engine, options.start_ns)
        self.api = TradingApi(self.engine, lambda: self.replay.now_ns, options.listings)
        self.shards = LocalShards(inbox)
        self._grid = Grid(options.session, options.start_ns, options.last_ns)
        self._grace_ns, self._inbox = grace_ns, inbox

    def stop(self) -> None:
        """Nothing to hang up."""

    def offer(self, number: int) -> None:
        """Tell the hub where the tape stands."""
        end = self.replay.now_ns >= self._grid.end_ns(self._grace_ns)
        updates = self.engine.updates_emitted
        stop = Stop(n=number, t_ns=self.replay.now_ns, updates=updates, end=end)
        self._inbox.post("stop", stop)

    def proceed(self, stop: int, wake_at_ns: int | None) -> bool:
        """Play to the next stop: data, then the clock, then trade updates, then the stop."""
        limit = self._grid.next_ns(self.replay.now_ns, self._grace_ns, wake_at_ns)
        to_ns = self.replay.next_event_ns(limit)
        for piece in joined(self.replay.run_until(to_ns)):
            for frame in data_frames(piece, np.ones(piece.spans.size, np.bool_)):
                self.shards.take(frame)
        self.shards.take(clock_frame(to_ns, stop + 1))
        for update in self.engine.take_updates():
            self._inbox.post("update", wire.trade_update(update))
        self.offer(stop + 1)
        return True


def _blocks_of(options: VenueOptions) -> Iterator[Any]:
    return iter(TapeReader(options.tape).blocks()) if options.tape else iter(())


class LocalHub:
    """The hub's coordinator with its links replaced."""

    def __init__(self, options: VenueOptions, values: Mapping[str, Any], shards: int, home: Path):
        inbox = Inbox()
        self.market = LocalMarket(options, int(values["lateness_grace_ms"]) * MS, inbox)
        broker = AlpacaBroker(
            key=RUN, secret=RUN, url=URL, transport=LocalTransport(self.market.api)
        )  # fmt: skip

        def beats() -> dict[int, dict[str, str]]:
            at = str(time.monotonic_ns())
            return {n: {"at": at} for n in range(1, shards + 1)}

        self.hub = Coordinator(
            config=_config(shards, home), inbox=inbox, broker=broker, redis=None,
            stopping=threading.Event(), send=self.send, holder="lab", beats=beats,
        )  # fmt: skip
        self.hub.stream_up, self.hub.stream_lost = True, False
        self.hub.upstream = {"state": "open", "clock": True}
        self.hub.lockstep = self.market

    def send(self, task: str, kwargs: dict[str, Any], queue: str) -> bool:
        """Do a task at once, in this thread."""
        hub = self.hub
        if task == nudges.DECIDE_ROUND:
            orders = rounds.decide_round(run_id=kwargs["run"], k=kwargs["k"], epoch=hub.epoch)
            hub.inbox.post("decided", (kwargs["k"], orders))
        elif task == nudges.SUBMIT_ORDER:
            order = entries.submit_entry(
                order_id=kwargs["order_id"], broker=hub.broker, facts=hub.send_facts()
            )
            hub.inbox.post("submitted", (order.pk, order.status))
        else:
            self.market.shards.receive(task, kwargs, int(queue.rpartition(".")[2]))
        return True

    def run(self) -> None:
        """From the first step to the summary."""
        began = time.perf_counter()
        self.market.offer(0)
        self._take_in()
        startup = Startup(self.hub)
        startup.begin()
        steps = dict(startup.steps)
        for name in STEPS:
            self._step(name, steps[name])
        self.hub.state = "running"
        run_lockstep(self.hub)
        self.market.shards.close()
        finish(self.hub, wall_s=time.perf_counter() - began)

    def _step(self, name: str, step: Any) -> None:
        for again in (True, False):
            try:
                runs.set_step(self.hub.run, name, "done", step() or "")
                return
            except StepBlocked as exc:
                if not (again and exc.waiting):
                    raise LabError(f"{name}: {exc}") from exc
            self._take_in()

    def _take_in(self) -> None:
        while (event := self.hub.inbox.take(0)) is not None:
            self.hub.handle(event)


def _config(shards: int, home: Path) -> HubConfig:
    return HubConfig(
        run_id=RUN, shards=shards, speed=1.0, record_dir=str(home), relay_url="", relay_key="",
        relay_secret="", redis_url="", broker_url=URL, broker_key=RUN, broker_secret=RUN,
        stream_url="", lockstep_url="", live_allowed=False,
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What to run: the tape, a complete valid set, how many shards, the venue's manners."""

    tape: Path
    parameters: Mapping[str, Any]
    shards: int = 1
    start: str = ""  # HH:MM New York, "" for the open
    order_latency_ms: int = 150
    more: dict[str, Any] = field(default_factory=dict)


@contextmanager
def backtest(asked: Asked) -> Iterator[Run]:
    """Run a tape to its end; the run's rows are there to read until the block ends.

    Raises:
        TapeError, VenueError: no tape, a damaged one, or nothing on it.
        LabError: a step of the start-up does not hold, or the run failed.
    """
    options = tape_options(
        Credentials(key=RUN, secret=RUN), asked.tape, asked.start,
        latency_ns=asked.order_latency_ms * MS, speed=None, **asked.more,
    )  # fmt: skip
    with own_database(), TemporaryDirectory(prefix="tradeplane-lab-") as home:
        version = services.save_parameters(
            values=asked.parameters, author="lab", comment="", base_version=0
        )
        services.activate(version, author="lab")
        hub = LocalHub(options, asked.parameters, asked.shards, Path(home))
        try:
            hub.run()
        except (ExecutionError, BrokerError) as exc:
            raise LabError(str(exc)) from exc
        yield hub.hub.run
