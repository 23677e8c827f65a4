"""The ledger, built a second time from what the broker told: it must be the same to the byte.

Executions, busts, splits and cash come from the raw events alone. Of the books only two things are
taken over: the order in which the events were booked (it decides which entry carries a shift of the
profit), and what people entered with a reason, for which there is no event: adjustments, and what
money in suspense turned out to be. Nothing of the second set of books stays: it lives inside a
transaction that is rolled back.
"""

import hashlib
import json
import re
from collections.abc import Callable, Iterator
from decimal import Decimal
from functools import partial
from typing import NamedTuple

from django.db import transaction
from django.db.models import Q

from accounts import services as books
from accounts.domain.money import nearest
from accounts.errors import BookError, DayNotClosable
from accounts.models import Account, DayClose, JournalEntry
from execution.brokers import wire
from execution.models import BrokerEvent, Run
from execution.services import cash, splits
from signals.session import day_of

TWIN = "twin-"
SHOWN_MAX = 10
BOOKED = ("fill:", "bust:", "split:", cash.KEY)  # the keys of events that move money or shares
Kind = JournalEntry.Kind
BY_PEOPLE = (Kind.ADJUSTMENT, Kind.ADOPTION)
LATE = re.compile(r"(; )?\d{4}-\d\d-\d\d was closed$")  # the journal says it again by itself


class Comparison(NamedTuple):
    """Digests of every posting as booked and as the events make them, and what differs."""

    was: str
    made: str
    differences: list[str]


class Fact(NamedTuple):
    """What is booked, and the source key of the entry that it makes."""

    makes: str
    book: Callable[[], object]


def compare(run: Run) -> Comparison:
    """Compare a run's books with what its events make."""
    account = Account.objects.get(run_id=run.pk, number=run.account_number)
    with transaction.atomic():
        first = account.entries.filter(source_key="cash:opening").first()
        twin = books.open_account(
            number=f"{TWIN}{account.number}"[:32],
            run_id=run.pk,
            cash=run.opening_cash,
            session_date=account.opened_on,
            ts_ns=run.open_ns if first is None else first.occurred_ns,
        )
        refused = _replay(run, account, twin)
        was, made = lines(account), lines(twin)
        transaction.set_rollback(True)
    return Comparison(_digest(was), _digest(made), [*refused, *_differences(was, made)])


def lines(account: Account) -> list[str]:
    """Return the whole ledger canonically: every posting, execution and closed day."""
    entry = [
        f"entry__{name}"
        for name in ("source_key", "kind", "occurred_ns", "session_date", "order_ref", "reason")
    ]
    legs = account.postings.order_by().values_list(
        *entry, "entry__reverses__source_key", "ledger", "symbol", "session_date", "amount_usd",
        "quantity",
    )  # fmt: skip
    fills = account.fills.order_by().values_list(
        "entry__source_key", "symbol", "quantity", "price_usd", "fee_usd", "ts_ns", "session_date",
        "order_ref",
    )  # fmt: skip
    closes = account.day_closes.order_by().values_list(
        "session_date", "realized_usd", "fees_usd", "cash_usd", "postings"
    )
    named = (("posting", legs), ("execution", fills), ("closed", closes))
    return sorted(_canonical(name, row) for name, rows in named for row in rows)


def _canonical(name: str, row: tuple[object, ...]) -> str:
    cells = [f"{one:f}" if isinstance(one, Decimal) else str(one) for one in row]
    return json.dumps([name, *cells], ensure_ascii=True)


def _digest(rows: list[str]) -> str:
    return hashlib.sha256("\n".join(rows).encode()).hexdigest()


def _differences(was: list[str], made: list[str]) -> list[str]:
    extra, missing = sorted(set(was) - set(made)), sorted(set(made) - set(was))
    found = [f"only in the books: {one}" for one in extra]
    found += [f"only from the events: {one}" for one in missing]
    more = len(found) - SHOWN_MAX
    return found[:SHOWN_MAX] + ([f"and {more} more"] if more > 0 else [])


# --- once more ------------------------------------------------------------------------------------


def _replay(run: Run, account: Account, twin: Account) -> list[str]:
    """Book every fact in the order in which it was booked; returns what the books refused."""
    rank = {
        key: n
        for n, key in enumerate(account.entries.order_by("pk").values_list("source_key", flat=True))
    }
    facts = [*_of_events(run, twin, rank), *_of_people(run, account, twin)]
    closes, refused = list(account.day_closes.order_by("session_date")), []
    for fact in sorted(facts, key=lambda fact: rank.get(fact.makes, len(rank))):
        _close(twin, closes)
        try:
            with transaction.atomic():
                fact.book()
        except BookError as exc:
            refused.append(f"{fact.makes}: {exc}")
    _close(twin, closes)
    return refused


def _close(twin: Account, closes: list[DayClose]) -> None:
    """Close the days that had all their postings when they were closed."""
    while closes:
        day = closes[0].session_date
        if twin.postings.filter(session_date__lte=day).count() < closes[0].postings:
            return
        try:
            books.close_day(twin, session_date=day)
        except DayNotClosable:
            return
        closes.pop(0)


def _of_events(run: Run, twin: Account, booked: dict[str, int]) -> Iterator[Fact]:
    wanted = Q()
    for prefix in BOOKED:
        wanted |= Q(key__startswith=prefix)
    events = list(
        BrokerEvent.objects.filter(wanted, run=run).select_related("order").order_by("pk")
    )
    busted = {e.key.removeprefix("bust:") for e in events if e.key.startswith("bust:") and e.order}
    # Taken back before it was booked, whichever was told first: neither is in the books.
    never = {one for one in busted if not {f"fill:{one}", f"reverse:fill:{one}"} & booked.keys()}
    for event in events:
        what, _, name = event.key.partition(":")
        if what == "activity":
            if Decimal(event.raw["net_amount"]):
                yield Fact(f"cash:{name}", partial(cash.record, twin, name, event.ts_ns, event.raw))
        elif event.order is None or name in never:
            continue
        elif what == "split":
            yield Fact(f"fill:split:{name}", partial(splits.record, twin, event))
        elif what == "bust":
            yield Fact(f"reverse:fill:{name}", partial(_take_back, twin, event, name))
        elif event.event != "void":
            yield Fact(f"fill:{name}", partial(_fill, twin, event, name))


def _fill(twin: Account, event: BrokerEvent, execution_id: str) -> None:
    price, quantity, side, ts_ns = _facts(event)
    if event.order is None:
        return
    books.record_fill(
        twin,
        execution_id=execution_id,
        order_ref=event.order.client_order_id[:64],
        symbol=event.order.symbol,
        side=side,
        quantity=quantity,
        price=price,
        ts_ns=ts_ns,
        session_date=day_of(ts_ns),
    )


def _facts(event: BrokerEvent) -> tuple[Decimal, int, str, int]:
    """Read an execution back from its raw event, whichever source told it."""
    raw = event.raw
    order = raw.get("order")
    side = str(order["side"]) if isinstance(order, dict) else str(raw["side"])
    stamp = raw.get("timestamp")
    ts_ns = wire.ns(stamp) if stamp else event.ts_ns
    return nearest(Decimal(str(raw["price"]))), int(Decimal(str(raw["qty"]))), side, ts_ns


def _take_back(twin: Account, event: BrokerEvent, execution_id: str) -> None:
    reason = f"taken back by the venue ({event.event})"
    books.reverse(twin, source_key=f"fill:{execution_id}", reason=reason, ts_ns=event.ts_ns)


def _of_people(run: Run, account: Account, twin: Account) -> Iterator[Fact]:
    """What has no event, because a person entered it."""
    for entry in account.entries.filter(kind__in=BY_PEOPLE):
        yield Fact(entry.source_key, partial(books.rebook, twin, entry, reason=_said(entry)))
    undone = account.entries.filter(reverses__kind__in=(*BY_PEOPLE, Kind.SUSPENSE))
    for entry in undone.select_related("reverses"):
        if entry.reverses is not None:
            yield Fact(
                entry.source_key,
                partial(books.reverse, twin, source_key=entry.reverses.source_key,
                        reason=_said(entry), ts_ns=entry.occurred_ns),
            )  # fmt: skip
    for entry in account.entries.filter(source_key__endswith=cash.SETTLED):
        name = entry.source_key.removeprefix("cash:").removesuffix(cash.SETTLED)
        event = BrokerEvent.objects.filter(run=run, key=f"{cash.KEY}{name}").first()
        if event is not None:
            amount = Decimal(event.raw["net_amount"])
            yield Fact(
                entry.source_key,
                partial(cash.settled, twin, name, event.ts_ns, kind=entry.kind, amount=amount,
                        reason=_said(entry)),
            )  # fmt: skip


def _said(entry: JournalEntry) -> str:
    return LATE.sub("", entry.reason)
