"""The resident of a shard worker: its own thread and event loop beside Celery's.

Tasks post to it through `shards.mailbox` and return; it works its holdings, one per assignment, and
answers through the outbox. A new assignment gets a new connection, so that its replay and its live
frames cannot mix with those of another.
"""

import asyncio
import gc
import itertools
import logging
import os
import threading
import time
from collections.abc import Callable, Coroutine
from datetime import date
from pathlib import Path
from typing import Any

import msgspec
import redis

from shards import mailbox
from shards.assignment import Assignment, assignment_of
from shards.duty import Duty
from shards.holding import Holding, Tools
from shards.keeper import Keeper
from shards.letters import cell_of, holds, merge, pattern
from shards.outbox import Outbox, Publish
from shards.pulse import BEAT_S, Pulse
from shards.store import connect
from signals import messages
from signals.build import build
from signals.messages import WatchedPosition

logger = logging.getLogger(__name__)

LOAD_S = 10.0  # how often the load per cell is told
STOP_TIMEOUT_S = 5.0
#: How often the collector looks. The candidates of a bucket are thousands of lists that live until
#: they are sent: with the usual numbers it looked through all that the process holds for good.
COLLECTOR = (20_000, 20, 100)


class ShardResident:
    """The engine of one shard worker.

    Args:
        publish: sends one Celery task by name, raising when the broker does not take it.
        archive: where closed buckets go, in a folder per run day; None keeps no archive.
    """

    begins_anew = False

    def __init__(
        self,
        *,
        shard_id: int,
        relay_url: str,
        relay_key: str,
        relay_secret: str,
        redis_url: str,
        publish: Publish,
        relay_ca_file: str = "",
        now_ns: Callable[[], int] = time.time_ns,
        archive: Path | None = None,
    ) -> None:
        self.shard = shard_id
        self.epoch = now_ns() // 1_000_000  # grows from life to life
        self._now_ns = now_ns
        self._redis: redis.Redis = connect(redis_url)
        self._keeper = Keeper(self._redis)
        self._pulse = Pulse(connect(redis_url), shard_id, now_ns=now_ns)
        self._outbox = Outbox(publish)
        seq = itertools.count(1)
        self._tools = Tools(
            shard=shard_id, epoch=self.epoch, relay=(relay_url, relay_key, relay_secret),
            relay_ca_file=relay_ca_file or None,
            loader=connect(redis_url), writer=self._redis, keeper=self._keeper,
            send=self._outbox.send, seq=lambda: next(seq), now_ns=now_ns, archive=archive,
        )  # fmt: skip
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event | None = None
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"shard-{shard_id}", daemon=True)
        self._held: dict[int, Holding] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._run_id, self._as_of = "", -1
        self._day: date | None = None  # of the run
        self._cpu = (0.0, 0.0)  # process clock and CPU seconds at the last heart-beat

    # --- from other threads ----------------------------------------------------------------------

    def start(self) -> None:
        """Begin; returns when messages are taken."""
        gc.freeze()
        gc.set_threshold(*COLLECTOR)
        self._thread.start()
        self._started.wait(STOP_TIMEOUT_S)

    def stop(self) -> None:
        """End the engine and its threads; what the hub has not got is sent if the broker lives."""
        mailbox.close_for(self.post)
        loop, stopping = self._loop, self._stopping
        if loop is not None and stopping is not None and not loop.is_closed():
            try:
                loop.call_soon_threadsafe(stopping.set)
            except RuntimeError:
                pass  # it ended by itself just now
        if self._thread.is_alive():
            self._thread.join(STOP_TIMEOUT_S)

    def is_alive(self) -> bool:
        """Tell whether the engine's thread runs."""
        return self._thread.is_alive()

    def post(self, kind: str, payload: dict[str, Any]) -> None:
        """Hand over a message; it is worked off in the engine's loop."""
        loop = self._loop
        if loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(self._receive, kind, payload)

    # --- the thread ------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            asyncio.run(self._main())
        except Exception:
            logger.exception("shard engine died", extra={"shard": self.shard})
        finally:
            mailbox.close_for(self.post)

    async def _main(self) -> None:
        self._loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
        self._died: asyncio.Future[None] = self._loop.create_future()
        self._keeper.start()
        self._pulse.start()
        self._outbox.start()
        mailbox.open_for(self.post)
        self._started.set()
        beats = asyncio.create_task(self._beats())
        stop = asyncio.create_task(self._stopping.wait())
        try:
            waits: set[asyncio.Future[Any]] = {beats, stop, self._died}
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (beats, stop):
                task.cancel()
            await self._let_go_of_all()
            self._outbox.stop()
            self._keeper.stop()
            self._pulse.stop()
        if self._died.done():
            self._died.result()

    async def _beats(self) -> None:
        for number in itertools.count():
            self._pulse.tell(self.beat_fields())
            if number % round(LOAD_S / BEAT_S) == 0:
                self._tell_load()
            await asyncio.sleep(BEAT_S)

    @property
    def state(self) -> str:
        """The one word for all holdings: what is not ready comes first."""
        states = [held.state for held in self._held.values()]
        return next((state for state in states if state != "ready"), "ready" if states else "idle")

    @property
    def _duties(self) -> list[Duty]:
        return [held.duty for held in self._held.values() if held.duty is not None]

    def _load_percent(self) -> float:
        """Return the CPU used since the last heart-beat, percent of one core."""
        then, used = self._cpu
        self._cpu = now, cpu = time.monotonic(), time.process_time()
        return round(100 * (cpu - used) / (now - then), 1) if then and now > then else 0.0

    def beat_fields(self) -> dict[str, str]:
        """Return the heart-beat: where this shard stands, as text."""
        duties = self._duties
        failing = any(held.archive_failing for held in self._held.values())
        fields: dict[str, object] = {
            "state": self.state, "epoch": self.epoch, "pid": os.getpid(),
            "at": self._now_ns() // 1_000_000, "queue": self._outbox.waiting,
            "store": "failing" if self._keeper.failing or self._pulse.failing else "ok",
            "broker": "failing" if self._outbox.failing else "ok",
            "archive": "failing" if failing else "ok",
            "load": self._load_percent(), "run": self._run_id, "k": "", "lag_ms": "",
            "watermark_ns": 0, "symbols": 0, "params_version": "", "letters": "",
            "assignment": " ".join(map(str, sorted(self._held))), "build": build(),
        }  # fmt: skip
        if duties:
            ranges = merge(one for duty in duties for one in duty.assignment.ranges)
            fields |= {
                "k": min(duty.engine.closed_k for duty in duties),
                "lag_ms": round(max(duty.lag_ms for duty in duties), 1),
                "watermark_ns": min(duty.watermark_ns for duty in duties),
                "symbols": sum(len(duty.engine.symbols) for duty in duties),
                "params_version": min(duty.engine.parameters_version for duty in duties),
                "letters": " ".join(map(pattern, ranges)),
            }  # fmt: skip
        return {name: str(value) for name, value in fields.items()}

    def _tell_load(self) -> None:
        """Keep how many prints each cell has had: by it letters are balanced."""
        for duty in self._duties:
            self._keeper.measured(duty.assignment.run, load_of(duty))

    # --- messages from the hub -------------------------------------------------------------------

    def _receive(self, kind: str, payload: dict[str, Any]) -> None:
        try:
            getattr(self, f"_on_{kind}")(payload)
        except (ValueError, KeyError, TypeError, AttributeError, msgspec.ValidationError) as exc:
            logger.error("message refused", extra={"kind": kind, "error": str(exc)[:200]})

    def _on_assign(self, payload: dict[str, Any]) -> None:
        new = assignment_of(payload)
        keep = [new.assignment, *new.keep]
        if not self._let_go(new.run, max(new.as_of, new.assignment), keep, day=new.day):
            return
        held = self._held.get(new.assignment)
        if held is not None:
            held.say_ready()
            return
        self._hold(new)

    def _on_drop(self, payload: dict[str, Any]) -> None:
        if payload["run"] == self._run_id:
            self._let_go(self._run_id, int(payload["as_of"]), payload["keep"])

    def _let_go(self, run: str, as_of: int, keep: list[int], *, day: date | None = None) -> bool:
        """Drop what is not kept; False for a message that a newer one has overtaken.

        Args: day: the run's by now; another one has new numbers, and ends the last for good.
        """
        if another := run != self._run_id:
            self._run_id, self._as_of, self._day, keep = run, -1, day, []
        if as_of < self._as_of:
            return False
        if day not in (None, self._day):
            another, self._day = True, day
        if another:
            self._outbox.forget()
        self._as_of = as_of
        for number in set(self._held) - set(keep):
            held = self._held.pop(number)
            held.drop(for_good=another)
            self._outbox.drop(number)
            self._begin(held.hang_up())
        return True

    def _hold(self, new: Assignment) -> None:
        held = self._held[new.assignment] = Holding(new, self._tools)
        self._begin(held.take_up())

    def _holding(self, symbol: str) -> Duty | None:
        return next((d for d in self._duties if holds(d.assignment.ranges, symbol)), None)

    def _on_watch(self, payload: dict[str, Any]) -> None:
        position = msgspec.convert(payload, WatchedPosition)
        duty = self._holding(position.symbol)
        if duty is not None:  # else the hub asks again, whoever has the letters by then
            duty.engine.watch(position)
            self._acknowledge("watch", position.position_id, position.version)

    def _on_release(self, payload: dict[str, Any]) -> None:
        if self._held:
            for duty in self._duties:
                duty.engine.release(str(payload["position_id"]))
            self._acknowledge("release", str(payload["position_id"]), int(payload["version"]))

    def _on_parameters(self, payload: dict[str, Any]) -> None:
        version, from_k = int(payload["version"]), int(payload["active_from_k"])
        for duty in self._duties:
            duty.engine.set_parameters(payload["values"], version, from_k)
        if self._duties:
            self._acknowledge("parameters", str(version), version)

    def _on_resend(self, payload: dict[str, Any]) -> None:
        if self._held and payload["run"] == self._run_id:
            self._outbox.resend(int(payload["from_k"]), payload["stop"])

    def _on_resync(self, payload: dict[str, Any]) -> None:
        if payload["run"] != self._run_id:
            return
        for duty in self._duties:
            if begun := duty.engine.resync(map(str, payload["symbols"])):
                logger.warning("windows with a gap: begun anew", extra={"symbols": begun})

    def _acknowledge(self, what: str, ref: str, version: int) -> None:
        ack = messages.Ack(run=self._run_id, shard=self.shard, what=what, ref=ref, version=version)
        self._outbox.send(ack)

    # --- work in the loop ------------------------------------------------------------------------

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._check)

    async def _let_go_of_all(self) -> None:
        for held in self._held.values():
            held.drop(for_good=True)
            await held.hang_up()
        for held in self._held.values():
            await held.come_to_rest()
        self._held = {}
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _check(self, task: "asyncio.Task[None]") -> None:
        """An error in the engine ends this resident: the watchdog starts a fresh one."""
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None and not self._died.done():
            self._died.set_exception(task.exception() or RuntimeError("unknown"))


def load_of(duty: Duty) -> dict[str, int]:
    """Return how many prints each storage cell of the duty has had in the session."""
    engine = duty.engine
    found: dict[str, int] = {}
    for name, seen in zip(engine.symbols.names, engine.table["seen"].tolist(), strict=False):
        cell = cell_of(name)
        found[cell] = found.get(cell, 0) + seen
    return found
