"""One assignment of a shard: loaded from the store, dialed, worked off, until it is dropped.

A shard may hold several: what it takes over from another goes on beside what it has, with an
engine and a connection of its own, so that neither waits for the other.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import redis

from relay.client import RelayClient
from shards import warm
from shards.archive import Spool
from shards.assignment import Assignment
from shards.blobs import Kept
from shards.columns import USUAL_CAPACITY
from shards.duty import Duty
from shards.engine import Engine
from shards.keeper import Keeper
from shards.store import BucketStore
from signals import messages
from signals.messages import Message

logger = logging.getLogger(__name__)

EXTENSIONS = ("frame", "prefix", "clock", "resume", "gap")


@dataclass(frozen=True, kw_only=True)
class Tools:
    """What all holdings of a shard share.

    relay: URL, key id, secret. loader, writer: the store's clients, to read and to write.
    send: queues a message for the hub; seq: the next message number; archive: the folder of
    closed buckets, None keeps none.
    """

    shard: int
    epoch: int
    relay: tuple[str, str, str]
    loader: redis.Redis
    writer: redis.Redis
    keeper: Keeper
    send: Callable[[Message], None]
    seq: Callable[[], int]
    now_ns: Callable[[], int]
    relay_ca_file: str | None = None
    archive: Path | None = None


class Holding:
    """`take_up` once; `drop` at any time. All calls come from the shard's loop."""

    def __init__(self, assignment: Assignment, tools: Tools) -> None:
        self.assignment = assignment
        self.state = "loading"
        self.duty: Duty | None = None
        self._tools = tools
        self._client: RelayClient | None = None
        self._spool: Spool | None = None
        self._ready: messages.ShardReady | None = None
        self._dropped = False
        self._away = ("", "")

    @property
    def number(self) -> int:
        return self.assignment.assignment

    @property
    def archive_failing(self) -> bool:
        return self._spool is not None and self._spool.failing

    async def take_up(self) -> None:
        """Load, connect, and stay with the relay until dropped."""
        await asyncio.to_thread(warm)  # no stop of a tape should wait for a compiler
        engine, resume, begun = await asyncio.to_thread(self._prepare)
        if self._dropped:
            return
        new, tools = self.assignment, self._tools
        store = self._store(tools.writer)
        self.duty = Duty(
            new, engine, send=tools.send, seq=tools.seq,
            keep=lambda state, epoch: tools.keeper.keep(store, state, epoch),
            now_ns=tools.now_ns, record=self._open_record(), archive=self._open_archive(),
            begun=None if begun else lambda *first: tools.keeper.begin(store, *first),
        )  # fmt: skip
        if resume is not None:
            self.duty.resume_at(*resume)
        self.state = "connecting"
        url, key, secret = tools.relay
        self._client = RelayClient(
            url, key, secret, extensions=EXTENSIONS,
            on_frame=self._on_frame, on_state=self._on_relay_state,
            ca_file=tools.relay_ca_file,
        )  # fmt: skip
        self._client.subscribe(**new.channels, resume=resume)
        await self._client.run()

    def drop(self, *, for_good: bool = False) -> None:
        """Let go at once: nothing is taken or said from now on.

        Args: for_good: nobody goes on with the run here; its archive is finished.
        """
        self._dropped = True
        duty, self.duty = self.duty, None
        if duty is not None:
            duty.close()
        if self._spool is not None:
            self._spool.let_go(finish=for_good)

    async def hang_up(self) -> None:
        """Close the connection; `take_up` then ends."""
        if self._client is not None:
            await self._client.close()

    async def come_to_rest(self) -> None:
        """After `drop`, let the archive come to its end, if that is quick."""
        if self._spool is not None:
            await asyncio.to_thread(self._spool.wait)

    def say_ready(self) -> None:
        """Answer the assignment, again when it was answered before."""
        if self._ready is not None:
            self._tools.send(self._ready)

    # --- the engine, and where it goes on ---------------------------------------------------------

    def _prepare(self) -> tuple[Engine, tuple[int, int] | None, bool]:
        """Return the engine, the frame it goes on from, and whether the run had begun for it."""
        new = self.assignment
        engine = Engine(
            session=new.session, parameters=new.parameters,
            parameters_version=new.parameters_version, ranges=new.ranges,
            shard=self._tools.shard, epoch=self._tools.epoch, run=new.run,
            assignment=new.assignment, capacity=USUAL_CAPACITY,
        )  # fmt: skip
        store = self._store(self._tools.loader)
        try:
            kept = store.load(new.ranges, engine.settings.reach + 1, before_k=new.from_k)
            begun = None if kept is not None else store.begun()
        except redis.RedisError as exc:
            logger.warning("no bucket store, beginning cold", extra={"error": str(exc)[:200]})
            return engine, None, False
        if kept is None:
            return engine, begun, begun is not None
        engine.restore(kept.newest, kept.history, kept.minutes)
        return engine, _position(kept), True

    def _store(self, client: redis.Redis) -> BucketStore:
        new = self.assignment
        return BucketStore(
            client, new.run, new.day.isoformat(), bucket_ttl_s=int(new.parameters["bucket_ttl"]),
            lockstep=new.lockstep, assignment=new.assignment,
        )  # fmt: skip

    def _open_record(self) -> BinaryIO | None:
        path = self.assignment.record_path(self._tools.epoch)
        if path is None:
            return None
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.open("ab")

    def _open_archive(self) -> Callable[[np.ndarray], None] | None:
        new, home = self.assignment, self._tools.archive
        if home is None:
            return None
        name = f"{new.run}-{self._tools.shard}-{self._tools.epoch}-{new.assignment}"
        self._spool = Spool(home / new.day.isoformat(), name, new.session.end_k - 1)
        self._spool.start()
        return self._spool.add

    # --- the relay --------------------------------------------------------------------------------

    def _on_frame(self, frame: bytes) -> None:
        if self.duty is not None:
            self.duty.take(frame)

    def _on_relay_state(self, state: str, reason: str) -> None:
        if self._dropped:
            return
        self.state = "ready" if state == "subscribed" else f"relay {state}"
        if state == "subscribed":
            self._away = ("", "")
            self._make_ready()
        if state in ("lost", "refused") and (state, reason) != self._away:
            self._away = (state, reason)  # said once, not at each attempt
            logger.warning("relay away", extra={"state": state, "reason": reason})

    def _make_ready(self) -> None:
        if self.duty is None:
            return
        engine = self.duty.engine
        resumed = engine.started
        self._ready = messages.ShardReady(
            run=self.assignment.run, shard=self._tools.shard, epoch=self._tools.epoch,
            assignment=self.number, params_version=engine.parameters_version,
            last_k=engine.closed_k if resumed else None, resumed=resumed,
        )  # fmt: skip
        self.say_ready()


def _position(kept: Kept) -> tuple[int, int]:
    return kept.epoch, kept.newest.first_later_offset
