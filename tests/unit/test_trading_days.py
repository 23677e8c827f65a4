"""When a hub that runs for days begins the next one, by the exchange's own calendar."""

from datetime import date, datetime, timedelta

import pytest

from execution.brokers.port import TradingDay
from execution.domain.days import begins_ns, is_over, trading_day
from execution.venue import days
from signals.session import NEW_YORK


def at(text: str) -> int:
    """Return the epoch ns of a New York time."""
    return int(datetime.fromisoformat(text).replace(tzinfo=NEW_YORK).timestamp()) * 10**9


def calendar(first: str) -> list[TradingDay]:
    day = date.fromisoformat(first)
    found = days.sessions(day, day + timedelta(days=10))
    return [TradingDay(day=s.day, open_ns=s.open_ns, close_ns=s.close_ns) for s in found]


@pytest.mark.parametrize(
    ("now", "day"),
    [
        ("2026-11-20 04:00", "2026-11-20"),
        ("2026-11-20 20:00", "2026-11-20"),  # over, but it is today's
        ("2026-11-21 00:00", "2026-11-23"),  # Saturday
        ("2026-11-26 12:00", "2026-11-27"),  # Thanksgiving
        ("2026-11-27 14:00", "2026-11-27"),  # after a half day's close
    ],
)
def test_the_day_that_counts_is_today_s_or_the_next(now: str, day: str) -> None:
    found = trading_day(calendar(now[:10]), at(now))

    assert found is not None
    assert found.day == date.fromisoformat(day)


def test_a_calendar_without_days_has_none() -> None:
    assert trading_day([], at("2026-11-20 12:00")) is None


@pytest.mark.parametrize(
    ("hub_in", "begins"),
    [
        ("2026-11-19", "2026-11-20 08:30"),  # the next day
        ("2026-11-20", "2026-11-23 08:30"),  # Friday to Monday
        ("2026-11-25", "2026-11-27 08:30"),  # over Thanksgiving, into a half day
        ("2026-11-27", "2026-11-30 08:30"),  # out of a half day
        ("2026-03-06", "2026-03-09 08:30"),  # the clocks went forward on Sunday
        ("2026-10-30", "2026-11-02 08:30"),  # and back
        ("2026-12-31", "2027-01-04 08:30"),  # New Year, a weekend
    ],
)
def test_the_next_day_begins_an_hour_before_its_open(hub_in: str, begins: str) -> None:
    day, coming = date.fromisoformat(hub_in), trading_day(calendar(begins[:10]), at(begins))

    assert coming is not None
    assert begins_ns(coming) == at(begins)
    assert not is_over(day, coming, at(begins) - 1, busy=False)
    assert is_over(day, coming, at(begins), busy=False)


def test_what_is_unresolved_holds_the_next_day_back_and_not_for_ever() -> None:
    friday, (monday, *_) = date(2026, 11, 20), calendar("2026-11-23")

    assert not is_over(friday, monday, at("2026-11-23 09:14"), busy=True)
    assert is_over(friday, monday, at("2026-11-23 09:15"), busy=True)


def test_a_hub_that_slept_through_the_open_begins_the_day_at_once() -> None:
    friday, now = date(2026, 11, 20), at("2026-11-23 11:00")
    coming = trading_day(calendar("2026-11-23"), now)

    assert coming is not None
    assert is_over(friday, coming, now, busy=True)


def test_the_day_that_the_hub_is_in_is_not_begun_again() -> None:
    now = at("2026-11-23 17:00")
    coming = trading_day(calendar("2026-11-23"), now)

    assert coming is not None
    assert not is_over(coming.day, coming, now, busy=False)
