"""The resident engine beside a worker: assignment, frames, stops, take-over, failures."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytest_asyncio

from shards import mailbox, tasks
from shards.records import bucket_hash, read_rows
from shards.resident import ShardResident
from signals import messages
from signals.messages import Ack, ExitSignal, Report, ShardReady, StopDone
from signals.session import BUCKET_NS
from tests.fakes.relay import FakeRelay
from tests.servers import Valkey, free_port
from tests.shard_builders import K0, QUIET, SESSION, at, quote, ticks, trade

DEADLINE_S = 20
pytestmark = pytest.mark.asyncio


class Hub:
    """What the hub would receive; `fail` makes the broker refuse."""

    def __init__(self) -> None:
        self.got: list[messages.Message] = []
        self.fail = False
        self.refused = 0
        self._changed = threading.Condition()

    def publish(self, task: str, kwargs: dict[str, Any]) -> None:
        assert task == "signals.report"
        with self._changed:
            if self.fail:
                self.refused += 1
                self._changed.notify_all()
                raise ConnectionError("the broker is away")
            self.got.append(messages.unpack(kwargs["body"]))
            self._changed.notify_all()

    def _wait(self, wanted: Callable[[], bool]) -> bool:
        with self._changed:
            return self._changed.wait_for(wanted, DEADLINE_S)

    async def until(self, wanted: Callable[["Hub"], object]) -> None:
        assert await asyncio.to_thread(self._wait, lambda: bool(wanted(self))), self.got

    def of(self, kind: type) -> list[Any]:
        return [one for one in self.got if isinstance(one, kind)]


def an_assignment(**fields: object) -> dict[str, Any]:
    return {
        "run": "r1", "day": "2024-03-05", "open_ns": SESSION.open_ns, "close_ns": SESSION.close_ns,
        "assignment": 1, "shard": 3, "ranges": [["", "B"], ["X", ""]], "parameters_version": 5,
        "parameters": QUIET, "lockstep": True, "record_dir": None, "quotes": "all", "watch": [],
        **fields,
    }  # fmt: skip


def a_position(**fields: object) -> dict[str, Any]:
    return {
        "position_id": "p1", "version": 1, "symbol": "ACME", "quantity": 10, "stop": 9.5,
        "target": 10.5, "opened_ts_ns": at(0), **fields,
    }  # fmt: skip


@pytest_asyncio.fixture
async def relay() -> AsyncIterator[FakeRelay]:
    async with FakeRelay() as server:
        yield server


@pytest.fixture
def hub() -> Hub:
    return Hub()


class Shards:
    """Residents of one test, stopped at its end."""

    def __init__(self, relay: FakeRelay, hub: Hub, redis_url: str) -> None:
        self.made: list[ShardResident] = []
        self.redis_url = redis_url
        self._relay, self._hub = relay, hub

    def start(self, **fields: Any) -> ShardResident:
        made = ShardResident(
            shard_id=3, relay_url=self._relay.url, relay_key="k", relay_secret="s",
            redis_url=self.redis_url, publish=self._hub.publish, **fields,
        )  # fmt: skip
        made.start()
        self.made.append(made)
        return made

    async def stop(self) -> None:
        for each in self.made:
            await asyncio.to_thread(each.stop)


@pytest_asyncio.fixture
async def shards(relay: FakeRelay, hub: Hub) -> AsyncIterator[Shards]:
    """Without Redis: nothing listens there."""
    made = Shards(relay, hub, f"redis://127.0.0.1:{free_port()}/0")
    yield made
    await made.stop()


async def ready(hub: Hub, relay: FakeRelay, assignment: dict[str, Any]) -> ShardReady:
    relay.subscribed.clear()
    known = len(hub.of(ShardReady))
    tasks.assign(assignment)
    await hub.until(lambda h: len(h.of(ShardReady)) > known)
    await asyncio.wait_for(relay.subscribed.wait(), DEADLINE_S)
    return hub.of(ShardReady)[-1]


async def stop_at(relay: FakeRelay, hub: Hub, t_ns: int, stop: int) -> None:
    await relay.clock(t_ns, stop)
    await hub.until(lambda h: any(one.stop == stop for one in [*h.of(Report), *h.of(StopDone)]))


def bucket_end(n: int) -> int:
    return (K0 + n + 1) * BUCKET_NS + 750_000_000


async def test_an_assignment_is_answered_when_the_subscription_stands(
    shards: Shards, hub: Hub, relay: FakeRelay
) -> None:
    resident = shards.start()

    answer = await ready(hub, relay, an_assignment())

    assert (answer.run, answer.assignment, answer.params_version) == ("r1", 1, 5)
    assert (answer.last_k, answer.resumed, answer.epoch) == (None, False, resident.epoch)
    subscribed = relay.requests[-1]
    assert subscribed["trades"] == subscribed["quotes"] == ["[,B)", "[X,)"]
    assert subscribed["statuses"] == subscribed["lulds"] == ["[,B)", "[X,)"]


async def test_the_next_day_begins_with_an_empty_session(
    shards: Shards, hub: Hub, relay: FakeRelay, tmp_path: Path
) -> None:
    resident = shards.start(archive=tmp_path)
    await ready(hub, relay, an_assignment())
    await relay.clock(at(0))
    await relay.send(at(1), [trade(one) for one in ticks("1 10x100, 2 10x100")])
    await relay.clock(bucket_end(2))
    await hub.until(lambda h: len(h.of(Report)) >= 3)

    night_ns = 24 * 3600 * 1_000_000_000
    hours = {"open_ns": SESSION.open_ns + night_ns, "close_ns": SESSION.close_ns + night_ns}
    await ready(hub, relay, an_assignment(day="2024-03-06", assignment=2, as_of=2, **hours))
    await relay.clock(at(0) + night_ns - 3_600_000_000_000)
    await relay.clock(at(0) + night_ns)
    await relay.clock(bucket_end(1) + night_ns)
    await hub.until(lambda h: [one for one in h.of(Report) if one.assignment == 2])

    first = next(one for one in hub.of(Report) if one.assignment == 2)
    assert (first.k, first.n_symbols, first.prints) == (hours["open_ns"] // BUCKET_NS, 0, 0)
    assert resident.beat_fields()["assignment"] == "2"
    # A message of the last day that was on its way for long brings nothing of it back.
    tasks.assign(an_assignment())
    await asyncio.sleep(0)
    assert resident.beat_fields()["assignment"] == "2"
    for writer in [one for one in threading.enumerate() if one.name == "archive"]:
        await asyncio.to_thread(writer.join, 2.0)  # the living one goes on
    assert list((tmp_path / "2024-03-05").glob("*.parquet"))


async def test_the_same_assignment_again_is_only_answered_again(
    shards: Shards, hub: Hub, relay: FakeRelay
) -> None:
    shards.start()
    await ready(hub, relay, an_assignment())
    asked = len(relay.requests)

    tasks.assign(an_assignment())

    await hub.until(lambda h: len(h.of(ShardReady)) == 2)
    assert len(relay.requests) == asked


async def test_every_stop_is_answered_with_a_report_or_without(
    shards: Shards, hub: Hub, relay: FakeRelay, tmp_path: Path
) -> None:
    shards.start()
    await ready(hub, relay, an_assignment(record_dir=str(tmp_path / "run")))

    await stop_at(relay, hub, SESSION.open_ns, 0)
    await relay.send(SESSION.open_ns, [trade(t) for t in ticks("1 10x100, 2 10.2x100")])
    await stop_at(relay, hub, bucket_end(0), 1)
    await stop_at(relay, hub, bucket_end(0) + 1_000, 2)
    await stop_at(relay, hub, bucket_end(2), 3)

    said = [(type(one).__name__, one.stop) for one in hub.got if not isinstance(one, ShardReady)]
    assert said == [
        ("StopDone", 0), ("Report", 1), ("StopDone", 2), ("Report", None), ("Report", 3),
    ]  # fmt: skip
    report = hub.of(Report)[0]
    assert (report.k, report.prints, report.n_symbols, report.feed_lag_ms) == (K0, 2, 1, 0.0)
    assert [one.seq for one in hub.got[1:]] == sorted(one.seq for one in hub.got[1:])
    recorded = read_rows(next((tmp_path / "run").glob("buckets-3-*.rows")).read_bytes())
    assert recorded["k"].tolist() == [K0, K0 + 1, K0 + 2]


async def test_an_exit_signal_comes_before_the_stop_is_answered(
    shards: Shards, hub: Hub, relay: FakeRelay
) -> None:
    shards.start()
    await ready(hub, relay, an_assignment())
    tasks.watch(a_position())
    await hub.until(lambda h: h.of(Ack))

    await relay.send(SESSION.open_ns, [quote(0.5, 9.4, 9.6), *map(trade, ticks("1 10x5, 2 9.5x7"))])
    await stop_at(relay, hub, at(3), 1)

    ack, signal, done = hub.got[1:]
    assert ack == Ack(run="r1", shard=3, what="watch", ref="p1", version=1)
    assert isinstance(signal, ExitSignal)
    assert isinstance(done, StopDone)
    assert (signal.kind, signal.price, signal.threshold, signal.size) == ("stop", 9.5, 9.5, 7)
    assert (signal.bid, signal.ask, signal.prior_price) == (9.4, 9.6, 10.0)
    assert (signal.prints_through, signal.position_version) == (1, 1)


async def test_parameters_and_releases_are_acknowledged(
    shards: Shards, hub: Hub, relay: FakeRelay
) -> None:
    shards.start()
    await ready(hub, relay, an_assignment(watch=[a_position()]))
    tasks.parameters(6, {**QUIET, "fast_period": 4}, K0 + 1)
    tasks.release("p1", 1)
    await hub.until(lambda h: len(h.of(Ack)) == 2)

    await stop_at(relay, hub, SESSION.open_ns, 0)
    await stop_at(relay, hub, bucket_end(1), 1)

    assert [one.what for one in hub.of(Ack)] == ["parameters", "release"]
    assert [one.params_version for one in hub.of(Report)] == [5, 6]


async def test_reports_wait_for_the_broker_and_come_in_order(
    shards: Shards, hub: Hub, relay: FakeRelay
) -> None:
    shards.start()
    await ready(hub, relay, an_assignment())
    await stop_at(relay, hub, SESSION.open_ns, 0)
    hub.fail = True
    for n in range(3):
        await relay.clock(bucket_end(n), n + 1)
    await hub.until(lambda h: h.refused)

    hub.fail = False

    await hub.until(lambda h: len(h.of(Report)) == 3)
    assert [one.k - K0 for one in hub.of(Report)] == [0, 1, 2]


async def test_kept_reports_are_sent_again_when_asked(
    shards: Shards, hub: Hub, relay: FakeRelay
) -> None:
    shards.start()
    await ready(hub, relay, an_assignment())
    await stop_at(relay, hub, SESSION.open_ns, 0)
    for n in range(3):
        await stop_at(relay, hub, bucket_end(n), n + 1)
    count = len(hub.got)

    tasks.resend("r1", K0 + 1, 3)
    tasks.resend("another run", K0, 3)

    await hub.until(lambda h: len(h.got) == count + 2)
    assert [one.k - K0 for one in hub.got[count:]] == [1, 2]


async def test_a_lost_connection_is_taken_up_where_it_was(
    shards: Shards, hub: Hub, relay: FakeRelay
) -> None:
    shards.start()
    await ready(hub, relay, an_assignment())
    await stop_at(relay, hub, SESSION.open_ns, 0)
    first, second = ticks("1 10x100, 2 10.2x100")
    await relay.send(SESSION.open_ns, [trade(first)])
    await relay.drop()
    await relay.send(SESSION.open_ns, [trade(second)])
    await asyncio.wait_for(relay.subscribed.wait(), DEADLINE_S)

    await stop_at(relay, hub, bucket_end(0), 1)

    assert hub.of(Report)[0].prints == 2
    assert hub.of(Report)[0].flags == []


async def test_a_relay_that_began_anew_is_a_gap(shards: Shards, hub: Hub, relay: FakeRelay) -> None:
    shards.start()
    await ready(hub, relay, an_assignment())
    await stop_at(relay, hub, SESSION.open_ns, 0)
    await relay.drop()
    relay.epoch, relay.log = 4712, []
    await asyncio.wait_for(relay.subscribed.wait(), DEADLINE_S)

    await stop_at(relay, hub, bucket_end(0), 1)

    assert hub.of(Report)[0].flags == ["gap"]


async def test_a_new_life_goes_on_from_the_store(
    relay: FakeRelay, hub: Hub, valkey: Valkey, tmp_path: Path
) -> None:
    made = Shards(relay, hub, f"{valkey.url}/5")
    run = f"r{time.time_ns()}"
    assignment = an_assignment(run=run, record_dir=str(tmp_path))
    try:
        first = made.start()
        await ready(hub, relay, assignment)
        await stop_at(relay, hub, SESSION.open_ns, 0)
        await relay.send(SESSION.open_ns, [trade(t) for t in ticks("1 10x100, 6 10.2x100")])
        await stop_at(relay, hub, bucket_end(0), 1)
        await asyncio.to_thread(first.stop)
        second = made.start()
        answer = await ready(hub, relay, assignment)
        await stop_at(relay, hub, bucket_end(1), 2)
        while second._keeper.waiting:  # it keeps what was closed in a thread of its own
            await asyncio.sleep(0.01)
        tasks.assign({**assignment, "assignment": 2, "ranges": [["", "C"]]})
        await hub.until(lambda h: h.of(ShardReady)[-1].assignment == 2)
    finally:
        await made.stop()

    assert (answer.last_k, answer.resumed) == (K0, True)
    assert hub.of(ShardReady)[-1].last_k == K0 + 1
    last = [one for one in hub.of(Report) if one.k == K0 + 1][-1]
    assert last.prints == 2
    rows = np.concatenate([read_rows(p.read_bytes()) for p in sorted(tmp_path.glob("*.rows"))])
    assert rows["k"].tolist() == [K0, K0 + 1]
    assert rows["volume"].tolist() == [100, 100]
    assert len(bucket_hash(rows)) == 64


async def test_heart_beats_say_where_it_stands(relay: FakeRelay, hub: Hub, valkey: Valkey) -> None:
    made = Shards(relay, hub, f"{valkey.url}/5")
    try:
        resident = made.start()
        await ready(hub, relay, an_assignment(run=f"r{time.time_ns()}"))
        beat = resident.beat_fields()
    finally:
        await made.stop()

    assert beat["state"] == "ready"
    assert beat["letters"] == "[,B) [X,)"
    assert beat["assignment"] == "1"
    assert (beat["store"], beat["broker"]) == ("ok", "ok")


async def test_a_message_that_is_none_changes_nothing(
    shards: Shards, hub: Hub, relay: FakeRelay, caplog: pytest.LogCaptureFixture
) -> None:
    resident = shards.start()
    resident.post("assign", {"run": "x"})
    resident.post("nonsense", {})
    await ready(hub, relay, an_assignment())

    assert resident.is_alive()


async def test_without_a_resident_tasks_are_dropped_not_failed() -> None:
    assert not mailbox.deliver("assign", {})
