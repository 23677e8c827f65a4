"""Reads of the books: balances are sums of postings, lots are rebuilt from the standing fills."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import NamedTuple

from django.db.models import Q, QuerySet, Sum

from accounts.domain import ledger
from accounts.domain.ledger import Ledger
from accounts.domain.money import from_micros
from accounts.domain.trips import RoundTrip, round_trips_of
from accounts.models import Account, Fill, JournalEntry, Posting

ZERO = from_micros(0)


@dataclass(frozen=True, kw_only=True)
class Position:
    """An open position. Quantity is signed, cost is what the open lots were bought (sold) for."""

    symbol: str
    quantity: int
    cost: Decimal

    @property
    def average_price(self) -> Decimal:
        """USD per share; for showing, not exact."""
        return self.cost / self.quantity


@dataclass(frozen=True, kw_only=True)
class DaySummary:
    """One trading day of one account, USD. A loss is negative, fees are positive."""

    day: date
    realized: Decimal
    fees: Decimal
    transfers: Decimal
    income: Decimal
    suspense: Decimal
    cash: Decimal  # balance at the end of the day
    fills: int
    bought: Decimal
    sold: Decimal

    @property
    def net(self) -> Decimal:
        """Realized P&L after fees."""
        return self.realized - self.fees


class Change(NamedTuple):
    """One posting that moved the equity: cash plus what the open positions cost, USD.

    `amount` is what the equity gained (a fee is negative); `order_ref` is empty without a fill.
    """

    day: date
    at_ns: int
    ledger: Ledger
    symbol: str
    order_ref: str
    text: str
    amount: Decimal


def all_standing_fills(account: Account) -> QuerySet[Fill]:
    """Return the fills that were not reversed, in the broker's order."""
    standing = account.fills.filter(entry__reversed_by__isnull=True)
    return standing.select_related("entry").order_by("ts_ns", "execution_id")


def standing_fills(account: Account, symbol: str) -> list[ledger.Fill]:
    """Return the fills of a symbol that were not reversed."""
    return [fill.facts for fill in all_standing_fills(account).filter(symbol=symbol)]


def balances(account: Account) -> dict[tuple[Ledger, str], tuple[Decimal, int]]:
    """Return (amount, quantity) by (ledger, symbol), as posted."""
    rows = account.postings.values("ledger", "symbol").annotate(
        amount=Sum("amount_usd"), shares=Sum("quantity")
    )
    return {
        (Ledger(row["ledger"]), row["symbol"]): (row["amount"], int(row["shares"])) for row in rows
    }


def cash(account: Account) -> Decimal:
    """Return the cash balance, USD."""
    return _sum(account.postings.filter(ledger=Ledger.CASH))


def positions(account: Account) -> dict[str, Position]:
    """Return the open positions by symbol; a flat symbol is not among them."""
    return {
        symbol: Position(symbol=symbol, quantity=quantity, cost=cost)
        for (name, symbol), (cost, quantity) in sorted(balances(account).items())
        if name is Ledger.POSITION and quantity
    }


def adopted_shares(account: Account) -> dict[str, int]:
    """Return the signed shares by symbol that no order of ours bought or sold; none is left out."""
    adopted = account.fills.filter(
        entry__kind=JournalEntry.Kind.ADOPTION, entry__reversed_by__isnull=True
    )
    rows = adopted.values("symbol").annotate(shares=Sum("quantity")).order_by("symbol")
    return {row["symbol"]: int(row["shares"]) for row in rows if row["shares"]}


def realized_pnl(account: Account, day: date | None = None) -> Decimal:
    """Return the realized P&L before fees, of one day or of all, USD."""
    return -_sum(_on(account, day).filter(ledger=Ledger.REALIZED))


def fees(account: Account, day: date | None = None) -> Decimal:
    """Return what fees cost, USD."""
    return _sum(_on(account, day).filter(ledger=Ledger.FEES))


def unrealized(account: Account, marks: Mapping[str, Decimal]) -> Decimal:
    """Return Σ quantity × mark − cost over the open positions, USD.

    Raises:
        KeyError: an open position has no mark.
    """
    return sum(
        (held.quantity * marks[symbol] - held.cost for symbol, held in positions(account).items()),
        ZERO,
    )


def equity(account: Account, marks: Mapping[str, Decimal]) -> Decimal:
    """Return cash plus the marked value of the open positions, USD."""
    held = positions(account).values()
    return cash(account) + sum((one.quantity * marks[one.symbol] for one in held), ZERO)


def equity_before(account: Account, day: date) -> Decimal:
    """Return the equity at the start of a day, USD: cash, and open positions at cost."""
    held = account.postings.filter(ledger__in=(Ledger.CASH, Ledger.POSITION))
    return _sum(held.filter(Q(session_date__lt=day) | Q(entry__kind=JournalEntry.Kind.OPENING)))


def changes(account: Account, day: date | None = None) -> list[Change]:
    """Return all that moved the equity at cost, by day; their sum is cash plus cost."""
    moved = _on(account, day).exclude(ledger__in=(Ledger.CASH, Ledger.POSITION))
    moved = moved.exclude(amount_usd=0).order_by("session_date", "entry_id", "pk")
    rows = moved.values_list(
        "session_date", "entry__occurred_ns", "ledger", "symbol", "entry__order_ref",
        "entry__reason", "amount_usd",
    )  # fmt: skip
    return [
        Change(day, at_ns, Ledger(name), symbol, ref, text, -amount)
        for day, at_ns, name, symbol, ref, text, amount in rows
    ]


def day_summary(account: Account, day: date) -> DaySummary:
    """Return what a trading day amounted to."""
    sums: dict[str, Decimal] = defaultdict(lambda: ZERO)
    for row in _on(account, day).values("ledger").annotate(amount=Sum("amount_usd")):
        sums[row["ledger"]] = row["amount"]
    of_day = [fill.facts for fill in all_standing_fills(account).filter(session_date=day)]
    values = [fill.value for fill in of_day if not fill.split]
    return DaySummary(
        day=day,
        realized=-sums[Ledger.REALIZED],
        fees=sums[Ledger.FEES],
        transfers=-sums[Ledger.TRANSFERS],
        income=-sums[Ledger.INCOME],
        suspense=-sums[Ledger.SUSPENSE],
        cash=_sum(account.postings.filter(ledger=Ledger.CASH, session_date__lte=day)),
        fills=len(values),
        bought=from_micros(sum(value for value in values if value > 0)),
        sold=from_micros(-sum(value for value in values if value < 0)),
    )


def round_trips(account: Account, day: date | None = None) -> list[RoundTrip]:
    """Return the trades from flat to flat, oldest first; `day` keeps those that ended on it."""
    by_symbol: dict[str, list[ledger.Fill]] = defaultdict(list)
    for fill in all_standing_fills(account):
        by_symbol[fill.symbol].append(fill.facts)
    trips = [trip for fills in by_symbol.values() for trip in round_trips_of(fills)]
    trips.sort(key=lambda trip: (trip.closed_ns, trip.symbol))
    return [trip for trip in trips if day is None or trip.day == day]


def lots(account: Account, symbol: str) -> tuple[ledger.Lot, ...]:
    """Return the open lots of a symbol, oldest first."""
    return ledger.fifo(standing_fills(account, symbol)).lots


def _on(account: Account, day: date | None) -> QuerySet[Posting]:
    return account.postings.all() if day is None else account.postings.filter(session_date=day)


def _sum(postings: QuerySet[Posting]) -> Decimal:
    return postings.aggregate(total=Sum("amount_usd"))["total"] or ZERO
