"""The session of a day, by the exchange's calendar."""

from datetime import date

import exchange_calendars

from signals.session import Session, regular_session


def session_of(day: date) -> Session:
    """Return the session of a New York trading day, shortened on half days.

    A day that the calendar does not know gets regular hours: a tape may be of any day.
    """
    calendar = exchange_calendars.get_calendar("XNYS", start="1995-01-01")
    regular = regular_session(day)
    if not calendar.is_session(day.isoformat()):
        return regular
    close_ns = calendar.session_close(day.isoformat()).value
    return Session(day, regular.open_ns, int(close_ns))
