"""The venue's data API as the official SDK and a bare client see it: trades that were played."""

import time
from datetime import UTC, datetime, timedelta

import pytest
import requests
from alpaca.data.historical import StockHistoricalDataClient
from alpaca.data.requests import StockLatestTradeRequest, StockTradesRequest

from relay.market_rest import HttpMarketRest, RestError
from tests.venue_fixture import KEYS, SECOND, SESSION, quiet_rows, running_venue, write_tape


@pytest.fixture(scope="module")
def tape(tmp_path_factory):
    return write_tape(tmp_path_factory.mktemp("tape") / "quiet.tape", quiet_rows(60))


def played(venue) -> None:
    """Wait for the end of the tape."""
    deadline = time.monotonic() + 20
    while venue.venue.player.state != "ended":
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_the_sdk_reads_from_the_venue_what_was_played(tape):
    with running_venue(tape, speed=1000.0, wait_for=0) as venue:
        played(venue)
        client = StockHistoricalDataClient(KEYS.key, KEYS.secret, url_override=venue.http)
        opened = datetime.fromtimestamp(SESSION.open_ns // SECOND, UTC)
        span = {"start": opened + timedelta(seconds=10), "end": opened + timedelta(seconds=20)}
        found = client.get_stock_trades(
            StockTradesRequest(symbol_or_symbols=["SPY", "AIG"], **span)
        )
        one = client.get_stock_trades(StockTradesRequest(symbol_or_symbols="SPY", limit=7, **span))
        latest = client.get_stock_latest_trade(StockLatestTradeRequest(symbol_or_symbols="SPY"))
        client._session.close()

    assert [trade.id for trade in found["SPY"]] == list(range(100, 201))
    assert {trade.price for trade in found["AIG"]} == {50.01}
    assert found["SPY"][0].timestamp == span["start"]
    assert len(one["SPY"]) == 7
    assert latest["SPY"].id == 599


def test_pages_of_the_venue_join_to_the_whole_and_bad_questions_are_refused(tape):
    with running_venue(tape, speed=1000.0, wait_for=0) as venue:
        played(venue)
        api = HttpMarketRest(venue.http, KEYS.key, KEYS.secret, feed="sip")
        ids, token = [], None
        while True:
            page = pages(venue, limit=77, token=token)
            ids += [row["i"] for row in page["trades"]["SPY"]]
            token = page["next_page_token"]
            if token is None:
                break
        newest = api.latest_ns(["SPY", "NOPE"])
        for question in ("symbols=", "symbols=SPY&limit=x", "symbols=SPY&start=yesterday",
                         "symbols=SPY&page_token=%21", "symbols=ABCDEFGHIJKLMNOPQRS"):  # fmt: skip
            assert ask(venue, question).status_code == 400
        with pytest.raises(RestError, match="401"):
            HttpMarketRest(venue.http, "NOBODY", "x", feed="sip").latest_ns(["SPY"])

    assert ids == list(range(600))
    assert newest == {"SPY": SESSION.open_ns + 59_900_000_000}


def pages(venue, *, limit: int, token: str | None) -> dict:
    more = f"&page_token={token}" if token else ""
    return ask(venue, f"symbols=SPY&limit={limit}{more}").json()


def ask(venue, question: str) -> requests.Response:
    headers = {"APCA-API-KEY-ID": KEYS.key, "APCA-API-SECRET-KEY": KEYS.secret}
    return requests.get(f"{venue.http}/v2/stocks/trades?{question}", headers=headers, timeout=10)
