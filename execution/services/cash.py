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

from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal

from django.db import transaction

from accounts import selectors as booked
from accounts import services as books
from accounts.domain.money import nearest
from accounts.models import Account
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
    what = f"{one.kind} {one.symbol}".strip()
    kind = kind_of(one.kind)
    account = _account(run)
    made = books.record_cash(
        account,
        source_id=_source_id(one),
        kind=kind,
        amount=nearest(one.amount),
        ts_ns=one.ts_ns,
        session_date=max(day_of(one.ts_ns), account.opened_on),
        reason=f"{what} {one.text}".strip()[:200],
    )
    if made.created:
        level = "alarm" if kind == "suspense" else "info"
        text = f"{what}: {one.amount} USD booked as {kind}"
        activity.note(run.pk, "reconcile", text, level=level, market_ns=now_ns)
    return made.created


def _account(run: Run) -> Account:
    return Account.objects.get(run_id=run.pk, number=run.account_number)


def _source_id(one: CashActivity) -> str:
    return one.activity_id[:120]
