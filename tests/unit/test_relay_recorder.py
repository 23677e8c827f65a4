"""Tapes of a stream: all of it, in files that rotate, in bounded room, never with a hole."""

import struct
import threading

import pytest

from relay import frames, recorder, tape
from relay.recorder import Recorder
from relay.tape import TapeReader

T0_NS = 1_381_152_600_000_000_000


def a_frame(i: int, pad: int = 0) -> bytes:
    body = {"T": "t", "S": "A", "i": i, "p": 1.5, "s": 1, "pad": "x" * pad, "t": T0_NS + i}
    return frames.encode_array([frames.encode_message(body)])


def tapes(directory) -> list:
    return sorted(directory.glob("*.tape"))


def recorded(directory) -> list[bytes]:
    found = []
    for path in tapes(directory):
        for block in TapeReader(path).blocks():
            found += [block.frame(i) for i in range(block.recv_ns.size)]
    return found


def test_everything_added_is_on_the_tapes_in_order(tmp_path):
    writer = Recorder(tmp_path, feed="sip")
    for i in range(100):
        writer.add([a_frame(2 * i), a_frame(2 * i + 1)], recv_ns=T0_NS + i)
    writer.close()

    assert recorded(tmp_path) == [a_frame(i) for i in range(200)]
    (path,) = tapes(tmp_path)
    found = tape.info(path)
    assert (found.messages, found.damaged) == ({"t": 200}, None)
    assert (found.header.source, str(found.header.day)) == ("record", "2013-10-07")
    assert writer.counters["recorded"] == 200


def test_a_tape_is_readable_while_it_grows_and_after_a_cut(tmp_path, monkeypatch):
    monkeypatch.setattr(recorder, "FLUSH_S", 0.005)
    flushed = threading.Event()
    original = tape.TapeWriter.__init__

    def noting(self, *args) -> None:
        original(self, *args)
        flush = self.flush
        self.flush = lambda: (flush(), flushed.set())

    monkeypatch.setattr(tape.TapeWriter, "__init__", noting)
    writer = Recorder(tmp_path, feed="sip")
    writer.add([a_frame(1)], recv_ns=T0_NS)
    assert flushed.wait(10)

    assert recorded(tmp_path) == [a_frame(1)]
    writer.close()
    (path,) = tapes(tmp_path)
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(tape.TapeTruncated):
        list(TapeReader(path).blocks())
    assert list(TapeReader(path, allow_truncated=True).blocks()) == []


def test_files_rotate_by_time_and_by_size(tmp_path):
    by_time = Recorder(tmp_path / "a", feed="sip", file_seconds=10)
    for i in range(4):
        by_time.add([a_frame(i)], recv_ns=T0_NS + i * 6_000_000_000)
    by_time.close()
    by_size = Recorder(tmp_path / "b", feed="sip", file_bytes=200)
    for i in range(5):
        by_size.add([a_frame(i)], recv_ns=T0_NS + i)
    by_size.close()

    assert len(tapes(tmp_path / "b")) == 5
    assert [path.name for path in tapes(tmp_path / "a")] == [
        "sip-20131007T133000.000000Z.tape",
        "sip-20131007T133012.000000Z.tape",
    ]
    assert len(recorded(tmp_path / "a")) == 4
    assert len(recorded(tmp_path / "b")) == 5


def test_the_oldest_tapes_make_room(tmp_path):
    for name in ("sip-1.tape", "sip-2.tape", "sip-3.tape", "iex-0.tape"):
        (tmp_path / name).write_bytes(bytes(1000))

    writer = Recorder(tmp_path, feed="sip", file_bytes=500, keep_bytes=2600)
    writer.add([a_frame(1)], recv_ns=T0_NS)
    writer.close()

    left = [path.name for path in tapes(tmp_path)]
    assert left[:3] == ["iex-0.tape", "sip-2.tape", "sip-20131007T133000.000000Z.tape"]
    assert "sip-1.tape" not in left


def test_what_does_not_fit_is_counted_and_a_new_file_begins(tmp_path, monkeypatch):
    monkeypatch.setattr(recorder, "QUEUE_BYTES", 100)
    monkeypatch.setattr(recorder, "FLUSH_S", 60.0)
    writer = Recorder(tmp_path, feed="sip")
    writer.add([a_frame(1)], recv_ns=T0_NS)
    writer.add([a_frame(2, pad=200)], recv_ns=T0_NS + 1)
    writer.add([a_frame(3)], recv_ns=T0_NS + 2_000_000)
    writer.close()

    assert recorded(tmp_path) == [a_frame(1), a_frame(3)]
    assert len(tapes(tmp_path)) == 2
    assert writer.counters["record_lost"] == 1


def test_a_disk_that_refuses_stops_the_recording_and_nothing_else(tmp_path, monkeypatch):
    def refuse(self, *args) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tape.TapeWriter, "__init__", refuse)
    writer = Recorder(tmp_path, feed="sip")
    writer.add([a_frame(1)], recv_ns=T0_NS)
    writer.close()

    assert writer.counters["record_lost"] == 1
    assert not writer._thread.is_alive()


def test_a_block_header_is_what_the_format_says(tmp_path):
    writer = Recorder(tmp_path, feed="sip")
    writer.add([a_frame(7)], recv_ns=T0_NS)
    writer.close()

    (path,) = tapes(tmp_path)
    raw = path.read_bytes()
    assert raw[:8] == b"TPTAPE1\n"
    (length,) = struct.unpack_from("<I", raw, 8)
    assert raw[12 + length : 16 + length] == b"TBLK"
