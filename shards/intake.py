"""From frames to prints, quotes and statuses of the shard's own symbols.

Frames are buffered as they come and decoded together, several at a time: the cost is per call, not
per message. What a frame is worth is decided against the bucket that was closed when it came.
"""

from collections import Counter
from typing import Any, NamedTuple

import msgspec
import numpy as np

from relay import frames
from shards import conditions, kernels
from shards.buckets import NO_OFFSET, BucketBook, Revision, flags_of, usable
from shards.columns import Symbols
from shards.kernels import PRINT
from signals.session import BUCKET_NS, Session

MAX_BUFFERED_BYTES = 1 << 20
MAX_STATUSES = 100_000
MAX_AHEAD_BUCKETS = 720  # an hour ahead of the last closed bucket: not a time to believe
HALTED_CODES = frozenset({"2", "H", "P"})
RESUMED_CODES = frozenset({"3", "T"})


class Status(NamedTuple):
    """A halt, a resumption or a price band, in event time."""

    ts_ns: int
    row: int
    kind: str  # halt | resume | band
    up: float
    down: float
    offset: int


class Arrived(NamedTuple):
    """What one drain decoded, already booked: the prints kept (for the exit watch) and all rows."""

    prints: np.ndarray  # PRINT, own symbols, in session, usable, open bucket
    conditions: np.ndarray  # uint64 of the same
    rows: np.ndarray  # row of every trade message of an own symbol, usable or not
    late_rows: np.ndarray


class QuoteLog:
    """Quotes that wait for the close of their bucket, in order of arrival."""

    def __init__(self) -> None:
        self._parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []

    def add(self, rows: np.ndarray, quotes: np.ndarray, offsets: np.ndarray) -> None:
        """Append quotes of own symbols."""
        if rows.size:
            self._parts.append((rows, quotes, offsets))

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
        self._frames: list[bytes] = []
        self._offsets: list[int] = []
        self._buffered = 0
        self._decoder = msgspec.msgpack.Decoder(ext_hook=_nanoseconds)

    def feed(self, frame: bytes, offset: int | None) -> bool:
        """Buffer a frame; True when enough is buffered that it should be drained."""
        self._frames.append(frame)
        self._offsets.append(NO_OFFSET if offset is None else offset)
        self._buffered += len(frame)
        if offset is not None:
            self.position = max(self.position, offset + 1)
        return self._buffered >= MAX_BUFFERED_BYTES

    def drain(self, closed_k: int) -> Arrived | None:
        """Decode and book the buffered frames; None when there were none.

        A malformed frame is counted and left out.
        """
        if not self._frames:
            return None
        parts, offsets = self._frames, np.array(self._offsets, np.int64)
        self._frames, self._offsets, self._buffered = [], [], 0
        buf, ends = _joined(parts)
        spans = _scan(buf, ends)
        if spans is None:
            sound = [_is_frame(part) for part in parts]
            self.counts["bad_frames"] += len(parts) - sum(sound)
            parts = [part for part, good in zip(parts, sound, strict=True) if good]
            offsets = offsets[np.array(sound)]
            buf, ends = _joined(parts)
            spans = frames.scan(buf)
        at = offsets[np.searchsorted(ends, spans["start"], side="right")] if parts else offsets
        kind = spans["kind"]
        self._slow_path(buf, spans, at, closed_k)
        self._book_quotes(buf, spans[kind == frames.QUOTE], at[kind == frames.QUOTE])
        trade = kind == frames.TRADE
        return self._book_trades(buf, spans[trade], at[trade], closed_k)

    def _own_rows(self, columns: np.ndarray) -> np.ndarray:
        return self.symbols.rows_of(
            np.ascontiguousarray(columns["key"]), np.ascontiguousarray(columns["key2"])
        )

    def _book_trades(
        self, buf: bytes, spans: np.ndarray, offsets: np.ndarray, closed_k: int
    ) -> Arrived:
        trades = frames.trades(buf, spans)
        rows = self._own_rows(trades)
        own = rows >= 0
        k = trades["ts_ns"] // BUCKET_NS
        new = (offsets >= self.resumed_position) | (offsets == NO_OFFSET)
        own &= new | (k > closed_k)  # the others are in the restored state
        good = own & usable(trades["price"], trades["size"])
        self.counts["bad_prints"] += int(own.sum() - good.sum())
        in_session = (trades["ts_ns"] >= self.session.open_ns) & (
            trades["ts_ns"] < self.session.close_ns
        )
        self.counts["outside_session"] += int((good & ~in_session).sum())
        good &= in_session
        far = good & (k > closed_k + MAX_AHEAD_BUCKETS) & (offsets != NO_OFFSET)
        self.counts["too_far_ahead"] += int(far.sum())
        good &= ~far
        all_rows = rows[own & (new | good)]
        kept = trades[good]
        prints = np.empty(kept.size, PRINT)
        for name in ("ts_ns", "id", "price", "price_micro", "size", "exchange"):
            prints[name] = kept[name]
        prints["row"], prints["k"], prints["offset"] = rows[good], k[good], offsets[good]
        packed = np.ascontiguousarray(kept["conditions"])
        prints["flags"] = conditions.eligibility(
            np.ascontiguousarray(kept["tape"]), packed, odd_lots_in_price=self.odd_lots_in_price
        )
        self.counts["unknown_conditions"] += int((prints["flags"] & kernels.UNKNOWN != 0).sum())
        late = prints["k"] <= closed_k
        self.book.late.add(prints[late])
        self.book.open.add(prints[~late])
        return Arrived(prints[~late], packed[~late], all_rows, prints["row"][late])

    def _book_quotes(self, buf: bytes, spans: np.ndarray, offsets: np.ndarray) -> None:
        if spans.size == 0:
            return
        quotes = frames.quotes(buf, spans)
        rows = self._own_rows(quotes)
        good = (rows >= 0) & np.isfinite(quotes["bid"]) & np.isfinite(quotes["ask"])
        good &= (quotes["bid"] >= 0) & (quotes["ask"] >= 0) & (quotes["ts_ns"] > 0)
        good &= (offsets >= self.resumed_position) | (quotes["ts_ns"] > self.resumed_cut_ns)
        self.quotes.add(rows[good], quotes[good], offsets[good])

    def _slow_path(self, buf: bytes, spans: np.ndarray, offsets: np.ndarray, closed_k: int) -> None:
        """Statuses, price bands, corrections and cancels: few, decoded one by one."""
        rare = np.isin(
            spans["kind"], (frames.STATUS, frames.LULD, frames.CORRECTION, frames.CANCEL)
        )
        for at in np.flatnonzero(rare):
            span = spans[at]
            row = int(self._own_rows(spans[at : at + 1])[0])
            if row < 0:
                continue
            offset, ts_ns = int(offsets[at]), int(span["ts_ns"])
            try:
                message = self._decoder.decode(buf[span["start"] : span["end"]])
                self._rare(message, chr(span["kind"]), row, ts_ns, offset, closed_k)
            except (msgspec.MsgspecError, KeyError, TypeError, ValueError):
                self.counts["bad_messages"] += 1

    def _rare(
        self, message: dict[str, Any], kind: str, row: int, ts_ns: int, offset: int, closed_k: int
    ) -> None:
        if kind == "s":
            code = str(message["sc"])
            halted = code in HALTED_CODES or (code == "F" and message.get("rc") == "M")
            if halted or code in RESUMED_CODES:
                what = "halt" if halted else "resume"
                self._keep(Status(ts_ns, row, what, 0.0, 0.0, offset))
        elif kind == "l":
            up, down = float(message["u"]), float(message["d"])
            self._keep(Status(ts_ns, row, "band", up, down, offset))
        else:
            exchange = ord(str(message.get("x") or "\0")[0])
            number = int(message["oi" if kind == "c" else "i"])
            self.book.revise(
                Revision(row, number, exchange, self._corrected(message) if kind == "c" else None)
            )
            self.counts["revisions"] += 1
            if ts_ns // BUCKET_NS <= closed_k:
                self._keep(Status(ts_ns, row, "revised", 0.0, 0.0, offset))

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
        if status.offset < self.resumed_position and status.ts_ns <= self.resumed_cut_ns:
            return  # applied before the restart
        if len(self.statuses) < MAX_STATUSES:
            self.statuses.append(status)
        else:
            self.counts["statuses_dropped"] += 1

    def due_statuses(self, cut_ns: int) -> list[Status]:
        """Remove and return the statuses up to `cut_ns`, in event order."""
        due = sorted(status for status in self.statuses if status.ts_ns <= cut_ns)
        self.statuses = [status for status in self.statuses if status.ts_ns > cut_ns]
        return due

    def forget_offsets(self) -> None:
        """Treat everything so far as without an offset: the relay began to count anew."""
        self.book.open.waiting()["offset"] = NO_OFFSET
        self.quotes.forget_offsets()
        self.statuses = [status._replace(offset=NO_OFFSET) for status in self.statuses]
        self.position = self.resumed_position = 0

    def first_waiting_offset(self) -> int:
        """Return the first frame that a restart must see again: it holds something undecided."""
        waiting = [self.book.first_waiting_offset(), self.quotes.first_waiting_offset()]
        waiting += [status.offset for status in self.statuses]
        waiting += self._offsets
        return min((offset for offset in waiting if offset != NO_OFFSET), default=self.position)


def _joined(parts: list[bytes]) -> tuple[bytes, np.ndarray]:
    return b"".join(parts), np.cumsum([len(part) for part in parts])


def _scan(buf: bytes, ends: np.ndarray) -> np.ndarray | None:
    """Return the spans; None when a frame is malformed, also one that swallows the next."""
    try:
        spans = frames.scan(buf)
    except frames.FrameError:
        return None
    first = np.searchsorted(ends, spans["start"], side="right")
    last = np.searchsorted(ends, spans["end"], side="left")
    return spans if np.array_equal(first, last) else None


def _is_frame(part: bytes) -> bool:
    try:
        frames.scan(part)
    except frames.FrameError:
        return False
    return True


def _nanoseconds(code: int, data: memoryview) -> object:
    """Leave times alone: the span already has them."""
    return None
