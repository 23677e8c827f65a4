"""The futures trend out of index ETFs, and what other providers may say."""

import json
import math
import random
from pathlib import Path
from typing import Any

import pytest

from execution.domain.rounds import FuturesPart
from execution.hub.futures import UNKNOWN, EtfProxy, ExternalFutures, Futures, parse_trend
from signals.confidence.futures import TrendPart, trend_score
from signals.confidence.index import MINUTES_KEPT, IndexBook
from signals.confidence.proxy import ema_gap_bps, gap_gain, proxy_legs
from signals.messages import IndexBucket
from signals.parameters.catalogue import defaults
from signals.session import BUCKET_NS

SYMBOLS = ("SPY", "QQQ", "IWM", "VIXY")


def a_book(minutes: int, drift: float = 0.0, *, seed: int = 7, skip: int = 0) -> IndexBook:
    """Whole minutes of four walks; VIXY drifts against the others."""
    rng, book = random.Random(seed), IndexBook()
    prices = dict.fromkeys(SYMBOLS, 100.0)
    for k in range(minutes * 12):
        for symbol in SYMBOLS:
            sign = -1 if symbol == "VIXY" else 1
            prices[symbol] *= math.exp(rng.gauss(sign * drift, 1e-4))
            if not skip or k % skip:
                book.add(
                    IndexBucket(
                        symbol=symbol, k=k, close=prices[symbol], mid=None, ts_ns=k * BUCKET_NS
                    )
                )
    return book


def score_of(book: IndexBook) -> float | None:
    legs, _ = proxy_legs(book.series)
    return trend_score([TrendPart(*leg[1:]) for leg in legs])


def test_a_rising_market_scores_high_and_a_falling_one_low() -> None:
    up, down = score_of(a_book(40, 3e-5)), score_of(a_book(40, -3e-5))

    assert up is not None
    assert down is not None
    assert up > 0.8
    assert down < 0.2


def test_fewer_than_twenty_one_minutes_are_unknown() -> None:
    assert proxy_legs(a_book(20).series) == ((), None)
    legs, as_of_ns = proxy_legs(a_book(21).series)
    assert [leg.symbol for leg in legs] == list(SYMBOLS)
    assert as_of_ns == 21 * 12 * BUCKET_NS


def test_a_market_that_stands_still_gives_no_leg() -> None:
    book = IndexBook()
    for k in range(12 * 30):
        book.add(IndexBucket(symbol="SPY", k=k, close=100.0, mid=None, ts_ns=1))

    assert proxy_legs(book.series) == ((), None)


def test_a_few_lost_buckets_do_not_forget_the_minutes_and_a_long_gap_does() -> None:
    bridged = a_book(30, skip=12)  # every minute's first bucket is missing
    assert len(bridged.series["SPY"].minutes) == 29 + 1

    later = (30 * 12 + 3) * 1
    bridged.add(IndexBucket(symbol="SPY", k=later, close=1.0, mid=None, ts_ns=1))
    assert len(bridged.series["SPY"].minutes) == 0
    assert len(a_book(MINUTES_KEPT + 5).series["QQQ"].minutes) == MINUTES_KEPT


@pytest.mark.parametrize("count", [21, 41, 90])
def test_the_usual_size_of_the_gap_is_that_of_a_walk(count: int) -> None:
    rng, squares, paths = random.Random(count), [], 2000
    for _ in range(paths):
        closes = [100.0]
        for _ in range(count - 1):
            closes.append(closes[-1] * math.exp(rng.gauss(0, 5e-4)))
        squares.append(ema_gap_bps(closes) ** 2)
    mean = sum(squares) / paths
    error = math.sqrt(sum((s - mean) ** 2 for s in squares) / (paths - 1) / paths)

    assert abs(mean - (5 * gap_gain(count)) ** 2) < 3 * error


# --- providers ----------------------------------------------------------------------------------
def a_document(**part: Any) -> dict[str, Any]:
    base = {"symbol": "ES", "weight": 1.0, "sign": 1, "ema_gap_bps": 6.0, "scale_bps": 8.0,
            "ret15_z": 0.6}  # fmt: skip
    return {"as_of_ns": 5, "parts": [{**base, **part}]}


def test_the_parameters_name_the_provider(tmp_path: Path) -> None:
    file = tmp_path / "trend.json"
    file.write_text(json.dumps(a_document()))
    futures = Futures(index=a_book(30), source=str(file))

    def asked(name: str) -> Any:
        return futures.trend({**defaults(), "futures_provider": name})

    assert asked("none") == UNKNOWN
    assert [part.symbol for part in asked("etf_proxy").parts] == list(SYMBOLS)
    external = futures._provider("external_futures")
    assert isinstance(external, ExternalFutures)
    external.look()
    assert asked("external_futures").parts == (
        FuturesPart(symbol="ES", weight=1.0, sign=1, ema_gap_bps=6.0, scale_bps=8.0, ret15_z=0.6),
    )
    assert Futures(index=a_book(1)).trend({"futures_provider": "external_futures"}) == UNKNOWN


def test_the_proxy_says_of_which_bucket_it_is() -> None:
    assert EtfProxy(index=a_book(30)).trend().as_of_ns == 30 * 12 * BUCKET_NS


@pytest.mark.parametrize(
    ("body", "word"),
    [
        (b"{", "not a trend"),
        (b"[]", "not a trend"),
        (b'{"as_of_ns": 1}', "not a trend"),
        (json.dumps(a_document(sign=2)).encode(), "sign 1 or -1"),
        (json.dumps(a_document(scale_bps=0)).encode(), "scale_bps > 0"),
        (json.dumps(a_document(weight=-1)).encode(), "weight >= 0"),
        (json.dumps({"as_of_ns": 1, "parts": a_document()["parts"] * 17}).encode(), "17 parts"),
    ],
)
def test_a_document_that_is_no_trend_is_refused(body: bytes, word: str) -> None:
    with pytest.raises(ValueError, match=word):
        parse_trend(body)


def test_what_cannot_be_read_leaves_the_last_answer_and_is_said_once(caplog) -> None:
    answers = [json.dumps(a_document()).encode(), b"", b""]
    provider = ExternalFutures(source="x", read=lambda _: answers.pop(0))

    for _ in range(3):
        provider.look()

    assert provider._newest.as_of_ns == 5
    assert len(caplog.records) == 1


def test_a_file_that_is_too_long_or_missing_is_no_answer(tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(b" " * 70_000)
    for name in ("big", "missing"):
        provider = ExternalFutures(source=str(tmp_path / name))
        provider.look()
        assert provider._newest == UNKNOWN
        assert provider._said
