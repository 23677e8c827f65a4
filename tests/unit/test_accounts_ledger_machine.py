"""The state machine over the pure ledger: hundreds of hard lives in a second."""

from collections import defaultdict
from datetime import date, timedelta

from hypothesis import settings

from accounts.domain import ledger
from accounts.domain.ledger import Balances, Fill, Ledger, Posting
from tests.unit.books import DAYS
from tests.unit.ledger_machine import LedgerMachine

AGAINST = {
    "opening": Ledger.OPENING,
    "transfer": Ledger.TRANSFERS,
    "income": Ledger.INCOME,
    "fee": Ledger.FEES,
}


class MemoryBooks:
    """The least that makes books of the pure functions: a dict of entries by source key."""

    def __init__(self) -> None:
        self.entries: dict[str, list[Posting]] = {}
        self.fills: dict[str, Fill] = {}
        self.transfers: list[tuple[Ledger, int]] = []
        self.closed: date | None = None

    def record_fill(self, fill: Fill) -> None:
        if f"fill:{fill.execution_id}" in self.entries:
            return
        booked = self._booked(fill.day)
        self.entries[f"fill:{fill.execution_id}"] = ledger.fill_postings(
            fill, self._others(fill), booked=booked
        )
        self.fills[fill.execution_id] = fill

    def bust(self, execution_id: str) -> None:
        fill = self.fills.pop(execution_id, None)
        if fill is not None:
            booked = max(leg.day for leg in self.entries[f"fill:{execution_id}"][:1])
            self.entries[f"reverse:{execution_id}"] = ledger.reversal_postings(
                fill, self._others(fill), booked=self._booked(booked)
            )

    def record_cash(self, source_id: str, kind: str, amount: int) -> None:
        if f"cash:{source_id}" not in self.entries:
            booked = self._booked(DAYS[0])
            legs = ledger.transfer_postings(amount, AGAINST[kind], booked=booked)
            self.entries[f"cash:{source_id}"] = legs
            self.transfers.append((AGAINST[kind], amount))

    def close_day(self, day: date) -> bool:
        if any(leg.day > day for leg in self._legs()) or (self.closed and day <= self.closed):
            return False
        self.closed = day
        return True

    def crash(self) -> None:
        """Nothing to lose: the facts alone must give the same books."""
        assert ledger.rebuilt(self.fills.values(), self.transfers) == self.balances()

    def balances(self) -> Balances:
        totals: dict[tuple[Ledger, str], list[int]] = defaultdict(lambda: [0, 0])
        for leg in self._legs():
            totals[leg.ledger, leg.symbol][0] += leg.amount
            totals[leg.ledger, leg.symbol][1] += leg.quantity
        return {key: (sums[0], sums[1]) for key, sums in totals.items() if any(sums)}

    def realized_on(self, day: date) -> int:
        legs = self._legs()
        return -sum(leg.amount for leg in legs if (leg.ledger, leg.day) == (Ledger.REALIZED, day))

    def violations(self) -> list[str]:
        for legs in self.entries.values():
            ledger.balanced(legs)
        return []

    def _legs(self) -> list[Posting]:
        return [leg for legs in self.entries.values() for leg in legs]

    def _others(self, fill: Fill) -> list[Fill]:
        return [one for one in self.fills.values() if one.symbol == fill.symbol and one != fill]

    def _booked(self, day: date) -> date:
        return day if self.closed is None or day > self.closed else self.closed + timedelta(days=1)


class PureLedgerMachine(LedgerMachine):
    def open_books(self) -> MemoryBooks:
        return MemoryBooks()


TestPureLedger = PureLedgerMachine.TestCase
TestPureLedger.settings = settings(stateful_step_count=30)
