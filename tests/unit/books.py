"""An obvious model of the books: a list of fills, shares matched one by one, `Fraction` money.

It knows nothing of postings, entries or deltas; the ledger must agree with it whatever happens.
Every share has a cost of its own in whole micro-dollars, also after a split.
"""

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import date
from fractions import Fraction
from typing import NamedTuple

from hypothesis import strategies as st

from accounts.domain.ledger import Fill, Ledger
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


def a_split(execution_id: str = "split:s1", **changes) -> Fill:
    """Build a split that brings 10 shares, unless told otherwise."""
    facts = {"price": 0, "source": Ledger.EXTERNAL, "split": True}
    return a_fill(execution_id, **(facts | changes))


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


@st.composite
def splits(draw: st.DrawFn, execution_id: str) -> Fill:
    """Any split, to more shares or to fewer, perhaps of a position that is not there."""
    day = draw(st.sampled_from(range(len(DAYS))))
    return a_split(
        execution_id,
        symbol=draw(st.sampled_from(SYMBOLS)),
        quantity=draw(st.integers(1, 12)) * draw(st.sampled_from((1, -1))),
        ts_ns=day * DAY_NS + draw(st.integers(0, 5)),
        day=DAYS[day],
    )


def fill_lists(max_size: int = 12) -> st.SearchStrategy[list[Fill]]:
    """Lists of fills, splits among them, with ids of their own."""

    def one(i: int) -> st.SearchStrategy[Fill]:
        return st.one_of(fills(f"e{i:02d}"), fills(f"e{i:02d}"), splits(f"split:{i:02d}"))

    return st.integers(0, max_size).flatmap(lambda n: st.tuples(*map(one, range(n))).map(list))


def dollars(micros: int) -> Fraction:
    return Fraction(micros, MICROS_PER_DOLLAR)


class Share(NamedTuple):
    """One open share: the lot it belongs to, and its cost in micro-dollars."""

    lot: str
    cost: int


def spread(held: list[Share], after: int) -> list[Share]:
    """Return `after` shares for the ones there were: share j stands for the old one under it."""
    lots = [held[-(-j * len(held) // after) - 1].lot for j in range(1, after + 1)]
    made: list[Share] = []
    cost = 0
    for lot in dict.fromkeys(share.lot for share in held):
        cost += sum(share.cost for share in held if share.lot == lot)
        n = lots.count(lot)
        made += [Share(lot, cost * j // n - cost * (j - 1) // n) for j in range(1, n + 1)]
        cost = 0 if n else cost  # a lot without a share: its cost is the next one's
    return made


@dataclass
class Oracle:
    """What the books must say."""

    standing: dict[str, Fill] = field(default_factory=dict)
    transfers: list[Fraction] = field(default_factory=list)
    other_fees: list[Fraction] = field(default_factory=list)

    def shares(self, symbol: str) -> tuple[list[Fraction], dict[date, Fraction]]:
        """Return the cost of each open share (negative when short), and realized by day."""
        held: list[Share] = []
        side = 1
        realized: dict[date, Fraction] = defaultdict(Fraction)
        own = [fill for fill in self.standing.values() if fill.symbol == symbol]
        for fill in sorted(own, key=lambda one: (one.ts_ns, one.execution_id)):
            after = len(held) + side * fill.quantity
            if fill.split and held and after > 0:
                held = spread(held, after)
                continue
            sign = 1 if fill.quantity > 0 else -1
            for _ in range(abs(fill.quantity)):
                if held and side != sign:
                    realized[fill.day] += dollars(side * fill.price - held.pop(0).cost)
                else:
                    side = sign
                    held.append(Share(fill.execution_id, side * fill.price))
        return [dollars(share.cost) for share in held], realized

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
