"""The shards as the hub sees them: who lives, who has which letters, who watches which position.

Everything sent is sent again until it is acknowledged: a Celery message may be lost.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import msgspec
import redis

from execution.models import Run, Trade
from execution.services import runs
from shards.letters import assign_letters, holds
from signals.messages import Ack, ShardReady, WatchedPosition

logger = logging.getLogger(__name__)

RESEND_S = 2.0
ASSIGN_AGAIN_S = 10.0


class Send(Protocol):
    """Publish one task; False when the broker is away (it will be tried again)."""

    def __call__(self, task: str, kwargs: dict[str, Any], queue: str) -> bool: ...


@dataclass(kw_only=True)
class ShardDesk:
    """Args: beats: reads all heart-beats by shard; mono: the process clock."""

    run: Run
    send: Send
    beats: Callable[[], dict[int, dict[str, str]]]
    mono: Callable[[], float]
    lockstep: bool = False  # the venue waits for us at every stop
    record_dir: str | None
    parameters: dict[str, Any] = field(default_factory=dict)
    params_version: int = 0
    ready: dict[int, ShardReady] = field(default_factory=dict)
    _assigned_at: dict[int, float] = field(default_factory=dict)
    _watch_sent: dict[int, tuple[int, float]] = field(default_factory=dict)
    _released: dict[str, tuple[int, str, int, float]] = field(default_factory=dict)

    # --- letters ----------------------------------------------------------------------------------
    @property
    def shards(self) -> set[int]:
        """The shards that have letters in this run."""
        return {int(shard) for shard in self.run.assignments}

    def choose(self, alive: list[int]) -> None:
        """Give the letters to these shards; numbered, and kept with the run."""
        ranges = assign_letters(sorted(alive), int(self.parameters["letters_per_shard"]))
        chosen = {str(shard): [list(r) for r in found] for shard, found in ranges.items() if found}
        runs.update_run(self.run, assignment=self.run.assignment + 1, assignments=chosen)
        self.ready.clear()

    def assign(self, shard: int) -> None:
        """Send a shard its assignment; the same number again only asks for its answer."""
        self._assigned_at[shard] = self.mono()
        self.send(
            "shards.assign", {"assignment": self.assignment_of(shard)}, queue=f"shard.{shard}"
        )

    def assignment_of(self, shard: int) -> dict[str, Any]:
        run = self.run
        return {
            "run": run.pk,
            "day": str(run.day),
            "open_ns": run.open_ns,
            "close_ns": run.close_ns,
            "assignment": run.assignment,
            "shard": shard,
            "ranges": run.assignments[str(shard)],
            "parameters_version": self.params_version,
            "parameters": self.parameters,
            "lockstep": self.lockstep,
            "record_dir": self.record_dir,
            "quotes": "all",
            "watch": [
                msgspec.to_builtins(position_of(trade))
                for trade in self._watchable()
                if self.owner(trade.symbol) == shard
            ],
        }

    def owner(self, symbol: str) -> int | None:
        """Return the shard that has a symbol's letters."""
        for shard, ranges in self.run.assignments.items():
            if holds([(lo, hi) for lo, hi in ranges], symbol):
                return int(shard)
        return None

    def on_ready(self, message: ShardReady) -> bool:
        """Take a shard's answer; False when it answers something old."""
        if message.run != self.run.pk or message.assignment != self.run.assignment:
            return False
        self.ready[message.shard] = message
        return True

    @property
    def waiting_for(self) -> list[int]:
        return sorted(self.shards - set(self.ready))

    def assign_where_owed(self) -> list[int]:
        """Send assignments to shards that have not answered; returns which."""
        now = self.mono()
        owed = [
            shard
            for shard in self.waiting_for
            if now - self._assigned_at.get(shard, -RESEND_S) >= RESEND_S
        ]
        for shard in owed:
            self.assign(shard)
        return owed

    def look_after(self) -> list[int]:
        """Find shards that have lost their assignment (a new life), and assign them again."""
        lost = []
        for shard, beat in self.beats().items():
            if shard not in self.shards or shard in self.waiting_for:
                continue
            told = (beat.get("run", ""), beat.get("assignment", ""))
            same_life = beat.get("epoch", "") == str(self.ready[shard].epoch)
            fine = same_life and told == (self.run.pk, str(self.run.assignment))
            if not fine and self.mono() - self._assigned_at.get(shard, 0.0) >= RESEND_S:
                self.ready.pop(shard, None)
                self.assign(shard)
                lost.append(shard)
        return lost

    def ask_again(self, from_k: int, stop: int | None, shards: list[int]) -> None:
        """Ask shards to send their reports again: a message was lost, or we are new."""
        for shard in shards:
            self.send(
                "shards.resend",
                {"run": self.run.pk, "from_k": from_k, "stop": stop},
                queue=f"shard.{shard}",
            )

    def send_parameters(self, version: int, values: Mapping[str, Any], active_from_k: int) -> None:
        for shard in sorted(self.shards):
            self.send(
                "shards.parameters",
                {"version": version, "values": dict(values), "active_from_k": active_from_k},
                queue=f"shard.{shard}",
            )

    # --- positions --------------------------------------------------------------------------------
    def watch(self) -> bool:
        """Tell the owners of open positions; True when nothing is owed an answer any more."""
        owed = [t for t in self._watchable() if t.watch_acked < t.version]
        now = self.mono()
        for trade in owed:
            version, at = self._watch_sent.get(trade.pk, (0, 0.0))
            shard = self.owner(trade.symbol)
            if shard is None or (version == trade.version and now - at < RESEND_S):
                continue
            self._watch_sent[trade.pk] = (trade.version, now)
            self.send(
                "shards.watch",
                {"position": msgspec.to_builtins(position_of(trade))},
                queue=f"shard.{shard}",
            )
        return not owed and not self._resend_releases(now)

    @property
    def quiet(self) -> bool:
        """Is no release owed an answer?"""
        return not self._released

    def release(self, trade: Trade) -> None:
        """Tell the owner that a position is closed."""
        shard = self.owner(trade.symbol)
        if shard is None or not trade.watch_acked:
            return
        self._released[trade.position_id] = (trade.version, trade.symbol, shard, self.mono())
        self._send_release(trade.position_id, trade.version, shard)

    def on_ack(self, message: Ack) -> None:
        if message.what == "watch":
            pk = int(message.ref.rpartition(":")[2])
            Trade.objects.filter(pk=pk, watch_acked__lt=message.version).update(
                watch_acked=message.version
            )
        elif message.what == "release":
            self._released.pop(message.ref, None)

    def _watchable(self) -> list[Trade]:
        rows = Trade.objects.filter(
            run=self.run, state__in=("open_protected", "unprotected", "exiting")
        )
        return [trade for trade in rows.order_by("pk") if trade.held > 0]

    def _resend_releases(self, now: float) -> bool:
        for ref, (version, symbol, shard, at) in list(self._released.items()):
            if now - at >= RESEND_S:
                self._released[ref] = (version, symbol, shard, now)
                self._send_release(ref, version, shard)
        return bool(self._released)

    def _send_release(self, position_id: str, version: int, shard: int) -> None:
        self.send(
            "shards.release",
            {"position_id": position_id, "version": version},
            queue=f"shard.{shard}",
        )


def position_of(trade: Trade) -> WatchedPosition:
    """Return what a shard needs to watch the trade."""
    return WatchedPosition(
        position_id=trade.position_id,
        version=trade.version,
        symbol=trade.symbol,
        quantity=trade.held,
        stop=float(trade.stop_loss),
        target=float(trade.take_profit),
        opened_ts_ns=trade.opened_ns or trade.reserved_ns,
    )


def read_beats(client: redis.Redis) -> dict[int, dict[str, str]]:
    """Return the heart-beats of all living shards; empty when Redis does not answer."""
    try:
        keys = sorted(client.scan_iter("hb:shard:*", count=1000))
        pipe = client.pipeline(transaction=False)
        for key in keys:
            pipe.hgetall(key)
        answers = pipe.execute()
    except redis.RedisError as exc:
        logger.warning("no heart-beats", extra={"error": str(exc)})
        return {}
    found = {}
    for key, answer in zip(keys, answers, strict=True):
        shard = key.decode().rpartition(":")[2]
        if shard.isdigit() and answer:
            found[int(shard)] = {n.decode(): v.decode() for n, v in answer.items()}
    return found
