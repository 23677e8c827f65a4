"""The newest quote and print per symbol, as the matching core sees them."""

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal

MICRO = Decimal(1_000_000)


def from_micro(micro: int) -> Decimal:
    """Return micro-dollars as USD, exactly."""
    return Decimal(int(micro)) / MICRO


def to_micro(price: Decimal) -> int:
    """Return USD as whole micro-dollars (prices on the wire have at most six decimals)."""
    return int((price * MICRO).to_integral_value())


@dataclass(frozen=True)
class Book:
    """NBBO and last eligible print of one symbol; None where there was none yet.

    `bid` and `ask` come and go together, with 0 < bid < ask: crossed, locked and one-sided quotes
    never get here.
    """

    bid: Decimal | None = None
    ask: Decimal | None = None
    last: Decimal | None = None

    @property
    def quoted(self) -> bool:
        return self.bid is not None

    @property
    def mark(self) -> Decimal | None:
        """Return the price that values a position: the last print, else the midpoint."""
        if self.last is not None:
            return self.last
        if self.bid is None or self.ask is None:
            return None
        return (self.bid + self.ask) / 2

    def contains(self, price: Decimal) -> bool:
        """Say whether a print lies inside the NBBO, or there is no NBBO to lie outside of."""
        return self.bid is None or self.ask is None or self.bid <= price <= self.ask


def is_quote(bid: Decimal, ask: Decimal) -> bool:
    """Say whether a quote counts: both sides there, not locked, not crossed."""
    return bid > 0 and ask > bid


EMPTY = Book()


class Books:
    """Books by symbol. `source`, when given, is asked for symbols not known since `forget`."""

    def __init__(self, source: Callable[[str], Book] | None = None) -> None:
        self._source = source
        self._books: dict[str, Book] = {}

    def get(self, symbol: str) -> Book:
        book = self._books.get(symbol)
        if book is None:
            book = self._books[symbol] = self._source(symbol) if self._source else EMPTY
        return book

    def put(self, symbol: str, book: Book) -> None:
        self._books[symbol] = book

    def forget(self) -> None:
        """Ask the source again from now on: its time has moved."""
        if self._source is not None:
            self._books.clear()
