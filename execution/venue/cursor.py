"""A position on a tape, and the search for the next message that moves a working order.

The search runs on whole arrays and must agree with giving the engine every message; the tests
compare the two.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from execution.venue.books import Book, to_micro
from execution.venue.columns import NOTHING, Columns, Market, Track, book_of
from execution.venue.engine import VenueEngine
from execution.venue.matching import Trigger
from relay.tape import Block


@dataclass(frozen=True)
class Piece:
    """Rows `[first, stop)` of a block that the cursor has passed and clients have not seen."""

    columns: Columns
    first: int
    stop: int

    @property
    def spans(self) -> np.ndarray:
        return self.columns.spans[self.first : self.stop]


@dataclass(frozen=True)
class Hit:
    """A message that may move a working order."""

    depth: int  # which of the loaded blocks
    row: int
    symbol: str
    recv_ns: int


class TapeCursor:
    """Walks a tape once, in order of receive times, at most a few blocks in memory."""

    def __init__(self, blocks: Iterable[Block]) -> None:
        self._blocks: Iterator[Block] = iter(blocks)
        self._loaded: deque[Columns] = deque()
        self._row = 0  # in the first loaded block; rows before it are passed
        self._market: dict[str, Market] = {}  # after the last loaded block
        self._passed: list[Piece] = []
        self.last_ns = 0  # receive time of the newest message loaded

    def next_ns(self) -> int | None:
        """Return the receive time of the next message, None at the end of the tape."""
        while self._loaded and self._row >= len(self._loaded[0]):
            self._loaded.popleft()
            self._row = 0
        if not self._loaded and not self._load():
            return None
        return int(self._loaded[0].recv_ns[self._row])

    def first_hit(self, triggers: Mapping[str, Sequence[Trigger]], until_ns: int) -> Hit | None:
        """Return the first message, received by `until_ns`, that satisfies a trigger."""
        if not triggers or (next_ns := self.next_ns()) is None or next_ns > until_ns:
            return None
        depth = 0
        while True:
            columns = self._loaded[depth]
            stop = int(np.searchsorted(columns.recv_ns, until_ns, side="right"))
            found = _first_row(columns, triggers, self._row if depth == 0 else 0, stop)
            if found is not None:
                row, symbol = found
                return Hit(depth, row, symbol, int(columns.recv_ns[row]))
            depth += 1
            if stop < len(columns) or (depth == len(self._loaded) and not self._load()):
                return None

    def apply(self, hit: Hit, engine: VenueEngine) -> None:
        """Move just past the hit and give that message to the engine."""
        columns = self._loaded[hit.depth]
        book, is_quote = columns.book_before(hit.symbol, hit.row + 1), columns.is_quote(hit.row)
        self._pass(hit.depth, hit.row + 1)
        engine.books.forget()
        if is_quote and book.bid is not None and book.ask is not None:
            engine.on_quote(hit.symbol, book.bid, book.ask, hit.recv_ns)
        elif book.last is not None:
            engine.on_trade(hit.symbol, book.last, 1, True, hit.recv_ns)

    def pass_until(self, ts_ns: int) -> None:
        """Move past every message received up to and including `ts_ns`."""
        while (next_ns := self.next_ns()) is not None and next_ns <= ts_ns:
            columns = self._loaded[0]
            self._pass(0, int(np.searchsorted(columns.recv_ns, ts_ns, side="right")))

    def take_passed(self) -> list[Piece]:
        """Return what was passed since the last call, in tape order."""
        taken, self._passed = self._passed, []
        return taken

    def book(self, symbol: str) -> Book:
        """Return the symbol's book as of everything passed."""
        for depth, columns in enumerate(self._loaded):
            if symbol in columns.before:
                return columns.book_before(symbol, self._row if depth == 0 else 0)
        return book_of(self._market.get(symbol, NOTHING))

    def _load(self) -> bool:
        for block in self._blocks:
            columns = Columns(block, self._market, self.last_ns)
            if len(columns):
                self.last_ns = int(columns.recv_ns[-1])
                self._loaded.append(columns)
                return True
        return False

    def _pass(self, depth: int, row: int) -> None:
        for _ in range(depth):
            columns = self._loaded.popleft()
            self._keep(columns, self._row, len(columns))
            self._row = 0
        self._keep(self._loaded[0], self._row, row)
        self._row = max(row, self._row)

    def _keep(self, columns: Columns, first: int, stop: int) -> None:
        if first < stop:
            self._passed.append(Piece(columns, first, stop))


def _first_row(
    columns: Columns, triggers: Mapping[str, Sequence[Trigger]], first: int, stop: int
) -> tuple[int, str] | None:
    """Return the first row in `[first, stop)` that satisfies a trigger, and its symbol."""
    best: tuple[int, str] | None = None
    for symbol, wanted in triggers.items():
        track = columns.track(symbol)
        if track is None:
            continue
        start, end = np.searchsorted(track.rows, (first, stop))
        if start == end:
            continue
        satisfied = np.zeros(end - start, np.bool_)
        for trigger in wanted:
            satisfied |= _satisfied(track, slice(start, end), trigger)
        at = int(satisfied.argmax())
        if satisfied[at]:
            row = int(track.rows[start + at])
            if best is None or row < best[0]:
                best = (row, symbol)
    return best


def _satisfied(track: Track, part: slice, trigger: Trigger) -> np.ndarray:
    """Return, per row, whether the trigger holds; `matching` says the same for one message."""
    prints, quotes = track.prints[part], track.quotes[part]
    bid, ask = track.bid[part], track.ask[part]
    printed, unquoted = prints > 0, bid == 0
    found: np.ndarray
    if trigger.level is None:
        found = quotes | (printed & unquoted)
        return found
    level = to_micro(trigger.level)
    if trigger.on_print:
        reached = prints >= level if trigger.buys else prints <= level
        found = printed & reached & (unquoted | ((bid <= prints) & (prints <= ask)))
    elif trigger.buys:
        found = (quotes & (ask <= level)) | (printed & unquoted & (prints <= level))
    else:
        found = (quotes & (bid >= level)) | (printed & unquoted & (prints >= level))
    return found
