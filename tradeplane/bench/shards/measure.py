"""What the shard costs: throughput, a close, a report, memory. CPU or wall seconds as named."""

import gc
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import msgspec
import numpy as np

from shards.assignment import Assignment
from shards.columns import USUAL_CAPACITY
from shards.duty import Duty
from shards.engine import Engine
from shards.letters import Range, assign_letters
from shards.outbox import pack_bounded
from shards.resident import COLLECTOR
from signals.parameters import catalogue
from signals.session import BUCKET_NS
from tradeplane.bench.shards.ticks import Ticks, split

EVERYTHING: list[Range] = [("", "")]
WARM_BUCKETS = 74


def an_engine(
    ticks: Ticks, ranges: Sequence[Range], parameters: Mapping[str, object] | None = None
) -> Engine:
    engine = Engine(
        session=ticks.session, parameters=parameters or catalogue.defaults(), parameters_version=1,
        ranges=ranges, shard=1, epoch=1, run="bench", assignment=1,
        capacity=USUAL_CAPACITY,
    )  # fmt: skip
    engine.begin(ticks.first_ns // BUCKET_NS)
    return engine


def throughput(ticks: Ticks, shards: int = 1) -> float:
    """Return trades per CPU second from raw frames to closed buckets, over all shards together."""
    assigned = [ranges for ranges in assign_letters(range(shards)).values() if ranges]
    work = [
        (an_engine(ticks, ranges), ticks.frames if shards == 1 else split(ticks, ranges))
        for ranges in assigned
    ]
    gc.collect()
    cost_s, prints = 0.0, 0
    for engine, parts in work:
        before = time.process_time()
        _feed_all(engine, parts, ticks)
        cost_s += time.process_time() - before
        prints += engine.prints
    if prints != ticks.trades:
        raise RuntimeError(f"{prints:,} prints of {ticks.trades:,} trades")
    return ticks.trades / cost_s


def _feed_all(engine: Engine, parts: Sequence[bytes], ticks: Ticks) -> None:
    for offset, (part, last_ns) in enumerate(zip(parts, ticks.last_ns, strict=True)):
        engine.feed(part, offset)
        for _ in engine.closing(last_ns):
            pass
    engine.close_due(ticks.last_ns[-1] + BUCKET_NS + engine.grace_ns)


def median_throughput(ticks: Ticks, runs: int, shards: int = 1) -> int:
    """Return the median over runs."""
    return round(statistics.median(throughput(ticks, shards) for _ in range(runs)))


class Closes(NamedTuple):
    """Milliseconds of the closes once every symbol is warm: by the clock, and of the processor.

    On a loaded machine the clock tells of the others, too.
    """

    close_ms: list[float]
    close_cpu_ms: list[float]
    report_ms: list[float]
    report_cpu_ms: list[float]
    candidates: int
    symbols: int
    engine_mb: float


def closes(ticks: Ticks) -> Closes:
    """Play through a duty as in a shard process: frames, then the clock that closes each bucket.

    A close runs from the watermark to the closed bucket with its candidates, with what of the
    frames was still waiting; a report up to its packed message. Every name is a candidate or near
    miss sooner: the profile is the quiet one.
    """
    engine = an_engine(ticks, EVERYTHING, catalogue.profile("quiet"))
    sent: list[str] = []
    duty = Duty(
        _an_assignment(ticks), engine, send=lambda one: sent.append(pack_bounded(one)),
        seq=lambda: len(sent), keep=None, now_ns=lambda: ticks.first_ns,
    )  # fmt: skip
    timed = _TimedCloses(engine)
    reports, reports_cpu, candidates, at = [], [], 0, 0
    first_k = ticks.first_ns // BUCKET_NS
    with _collector_of_a_shard():
        for k in range(first_k, ticks.last_ns[-1] // BUCKET_NS):
            clock_ns = (k + 1) * BUCKET_NS + engine.grace_ns
            while at < len(ticks.frames) and ticks.last_ns[at] <= clock_ns:
                duty.take(ticks.frames[at])
                at += 1
            clock = msgspec.msgpack.encode([{"T": "clock", "t": clock_ns}])
            started, cpu = time.perf_counter(), time.thread_time()
            duty.take(clock)
            if k - first_k >= WARM_BUCKETS:
                reports.append((time.perf_counter() - started) * 1e3)
                reports_cpu.append((time.thread_time() - cpu) * 1e3)
                candidates += timed.candidates
    return Closes(
        timed.spent_ms[-len(reports) :], timed.cpu_ms[-len(reports) :], reports, reports_cpu,
        candidates, len(engine.symbols), _size_mb(engine),
    )  # fmt: skip


@contextmanager
def _collector_of_a_shard() -> Iterator[None]:
    """Have the garbage collector as in a shard's process."""
    before = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(*COLLECTOR)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()


class _TimedCloses:
    """Stands before an engine's `closing` and notes what each took."""

    def __init__(self, engine: Engine) -> None:
        self.spent_ms: list[float] = []
        self.cpu_ms: list[float] = []
        self.candidates = 0
        self._closing = engine.closing
        engine.closing = self._timed  # type: ignore[method-assign]

    def _timed(self, watermark_ns: int):  # type: ignore[no-untyped-def]
        started, cpu = time.perf_counter(), time.thread_time()
        for closed in self._closing(watermark_ns):
            self.spent_ms.append((time.perf_counter() - started) * 1e3)
            self.cpu_ms.append((time.thread_time() - cpu) * 1e3)
            self.candidates = len(closed.report_parts["candidates"])
            yield closed
            started, cpu = time.perf_counter(), time.thread_time()


def _an_assignment(ticks: Ticks) -> Assignment:
    return Assignment(
        run="bench", day=ticks.session.day, open_ns=ticks.session.open_ns,
        close_ns=ticks.session.close_ns, assignment=1, shard=1, ranges=EVERYTHING,
        parameters_version=1, parameters={}, lockstep=True,
    )  # fmt: skip


def _size_mb(engine: Engine) -> float:
    """Return what the symbols' arrays take, with the room that they keep for more."""
    held = (engine.rings, engine.minutes, engine.table)
    return (sum(one.nbytes for one in held) + engine.quotes.nbytes) / 2**20


def percentile(values: list[float], q: float) -> float:
    return round(float(np.percentile(values, q)), 2)
