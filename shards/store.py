"""The shard's memory in Redis: closed buckets and the state to go on from, per cell.

Redis may forget or be away: a shard works without it, only a restart then begins cold. Keys:
`b:{run}:{day}:{cell}:{k}` a bucket's rows, `s:…:{k}` the state after it, `m:…:{minute}` one-minute
closes, and the hash `cells:{run}:{day}` with each cell's newest bucket.
"""

import logging
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from shards import blobs, detector, letters
from signals.session import BUCKET_NS

logger = logging.getLogger(__name__)

TIMEOUT_S = 1.0
BUCKET_S = BUCKET_NS // 1_000_000_000
LOCKSTEP_TTL_S = 3600  # a tape's clock may stand still for long
STATE_TTL_S = 180  # the relay's ring is shorter: an older state could not be continued
MINUTE_TTL_S = 2 * 3600
Decoded = TypeVar("Decoded")


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

    Args: bucket_ttl_s: parameter bucket_ttl.
    """

    def __init__(
        self, client: redis.Redis, run: str, day: str, *, bucket_ttl_s: int, lockstep: bool
    ) -> None:
        self._client = client
        self._space = f"{run}:{day}"
        self._ttl_s = max(bucket_ttl_s, LOCKSTEP_TTL_S) if lockstep else bucket_ttl_s
        self._state_ttl_s = self._ttl_s if lockstep else min(STATE_TTL_S, self._ttl_s)
        self._kept = bucket_ttl_s // BUCKET_S + 1, STATE_TTL_S // BUCKET_S  # buckets; of states

    def _key(self, kind: str, cell: str, number: int) -> str:
        return f"{kind}:{self._space}:{cell}:{number}"

    def save(self, k: int, cells: dict[str, blobs.CellBlobs]) -> None:
        """Keep bucket k of every cell: one transaction, so a cell is never half there.

        What is too old by event time goes at once: a tape may run faster than Redis forgets.
        """
        if not cells:
            return
        rows, states = self._kept
        pipe = self._client.pipeline(transaction=True)
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

    def load(self, ranges: Sequence[letters.Range], depth: int) -> blobs.Kept | None:
        """Return what is kept of the ranges, as of the newest bucket that all cells have.

        A cell whose state is gone is left out and begins cold; None when nothing is left.
        Args: depth: how many buckets back the rings reach.
        """
        newest = self._newest(ranges)
        for k in sorted(set(newest.values())):
            cells = sorted(cell for cell, known in newest.items() if known >= k)
            states = self._read("s", cells, k, blobs.decode_state)
            if len(states) == len(cells):
                return blobs.join(
                    states,
                    {j: self._rows(cells, j) for j in range(k - depth + 1, k + 1)},
                    self._minutes(cells, k),
                )
        return None

    def _rows(self, cells: list[str], k: int) -> list[np.ndarray]:
        return [rows for _, rows in self._read("b", cells, k, blobs.decode_rows)]

    def _minutes(self, cells: list[str], k: int) -> dict[int, list[np.ndarray]]:
        last = (k + 1) // detector.MINUTE
        kept = range(last - detector.MINUTES_KEPT, last)
        return {m: self._read("m", cells, m, blobs.decode_minute) for m in kept}

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
        found = []
        keys = [self._key(kind, cell, number) for cell in cells]
        kept: list[bytes | None] = self._client.mget(keys)  # type: ignore[assignment]
        for blob in kept:
            try:
                if blob is not None:
                    found.append(decode(blob))
            except blobs.BlobError as exc:
                logger.warning("stored blob refused", extra={"kind": kind, "why": str(exc)})
        return found
