"""A state machine that treats books badly: duplicates, late and swapped fills, busts, corrections,
splits, closed days, crashes. The same rules drive the pure ledger and the database.
"""

from datetime import date
from decimal import Decimal
from fractions import Fraction
from typing import Protocol

from hypothesis import assume
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, multiple, rule

from accounts.domain.ledger import Balances, Fill, Ledger
from tests.unit.books import DAY_NS, DAYS, SYMBOLS, Oracle, a_split, dollars, fills, splits

OPENING = 100_000_000_000  # micro-dollars
MARKS = {"AIG": 44_870_000, "BAC": 13_990_001}


class BooksUnderTest(Protocol):
    """What the machine drives; each call may be repeated without effect."""

    def record_fill(self, fill: Fill) -> None: ...
    def bust(self, execution_id: str) -> None: ...
    def record_cash(self, source_id: str, kind: str, amount: int) -> None: ...
    def close_day(self, day: date) -> bool: ...
    def crash(self) -> None: ...
    def balances(self) -> Balances: ...
    def realized_on(self, day: date) -> int: ...
    def violations(self) -> list[str]: ...


class LedgerMachine(RuleBasedStateMachine):
    """Compares books with the oracle after every step. Subclasses say which books."""

    recorded = Bundle("recorded")
    oracle: Oracle
    books: BooksUnderTest

    def open_books(self) -> BooksUnderTest:
        raise NotImplementedError

    @initialize()
    def start(self) -> None:
        self.books = self.open_books()
        self.oracle = Oracle()
        self.count = 0
        self.reported: dict[date, Fraction] = {}
        self.books.record_cash("opening", "opening", OPENING)
        self.oracle.transfers.append(dollars(OPENING))

    @rule(target=recorded, data=st.data())
    def fill(self, data: st.DataObject) -> Fill:
        """A new execution, in or out of order, on any day."""
        self.count += 1
        fill = data.draw(fills(f"e{self.count:03d}"))
        self._take(fill)
        return fill

    @rule(target=recorded, data=st.data())
    def swapped_fills(self, data: st.DataObject):
        """Two executions that arrive the wrong way round."""
        self.count += 2
        later = data.draw(fills(f"e{self.count:03d}"))
        earlier = data.draw(fills(f"e{self.count - 1:03d}"))
        self._take(later)
        self._take(earlier)
        return multiple(later, earlier)

    @rule(target=recorded, symbol=st.sampled_from(SYMBOLS), day=st.sampled_from(range(len(DAYS))))
    def split_two_for_one(self, symbol: str, day: int) -> Fill:
        """What is held by now doubles; executions that come later may be older than the split."""
        held = self.oracle.quantity(symbol)
        assume(held)
        self.count += 1
        split = a_split(
            f"split:{self.count:03d}",
            symbol=symbol,
            quantity=held,
            ts_ns=day * DAY_NS + 6,
            day=DAYS[day],
        )
        self._take(split)
        return split

    @rule(target=recorded, data=st.data())
    def split(self, data: st.DataObject) -> Fill:
        """Any other split, in or out of order, also one that nothing is left of."""
        self.count += 1
        split = data.draw(splits(f"split:{self.count:03d}"))
        self._take(split)
        return split

    @rule(fill=recorded)
    def duplicate(self, fill: Fill) -> None:
        """The same execution again, also after its bust."""
        self.books.record_fill(fill)

    @rule(fill=recorded)
    def bust(self, fill: Fill) -> None:
        """The venue takes an execution back, perhaps twice."""
        self.books.bust(fill.execution_id)
        self.oracle.standing.pop(fill.execution_id, None)

    @rule(target=recorded, fill=recorded, data=st.data())
    def correct(self, fill: Fill, data: st.DataObject) -> Fill:
        """The venue replaces an execution by another."""
        assume(fill.execution_id in self.oracle.standing)
        self.bust(fill)
        return self.fill(data)

    @rule(kind=st.sampled_from(("transfer", "income")), amount=st.integers(-(10**9), 10**9))
    def cash_moves(self, kind: str, amount: int) -> None:
        assume(amount)
        self._cash(kind, amount)
        self.oracle.transfers.append(dollars(amount))

    @rule(amount=st.integers(1, 10**7))
    def fee(self, amount: int) -> None:
        self._cash("fee", -amount)
        self.oracle.other_fees.append(dollars(amount))

    @rule(day=st.sampled_from(DAYS))
    def day_roll(self, day: date) -> None:
        """Close a day; books may refuse when a later one has postings."""
        if self.books.close_day(day):
            for closed in (one for one in DAYS if one <= day):
                self.reported[closed] = dollars(self.books.realized_on(closed))

    @rule()
    def crash_and_rebuild(self) -> None:
        self.books.crash()

    @invariant()
    def agrees_with_the_oracle(self) -> None:
        totals = self.books.balances()
        for symbol in SYMBOLS:
            cost, quantity = totals.get((Ledger.POSITION, symbol), (0, 0))
            assert quantity == self.oracle.quantity(symbol)
            assert dollars(cost) == self.oracle.cost(symbol)
        assert dollars(self._total(Ledger.CASH)) == self.oracle.cash()
        assert dollars(-self._total(Ledger.REALIZED)) == self.oracle.realized()
        assert dollars(self._total(Ledger.FEES)) == self.oracle.fees()
        assert sum(amount for amount, _ in totals.values()) == 0

    @invariant()
    def equity_is_conserved(self) -> None:
        totals = self.books.balances()
        held = {symbol: totals.get((Ledger.POSITION, symbol), (0, 0)) for symbol in SYMBOLS}
        value = sum(quantity * MARKS[symbol] for symbol, (_, quantity) in held.items())
        unrealized = value - sum(cost for cost, _ in held.values())
        put_in = sum(self.oracle.transfers, Fraction(0))
        assert put_in + dollars(-self._total(Ledger.REALIZED) + unrealized) - dollars(
            self._total(Ledger.FEES)
        ) == dollars(self._total(Ledger.CASH) + value)

    @invariant()
    def days_say_what_they_said(self) -> None:
        """A closed day never changes; while none is closed, each day equals the oracle's."""
        for day, was in self.reported.items():
            assert dollars(self.books.realized_on(day)) == was
        if not self.reported:
            for day in DAYS:
                assert dollars(self.books.realized_on(day)) == self.oracle.realized(day)

    @invariant()
    def nothing_is_violated(self) -> None:
        assert self.books.violations() == []

    def _take(self, fill: Fill) -> None:
        self.books.record_fill(fill)
        self.oracle.standing[fill.execution_id] = fill

    def _cash(self, kind: str, amount: int) -> None:
        self.count += 1
        for _ in range(2):  # every cash movement is delivered twice
            self.books.record_cash(f"c{self.count}", kind, amount)

    def _total(self, name: Ledger) -> int:
        return sum(amount for (one, _), (amount, _) in self.books.balances().items() if one is name)


def as_decimal(micros: int) -> Decimal:
    return Decimal(micros).scaleb(-6)
