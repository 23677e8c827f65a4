"""The resident engine of a shard worker: its own thread and event loop beside Celery's.

Tasks post to it through `shards.mailbox` and return; it holds the relay connection, works one
`Duty` at a time, and answers through the outbox. A new assignment gets a new connection, so that
its replay and its live frames cannot mix with those of the one before.
"""

import asyncio
import itertools
import logging
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
import numpy as np
import redis

from relay.client import RelayClient
from shards import mailbox, warm
from shards.archive import Spool
from shards.assignment import Assignment, assignment_of
from shards.blobs import Kept
from shards.duty import Duty
from shards.engine import Engine
from shards.keeper import Keeper
from shards.outbox import Outbox, Publish
from shards.store import BucketStore, connect
from signals import messages
from signals.messages import WatchedPosition

logger = logging.getLogger(__name__)

EXTENSIONS = ("frame", "prefix", "clock", "resume")
BEAT_S = 1.0
STOP_TIMEOUT_S = 5.0


class ShardResident:
    """The engine of one shard worker.

    Args:
        publish: sends one Celery task by name, raising when the broker does not take it.
        archive: where closed buckets go, in a folder per run day; None keeps no archive.
    """

    def __init__(
        self,
        *,
        shard_id: int,
        relay_url: str,
        relay_key: str,
        relay_secret: str,
        redis_url: str,
        publish: Publish,
        now_ns: Callable[[], int] = time.time_ns,
        archive: Path | None = None,
    ) -> None:
        self.shard = shard_id
        self.epoch = now_ns() // 1_000_000  # grows from life to life
        self._relay = (relay_url, relay_key, relay_secret)
        self._now_ns = now_ns
        self._archive_home = archive
        self._spool: Spool | None = None
        self._redis: redis.Redis = connect(redis_url)
        self._loader: redis.Redis = connect(redis_url)
        self._keeper = Keeper(self._redis, shard_id)
        self._outbox = Outbox(publish)
        self._seq = itertools.count(1)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event | None = None
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"shard-{shard_id}", daemon=True)
        self._duty: Duty | None = None
        self._client: RelayClient | None = None
        self._client_task: asyncio.Task[None] | None = None
        self._assigning: Assignment | None = None
        self._ready: messages.ShardReady | None = None
        self.state = "idle"

    # --- from other threads ----------------------------------------------------------------------

    def start(self) -> None:
        """Begin; returns when messages are taken."""
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
            await self._hang_up()
            if self._duty is not None:
                self._duty.close()
            self._close_archive()
            self._outbox.stop()
            self._keeper.stop()
        if self._died.done():
            self._died.result()

    async def _beats(self) -> None:
        while True:
            self._keeper.beat(self.beat_fields())
            await asyncio.sleep(BEAT_S)

    def beat_fields(self) -> dict[str, str]:
        """Return the heart-beat: where this shard stands, as text."""
        duty = self._duty
        fields: dict[str, object] = {
            "state": self.state, "epoch": self.epoch, "pid": os.getpid(),
            "at": self._now_ns() // 1_000_000, "queue": self._outbox.waiting,
            "store": "failing" if self._keeper.failing else "ok",
            "broker": "failing" if self._outbox.failing else "ok",
            "archive": "failing" if self._spool is not None and self._spool.failing else "ok",
            "run": "", "k": "", "lag_ms": "", "symbols": 0, "params_version": "",
            "assignment": "", "letters": "",
        }  # fmt: skip
        if duty is not None:
            engine, assignment = duty.engine, duty.assignment
            fields |= {
                "run": assignment.run, "k": engine.closed_k, "lag_ms": round(duty.lag_ms, 1),
                "symbols": len(engine.symbols), "params_version": engine.parameters_version,
                "assignment": assignment.assignment,
                "letters": " ".join(assignment.channels["trades"]),
            }  # fmt: skip
        return {name: str(value) for name, value in fields.items()}

    # --- messages from the hub -------------------------------------------------------------------

    def _receive(self, kind: str, payload: dict[str, Any]) -> None:
        try:
            getattr(self, f"_on_{kind}")(payload)
        except (ValueError, KeyError, TypeError, msgspec.ValidationError) as exc:
            logger.error("message refused", extra={"kind": kind, "error": str(exc)[:200]})

    def _on_assign(self, payload: dict[str, Any]) -> None:
        new = assignment_of(payload)
        current = self._assigning
        if current is not None and current.run == new.run:
            if new.assignment < current.assignment:
                return
            if new.assignment == current.assignment:
                if self._ready is not None:
                    self._outbox.send(self._ready)
                return
        self._assigning, self._ready = new, None
        task = asyncio.ensure_future(self._take_up(new))
        task.add_done_callback(self._check)

    def _on_watch(self, payload: dict[str, Any]) -> None:
        position = msgspec.convert(payload, WatchedPosition)
        if self._duty is not None:
            self._duty.engine.watch(position)
            self._acknowledge("watch", position.position_id, position.version)

    def _on_release(self, payload: dict[str, Any]) -> None:
        if self._duty is not None:
            self._duty.engine.release(str(payload["position_id"]))
            self._acknowledge("release", str(payload["position_id"]), int(payload["version"]))

    def _on_parameters(self, payload: dict[str, Any]) -> None:
        if self._duty is not None:
            version = int(payload["version"])
            self._duty.engine.set_parameters(
                payload["values"], version, int(payload["active_from_k"])
            )
            self._acknowledge("parameters", str(version), version)

    def _on_resend(self, payload: dict[str, Any]) -> None:
        duty = self._duty
        if duty is not None and duty.assignment.run == payload["run"]:
            self._outbox.resend(int(payload["from_k"]), payload["stop"])

    def _acknowledge(self, what: str, ref: str, version: int) -> None:
        run = self._duty.assignment.run if self._duty else ""
        self._outbox.send(
            messages.Ack(run=run, shard=self.shard, what=what, ref=ref, version=version)
        )

    # --- taking up an assignment -----------------------------------------------------------------

    async def _take_up(self, new: Assignment) -> None:
        self.state = "loading"
        await self._hang_up()
        await asyncio.to_thread(warm)  # no stop of a tape should wait for a compiler
        old, self._duty = self._duty, None
        if old is not None:
            old.close()
            if old.assignment.run != new.run:
                self._outbox.forget()
        engine = Engine(
            session=new.session, parameters=new.parameters,
            parameters_version=new.parameters_version, ranges=new.ranges, shard=self.shard,
            epoch=self.epoch, run=new.run, assignment=new.assignment,
        )  # fmt: skip
        store = BucketStore(
            self._loader, new.run, new.day.isoformat(),
            bucket_ttl_s=int(new.parameters["bucket_ttl"]), lockstep=new.lockstep,
        )  # fmt: skip
        kept = await asyncio.to_thread(self._load, store, new, engine.settings.depth)
        if self._assigning is not new:
            return  # a newer one came meanwhile
        if kept is not None:
            engine.restore(kept.newest, kept.history, kept.minutes)
        writer = BucketStore(
            self._redis, new.run, new.day.isoformat(),
            bucket_ttl_s=int(new.parameters["bucket_ttl"]), lockstep=new.lockstep,
        )  # fmt: skip
        self._duty = Duty(
            new, engine, send=self._outbox.send, seq=lambda: next(self._seq),
            keep=lambda state, epoch: self._keeper.keep(writer, state, epoch),
            now_ns=self._now_ns, record=self._open_record(new), archive=self._open_archive(new),
        )  # fmt: skip
        self._dial(new, kept)

    def _load(self, store: BucketStore, new: Assignment, depth: int) -> Kept | None:
        try:
            return store.load(new.ranges, depth)
        except redis.RedisError as exc:
            logger.warning("no bucket store, beginning cold", extra={"error": str(exc)[:200]})
            return None

    def _open_record(self, new: Assignment) -> BinaryIO | None:
        path = new.record_path(self.epoch)
        if path is None:
            return None
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.open("ab")

    def _open_archive(self, new: Assignment) -> Callable[[np.ndarray], None] | None:
        self._close_archive()
        if self._archive_home is None:
            return None
        name = f"{new.run}-{self.shard}-{self.epoch}-{new.assignment}"
        self._spool = Spool(self._archive_home / new.day.isoformat(), name)
        self._spool.start()
        return self._spool.add

    def _close_archive(self) -> None:
        spool, self._spool = self._spool, None
        if spool is not None:
            spool.stop()

    def _dial(self, new: Assignment, kept: Kept | None) -> None:
        self.state = "connecting"
        resume = None
        if kept is not None and self._duty is not None:
            resume = (kept.epoch, kept.newest.first_later_offset)
            self._duty.resume_at(*resume)
        url, key, secret = self._relay
        self._client = RelayClient(
            url, key, secret, extensions=EXTENSIONS,
            on_frame=self._on_frame, on_state=self._on_relay_state,
        )  # fmt: skip
        self._client.subscribe(**new.channels, resume=resume)
        self._client_task = asyncio.create_task(self._client.run())
        self._client_task.add_done_callback(self._check)

    async def _hang_up(self) -> None:
        client, task = self._client, self._client_task
        self._client = self._client_task = None
        if client is not None and task is not None:
            await client.close()
            await asyncio.gather(task, return_exceptions=True)

    def _check(self, task: "asyncio.Task[None]") -> None:
        """An error in the engine ends this resident: the watchdog starts a fresh one."""
        if not task.cancelled() and task.exception() is not None and not self._died.done():
            self._died.set_exception(task.exception() or RuntimeError("unknown"))

    # --- the relay -------------------------------------------------------------------------------

    def _on_frame(self, frame: bytes) -> None:
        if self._duty is not None:
            self._duty.take(frame)

    def _on_relay_state(self, state: str, reason: str) -> None:
        if state == "subscribed":
            self.state = "ready"
            self._say_ready()
        elif self._duty is not None:
            self.state = f"relay {state}"
        if state in ("lost", "refused"):
            logger.warning("relay away", extra={"state": state, "reason": reason})

    def _say_ready(self) -> None:
        duty = self._duty
        if duty is None:
            return
        engine = duty.engine
        resumed = engine.started
        self._ready = messages.ShardReady(
            run=duty.assignment.run, shard=self.shard, epoch=self.epoch,
            assignment=duty.assignment.assignment, params_version=engine.parameters_version,
            last_k=engine.closed_k if resumed else None, resumed=resumed,
        )  # fmt: skip
        self._outbox.send(self._ready)
