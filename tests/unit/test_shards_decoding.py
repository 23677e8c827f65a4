"""The compiled pass over raw frames against its twin: scan, columns, and the rules with numpy."""

import random
from collections import Counter

import msgspec
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from relay import frames
from shards import conditions, decoding, kernels
from shards.booking import Booked, Booking
from shards.buckets import NO_OFFSET, BucketBook, usable
from shards.columns import Symbols
from signals.session import BUCKET_NS
from tests.shard_builders import K0, SESSION, a_tick, at, frame_of, quote, status, trade

RANGES = [("A", "M")]
SYMBOLS = ["A", "ACME", "BRK.B", "ABCDEFGHI", "LONGNAMEOF16CHAR", "ZED", "ZVZZT", "", "é", "T" * 40]
NUMBERS = st.one_of(
    st.integers(-(2**63), 2**64 - 1), st.integers(0, 300), st.floats(), st.none(), st.text("ab")
)
TIMES = st.integers(at(-5), at(60))
FIELDS = {
    "S": st.sampled_from(SYMBOLS),
    "i": NUMBERS,
    "x": st.one_of(st.sampled_from(["V", "", "QQ"]), NUMBERS),
    "p": NUMBERS,
    "s": NUMBERS,
    "c": st.one_of(
        st.lists(st.sampled_from(["@", "I", "F", "", "TT", "é", 7]), max_size=10), NUMBERS
    ),
    "z": st.sampled_from(["A", "C", "", None]),
    "t": st.one_of(TIMES.map(frames.timestamp), TIMES, NUMBERS),
    "tks": st.integers(0, 9),
    "e": st.integers(0, 9),
    "bp": NUMBERS,
}
KINDS = st.sampled_from(["t", "t", "t", "q", "s", "l", "x", "c", "b", "clock", "", 5])
MESSAGES = st.builds(
    lambda kind, fields, order: {
        name: {"T": kind, **fields}[name]
        for name in sorted({"T", *fields}, key=lambda name: order.get(name, 0))
    },
    KINDS,
    st.fixed_dictionaries({}, optional=FIELDS),
    st.dictionaries(st.sampled_from([*FIELDS, "T"]), st.integers(0, 9)),
)
FRAMES = st.lists(st.lists(MESSAGES, max_size=5).map(msgspec.msgpack.encode), max_size=5)
CLOSED_K = K0 + 3


def the_rules(resumed_position: int = 0, *, odd_lots: bool = False) -> np.ndarray:
    rules = np.zeros(1, decoding.RULES)
    rules[0] = (
        SESSION.open_ns, SESSION.close_ns, CLOSED_K, resumed_position, CLOSED_K + 4, odd_lots,
    )  # fmt: skip
    return rules


def fast(
    parts: list[bytes], offsets: list[int], rules: np.ndarray
) -> tuple[Booked, BucketBook, Symbols, Counter[str]]:
    symbols, book, counts = Symbols(RANGES), BucketBook(), Counter[str]()
    if not parts:
        parts, offsets = [b"\x90"], [0]
    raw = np.frombuffer(bytearray(b"".join([*parts, b"\xa1" * decoding.PADDING])), np.uint8)
    ends = np.cumsum([len(part) for part in parts])
    booked = Booking(symbols, book).take(raw, ends, np.array(offsets, np.int64), rules, counts)
    return booked, book, symbols, counts


def slow(
    parts: list[bytes], offsets: list[int], rules: np.ndarray
) -> tuple[dict[str, list], Counter[str]]:
    """The same with one call per step: what every frame holds, then who decides what."""
    counts: Counter[str] = Counter()
    found: dict[str, list] = {"open": [], "late": [], "seen": [], "rest": []}
    rule = rules[0]
    for part, offset in zip(parts, offsets, strict=True):
        try:
            spans = frames.scan(part)
        except frames.FrameError:
            counts["bad_frames"] += 1
            continue
        for span in spans[np.isin(spans["kind"], [ord(kind) for kind in "qslcx"])]:
            found["rest"].append((part[span["start"] : span["end"]], *span.tolist()[2:], offset))
        symbols = Symbols(RANGES)
        trades = frames.trades(part, spans)
        rows = symbols.rows_of(trades["key"].copy(), trades["key2"].copy())
        for one, row in zip(trades, rows, strict=True):
            k, new = int(one["ts_ns"]) // BUCKET_NS, offset >= rule["resumed_position"]
            new |= offset == NO_OFFSET
            if row < 0 or not (new or k > CLOSED_K):
                continue
            good = bool(usable(one["price"], one["size"]))
            if not good:
                counts["bad_prints"] += 1
            elif not SESSION.open_ns <= one["ts_ns"] < SESSION.close_ns:
                counts["outside_session"] += 1
                good = False
            elif k > rule["last_k"] and offset != NO_OFFSET:
                counts["too_far_ahead"] += 1
                good = False
            name = symbols.names[row]
            if new or good:
                found["seen"].append(name)
            if not good:
                continue
            flags = conditions.eligibility(
                one["tape"].reshape(1), one["conditions"].reshape(1),
                odd_lots_in_price=bool(rule["odd_lots_in_price"]),
            )[0]  # fmt: skip
            counts["unknown_conditions"] += bool(flags & kernels.UNKNOWN)
            values = [k, *one[["ts_ns", "id", "price", "price_micro", "size"]].tolist()]
            values += [offset, name, int(one["exchange"]), int(flags)]
            if k > CLOSED_K:
                values.append(int(one["conditions"]))
            found["open" if k > CLOSED_K else "late"].append(tuple(values))
    return found, counts


def agree(parts: list[bytes], offsets: list[int], rules: np.ndarray) -> None:
    expected, expected_counts = slow(parts, offsets, rules)

    booked, book, symbols, counts = fast(parts, offsets, rules)

    names = symbols.names
    opened = [
        (*rest, names[row], exchange, flags, int(code))
        for (*rest, row, exchange, flags), code in zip(
            booked.prints.tolist(), booked.conditions, strict=True
        )
    ]
    late = [
        (*rest, names[row], exchange, flags)
        for *rest, row, exchange, flags in book.late.waiting().tolist()
    ]
    rest = [
        (booked.raw[span["start"] : span["end"]].tobytes(), *span.tolist()[2:], offset)
        for span, offset in zip(booked.rest, booked.rest_offsets.tolist(), strict=True)
    ]
    assert opened == expected["open"]
    assert late == expected["late"]
    assert rest == expected["rest"]
    seen = {name: int(n) for name, n in zip(names, booked.seen, strict=True) if n}
    assert seen == Counter(expected["seen"])
    assert +counts == +expected_counts


@given(FRAMES, st.lists(st.integers(-1, 9), min_size=5, max_size=5), st.integers(0, 9))
@settings(max_examples=300)
def test_any_messages_are_read_as_the_twin_reads_them(
    parts: list[bytes], offsets: list[int], resumed: int
) -> None:
    agree(parts, offsets[: len(parts)], the_rules(resumed, odd_lots=bool(resumed % 2)))


@given(FRAMES, st.randoms(use_true_random=False), st.integers(1, 30))
@settings(max_examples=300)
def test_damaged_frames_are_refused_as_the_twin_refuses_them(
    parts: list[bytes], rng: random.Random, harm: int
) -> None:
    tick = frame_of([a_tick(20.5), quote(1, 2, 3), status(1, "H"), a_tick(3, symbol="LONGERNAME")])
    parts = [*parts, tick]
    damaged = []
    for part in parts:
        raw = bytearray(part)
        for _ in range(harm):
            if raw and rng.random() < 0.4:
                raw[rng.randrange(len(raw))] = rng.choice((rng.randrange(256), 0xC1, 0xDD, 0xA1))
        damaged.append(bytes(raw[: rng.randrange(len(raw) + 1)] if rng.random() < 0.2 else raw))

    agree(damaged, list(range(len(parts))), the_rules())


USUAL = {
    "S": st.text("ABCXYZ.", min_size=1, max_size=9),
    "i": st.one_of(st.integers(0, 2**64 - 1), st.integers(0, 300)),
    "x": st.sampled_from("VDK"),
    "p": st.floats(0.01, 1e6),
    "s": st.one_of(st.integers(0, 2**40), st.integers(1, 300), st.floats(1, 1e4)),
    "c": st.lists(st.sampled_from("@IFTXOL"), max_size=5),
    "z": st.sampled_from("ABC"),
    "t": TIMES.map(frames.timestamp),
}


@given(
    st.lists(
        st.tuples(
            st.fixed_dictionaries(USUAL),
            st.permutations(sorted(USUAL)),
            st.sampled_from([*USUAL, "T", "", "tks"]),
        ),
        min_size=1,
        max_size=6,
    ),
    st.integers(-1, 400),
    st.integers(0, 255),
)
@settings(max_examples=400)
def test_usual_trades_in_any_order_and_hurt_in_one_byte_are_read_as_the_twin_reads_them(
    trades: list[tuple[dict, list[str], str]], hurt: int, byte: int
) -> None:
    messages = []
    for fields, order, twice in trades:
        pairs = [(name, fields[name]) for name in order]
        if twice:  # a key that comes twice, or one that no trade has
            pairs.append((twice, fields.get(twice, 3)))
        encoded = b"".join(msgspec.msgpack.encode(part) for pair in pairs for part in pair)
        messages.append(bytes([0x80 | len(pairs) + 1]) + b"\xa1T\xa1t" + encoded)
    frame = bytearray(frames.encode_array(messages))
    if 0 <= hurt < len(frame):
        frame[hurt] = byte

    agree([bytes(frame), bytes(frame[:-3])], [3, 4], the_rules())


def test_more_messages_than_expected_find_room() -> None:
    many = frame_of([a_tick(20 + n / 100, id=n, symbol=f"A{n:x}") for n in range(3000)])
    empty = msgspec.msgpack.encode([{"T": "q"}] * 5000)

    agree([many, empty, many], [1, 2, 3], the_rules())


def test_a_kind_or_a_symbol_that_is_no_string_does_not_replace_the_one_before() -> None:
    plain = msgspec.msgpack.decode(trade(a_tick(20.5, id=7)), ext_hook=lambda code, data: data)
    pairs = [*plain.items(), ("T", ["@"]), ("S", 3)]
    pairs = [(name, frames.timestamp(at(20.5)) if name == "t" else one) for name, one in pairs]
    body = b"".join(msgspec.msgpack.encode(part) for pair in pairs for part in pair)

    frame = frames.encode_array([bytes([0x80 | len(pairs)]) + body])
    agree([frame], [1], the_rules())

    booked, *_ = fast([frame], [1], the_rules())
    assert booked.prints["id"].tolist() == [7]
