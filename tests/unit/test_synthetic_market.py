"""The bytes of a synthetic market: decodable, as `relay.frames` encodes, and always the same."""

from collections import Counter
from datetime import UTC, date, datetime, time
from itertools import pairwise
from pathlib import Path

import msgspec
import numpy as np
import pytest

from execution.venue.synthetic import SyntheticMarket
from relay import frames
from relay.tape import Block, TapeReader, TapeWriter

DAY = date(2026, 11, 23)
SECOND_NS = 1_000_000_000


def a_market(seed: int = 7, symbols: int = 400, **given: object) -> SyntheticMarket:
    return SyntheticMarket(seed=seed, day=DAY, symbols=symbols, **given)  # type: ignore[arg-type]


def seconds(market: SyntheticMarket, start_ns: int, count: float) -> list[Block]:
    end_ns = start_ns + int(count * SECOND_NS)
    return [block.packed() for block in market.blocks(start_ns, end_ns)]


def joined(blocks: list[Block]) -> tuple[bytes, list[int]]:
    packed = [block.data[block.starts[0] : block.ends[-1]] for block in blocks]
    return b"".join(packed), [int(at) for block in blocks for at in block.recv_ns]


def decoded(blocks: list[Block]) -> list[dict]:
    return [
        message
        for block in blocks
        for i in range(block.recv_ns.size)
        for message in msgspec.msgpack.decode(block.frame(i))
    ]


def test_the_same_seed_gives_the_same_bytes() -> None:
    one, two = a_market(), a_market()

    assert joined(seconds(one, one.live_ns, 5)) == joined(seconds(two, two.live_ns, 5))
    assert one.planted == two.planted
    assert one.halts == two.halts


def test_another_seed_gives_another_market() -> None:
    one, two = a_market(seed=7), a_market(seed=8)

    assert one.header.symbols != two.header.symbols
    assert joined(seconds(one, one.live_ns, 2)) != joined(seconds(two, two.live_ns, 2))


def test_where_one_starts_changes_nothing_in_what_follows() -> None:
    market = a_market()
    start, length = market.live_ns + 30 * SECOND_NS, 45

    early = list(market.blocks(market.live_ns - 60 * SECOND_NS, start + length * SECOND_NS))

    window = [block.within(start, None) for block in early]
    assert joined([b for b in window if b.recv_ns.size]) == joined(seconds(market, start, length))


def test_two_iterations_at_once_do_not_disturb_each_other() -> None:
    market = a_market()
    alone = joined(seconds(market, market.live_ns, 3))

    pairs = list(
        zip(
            market.blocks(market.live_ns, market.live_ns + 3 * SECOND_NS),
            market.blocks(market.live_ns, market.live_ns + 3 * SECOND_NS),
            strict=True,
        )
    )

    assert joined([one for one, _ in pairs]) == alone
    assert joined([two for _, two in pairs]) == alone


def test_every_message_is_byte_for_byte_what_the_encoder_writes() -> None:
    market = a_market(symbols=2_000)
    seen: Counter[str] = Counter()

    for block in seconds(market, market.session.open_ns, 20):
        spans = frames.scan(block.data)
        messages = decoded([block])
        assert len(spans) == len(messages)
        for span, message in zip(spans, messages, strict=True):
            seen[message["T"]] += 1
            again = frames.encode_message({**message, "t": int(span["ts_ns"])})
            assert again == block.data[span["start"] : span["end"]]

    assert seen["t"] > 1000
    assert seen["q"] > 1000
    assert seen["l"] > 50


def test_frames_are_short_in_time_and_number_and_in_order() -> None:
    market = a_market(symbols=3_000)

    for block in seconds(market, market.session.open_ns, 10):
        assert (np.diff(block.recv_ns) >= 0).all()
        for i in range(block.recv_ns.size):
            spans = frames.scan(block.frame(i))
            late = spans["ts_ns"] < block.recv_ns[i] - 100_000_000
            assert len(spans) <= 500
            assert (spans["ts_ns"] <= block.recv_ns[i]).all()
            assert late.mean() < 0.02


def test_a_few_prints_come_seconds_late() -> None:
    market = a_market(symbols=3_000)
    late_ns = [
        block.recv_ns[i] - ts
        for block in seconds(market, market.live_ns, 55)
        for i in range(block.recv_ns.size)
        for ts in frames.scan(block.frame(i))["ts_ns"]
    ]

    late = np.array(late_ns)
    assert 5e-5 < (late > 750_000_000).mean() < 1e-3
    assert late.max() < 9 * SECOND_NS


def test_ids_are_unique_and_grow() -> None:
    market = a_market()

    ids = [m["i"] for m in decoded(seconds(market, market.live_ns + 55 * SECOND_NS, 10))
           if m["T"] == "t"]  # fmt: skip

    assert len(ids) > 100
    assert all(a < b for a, b in pairwise(ids))


def test_it_begins_with_warm_up_before_0955_and_can_begin_anywhere() -> None:
    market = a_market()
    first = next(market.blocks())

    assert market.start_ns < market.live_ns
    assert market.start_ns <= first.recv_ns[0] < market.start_ns + SECOND_NS
    later = a_market(start_ns=market.live_ns + 7 * SECOND_NS)
    assert next(later.blocks()).recv_ns[0] >= market.live_ns + 7 * SECOND_NS


def test_the_day_opens_and_closes_with_auctions_and_then_ends() -> None:
    market = a_market()

    opening = [m for m in decoded(seconds(market, market.session.open_ns, 30)) if m["T"] == "t"]
    closing = decoded(list(market.blocks(market.session.close_ns - 2 * SECOND_NS)))

    assert sum("O" in m["c"] for m in opening) > 50
    assert sum("Q" in m["c"] for m in opening) == sum("O" in m["c"] for m in opening)
    assert sum("6" in m["c"] for m in closing if m["T"] == "t") > 50
    assert list(market.blocks(market.session.close_ns + 60 * SECOND_NS)) == []


def test_a_half_day_ends_at_one() -> None:
    market = a_market(symbols=50, close=time(13))
    last = list(market.blocks(market.session.close_ns - SECOND_NS))[-1]

    assert market.minutes == 210
    assert last.recv_ns[-1] <= market.session.close_ns + 6 * SECOND_NS
    assert all(p.start_ns < market.session.close_ns for p in market.planted)


def test_it_can_be_kept_as_a_tape(tmp_path: Path) -> None:
    market, path = a_market(), tmp_path / "synthetic.tape"

    with TapeWriter(path, market.header) as writer:
        for block in seconds(market, market.live_ns, 4):
            for i in range(block.recv_ns.size):
                writer.append(int(block.recv_ns[i]), block.frame(i))

    reader = TapeReader(path)
    assert reader.header.symbols == market.header.symbols
    assert joined(list(reader.blocks())) == joined(seconds(market, market.live_ns, 4))


def test_conditions_speak_the_language_of_their_tape() -> None:
    market = a_market(symbols=2_000)

    for message in decoded(seconds(market, market.live_ns, 20)):
        if message["T"] != "t":
            continue
        assert message["z"] in "ABC"
        assert (" " in message["c"]) <= (message["z"] in "AB")
        assert ("@" in message["c"]) <= (message["z"] == "C")
        assert ("I" in message["c"]) == (message["s"] < 100)


def test_a_halted_name_is_silent_between_its_statuses() -> None:
    market = a_market(symbols=3_000)
    halt = next(h for h in market.halts if h.pause)
    start = halt.start_ns - 2 * SECOND_NS

    key = frames.symbol_key(halt.symbol)[0]

    messages = []
    for block in market.blocks(start, halt.end_ns + 5 * SECOND_NS):
        spans = frames.scan(block.data)
        messages += [
            msgspec.msgpack.decode(block.data[span["start"] : span["end"]])
            for span in spans[spans["key"] == key]
        ]

    halted = [m for m in messages if m["T"] in "tq" and halt.start_ns <= _ns(m) < halt.end_ns]
    codes = [m["sc"] for m in messages if m["T"] == "s"]
    assert halted == []
    assert codes in (["P", "Q", "T"], ["2", "3"])
    assert any("5" in m["c"] for m in messages if m["T"] == "t" and _ns(m) >= halt.end_ns)


def _ns(message: dict) -> int:
    return int((message["t"] - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() * 1e9) + 1000


def test_cancels_and_corrections_name_prints_that_were_sent() -> None:
    market = a_market(symbols=1_000)
    sent: dict[int, tuple[float, int]] = {}
    cancels = corrections = 0

    for block in seconds(market, market.live_ns, 600):
        spans = frames.scan(block.data)
        rows = frames.trades(block.data, spans)
        sent |= dict(zip(rows["id"].tolist(), rows[["price", "size"]].tolist(), strict=True))
        for span in spans[(spans["kind"] == frames.CANCEL) | (spans["kind"] == frames.CORRECTION)]:
            m = msgspec.msgpack.decode(block.data[span["start"] : span["end"]])
            if m["T"] == "x":
                cancels += 1
                assert sent[m["i"]] == (m["p"], m["s"])
            else:
                corrections += 1
                assert sent[m["oi"]] == (m["op"], m["os"])

    assert cancels
    assert corrections


@pytest.mark.parametrize("given", [{"seed": -1}, {"planted_per_hour": -1.0}, {"symbols": 3}])
def test_bad_arguments_are_refused(given: dict) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the texts differ
        a_market(**given)
