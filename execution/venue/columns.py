"""One tape block as arrays: what each message is, when it came, and each symbol's market in it."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from execution.venue.books import EMPTY, Book, from_micro
from relay import frames
from relay.tape import Block
from shards import conditions

Market = tuple[int, int, int]  # bid, ask, last eligible print: micro-dollars, 0 = none yet
NOTHING: Market = (0, 0, 0)
MAX_PRICE = 1e9  # USD; beyond it a price is damage, and micro-dollars would not fit


@dataclass(frozen=True)
class Track:
    """One symbol's rows of a block, oldest first, with the market as of each (forward filled)."""

    rows: np.ndarray  # positions in the block
    quotes: np.ndarray  # bool: a quote that counts
    prints: np.ndarray  # eligible print price, micro-dollars, 0 = none
    bid: np.ndarray  # micro-dollars, 0 = no quote yet
    ask: np.ndarray
    last: np.ndarray


class Columns:
    """A block, decoded once. `market` is every symbol's state before it and is moved past it."""

    def __init__(self, block: Block, market: dict[str, Market], not_before_ns: int = 0) -> None:
        block = block.packed()
        self.data = block.data
        self.spans = frames.scan(block.data)
        of_frame = np.searchsorted(block.starts, self.spans["start"], side="right") - 1
        received = np.maximum.accumulate(np.asarray(block.recv_ns, np.int64)[of_frame])
        self.recv_ns = np.maximum(received, not_before_ns)
        self._symbols()
        self._prices()
        self.before = {symbol: market.get(symbol, NOTHING) for symbol in self.symbols}
        self._move(market)
        self._tracks: dict[str, Track] = {}

    def __len__(self) -> int:
        return len(self.spans)

    def _symbols(self) -> None:
        """Number the symbols of the block; `code[row]` is the row's number in `symbols`."""
        words = np.stack([self.spans["key"], self.spans["key2"]], axis=1)
        if not words[:, 1].any():
            keys, code = np.unique(words[:, 0], return_inverse=True)
            pairs = [(int(key), 0) for key in keys]
        else:
            rows, code = np.unique(words, axis=0, return_inverse=True)
            pairs = [(int(key), int(key2)) for key, key2 in rows]
        self.symbols = [frames.key_symbol(*pair) for pair in pairs]
        self.code = code.reshape(-1)

    def _prices(self) -> None:
        size = len(self.spans)
        self._bid, self._ask, self._print = (np.zeros(size, np.int64) for _ in range(3))
        kind = self.spans["kind"]
        at = np.flatnonzero(kind == frames.QUOTE)
        if at.size:
            rows = frames.quotes(self.data, self.spans)
            bid, ask = _micro(rows["bid"]), _micro(rows["ask"])
            counts = (bid > 0) & (ask > bid)
            self._bid[at[counts]], self._ask[at[counts]] = bid[counts], ask[counts]
        at = np.flatnonzero(kind == frames.TRADE)
        if at.size:
            rows = frames.trades(self.data, self.spans)
            flags = conditions.eligibility(rows["tape"], rows["conditions"])
            sets_price = (flags & (conditions.PRICE | conditions.SOLD_LAST)) == conditions.PRICE
            price = _micro(rows["price"])
            counts = sets_price & (price > 0) & (rows["size"] > 0)
            self._print[at[counts]] = price[counts]

    def _move(self, market: dict[str, Market]) -> None:
        """Leave in `market` each symbol's state after the block."""
        last_quote, last_print = (np.full(len(self.symbols), -1) for _ in range(2))
        at = np.flatnonzero(self._bid)
        last_quote[self.code[at]] = at  # the last assignment of an index stays
        at = np.flatnonzero(self._print)
        last_print[self.code[at]] = at
        for index in np.flatnonzero((last_quote >= 0) | (last_print >= 0)):
            symbol = self.symbols[index]
            bid, ask, last = market.get(symbol, NOTHING)
            if (row := last_quote[index]) >= 0:
                bid, ask = int(self._bid[row]), int(self._ask[row])
            if (row := last_print[index]) >= 0:
                last = int(self._print[row])
            market[symbol] = (bid, ask, last)

    @cached_property
    def _by_symbol(self) -> tuple[np.ndarray, np.ndarray]:
        order = np.argsort(self.code, kind="stable")
        return order, np.searchsorted(self.code[order], np.arange(len(self.symbols) + 1))

    def track(self, symbol: str) -> Track | None:
        """Return the symbol's rows, or None when the block has none."""
        if symbol not in self.before:
            return None
        if symbol not in self._tracks:
            self._tracks[symbol] = self._track(symbol)
        return self._tracks[symbol]

    def _track(self, symbol: str) -> Track:
        order, bounds = self._by_symbol
        index = self.symbols.index(symbol)
        rows = order[bounds[index] : bounds[index + 1]]
        bid, ask, last = self.before[symbol]
        bids, prints = self._bid[rows], self._print[rows]
        quotes = bids > 0
        return Track(
            rows=rows,
            quotes=quotes,
            prints=prints,
            bid=_filled(bids, quotes, bid),
            ask=_filled(self._ask[rows], quotes, ask),
            last=_filled(prints, prints > 0, last),
        )

    def is_quote(self, row: int) -> bool:
        """Say whether the row is a quote that counts."""
        return bool(self._bid[row] > 0)

    def book_before(self, symbol: str, row: int) -> Book:
        """Return the symbol's book as of all rows before `row`; the block must hold the symbol."""
        track = self.track(symbol)
        if track is None:
            raise KeyError(symbol)
        at = int(np.searchsorted(track.rows, row)) - 1
        if at < 0:
            return book_of(self.before[symbol])
        return book_of((int(track.bid[at]), int(track.ask[at]), int(track.last[at])))


def _micro(price: np.ndarray) -> np.ndarray:
    """Return USD as micro-dollars, 0 for what is no price."""
    sane = np.where((price > 0) & (price < MAX_PRICE), price, 0.0)  # NaN compares false
    return np.rint(sane * 1e6).astype(np.int64)


def _filled(values: np.ndarray, valid: np.ndarray, before: int) -> np.ndarray:
    """Return the newest valid value at each place, `before` where there was none."""
    newest = np.maximum.accumulate(np.where(valid, np.arange(values.size), -1))
    return np.where(newest >= 0, values[newest], before)


def book_of(market: Market) -> Book:
    """Return one symbol's state in Decimal."""
    bid, ask, last = market
    if not bid and not last:
        return EMPTY
    return Book(
        from_micro(bid) if bid else None,
        from_micro(ask) if bid else None,
        from_micro(last) if last else None,
    )
