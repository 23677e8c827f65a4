"""The accounting invariants over the live books (I5 and its parts), one sentence per violation.

Apps above add their own with `register`, so that `check_books` runs them all.
"""

from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Mapping
from datetime import date
from decimal import Decimal
from typing import NamedTuple

from django.db.models import Count, F, Q, Sum

from accounts import selectors
from accounts.domain import ledger
from accounts.domain.ledger import Ledger
from accounts.domain.money import to_micros
from accounts.models import OF_FILLS, Account, JournalEntry
from accounts.services import AGAINST

Kind = JournalEntry.Kind
ZERO = Decimal(0)
Check = Callable[[Account], list[str]]
_registered: dict[str, Check] = {}


def register(name: str, check: Check) -> None:
    """Let `check_books` run one more check; a second registration of the name replaces it."""
    _registered[name] = check


def names() -> list[str]:
    """Return the names of all checks, in the order in which they are run."""
    return ["books", *_registered]


def check_all(account: Account) -> dict[str, list[str]]:
    """Return the violations by name of the check: the books' own, then the registered ones."""
    return {"books": check(account)} | {name: run(account) for name, run in _registered.items()}


def check(account: Account) -> list[str]:
    """Return what is wrong with the books of an account; empty when they hold."""
    account = Account.objects.get(pk=account.pk)  # the caller's copy may be older than the books
    parts = (
        _balance,
        _facts,
        _fills_and_entries,
        _reversals,
        _dates,
        _closed_days,
        _flat,
        _suspense,
    )
    return [violation for part in parts for violation in part(account)]


def differences(
    account: Account, *, cash: Decimal, positions: Mapping[str, int | Decimal]
) -> list[str]:
    """Return where the books and the broker differ, to the cent and the share.

    Args: cash: the broker's balance, USD; positions: its signed shares by symbol; the
        books have whole ones only, so a fraction always differs.
    """
    found = []
    booked = selectors.cash(account)
    if booked.quantize(Decimal("0.01")) != cash.quantize(Decimal("0.01")):
        found.append(f"cash: books {booked:.2f}, broker {cash:.2f}")
    ours = {symbol: held.quantity for symbol, held in selectors.positions(account).items()}
    for symbol in sorted(ours.keys() | positions.keys()):
        if ours.get(symbol, 0) != positions.get(symbol, 0):
            books, broker = ours.get(symbol, 0), positions.get(symbol, 0)
            found.append(f"{symbol}: books {books} shares, broker {broker}")
    return found


def _balance(account: Account) -> Iterator[str]:
    """Every entry has two legs or more, none empty, and sums to zero on each of its days."""
    rows = account.postings.values("entry__source_key", "session_date").annotate(
        total=Sum("amount_usd")
    )
    for row in rows.exclude(total=0):
        yield f"{row['entry__source_key']}: off by {row['total']} on {row['session_date']}"
    for entry in account.entries.annotate(legs=Count("postings")).filter(legs__lt=2):
        yield f"{entry.source_key}: has {entry.legs} legs"
    for leg in account.postings.filter(amount_usd=0, quantity=0).select_related("entry"):
        yield f"{leg.entry.source_key}: an empty leg on {leg.ledger}"
    for leg in account.postings.exclude(entry__account=F("account")).select_related("entry"):
        yield f"{leg.entry.source_key}: a leg belongs to another account"


def _facts(account: Account) -> Iterator[str]:
    """The sums of the postings equal what the standing fills and transfers amount to."""
    posted = {
        key: (to_micros(amount), quantity)
        for key, (amount, quantity) in selectors.balances(account).items()
        if amount or quantity
    }
    fills = [fill.facts for fill in selectors.all_standing_fills(account)]
    wanted = ledger.rebuilt(fills, _transfers(account))
    for name, symbol in sorted(posted.keys() | wanted.keys()):
        was, should = posted.get((name, symbol), (0, 0)), wanted.get((name, symbol), (0, 0))
        if was != should:
            label = f"{name} {symbol}".strip()
            yield f"{label}: posted {was}, the facts make {should} (micro-dollars, shares)"


def _transfers(account: Account) -> list[tuple[Ledger, int]]:
    standing = account.entries.filter(kind__in=AGAINST, reversed_by__isnull=True)
    rows = standing.annotate(
        cash=Sum("postings__amount_usd", filter=Q(postings__ledger=Ledger.CASH))
    )
    return [(AGAINST[Kind(row.kind)], to_micros(row.cash)) for row in rows if row.cash is not None]


def _fills_and_entries(account: Account) -> Iterator[str]:
    """No orphan in either direction, and every fill of ours names its order."""
    booked = account.entries.filter(kind__in=OF_FILLS)
    for entry in booked.filter(fill__isnull=True):
        yield f"{entry.source_key}: an entry without its fill"
    for fill in account.fills.exclude(entry__kind__in=OF_FILLS):
        yield f"{fill.execution_id}: a fill on an entry of another kind"
    for fill in account.fills.filter(order_ref="", entry__kind=Kind.FILL):
        yield f"{fill.execution_id}: a fill without an order"


def _reversals(account: Account) -> Iterator[str]:
    """A reversal names its entry and its reason, and gives back exactly its cash and shares."""
    reversal = Q(kind=Kind.REVERSAL)
    for entry in account.entries.filter(reversal & (Q(reverses__isnull=True) | Q(reason=""))):
        yield f"{entry.source_key}: a reversal without its entry or its reason"
    for entry in account.entries.filter(~reversal, reverses__isnull=False):
        yield f"{entry.source_key}: reverses something, but is booked as {entry.kind}"
    undone = account.entries.filter(reversal, reverses__isnull=False).select_related("reverses")
    for entry in undone.prefetch_related("postings", "reverses__postings"):
        taken = entry.reverses
        if taken and _given(entry) != tuple(-part for part in _given(taken)):
            yield f"{entry.source_key}: does not give back what {taken.source_key} took"


def _given(entry: JournalEntry) -> tuple[Decimal | int, ...]:
    legs = entry.postings.all()
    money = sum(leg.amount_usd for leg in legs if leg.ledger == Ledger.CASH)
    return money, sum(leg.quantity for leg in legs if leg.ledger == Ledger.POSITION)


def _dates(account: Account) -> Iterator[str]:
    """Legs are dated on the entry's day or after it; another day than the fill's has a reason."""
    for leg in account.postings.filter(session_date__lt=F("entry__session_date")):
        yield f"{leg.entry.source_key}: a leg is dated {leg.session_date}, before its entry"
    moved = account.fills.exclude(session_date=F("entry__session_date"))
    for fill in moved.filter(entry__reason="").select_related("entry"):
        yield f"{fill.entry.source_key}: booked on another day without a reason"


def _closed_days(account: Account) -> Iterator[str]:
    """What a closed day amounted to has not changed since."""
    newest, days = None, _by_day(account)
    cash, count, of_day = ZERO, 0, None
    for closed in account.day_closes.order_by("session_date"):
        newest = closed.session_date
        while days and days[0].day <= newest:
            of_day = days.popleft()
            cash, count = cash + of_day.sums[Ledger.CASH], count + of_day.postings
        sums = of_day.sums if of_day is not None and of_day.day == newest else {}
        for name, was, now in (
            ("realized P&L", closed.realized_usd, -sums.get(Ledger.REALIZED, ZERO)),
            ("fees", closed.fees_usd, sums.get(Ledger.FEES, ZERO)),
            ("cash", closed.cash_usd, cash),
            ("number of postings", closed.postings, count),
        ):
            if was != now:
                yield f"{newest} is closed, but its {name} went from {was} to {now}"
    if newest != account.closed_through:
        yield f"closed through {account.closed_through}, but the last closed day is {newest}"


class _Day(NamedTuple):
    day: date
    sums: dict[str, Decimal]  # by ledger
    postings: int


def _by_day(account: Account) -> deque[_Day]:
    """Read all days at once: there is one more each evening, and this is asked each minute."""
    rows = account.postings.order_by("session_date").values("session_date", "ledger")
    found: deque[_Day] = deque()
    for row in rows.annotate(amount=Sum("amount_usd"), n=Count("pk")):
        if not found or found[-1].day != row["session_date"]:
            found.append(_Day(row["session_date"], defaultdict(lambda: ZERO), 0))
        last = found.pop()
        last.sums[row["ledger"]] += row["amount"]
        found.append(last._replace(postings=last.postings + row["n"]))
    return found


def _flat(account: Account) -> Iterator[str]:
    """A symbol without shares costs nothing."""
    for (name, symbol), (cost, quantity) in selectors.balances(account).items():
        if name is Ledger.POSITION and not quantity and cost:
            yield f"{symbol}: flat, but at a cost of {cost}"


def _suspense(account: Account) -> Iterator[str]:
    """Nothing waits to be understood: people say what it was (`manage.py books settle`)."""
    amount, _ = selectors.balances(account).get((Ledger.SUSPENSE, ""), (None, 0))
    if amount:
        yield f"suspense holds {-amount}"
