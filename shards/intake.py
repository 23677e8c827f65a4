"""From frames to prints, quotes and statuses of the shard's own symbols.

Frames are buffered as they come and decoded together, several at a time: the cost is per call, not
per message. What a frame is worth is decided against the bucket that was closed when it came.
"""

from collections import Counter
from typing import Any, NamedTuple

import msgspec
import numpy as np

from relay import frames
from shards import decoding, kernels
from shards.booking import Booked, Booking
from shards.buckets import NO_OFFSET, BucketBook, Revision, flags_of, usable
from shards.columns import Symbols
from signals.session import Session

MAX_BUFFERED_BYTES = 256 << 10  # what may be left to decode when a bucket is due: a millisecond
MAX_STATUSES = 100_000
AFTER_CLOSE_NS = 60_000_000_000  # no bucket's quotes are later: what comes all evening is left out
FOLD_AT = 50_000  # quotes that wait for the open
MAX_AHEAD_BUCKETS = 720  # an hour ahead of the last closed bucket: not a time to believe
HALTED_CODES = frozenset({"2", "H", "P"})
RESUMED_CODES = frozenset({"3", "T"})
#: Reasons of a market-wide circuit breaker: tapes A and B tell its level, tape C names it.
MARKET_WIDE = frozenset({"1", "2", "3", "MWC1", "MWC2", "MWC3", "MWC0"})


class Status(NamedTuple):
    """A halt, a resumption or a price band, in event time."""

    ts_ns: int
    row: int
    kind: str  # halt | market_halt | resume | band
    up: float
    down: float
    offset: int


class QuoteLog:
    """Quotes that wait for the close of their bucket, in order of arrival."""

    def __init__(self) -> None:
        self._parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        self._fold_at = FOLD_AT

    def add(self, rows: np.ndarray, quotes: np.ndarray, offsets: np.ndarray) -> None:
        """Append quotes of own symbols."""
        if rows.size:
            self._parts.append((rows, quotes, offsets))

    @property
    def waiting(self) -> int:
        """How many quotes wait."""
        return sum(rows.size for rows, _, _ in self._parts)

    def fold(self, open_ns: int, best: np.ndarray) -> None:
        """Bring what is from before the open into `best`, when much waits: it may be hours' worth.

        The first close would do the same with it.
        """
        if self.waiting >= self._fold_at:
            self.apply(open_ns, -1, best)
            self._fold_at = FOLD_AT + 2 * self.waiting

    def apply(self, end_ns: int, grace_ns: int, best: np.ndarray) -> None:
        """Bring what is due into `best` (QUOTE_STATE per symbol row) and keep the rest."""
        if not self._parts:
            return
        rows, quotes, offsets = (np.concatenate(part) for part in zip(*self._parts, strict=True))
        keep = np.empty(rows.size, np.bool_)
        kernels.apply_quotes(rows, quotes, offsets, end_ns, grace_ns, best, keep)
        self._parts = [(rows[keep], quotes[keep], offsets[keep])] if keep.any() else []

    def forget_offsets(self) -> None:
        """Treat the waiting quotes as without an offset."""
        for _, _, offsets in self._parts:
            offsets[:] = NO_OFFSET

    def newest(self, row: int, ts_ns: int) -> np.void | None:
        """Return a symbol's newest waiting quote up to `ts_ns`, None without one."""
        best = None
        for rows, quotes, _ in self._parts:
            for at in np.flatnonzero((rows == row) & (quotes["ts_ns"] <= ts_ns)):
                if best is None or quotes[at]["ts_ns"] >= best["ts_ns"]:
                    best = quotes[at]
        return best

    def first_waiting_offset(self) -> int:
        """Return the lowest frame offset of a waiting quote, NO_OFFSET without one."""
        return min((int(part[2].min()) for part in self._parts), default=NO_OFFSET)


class Intake:
    """Buffers frames, decodes them, and books what they hold."""

    def __init__(self, session: Session, symbols: Symbols, book: BucketBook) -> None:
        self.session = session
        self.symbols = symbols
        self.book = book
        self.quotes = QuoteLog()
        self.statuses: list[Status] = []
        self.counts: Counter[str] = Counter()
        self.odd_lots_in_price = False
        self.position = 0  # the offset after the newest frame fed
        self.resumed_position = 0  # frames before it were counted before a restart
        self.resumed_cut_ns = 0  # quotes up to it were applied before a restart
        self.resumed_end_ns = 0  # statuses and revisions before it likewise
        self._booking = Booking(symbols, book)
        self._raw = bytearray(2 * MAX_BUFFERED_BYTES)
        self._ends: list[int] = []
        self._offsets: list[int] = []
        self._buffered = 0
        self._decoder = msgspec.msgpack.Decoder(ext_hook=_nanoseconds)

    def feed(self, frame: bytes, offset: int | None, newest: int | None = None) -> bool:
        """Buffer a frame; True when enough is buffered that it should be drained.

        Args: offset, newest: the first and the last of the relay's numbers that it stands for.
        """
        first, last = self._buffered, self._buffered + len(frame)
        if last + decoding.PADDING > len(self._raw):
            self._raw = self._raw[:first] + bytes(2 * last + decoding.PADDING - first)
        self._raw[first:last] = frame
        self._buffered = last
        self._ends.append(last)
        if offset is None:
            offset = NO_OFFSET
        else:
            self.position = max(self.position, 1 + (offset if newest is None else newest))
        self._offsets.append(offset)
        return last >= MAX_BUFFERED_BYTES

    def drain(self, closed_k: int) -> Booked | None:
        """Decode and book the buffered frames; None when there were none.

        A malformed frame is counted and left out.
        """
        if not self._ends:
            return None
        ends, offsets = np.array(self._ends, np.int64), np.array(self._offsets, np.int64)
        self._ends, self._offsets, self._buffered = [], [], 0
        raw = np.frombuffer(self._raw, np.uint8)
        booked = self._booking.take(raw, ends, offsets, self._rules(closed_k), self.counts)
        kind = booked.rest["kind"]
        if kind.size:
            raw, quote = booked.raw, kind == frames.QUOTE
            self._book_quotes(raw, booked.rest[quote], booked.rest_offsets[quote])
            if not quote.all():
                rare = booked.rest[~quote]
                self._slow_path(raw, rare, booked.rest_offsets[~quote])
        return booked

    def _rules(self, closed_k: int) -> np.ndarray:
        """Return one RULES record: what decides about a print now."""
        session = self.session
        rules = np.zeros(1, decoding.RULES)
        rules[0] = (
            session.open_ns, session.close_ns, closed_k, self.resumed_position,
            closed_k + MAX_AHEAD_BUCKETS, self.odd_lots_in_price,
        )  # fmt: skip
        return rules

    def _own_rows(self, columns: np.ndarray) -> np.ndarray:
        return self.symbols.rows_of(
            np.ascontiguousarray(columns["key"]), np.ascontiguousarray(columns["key2"])
        )

    def _book_quotes(self, buf: np.ndarray, spans: np.ndarray, offsets: np.ndarray) -> None:
        if spans.size == 0:
            return
        quotes = frames.quotes(buf, spans)
        rows = self._own_rows(quotes)
        good = (rows >= 0) & np.isfinite(quotes["bid"]) & np.isfinite(quotes["ask"])
        good &= (quotes["bid"] >= 0) & (quotes["ask"] >= 0) & (quotes["ts_ns"] > 0)
        good &= (offsets >= self.resumed_position) | (quotes["ts_ns"] > self.resumed_cut_ns)
        good &= quotes["ts_ns"] < self.session.close_ns + AFTER_CLOSE_NS
        self.quotes.add(rows[good], quotes[good], offsets[good])

    def _slow_path(self, buf: np.ndarray, spans: np.ndarray, offsets: np.ndarray) -> None:
        """Statuses, price bands, corrections and cancels: few, decoded one by one."""
        for at in range(spans.size):
            span = spans[at]
            row = int(self._own_rows(spans[at : at + 1])[0])
            if row < 0:
                continue
            offset, ts_ns = int(offsets[at]), int(span["ts_ns"])
            try:
                message = self._decoder.decode(buf[span["start"] : span["end"]].tobytes())
                self._rare(message, chr(span["kind"]), row, ts_ns, offset)
            except (msgspec.MsgspecError, KeyError, TypeError, ValueError):
                self.counts["bad_messages"] += 1

    def _rare(self, message: dict[str, Any], kind: str, row: int, ts_ns: int, offset: int) -> None:
        if kind == "s":
            code = str(message["sc"])
            halted = code in HALTED_CODES or (code == "F" and message.get("rc") == "M")
            if halted or code in RESUMED_CODES:
                wide = str(message.get("rc") or "") in MARKET_WIDE
                what = "resume" if not halted else "market_halt" if wide else "halt"
                self._keep(Status(ts_ns, row, what, 0.0, 0.0, offset))
        elif kind == "l":
            up, down = float(message["u"]), float(message["d"])
            self._keep(Status(ts_ns, row, "band", up, down, offset))
        elif offset >= self.resumed_position or ts_ns >= self.resumed_end_ns:
            exchange = ord(str(message.get("x") or "\0")[0])
            number = int(message["oi" if kind == "c" else "i"])
            self.book.revise(
                Revision(
                    row, number, exchange, self._corrected(message) if kind == "c" else None,
                    ts_ns, offset,
                )
            )  # fmt: skip
            self.counts["revisions"] += 1

    def _corrected(self, message: dict[str, Any]) -> tuple[int, float, int, int]:
        price, size = float(message["cp"]), int(message["cs"])
        if not usable(np.array([price]), np.array([size]))[0]:
            raise ValueError("a correction to no price or no size")
        codes = [str(code) for code in message.get("cc") or ()]
        flags = flags_of(
            str(message.get("z") or ""), codes, odd_lots_in_price=self.odd_lots_in_price
        )
        return int(message["ci"]), price, size, flags

    def _keep(self, status: Status) -> None:
        if status.offset < self.resumed_position and status.ts_ns < self.resumed_end_ns:
            return  # applied before the restart
        if len(self.statuses) < MAX_STATUSES:
            self.statuses.append(status)
        else:
            self.counts["statuses_dropped"] += 1

    def due_statuses(self, end_ns: int) -> list[Status]:
        """Remove and return the statuses before `end_ns`, in event order."""
        due = sorted(status for status in self.statuses if status.ts_ns < end_ns)
        self.statuses = [status for status in self.statuses if status.ts_ns >= end_ns]
        return due

    def forget_offsets(self) -> None:
        """Treat everything so far as without an offset: the relay began to count anew."""
        self.book.forget_offsets()
        self.quotes.forget_offsets()
        self.statuses = [status._replace(offset=NO_OFFSET) for status in self.statuses]
        self.position = self.resumed_position = 0

    def first_waiting_offset(self) -> int:
        """Return the first frame that a restart must see again: it holds something undecided."""
        waiting = [self.book.first_waiting_offset(), self.quotes.first_waiting_offset()]
        waiting += [status.offset for status in self.statuses]
        waiting += self._offsets
        return min((offset for offset in waiting if offset != NO_OFFSET), default=self.position)


def _nanoseconds(code: int, data: memoryview) -> object:
    """Leave times alone: the span already has them."""
    return None
