"""Which assets may be entered, what is known of them, and the volume that is usual by now."""

from datetime import date, timedelta
from typing import Any

import pytest
import requests

from execution.brokers.port import BrokerAsset
from execution.domain.universe import (
    DAY_DONE,
    DailyBar,
    IntradayBar,
    Note,
    day_done,
    excluded,
    listing,
    read_notes,
    relative_volume,
    split_suspected,
    usual_by,
    volume_curve,
)
from execution.hub.config import data_url_of
from execution.hub.history import AlpacaHistory, NoHistory, read_page
from signals.parameters.catalogue import defaults

TODAY = date(2026, 11, 20)


def an_asset(
    symbol: str = "ABCD", name: str = "Abcd Inc. Common Stock", **changes: Any
) -> BrokerAsset:
    base = {"exchange": "NASDAQ", "tradable": True, "status": "active", "shortable": True,
            "fractionable": True}  # fmt: skip
    return BrokerAsset(symbol=symbol, name=name, **{**base, **changes})


def bars(*volumes: int, close: float = 10.0) -> list[DailyBar]:
    """Sessions before today, the newest last."""
    count = len(volumes)
    return [
        DailyBar(day=TODAY - timedelta(days=count - at), close=close, volume=volume)
        for at, volume in enumerate(volumes)
    ]


@pytest.mark.parametrize(
    ("symbol", "name"),
    [
        ("BRK.B", "Berkshire Hathaway Inc. Class B"),
        ("BF.A", "Brown-Forman Corporation Class A"),
        ("EPD", "Enterprise Products Partners L.P. Common Units"),
        ("BABA", "Alibaba Group Holding Ltd American Depositary Shares"),
        ("UCTT", "Ultra Clean Holdings, Inc. Common Stock"),
        ("BEAR", "Bear Creek Mining Common Stock"),
    ],
)
def test_common_and_class_shares_are_kept(symbol: str, name: str) -> None:
    assert excluded(an_asset(symbol, name), defaults()) == ""


@pytest.mark.parametrize(
    ("asset", "word"),
    [
        (an_asset(tradable=False), "not tradable"),
        (an_asset(status="inactive"), "not tradable"),
        (an_asset(attributes=("ipo",)), "before its first trade"),
        (an_asset(exchange="OTC"), "over the counter"),
        (an_asset("ACHR.WS"), "a warrant"),
        (an_asset("ACAHW", "Atlantic Coastal Acquisition Corp. Warrants"), "a warrant"),
        (an_asset("ACAHU", "Atlantic Coastal Acquisition Corp. Unit"), "a unit"),
        (an_asset("XYZ.RT"), "a right"),
        (an_asset("XYZ.U"), "a unit"),
        (an_asset("BAC.PRK", "Bank of America Preferred Series K"), "a preferred"),
        (an_asset("GE.WI", "GE When-Issued"), "a when-issued"),
        (an_asset("SPY", "SPDR S&P 500 ETF Trust"), "a fund"),
        (an_asset("TQQQ", "ProShares UltraPro QQQ"), "leveraged or inverse"),
        (an_asset("SOXL", "Direxion Daily Semiconductor Bull 3X Shares"), "leveraged or inverse"),
        (an_asset("aapl"), "no stock's"),
        (an_asset("1234"), "no stock's"),
        (an_asset(""), "no stock's"),
    ],
)
def test_what_is_never_entered_and_why(asset: BrokerAsset, word: str) -> None:
    assert word in excluded(asset, defaults())


def test_plain_funds_come_in_when_asked_and_leveraged_ones_never() -> None:
    funds = {**defaults(), "universe_include_etfs": True}

    assert excluded(an_asset("SPY", "SPDR S&P 500 ETF Trust"), funds) == ""
    assert excluded(an_asset("TQQQ", "ProShares UltraPro QQQ"), funds)


def test_a_kind_that_is_not_on_the_list_is_let_in() -> None:
    no_list = {**defaults(), "universe_exclude": ["otc"]}

    assert excluded(an_asset("ACHR.WS"), no_list) == ""
    assert excluded(an_asset("BAC.PRK", "Bank of America Preferred"), no_list) == ""
    assert "universe_exclude" in excluded(an_asset(exchange="OTC"), no_list)
    assert excluded(an_asset("GE.WI"), no_list) == "a when-issued share"


def test_a_symbol_must_trade_enough_dollars_a_day() -> None:
    enough = listing(an_asset(), bars(*[500_000] * 20), Note(), defaults())
    few = listing(an_asset(), bars(*[499_999] * 20), Note(), defaults())

    assert (enough.included, enough.reason, enough.dollar_volume_20d) == (True, "", 5_000_000)
    assert not few.included
    assert "trades 4999990 USD a day" in few.reason


def test_without_history_it_is_let_in_and_said_to_be_unknown() -> None:
    young = listing(an_asset(), bars(*[1] * 4), Note(), defaults())
    none = listing(an_asset(), (), Note(), defaults())

    for one in (young, none):
        assert (one.included, one.reason) == (True, "its usual volume is unknown")
        assert (one.dollar_volume_20d, one.volume_14d) == (None, None)
    assert (young.prev_close, none.prev_close) == (10.0, None)


def test_the_median_is_of_twenty_sessions_and_the_mean_of_fourteen() -> None:
    found = listing(
        an_asset(),
        bars(10**9, *[900_000] * 6, *[1_000_000] * 13, 10_000_000),
        Note(sector="Tech", beta=1.4),
        defaults(),
    )

    assert found.dollar_volume_20d == 10_000_000
    assert found.volume_14d == round((13 * 1_000_000 + 10_000_000) / 14)
    assert (found.sector, found.beta) == ("Tech", 1.4)


# --- relative volume and splits -------------------------------------------------------------------
def test_the_usual_day_ends_with_all_of_its_volume_and_never_falls() -> None:
    shares = [day_done(minutes) for minutes in range(-5, 400)]

    assert shares[0] == shares[5] == 0.0
    assert shares[-1] == day_done(390) == 1.0
    assert shares == sorted(shares)
    assert all(day_done(m) == pytest.approx(s) for m, s in DAY_DONE)
    assert day_done(45) == pytest.approx((0.117 + 0.207) / 2)


def a_past(*days: list[int]) -> list[IntradayBar]:
    """Sessions of half hours, and a print before the open and after the close of each."""
    return [
        IntradayBar(day=TODAY - timedelta(days=len(days) - n), minute=30 * slot, volume=volume)
        for n, halves in enumerate(days)
        for slot, volume in enumerate([10**6, *halves, 10**6], -1)
    ]


def test_the_usual_curve_is_the_mean_of_the_last_fourteen_sessions() -> None:
    days = [[9_000] * 13, *[[100] * 13] * 13, [800, *[100] * 12]]

    assert volume_curve(a_past(*days)) == tuple(150 + 100 * n for n in range(13))
    assert volume_curve(a_past(*[[100] * 13] * 5)) == tuple(100 * n for n in range(1, 14))
    assert volume_curve(a_past(*[[100] * 13] * 4)) is None


def test_relative_volume_is_against_the_same_time_of_other_days() -> None:
    curve = tuple(1_000 * n for n in range(1, 14))

    assert relative_volume(2_000, curve, 60) == 1.0
    assert relative_volume(6_000, curve, 60) == 3.0
    assert relative_volume(13_000, curve, 390) == relative_volume(13_000, curve, 500) == 1.0
    assert usual_by(curve, 15) == pytest.approx(1_000 * 0.065 / 0.117), "the open is livelier"
    assert usual_by(curve, 75) == pytest.approx(2_500)
    assert relative_volume(1, None, 60) is None
    assert relative_volume(1, (), 60) is None
    assert relative_volume(1, (0,) * 13, 60) is None
    assert relative_volume(1, curve, 0) is None


@pytest.mark.parametrize(
    ("prev_close", "opened", "suspected"),
    [
        (100.0, 56.0, False),
        (100.0, 55.0, True),
        (100.0, 50.0, True),
        (10.0, 18.9, False),
        (10.0, 19.0, True),
        (10.0, 100.0, True),
        (None, 50.0, False),
        (100.0, None, False),
    ],
)
def test_an_opening_far_from_yesterdays_close_is_a_split_until_verified(
    prev_close: float | None, opened: float | None, suspected: bool
) -> None:
    assert bool(split_suspected(prev_close, opened)) is suspected


# --- the operator's notes, and the past -----------------------------------------------------------
def test_notes_are_read_line_by_line() -> None:
    notes = read_notes("symbol,sector,beta\n# mine\nAAPL,Tech,1.2\nXOM,Energy,\n\nT,,0.6\nF\n")

    assert notes == {
        "AAPL": Note(sector="Tech", beta=1.2),
        "XOM": Note(sector="Energy"),
        "T": Note(beta=0.6),
        "F": Note(),
    }


@pytest.mark.parametrize("line", ["AAPL,Tech,much", "A,B,1,2", ",Tech,1"])
def test_a_line_that_is_no_note_is_named(line: str) -> None:
    with pytest.raises(ValueError, match="line 2 is not symbol"):
        read_notes(f"AAPL,Tech,1\n{line}")


class Answer:
    def __init__(self, body: str, error: Exception | None = None) -> None:
        self.content, self._error = body.encode(), error

    def raise_for_status(self) -> None:
        if self._error:
            raise self._error


def history(*answers: Answer) -> tuple[AlpacaHistory, list[dict[str, Any]]]:
    asked: list[dict[str, Any]] = []
    left = list(answers)

    def get(url: str, *, params: dict[str, Any], **_: Any) -> Answer:
        asked.append({"url": url, **params})
        return left.pop(0)

    return AlpacaHistory(url="http://data.test/", key="k", secret="s", get=get), asked


def test_pages_of_bars_are_put_together() -> None:
    one = '{"bars": {"A": [{"t": "2026-11-18T05:00:00Z", "c": 10.5, "v": 100, "o": 1}]},'
    past, asked = history(
        Answer(one + '"next_page_token": "x"}'),
        Answer('{"bars": {"A": [{"t": "2026-11-19T05:00:00Z", "c": 11, "v": 200}]}}'),
    )
    breaths: list[int] = []

    found = past.bars(["A", "B"], TODAY, lambda: breaths.append(1))

    assert [(bar.day.day, bar.close, bar.volume) for bar in found["A"]] == [
        (18, 10.5, 100),
        (19, 11.0, 200),
    ]
    assert asked[0]["url"] == "http://data.test/v2/stocks/bars"
    assert asked[0]["symbols"] == "A,B"
    assert (asked[0]["end"], asked[1]["page_token"]) == ("2026-11-19", "x")
    assert len(breaths) == 2


def test_half_hours_become_curves_in_new_york_time() -> None:
    days = [f"2026-11-{n:02}" for n in (2, 3, 4, 5, 6)]
    rows = [f'{{"t": "{day}T{at}:00Z", "c": 1, "v": 70}}' for day in days
            for at in ("14:00", "14:30", "15:00", "20:30", "21:00")]  # fmt: skip
    past, asked = history(Answer(f'{{"bars": {{"A": [{",".join(rows)}]}}}}'))

    found = past.curves(["A", "B"], TODAY, lambda: None)

    assert found == {"A": (70, *[140] * 11, 210)}, "of 09:00 and 16:00 nothing counts"
    assert (asked[0]["timeframe"], asked[0]["end"]) == ("30Min", f"{TODAY}T00:00:00Z")
    assert asked[0]["adjustment"] == "split"


@pytest.mark.parametrize(
    "answer",
    [
        Answer("{"),
        Answer('{"bars": {"A": [{"c": 1}]}}'),
        Answer('{"bars": {"A": [{"t": "never", "c": 1, "v": 1}]}}'),
        Answer("", requests.HTTPError("403")),
    ],
)
def test_a_past_that_cannot_be_read_is_no_past(answer: Answer) -> None:
    past, _ = history(answer)

    assert past.bars(["A"], TODAY, lambda: None) == {}
    assert history(answer)[0].curves(["A"], TODAY, lambda: None) == {}


def test_many_symbols_are_asked_for_in_few_requests() -> None:
    past, asked = history(*[Answer("{}") for _ in range(3)])

    past.bars([f"S{n}" for n in range(900)], TODAY, lambda: None)

    assert [len(one["symbols"].split(",")) for one in asked] == [400, 400, 100]


def test_only_alpaca_has_a_past() -> None:
    assert data_url_of("https://paper-api.alpaca.markets") == "https://data.alpaca.markets"
    assert data_url_of("http://127.0.0.1:8766") == ""
    assert NoHistory().bars(["A"], TODAY, lambda: None) == {}
    with pytest.raises(ValueError, match="not a page"):
        read_page(b"[]")
