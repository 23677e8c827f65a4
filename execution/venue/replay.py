"""A tape and an engine moving together through time, event by event, in one total order.

At one time: messages received at it, then the session's close, cancels, replaces, submits. Pure
but for the blocks it is given; `player.py` decides how far to go and when.
"""

from execution.venue.books import Books
from execution.venue.cursor import Piece, TapeCursor
from execution.venue.engine import VenueEngine


class Replay:
    """`now_ns` is how far the market has come; the engine has seen everything up to it."""

    def __init__(self, cursor: TapeCursor, engine: VenueEngine, start_ns: int) -> None:
        self._cursor = cursor
        self.engine = engine
        self.now_ns = start_ns
        cursor.pass_until(start_ns - 1)
        cursor.take_passed()  # before the start: known to the books, shown to nobody

    @property
    def next_message_ns(self) -> int | None:
        """Return the receive time of the next message; None at the end of the tape."""
        return self._cursor.next_ns()

    def next_event_ns(self, until_ns: int) -> int:
        """Return the time of the next fill or due request, `until_ns` when it comes first."""
        due_ns = self.engine.due_ns()
        limit = until_ns if due_ns is None else max(min(until_ns, due_ns), self.now_ns)
        hit = self._cursor.first_hit(self.engine.triggers(), limit)
        return limit if hit is None else hit.recv_ns

    def run_until(self, ts_ns: int) -> list[Piece]:
        """Let everything up to and including `ts_ns` happen; return what clients should see."""
        while (at := self._step(ts_ns)) is not None:
            self.now_ns = max(self.now_ns, at)
        self._pass_until(ts_ns)
        self.now_ns = max(self.now_ns, ts_ns)
        return self._cursor.take_passed()

    def _step(self, ts_ns: int) -> int | None:
        """Do the next fill or request; return its time, None when there is none by `ts_ns`."""
        due_ns = self.engine.due_ns()
        limit = ts_ns if due_ns is None else min(ts_ns, due_ns)
        hit = self._cursor.first_hit(self.engine.triggers(), limit)
        if hit is not None:
            self._cursor.apply(hit, self.engine)
            return hit.recv_ns
        if due_ns is None or due_ns > ts_ns:
            return None
        self._pass_until(due_ns)
        self.engine.advance(due_ns)
        return due_ns

    def _pass_until(self, ts_ns: int) -> None:
        self._cursor.pass_until(ts_ns)
        self.engine.books.forget()


def tape_books(cursor: TapeCursor) -> Books:
    """Return books that read the cursor's place on the tape."""
    return Books(cursor.book)
