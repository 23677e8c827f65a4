"""The bucket store on a real server: what is kept, what is refused, what a dead server costs."""

import threading
import time
from collections.abc import Iterator

import pytest
import redis

from shards import blobs
from shards.keeper import Keeper
from shards.store import BucketStore, connect
from tests.servers import Valkey, free_port
from tests.shard_builders import EVERYTHING, K0, an_engine, close, frame_of, ticks


@pytest.fixture
def client(valkey: Valkey) -> Iterator[redis.Redis]:
    made = connect(f"{valkey.url}/6")
    made.flushdb()
    yield made
    made.close()


def a_store(client: redis.Redis, **fields: object) -> BucketStore:
    return BucketStore(
        client, "r1", "2024-03-05", **{"bucket_ttl_s": 900, "lockstep": False, **fields}
    )


def states(until: int) -> dict:
    engine = an_engine()
    tape = [*ticks("0 10x100, 7 11x100"), *ticks("1 20x10, 12 21x10", symbol="BETA")]
    engine.feed(frame_of(tape), 4)
    return {
        one.k: engine.state_after(one.k)
        for one in (close(engine, K0 + n)[0] for n in range(until + 1))
    }


def test_what_was_kept_comes_back(client: redis.Redis) -> None:
    store = a_store(client)
    kept = states(12)
    for k, state in kept.items():
        store.save(k, blobs.encode(state, 77))

    found = store.load(EVERYTHING, 256)

    assert found.epoch == 77
    assert found.newest.k == K0 + 12
    assert found.newest.table.tobytes() == kept[K0 + 12].table.tobytes()
    assert found.newest.rows.tobytes() == kept[K0 + 12].rows.tobytes()
    assert sorted(found.history) == list(range(K0, K0 + 12))
    assert list(found.minutes) == [K0 // 12]


def test_only_the_cells_of_the_ranges_are_read(client: redis.Redis) -> None:
    store = a_store(client)
    for k, state in states(2).items():
        store.save(k, blobs.encode(state, 77))

    found = store.load([("B", "C")], 256)

    assert found.newest.table["name"].tolist() == [b"BETA"]
    assert store.load([("Q", "R")], 256) is None


def test_cells_that_are_ahead_wait_for_the_last_one(client: redis.Redis) -> None:
    store = a_store(client)
    kept = states(3)
    for k in (K0, K0 + 1):
        store.save(k, blobs.encode(kept[k], 77))
    ahead = {"BE": blobs.encode(kept[K0 + 2], 77)["BE"]}
    store.save(K0 + 2, ahead)

    assert store.load(EVERYTHING, 256).newest.k == K0 + 1
    assert store.load([("B", "C")], 256).newest.k == K0 + 2


def test_everything_expires(client: redis.Redis) -> None:
    kept = states(0)
    a_store(client).save(K0, blobs.encode(kept[K0], 77))
    assert client.ttl(f"b:r1:2024-03-05:AC:{K0}") == pytest.approx(900, abs=5)
    assert client.ttl(f"s:r1:2024-03-05:AC:{K0}") == pytest.approx(180, abs=5)

    a_store(client, lockstep=True).save(K0, blobs.encode(kept[K0], 77))
    assert client.ttl(f"b:r1:2024-03-05:AC:{K0}") == pytest.approx(3600, abs=5)
    assert all(client.ttl(key) > 0 for key in client.scan_iter())


def test_what_is_old_by_event_time_goes_however_fast_the_tape_runs(client: redis.Redis) -> None:
    store = a_store(client, bucket_ttl_s=300, lockstep=True)
    kept = states(0)[K0]
    cells = blobs.encode(kept, 77)

    for k in range(K0, K0 + 80):
        store.save(k, cells)

    rows = sorted(int(key.rsplit(b":", 1)[1]) for key in client.scan_iter("b:*:AC:*"))
    held = sorted(int(key.rsplit(b":", 1)[1]) for key in client.scan_iter("s:*:AC:*"))
    assert rows == list(range(K0 + 80 - 61, K0 + 80))
    assert held == list(range(K0 + 80 - 36, K0 + 80))


def test_a_damaged_state_is_as_good_as_none(client: redis.Redis) -> None:
    store = a_store(client)
    store.save(K0, blobs.encode(states(0)[K0], 77))
    client.set(f"s:r1:2024-03-05:AC:{K0}", b"rubbish")

    assert store.load([("A", "B")], 256) is None


def test_a_server_that_is_away_fails_within_a_moment() -> None:
    store = a_store(connect(f"redis://127.0.0.1:{free_port()}/0"))

    began = time.monotonic()
    with pytest.raises(redis.RedisError):
        store.load(EVERYTHING, 256)
    assert time.monotonic() - began < 2


class FlakyStore:
    """A store that is away until it is told to be there."""

    def __init__(self) -> None:
        self.up = threading.Event()
        self.tried = threading.Event()
        self.done = threading.Event()
        self.saved: list[int] = []

    def save(self, k: int, cells: dict) -> None:
        self.tried.set()
        if not self.up.is_set():
            raise redis.ConnectionError("away")
        self.saved.append(k)
        if len(self.saved) == 3:
            self.done.set()


def test_what_could_not_be_kept_is_kept_when_the_server_is_back(client: redis.Redis) -> None:
    keeper, store = Keeper(client, 3), FlakyStore()
    keeper.start()
    try:
        for state in states(2).values():
            keeper.keep(store, state, 77)
        assert store.tried.wait(10)

        store.up.set()

        assert store.done.wait(10)
        assert store.saved == [K0, K0 + 1, K0 + 2]
    finally:
        keeper.stop()


def test_heart_beats_expire(client: redis.Redis) -> None:
    keeper = Keeper(client, 3)
    keeper.beat({"state": "ready"})
    keeper.start()
    keeper.stop()

    assert client.hgetall("hb:shard:3") == {b"state": b"ready"}
    assert 0 < client.ttl("hb:shard:3") <= 5
