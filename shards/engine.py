"""The shard's engine: frames in, closed buckets with reports out; no clock, no I/O.

`feed` takes frames, `close_due` closes every bucket whose end plus grace the watermark has passed.
Everything a close decides comes from event times, so the same tape gives the same buckets and
candidates whatever the batching, the jitter within grace, the number of shards, or a restart from
`state_after` in between. Choices that the design leaves open:

- The NBBO of a bucket is the newest quote up to its end plus grace; the median spread is that of
  the last 12 buckets' NBBOs.
- Halts, price bands, cancels and corrections count by their own time, as prints do: from the close
  of the bucket that they fall into.
- `mid` as price source: the last sane quote midpoint before the bucket's end, also an older one;
  the median of high and low while there has been none.
- A data gap of more than 10 s restarts every symbol's rings at its next eligible print.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from shards import closing, describe, detector, kernels, restart
from shards.booking import Booked
from shards.buckets import BucketBook
from shards.columns import FIRST_CAPACITY, Columns, Rings, Symbols
from shards.exits import Crossing, ExitWatch, Print
from shards.intake import Intake
from shards.records import BUCKET_ROW, REVISED_ROW, bucket_hash
from shards.state import MINUTES, RING, STATE, STATE_DEFAULTS, EngineState, Every, Table
from signals.messages import ExitSignal, Gravity, IndexBucket, WatchedPosition, Withdrawn
from signals.session import BUCKET_NS, Session

__all__ = ["BUCKET_ROW", "ClosedBucket", "Engine", "bucket_hash"]

INDEX_SYMBOLS = ("SPY", "QQQ", "IWM", "VIXY")
MARKET_SYMBOLS = ("SPY", "QQQ")  # halted: so is everything
MAX_GAP_NS = 10_000_000_000
LATE_SHARE_MAX = 0.001
PRINTS_PER_SYMBOL = 12  # of a busy bucket, for the memory that is touched at start
_SOURCES = ("median", "vwap", "mid")  # as `closing` numbers them


class ClosedBucket(NamedTuple):
    """One closed bucket of this shard.

    report_parts: the fields of `messages.Report` except run, seq, stop and feed_lag_ms.
    rows: BUCKET_ROW of every symbol, sorted by symbol. first_later_offset: the frame from which
    a restart after this bucket must replay.
    """

    k: int
    report_parts: dict[str, Any]
    rows: np.ndarray
    first_later_offset: int


class _Pending(NamedTuple):
    values: dict[str, object]
    version: int
    from_k: int


class Engine:
    """The symbols of one assignment, over one session."""

    def __init__(
        self,
        *,
        session: Session,
        parameters: Mapping[str, object],
        parameters_version: int,
        ranges: Sequence[tuple[str, str]],
        shard: int,
        epoch: int,
        run: str,
        assignment: int,
        capacity: int = FIRST_CAPACITY,
    ) -> None:
        """Args: capacity: symbols whose arrays are touched now; more make them grow."""
        self.session, self.run, self.shard = session, run, shard
        self.epoch, self.assignment = epoch, assignment
        self.day = session.day.isoformat()
        self.symbols = Symbols([(lo, hi) for lo, hi in ranges])
        self.book = BucketBook(PRINTS_PER_SYMBOL * capacity)
        self.intake = Intake(session, self.symbols, self.book)
        self.table = Columns(STATE, STATE_DEFAULTS, capacity)
        self.quotes = np.zeros(0, kernels.QUOTE_STATE)
        self.closed_k = session.first_k - 1
        self.started = False
        self._pending: list[_Pending] = []
        self._flags: set[str] = set()
        self._watching = False
        self._lost = False  # frames, since the newest close
        self._crossings: list[Crossing] = []
        self._use(dict(parameters), parameters_version)
        self.rings = Rings(RING, self.settings.depth, capacity)
        self.minutes = Rings(MINUTES, detector.MINUTES_KEPT)
        self.exits = ExitWatch(int(str(self.parameters.get("exit_confirm_prints", 2))))
        self.features: Every | None = None

    # --- parameters ----------------------------------------------------------------------------

    def _use(self, values: dict[str, object], version: int) -> None:
        self.parameters, self.parameters_version = values, version
        self.settings = detector.settings_of(values)
        self.grace_ns = int(str(values["lateness_grace_ms"])) * 1_000_000
        self.price_source = str(values["bar_price_source"])
        if self.price_source not in _SOURCES:
            raise ValueError(f"bar_price_source is {self.price_source!r}")
        self.intake.odd_lots_in_price = bool(values["include_odd_lots_in_price"])

    def set_parameters(
        self, values: Mapping[str, object], version: int, active_from_k: int
    ) -> None:
        """Hold a parameter set and switch to it when bucket `active_from_k` closes.

        A version that is held or in use changes nothing. A changed curve or price source is
        recomputed from the raw buckets in the rings.
        """
        known = {self.parameters_version, *(one.version for one in self._pending)}
        if version not in known:
            self._pending.append(_Pending(dict(values), version, active_from_k))
            self._pending.sort(key=lambda one: (one.from_k, one.version))

    def _switch(self, k: int) -> None:
        while self._pending and self._pending[0].from_k <= k:
            new = self._pending.pop(0)
            before = (self.settings.curve, self.price_source)
            self._use(new.values, new.version)
            self.exits.confirm_prints = int(str(new.values.get("exit_confirm_prints", 2)))
            if self.settings.depth > self.rings.depth:
                self.rings = self.rings.deepened(self.settings.depth, k - 1)
            if before != (self.settings.curve, self.price_source):
                self._rebuild(k - 1)

    def _rebuild(self, k: int) -> None:
        """Recompute what feeds the oscillator, and its curves, for every bucket in the rings."""
        closing.rebuild(
            max(k - self.rings.depth + 1, self.session.first_k), k, self.table.size,
            self.table.view(Table), self.rings.view(), self.settings.rule,
            Every.empty(self.table.size), _SOURCES.index(self.price_source),
        )  # fmt: skip

    # --- feed ----------------------------------------------------------------------------------

    def feed(self, buf: bytes, offset: int | None = None, last: int | None = None) -> None:
        """Take one msgpack frame; `offset` is the relay's number of it, or of its first part.

        Args: last: the number of its last part, when the relay has joined several.

        A malformed frame is counted, left out, and flagged in the next report.
        """
        if self.intake.feed(buf, offset, last) or self._watching:
            self._drain()

    def _drain(self) -> None:
        bad = self.intake.counts["bad_frames"]
        arrived = self.intake.drain(self.closed_k)
        if self.intake.counts["bad_frames"] > bad:
            self._flags.add("bad_frame")
            self._lost = True
        self.grow()
        if arrived is None:
            return
        for name, counts in (("seen", arrived.seen), ("late", arrived.late)):
            self.table[name][: counts.size] += counts
        if self.exits.symbols:
            self._watch_prints(arrived)
        if self.closed_k < self.session.first_k:
            self.intake.quotes.fold(self.session.open_ns, self.quotes)

    def grow(self) -> None:
        size = len(self.symbols)
        first = self.table.size
        if size == first:
            return
        self.table.resize(size)
        self.table["name"][first:] = self.symbols.names[first:]
        self.rings.resize(size)
        self.minutes.resize(size)
        extra = np.zeros(size - first, kernels.QUOTE_STATE)
        extra["mid"] = np.nan
        self.quotes = np.concatenate((self.quotes, extra))

    @property
    def prints(self) -> int:
        """Trade prints seen so far, also those that were set aside."""
        return int(self.table["seen"].sum())

    # --- closing -------------------------------------------------------------------------------

    def close_due(self, watermark_ns: int) -> list[ClosedBucket]:
        """Close every bucket whose end plus grace is at or before the watermark, in order."""
        return list(self.closing(watermark_ns))

    def closing(self, watermark_ns: int) -> Iterator[ClosedBucket]:
        """Like `close_due`, one by one, so that the state after each can be stored."""
        if self.started and watermark_ns < (self.closed_k + 2) * BUCKET_NS + self.grace_ns:
            return iter(())  # nothing closes: the frames wait, to be decoded many at a time
        return self._closing(watermark_ns)

    def _closing(self, watermark_ns: int) -> Iterator[ClosedBucket]:
        due_k = min((watermark_ns - self.grace_ns) // BUCKET_NS - 1, self.session.end_k - 1)
        if self.started and due_k <= self.closed_k:
            return
        self._drain()
        if not self.started:
            self._join(due_k)
        while self.closed_k < due_k:
            yield self._close(self.closed_k + 1)

    def begin(self, k: int) -> None:
        """Make k the first bucket to close (never before the session's first).

        Without it that is where the first watermark stands, or the first print before it: what
        lies earlier is not this engine's to report.
        """
        self.closed_k = max(self.closed_k, k - 1)
        self.started = True

    def _join(self, due_k: int) -> None:
        waiting = self.book.open.waiting()["k"]
        self.begin(min(int(waiting.min()), due_k + 1) if waiting.size else due_k + 1)

    def _close(self, k: int) -> ClosedBucket:
        self._switch(k)
        end_ns = (k + 1) * BUCKET_NS
        if self._lost:
            self.table["gap_k"][:], self._lost = k, False
        self._apply_statuses(end_ns)
        sums = self.book.close(k, self.table["anchor_micro"])
        self.table["revised_k"][self.book.unsettled] = k
        self._merge_late()
        self._count_late(k)
        self.intake.quotes.apply(end_ns, self.grace_ns, self.quotes)
        if self.features is None or self.features.x.size != self.table.size:
            self.features = Every.empty(self.table.size)
        restarted = np.empty(self.table.size, np.bool_)
        closing.make_buckets(
            k, sums, self.quotes, self.table.view(Table), self.rings.view(), self.minutes["close"],
            _SOURCES.index(self.price_source), restarted,
        )  # fmt: skip
        self.closed_k = k
        taken = detector.step(self.rings, k, self.table, self.features, self.settings, restarted)
        return ClosedBucket(
            k, self._parts(k, taken), self._bucket_rows(k), self.intake.first_waiting_offset()
        )

    def _apply_statuses(self, end_ns: int) -> None:
        table = self.table
        for status in self.intake.due_statuses(end_ns):
            row = status.row
            if status.kind in ("halt", "market_halt"):
                table["pauses"][row] += not table["halted"][row]  # a repeated word is one halt
                table["halted"][row] = 1 if status.kind == "halt" else 2
            elif status.kind == "resume" and table["halted"][row]:
                table["halted"][row] = 0
                table["resumed_ns"][row] = status.ts_ns
                table["restart"][row] = 1
                table["reopen_k"][row] = status.ts_ns // BUCKET_NS
                table["until_k"][row] = (
                    status.ts_ns // BUCKET_NS + self.settings.limits.reopen_cooldown
                )
            elif status.kind == "band":
                table["luld_up"][row], table["luld_down"][row] = status.up, status.down

    def _count_late(self, k: int) -> None:
        """Note which symbols have more late prints than may be, since the minute began."""
        table = self.table
        late = table["late"] - table["minute_late"]
        if late.any():
            seen = table["seen"] - table["minute_seen"]
            table["late_k"][late > LATE_SHARE_MAX * seen] = k
        if (k + 1) % detector.MINUTE == 0:
            table["minute_seen"][:], table["minute_late"][:] = table["seen"], table["late"]

    def _merge_late(self) -> None:
        """Count the late prints in their session's volume and VWAP."""
        late = self.book.take_late()
        if late.size == 0:
            return
        table, rows = self.table, late["row"]
        counts = late["flags"] & kernels.VOLUME != 0
        np.add.at(table["volume"], rows[counts], late["size"][counts])
        np.add.at(table["trades"], rows[counts], 1)
        sold_last_only = late["flags"] & (kernels.SOLD_LAST | kernels.ODD_LOT) == kernels.SOLD_LAST
        priced = (late["flags"] & kernels.VWAP != 0) & ~sold_last_only
        rows, late = rows[priced], late[priced]
        fresh = table["anchor_micro"][rows] == 0
        table["anchor_micro"][rows[fresh][::-1]] = late["price_micro"][fresh][::-1]
        away = (late["price_micro"] - table["anchor_micro"][rows]).astype(np.float64)
        np.add.at(table["value"], rows, late["price_micro"] * late["size"])
        np.add.at(table["shares"], rows, late["size"])
        np.add.at(table["square"], rows, late["size"] * away * away)

    def _bucket_rows(self, k: int) -> np.ndarray:
        order = self.symbols.ordered()
        order = order[self.table["first_k"][order] >= 0]
        rows = np.empty(order.size, BUCKET_ROW)
        rows["symbol"] = self.table["name"][order]
        closing.fill_rows(k, order, self.rings.view(), rows)
        return rows

    def take_revisions(self) -> np.ndarray:
        """Return the REVISED_ROW records that late prints, cancels and corrections made since.

        For history only; not on the path to a report.
        """
        made = self.book.history.take()
        rows = np.zeros(len(made), REVISED_ROW)
        for row, one in zip(rows, made, strict=True):
            total = one.sums
            row["k"], row["rev"] = one.k, one.rev
            row["symbol"] = self.table["name"][one.row]
            row["volume"], row["trades"] = total["volume"], total["trades"]
            row["synthetic"] = total["prints"] == 0
            for name in ("open", "high", "low", "close"):
                carried = self.rings.row("close", one.k - 1)[one.row]
                row[name] = carried if row["synthetic"] else total[name]
            shares = int(total["shares"])
            row["vwap"] = int(total["value"]) / shares / 1e6 if shares else row["close"]
        known: np.ndarray = rows[~np.isnan(rows["close"])]
        return known

    # --- reports -------------------------------------------------------------------------------

    def _parts(self, k: int, taken: detector.Step) -> dict[str, Any]:
        table = self.table
        live, fresh, prints, late, n, n_up2, w, w_up2 = closing.breadth(
            k, table.size, table.view(Table), self.rings.view(), np.empty(table.size, np.int64)
        )
        withdrawn = [
            Withdrawn(
                candidate_id=describe.candidate_id(self, row), symbol=self.symbols.names[row],
                k=k, reason=reason.word,
            )
            for row, reason in taken.endings
        ]  # fmt: skip
        flags, self._flags = sorted(self._flags), set()
        if self._market_halted():
            flags.append("market_halt")
        return {
            "shard": self.shard,
            "epoch": self.epoch,
            "k": k,
            "params_version": self.parameters_version,
            "assignment": self.assignment,
            "n_symbols": live,
            "n_fresh": fresh,
            "prints": prints,
            "late_prints": late,
            "gravity": Gravity(n=n, n_up2=n_up2, w=w, w_up2=w_up2),
            "candidates": describe.candidates(self, k, taken),
            "withdrawn": sorted(withdrawn, key=lambda one: one.symbol),
            "births": int(taken.births.size),
            "index": list(self._index(k)),
            "marks": describe.marks(self, k),
            "flags": flags,
        }

    def _market_halted(self) -> bool:
        """Is the whole market halted: by its own word, or with SPY or QQQ?"""
        halted = self.table["halted"]
        if not halted.any():
            return False
        rows = [self.symbols.row_of(symbol) for symbol in MARKET_SYMBOLS]
        return bool((halted == 2).any()) or any(
            row is not None and bool(halted[row]) for row in rows
        )

    def _index(self, k: int) -> Iterator[IndexBucket]:
        for symbol in INDEX_SYMBOLS:
            row = self.symbols.row_of(symbol)
            if row is not None and self.table["first_k"][row] >= 0:
                mid = float(self.rings.row("mid", k)[row])
                yield IndexBucket(
                    symbol=symbol, k=k, close=float(self.table["close"][row]),
                    mid=None if np.isnan(mid) else mid, ts_ns=int(self.table["last_ns"][row]),
                )  # fmt: skip

    def quote_state(self, row: int) -> np.void:
        """Return the QUOTE_STATE of a symbol as of the newest closed bucket."""
        state: np.void = self.quotes[row]
        return state

    def oscillator_rows(self) -> list[tuple[str, float, float, float, float, float]]:
        """Return (symbol, ao, ac, x_bps, z, accel) of the newest closed bucket, by symbol."""
        if self.features is None:
            return []
        order = self.symbols.ordered()
        order = order[(order < self.features.x.size)]
        order = order[self.table["first_k"][order] >= 0]
        found = detector.gather(
            self.rings, self.closed_k, order, self.table, self.features, self.settings,
            latched=False,
        )  # fmt: skip
        every = self.features
        columns = (every.ao, every.value, every.x)
        values = [column[order].tolist() for column in columns]
        values += [found["z"].tolist(), every.accel[order].tolist()]
        names = [self.symbols.names[row] for row in order]
        return list(zip(names, *values, strict=True))

    # --- gaps and exits --------------------------------------------------------------------------

    def gap(self, from_ns: int, to_ns: int) -> None:
        """Tell that frames of `[from_ns, to_ns)` are lost; over 10 s the rings begin anew."""
        self._drain()
        self._flags.add("gap")
        self._lost = True
        if to_ns - from_ns > MAX_GAP_NS:
            self.table["restart"][:] = 1
            self.table["reopen_k"][:] = to_ns // BUCKET_NS

    def resync(self, symbols: Iterable[str]) -> list[str]:
        """Begin the rings of these symbols anew, at their next eligible print.

        The hub has seen a gap in their windows: until they are warm again they are no candidates.

        Returns: the symbols that are ours.
        """
        self._drain()
        found = []
        for symbol in symbols:
            row = self.symbols.row_of(symbol)
            if row is not None:
                self.table["restart"][row] = 1
                found.append(symbol)
        return found

    def relay_restarted(self) -> None:
        """Tell that the relay counts its frames anew: the offsets so far mean nothing now."""
        self._drain()
        self.intake.forget_offsets()

    def watch(self, position: WatchedPosition) -> None:
        """Watch an active trade from the next frame on."""
        self._drain()
        self.exits.watch(position)
        self._watching = True

    def release(self, position_id: str) -> None:
        """Stop watching a trade."""
        self._drain()
        self.exits.release(position_id)
        self._watching = bool(self.exits.symbols)

    def _watch_prints(self, arrived: Booked) -> None:
        rows = [self.symbols.row_of(symbol) for symbol in self.exits.symbols]
        watched = np.isin(arrived.prints["row"], [row for row in rows if row is not None])
        for at in np.flatnonzero(watched & (arrived.prints["flags"] & kernels.PRICE != 0)):
            one = arrived.prints[at]
            seen = Print(
                k=int(one["k"]), ts_ns=int(one["ts_ns"]), id=int(one["id"]),
                exchange=int(one["exchange"]), price=float(one["price"]), size=int(one["size"]),
                conditions=int(arrived.conditions[at]),
                sold_last=bool(one["flags"] & kernels.SOLD_LAST),
            )  # fmt: skip
            self._crossings += self.exits.see(self.symbols.names[one["row"]], seen)

    def take_exit_signals(self) -> list[ExitSignal]:
        """Return the exit signals since the last call, in event order."""
        self._drain()
        crossings, self._crossings = self._crossings, []
        signals = [describe.exit_signal(self, crossing) for crossing in crossings]
        return sorted(signals, key=lambda one: (one.ts_ns, one.symbol, one.signal_id))

    # --- restart ---------------------------------------------------------------------------------

    def state_after(self, k: int) -> EngineState:
        """Return all that a restart needs after bucket k, which must be the newest closed one.

        Raises:
            ValueError: another bucket than the newest.
        """
        if k != self.closed_k:
            raise ValueError(f"the state of bucket {k} is gone; the newest is {self.closed_k}")
        return restart.state_of(self)

    def restore(
        self,
        newest: EngineState,
        history: Mapping[int, np.ndarray],
        minutes: Mapping[int, tuple[np.ndarray, np.ndarray]],
    ) -> None:
        """Go on after bucket `newest.k`: feed the frames from `newest.first_later_offset` on.

        Args:
            history: STORED_ROW per bucket before `newest.k` (those that were kept).
            minutes: per clock minute the names and their closes.
        """
        restart.restore(self, newest, history, minutes)
