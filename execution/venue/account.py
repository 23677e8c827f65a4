"""The venue's own truth about money: cash, positions, fills. Exact in Decimal."""

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from execution.venue.books import Books
from execution.venue.orders import Side


@dataclass
class Position:
    """Signed shares of one symbol and what they cost (signed, USD)."""

    symbol: str
    quantity: int = 0
    cost: Decimal = Decimal(0)

    @property
    def average_price(self) -> Decimal:
        return self.cost / self.quantity if self.quantity else Decimal(0)

    def apply(self, signed: int, price: Decimal) -> Decimal:
        """Add `signed` shares at `price`; return the realized P&L, USD.

        Shares that reduce the position leave at average cost; what crosses zero opens anew.
        """
        if self.quantity * signed >= 0:
            self.quantity += signed
            self.cost += signed * price
            return Decimal(0)
        closing = max(-abs(self.quantity), min(abs(self.quantity), signed))
        cost_out = self.cost * abs(closing) / abs(self.quantity)
        realized = -closing * price - cost_out
        self.quantity += closing
        self.cost = self.cost - cost_out if self.quantity else Decimal(0)
        self.apply(signed - closing, price)
        return realized


@dataclass(frozen=True, kw_only=True)
class Fill:
    """One execution. `cumulative` and `leaves` are the order's, after it."""

    number: int
    execution_id: str
    order_id: str
    symbol: str
    side: Side
    quantity: int
    price: Decimal
    ts_ns: int
    cumulative: int
    leaves: int
    corrects: str = ""  # the execution that this one replaces


@dataclass(frozen=True, kw_only=True)
class Bust:
    """The exchange broke an execution: it never happened."""

    execution_id: str
    previous: Fill
    ts_ns: int


@dataclass(frozen=True, kw_only=True)
class Split:
    """`before` shares of a symbol became `after`; a fraction of a share is left out."""

    symbol: str
    before: int
    after: int
    ts_ns: int


@dataclass
class Account:
    """One paper account. `multiplier` is the leverage it may use (4 intraday)."""

    number: str
    initial_cash: Decimal
    multiplier: int = 4
    no_shorting: bool = False
    suspended: bool = False  # by the user, over account configurations
    cash: Decimal = field(init=False)
    realized: Decimal = Decimal(0)
    positions: dict[str, Position] = field(default_factory=dict)
    fills: list[Fill] = field(default_factory=list)  # the standing ones
    busts: list[Bust] = field(default_factory=list)
    splits: list[Split] = field(default_factory=list)
    activities: list[dict[str, Any]] = field(default_factory=list)  # dividends, fees, splits …

    def __post_init__(self) -> None:
        self.cash = self.initial_cash

    def quantity(self, symbol: str) -> int:
        position = self.positions.get(symbol)
        return position.quantity if position else 0

    def apply(self, fill: Fill) -> int:
        """Book one fill; return the position after it, signed shares."""
        signed = fill.quantity if fill.side == "buy" else -fill.quantity
        position = self.positions.setdefault(fill.symbol, Position(fill.symbol))
        self.cash -= signed * fill.price
        self.realized += position.apply(signed, fill.price)
        self.fills.append(fill)
        if position.quantity == 0:
            del self.positions[fill.symbol]
        return position.quantity

    def scale(self, split: Split) -> int:
        """Split a position, which costs what it did; return the change, signed shares."""
        position = self.positions.get(split.symbol)
        if position is None:
            return 0
        whole = abs(position.quantity) * split.after // split.before
        change = (whole if position.quantity > 0 else -whole) - position.quantity
        position.quantity += change
        if not position.quantity:
            del self.positions[split.symbol]
        return change

    def take_back(self, fill: Fill) -> None:
        """Undo an execution: the account is what the others make of it."""
        told: list[Fill | Split] = [one for one in self.fills if one is not fill]
        told += self.splits
        self.cash, self.realized = self.initial_cash, Decimal(0)
        self.positions, self.fills = {}, []
        for one in sorted(told, key=lambda one: one.ts_ns):
            if isinstance(one, Split):
                self.scale(one)
            else:
                self.apply(one)

    def value(self, books: Books) -> tuple[Decimal, Decimal]:
        """Return long and short (negative) market value, USD."""
        values = [
            position.quantity * mark_of(position, books) for position in self.positions.values()
        ]
        return (
            sum((value for value in values if value > 0), Decimal(0)),
            sum((value for value in values if value < 0), Decimal(0)),
        )


def mark_of(position: Position, books: Books) -> Decimal:
    """Return the price that values the position: the market's, else what it cost, USD."""
    mark = books.get(position.symbol).mark
    return position.average_price if mark is None else mark
