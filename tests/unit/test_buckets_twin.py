"""The bucket book against its slow twin on arbitrary prints, however they arrive."""

import random
from typing import NamedTuple

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from shards.engine import Engine, bucket_hash
from shards.letters import assign_letters
from signals.session import BUCKET_NS
from tests.shard_builders import EVERYTHING, K0, SESSION, an_engine, at, frame_of
from tests.twins import buckets as twin
from tests.twins.buckets import Tick

LAST = 5
CODES = st.sampled_from(
    [("@",), ("F",), ("I",), ("F", "I"), ("T",), ("4", "B"), ("L",), ("Z",), ("M",), ("9",), ()]
)
PRINTS = st.lists(
    st.builds(
        Tick,
        symbol=st.sampled_from(["ACME", "BRK.B", "A", "ZED", "lower", "1ST"]),
        ts_ns=st.integers(at(-2), at((LAST + 1) * 5) - 1),
        id=st.integers(0, 30),
        exchange=st.sampled_from("VQ"),
        price=st.integers(-1, 300).map(lambda cents: cents / 100),
        size=st.integers(0, 500),
        conditions=CODES,
        tape=st.sampled_from("ABC"),
    ),
    max_size=60,
    unique_by=lambda tick: (tick.symbol, tick.ts_ns, tick.id, tick.exchange),
)


class Run(NamedTuple):
    rows: np.ndarray
    candidates: list[str]


def run_through(engine: Engine, frames_in: list[list[Tick]]) -> Run:
    for each in frames_in:
        engine.feed(frame_of(each))
    closed = engine.close_due(at((LAST + 1) * 5) + engine.grace_ns)
    rows = np.concatenate([one.rows for one in closed])
    return Run(rows, [repr(one.report_parts["gravity"]) for one in closed])


@given(PRINTS)
def test_every_bucket_agrees_with_the_twin(prints: list[Tick]) -> None:
    expected = twin.bars(prints, SESSION.open_ns, SESSION.close_ns, K0 + LAST)

    found = run_through(an_engine(), [prints]).rows
    found = found[np.lexsort((found["symbol"], found["k"]))]

    assert len(found) == len(expected)
    for row, bar in zip(found.tolist(), expected, strict=True):
        k, symbol, *rest = row
        vwap = rest.pop(6)
        assert (symbol.decode(), k) == (bar.symbol, bar.k)
        assert rest == [*bar[2:8], bar.synthetic]
        assert abs(vwap - bar.vwap) <= 1e-9 * max(1.0, bar.vwap)


@given(PRINTS, st.randoms(use_true_random=False), st.integers(1, 7), st.integers(1, 3))
def test_order_batches_and_duplicates_change_nothing(
    prints: list[Tick], rng: random.Random, size: int, copies: int
) -> None:
    plain = run_through(an_engine(), [prints])
    mixed = prints * copies
    rng.shuffle(mixed)
    batches = [mixed[i : i + size] for i in range(0, len(mixed), size)]

    found = run_through(an_engine(), batches)

    assert bucket_hash(found.rows) == bucket_hash(plain.rows)
    assert found.candidates == plain.candidates


@given(PRINTS, st.randoms(use_true_random=False))
def test_jitter_within_grace_changes_nothing(prints: list[Tick], rng: random.Random) -> None:
    plain = run_through(an_engine(), [prints])
    engine = an_engine()
    received = sorted((tick.ts_ns + rng.randrange(engine.grace_ns), tick) for tick in prints)
    rows = []
    for receive_ns, tick in received:
        rows += [one.rows for one in engine.close_due(receive_ns)]
        engine.feed(frame_of([tick]))
    rows += [one.rows for one in engine.close_due(at((LAST + 1) * 5) + engine.grace_ns)]

    assert bucket_hash(np.concatenate(rows)) == bucket_hash(plain.rows)
    assert engine.book.late.count == 0


@given(PRINTS)
@settings(max_examples=15)
def test_any_number_of_shards_makes_the_same_buckets(prints: list[Tick]) -> None:
    plain = run_through(an_engine(ranges=EVERYTHING), [prints])
    for shards in (2, 5, 13, 26):
        rows = [
            run_through(an_engine(ranges=ranges, shard=shard), [prints]).rows
            for shard, ranges in assign_letters(range(1, shards + 1)).items()
        ]

        assert bucket_hash(np.concatenate(rows)) == bucket_hash(plain.rows)


def test_the_twin_s_width_is_ours() -> None:
    assert twin.WIDTH_NS == BUCKET_NS
