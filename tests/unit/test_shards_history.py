"""Revisions: what late prints, cancels and corrections make of closed buckets."""

import pytest

from relay import frames
from shards import history
from tests.shard_builders import K0, an_engine, at, close, frame_of, rows_of, ticks


def cancel(seconds: float, number: int, *, symbol: str = "ACME") -> bytes:
    return frames.encode_message(
        {"T": "x", "S": symbol, "i": number, "x": "V", "p": 1.0, "s": 1, "a": "C", "z": "C",
         "t": at(seconds)}
    )  # fmt: skip


def correction(seconds: float, number: int, price: float, size: int) -> bytes:
    return frames.encode_message(
        {"T": "c", "S": "ACME", "x": "V", "oi": number, "op": 1.0, "os": 1, "oc": ["@"],
         "ci": number + 1000, "cp": price, "cs": size, "cc": ["@"], "z": "C", "t": at(seconds)}
    )  # fmt: skip


def revisions(engine) -> list[tuple]:
    """(k - K0, rev, open, high, low, close, volume, trades, vwap, synthetic) of each."""
    return [
        (k - K0, rev, *prices, bool(synthetic))
        for k, _, *prices, synthetic, rev in engine.take_revisions().tolist()
    ]


def test_a_late_print_makes_the_next_revision_and_leaves_rev_0_alone() -> None:
    engine = an_engine()
    engine.feed(frame_of(ticks("0 10x100, 4 12x100, 6 11x100")))
    decided = rows_of(close(engine, K0))

    engine.feed(frame_of([t._replace(id=9) for t in ticks("2 14x50")]))
    later = rows_of(close(engine, K0 + 1))

    assert decided == [("ACME", 0, 10.0, 12.0, 10.0, 12.0, 200, 2, 11.0, False)]
    assert later == [("ACME", 1, 11.0, 11.0, 11.0, 11.0, 100, 1, 11.0, False)]
    assert revisions(engine) == [(0, 1, 10.0, 14.0, 10.0, 12.0, 250, 3, 11.6, False)]
    engine.feed(frame_of([t._replace(id=10) for t in ticks("4.9 13x50")]))
    close(engine, K0 + 2)
    assert revisions(engine) == [(0, 2, 10.0, 14.0, 10.0, 13.0, 300, 4, 35.5 / 3, False)]
    assert revisions(engine) == []


def test_a_cancel_of_a_closed_bucket_revises_it_and_puts_the_symbol_in_doubt() -> None:
    engine = an_engine()
    engine.feed(frame_of(ticks("0 10x100, 1 20x50")))
    close(engine, K0)

    engine.feed(frame_of([cancel(7, 2)]))
    close(engine, K0 + 1)

    assert revisions(engine) == [(0, 1, 10.0, 10.0, 10.0, 10.0, 100, 1, 10.0, False)]
    assert engine.table["revised_k"].tolist() == [K0 + 1]


def test_a_correction_of_a_late_print_counts_in_the_revision() -> None:
    engine = an_engine()
    engine.feed(frame_of(ticks("0 10x100")))
    close(engine, K0)
    engine.feed(frame_of([*[t._replace(id=9) for t in ticks("2 14x50")], correction(8, 9, 15, 10)]))

    close(engine, K0 + 1)

    assert revisions(engine)[0][3] == 15.0


def test_a_bucket_that_loses_its_only_print_carries_the_close_before() -> None:
    engine = an_engine()
    engine.feed(frame_of(ticks("0 10x100, 6 12x100")))
    close(engine, K0 + 1)

    engine.feed(frame_of([cancel(12, 2)]))
    close(engine, K0 + 2)

    assert revisions(engine) == [(1, 1, 10.0, 10.0, 10.0, 10.0, 0, 0, 10.0, True)]


@pytest.mark.parametrize("inside", [True, False])
def test_a_cancel_decides_by_its_own_time_and_not_by_when_it_comes(inside: bool) -> None:
    """Both come before the close, in the grace: one is of the bucket, one of the next."""
    engine = an_engine()
    engine.feed(frame_of(ticks("0 10x100, 1 20x50")))

    engine.feed(frame_of([cancel(4.9 if inside else 5.1, 2)]))
    decided = rows_of(close(engine, K0))

    assert decided[0][3] == (10.0 if inside else 20.0)
    close(engine, K0 + 1)
    assert [one[:2] for one in revisions(engine)] == ([] if inside else [(0, 1)])
    assert engine.table["revised_k"].tolist() == [-1 if inside else K0 + 1]


def test_what_is_older_than_the_history_is_counted() -> None:
    engine = an_engine()
    engine.feed(frame_of(ticks("0 10x100")))
    close(engine, K0 + history.HISTORY_BUCKETS)

    engine.feed(frame_of([*[t._replace(id=9) for t in ticks("2 14x50")], cancel(200, 1)]))
    close(engine, K0 + 60)

    assert revisions(engine) == []
    assert engine.book.history.too_old == 2


def test_history_is_bounded_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "HISTORY_BYTES_MAX", 1_000_000)
    engine = an_engine()

    for k in range(40):
        text = ", ".join(f"{5 * k + n / 1000} 10x100" for n in range(1000))
        engine.feed(frame_of(ticks(text)))
        close(engine, K0 + k)

    held = engine.book.history
    assert held._bytes <= 1_000_000
    assert len(held._closed) < history.HISTORY_BUCKETS
