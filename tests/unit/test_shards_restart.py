"""A shard that dies and goes on from what the store kept: the same buckets, the same candidates."""

import random
from functools import lru_cache
from typing import NamedTuple

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shards import blobs, detector
from shards.engine import ClosedBucket, Engine
from signals.session import BUCKET_NS
from signals.window import as_it_is
from tests.shard_builders import K0, QUIET, SESSION, a_tick, an_engine, at, frame_of, quote

SYMBOLS = ("ACME", "ACTS", "BETA", "ZED")
BUCKETS = 190
PARAMETERS = {
    **QUIET,
    "min_5s_flatline_ao_buckets": 0,
    "ao_min_z": 1.0,
    "vol_surge_multiplier": 1.0,
    "bar_price_source": "mid",
}
EPOCH = 77


class Sent(NamedTuple):
    """One frame of the relay: its number, the watermark it carries, its bytes."""

    offset: int
    watermark_ns: int
    data: bytes


@lru_cache(maxsize=1)
def the_tape() -> list[Sent]:
    """Frames of 0.1 s or so, some prints late within and beyond grace, offsets with holes."""
    rng = random.Random(11)
    price = dict.fromkeys(SYMBOLS, 50.0)
    events = []
    for n in range(BUCKETS * 40):
        symbol = rng.choice(SYMBOLS)
        price[symbol] *= 1 + rng.gauss(0, 0.0003) + (0.0006 if n // 300 % 7 == 3 else 0)
        seconds = n / 8 + rng.random() / 8
        when = seconds + (rng.choice([0, 0, 0, 0.5, 3.0]) if rng.random() < 0.05 else 0)
        tick = a_tick(seconds, round(price[symbol], 2), rng.choice([100, 50, 900]), id=n)
        events.append((when, tick._replace(symbol=symbol)))
        bid = round(price[symbol] - 0.01, 2)
        events.append((seconds, quote(seconds, bid, bid + 0.02, symbol=symbol)))
    events.sort(key=lambda event: event[0])
    sent = []
    for first in range(0, len(events), 5):
        group = events[first : first + 5]
        sent.append(Sent(3 * len(sent) + 10, at(group[-1][0]), frame_of([e[1] for e in group])))
    return sent


def play(
    engine: Engine, frames: list[Sent], keep: dict[int, dict] | None = None
) -> list[ClosedBucket]:
    closed = []
    for one in frames:
        for bucket in engine.closing(one.watermark_ns):
            closed.append(bucket)
            if keep is not None:
                keep[bucket.k] = blobs.encode(engine.state_after(bucket.k), EPOCH)
        engine.feed(one.data, one.offset)
    return closed


def comparable(closed: list[ClosedBucket]) -> list[bytes]:
    encode = msgspec.msgpack.Encoder(enc_hook=as_it_is).encode
    return [encode((one.report_parts, one.rows.tobytes())) for one in closed]


@lru_cache(maxsize=1)
def the_whole_run() -> tuple[list[bytes], dict[int, dict]]:
    keep: dict[int, dict] = {}
    closed = play(an_engine(parameters=PARAMETERS), the_tape(), keep)
    births = sum(one.report_parts["births"] for one in closed)
    assert births > 5, "the tape has something to find"
    return comparable(closed), keep


def restored(kept: dict[int, dict], k: int, **fields: object) -> tuple[Engine, blobs.Kept]:
    engine = an_engine(parameters=PARAMETERS, begin=False, **fields)
    cells = kept[k]
    joined = blobs.join(
        [blobs.decode_state(one.state) for one in cells.values()],
        {
            j: [blobs.decode_rows(one.rows)[1] for one in kept[j].values()]
            for j in range(max(K0, k - engine.settings.depth + 1), k + 1)
        },
        {
            j // detector.MINUTE: [blobs.decode_minute(one.minute) for one in kept[j].values()]
            for j in range(K0, k + 1)
            if (j + 1) % detector.MINUTE == 0
        },
    )
    assert joined is not None
    engine.restore(joined.newest, joined.history, joined.minutes)
    return engine, joined


@given(st.integers(2, BUCKETS - 4))
@settings(max_examples=25)
def test_a_restart_after_any_bucket_goes_on_bit_for_bit(crashed_after: int) -> None:
    whole, kept = the_whole_run()
    engine, joined = restored(kept, K0 + crashed_after)

    rest = [one for one in the_tape() if one.offset >= joined.newest.first_later_offset]
    closed = play(engine, rest)

    assert comparable(closed) == whole[crashed_after + 1 :]


def test_two_shards_take_over_what_one_left() -> None:
    whole, kept = the_whole_run()
    k = K0 + 120
    parts = []
    for ranges in ([("", "B")], [("B", "")]):
        engine, joined = restored(kept, k, ranges=ranges)
        rest = [one for one in the_tape() if one.offset >= joined.newest.first_later_offset]
        parts.append(play(engine, rest))

    union = [np.concatenate([a.rows, b.rows]).tobytes() for a, b in zip(*parts, strict=True)]
    found = [
        a.report_parts["candidates"] + b.report_parts["candidates"]
        for a, b in zip(*parts, strict=True)
    ]

    assert union == [msgspec.msgpack.decode(one)[1] for one in whole[121:]]
    expected = [msgspec.msgpack.decode(one)[0]["candidates"] for one in whole[121:]]
    assert [msgspec.to_builtins(each, enc_hook=dict) for each in found] == expected


def test_a_hole_in_what_was_kept_begins_the_rings_behind_it() -> None:
    _, kept = the_whole_run()
    k = K0 + 150
    holed = {**kept, K0 + 100: {}}

    engine, _ = restored(holed, k)

    assert set(engine.table["ring_k"]) == {K0 + 101}
    assert np.isnan(engine.rings.row("source", K0 + 99)).all()
    assert not np.isnan(engine.rings.row("source", K0 + 101)[: len(SYMBOLS)]).any()


def test_only_the_newest_state_can_be_kept() -> None:
    engine = an_engine()
    engine.close_due(at(11))

    with pytest.raises(ValueError, match="is gone"):
        engine.state_after(K0)


def test_damaged_blobs_are_refused() -> None:
    _, kept = the_whole_run()
    good = kept[K0 + 59]["AC"]

    for blob, decode in (
        (good.rows, blobs.decode_rows),
        (good.state, blobs.decode_state),
        (good.minute, blobs.decode_minute),
    ):
        decode(blob)
        for bad in (b"", blob[:20], blob[:-1], blob[:-1] + b"?", b"XXXX" + blob[4:]):
            with pytest.raises(blobs.BlobError):
                decode(bad)


def test_cells_of_different_buckets_do_not_join() -> None:
    _, kept = the_whole_run()
    states = [blobs.decode_state(kept[k]["AC"].state) for k in (K0 + 5, K0 + 6)]

    assert blobs.join(states, {}, {}) is None
    assert SESSION.first_k * BUCKET_NS == SESSION.open_ns


@settings(max_examples=10)
@given(st.randoms(use_true_random=False), st.integers(1, 3))
def test_batching_changes_no_report(rng: random.Random, copies: int) -> None:
    """The same frames, each delivered more than once, closed at the same watermarks."""
    tape = the_tape()[:900]
    plain = comparable(play(an_engine(parameters=PARAMETERS), tape))
    engine = an_engine(parameters=PARAMETERS)
    closed, group = [], []
    for one in tape:
        if one.watermark_ns >= (engine.closed_k + 2) * BUCKET_NS + engine.grace_ns:
            rng.shuffle(group)
            for frame in group:
                engine.feed(frame)
            group = []
            closed += engine.close_due(one.watermark_ns)
        group += [one.data] * copies

    assert [one.rows.tobytes() for one in closed] == [
        msgspec.msgpack.decode(each)[1] for each in plain
    ]


def test_a_frame_that_joins_several_is_asked_for_from_its_first() -> None:
    engine = an_engine()
    engine.feed(frame_of([a_tick(1)]), 4, 4)
    engine.feed(frame_of([a_tick(2), a_tick(5.2)]), 5, 9)
    (closed,) = engine.close_due(at(5) + engine.grace_ns)

    state = engine.state_after(closed.k)

    assert (state.first_later_offset, state.position) == (5, 10)
