"""What it costs to keep a closed bucket of the whole market in Redis: ours beside other layouts.

Ours writes rows and the state to go on from, one blob of each per cell; the others write the rows
alone. Wall and client CPU milliseconds per close, on a server of our own over loopback.
"""

import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import redis

from execution.venue.days import session_of
from relay import frames
from shards import blobs
from shards.engine import Engine
from shards.state import EngineState
from shards.store import BucketStore, connect
from signals.parameters import catalogue
from signals.session import BUCKET_NS
from tradeplane.bench.shards.measure import EVERYTHING
from tradeplane.bench.shards.ticks import DAY
from tradeplane.runtime.redis import answers, prepare_server

SYMBOLS, CLOSES, TTL_S = 11_000, 6, 900
PIPELINE = 1_000
START_S = 10.0


class Close(NamedTuple):
    """One bucket to keep."""

    k: int
    names: list[str]
    rows: list[bytes]


def stores() -> dict[str, float]:
    """Return milliseconds per close of every layout."""
    state = _a_state()
    names = [name.decode() for name in state.rows["name"].tolist()]
    close = Close(state.k, names, [row.tobytes() for row in state.rows])
    found: dict[str, float] = {"store_symbols": len(names)}
    with _server() as url:
        client = connect(url)
        ours = BucketStore(client, "bench", "day", bucket_ttl_s=TTL_S, lockstep=False)
        layouts: dict[str, Callable[[int], None]] = {
            "cells": lambda n: ours.save(close.k + n, blobs.encode(state, 1)),
            "set_per_symbol": lambda n: _each(client, close, n, _set),
            "hash_per_symbol": lambda n: _each(client, close, n, _hash),
            "ring_per_symbol": lambda n: _each(client, close, n, _ring),
            "hash_per_letter": lambda n: _letters(client, close, n),
        }
        for name, keep in layouts.items():
            client.flushdb()
            found |= _timed(name, keep)
    return found


def _timed(name: str, keep: Callable[[int], None]) -> dict[str, float]:
    keep(0)
    wall, cpu = time.perf_counter(), time.process_time()
    for n in range(1, CLOSES):
        keep(n)
    each = CLOSES - 1
    return {
        f"store_{name}_ms": round((time.perf_counter() - wall) * 1e3 / each, 1),
        f"store_{name}_cpu_ms": round((time.process_time() - cpu) * 1e3 / each, 1),
    }


def _each(
    client: redis.Redis,
    close: Close,
    n: int,
    put: Callable[[redis.client.Pipeline, str, bytes, int], object],
) -> None:
    for first in range(0, len(close.names), PIPELINE):
        pipe = client.pipeline(transaction=False)
        part = slice(first, first + PIPELINE)
        for name, row in zip(close.names[part], close.rows[part], strict=True):
            put(pipe, name, row, close.k + n)
        pipe.execute()


def _set(pipe: redis.client.Pipeline, name: str, row: bytes, k: int) -> None:
    pipe.set(f"b:{name}:{k}", row, ex=TTL_S)


def _hash(pipe: redis.client.Pipeline, name: str, row: bytes, k: int) -> None:
    fields = {str(at): row[at : at + 8] for at in range(16, len(row) - 8, 8)}
    pipe.hset(f"b:{name}:{k}", mapping=fields)  # type: ignore[arg-type]
    pipe.expire(f"b:{name}:{k}", TTL_S)


def _ring(pipe: redis.client.Pipeline, name: str, row: bytes, k: int) -> None:
    pipe.setrange(f"b:{name}", k % 180 * len(row), row)  # type: ignore[arg-type]


def _letters(client: redis.Redis, close: Close, n: int) -> None:
    by_letter: dict[str, dict[str, bytes]] = {}
    for name, row in zip(close.names, close.rows, strict=True):
        by_letter.setdefault(name[0], {})[name] = row
    pipe = client.pipeline(transaction=False)
    for letter, rows in by_letter.items():
        pipe.hset(f"b:{letter}:{close.k + n}", mapping=rows)  # type: ignore[arg-type]
        pipe.expire(f"b:{letter}:{close.k + n}", TTL_S)
    pipe.execute()


def _a_state() -> EngineState:
    """Return the state of a shard that saw one print of every symbol."""
    session = session_of(DAY)
    engine = Engine(
        session=session, parameters=catalogue.defaults(), parameters_version=1,
        ranges=EVERYTHING, shard=1, epoch=1, run="bench", assignment=1, capacity=SYMBOLS,
    )  # fmt: skip
    engine.begin(session.first_k)
    letters = np.random.default_rng(1).integers(65, 91, (SYMBOLS, 4), np.uint8)
    trade = {"T": "t", "i": 1, "x": "V", "p": 10.0, "s": 100, "c": ["@"], "z": "C"}
    messages = [
        frames.encode_message({**trade, "S": bytes(name).decode(), "t": session.open_ns + 1})
        for name in letters
    ]
    engine.feed(frames.encode_array(messages), 1)
    closed = engine.close_due((session.first_k + 1) * BUCKET_NS + engine.grace_ns)
    return engine.state_after(closed[-1].k)


@contextmanager
def _server() -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="bench-store-") as home:
        server = prepare_server(Path(home), _free_port())
        process = subprocess.Popen(  # noqa: S603 - our own server
            server.command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            deadline = time.monotonic() + START_S
            while not answers(server.url):
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError("the server of the store bench did not start")
                time.sleep(0.02)
            yield server.url
        finally:
            process.terminate()
            process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
