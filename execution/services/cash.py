"""Books what came to the account or left it without an order, from the broker's own activities.

A word that we do not know is booked in suspense, where the check of the books shows it until people
have said what it is; nothing is dropped. Of shares only a split of what we hold is booked; others
are said, and the comparison with the broker locks entries until people have looked.

What the opening cash held already is not booked again. The rule: the activities that the broker
told when the opening cash was read are in it. One that came to light later and was entered later
is not. Of one that came to light later but bears an earlier time, or a date alone, nobody can tell
from itself: those are booked when together they are exactly what the broker's cash differs by, and
else left and said. Each has its id in the books, so none is booked twice.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from django.db import transaction
from django.db.models import QuerySet

from accounts import selectors as booked
from accounts import services as books
from accounts.domain.money import nearest
from accounts.errors import NotRecorded
from accounts.models import Account, JournalEntry
from execution.brokers.port import (
    AccountSnapshot,
    Broker,
    BrokerError,
    CashActivity,
    is_whole,
)
from execution.models import Activity, BrokerEvent, Run
from execution.services import activity, runs, splits
from signals.session import day_of

#: Kinds of our books by how the broker's words begin (source: the activity types of its API).
KINDS = (
    ("DIV", "income"), ("INT", "income"), ("CIL", "income"),  # CIL: for a fraction of a share
    ("FEE", "fee"), ("CFEE", "fee"), ("PTC", "fee"),
    ("CSD", "transfer"), ("CSW", "transfer"), ("JNLC", "transfer"), ("ACATC", "transfer"),
)  # fmt: skip
STOCK = "activities at the start"
STOCK_TRIES = 3
#: An activity may be dated some days before it is told.
OVERLAP = timedelta(days=7)
CENT = Decimal("0.01")
KEY = "activity:"  # of the raw event; the books call its entry `cash:` and the id
SETTLED = ":settled"
SETTLED_AS = ("income", "fee", "transfer")
ID_MAX, REASON_MAX, SAID_MAX = 110, 170, 150


@dataclass(frozen=True)
class Stock:
    """What the opening cash held. Args: since: New York day of the first activity that counts."""

    at_ns: int
    since: date
    ids: frozenset[str]


def open_books(run: Run, broker: Broker, *, now_ns: int) -> AccountSnapshot:
    """Note a run's account, its opening cash, and the activities that are in it.

    They were told the same before and after the cash was read, else they are not noted; then the
    broker's cash alone says whether one from before the start is in it.

    Raises:
        BrokerError: the account could not be read.
    """
    ids: list[str] | None = None
    for _ in range(STOCK_TRIES):
        before = _told_ids(broker, now_ns)
        account = broker.account()
        if before is not None and before == _told_ids(broker, now_ns):
            ids = before
            break
    with transaction.atomic():
        if ids is not None:
            BrokerEvent.objects.get_or_create(
                run=run, key=STOCK,
                defaults={
                    "source": "activity", "event": "opening", "ts_ns": now_ns, "raw": {"ids": ids},
                },
            )  # fmt: skip
        cash = nearest(account.cash)
        runs.update_run(run, account_number=account.number, opening_cash=cash)
    return account


def _told_ids(broker: Broker, now_ns: int) -> list[str] | None:
    try:
        told = broker.cash_activities(since=day_of(now_ns) - OVERLAP)
    except BrokerError:
        return None
    return sorted(one.activity_id for one in told)


def _stock(run: Run) -> Stock:
    noted = BrokerEvent.objects.filter(run=run, key=STOCK).first()
    if noted is None:
        at_ns = int(run.started_at.timestamp() * 1_000_000_000)
        return Stock(at_ns, day_of(at_ns), frozenset())
    return Stock(noted.ts_ns, day_of(noted.ts_ns) - OVERLAP, frozenset(noted.raw["ids"]))


def take_in(run: Run, broker: Broker, *, now_ns: int) -> int:
    """Book the cash and the splits since the run began; returns how many entries are new.

    Raises:
        BrokerError: the activities, or what they are compared with, could not be read.
    """
    stock = _stock(run)
    told = broker.cash_activities(since=stock.since)
    told = [one for one in told if one.activity_id not in stock.ids]
    paid = [one for one in told if one.amount]
    count = sum(_book(run, one, now_ns) for one in paid if one.ts_ns > stock.at_ns)
    count += _book_the_doubtful(
        run, broker, [one for one in paid if one.ts_ns <= stock.at_ns], now_ns
    )
    for one in told:
        if not one.amount:
            _keep(run, one)
    groups = splits.unbooked(run, told)
    left = groups
    if groups:
        there = {p.symbol: p.quantity for p in broker.positions() if is_whole(p.quantity)}
        left = splits.take_in(run, groups, there, now_ns=now_ns)
    others = [one for one in told if not one.amount and not splits.is_split(one)]
    for one in [*others, *(one for group in left for one in group)]:
        _say(run, one, now_ns)
    return count + len(groups) - len(left)


def kind_of(word: str) -> str:
    """Return the kind of entry for one of the broker's words; "suspense" for an unknown one."""
    return next((kind for begin, kind in KINDS if word.startswith(begin)), "suspense")


def _book_the_doubtful(run: Run, broker: Broker, doubtful: list[CashActivity], now_ns: int) -> int:
    """Book what may be in the opening cash, when the broker's cash says that it is not."""
    account = _account(run)
    keys = [f"cash:{_source_id(one)}" for one in doubtful]
    known = set(account.entries.filter(source_key__in=keys).values_list("source_key", flat=True))
    left = [one for one in doubtful if f"cash:{_source_id(one)}" not in known]
    if not left:
        return 0
    there, here = broker.account().cash.quantize(CENT), booked.cash(account)
    if here.quantize(CENT) == there:
        return 0  # the opening cash held them
    if (here + sum(nearest(one.amount) for one in left)).quantize(CENT) == there:
        return sum(_book(run, one, now_ns) for one in left)
    for one in left:
        text = f"{one.kind} {one.symbol}: {one.amount} USD of {one.day} may be in the opening cash"
        _say_once(run, one, f"{text}: people must look", now_ns)
    return 0


def _say(run: Run, one: CashActivity, now_ns: int) -> None:
    """Tell people of shares that we cannot explain."""
    text = f"{one.kind} {one.symbol}: {one.shares} shares came without an order: people must look"
    _say_once(run, one, text, now_ns)


def _say_once(run: Run, one: CashActivity, text: str, now_ns: int) -> None:
    facts = {"activity": one.activity_id}
    told = Activity.objects.filter(
        run=run, kind="reconcile", level="alarm", facts__activity=one.activity_id
    )
    if not told.exists():
        activity.note(run.pk, "reconcile", text, level="alarm", market_ns=now_ns, **facts)


def _book(run: Run, one: CashActivity, now_ns: int) -> bool:
    """Keep an activity raw and book it, together or not at all."""
    with transaction.atomic():
        kept = _keep(run, one)
        told = {**_raw(one), "booked_as": kept.raw["booked_as"]}  # another amount is a conflict
        made = record(_account(run), kept.key.removeprefix(KEY), one.ts_ns, told)
    if made.created:
        kind = made.entry.kind
        level = "alarm" if kind == "suspense" else "info"
        text = f"{one.kind} {one.symbol}".strip() + f": {one.amount} USD booked as {kind}"
        activity.note(run.pk, "reconcile", text, level=level, market_ns=now_ns)
    return made.created


def _keep(run: Run, one: CashActivity) -> BrokerEvent:
    """Store an activity once, with what our books take its word for at the time."""
    row, _ = BrokerEvent.objects.get_or_create(
        run=run,
        key=f"{KEY}{_source_id(one)}",
        defaults={
            "source": "activities",
            "event": one.kind[:24],
            "ts_ns": one.ts_ns,
            "raw": {**_raw(one), "booked_as": kind_of(one.kind)},
        },
    )
    return row


def _raw(one: CashActivity) -> dict[str, Any]:
    return {
        "id": one.activity_id,
        "activity_type": one.kind,
        "symbol": one.symbol,
        "net_amount": str(one.amount),
        "qty": str(one.shares),
        "date": None if one.day is None else one.day.isoformat(),
        "description": one.text,
    }


def record(account: Account, name: str, ts_ns: int, raw: Mapping[str, Any]) -> books.Recorded:
    """Book the cash of an activity as it was stored.

    Raises:
        ConflictingEntry: it is in the books with another amount.
    """
    what = f"{raw['activity_type']} {raw['symbol']}".strip()
    return books.record_cash(
        account,
        source_id=name,
        kind=raw["booked_as"],
        amount=nearest(Decimal(raw["net_amount"])),
        ts_ns=ts_ns,
        session_date=max(day_of(ts_ns), account.opened_on),
        reason=f"{what} {raw['description']}".strip()[:REASON_MAX],
    )


def _account(run: Run) -> Account:
    return Account.objects.get(run_id=run.pk, number=run.account_number)


def _source_id(one: CashActivity) -> str:
    return one.activity_id[:ID_MAX]


# --- what people say that it was -----------------------------------------------------------------


def in_suspense(run: Run) -> QuerySet[JournalEntry]:
    """Return the entries of a run whose money is not understood yet, oldest first."""
    standing = JournalEntry.objects.filter(account__run_id=run.pk, reversed_by__isnull=True)
    return standing.filter(kind=JournalEntry.Kind.SUSPENSE).order_by("pk")


def settle(run: Run, *, name: str, kind: str, reason: str, actor: str, now_ns: int) -> None:
    """Say what money in suspense was: its entry is reversed and booked again as that.

    Args: name: the broker's id of the activity; kind: one of `SETTLED_AS`.
    Raises:
        NotRecorded: nothing of that name is in suspense.
        ConflictingEntry: it was said to be something else before.
        ValueError: another kind, or no reason given.
    """
    if kind not in SETTLED_AS:
        raise ValueError(f"say one of {', '.join(SETTLED_AS)}")
    if not reason.strip():
        raise ValueError("to say what money was needs a reason")
    said = f"{reason.strip()} ({actor})"[:SAID_MAX]
    account = _account(run)
    with transaction.atomic():
        entry = account.entries.filter(source_key=f"cash:{name}", kind="suspense").first()
        if entry is None:
            raise NotRecorded(f"nothing named {name} is in suspense")
        amount = sum((leg.amount_usd for leg in entry.postings.filter(ledger="cash")), Decimal(0))
        books.reverse(account, source_key=entry.source_key, reason=said, ts_ns=now_ns)
        settled(account, name, entry.occurred_ns, kind=kind, amount=amount, reason=said)
        text = f"{entry.reason}: {amount} USD is {kind}: {said}"[:300]
        activity.note(run.pk, "reconcile", text, level="warning", market_ns=run.market_ns)


def settled(
    account: Account, name: str, ts_ns: int, *, kind: str, amount: Decimal, reason: str
) -> books.Recorded:
    """Book an activity once more, as what it was."""
    return books.record_cash(
        account,
        source_id=f"{name}{SETTLED}",
        kind=kind,
        amount=amount,
        ts_ns=ts_ns,
        session_date=max(day_of(ts_ns), account.opened_on),
        reason=reason,
    )
