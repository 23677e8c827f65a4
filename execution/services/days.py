"""Closes a trading day in the books, once it is over and everybody agrees about it.

What comes later (a fee of the night, a late bust) is dated on the next day and says which day was
closed, so that what was reported of a day stays so.
"""

from dataclasses import dataclass
from datetime import date

from django.db.models import Max

from accounts import services as books
from accounts.errors import DayNotClosable
from accounts.models import Account
from execution import selectors
from execution.models import Run
from execution.services import activity

AFTER_CLOSE_NS = 5 * 60 * 1_000_000_000  # the ladder has ended, late news of the close have come


@dataclass(frozen=True, kw_only=True)
class Due:
    """A day that is over and not closed. `since_ns`: a comparison before says nothing of it."""

    day: date
    since_ns: int


def due(run: Run) -> Due | None:
    """Return the newest day of a run that is over and not closed, None when there is none."""
    account = _account(run)
    if account is None or run.day is None:
        return None
    newest = account.postings.aggregate(newest=Max("session_date"))["newest"]
    if run.market_ns >= run.close_ns + AFTER_CLOSE_NS > AFTER_CLOSE_NS:
        wanted = Due(day=run.day, since_ns=run.close_ns)
    elif newest is not None and newest < run.day:
        wanted = Due(day=newest, since_ns=0)  # nobody was there in its evening
    else:
        return None
    later = newest is not None and newest > wanted.day
    closed = account.closed_through is not None and wanted.day <= account.closed_through
    return None if later or closed else wanted


def close_when_over(run: Run, *, agreed_ns: int | None, books_hold: bool) -> bool:
    """Close the day that is due; False when none is, or when somebody differs about it.

    Args: agreed_ns: market time of the last comparison with the broker, None when they differed;
        books_hold: what the check of the books found.
    """
    account, wanted = _account(run), due(run)
    if account is None or wanted is None or not books_hold:
        return False
    if agreed_ns is None or agreed_ns < wanted.since_ns or selectors.has_unresolved_order(run):
        return False
    try:
        closed = books.close_day(account, session_date=wanted.day)
    except DayNotClosable:
        return False  # something came in between; it is asked again
    text = (
        f"{wanted.day} is closed: {closed.realized_usd:+.2f} USD, fees {closed.fees_usd:.2f},"
        f" cash {closed.cash_usd:.2f}"
    )
    activity.note(run.pk, "reconcile", text, market_ns=run.market_ns)
    return True


def _account(run: Run) -> Account | None:
    return Account.objects.filter(run_id=run.pk, number=run.account_number).first()
