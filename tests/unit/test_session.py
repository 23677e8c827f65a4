"""The regular session in UTC, over clock changes and half days, and the 5-second grid on it."""

from datetime import UTC, date, datetime, time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signals.session import (
    BUCKET_NS,
    NEW_YORK,
    Session,
    bucket_of,
    day_of,
    new_york_ns,
    regular_session,
)

SECOND_NS = 1_000_000_000
HOURS_NS = 3_600 * SECOND_NS
OPEN_NS = 1_381_152_600 * SECOND_NS  # 2013-10-07 09:30 in New York


def utc_ns(*parts: int) -> int:
    return int(datetime(*parts, tzinfo=UTC).timestamp()) * SECOND_NS


@pytest.mark.parametrize(
    ("day", "opens"),
    [
        (date(2013, 10, 7), utc_ns(2013, 10, 7, 13, 30)),  # summer time
        (date(2013, 11, 1), utc_ns(2013, 11, 1, 13, 30)),  # the Friday before the change
        (date(2013, 11, 4), utc_ns(2013, 11, 4, 14, 30)),  # the Monday after it
        (date(2014, 3, 7), utc_ns(2014, 3, 7, 14, 30)),
        (date(2014, 3, 10), utc_ns(2014, 3, 10, 13, 30)),
        (date(2018, 1, 2), utc_ns(2018, 1, 2, 14, 30)),
    ],
)
def test_the_session_opens_at_half_past_nine_in_new_york(day, opens):
    session = regular_session(day)

    assert session.open_ns == opens
    assert session.close_ns - session.open_ns == 6.5 * HOURS_NS
    assert session.end_k - session.first_k == 4_680


def test_a_half_day_closes_at_one():
    session = regular_session(date(2013, 11, 29), close=time(13))

    assert session.close_ns == utc_ns(2013, 11, 29, 18)
    assert session.end_k - session.first_k == 2_520


@pytest.mark.parametrize("day", [date(2013, 11, 3), date(2014, 3, 9)])
def test_on_the_very_day_of_a_clock_change_the_session_is_as_long_as_ever(day):
    session = regular_session(day)

    assert session.close_ns - session.open_ns == 6.5 * HOURS_NS
    assert session.day == day_of(session.open_ns) == day_of(session.close_ns) == day


def test_a_session_is_a_plain_value():
    assert regular_session(date(2013, 10, 7)) == Session(
        date(2013, 10, 7), utc_ns(2013, 10, 7, 13, 30), utc_ns(2013, 10, 7, 20)
    )


@pytest.mark.parametrize(
    ("ts_ns", "k"),
    [
        (0, 0),
        (BUCKET_NS - 1, 0),
        (BUCKET_NS, 1),
        (-1, -1),
        (1_381_152_600 * SECOND_NS, 276_230_520),
    ],
)
def test_a_bucket_holds_its_start_and_not_its_end(ts_ns, k):
    assert bucket_of(ts_ns) == k


def test_open_and_close_lie_on_the_grid():
    session = regular_session(date(2013, 10, 7))

    assert session.open_ns == session.first_k * BUCKET_NS
    assert session.close_ns == session.end_k * BUCKET_NS
    assert bucket_of(session.close_ns - 1) == session.end_k - 1


@pytest.mark.parametrize(
    ("ts_ns", "day"),
    [
        (utc_ns(2013, 10, 8, 3, 59, 59), date(2013, 10, 7)),  # before midnight, summer
        (utc_ns(2013, 10, 8, 4), date(2013, 10, 8)),
        (utc_ns(2018, 1, 3, 4, 59, 59), date(2018, 1, 2)),  # winter
        (utc_ns(2018, 1, 3, 5), date(2018, 1, 3)),
    ],
)
def test_the_day_changes_at_midnight_in_new_york(ts_ns, day):
    assert day_of(ts_ns) == day


@given(st.dates(date(1990, 1, 1), date(2100, 1, 1)), st.integers(0, 86_399))
def test_a_wall_clock_time_lies_on_its_own_day(day, seconds):
    clock = time(seconds // 3_600, seconds // 60 % 60, seconds % 60)

    there = datetime.fromtimestamp(new_york_ns(day, clock) // SECOND_NS, NEW_YORK)

    assert day_of(new_york_ns(day, clock)) == day
    missing = there.time() != clock  # the hour that a clock change in spring leaves out
    assert not missing or there.dst()


@given(st.dates(date(1990, 1, 1), date(2100, 1, 1)))
def test_every_bucket_of_a_session_is_on_its_day(day):
    session = regular_session(day)

    assert day_of(session.first_k * BUCKET_NS) == day
    assert day_of((session.end_k - 1) * BUCKET_NS) == day
