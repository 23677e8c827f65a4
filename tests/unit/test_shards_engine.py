"""From prints to candidates: a whole life on a made-up tape, halts, gaps, quotes, parameters."""

import math
import random
from itertools import product
from typing import Any

import msgspec
import numpy as np
import pytest

from relay import frames
from shards import describe
from shards.engine import Engine
from signals.candidates import State
from signals.messages import Candidate, WatchedPosition
from signals.window import as_it_is
from tests.shard_builders import K0, a_tick, an_engine, at, close, frame_of, quote, status, ticks
from tests.twins.buckets import Tick

START = 100  # the bucket in which the price takes off


def a_burst(*, start: int = START, symbol: str = "ACME", buckets: int = 130) -> list[Tick]:
    """Twenty seconds of a steep rise on heavy volume after a quiet while."""
    rng = random.Random(5)
    price, made = 50.0, []
    for k in range(buckets):
        rising = start <= k < start + 4
        for j in range(12 if rising else 2):
            price *= 1.0004 if rising else 1 + rng.choice([-1, 1]) * 0.00005
            size = 400 if rising else 100
            made.append(
                a_tick(5 * k + j * 0.4, round(price, 4), size, symbol=symbol, id=100 * k + j)
            )
    return made


def lives(engine: Engine, tape: list[Tick | bytes], last: int = 129) -> dict[int, dict[str, Any]]:
    engine.feed(frame_of(tape))
    return {one.k - K0: one.report_parts for one in close(engine, K0 + last)}


def the_candidates(parts: dict[int, dict[str, Any]]) -> dict[int, Candidate]:
    return {k: one for k, each in parts.items() for one in each["candidates"] if not one.shadow}


def test_a_burst_out_of_a_quiet_base_becomes_a_candidate_and_ends() -> None:
    parts = lives(an_engine(), a_burst())

    found = the_candidates(parts)
    first = found[min(found)]
    ends = [(k, each) for k, parts_ in parts.items() for each in parts_["withdrawn"]]
    assert START <= min(found) <= START + 2
    assert sum(each["births"] for each in parts.values()) == 1
    assert list(found) == list(range(min(found), max(found) + 1)), "it is told every bucket"
    assert {one.candidate_id for one in found.values()} == {first.candidate_id}
    assert first.candidate_id == f"2024-03-05-ACME-{first.b}"
    assert first.b == K0 + START + 1, "the bucket before is flat against the burst"
    assert first.state == "CANDIDATE"
    assert first.born_k == first.k
    assert [(k, one.reason) for k, one in ends] == [(max(found) + 1, "magnitude")]
    assert ends[0][1].candidate_id == first.candidate_id


def test_a_candidate_carries_its_evidence() -> None:
    found = the_candidates(lives(an_engine(), [quote(1, 49.9, 50.1, size=7), *a_burst()]))
    one = found[min(found)]

    assert set(one.window) == {
        "k0", "o", "h", "l", "c", "v", "n", "vwap", "synthetic", "x", "ao",
    }  # fmt: skip
    assert {len(values) for name, values in one.window.items() if name != "k0"} == {36}
    assert one.window["k0"] == [one.k - 35]
    assert one.window["x"][-1] == one.x
    assert one.window["c"][-1] == one.close == one.last_price
    assert one.cum_volume == sum(one.window["v"][-(one.k - one.b + 1) :])
    assert one.base_close == one.window["c"][-(one.k - one.b + 2)]
    assert one.z == pytest.approx(one.x / (one.noise_gain * one.sigma5_bps))
    until = at(5 * (one.k - K0 + 1))
    recent = [t.size for t in a_burst() if until - 300 * 10**9 <= t.ts_ns < until]
    assert one.volume_5m == sum(recent)
    assert one.session.trades == sum(t.ts_ns < until for t in a_burst())
    assert one.session.vwap is not None
    assert one.session.vwap_sd is not None
    assert 0 < one.session.vwap_sd < 1
    assert (one.quote.bid, one.quote.ask_size) == (49.9, 7)
    assert one.quote.median_spread_bps_60s == pytest.approx(40, rel=1e-2)
    assert one.flags == []
    packed = msgspec.msgpack.Encoder(enc_hook=as_it_is).encode(one)
    assert msgspec.msgpack.decode(packed, type=Candidate) == one


def test_the_session_deviation_is_that_of_the_volume_weighted_price() -> None:
    engine = an_engine()
    tape = a_burst()
    found = the_candidates(lives(engine, tape))
    one = found[min(found)]

    until = at(5 * (one.k - K0 + 1))
    used = [tick for tick in tape if tick.ts_ns < until]
    shares = sum(tick.size for tick in used)
    mean = sum(tick.price * tick.size for tick in used) / shares
    variance = sum(tick.size * (tick.price - mean) ** 2 for tick in used) / shares
    assert one.session.vwap == pytest.approx(mean, rel=1e-12)
    assert one.session.vwap_sd == pytest.approx(math.sqrt(variance), rel=1e-9)


def test_no_candidate_before_the_rings_are_full() -> None:
    parts = lives(an_engine(), a_burst(start=60))

    assert the_candidates(parts) == {}
    engine = an_engine()
    lives(engine, a_burst(), last=71)
    assert State(engine.table["state"][0]) is State.WARMUP
    close(engine, K0 + 72)
    assert State(engine.table["state"][0]) is not State.WARMUP, "73 buckets are enough"


def test_a_cooling_symbol_is_not_born_again() -> None:
    again = [t._replace(ts_ns=t.ts_ns + 5 * 26 * 10**9, id=t.id + 10**6) for t in a_burst()]
    short = an_engine(parameters={"candidate_cooldown_s": 3600})

    parts = lives(short, [*a_burst(), *again], last=255)

    assert sum(each["births"] for each in parts.values()) == 1
    assert State(short.table["state"][0]) is State.COOLING


def test_a_near_miss_is_told_as_such() -> None:
    parts = lives(an_engine(parameters={"min_cumulative_ao_volume": 15_000}), a_burst())

    shadows = [one for each in parts.values() for one in each["candidates"]]
    assert shadows
    assert all(one.shadow for one in shadows)
    assert sum(each["births"] for each in parts.values()) == 0


def test_one_wild_print_is_no_candidate() -> None:
    calm = a_burst(start=1000)
    wild = a_tick(5 * START + 1, 51.0, 50_000, id=1)

    assert the_candidates(lives(an_engine(), [*calm, wild])) == {}


def test_a_block_that_sets_no_price_does_not_surge() -> None:
    engine = an_engine()
    block = a_tick(6, 10.0, 5000, conditions=("4",))

    lives(engine, [*ticks("0 10x100, 7 10x100"), block], last=1)

    assert engine.rings.row("volume", K0 + 1).tolist() == [5100]
    assert engine.rings.row("calm", K0 + 1).tolist() == [100]


# --- halts, gaps, revisions ----------------------------------------------------------------------


def test_a_halt_withdraws_and_suspends_until_the_reopening_print() -> None:
    halted, resumed = 5 * (START + 3) + 2, 5 * (START + 10)
    engine = an_engine(parameters={"reopen_cooldown_s": 0})
    tape = [t for t in a_burst() if not at(halted) < t.ts_ns < at(resumed + 5.2)]

    parts = lives(engine, [*tape, status(halted, "H"), status(resumed, "T")], last=START + 10)

    assert [one.reason for each in parts.values() for one in each["withdrawn"]] == ["halt"]
    assert State(engine.table["state"][0]) is State.SUSPENDED
    close(engine, K0 + START + 11)
    assert engine.table["ring_k"][0] == K0 + START + 11, "its rings begin at the reopening print"
    assert State(engine.table["state"][0]) is State.WARMUP
    rows = [row for one in close(engine, K0 + START + 12) for row in one.rows]
    assert len(rows) == 1, "buckets go on through the halt"


def test_rings_hold_nothing_from_before_the_reopening() -> None:
    engine = an_engine()
    lives(engine, [*ticks("0 10x100, 12 10x100, 31 20x100"), status(6, "2"), status(25, "3")], 6)

    source = [engine.rings.row("source", K0 + k)[0] for k in range(7)]
    assert source[6] == 20.0
    assert np.isnan(source[:6]).all()
    assert engine.rings.row("close", K0 + 3)[0] == 10.0


@pytest.mark.parametrize(("lost_s", "restarts"), [(9, False), (11, True)])
def test_only_a_gap_of_more_than_ten_seconds_restarts_the_rings(
    lost_s: float, restarts: bool
) -> None:
    engine = an_engine()
    engine.feed(frame_of(ticks("0 10x100, 6 10x100")))
    close(engine, K0 + 1)

    engine.gap(at(10), at(10 + lost_s))
    engine.feed(frame_of(ticks("31 11x100")))
    parts = close(engine, K0 + 6)

    assert parts[0].report_parts["flags"] == ["gap"]
    assert parts[1].report_parts["flags"] == []
    assert engine.table["ring_k"][0] == (K0 + 6 if restarts else K0)


def test_a_gap_withdraws_candidates() -> None:
    engine = an_engine()
    engine.feed(frame_of(a_burst()))
    close(engine, K0 + START + 3)
    assert State(engine.table["state"][0]) is State.CANDIDATE

    engine.gap(at(5 * START), at(5 * START + 60))
    parts = close(engine, K0 + START + 4)[0].report_parts

    assert [one.reason for one in parts["withdrawn"]] == ["gap"]


def test_a_canceled_print_of_a_closed_bucket_withdraws_its_candidate() -> None:
    engine = an_engine()
    engine.feed(frame_of(a_burst()))
    close(engine, K0 + START + 3)
    cancel = {"T": "x", "S": "ACME", "i": 1, "x": "V", "p": 50.0, "s": 1, "a": "C", "z": "C"}

    engine.feed(frame_of([frames.encode_message({**cancel, "t": at(5 * START + 12)})]))
    parts = close(engine, K0 + START + 4)[0].report_parts

    assert [one.reason for one in parts["withdrawn"]] == ["revised"]


# --- quotes, index, breadth ----------------------------------------------------------------------


def test_the_quote_is_that_of_the_bucket_s_end_plus_grace() -> None:
    engine = an_engine()
    engine.feed(
        frame_of(
            [*ticks("0 10x100"), quote(5.7, 9.9, 10.1), quote(4.9, 9.8, 10.2), quote(5.8, 1, 2)]
        )
    )

    close(engine, K0)

    state = engine.quote_state(0)
    assert (state["bid"], state["ask"]) == (9.9, 10.1)
    assert engine.rings.row("mid", K0)[0] == 10.0, "the midpoint is that before the end"
    close(engine, K0 + 1)
    assert engine.quote_state(0)["bid"] == 1.0


@pytest.mark.parametrize(("unit", "size"), [("auto", 5), ("shares", 5), ("round_lots", 500)])
def test_a_quotes_size_is_told_in_shares(unit: str, size: int) -> None:
    engine = an_engine(parameters={"quote_size_unit": unit})
    engine.feed(frame_of([*ticks("0 10x100"), quote(1, 9.9, 10.1, size=5)]))
    close(engine, K0)

    (told,) = describe.quotes(engine, K0, np.array([0]))

    assert told is not None
    assert (told.bid_size, told.ask_size) == (size, size)


def test_one_sided_quotes_are_quotes_but_no_midpoint() -> None:
    engine = an_engine(parameters={"bar_price_source": "mid"})
    engine.feed(frame_of([*ticks("0 10x100"), quote(1, 0, 10.1)]))

    close(engine, K0)

    assert engine.quote_state(0)["ask"] == 10.1
    assert np.isnan(engine.rings.row("mid", K0)[0])
    assert engine.rings.row("source", K0)[0] == 10.0


def test_index_symbols_ride_on_the_report() -> None:
    engine = an_engine()
    engine.feed(frame_of([*ticks("1 500x100", symbol="SPY"), quote(2, 499, 501, symbol="SPY")]))

    (spy,) = close(engine, K0)[0].report_parts["index"]

    assert (spy.symbol, spy.k, spy.close, spy.mid, spy.ts_ns) == ("SPY", K0, 500.0, 500.0, at(1))


def test_a_watched_position_s_bucket_rides_on_the_report_until_it_is_released() -> None:
    engine = an_engine()
    engine.watch(
        WatchedPosition(
            position_id="r:1", version=1, symbol="ACME", quantity=100, stop=9.0, target=12.0,
            opened_ts_ns=at(0),
        )
    )  # fmt: skip
    engine.feed(frame_of([*ticks("1 10x100, 2 10.4x100, 3 10.2x100"), quote(4, 10.1, 10.3)]))

    (mark,) = close(engine, K0)[0].report_parts["marks"]
    (quiet,) = close(engine, K0 + 1)[0].report_parts["marks"]
    engine.release("r:1")

    assert (mark.symbol, mark.k, mark.high, mark.low, mark.close) == ("ACME", K0, 10.4, 10, 10.2)
    assert (mark.quote.bid, mark.quote.ask, mark.halted) == (10.1, 10.3, False)
    assert (quiet.high, quiet.low, quiet.close) == (10.2, 10.2, 10.2), "no print: the close again"
    assert close(engine, K0 + 2)[0].report_parts["marks"] == []


def test_a_mark_has_the_returns_of_whole_minutes() -> None:
    engine = an_engine()
    engine.watch(
        WatchedPosition(
            position_id="r:1", version=1, symbol="ACME", quantity=1, stop=1.0, target=99.0,
            opened_ts_ns=at(0),
        )
    )  # fmt: skip
    engine.feed(frame_of(ticks("1 10x100, 61 10.1x100, 121 10x100")))

    marks = [one.report_parts["marks"][0] for one in close(engine, K0 + 35)]

    assert marks[22].returns_1m_bps == []
    assert marks[23].returns_1m_bps == pytest.approx([1e4 * np.log(1.01)])
    assert marks[35].returns_1m_bps == pytest.approx([1e4 * np.log(1.01), -1e4 * np.log(1.01)])


def test_halts_of_the_day_are_counted_once_each_with_the_end_of_the_newest() -> None:
    engine = an_engine()
    words = [status(6, "P"), status(7, "P"), status(25, "T"), status(31, "H"), status(52, "T")]
    engine.feed(frame_of([*ticks("0 10x100"), *words]))
    close(engine, K0 + 5)
    halted = int(engine.table["halted"][0])
    close(engine, K0 + 11)

    assert halted == 0
    assert (engine.table["pauses"][0], engine.table["resumed_ns"][0]) == (2, at(52))


@pytest.mark.parametrize(
    ("symbol", "reason", "flagged"),
    [
        ("ACME", "", False),
        ("ACME", "M1", False),
        ("ACME", "LUDP", False),
        ("ACME", "MWC1", True),
        ("ACME", "2", True),
        ("SPY", "", True),
        ("QQQ", "T1", True),
        ("IWM", "", False),
    ],
)
def test_a_market_wide_halt_is_told_with_the_report(
    symbol: str, reason: str, flagged: bool
) -> None:
    engine = an_engine()
    tape = [*ticks("0 10x100", symbol=symbol), status(6, "H", symbol=symbol, reason=reason)]
    engine.feed(frame_of([*tape, status(11, "T", symbol=symbol)]))

    told = [one.report_parts["flags"] for one in close(engine, K0 + 2)]

    assert told == [[], ["market_halt"] if flagged else [], []]


def test_breadth_counts_who_traded_and_what() -> None:
    engine = an_engine()
    tape = [
        *ticks("0 10x100, 301 11x100", symbol="UP"),
        *ticks("0 9x100, 301 9x100", symbol="SAME"),
    ]
    tape += [*ticks("0 8x100, 301 7x100", symbol="DOWN"), *ticks("0 8x100", symbol="STALE")]
    tape += ticks("100 8x100, 301 9x100", symbol="YOUNG")
    engine.feed(frame_of(tape))

    parts = close(engine, K0 + 60)[-1].report_parts

    gravity = parts["gravity"]
    assert (gravity.n, gravity.n_up2) == (3, 3)
    assert (gravity.w, gravity.w_up2) == (1100 + 900 + 700, 2 * 1100 + 900)
    assert (parts["n_symbols"], parts["n_fresh"]) == (5, 4)


# --- parameters ----------------------------------------------------------------------------------


def test_a_parameter_set_is_used_from_its_bucket_on() -> None:
    tape = a_burst()
    plain = an_engine(parameters={"fast_period": 4, "bar_price_source": "vwap"})
    switched = an_engine()
    values = {**plain.parameters}
    switched.set_parameters(values, 2, K0 + 90)
    switched.set_parameters({**values, "fast_period": 3}, 2, K0 + 1)

    expected, found = lives(plain, tape), lives(switched, tape)

    assert [found[k]["params_version"] for k in (88, 89, 90, 91)] == [1, 1, 2, 2]
    for k in range(91, 130):
        mine, theirs = (engine.rings.row("x", K0 + k)[0] for engine in (switched, plain))
        assert mine == theirs, "the rings were rebuilt from the raw buckets"
        assert found[k]["candidates"] == expected[k]["candidates"]


def test_a_longer_window_deepens_the_rings() -> None:
    engine = an_engine()
    engine.feed(frame_of(a_burst()))
    close(engine, K0 + 50)
    before = engine.rings.row("x", K0 + 50).copy()

    engine.set_parameters({**engine.parameters, "sigma_window": 720}, 2, K0 + 51)
    close(engine, K0 + 52)

    assert engine.rings.depth == 1024
    assert engine.rings.row("x", K0 + 50).tolist() == before.tolist()


def test_an_unknown_price_source_is_refused() -> None:
    with pytest.raises(ValueError, match="bar_price_source"):
        an_engine(parameters={"bar_price_source": "last"})


MANY = ["A" + "".join(letters) for letters in product("BCDEFGHIJKLMN", repeat=3)]


def test_every_stock_is_counted_whoever_brought_it() -> None:
    """More than the counters begin with come by quotes alone; then they trade."""
    engine = an_engine()
    engine.feed(frame_of([quote(1, 9.9, 10.1, symbol=name) for name in MANY]))
    engine.close_due(at(1))
    engine.feed(frame_of([a_tick(2, symbol=name) for name in MANY]))
    (closed,) = close(engine, K0)

    assert len(MANY) > 2 * 1024
    assert engine.table["seen"].tolist() == [1] * len(MANY)
    assert closed.report_parts["prints"] == closed.report_parts["n_symbols"] == len(MANY)


def test_a_restored_engine_counts_every_stock_again() -> None:
    first, other = an_engine(), an_engine()
    first.feed(frame_of([a_tick(2, symbol=name) for name in MANY]), 0)
    close(first, K0)

    other.restore(first.state_after(K0), {}, {})
    other.feed(frame_of([a_tick(7, symbol=name) for name in MANY]), 1)
    (closed,) = close(other, K0 + 1)

    assert other.table["seen"].tolist() == [2] * len(MANY)
    assert closed.report_parts["prints"] == 2 * len(MANY)


# --- outside the session --------------------------------------------------------------------------


def test_quotes_of_the_whole_evening_are_not_kept() -> None:
    engine = an_engine()
    after = (engine.session.close_ns - engine.session.open_ns) / 1e9 + 61
    engine.feed(frame_of([*ticks("0 10x100"), quote(1, 9.9, 10.1)]))
    close(engine, engine.session.end_k - 1)

    engine.feed(frame_of([quote(after + n, 9.9, 10.1) for n in range(50)]))
    engine._drain()

    assert engine.intake.quotes.waiting == 0


def test_what_is_quoted_before_the_open_is_folded_and_counts_as_if_it_had_waited(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng = random.Random(3)
    early = [quote(-rng.uniform(0, 3600), *sorted((rng.uniform(9, 10), 10.1))) for _ in range(300)]
    early += [quote(0, 9.5, 10.4), quote(0.2, 9.6, 10.3), quote(-0.001, 9.7, 10.2)]
    states, waited = [], []
    for at_once in (10, 10**9):
        monkeypatch.setattr("shards.intake.FOLD_AT", at_once)
        engine = an_engine(begin=False)
        for one in early:
            engine.feed(frame_of([one]))
            engine._drain()
        waited.append(engine.intake.quotes.waiting)
        engine.feed(frame_of(ticks("0 10x100, 1 10x100")))
        engine.begin(engine.session.first_k)
        close(engine, K0)
        states.append(engine.quote_state(0).tolist())

    assert waited[0] < 30 < waited[1]
    assert states[0] == states[1]
