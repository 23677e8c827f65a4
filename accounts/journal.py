"""How an entry gets into the journal: under the account's lock, once, dated on an open day."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, NamedTuple

from accounts.domain import ledger
from accounts.domain.money import from_micros
from accounts.errors import ConflictingEntry
from accounts.models import Account, JournalEntry, Posting


class Recorded(NamedTuple):
    """The entry, and whether this call wrote it (False: it was there already)."""

    entry: JournalEntry
    created: bool


@dataclass(frozen=True, kw_only=True)
class Event:
    """What the entry says about what happened; `day` is where it belongs, closed or not."""

    source_key: str
    kind: str
    occurred_ns: int
    day: date
    order_ref: str = ""
    reason: str = ""
    reverses: JournalEntry | None = None


def locked(account: Account) -> Account:
    """Lock the account's row (SQLite: the whole database) and return it fresh."""
    return Account.objects.select_for_update().get(pk=account.pk)


def booking_day(account: Account, day: date) -> date:
    """Return the day to date an entry on: the event's own, or the first that is not closed."""
    closed = account.closed_through
    return day if closed is None or day > closed else closed + timedelta(days=1)


def find(account: Account, event: Event) -> JournalEntry | None:
    """Return the entry of an earlier delivery of the same event."""
    return account.entries.filter(source_key=event.source_key).first()


def require_same(entry: JournalEntry, facts: Mapping[str, tuple[Any, Any]]) -> None:
    """Hold a second delivery to the first.

    Args: facts: (as booked, as told now) by name.
    Raises:
        ConflictingEntry: they differ.
    """
    for name, (booked, given) in facts.items():
        if booked != given:
            raise ConflictingEntry(f"{entry.source_key}: {name} is {booked}, now told {given}")


def write(account: Account, event: Event, legs: Sequence[ledger.Posting]) -> JournalEntry:
    """Write an entry with its legs; when it lands on another day than the event's, say why."""
    booked = min(leg.day for leg in ledger.balanced(legs))
    late = "" if booked == event.day else f"{event.day} was closed"
    entry = JournalEntry.objects.create(
        account=account,
        source_key=event.source_key,
        kind=event.kind,
        occurred_ns=event.occurred_ns,
        session_date=booked,
        order_ref=event.order_ref,
        reason="; ".join(filter(None, [event.reason, late])),
        reverses=event.reverses,
    )
    Posting.objects.bulk_create(
        Posting(
            entry=entry,
            account=account,
            ledger=leg.ledger,
            symbol=leg.symbol,
            session_date=leg.day,
            amount_usd=from_micros(leg.amount),
            quantity=leg.quantity,
        )
        for leg in legs
    )
    return entry
