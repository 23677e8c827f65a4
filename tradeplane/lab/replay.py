"""A tape through the shards' engine in one process, as fast as it goes.

Stops where a lock-step run stops for buckets: at each bucket's end plus grace, after every frame
received until then. So the closed buckets and candidates are those of the real processes.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from execution.venue.days import session_of
from relay.tape import Block, TapeReader
from shards.engine import ClosedBucket, Engine
from shards.letters import assign_letters
from signals.session import BUCKET_NS, Session, bucket_of


class Replayed(NamedTuple):
    """Bucket k, closed by every engine."""

    k: int
    closed: list[ClosedBucket]
    engines: list[Engine]


def engines_for(
    session: Session, parameters: Mapping[str, object], *, shards: int = 1, version: int = 1
) -> list[Engine]:
    """Return one engine per shard, the letters shared out as the hub does."""
    assigned = assign_letters(range(1, shards + 1))
    return [
        Engine(
            session=session, parameters=parameters, parameters_version=version, ranges=ranges,
            shard=shard, epoch=1, run="lab", assignment=1,
        )
        for shard, ranges in assigned.items()
        if ranges
    ]  # fmt: skip


def replay(
    tape: Path | str,
    parameters: Mapping[str, object],
    *,
    shards: int = 1,
    session: Session | None = None,
) -> Iterator[Replayed]:
    """Yield every bucket of the tape's session as it closes.

    Raises:
        TapeError: no tape, or a damaged one (after everything before the damage).
    """
    reader = TapeReader(tape)
    session = session or session_of(reader.header.day)
    engines = engines_for(session, parameters, shards=shards)
    grace_ns = engines[0].grace_ns
    stop_ns: int | None = None
    last_ns = session.open_ns
    for block in reader.blocks(start_ns=session.open_ns, end_ns=session.close_ns + grace_ns + 1):
        block = block.packed()
        if stop_ns is None:
            first_k = bucket_of(int(block.recv_ns[0]))
            stop_ns = _stop(first_k, grace_ns)
            for engine in engines:
                engine.begin(first_k)
        last_ns = max(last_ns, int(block.recv_ns[-1]))
        at = 0
        for upto in _cuts(block, stop_ns):
            _feed(engines, block, at, upto)
            at = upto
            if upto < block.recv_ns.size:
                while stop_ns < int(block.recv_ns[upto]):
                    yield from _close(engines, stop_ns)
                    stop_ns += BUCKET_NS
    if stop_ns is not None:
        end_ns = min(_stop(bucket_of(last_ns), grace_ns), session.close_ns + grace_ns)
        while stop_ns <= end_ns:
            yield from _close(engines, stop_ns)
            stop_ns += BUCKET_NS


def _stop(k: int, grace_ns: int) -> int:
    return (k + 1) * BUCKET_NS + grace_ns


def _cuts(block: Block, stop_ns: int) -> Iterator[int]:
    """Yield the ends of the runs of frames between stops, the block's end last."""
    which = -((stop_ns - block.recv_ns) // BUCKET_NS)  # grows by one after each stop
    latest = np.maximum.accumulate(which)  # a frame received earlier rides with the one before
    yield from (np.flatnonzero(latest[1:] != latest[:-1]) + 1).tolist()
    yield block.recv_ns.size


def _feed(engines: list[Engine], block: Block, first: int, last: int) -> None:
    if last > first:
        data = block.data[int(block.starts[first]) : int(block.ends[last - 1])]
        for engine in engines:
            engine.feed(data)


def _close(engines: list[Engine], stop_ns: int) -> Iterator[Replayed]:
    each = [engine.closing(stop_ns) for engine in engines]
    for closed in zip(*each, strict=True):
        yield Replayed(closed[0].k, list(closed), engines)
