"""What the assets API says of a made-up market, and which day that market plays."""

import json
from datetime import UTC, date, datetime
from decimal import Decimal

import pytest

from execution.venue import days, run
from execution.venue.engine import VenueEngine
from execution.venue.options import Credentials, VenueError
from execution.venue.rest import TradingApi, parse_request

DAY = date(2026, 11, 20)


@pytest.fixture(scope="module")
def options():
    return run.synthetic_options(Credentials(key="k", secret="s"), 7, DAY, symbols=60)


@pytest.fixture(scope="module")
def assets(options):
    engine = VenueEngine(session=options.session, symbols=options.symbols, cash=Decimal(1))
    api = TradingApi(engine, lambda: options.start_ns, options.listings)
    answer = api.answer(parse_request("GET", "/v2/assets", b"", b""))
    return {row["symbol"]: row for row in json.loads(answer.body)}


def test_every_name_is_listed_where_it_trades(options, assets):
    assert set(assets) == set(options.symbols)
    assert len({row["exchange"] for row in assets.values()}) > 1
    assert assets["SPY"]["exchange"] == "ARCA"


def test_funds_are_told_by_their_names(assets):
    assert assets["SPY"]["name"].endswith(" ETF")
    assert any(row["name"].endswith(" Common Stock") for row in assets.values())


def test_an_impossible_size_is_one_line():
    with pytest.raises(VenueError, match="symbols, not 3"):
        run.synthetic_options(Credentials(key="k", secret="s"), 7, DAY, symbols=3)


@pytest.mark.parametrize(
    ("now", "day"),
    [
        (datetime(2026, 11, 23, 15, 0, tzinfo=UTC), date(2026, 11, 20)),  # Monday 10:00 New York
        (datetime(2026, 11, 24, 3, 0, tzinfo=UTC), date(2026, 11, 20)),  # Monday 22:00 New York
        (datetime(2026, 11, 27, 15, 0, tzinfo=UTC), date(2026, 11, 25)),  # after Thanksgiving
    ],
)
def test_the_market_that_is_made_up_is_never_that_of_today(now, day):
    assert days.last_session(int(now.timestamp()) * 10**9).day == day
