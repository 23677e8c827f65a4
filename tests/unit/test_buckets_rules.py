"""Buckets, exactly (DESIGN 12): which print makes what of a bucket."""

import math

import numpy as np
import pytest

from relay import frames
from shards.engine import bucket_hash
from shards.records import read_rows, sorted_rows
from signals.session import BUCKET_NS
from tests.shard_builders import (
    K0,
    SESSION,
    a_tick,
    an_engine,
    at,
    close,
    frame_of,
    rows_of,
    ticks,
)


def bars(*each, last: int = 1, **fields):
    engine = an_engine(**fields)
    engine.feed(frame_of(each))
    return rows_of(close(engine, K0 + last))


def test_open_high_low_close_volume_and_vwap() -> None:
    found = bars(*ticks("0 10x100, 1 10.5x50, 2 9.5x50, 4.999 10.2x100"), last=0)

    vwap = (10 * 100 + 10.5 * 50 + 9.5 * 50 + 10.2 * 100) / 300
    assert found == [("ACME", 0, 10.0, 10.5, 9.5, 10.2, 300, 4, pytest.approx(vwap), False)]


def test_a_print_on_the_edge_opens_the_next_bucket() -> None:
    found = bars(*ticks("4.999 10x100, 5 11x100"))

    assert [(row[1], row[5]) for row in found] == [(0, 10.0), (1, 11.0)]


def test_an_empty_bucket_is_filled_with_the_close() -> None:
    found = bars(*ticks("0 10x100, 1 10.5x100, 11 11x100"), last=2)

    assert found[1] == ("ACME", 1, 10.5, 10.5, 10.5, 10.5, 0, 0, 10.5, True)


def test_odd_lots_alone_fill_the_price_but_count_in_volume_and_vwap() -> None:
    odd = a_tick(6, 10.3, 7, conditions=("@", "I"))

    found = bars(*ticks("0 10x100"), odd)

    assert found[1] == ("ACME", 1, 10.0, 10.0, 10.0, 10.0, 7, 1, pytest.approx(10.3), True)


def test_the_first_bucket_is_that_of_the_first_eligible_print() -> None:
    odd = a_tick(1, 10.3, 7, conditions=("I",))

    found = bars(odd, *ticks("11 10x100"), last=3)

    assert [row[1] for row in found] == [2, 3]


def test_prints_outside_the_session_are_set_aside() -> None:
    engine = an_engine()
    before = a_tick(-1, 9.0)
    after = a_tick((SESSION.close_ns - SESSION.open_ns) / 1e9, 9.0)
    engine.feed(frame_of([before, *ticks("0 10x100"), after]))

    found = rows_of(close(engine, SESSION.end_k + 5))

    assert {row[5] for row in found} == {10.0}
    assert found[-1][1] == SESSION.end_k - 1 - K0
    assert engine.intake.counts["outside_session"] == 2
    assert engine.prints == 3


def test_prices_that_are_none_are_set_aside_and_counted() -> None:
    bad = [a_tick(1, 0.0), a_tick(1, -1.0), a_tick(1, math.nan), a_tick(1, 10.0, 0)]
    engine = an_engine()
    engine.feed(frame_of([*bad, *ticks("0 10x100")]))

    assert rows_of(close(engine, K0))[0][6:8] == (100, 1)
    assert engine.intake.counts["bad_prints"] == 4


@pytest.mark.parametrize("symbol", ["ZVZZT", "NTEST.A", "CBO"])
def test_test_symbols_are_no_market(symbol: str) -> None:
    engine = an_engine()
    engine.feed(frame_of(ticks("0 10x100", symbol=symbol)))

    assert rows_of(close(engine, K0)) == []
    assert engine.symbols.test_issues == 1


def test_out_of_sequence_prints_are_volume_only() -> None:
    sold = a_tick(2, 20.0, 50, conditions=("Z",))

    found = bars(*ticks("0 10x100"), sold, last=0)

    assert found[0][3:8] == (10.0, 10.0, 10.0, 150, 2)
    assert found[0][8] == 10.0


def test_sold_last_sets_a_price_only_as_the_newest_of_its_bucket() -> None:
    older, newer = (a_tick(s, 20.0, 50, conditions=("L",)) for s in (1, 3))

    assert bars(*ticks("2 10x100"), older, last=0)[0][2:6] == (10.0, 10.0, 10.0, 10.0)
    assert bars(*ticks("2 10x100"), newer, last=0)[0][2:6] == (10.0, 20.0, 10.0, 20.0)


def test_open_and_close_are_by_time_then_id_then_exchange_not_by_arrival() -> None:
    each = [
        a_tick(1, 10.4, id=2, exchange="V"),
        a_tick(1, 10.3, id=2, exchange="A"),
        a_tick(1, 10.2, id=1, exchange="Z"),
        a_tick(0, 10.1, id=9, exchange="V"),
    ]

    assert bars(*each, last=0)[0][2:6] == (10.1, 10.4, 10.1, 10.4)
    assert bars(*reversed(each), last=0) == bars(*each, last=0)


def test_a_print_delivered_twice_counts_once() -> None:
    one = ticks("0 10x100")

    assert bars(*one, *one, last=0)[0][6:8] == (100, 1)
    sold_last = [a_tick(3, 11.0, conditions=("L",))]
    assert bars(*one, *sold_last, *sold_last, last=0)[0][5] == 11.0


def test_equal_prints_with_their_own_ids_all_count() -> None:
    each = [a_tick(1, 10.0, 100, id=number) for number in (1, 2, 3)]

    assert bars(*each, last=0)[0][6:8] == (300, 3)


def test_a_late_print_counts_in_the_session_not_in_its_bucket() -> None:
    engine = an_engine()
    engine.feed(frame_of(ticks("0 10x100")))
    first = close(engine, K0)

    engine.feed(frame_of([*ticks("6 10x100"), a_tick(1, 11.0, 300)]))
    second = close(engine, K0 + 1)

    assert rows_of(first)[0][6] == 100
    assert rows_of(second)[0][6] == 100
    row = engine.symbols.row_of("ACME")
    assert engine.table["volume"][row] == 500
    assert engine.table["value"][row] == 10_000_000 * 200 + 11_000_000 * 300
    assert second[0].report_parts["late_prints"] == 1


def test_a_bucket_closes_at_its_end_plus_grace_not_before() -> None:
    engine = an_engine(parameters={"lateness_grace_ms": 750})
    engine.feed(frame_of(ticks("0 10x100")))

    assert engine.close_due(at(5.749999)) == []
    assert [closed.k for closed in engine.close_due(at(5.75))] == [K0]


def test_several_buckets_are_open_at_once() -> None:
    engine = an_engine()
    engine.feed(frame_of(ticks("6 11x100, 0 10x100, 12 12x100, 1 10.5x100")))

    found = rows_of(close(engine, K0 + 2))

    assert [row[5] for row in found] == [10.5, 11.0, 12.0]


def test_reports_come_for_quiet_shards_too() -> None:
    engine = an_engine()

    closed = close(engine, K0 + 2)

    assert [one.k for one in closed] == [K0, K0 + 1, K0 + 2]
    assert closed[0].report_parts["n_symbols"] == 0
    assert closed[0].rows.size == 0


def test_who_joins_late_reports_nothing_from_before() -> None:
    engine = an_engine(begin=False)
    assert engine.close_due(at(3600.75)) == []

    engine.feed(frame_of(ticks("3601 10x100")))

    assert [one.k for one in engine.close_due(at(3605.75))] == [K0 + 720]


def test_a_canceled_print_disappears_in_any_order_of_arrival() -> None:
    prints = ticks("0 10x100, 1 12x50")
    cancel = frames.encode_message(
        {
            "T": "x",
            "S": "ACME",
            "i": 2,
            "x": "V",
            "p": 12.0,
            "s": 50,
            "a": "C",
            "z": "C",
            "t": at(2),
        }
    )

    assert bars(*prints, cancel, last=0) == bars(cancel, *prints, last=0)
    assert bars(*prints, cancel, last=0)[0][3:8] == (10.0, 10.0, 10.0, 100, 1)


def test_a_corrected_print_counts_as_corrected() -> None:
    correction = frames.encode_message(
        {
            "T": "c", "S": "ACME", "x": "V", "oi": 2, "op": 12.0, "os": 50, "oc": ["@"], "ci": 3,
            "cp": 10.2, "cs": 60, "cc": ["@"], "z": "C", "t": at(2),
        }
    )  # fmt: skip

    found = bars(*ticks("0 10x100, 1 12x50"), correction, last=0)

    assert found[0][3:8] == (10.2, 10.0, 10.2, 160, 2)


def test_foreign_symbols_and_control_elements_are_ignored() -> None:
    engine = an_engine(ranges=[("A", "B")])
    control = [frames.encode_message({"T": "success", "msg": "connected"})]
    engine.feed(frame_of([*control, *ticks("0 10x100", symbol="BETA"), *ticks("0 11x100")]))

    assert [row[0] for row in rows_of(close(engine, K0))] == ["ACME"]
    assert engine.prints == 1


def test_a_malformed_frame_is_left_out_and_flagged() -> None:
    engine = an_engine()
    engine.feed(frame_of(ticks("0 10x100")))
    engine.feed(b"\x91\x81\xa1T")
    engine.feed(frame_of(ticks("1 11x100", exchange="A")))

    closed = close(engine, K0)

    assert rows_of(closed)[0][6] == 200
    assert closed[0].report_parts["flags"] == ["bad_frame"]


def test_the_price_source_may_be_vwap_or_mid() -> None:
    fields = {"fast_period": 2, "slow_period": 3, "smooth_period": 2}
    prints = ticks("0 10x100, 1 11x300, 6 10x100, 7 11x100")
    for source, expected in (("median", 10.5), ("vwap", 10.75)):
        engine = an_engine(parameters={**fields, "bar_price_source": source})
        engine.feed(frame_of(prints))
        close(engine, K0)

        assert engine.rings.row("source", K0)[0] == expected


def test_the_hash_is_of_sorted_rows_and_repetitions_count_once() -> None:
    engine = an_engine()
    engine.feed(frame_of([*ticks("0 10x100"), *ticks("0 5x10", symbol="BETA")]))
    rows = np.concatenate([one.rows for one in close(engine, K0 + 3)])

    assert bucket_hash(rows) == bucket_hash(rows[::-1]) == bucket_hash(np.r_[rows, rows])
    assert bucket_hash(rows[:-1]) != bucket_hash(rows)
    assert sorted_rows([rows[4:], rows[:4]])["k"].tolist() == sorted(rows["k"].tolist())


def test_record_files_lose_only_an_unfinished_row() -> None:
    engine = an_engine()
    engine.feed(frame_of(ticks("0 10x100")))
    rows = close(engine, K0)[0].rows

    assert read_rows(rows.tobytes() + b"half") == rows
    assert BUCKET_NS == 5_000_000_000
