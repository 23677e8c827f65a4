"""The bucket store on a real server: what is kept, what is refused, what a dead server costs."""

import threading
import time
from collections.abc import Callable, Iterator

import pytest
import redis

from execution.hub.shard_desk import write_fence
from shards import blobs
from shards.keeper import Keeper
from shards.pulse import BEAT_S, Pulse
from shards.store import BucketStore, Fenced, connect
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
    keeper, store = Keeper(client), FlakyStore()
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


def comes_true(wanted: Callable[[], object], *, within_s: float = 10.0) -> bool:
    never, deadline = threading.Event(), time.monotonic() + within_s
    while not wanted():
        if time.monotonic() > deadline:
            return False
        never.wait(0.02)  # what a thread does is only seen by looking
    return True


def test_heart_beats_go_on_while_the_loop_is_busy_and_end_when_it_is_stuck(
    client: redis.Redis,
) -> None:
    now = [100.0]
    pulse = Pulse(client, 3, now_ns=lambda: int(now[0] * 1e9), mono=lambda: now[0])
    pulse.tell({"state": "ready"})
    pulse.start()
    try:

        def beaten(at: float) -> bool:
            told = {b"state": b"ready", b"alive": str(int(at * 1000)).encode()}
            return client.hgetall("hb:shard:3") == told

        assert comes_true(lambda: beaten(100.0))
        assert 0 < client.ttl("hb:shard:3") <= 5

        now[0] += 9  # it says nothing, which may be a large take-over
        assert comes_true(lambda: beaten(109.0))

        now[0] += 2
        client.delete("hb:shard:3")
        assert not comes_true(lambda: client.exists("hb:shard:3"), within_s=3 * BEAT_S)
    finally:
        pulse.stop()


# --- the fence: who has lost the letters writes nothing -------------------------------------------


def test_an_assignment_that_does_not_count_any_more_writes_nothing(client: redis.Redis) -> None:
    kept = states(1)
    old, new = a_store(client, assignment=4), a_store(client, assignment=5)
    write_fence(client, "r1", {4, 9})
    old.save(K0, blobs.encode(kept[K0], 77))
    write_fence(client, "r1", {5, 9})
    before = all_of(client)

    with pytest.raises(Fenced):
        old.save(K0 + 1, blobs.encode(kept[K0 + 1], 77))

    assert all_of(client) == before
    assert old.load(EVERYTHING, 256).newest.k == K0
    new.save(K0 + 1, blobs.encode(kept[K0 + 1], 78))
    assert new.load(EVERYTHING, 256).epoch == 78


def test_letters_that_move_while_their_old_owner_writes_are_not_written(
    client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, cells = a_store(client, assignment=4), blobs.encode(states(0)[K0], 77)
    write_fence(client, "r1", {4})
    look = store._check_fence

    def moved_right_after_the_look(pipe: redis.client.Pipeline) -> None:
        look(pipe)
        write_fence(client, "r1", {5})

    monkeypatch.setattr(store, "_check_fence", moved_right_after_the_look)
    before = all_of(client, but="grants")

    with pytest.raises(redis.WatchError):
        store.save(K0, cells)

    assert all_of(client, but="grants") == before
    monkeypatch.undo()
    with pytest.raises(Fenced):
        store.save(K0, cells)


def test_a_server_that_forgot_its_grants_fences_nobody(client: redis.Redis) -> None:
    store = a_store(client, assignment=4)

    store.save(K0, blobs.encode(states(0)[K0], 77))

    assert store.load(EVERYTHING, 256).newest.k == K0


def test_the_keeper_counts_what_was_fenced_and_goes_on_with_the_rest(client: redis.Redis) -> None:
    kept = states(2)
    write_fence(client, "r1", {5})
    lost, held = a_store(client, assignment=4), a_store(client, assignment=5)
    keeper = Keeper(client)
    keeper.start()
    try:
        keeper.keep(held, kept[K0], 77)
        keeper.keep(lost, kept[K0 + 1], 77)
        keeper.keep(held, kept[K0 + 2], 77)

        assert comes_true(lambda: keeper.waiting == 0)
    finally:
        keeper.stop()

    assert (keeper.fenced, keeper.failing) == (1, False)
    rows = sorted(int(key.rsplit(b":", 1)[1]) for key in client.scan_iter("b:*:AC:*"))
    assert rows == [K0, K0 + 2]


def all_of(client: redis.Redis, but: str = "") -> dict[bytes, object]:
    """Return everything that is kept."""
    readers = {b"string": client.get, b"hash": client.hgetall, b"set": client.smembers}
    keys = [key for key in client.scan_iter() if not but or but not in key.decode()]
    return {key: readers[client.type(key)](key) for key in keys}
