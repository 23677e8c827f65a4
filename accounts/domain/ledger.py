"""The double-entry ledger, pure: fills and cash in, balanced postings out.

Debits are positive, credits negative; amounts are integer micro-dollars, quantities whole shares
of either sign. A position stands at cost. An entry is *the difference between two states of the
books*, before and after the event, so a late, duplicated or busted fill needs no special case: in
whatever order the fills arrive, the postings add up to the same state.

Lots are matched first in, first out by (ts_ns, execution id), the broker's order, not arrival.
With whole shares and micro-dollar prices every amount is exact. A split spreads a lot's cost over
another number of shares; a lot keeps the whole of it, so what one sale rounds the next one has.
"""

from collections import defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import NamedTuple


class Ledger(StrEnum):
    """The accounts of the books."""

    CASH = "cash"
    POSITION = "position"  # one per symbol, at cost
    REALIZED = "realized_pnl"  # a gain is a credit
    FEES = "fees"
    OPENING = "equity_opening"
    TRANSFERS = "transfers"  # money moved in or out by the owner
    INCOME = "income"  # dividends and interest
    EXTERNAL = "external_adjust"  # positions and cash that came from outside our orders
    SUSPENSE = "suspense"  # not understood yet: never dropped, always flagged


class UnbalancedEntry(ValueError):
    """The postings do not sum to zero, or one of them is empty."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fill:
    """One execution. Quantity is signed (a buy is positive), price and fee in micro-dollars.

    `source` is what stands against it: CASH for a trade, EXTERNAL for a position adopted from
    outside. `day` is the trading day its profit or loss belongs to. A `split` brings (or takes)
    shares for no money, which are spread over the lots that are open at its time.
    """

    execution_id: str
    symbol: str
    quantity: int
    price: int
    ts_ns: int
    day: date
    fee: int = 0
    source: Ledger = Ledger.CASH
    split: bool = False

    def __post_init__(self) -> None:
        priced = self.price > 0 and self.fee >= 0
        free = self.price == 0 and self.fee == 0 and self.source is Ledger.EXTERNAL
        if self.quantity == 0 or not self.symbol or not (free if self.split else priced):
            raise ValueError(f"not a fill: {self}")

    @property
    def value(self) -> int:
        """Signed trade value: what it adds to the position, and takes from the cash."""
        return self.quantity * self.price


@dataclass(slots=True)
class Lot:
    """Open shares of one fill and what they cost together (both negative when short)."""

    quantity: int
    cost: int
    execution_id: str
    gone: int = 0  # shares closed since it was opened or last split, and what they took along
    gone_cost: int = 0

    def close(self, shares: int) -> int:
        """Take out shares (signed as the lot's) and return their part of the cost.

        The running total is rounded down, so that sales of one share each take what a sale of all
        takes, and the last one takes what is left.
        """
        self.gone += shares
        gone_cost = (self.cost + self.gone_cost) * self.gone // (self.quantity + self.gone - shares)
        part = gone_cost - self.gone_cost
        self.gone_cost = gone_cost
        self.quantity -= shares
        self.cost -= part
        return part


class Match(NamedTuple):
    """Shares of an earlier fill closed by a later one; quantity carries the opener's sign."""

    symbol: str
    quantity: int
    opened_by: str
    closed_by: str
    day: date
    realized: int


class Posting(NamedTuple):
    ledger: Ledger
    symbol: str
    amount: int
    quantity: int
    day: date


class Matched(NamedTuple):
    lots: tuple[Lot, ...]
    matches: tuple[Match, ...]


def fifo(fills: Iterable[Fill]) -> Matched:
    """Match one symbol's fills first in, first out by (ts_ns, execution id).

    Lots that stay open are oldest first and all of one sign. A split closes nothing, unless there
    is nothing to spread its shares over (what it split was taken back since): then it is a fill at
    no price.
    """
    lots: deque[Lot] = deque()
    matches: list[Match] = []
    for fill in sorted(fills, key=lambda fill: (fill.ts_ns, fill.execution_id)):
        if fill.split and _spread(lots, fill.quantity):
            continue
        matches += _close(lots, fill)
    return Matched(tuple(lots), tuple(matches))


def _close(lots: deque[Lot], fill: Fill) -> list[Match]:
    """Close the oldest lots of the other sign; what is left of the fill opens one."""
    matches: list[Match] = []
    rest = fill.quantity
    while rest and lots and (lots[0].quantity > 0) != (rest > 0):
        lot = lots[0]
        closed = min(abs(lot.quantity), abs(rest)) * (1 if lot.quantity > 0 else -1)
        realized = closed * fill.price - lot.close(closed)
        matches.append(
            Match(fill.symbol, closed, lot.execution_id, fill.execution_id, fill.day, realized)
        )
        rest += closed
        if not lot.quantity:
            lots.popleft()
    if rest:
        lots.append(Lot(rest, rest * fill.price, fill.execution_id))
    return matches


def _spread(lots: deque[Lot], shares: int) -> bool:
    """Scale open lots so that together they have `shares` more; False when that cannot be.

    The running total of the lots is rounded, not each lot, so that the sum is exact; a lot that is
    left without a share hands its cost to the next one. The newest one keeps at least a share.
    """
    before = sum(lot.quantity for lot in lots)
    after = before + shares
    if before * after <= 0:
        return False
    sign = 1 if after > 0 else -1
    passed = done = cost = 0
    kept: list[Lot] = []
    for lot in lots:
        passed += lot.quantity
        cost += lot.cost
        quantity = sign * (passed * after // abs(before)) - done
        if quantity:
            kept.append(Lot(quantity, cost, lot.execution_id))
            done, cost = done + quantity, 0
    lots.clear()
    lots.extend(kept)
    return True


def realized_by_day(fills: Iterable[Fill]) -> dict[date, int]:
    """Return the realized P&L of one symbol by the day of the closing fill."""
    totals: dict[date, int] = defaultdict(int)
    for match in fifo(fills).matches:
        totals[match.day] += match.realized
    return dict(totals)


def fill_postings(fill: Fill, others: Sequence[Fill], *, booked: date) -> list[Posting]:
    """Return the postings that add `fill` to books which already hold `others` of its symbol.

    Args:
        others: every standing fill of the same symbol, in any order.
        booked: the open day the books carry it on; normally `fill.day`. Profit or loss that it
            shifts on other days is posted there as well when they come after `booked`.
    Returns: postings that sum to zero, on every day by itself.
    """
    before, after = realized_by_day(others), realized_by_day([*others, fill])
    return _postings(fill, 1, _difference(before, after), booked)


def reversal_postings(fill: Fill, others: Sequence[Fill], *, booked: date) -> list[Posting]:
    """Return the postings that take `fill` out of books which keep `others` of its symbol."""
    before, after = realized_by_day([*others, fill]), realized_by_day(others)
    return _postings(fill, -1, _difference(before, after), booked)


def transfer_postings(amount: int, against: Ledger, *, booked: date) -> list[Posting]:
    """Return the postings of cash that comes in (positive) or goes out, against a named account."""
    return balanced(
        [
            Posting(Ledger.CASH, "", amount, 0, booked),
            Posting(against, "", -amount, 0, booked),
        ]
    )


def balanced(postings: Sequence[Posting]) -> list[Posting]:
    """Return the postings, or refuse them.

    Raises:
        UnbalancedEntry: fewer than two, an empty one, or a day whose sum is not zero.
    """
    sums: dict[date, int] = defaultdict(int)
    for posting in postings:
        if not posting.amount and not posting.quantity:
            raise UnbalancedEntry(f"an empty posting: {posting}")
        sums[posting.day] += posting.amount
    if len(postings) < 2 or any(sums.values()):
        raise UnbalancedEntry(f"postings do not balance: {list(postings)}")
    return list(postings)


def _difference(before: Mapping[date, int], after: Mapping[date, int]) -> dict[date, int]:
    shifts = {day: after.get(day, 0) - before.get(day, 0) for day in before.keys() | after.keys()}
    return {day: shift for day, shift in sorted(shifts.items()) if shift}


def _postings(fill: Fill, sign: int, shifts: Mapping[date, int], booked: date) -> list[Posting]:
    """Move value and fee on the booking day, and each day's realized P&L on its own day.

    A shift on a day before `booked` is dated `booked`: what was reported for it stands.
    """
    realized: dict[date, int] = defaultdict(int)
    for day, shift in shifts.items():
        realized[max(day, booked)] += shift
    value, fee = sign * fill.value, sign * fill.fee
    rows = [
        _source(fill, sign, booked),
        Posting(
            Ledger.POSITION,
            fill.symbol,
            value + realized.get(booked, 0),
            sign * fill.quantity,
            booked,
        ),
        Posting(Ledger.REALIZED, fill.symbol, -realized.pop(booked, 0), 0, booked),
        Posting(Ledger.CASH, "", -fee, 0, booked),
        Posting(Ledger.FEES, fill.symbol, fee, 0, booked),
    ]
    for day, shift in realized.items():
        rows.append(Posting(Ledger.POSITION, fill.symbol, shift, 0, day))
        rows.append(Posting(Ledger.REALIZED, fill.symbol, -shift, 0, day))
    return balanced([row for row in rows if row.amount or row.quantity])


def _source(fill: Fill, sign: int, booked: date) -> Posting:
    """Return the leg of where it came from: money, or for a split the shares alone."""
    if fill.split:
        return Posting(fill.source, fill.symbol, 0, -sign * fill.quantity, booked)
    return Posting(fill.source, "", -sign * fill.value, 0, booked)


Balances = dict[tuple[Ledger, str], tuple[int, int]]


def rebuilt(fills: Iterable[Fill], transfers: Iterable[tuple[Ledger, int]]) -> Balances:
    """Return (amount, quantity) by (ledger, symbol) from the facts alone, without any postings.

    Args:
        fills: the standing ones, any symbols and order; transfers: (against, cash amount).
    Returns: only what is not zero; equal to the sums of the postings, or the books are wrong.
    """
    totals: dict[tuple[Ledger, str], list[int]] = defaultdict(lambda: [0, 0])
    by_symbol: dict[str, list[Fill]] = defaultdict(list)
    for against, amount in transfers:
        totals[Ledger.CASH, ""][0] += amount
        totals[against, ""][0] -= amount
    for fill in fills:
        by_symbol[fill.symbol].append(fill)
        source = _source(fill, 1, fill.day)
        totals[source.ledger, source.symbol][0] += source.amount
        totals[source.ledger, source.symbol][1] += source.quantity
        totals[Ledger.CASH, ""][0] -= fill.fee
        totals[Ledger.FEES, fill.symbol][0] += fill.fee
    for symbol, own in by_symbol.items():
        matched = fifo(own)
        totals[Ledger.POSITION, symbol][0] += sum(lot.cost for lot in matched.lots)
        totals[Ledger.POSITION, symbol][1] += sum(lot.quantity for lot in matched.lots)
        totals[Ledger.REALIZED, symbol][0] -= sum(match.realized for match in matched.matches)
    return {key: (sums[0], sums[1]) for key, sums in totals.items() if any(sums)}
