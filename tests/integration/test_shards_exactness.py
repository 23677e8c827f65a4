"""One market, cut and shaken in every way at once: the same buckets and the same candidates.

Shards × batches × jitter within grace × duplicates × a crash with take-over, on a slice of every
tape and of the synthetic market, against one undisturbed engine: 50 crashes. Prints, halts, bands,
cancels and corrections all come late. `TRADEPLANE_WHOLE_DAYS=1` plays whole days instead, 50
crashes each.
"""

import os
import random
from collections.abc import Iterator, Sequence
from datetime import date
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
import pytest

from execution.venue.days import session_of
from execution.venue.synthetic import SyntheticMarket
from relay import frames
from relay.tape import TapeReader, import_csv
from shards import blobs, detector
from shards.engine import ClosedBucket, Engine
from shards.letters import Range, assign_letters, merge
from shards.records import BUCKET_ROW, sorted_rows
from shards.split import by_load, take_over
from signals.session import BUCKET_NS, Session
from signals.window import as_it_is
from tests.shard_builders import EVERYTHING, QUIET, an_engine

COUNTS = (1, 2, 5, 13, 26)
WHOLE_DAYS = os.environ.get("TRADEPLANE_WHOLE_DAYS", "") not in ("", "0")
CRASHES = {"synthetic": 50, "real": 50} if WHOLE_DAYS else {"synthetic": 20, "real": 6}
MINUTES = 360 if WHOLE_DAYS else 9
FOUR = ("AIG", "BAC", "IBM", "SPY")
TAPES = [
    (FOUR, "20131007"),
    (FOUR, "20131008"),
    (FOUR, "20131009"),
    (("XXX",), "20180102"),
    (("AAA", "ETF"), "20140917"),
]
MINUTE_NS = 60_000_000_000
EPOCH = 5
PARAMETERS = {**QUIET, "min_5s_flatline_ao_buckets": 0, "vol_surge_multiplier": 1.0}
Seen = tuple[bytes, list[bytes]]


class Stretch(NamedTuple):
    """Messages of some minutes with the time each counts for."""

    session: Session
    messages: list[bytes]
    ts_ns: np.ndarray
    first_k: int
    last_k: int


class Sent(NamedTuple):
    """A frame of the relay: the watermark before it, its number, its bytes."""

    watermark_ns: int
    offset: int
    data: bytes


def a_stretch(session: Session, blocks: Iterator, first_ns: int) -> Stretch:
    messages, times = [], []
    for block in blocks:
        data = block.packed().data
        spans = frames.scan(data)
        spans = spans[np.isin(spans["kind"], [ord(kind) for kind in "tslxc"])]
        spans = spans[spans["ts_ns"] >= first_ns]  # earlier ones are late, and not within grace
        for start, end in zip(spans["start"].tolist(), spans["end"].tolist(), strict=True):
            messages.append(bytes(data[start:end]))
        times.append(spans["ts_ns"])
    ts_ns = np.concatenate(times)
    first_k = first_ns // BUCKET_NS
    return Stretch(session, messages, ts_ns, first_k, first_k + MINUTES * 12 - 1)


@lru_cache(maxsize=1)
def synthetic() -> Stretch:
    market = SyntheticMarket(seed=7, day=date(2024, 3, 5), symbols=30, planted_per_hour=120)
    first_ns = market.session.open_ns + (1 if WHOLE_DAYS else 30) * MINUTE_NS
    stretch = a_stretch(
        market.session, market.blocks(first_ns, first_ns + MINUTES * MINUTE_NS), first_ns
    )
    return with_rare_messages(stretch)


def with_rare_messages(stretch: Stretch, every: int = 600) -> Stretch:
    """Add cancels, corrections, halts and bands, more than a market has, at any time after."""
    rng = random.Random(1)
    messages, times = list(stretch.messages), stretch.ts_ns.tolist()
    trades = frames.trades(raw := b"".join(
        frames.encode_array([one]) for one in stretch.messages[::every]
    ), frames.scan(raw))  # fmt: skip
    for one in trades:
        ts_ns = int(one["ts_ns"]) + rng.choice((1, 700_000_000, 4_000_000_000, 30_000_000_000))
        where = {"S": frames.key_symbol(int(one["key"]), int(one["key2"])), "z": "C", "t": ts_ns}
        print_ = {"x": chr(one["exchange"] or 32), "i": int(one["id"])}
        made = rng.choice((
            {"T": "x", **print_, "p": 1.0, "s": 1, "a": "C"},
            {"T": "c", "x": print_["x"], "oi": print_["i"], "ci": print_["i"] + 7, "cs": 30,
             "cp": float(one["price"]) * 1.001, "cc": ["@"]},
            {"T": "l", "u": 500.0, "d": 1.0, "i": "B"},
            {"T": "s", "sc": rng.choice("HT"), "rc": ""},
        ))  # fmt: skip
        if ts_ns // BUCKET_NS <= stretch.last_k:
            messages.append(frames.encode_message({**made, **where}))
            times.append(ts_ns)
    return stretch._replace(messages=messages, ts_ns=np.array(times))


def real(names: Sequence[str], day: str, tapes_dir: Path, work: Path) -> Stretch:
    tape = work / "real.tape"
    import_csv([tapes_dir / "ticks" / f"{name}_{day}_t.csv.gz" for name in names], tape)
    reader = TapeReader(tape)
    session = session_of(reader.header.day)
    first_ns = session.open_ns + 5 * MINUTE_NS
    blocks = reader.blocks(start_ns=first_ns, end_ns=first_ns + MINUTES * MINUTE_NS)
    return a_stretch(session, blocks, first_ns)


def shaken(stretch: Stretch, rng: random.Random, grace_ns: int) -> list[Sent]:
    """Send each message up to the grace late, some twice, in frames of any length."""
    late = np.array([rng.randrange(grace_ns) for _ in stretch.messages])
    received = stretch.ts_ns + late
    order = np.argsort(received, kind="stable").tolist()
    sent, at, offset = [], 0, rng.randrange(1000)
    while at < len(order):
        size = rng.choice((1, 3, 30, 300))
        group = order[at : at + size]
        again = [one for one in group if rng.random() < 0.05]
        data = frames.encode_array([stretch.messages[one] for one in group + again])
        sent.append(Sent(int(received[group[0]]), offset, data))
        offset += rng.choice((1, 1, 4))
        at += size
    return sent


def an_own(stretch: Stretch, ranges: Sequence[Range], *, begin: bool = True) -> Engine:
    engine = an_engine(stretch.session, ranges=ranges, parameters=PARAMETERS, begin=False)
    if begin:
        engine.begin(stretch.first_k)
    return engine


def play(
    engine: Engine, sent: Sequence[Sent], last_k: int, kept: dict[int, dict] | None = None
) -> list[ClosedBucket]:
    """Feed and close; `kept` gets the state after every bucket, as the store has it."""
    closed = []
    end_ns = (last_k + 1) * BUCKET_NS + engine.grace_ns
    for watermark_ns, offset, data in (*sent, Sent(end_ns, -1, frames.encode_array([]))):
        for one in engine.closing(watermark_ns):
            closed.append(one)
            if kept is not None:
                kept[one.k] = blobs.encode(engine.state_after(one.k), EPOCH)
        if offset >= 0:
            engine.feed(data, offset)
    return closed


_encode = msgspec.msgpack.Encoder(enc_hook=as_it_is).encode


def seen(closed: Sequence[ClosedBucket]) -> Seen:
    """Return buckets, and candidates with endings, in one order; repetitions count once."""
    told = {
        (each.k, each.symbol): _encode(each)
        for one in closed
        for each in (*one.report_parts["candidates"], *one.report_parts["withdrawn"])
    }
    rows = sorted_rows([np.empty(0, BUCKET_ROW), *(one.rows for one in closed)])
    return rows.tobytes(), [told[key] for key in sorted(told)]


def resumed(stretch: Stretch, ranges: Sequence[Range], kept: dict[int, dict], k: int) -> Engine:
    """Return an engine that goes on after bucket k from what the cells of its ranges kept."""
    engine = an_own(stretch, ranges, begin=False)
    first = max(stretch.first_k, k - engine.settings.depth + 1)
    minutes = [j for j in range(stretch.first_k, k + 1) if (j + 1) % detector.MINUTE == 0]
    joined = blobs.join(
        [blobs.decode_state(one.state) for one in kept[k].values()],
        {
            j: [blobs.decode_rows(one.rows)[1] for one in kept[j].values()]
            for j in range(first, k + 1)
        },
        {
            j // detector.MINUTE: [blobs.decode_minute(one.minute) for one in kept[j].values()]
            for j in minutes
        },
    )
    assert joined is not None
    engine.restore(joined.newest, joined.history, joined.minutes)
    engine.replay_from = joined.newest.first_later_offset  # type: ignore[attr-defined]
    return engine


def with_a_crash(stretch: Stretch, count: int, rng: random.Random, grace_ns: int) -> Seen:
    """Let one of `count` shards die after some bucket; the others take over its letters."""
    sent = shaken(stretch, rng, grace_ns)
    shards = list(range(1, count + 1))
    load = {"A": 5.0, **{chr(65 + n): rng.random() for n in range(26)}}
    assigned = assign_letters(shards) if rng.random() < 0.5 else by_load(shards, load)
    victim = rng.choice([shard for shard in shards if assigned[shard]])
    crash_k = rng.randrange(stretch.first_k + 1, stretch.last_k)
    closed: list[ClosedBucket] = []
    living = [shard for shard in shards if shard != victim] or [count + 1]
    kept: dict[int, dict] = {}
    for shard, ranges in assigned.items():
        if not ranges:
            continue
        mine: dict[int, dict] = {}
        engine = an_own(stretch, ranges)
        if shard == victim:
            dead = play(engine, [one for one in sent if not _after(one, crash_k)], crash_k, mine)
            closed += dead[:-1]  # the last reports are lost: the state was kept, nobody heard
            kept = mine
            assert list(kept) == list(range(stretch.first_k, max(mine) + 1)), "none is missing"
        else:
            closed += play(engine, sent, stretch.last_k)
    taken = take_over(assigned, living, load)
    for shard in living:
        won = _won(assigned.get(shard, []), taken[shard])
        k = max(kept, default=None)
        if not won:
            continue
        if k is None or not kept[k]:
            closed += play(an_own(stretch, won), sent, stretch.last_k)
            continue
        heir = resumed(stretch, won, kept, k)
        rest = [one for one in sent if one.offset >= heir.replay_from]  # type: ignore[attr-defined]
        closed += play(heir, rest, stretch.last_k)
        closed += dead[-1:]
    return seen(closed)


def _after(one: Sent, k: int) -> bool:
    return one.watermark_ns > (k + 3) * BUCKET_NS


def _won(had: Sequence[Range], has: Sequence[Range]) -> list[Range]:
    """Return what is new to a shard: the ranges between those that it had."""
    cuts = sorted({edge for low, high in (*had, *has) for edge in (low, high or "~")})
    pairs = pairwise(cuts)
    inside = [
        (low, high)
        for low, high in pairs
        if any(a <= low and (not b or high <= b or (high == "~" and not b)) for a, b in has)
        and not any(a <= low and (not b or high <= b) for a, b in had)
    ]
    return merge([(low, "" if high == "~" else high) for low, high in inside])


def the_reference(stretch: Stretch) -> Seen:
    engine = an_own(stretch, EVERYTHING)
    order = np.argsort(stretch.ts_ns, kind="stable").tolist()
    plain = [
        Sent(int(stretch.ts_ns[one]), at, frames.encode_array([stretch.messages[one]]))
        for at, one in enumerate(order)
    ]
    expected = seen(play(engine, plain, stretch.last_k))
    assert len(expected[0]) > 20 * BUCKET_ROW.itemsize, "there is something to find"
    return expected


def agrees(stretch: Stretch, crashes: int) -> None:
    expected = the_reference(stretch)
    grace_ns = an_own(stretch, EVERYTHING).grace_ns
    for number in range(crashes):
        count = COUNTS[number % len(COUNTS)]
        found = with_a_crash(stretch, count, random.Random(number), grace_ns)
        assert found[0] == expected[0], f"buckets, crash {number} of {count} shards"
        assert found[1] == expected[1], f"candidates, crash {number} of {count} shards"


def test_a_synthetic_stretch_survives_every_crash() -> None:
    assert len(the_reference(synthetic())[1]) > 5, "candidates, too"
    agrees(synthetic(), CRASHES["synthetic"])


@pytest.mark.parametrize(("names", "day"), TAPES, ids=[f"{'-'.join(n)}-{d}" for n, d in TAPES])
def test_real_ticks_survive_every_crash(
    names: Sequence[str], day: str, tapes_dir: Path, tmp_path: Path
) -> None:
    agrees(real(names, day, tapes_dir, tmp_path), CRASHES["real"])
