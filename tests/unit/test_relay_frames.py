"""Kernels against their slow twin (msgspec), and against bytes that are not frames."""

import math
import struct

import msgpack
import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay import frames

EXT = msgspec.msgpack.Ext
symbols = st.text("ABCZ.", min_size=1, max_size=18)
times = st.integers(0, 2**63 - 1 - 10**9)
prices = st.one_of(st.floats(allow_nan=True), st.integers(-(2**31), 2**40))
sizes = st.one_of(st.integers(-(2**63), 2**63 - 1), st.floats(0, 1e6))
condition_lists = st.lists(st.sampled_from(["@", " ", "F", "I", "T", "LONG", "é", ""]), max_size=10)
trade_messages = st.fixed_dictionaries(
    {"T": st.just("t"), "S": symbols, "i": st.integers(0, 2**63 - 1), "p": prices, "s": sizes},
    optional={"x": st.sampled_from(["V", ""]), "c": condition_lists, "z": st.just("C"), "t": times},
)
quote_messages = st.fixed_dictionaries(
    {"T": st.just("q"), "S": symbols, "bx": st.just("V"), "bp": prices, "bs": sizes, "ap": prices},
    optional={"as": sizes, "c": condition_lists, "t": times, "r": times},
)
other_messages = st.one_of(
    st.just({"T": "x", "e": 5, "o": 7, "p": 6, "w": 9}),
    st.just({"T": "x", "S": "A", "i": 5, "a": "C"}),
    st.just({"T": "success", "msg": "connected"}),
    st.fixed_dictionaries({"T": st.sampled_from(list("sblc")), "S": symbols, "t": times}),
)
messages = st.lists(st.one_of(trade_messages, quote_messages, other_messages), max_size=40)


def a_frame(*found: dict) -> bytes:
    return frames.encode_array([frames.encode_message(message) for message in found])


def decoded(raw: bytes):
    """The other decoder: times as `msgpack.Timestamp`, exact to the nanosecond."""
    return msgpack.unpackb(raw, timestamp=0)


def twin_ns(message: dict) -> int:
    return message["t"].to_unix_nano() if "t" in message else 0


def twin_kind(message: dict) -> int:
    kind = message.get("T", "")
    if kind == "x" and "e" in message and "S" not in message:
        return frames.EXTENSION
    return ord(kind) if len(kind) == 1 else frames.CONTROL


def twin_conditions(names: list[str]) -> int:
    packed = bytearray(8)
    known = [name for name in names if len(name.encode()) == 1]
    for at, name in enumerate(known[:8]):
        packed[at] = ord(name)
    if len(known) > 8 or any(len(name.encode()) > 1 for name in names):
        packed[7] = 0xFF
    return int.from_bytes(packed, "little")


def twin_size(value: float) -> int:
    return int(value)


def same(left: float, right: float) -> bool:
    return left == right or (math.isnan(left) and math.isnan(right))


@given(messages)
@settings(max_examples=200, deadline=None)
def test_spans_agree_with_a_decoder(found):
    frame = a_frame(*found) + a_frame(*found[:3])

    spans = frames.scan(frame)

    bounds = zip(spans["start"], spans["end"], strict=True)
    split = [decoded(frame[start:end]) for start, end in bounds]
    assert len(split) == len(found) + len(found[:3])
    for span, message in zip(spans, split, strict=True):
        assert span["kind"] == twin_kind(message)
        assert span["ts_ns"] == twin_ns(message)
        symbol = message.get("S", "")
        if len(symbol) <= 16:
            assert frames.key_symbol(int(span["key"]), int(span["key2"])) == symbol


@given(messages)
@settings(max_examples=200, deadline=None)
def test_trade_and_quote_columns_agree_with_a_decoder(found):
    frame = a_frame(*found)
    spans = frames.scan(frame)

    trades, quotes = frames.trades(frame, spans), frames.quotes(frame, spans)

    every = decoded(frame)
    wanted = [message for message in every if message["T"] == "t"]
    assert len(trades) == len(wanted)
    for row, message in zip(trades, wanted, strict=True):
        price = float(message["p"])
        assert same(row["price"], price)
        if abs(price) < 9e12:
            assert row["price_micro"] == round(price * 1e6)
        assert row["size"] == twin_size(message["s"])
        assert row["id"] == message["i"]
        assert row["ts_ns"] == twin_ns(message)
        assert row["exchange"] == ord(message.get("x") or "\0")
        assert row["tape"] == ord(message.get("z") or "\0")
        assert row["conditions"] == twin_conditions(message.get("c", []))
    wanted = [message for message in every if message["T"] == "q"]
    assert len(quotes) == len(wanted)
    for row, message in zip(quotes, wanted, strict=True):
        assert same(row["bid"], float(message["bp"]))
        assert same(row["ask"], float(message["ap"]))
        assert row["bid_size"] == twin_size(message["bs"])
        assert row["ask_size"] == twin_size(message.get("as", 0))
        assert row["conditions"] == twin_conditions(message.get("c", []))


@given(messages, st.randoms(use_true_random=False), st.booleans())
@settings(max_examples=150, deadline=None)
def test_a_gathered_frame_holds_the_chosen_messages_byte_for_byte(found, random, with_head):
    frame = a_frame(*found)
    spans = frames.scan(frame)
    mask = np.array([random.random() < 0.5 for _ in found], np.bool_)
    head = frames.encode_message({"T": "x", "e": 1, "o": 2}) if with_head else b""

    chosen = frames.gather(frame, spans, mask, head=head)

    raw = msgspec.msgpack.decode(frame, type=list[msgspec.Raw])
    wanted = [bytes(item) for item, keep in zip(raw, mask, strict=True) if keep]
    assert chosen == frames.encode_array(([head] if head else []) + wanted)


def kernels_survive(raw: bytes) -> None:
    try:
        spans = frames.scan(raw)
    except frames.FrameError:
        return
    assert all(0 <= span["start"] < span["end"] <= len(raw) for span in spans)
    frames.trades(raw, spans)
    frames.quotes(raw, spans)
    frames.gather(raw, spans)


@given(st.binary(max_size=300))
@settings(max_examples=500, deadline=None)
def test_random_bytes_are_refused_or_read_within_their_bounds(raw):
    kernels_survive(raw)


@given(messages, st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), max_size=6))
@settings(max_examples=500, deadline=None)
def test_mutated_and_cut_frames_are_refused_or_read_within_their_bounds(found, flips):
    raw = bytearray(a_frame(*found))
    for at, value in flips:
        raw[at % len(raw)] = value

    kernels_survive(bytes(raw))
    kernels_survive(bytes(raw[: len(raw) // 2]))


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"\x91", "cut off"),
        (b"\xdd\xff\xff\xff\xff\x80", "cut off"),
        (b"\x91\xdf\xff\xff\xff\xff", "cut off"),
        (b"\x81\xa1T\xa1t", "not an array of maps"),
        (b"\x91\x01", "not an array of maps"),
        (b"\xc1", "cut off or not msgpack"),
    ],
)
def test_a_frame_error_says_what_is_wrong(raw, reason):
    with pytest.raises(frames.FrameError, match=reason):
        frames.scan(raw)


def test_spans_of_another_buffer_are_refused():
    first, last = {"T": "t", "S": "LONGER", "p": 1.0}, {"T": "t", "S": "A"}
    spans = frames.scan(a_frame(first, last))[1:]
    short = a_frame(last)

    for reader in (frames.gather, frames.trades):
        with pytest.raises(frames.FrameError):
            reader(short, spans)


def test_symbol_words_order_as_the_strings_do():
    names = ["A", "AA", "AAPL", "AN", "B", "BRK.B", "ZVZZT", "ABCDEFGHIJ", "ABCDEFGH", "ABCDEFGHA"]

    keys = sorted(frames.symbol_key(name) for name in names)

    assert [frames.key_symbol(*key) for key in keys] == sorted(names)
    with pytest.raises(ValueError, match="longer than 16"):
        frames.symbol_key("X" * 17)


@pytest.mark.parametrize("ts_ns", [0, 1, 1381132800547000001, 9_223_372_035 * 10**9 + 1])
def test_times_survive_to_the_nanosecond(ts_ns):
    spans = frames.scan(a_frame({"S": "A", "t": ts_ns, "T": "t"}))

    assert spans["ts_ns"][0] == ts_ns


def test_all_three_timestamp_forms_and_plain_integers_are_read():
    forms = [
        EXT(-1, struct.pack(">I", 7)),
        EXT(-1, struct.pack(">Q", (5 << 34) | 7)),
        EXT(-1, struct.pack(">Iq", 5, 7)),
        7_000_000_005,
        EXT(3, b"\0\0\0\7"),
        EXT(-1, struct.pack(">Q", 1_000_000_000 << 34)),
        "2026-01-01T00:00:00Z",
    ]
    frame = msgspec.msgpack.encode([{"T": "t", "t": form} for form in forms])

    times = frames.scan(frame)["ts_ns"].tolist()

    assert times == [7 * 10**9, 7_000_000_005, 7_000_000_005, 7_000_000_005, 0, 0, 0]


def test_an_encoded_message_starts_with_its_type():
    raw = frames.encode_message({"S": "A", "t": 5, "T": "t"})

    assert raw.startswith(b"\x83\xa1T\xa1t")
    assert list(decoded(raw)) == ["T", "S", "t"]
