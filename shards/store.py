"""The shard's memory in Redis: closed buckets and the state to go on from, per cell.

Redis may forget or be away: a shard works without it, only a restart then begins cold. Keys:
`b:{run}:{day}:{cell}:{k}` a bucket's rows, `s:…:{k}` the state after it, `m:…:{minute}` one-minute
closes, and the hash `cells:{run}:{day}` with each cell's newest bucket.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import numpy as np
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from shards import blobs, detector, letters
from shards.keys import grants_key
from shards.state import STORED_ROW
from signals.session import BUCKET_NS

logger = logging.getLogger(__name__)

TIMEOUT_S = 1.0
NUMBERS_AT_ONCE = 16  # of a kind's numbers in one round trip: a few megabytes
BUCKET_S = BUCKET_NS // 1_000_000_000
LOCKSTEP_TTL_S = 3600  # a tape's clock may stand still for long
STATE_TTL_S = 180  # the relay's ring is shorter: an older state could not be continued
MINUTE_TTL_S = 2 * 3600
DAY_S = 24 * 3600
Decoded = TypeVar("Decoded")


class Fenced(Exception):
    """The assignment is no longer given to anybody: what it would write is another's to write."""


def connect(url: str) -> redis.Redis:
    """Return a client that fails within a second and never retries by itself."""
    client: redis.Redis = redis.Redis.from_url(
        url,
        socket_timeout=TIMEOUT_S,
        socket_connect_timeout=TIMEOUT_S,
        retry=Retry(NoBackoff(), 0),
        health_check_interval=0,
    )
    return client


class BucketStore:
    """Keeps one run's day. All methods raise `redis.RedisError` when Redis does not answer.

    Args: bucket_ttl_s: parameter bucket_ttl; assignment: on whose behalf is written, 0 is nobody's.
    """

    def __init__(
        self,
        client: redis.Redis,
        run: str,
        day: str,
        *,
        bucket_ttl_s: int,
        lockstep: bool,
        assignment: int = 0,
    ) -> None:
        self._client = client
        self._assignment, self._grants = assignment, grants_key(run)
        self._space = f"{run}:{day}"
        self._ttl_s = max(bucket_ttl_s, LOCKSTEP_TTL_S) if lockstep else bucket_ttl_s
        self._state_ttl_s = self._ttl_s if lockstep else min(STATE_TTL_S, self._ttl_s)
        self._kept = bucket_ttl_s // BUCKET_S + 1, STATE_TTL_S // BUCKET_S  # buckets; of states

    def _key(self, kind: str, cell: str, number: int) -> str:
        return f"{kind}:{self._space}:{cell}:{number}"

    def save(self, k: int, cells: dict[str, blobs.CellBlobs]) -> None:
        """Keep bucket k of every cell: one transaction, so a cell is never half there.

        What is too old by event time goes at once: a tape may run faster than Redis forgets.

        Raises:
            Fenced: the assignment does not count any more, also when that changes meanwhile.
        """
        if not cells:
            return
        rows, states = self._kept
        pipe = self._client.pipeline(transaction=True)
        if self._assignment:
            self._check_fence(pipe)
        for cell, one in cells.items():
            pipe.set(self._key("b", cell, k), one.rows, ex=self._ttl_s)
            pipe.set(self._key("s", cell, k), one.state, ex=self._state_ttl_s)
            pipe.unlink(self._key("b", cell, k - rows), self._key("s", cell, k - states))
            if one.minute is not None:
                minute = k // detector.MINUTE
                pipe.set(self._key("m", cell, minute), one.minute, ex=MINUTE_TTL_S)
        index = f"cells:{self._space}"
        pipe.hset(index, mapping=dict.fromkeys(cells, k))
        pipe.expire(index, max(self._ttl_s, 24 * 3600))
        pipe.execute()

    def _check_fence(self, pipe: "redis.client.Pipeline") -> None:
        """A change of the grants between this look and the transaction fails the transaction."""
        pipe.watch(self._grants)
        known = pipe.exists(self._grants)  # a server that forgot everything fences nobody
        if known and not pipe.sismember(self._grants, str(self._assignment)):
            raise Fenced(f"assignment {self._assignment}")
        pipe.multi()

    def begin(self, epoch: int, offset: int) -> None:
        """Keep which frame of the relay an assignment began with, before it has any state."""
        key = f"start:{self._space}"
        pipe = self._client.pipeline(transaction=True)
        pipe.hset(key, str(self._assignment), f"{epoch} {offset}")
        pipe.expire(key, DAY_S)
        pipe.execute()

    def begun(self) -> tuple[int, int] | None:
        """Return the relay's epoch and the first frame that the run saw; None: it saw none."""
        kept: dict[bytes, bytes] = self._client.hgetall(f"start:{self._space}")  # type: ignore[assignment]
        starts = [(int(epoch), int(offset)) for epoch, offset in map(bytes.split, kept.values())]
        newest = max(kept, key=int, default=None)
        if newest is None:
            return None
        epoch = int(kept[newest].split()[0])
        return epoch, min(offset for of, offset in starts if of == epoch)

    def load(
        self, ranges: Sequence[letters.Range], depth: int, *, before_k: int = 0
    ) -> blobs.Kept | None:
        """Return what is kept of the ranges, as of the newest bucket that all cells have.

        A cell whose state is gone is left out and begins cold; one that nothing was kept of, as
        nobody had seen its symbols yet, is in the frames that follow. None when nothing is left.
        Args: depth: how many buckets back the rings reach; before_k: only older buckets, 0 any.
        """
        newest = self._newest(ranges)
        if before_k:
            newest = {cell: min(k, before_k - 1) for cell, k in newest.items()}
        for k in sorted(set(newest.values())):
            cells = sorted(cell for cell, known in newest.items() if known >= k)
            states = self._read("s", cells, k, blobs.decode_state)
            if states and (len(states) == len(cells) or self._only_unborn(cells, k, states)):
                return blobs.join(
                    states,
                    self._history(cells, range(k - depth + 1, k + 1)),
                    self._minutes(cells, k),
                )
        return None

    def _only_unborn(self, cells: list[str], k: int, states: list[blobs.CellState]) -> bool:
        """Was nothing kept of all cells without a state at bucket k?"""
        known = {letters.cell_of(state.table["name"][0].decode()) for state in states}
        keys = [self._key("b", cell, k) for cell in cells if cell not in known]
        return not self._client.exists(*keys)

    def _history(self, cells: list[str], ks: Sequence[int]) -> dict[int, list[np.ndarray]]:
        """Return the rows of each bucket, all cells in one block."""
        found: dict[int, list[np.ndarray]] = {}
        for k, kept in zip(ks, self._kept_of("b", cells, ks), strict=True):
            bodies = list(self._sound("b", kept, blobs.rows_body))
            if bodies:
                found[k] = [np.frombuffer(b"".join(bodies), STORED_ROW)]
        return found

    def _minutes(self, cells: list[str], k: int) -> dict[int, list[np.ndarray]]:
        last = (k + 1) // detector.MINUTE
        numbers = range(last - detector.MINUTES_KEPT, last)
        every = zip(numbers, self._kept_of("m", cells, numbers), strict=True)
        return {m: list(self._sound("m", kept, blobs.decode_minute)) for m, kept in every}

    def _kept_of(
        self, kind: str, cells: list[str], numbers: Sequence[int]
    ) -> Iterator[list[bytes | None]]:
        """Yield what is kept of the cells, number by number; few round trips."""
        for first in range(0, len(numbers), NUMBERS_AT_ONCE):
            pipe = self._client.pipeline(transaction=False)
            for number in numbers[first : first + NUMBERS_AT_ONCE]:
                pipe.mget([self._key(kind, cell, number) for cell in cells])
            yield from pipe.execute()

    def _newest(self, ranges: Sequence[letters.Range]) -> dict[str, int]:
        index: dict[bytes, bytes] = self._client.hgetall(f"cells:{self._space}")  # type: ignore[assignment]
        return {
            cell.decode(): int(k)
            for cell, k in index.items()
            if letters.touches(ranges, cell.decode())
        }

    def _read(
        self, kind: str, cells: list[str], number: int, decode: Callable[[bytes], Decoded]
    ) -> list[Decoded]:
        """Return what is kept and sound of the cells' blobs."""
        (kept,) = self._kept_of(kind, cells, [number])
        return list(self._sound(kind, kept, decode))

    def _sound(
        self, kind: str, kept: list[bytes | None], decode: Callable[[bytes], Decoded]
    ) -> Iterator[Decoded]:
        for blob in kept:
            try:
                if blob is not None:
                    yield decode(blob)
            except blobs.BlobError as exc:
                logger.warning("stored blob refused", extra={"kind": kind, "why": str(exc)})
