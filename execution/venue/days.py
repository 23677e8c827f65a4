"""The exchange's days: sessions with half days, the clock and the calendar endpoints."""

import warnings
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Any

import exchange_calendars

from execution.venue import rejections
from signals.session import NEW_YORK, Session, regular_session

SECOND_NS = 1_000_000_000
FIRST_DAY, LAST_DAY = date(1990, 1, 2), date(2029, 12, 31)
MAX_DAYS = 3_700


@lru_cache(maxsize=4)
def _calendar(first: date, last: date) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it still uses what pandas 3 is about to change
        return exchange_calendars.get_calendar("XNYS", start=first, end=last)


def sessions(first: date, last: date) -> list[Session]:
    """Return the trading days in [first, last], at most ten years of them."""
    first, last = max(first, FIRST_DAY), min(last, LAST_DAY)
    if first > last:
        return []
    last = min(last, first + timedelta(days=MAX_DAYS))
    # a calendar must hold at least one session: widen, then cut
    wide_first = max(first - timedelta(days=10), FIRST_DAY)
    schedule = _calendar(wide_first, min(last + timedelta(days=10), LAST_DAY)).schedule
    rows = zip(schedule.index, schedule["open"], schedule["close"], strict=True)
    found = (Session(label.date(), _ns(opened), _ns(closed)) for label, opened, closed in rows)
    return [session for session in found if first <= session.day <= last]


def _ns(moment: datetime) -> int:
    return int(moment.timestamp()) * SECOND_NS


def session_of(day: date) -> Session:
    """Return the session of a day; an invented regular one when the exchange is closed then."""
    found = sessions(day, day)
    return found[0] if found else regular_session(day)


def next_session(ts_ns: int) -> Session:
    """Return the session that is open at `ts_ns` or opens next."""
    day = _local(ts_ns).date()
    for session in sessions(day, day + timedelta(days=10)):
        if session.close_ns > ts_ns:
            return session
    return session_of(day + timedelta(days=1))


def last_session(ts_ns: int) -> Session:
    """Return the newest session of a day that is over in New York."""
    today = _local(ts_ns).date()
    return sessions(today - timedelta(days=10), today - timedelta(days=1))[-1]


def past_session(day: date, ts_ns: int) -> Session:
    """Return the session of a day that is over in New York. Raises: ValueError: there is none."""
    if day > last_session(ts_ns).day:
        raise ValueError(f"{day} is not over yet")
    found = sessions(day, day)
    if not found:
        raise ValueError(f"the exchange was closed on {day}, or it is before {FIRST_DAY}")
    return found[0]


def clock_json(ts_ns: int, today: Session) -> dict[str, Any]:
    """Return GET /v2/clock; `today` is the session played, which the exchange may not know."""
    is_open = today.open_ns <= ts_ns < today.close_ns
    after = [s for s in sessions(today.day, today.day + timedelta(days=10)) if s.day > today.day]
    coming = after[0] if after else today
    opens = today if ts_ns < today.open_ns else coming
    closes = today if ts_ns < today.close_ns else coming
    return {
        "timestamp": _stamp(ts_ns),
        "is_open": is_open,
        "next_open": _stamp(opens.open_ns),
        "next_close": _stamp(closes.close_ns),
    }


def calendar_json(start: str, end: str, today: date) -> list[dict[str, str]]:
    """Return GET /v2/calendar. Raises: Rejection: a bound is no date."""
    first = _date(start) or today - timedelta(days=365)
    last = _date(end) or max(today, first) + timedelta(days=365)
    return [
        {
            "date": session.day.isoformat(),
            "open": f"{_local(session.open_ns):%H:%M}",
            "close": f"{_local(session.close_ns):%H:%M}",
            "session_open": "0400",
            "session_close": "2000",
        }
        for session in sessions(first, last)
    ]


def _date(text: str) -> date | None:
    if not text:
        return None
    try:
        return datetime.fromisoformat(text).date()
    except ValueError:
        raise rejections.unprocessable(f"invalid date: {text[:40]}") from None


def _local(ts_ns: int) -> datetime:
    return datetime.fromtimestamp(ts_ns // SECOND_NS, UTC).astimezone(NEW_YORK)


def _stamp(ts_ns: int) -> str:
    moment = _local(ts_ns)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{ts_ns % SECOND_NS:09d}{moment.isoformat()[-6:]}"
