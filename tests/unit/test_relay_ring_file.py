"""The ring outside the process: what was written is read, whatever moment the writer died at."""

import os
import time

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay import ring_file
from relay.fanout import Fanout
from relay.kept_ring import KeptRing, place_of
from relay.lines import ends_of
from relay.ring import Ring
from relay.ring_file import RingFile
from tests.unit.test_relay_fanout import Told, a_frame, send

EPOCH = 4711


def put(ring: RingFile, first: int, frames: list[bytes], extension: str = "", wall=1) -> None:
    ring.append(
        b"".join(frames), ends_of(frames), first_offset=first, watermark_ns=10 * first,
        wall_ns=wall, extension=extension,
    )  # fmt: skip


def a_ring(place, **sizes) -> RingFile:
    return RingFile(place, **({"max_bytes": 3000, "segment_bytes": 1000} | sizes))


def kept(place, **sizes):
    ring = a_ring(place, **sizes)
    found = ring.read()
    ring.close()
    return found


batches = st.lists(st.lists(st.binary(max_size=60), min_size=1, max_size=5), max_size=60)


@given(batches, st.sampled_from(["", "clock", "gap", "backfill"]))
def test_what_is_read_is_the_end_of_what_was_written(tmp_path_factory, written, extension):
    place = tmp_path_factory.mktemp("ring")
    ring = a_ring(place)
    ring.begin(EPOCH)
    every, offset = [], 1
    for batch in written:
        put(ring, offset, batch, extension)
        every += [(offset + i, frame, 10 * offset) for i, frame in enumerate(batch)]
        offset += len(batch)
    ring.close()

    found = kept(place)

    if not written:
        assert found is None
        return
    read = [(entry.offset, entry.frame, entry.watermark_ns) for entry in found.entries]
    assert found.epoch == EPOCH
    assert read == every[-len(read) :]
    assert {entry.extension for entry in found.entries} == {extension}
    size = sum(len(frame) for _, frame, _ in every)
    assert len(read) == len(every) or size > 2000  # at least as much as was asked for, less heads


@given(batches.filter(len), batches)
def test_a_writer_that_takes_it_up_goes_on_behind(tmp_path_factory, before, after):
    place = tmp_path_factory.mktemp("ring")
    offset = 1
    for written in (before, after):
        ring = a_ring(place)
        ring.begin(EPOCH)
        for batch in written:
            put(ring, offset, batch)
            offset += len(batch)
        ring.close()

    found = kept(place)

    frames = [frame for batch in (*before, *after) for frame in batch]
    assert [entry.frame for entry in found.entries] == frames[-len(found.entries) :]
    assert found.entries[-1].offset == offset - 1


def test_another_epoch_forgets_the_one_before(tmp_path):
    ring = a_ring(tmp_path)
    ring.begin(EPOCH)
    for number in range(200):
        put(ring, number + 1, [b"x" * 50])
    ring.begin(EPOCH + 1)
    put(ring, 1, [b"new"])
    ring.close()

    found = kept(tmp_path)

    assert (found.epoch, [entry.frame for entry in found.entries]) == (EPOCH + 1, [b"new"])


@given(st.integers(0, 999), st.integers(0, 255))
def test_a_damaged_byte_costs_what_follows_it_and_raises_nothing(tmp_path_factory, at, value):
    place = tmp_path_factory.mktemp("ring")
    ring = a_ring(place)
    ring.begin(EPOCH)
    for number in range(8):
        put(ring, number + 1, [b"%d" % number * 20])
    ring.close()
    with (place / "segment-1").open("r+b") as file:
        file.seek(at)
        file.write(bytes([value]))

    found = kept(place)

    offsets = [entry.offset for entry in found.entries] if found else []
    assert offsets == list(range(offsets[0], offsets[0] + len(offsets))) if offsets else True


def test_the_moment_before_a_record_counts_it_does_not(tmp_path, monkeypatch):
    ring = a_ring(tmp_path)
    ring.begin(EPOCH)
    put(ring, 1, [b"one"])
    monkeypatch.setattr("relay.ring_file._RECORD", NoHead)
    put(ring, 2, [b"two"])
    monkeypatch.undo()
    ring.close()

    assert [entry.frame for entry in kept(tmp_path).entries] == [b"one"]


class NoHead:
    """Dies before the head of a record is written."""

    size = ring_file._RECORD.size

    @staticmethod
    def pack_into(*_args) -> None:
        pass


# --- a relay that takes it up --------------------------------------------------------------------


def a_fanout(ring: KeptRing) -> Fanout:
    return Fanout(epoch=ring.epoch, on_union=lambda union: None, ring=ring.ring, keep=ring.append)


def resumed(fanout: Fanout, offset: int, extensions) -> list[dict]:
    told = Told(fanout, extensions=extensions)
    told.say(
        action="subscribe", trades=["A"], resume={"e": fanout.epoch, "o": offset},
    )  # fmt: skip
    return told.messages()


def test_after_a_kill_a_consumer_is_recovered_and_shown_the_gap_in_its_place(tmp_path):
    first = KeptRing(tmp_path / "ring", tmp_path)
    before = a_fanout(first)
    for _ in range(5):
        send(before, a_frame("A"), now_s=0)
    first.alive(1_000)

    first.close()  # as a kill does
    again = KeptRing(tmp_path / "ring", tmp_path)
    after = a_fanout(again)
    after.gap(1_000, 2_000, "relay restarted", now_s=1)
    send(after, a_frame("A"), now_s=2)
    found = resumed(after, 3, ("frame", "resume", "gap"))

    assert (again.epoch, again.alive_ns) == (first.epoch, 1_000)
    kinds = [one["T"] for one in found if one["T"] in ("resume", "t", "gap")]
    assert kinds == ["resume", "t", "t", "t", "gap", "t"]
    assert next(one for one in found if one["T"] == "resume")["state"] == "RECOVERED"
    again.close()


def test_two_relays_never_share_a_ring(tmp_path):
    memory = tmp_path / "shm"
    memory.mkdir()
    place = place_of(tmp_path, "live", memory)
    one = KeptRing(place, tmp_path)

    with pytest.raises(BlockingIOError):
        KeptRing(place, tmp_path)

    assert place_of(tmp_path, "live", memory, feed="iex") != place
    assert place_of(tmp_path, "tape-2", memory) != place
    assert place.is_dir()  # held: no other relay's start takes it away
    one.close()
    KeptRing(place, tmp_path).close()


def test_who_cannot_see_gap_markers_is_not_told_that_all_is_well(tmp_path):
    ring = KeptRing(tmp_path / "ring", tmp_path)
    fanout = a_fanout(ring)
    send(fanout, a_frame("A"), now_s=0)
    fanout.gap(1_000, 2_000, "silent", now_s=1)
    send(fanout, a_frame("A"), now_s=2)

    blind, late = resumed(fanout, 1, ("frame", "resume")), resumed(fanout, 3, ("frame", "resume"))

    assert [one["state"] for one in blind if one["T"] == "resume"] == ["GAP"]
    assert [one["T"] for one in blind if one["T"] == "t"] == ["t", "t"]
    assert [one["state"] for one in late if one["T"] == "resume"] == ["RECOVERED"]
    ring.close()


def test_a_memory_that_is_full_ends_the_keeping_and_not_the_relay(tmp_path, monkeypatch, caplog):
    ring = KeptRing(tmp_path / "ring", tmp_path)
    fanout = a_fanout(ring)

    def full(*_args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    told = Told(fanout, extensions=["frame"])
    told.say(action="subscribe", trades=["A"])
    told.frames()
    for number in range(3):
        send(fanout, a_frame("A"), now_s=number)

    assert len(told.symbols()) == 3
    assert [r.message for r in caplog.records].count("ring not kept any more") == 1
    ring.alive(5)


def test_places_of_homes_that_are_gone_are_removed_and_others_left(tmp_path):
    memory, here, gone = tmp_path / "shm", tmp_path / "here", tmp_path / "gone"
    for path in (memory, here, gone):
        path.mkdir()
    for home in (here, gone):
        KeptRing(place_of(home, "live", memory), home, max_bytes=1000).close()
    gone.rmdir()

    place = place_of(here, "live", memory)

    assert [path.name for path in memory.iterdir()] == [place.name]
    assert place_of(here, "tape-2", memory) != place
    assert list(memory.iterdir()) == []
    assert place_of(here, "live", tmp_path / "nowhere") is None


def test_what_is_older_than_the_window_is_not_taken_up(tmp_path):
    for age_s, taken in ((30, True), (120, False)):
        home = tmp_path / str(age_s)
        ring = KeptRing(home, home)
        ring._file.append(
            b"x", np.array([1]), first_offset=1, watermark_ns=5,
            wall_ns=time.time_ns() - age_s * 10**9,
        )  # fmt: skip
        ring.close()
        again = KeptRing(home, home)

        assert (again.epoch == ring.epoch, bool(again.ring.size_bytes)) == (taken, taken)
        again.close()


def test_the_ring_that_is_taken_up_is_bounded_as_any(tmp_path):
    ring = Ring(max_bytes=100, max_seconds=60, first_offset=7)
    for number in range(50):
        ring.append(msgpack.packb([{"T": "t"}]) * 5, added_s=number, watermark_ns=1)

    assert ring.size_bytes <= 100
    assert [entry.offset for entry in ring.entries()][-1] == 56


@pytest.mark.parametrize("count", [0, 1, 2**32 - 1])
def test_a_record_with_places_that_make_no_sense_is_nothing(count):
    from relay.ring_file import _cut  # noqa: PLC0415 - the one part that takes foreign numbers

    assert _cut(np.array([9], "<u4").tobytes() + b"abc", count) in ((), [])
