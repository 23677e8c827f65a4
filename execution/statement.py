"""What a run's ledger says beside its trades: fees, income, transfers, and what no trade explains.

Trades and these lines together are the ledger: their sum ends where its cash ends, to the cent,
open positions at what they cost.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from accounts import selectors as books
from accounts.domain.ledger import Ledger
from accounts.models import Account
from accounts.selectors import Change
from execution.models import Order, Run, Trade
from signals.session import day_of

ZERO = Decimal(0)
#: How a ledger is called in a line, and the column that it counts in. Transfers and what was taken
#: over from outside are no profit: they move the base.
WORDS: Mapping[Ledger, tuple[str, str]] = {
    Ledger.FEES: ("fee", "fees"),
    Ledger.INCOME: ("income", "income"),
    Ledger.SUSPENSE: ("not understood", "other"),
    Ledger.TRANSFERS: ("transfer", "transfers"),
    Ledger.EXTERNAL: ("from outside", "transfers"),
}


@dataclass(frozen=True, kw_only=True)
class Line:
    """One change of the equity that is no closed trade's, USD; a fee is negative.

    `at_ns` None: of the day as a whole.
    """

    day: date
    at_ns: int | None
    what: str
    column: str  # fees, income, other, transfers
    amount: Decimal
    symbol: str = ""
    text: str = ""


@dataclass(frozen=True, kw_only=True)
class TradeMoney:
    """What the ledger has of one trade: the day of its last sale and its fees (positive)."""

    day: date
    fees: Decimal


class Statement:
    """The changes of a run's equity, laid against its trades."""

    def __init__(self, run_id: str) -> None:
        self.account = Account.objects.filter(run_id=run_id).order_by("-pk").first()
        self.changes = [] if self.account is None else books.changes(self.account)
        named = Order.objects.filter(run_id=run_id).values_list("client_order_id", "trade_id")
        self._trade_of = {name[:64]: trade for name, trade in named}

    @property
    def closed_through(self) -> date | None:
        return None if self.account is None else self.account.closed_through

    def opening(self, first: date | None = None) -> Decimal:
        """Return the equity before a day (None: at the run's beginning)."""
        return sum(
            (
                one.amount
                for one in self.changes
                if one.ledger is Ledger.OPENING or (first is not None and one.day < first)
            ),
            ZERO,
        )

    def of_trades(self) -> dict[int, TradeMoney]:
        """Return the ledger's part of every trade, by its key."""
        days: dict[int, date] = {}
        fees: dict[int, Decimal] = defaultdict(lambda: ZERO)
        for one in self.changes:
            trade = self._trade_of.get(one.order_ref)
            if trade is None:
                continue
            days[trade] = max(one.day, days.get(trade, one.day))
            if one.ledger is Ledger.FEES:
                fees[trade] -= one.amount
        return {trade: TradeMoney(day=day, fees=fees[trade]) for trade, day in days.items()}

    def day_of(self, trade: Trade, of: Mapping[int, TradeMoney]) -> date:
        """Return the day on which the ledger has a trade's result."""
        return of[trade.pk].day if trade.pk in of else day_of(trade.closed_ns or 0)

    def lines(
        self, trades: Mapping[date, tuple[Decimal, Decimal]], first: date | None, last: date | None
    ) -> list[Line]:
        """Return what is no trade's, by day.

        Args: trades: (result before fees, fees) of the closed trades by day.
        """
        wanted = [one for one in self.changes if _within(one.day, first, last)]
        alone = [_line(one) for one in wanted if one.ledger in WORDS and not _of_fill(one)]
        by_day: dict[date, list[Change]] = {d: [] for d in trades if _within(d, first, last)}
        for one in wanted:
            by_day.setdefault(one.day, []).append(one)
        rests = [
            rest
            for day, changes in by_day.items()
            for rest in _rests(day, changes, trades.get(day, (ZERO, ZERO)))
        ]
        return sorted([*alone, *rests], key=lambda line: line.day)


def beside_trades(run: Run) -> Decimal:
    """Return what fees, income and things not understood made of the run's day, USD."""
    account = Account.objects.filter(run_id=run.pk, number=run.account_number).first()
    if account is None or run.day is None:
        return ZERO
    moved = (Ledger.FEES, Ledger.INCOME, Ledger.SUSPENSE)
    return sum((c.amount for c in books.changes(account, run.day) if c.ledger in moved), ZERO)


def _within(day: date, first: date | None, last: date | None) -> bool:
    return (first is None or day >= first) and (last is None or day <= last)


def _of_fill(one: Change) -> bool:
    return one.ledger is Ledger.FEES and bool(one.order_ref)


def _line(one: Change) -> Line:
    what, column = WORDS[one.ledger]
    return Line(day=one.day, at_ns=one.at_ns, what=what, column=column, amount=one.amount,
                symbol=one.symbol, text=one.text)  # fmt: skip


def _rests(day: date, changes: list[Change], trades: tuple[Decimal, Decimal]) -> list[Line]:
    """Return by how much the ledger has more on a day than the trades that closed on it."""
    realized = sum((one.amount for one in changes if one.ledger is Ledger.REALIZED), ZERO)
    fees = sum((one.amount for one in changes if _of_fill(one)), ZERO)
    rests = {"other": realized - trades[0], "fees": fees + trades[1]}
    return [
        Line(day=day, at_ns=None, what="no trade", column=column, amount=amount)
        for column, amount in rests.items()
        if amount
    ]
