"""An obvious model of the books: a list of fills, shares matched one by one, `Fraction` money.

It knows nothing of postings, entries or deltas; the ledger must agree with it whatever happens.
"""

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import date
from fractions import Fraction

from hypothesis import strategies as st

from accounts.domain.ledger import Fill
from accounts.domain.money import MICROS_PER_DOLLAR

DAYS = (date(2013, 10, 7), date(2013, 10, 8), date(2013, 10, 9))
DAY_NS = 86_400_000_000_000
SYMBOLS = ("AIG", "BAC")


def a_fill(execution_id: str = "e1", **changes) -> Fill:
    """Build a fill: 10 AIG bought at 44.73 on the first day, unless told otherwise."""
    facts = {
        "symbol": "AIG",
        "quantity": 10,
        "price": 44_730_000,
        "ts_ns": 1,
        "day": DAYS[0],
    }
    return Fill(execution_id=execution_id, **(facts | changes))


@st.composite
def fills(draw: st.DrawFn, execution_id: str) -> Fill:
    """Any fill of a few shares, with collisions of time likely."""
    day = draw(st.sampled_from(range(len(DAYS))))
    return Fill(
        execution_id=execution_id,
        symbol=draw(st.sampled_from(SYMBOLS)),
        quantity=draw(st.integers(1, 6)) * draw(st.sampled_from((1, -1))),
        price=draw(st.integers(1, 60_000_000)),
        ts_ns=day * DAY_NS + draw(st.integers(0, 5)),
        day=DAYS[day],
        fee=draw(st.sampled_from((0, 0, 1, 20_000))),
    )


def fill_lists(max_size: int = 12) -> st.SearchStrategy[list[Fill]]:
    """Lists of fills with ids of their own."""
    return st.integers(0, max_size).flatmap(
        lambda n: st.tuples(*(fills(f"e{i:02d}") for i in range(n))).map(list)
    )


def dollars(micros: int) -> Fraction:
    return Fraction(micros, MICROS_PER_DOLLAR)


@dataclass
class Oracle:
    """What the books must say."""

    standing: dict[str, Fill] = field(default_factory=dict)
    transfers: list[Fraction] = field(default_factory=list)
    other_fees: list[Fraction] = field(default_factory=list)

    def shares(self, symbol: str) -> tuple[list[Fraction], dict[date, Fraction]]:
        """Return the price paid for each open share (all of one side), and realized by day."""
        long: list[Fraction] = []
        short: list[Fraction] = []
        realized: dict[date, Fraction] = defaultdict(Fraction)
        own = [fill for fill in self.standing.values() if fill.symbol == symbol]
        for fill in sorted(own, key=lambda one: (one.ts_ns, one.execution_id)):
            price = dollars(fill.price)
            for _ in range(abs(fill.quantity)):
                if fill.quantity > 0 and short:
                    realized[fill.day] += short.pop(0) - price
                elif fill.quantity > 0:
                    long.append(price)
                elif long:
                    realized[fill.day] += price - long.pop(0)
                else:
                    short.append(price)
        return long or [-price for price in short], realized

    def quantity(self, symbol: str) -> int:
        return sum(fill.quantity for fill in self.standing.values() if fill.symbol == symbol)

    def cost(self, symbol: str) -> Fraction:
        return sum(self.shares(symbol)[0], Fraction(0))

    def realized(self, day: date | None = None) -> Fraction:
        by_day = [self.shares(symbol)[1] for symbol in SYMBOLS]
        return sum((sum(one.values()) if day is None else one[day] for one in by_day), Fraction(0))

    def fees(self) -> Fraction:
        own = sum((dollars(fill.fee) for fill in self.standing.values()), Fraction(0))
        return own + sum(self.other_fees, Fraction(0))

    def cash(self) -> Fraction:
        paid = sum((dollars(fill.value) for fill in self.standing.values()), Fraction(0))
        return sum(self.transfers, Fraction(0)) - paid - self.fees()
