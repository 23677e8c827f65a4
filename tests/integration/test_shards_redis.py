"""Redis stops and comes back under a living shard: it goes on, says so, and catches up."""

import threading
import time
from collections.abc import Callable, Iterator

import pytest
import redis

from execution.hub.shard_desk import write_fence
from shards.resident import ShardResident
from signals.messages import Report
from tests.fakes.relay import FakeRelay
from tests.integration.test_shards_resident import (
    DEADLINE_S,
    Hub,
    Shards,
    an_assignment,
    bucket_end,
    hub,
    ready,
    relay,
    stop_at,
)
from tests.servers import Valkey, free_port, new_password
from tests.shard_builders import K0, SESSION, ticks, trade

__all__ = ["hub", "relay"]  # fixtures
pytestmark = pytest.mark.asyncio


def comes_true(wanted: Callable[[], object]) -> bool:
    never, deadline = threading.Event(), time.monotonic() + DEADLINE_S
    while not wanted():
        if time.monotonic() > deadline:
            return False
        never.wait(0.02)  # what a thread of the resident does is only seen by looking
    return True


def says(resident: ShardResident, store: str) -> bool:
    return comes_true(lambda: resident.beat_fields()["store"] == store)


class Pair:
    """A primary, and a replica that falls behind and then takes its place and its address."""

    def __init__(self) -> None:
        password = new_password()
        self.primary = Valkey(port=free_port(), password=password)
        self.replica = Valkey(port=free_port(), password=password)
        self._at_replica = redis.Redis.from_url(self.replica.url)
        self._at_replica.config_set("masterauth", password)

    def copy(self) -> None:
        """Let the replica catch up, and hear nothing from then on."""
        self._at_replica.replicaof("127.0.0.1", str(self.primary.port))
        assert comes_true(
            lambda: self._at_replica.info("replication")["master_link_status"] == "up"
        )
        self._at_replica.replicaof("no", "one")

    def fail_over(self) -> None:
        self.primary.kill()
        self._at_replica.config_set("port", str(self.primary.port))

    def stop(self) -> None:
        self.primary.stop()
        self.replica.stop()


@pytest.fixture
def pair() -> Iterator[Pair]:
    made = Pair()
    yield made
    made.stop()


async def test_after_a_failover_to_a_replica_that_lags_the_hubs_fence_lets_the_shard_keep_again(
    relay: FakeRelay, hub: Hub, pair: Pair
) -> None:
    url = f"{pair.primary.url}/0"
    made, client, run = Shards(relay, hub, url), redis.Redis.from_url(url), "r1"
    try:
        resident = made.start()
        write_fence(client, run, {1})
        await ready(hub, relay, an_assignment(run=run, assignment=1))
        prints = [trade(t) for t in ticks("1 10x100, 6 10.2x100, 11 10.1x50, 16 10.3x10, 21 11x5")]
        await stop_at(relay, hub, SESSION.open_ns, 0)
        await relay.send(SESSION.open_ns, prints)
        await stop_at(relay, hub, bucket_end(0), 1)
        kept = comes_true(lambda: resident._keeper.waiting == 0)
        write_fence(client, run, {7})  # of another time: what the replica has of the fence
        pair.copy()
        write_fence(client, run, {1})
        await stop_at(relay, hub, bucket_end(1), 2)
        kept &= comes_true(lambda: resident._keeper.waiting == 0)
        pair.fail_over()

        await stop_at(relay, hub, bucket_end(2), 3)
        shut_out = comes_true(lambda: resident._keeper.fenced == 1)
        write_fence(client, run, {1})  # as the hub does every few seconds
        await stop_at(relay, hub, bucket_end(3), 4)
        comes_true(lambda: resident._keeper.waiting == 0)
    finally:
        await made.stop()

    assert kept
    assert shut_out
    assert [one.k for one in hub.of(Report)] == [K0, K0 + 1, K0 + 2, K0 + 3]
    found = sorted(int(key.rsplit(b":", 1)[1]) for key in client.scan_iter(f"b:{run}:*"))
    assert found == [K0, K0 + 3], "the hole shows: a successor warms up anew behind it"
    assert client.hgetall(f"cells:{run}:2024-03-05") == {b"AC": str(K0 + 3).encode()}


async def test_a_shard_outlives_redis_and_catches_up(
    relay: FakeRelay, hub: Hub, valkey: Valkey
) -> None:
    made = Shards(relay, hub, f"{valkey.url}/5")
    run = f"r{time.time_ns()}"
    try:
        resident = made.start()
        await ready(hub, relay, an_assignment(run=run))
        prints = [trade(t) for t in ticks("1 10x100, 6 10.2x100, 11 10.1x50, 16 10.3x10, 21 11x5")]
        await stop_at(relay, hub, SESSION.open_ns, 0)
        await relay.send(SESSION.open_ns, prints)
        await stop_at(relay, hub, bucket_end(0), 1)
        assert comes_true(lambda: resident._keeper.waiting == 0)
        assert says(resident, "ok")

        valkey.kill()
        for n in (1, 2, 3):
            await stop_at(relay, hub, bucket_end(n), n + 1)
        reported = [one.k for one in hub.of(Report)]
        assert says(resident, "failing")
        assert resident._keeper.waiting == 3
        valkey.start()

        assert says(resident, "ok")
        assert comes_true(lambda: resident._keeper.waiting == 0)
        await stop_at(relay, hub, bucket_end(4), 5)
        assert comes_true(lambda: resident._keeper.waiting == 0)
    finally:
        if valkey.server.process.poll() is not None:
            valkey.start()
        await made.stop()

    assert reported == [K0, K0 + 1, K0 + 2, K0 + 3], "no report waited for Redis"
    client = redis.Redis.from_url(f"{valkey.url}/5")
    kept = sorted(int(key.rsplit(b":", 1)[1]) for key in client.scan_iter(f"b:{run}:*"))
    assert kept == [K0 + 1, K0 + 2, K0 + 3, K0 + 4], "what was closed meanwhile is there"
    assert client.hgetall(f"cells:{run}:2024-03-05") == {b"AC": str(K0 + 4).encode()}
