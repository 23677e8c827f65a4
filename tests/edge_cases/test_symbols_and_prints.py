"""Edge cases 1 to 13: odd symbols, splits, thin names, odd prints."""

from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from execution.domain.bracket import bracket, geometry_problem
from execution.domain.universe import excluded, split_suspected
from relay import frames
from shards.detector import settings_of
from shards.letters import assign_letters, holds
from signals import candidates as life
from signals.candidates import State
from signals.messages import WatchedPosition
from signals.parameters.catalogue import defaults
from tests.edge_cases.judging import gate, judged
from tests.shard_builders import K0, a_tick, an_engine, at, close, frame_of, ticks
from tests.unit.domain_builders import END_NS, OPEN_NS, some_parameters
from tests.unit.test_candidates_machine import evidence
from tests.unit.test_domain_universe import an_asset
from tests.unit.test_shards_engine import START, a_burst, lives, the_candidates


def owners(symbol: str, shards: int = 26) -> list[int]:
    """The shards that have a symbol, of 26 with a letter each."""
    ranges = assign_letters(list(range(1, shards + 1)), 1)
    return [shard for shard, own in ranges.items() if holds(own, symbol)]


def watching(engine: Any, stop: float, target: float) -> None:
    engine.watch(
        WatchedPosition(
            position_id="r:1", version=1, symbol="ACME", quantity=1, stop=stop, target=target,
            opened_ts_ns=at(0),
        )
    )  # fmt: skip


@pytest.mark.parametrize("symbol", ["BRK.B", "BF.B", "BRK.A"])
def test_case_01_a_class_share_is_its_own_symbol_on_its_letters_shard(symbol: str) -> None:
    engine = an_engine()
    engine.feed(frame_of(ticks("0 400x100", symbol=symbol)))

    assert [row["symbol"].decode() for row in close(engine, K0)[0].rows] == [symbol]
    assert owners(symbol) == owners(symbol[:1])
    assert excluded(an_asset(symbol, "Berkshire Hathaway Inc."), defaults()) == ""
    assert excluded(an_asset("BAC.PRK", "Bank of America"), defaults())
    assert excluded(an_asset("GE.WI", "General Electric"), defaults())


@pytest.mark.parametrize("symbol", ["aapl", "1ABC", "~X"])
def test_case_02_a_strange_first_character_has_one_shard_and_no_entry(symbol: str) -> None:
    record = judged(candidate={"symbol": symbol}, round={"universe": frozenset({"ABCD"})})

    assert len(owners(symbol)) == 1
    assert gate(record, "S1").passed is False
    assert excluded(an_asset(symbol), {**defaults(), "universe_include_etfs": True})


def test_case_03_a_split_today_blocks_the_symbol() -> None:
    why = split_suspected(prev_close=400.0, opened=100.0)

    record = judged(facts={"blocked": why})

    assert record.primary_id == "S1"
    assert "0.25 times yesterday's close: a split" in record.primary_reason


def test_case_04_a_symbol_that_left_the_universe_overnight_is_refused() -> None:
    assert "S1" in judged(round={"universe": frozenset({"NEWT"})}).all_failed
    assert excluded(an_asset(status="inactive"), defaults()) == "not tradable"


def test_case_05_below_a_dollar_is_out_and_when_allowed_has_finer_ticks() -> None:
    cheap = {"close": 0.92, "base_close": 0.91}

    record = judged(quote={"bid": 0.9201, "ask": 0.9205}, candidate=cheap)
    plan = bracket(
        ask=Decimal("0.9205"),
        signal=Decimal("0.92"),
        sigma1m_bps=25.0,
        parameters=some_parameters(),
    )

    assert "S2" in record.all_failed
    assert plan.limit == Decimal("0.9218")
    assert geometry_problem(plan.limit, plan.take_profit, plan.stop_loss) == ""


def test_case_06_the_price_gate_asks_the_ask_of_now() -> None:
    above = {"close": 5.01, "base_close": 4.97}

    assert "S2" in judged(quote={"bid": 4.98, "ask": 4.99}, candidate=above).all_failed
    assert "S2" not in judged(quote={"bid": 4.99, "ask": 5.00}, candidate=above).all_failed


def test_case_07_a_stock_that_wakes_late_warms_up_first() -> None:
    warm = settings_of(defaults()).warm
    first = 3700 // 5
    engine = an_engine()
    engine.feed(frame_of([a_tick(3700 + 5 * n, 10.0, id=n + 1) for n in range(warm + 5)]))

    close(engine, K0 + first + warm - 2)
    before = State(engine.table["state"][0])
    close(engine, K0 + first + warm - 1)

    assert warm >= 38
    assert before is State.WARMUP
    assert State(engine.table["state"][0]) is not State.WARMUP


def test_case_08_a_base_of_buckets_without_trades_is_no_base() -> None:
    engine = an_engine()
    engine.feed(frame_of(ticks("0 10x100, 26 10.1x100")))
    rows = [one.rows[0] for one in close(engine, K0 + 5)]

    assert [int(row["volume"]) for row in rows] == [100, 0, 0, 0, 0, 100]
    assert [float(row["close"]) for row in rows[:5]] == [10.0] * 5
    limits = life.thresholds_of(defaults())
    assert life.passes(evidence(synthetic_share=0.70), limits)
    assert not life.passes(evidence(synthetic_share=0.71), limits)


def test_case_09_one_huge_print_is_no_candidate_and_counts_in_vwap() -> None:
    quiet = [a_tick(2.5 * n, 50.0, 100, id=n + 1) for n in range(260)]
    huge = a_tick(5 * START + 1, 51.0, 500_000, id=9999)
    engine = an_engine()

    parts = lives(engine, [*quiet, huge])

    assert the_candidates(parts) == {}
    assert engine.table["value"][0] / engine.table["shares"][0] / 1e6 > 50.9


@pytest.mark.parametrize("code", ["Z", "U"])
def test_case_10_a_print_out_of_sequence_is_volume_only(code: str) -> None:
    engine = an_engine()
    watching(engine, stop=9.0, target=12.0)

    engine.feed(frame_of([*ticks("0 10x100"), a_tick(2, 8.0, 300, id=9, conditions=[code])]))
    row = close(engine, K0)[0].rows[0]

    assert (row["low"], row["close"], row["volume"]) == (10.0, 10.0, 400)
    assert engine.take_exit_signals() == []


def test_case_11_a_cancel_inside_the_burst_withdraws_the_candidate() -> None:
    engine = an_engine()
    engine.feed(frame_of(a_burst()))
    close(engine, K0 + START + 3)
    cancel = {"T": "x", "S": "ACME", "i": 1, "x": "V", "p": 50.0, "s": 1, "a": "C", "z": "C"}

    engine.feed(frame_of([frames.encode_message({**cancel, "t": at(5 * START + 12)})]))
    parts = close(engine, K0 + START + 4)[0].report_parts

    assert [one.reason for one in parts["withdrawn"]] == ["revised"]
    assert "S12" in judged(candidate={"flags": ["revised"]}).all_failed


@pytest.mark.parametrize(("size", "kept"), [(900, 0), (90, 190)])
def test_case_12_an_average_price_block_sets_no_price_and_does_not_surge(
    size: int, kept: int
) -> None:
    engine = an_engine()
    block = a_tick(2, 20.0, size, id=9, conditions=["W"])

    engine.feed(frame_of([*ticks("0 10x100"), block]))
    row = close(engine, K0)[0].rows[0]

    assert (row["high"], row["volume"]) == (10.0, 100 + size)
    assert engine.rings.row("calm", K0)[0] == (100 if size > 100 else kept)


def test_case_13_the_opening_print_counts_and_the_closing_ones_do_not() -> None:
    engine = an_engine()
    opening = a_tick(0.1, 10.0, 5000, id=1, conditions=["O"])
    official = a_tick(1, 11.0, 9000, id=2, conditions=["M"])
    after = a_tick(390 * 60 + 1, 12.0, 9000, id=3, conditions=["6"])

    engine.feed(frame_of([opening, official, after]))
    row = close(engine, K0)[0].rows[0]

    assert (row["open"], row["close"], row["volume"], row["vwap"]) == (10.0, 10.0, 5000, 10.0)
    young = {"open_ns": END_NS - 299 * 10**9, "close_ns": OPEN_NS + 390 * 60 * 10**9}
    assert judged(round=young).primary_id == "G3"
    assert np.isnan(engine.table["luld_up"][0])
