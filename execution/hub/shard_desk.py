"""The shards as the hub sees them: who lives, who has which letters, who watches which position.

Everything sent is sent again until it is acknowledged: a Celery message may be lost.
"""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import msgspec
import redis

from execution.domain.setup import is_contiguous
from execution.hub.grants import Grant, Holders, as_rows, from_rows, regrant
from execution.models import Run, Trade
from execution.services import runs
from shards.keys import grants_key, load_key
from shards.letters import Range, merge
from shards.split import Assigned, check
from signals.messages import Ack, Report, ShardReady, WatchedPosition

logger = logging.getLogger(__name__)

RESEND_S = 2.0
FENCE_AGAIN_S = 5.0  # a Redis that fell back to an older state shuts out whoever is newer
SHARDS_MAX = 26
RESYNC_MAX = 500  # symbols of a message
GRANTS_TTL_S = 5 * 24 * 3600  # given out on the Friday evening before a long weekend


class Send(Protocol):
    """Publish one task; False when the broker is away (it will be tried again)."""

    def __call__(self, task: str, kwargs: dict[str, Any], queue: str) -> bool: ...


@dataclass(kw_only=True)
class ShardDesk:
    """Args: fence: writes the numbers that count where the shards' store sees them, again and
    again, as Redis may forget; mono: the process clock; speed: market seconds per second.
    """

    run: Run
    send: Send
    mono: Callable[[], float]
    fence: Callable[[str, set[int]], None] = lambda run, numbers: None
    lockstep: bool = False  # the venue waits for us at every stop
    speed: float = 1.0
    record_dir: str | None
    parameters: dict[str, Any] = field(default_factory=dict)
    params_version: int = 0
    coming: tuple[int, dict[str, Any], int] | None = None  # version, values, from bucket
    ready: dict[int, ShardReady] = field(default_factory=dict)  # by grant
    holders: Holders = field(default_factory=lambda: Holders(()))
    refused: int = 0  # messages of grants that do not count
    disputed: set[int] = field(default_factory=set)  # grants that another shard claims, too
    _fenced_at: float = 0.0
    _assigned_at: dict[int, float] = field(default_factory=dict)
    _dropped_at: dict[int, float] = field(default_factory=dict)
    _watch_sent: dict[int, tuple[int, float]] = field(default_factory=dict)
    _released: dict[str, tuple[int, str, int, float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.holders = Holders(from_rows(self.run.grants))

    # --- letters ----------------------------------------------------------------------------------
    @property
    def grants(self) -> dict[int, Grant]:
        """The grants that count, by number."""
        return self.holders.by_number

    @property
    def shards(self) -> set[int]:
        """The shards that have letters in this run."""
        return {grant.shard for grant in self.grants.values()}

    @property
    def assigned(self) -> Assigned:
        """Who has what."""
        found: Assigned = {}
        for grant in self.grants.values():
            found.setdefault(grant.shard, []).extend(grant.ranges)
        return {shard: merge(ranges) for shard, ranges in sorted(found.items())}

    def give(
        self, wanted: Mapping[int, Sequence[Range]], from_k: Callable[[Sequence[Grant]], int]
    ) -> list[Grant]:
        """Give the letters out like this; returns the grants that are new.

        Whoever keeps letters goes on with them; the rest is assigned when `assign_where_owed` is
        called next. The numbers are kept with the run before anybody hears of them.
        """
        held = list(self.grants.values())
        grants = regrant(held, wanted, number=self.run.assignment, from_k=from_k)
        check({grant.number: grant.ranges for grant in grants})
        newest = max((grant.number for grant in grants), default=0)
        self.holders = Holders(grants)
        runs.update_run(
            self.run,
            assignment=max(newest, self.run.assignment),
            grants=as_rows(grants),
            assignments={str(s): [list(r) for r in found] for s, found in self.assigned.items()},
        )
        self.ready = {n: ready for n, ready in self.ready.items() if n in self.grants}
        self.disputed &= set(self.grants)
        return [grant for grant in grants if grant not in held]

    def assign(self, grant: Grant, *, from_k: int | None = None) -> None:
        """Send a shard an assignment; the same number again only asks for its answer."""
        self._assigned_at[grant.number] = self.mono()
        self._write_fence()
        self.send(
            "shards.assign",
            {"assignment": self.assignment_of(grant, from_k=from_k)},
            queue=f"shard.{grant.shard}",
        )

    def _write_fence(self) -> None:
        self._fenced_at = self.mono()
        self.fence(self.run.pk, set(self.grants))

    def assignment_of(self, grant: Grant, *, from_k: int | None = None) -> dict[str, Any]:
        run = self.run
        return {
            "run": run.pk,
            "day": str(run.day),
            "open_ns": run.open_ns,
            "close_ns": run.close_ns,
            "assignment": grant.number,
            "as_of": run.assignment,
            "keep": self._numbers_of(grant.shard),
            "from_k": grant.from_k if from_k is None else from_k,
            "shard": grant.shard,
            "ranges": [list(one) for one in grant.ranges],
            "parameters_version": self.params_version,
            "parameters": self.parameters,
            "coming": self._coming(),
            "lockstep": self.lockstep,
            "speed": self.speed,
            "record_dir": self.record_dir,
            "quotes": "all",
            "watch": [
                msgspec.to_builtins(position_of(trade))
                for trade in self._watchable()
                if grant.holds(trade.symbol)
            ],
        }

    def _coming(self) -> dict[str, Any] | None:
        if self.coming is None or self.coming[0] == self.params_version:
            return None
        version, values, from_k = self.coming
        return {"version": version, "values": values, "from_k": from_k}

    def _numbers_of(self, shard: int) -> list[int]:
        return sorted(n for n, grant in self.grants.items() if grant.shard == shard)

    def owner(self, symbol: str) -> int | None:
        """Return the shard that has a symbol's letters."""
        grant = self.holders.of(symbol)
        return None if grant is None else grant.shard

    def counts(self, number: int, shard: int) -> bool:
        """Does what a shard says under this number count? The number's letters are its own then."""
        grant = self.grants.get(number)
        if grant is None:
            self.refused += 1
        elif grant.shard != shard:
            self.refused += 1
            if number not in self.disputed:
                logger.error("two shards claim one grant", extra={"number": number, "shard": shard})
            self.disputed.add(number)
        return grant is not None and grant.shard == shard

    def on_ready(self, message: ShardReady) -> bool:
        """Take a shard's answer; False when it answers something old."""
        grant = self.grants.get(message.assignment)
        if message.run != self.run.pk or grant is None or grant.shard != message.shard:
            return False
        known = self.ready.get(message.assignment)
        if known is None or message.epoch >= known.epoch:
            self.ready[message.assignment] = message
        return True

    def life_of(self, shard: int) -> int | None:
        """Return the newest life of a shard that has answered, None when it has not."""
        return max((one.epoch for one in self.ready.values() if one.shard == shard), default=None)

    @property
    def waiting_for(self) -> list[int]:
        """The shards that owe an answer."""
        return sorted({self.grants[number].shard for number in self.unready})

    @property
    def unready(self) -> set[int]:
        """The grants that nobody has taken up yet."""
        return set(self.grants) - set(self.ready)

    def assign_where_owed(self, from_k: Callable[[Grant], int] | None = None) -> None:
        """Send assignments to shards that have not answered."""
        now = self.mono()
        for number in sorted(self.unready):
            if now - self._assigned_at.get(number, -RESEND_S) >= RESEND_S:
                grant = self.grants[number]
                self.assign(grant, from_k=None if from_k is None else from_k(grant))

    def look_after(self, beats: Mapping[int, Mapping[str, str]]) -> list[Grant]:
        """Find grants whose shard has lost them (a new life), and those it should not hold.

        The lost ones are returned; they are owed again.
        """
        lost, now = [], self.mono()
        if self.grants and now - self._fenced_at >= FENCE_AGAIN_S:
            self._write_fence()
        for shard, beat in beats.items():
            if beat.get("run", "") not in ("", self.run.pk):
                continue
            held = {int(word) for word in beat.get("assignment", "").split() if word.isdigit()}
            mine = set(self._numbers_of(shard))
            for number in sorted(mine & set(self.ready)):
                told = int(beat.get("epoch") or 0), self.ready[number].epoch
                fine = told[0] < told[1] or (told[0] == told[1] and number in held)
                if not fine and now - self._assigned_at.get(number, 0.0) >= RESEND_S:
                    del self.ready[number]
                    lost.append(self.grants[number])
            if held - mine and now - self._dropped_at.get(shard, -RESEND_S) >= RESEND_S:
                self._dropped_at[shard] = now
                self._drop(shard)
        return lost

    def _drop(self, shard: int) -> None:
        keep = self._numbers_of(shard)
        self.send(
            "shards.drop",
            {"run": self.run.pk, "as_of": self.run.assignment, "keep": keep},
            queue=f"shard.{shard}",
        )

    def ask_again(self, from_k: int, stop: int | None, shards: list[int]) -> None:
        """Ask shards to send their reports again: a message was lost, or we are new."""
        for shard in shards:
            self.send(
                "shards.resend",
                {"run": self.run.pk, "from_k": from_k, "stop": stop},
                queue=f"shard.{shard}",
            )

    def resync(self, reports: Iterable[Report]) -> dict[int, list[str]]:
        """Have windows with a gap begun anew; returns the symbols, by shard.

        Their candidates cannot fire meanwhile. A lost message costs nothing: while the gap is
        reported it is asked for again.
        """
        found: dict[int, list[str]] = {}
        for report in reports:
            broken = [c.symbol for c in report.candidates if not is_contiguous(c)]
            if broken:
                found.setdefault(report.shard, []).extend(broken)
        for shard, symbols in sorted(found.items()):
            told = {"run": self.run.pk, "symbols": sorted(symbols)[:RESYNC_MAX]}
            self.send("shards.resync", told, queue=f"shard.{shard}")
        return found

    def send_parameters(self, version: int, values: Mapping[str, Any], active_from_k: int) -> None:
        self.coming = (version, dict(values), active_from_k)
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
            run=self.run, state__in=("partial", "open_protected", "unprotected", "exiting")
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
    numbers = range(1, SHARDS_MAX + 1)
    try:
        pipe = client.pipeline(transaction=False)
        for shard in numbers:
            pipe.hgetall(f"hb:shard:{shard}")
        answers = pipe.execute()
    except redis.RedisError as exc:
        logger.debug("no heart-beats", extra={"error": str(exc)})
        return {}
    return {
        shard: {name.decode(): value.decode() for name, value in answer.items()}
        for shard, answer in zip(numbers, answers, strict=True)
        if answer
    }


def write_fence(client: redis.Redis, run: str, numbers: set[int]) -> None:
    """Tell the shards' store which assignments count; without Redis nobody writes to it anyway.

    What stands there already is left alone: a change fails whoever is writing.
    """
    key, words = grants_key(run), {str(number) for number in numbers}
    try:
        if client.smembers(key) == {word.encode() for word in words}:
            return
        pipe = client.pipeline(transaction=True)
        pipe.delete(key)
        if words:
            pipe.sadd(key, *sorted(words))
            pipe.expire(key, GRANTS_TTL_S)
        pipe.execute()
    except redis.RedisError as exc:
        logger.debug("no fence", extra={"error": str(exc)})


def read_load(client: redis.Redis, run: str) -> dict[str, int]:
    """Return the prints per cell that the shards of a run have measured; empty without Redis."""
    try:
        found: dict[bytes, bytes] = client.hgetall(load_key(run))  # type: ignore[assignment]
    except redis.RedisError as exc:
        logger.debug("no measured load", extra={"error": str(exc)})
        return {}
    return {cell.decode(): int(prints) for cell, prints in found.items()}
