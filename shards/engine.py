"""The shard's engine: frames in, closed buckets with reports out; no clock, no I/O.

`feed` takes frames, `close_due` closes every bucket whose end plus grace the watermark has passed.
Everything a close decides comes from event times, so the same tape gives the same buckets and
candidates whatever the batching, the jitter within grace, the number of shards, or a restart from
`state_after` in between. Choices that the design leaves open:

- The NBBO of a bucket is the newest quote up to its end plus grace; the median spread is that of
  the last 12 buckets' NBBOs.
- Halts and price bands count from the first close whose end plus grace reaches them.
- `mid` as price source: the last sane quote midpoint before the bucket's end, also an older one;
  the median of high and low while there has been none.
- A data gap of more than 10 s restarts every symbol's rings at its next eligible print.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from shards import describe, detector, kernels, restart
from shards.booking import Booked
from shards.buckets import BucketBook, vwap_usd
from shards.columns import FIRST_CAPACITY, Columns, Rings, Symbols
from shards.exits import Crossing, ExitWatch, Print
from shards.intake import Intake
from shards.records import BUCKET_ROW, bucket_hash
from shards.state import MINUTES, RING, STATE, STATE_DEFAULTS, EngineState
from signals.messages import ExitSignal, IndexBucket, WatchedPosition, Withdrawn
from signals.session import BUCKET_NS, Session

__all__ = ["BUCKET_ROW", "ClosedBucket", "Engine", "bucket_hash"]

INDEX_SYMBOLS = ("SPY", "QQQ", "IWM", "VIXY")
MAX_GAP_NS = 10_000_000_000
_SOURCES = ("median", "vwap", "mid")


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
    ) -> None:
        self.session, self.run, self.shard = session, run, shard
        self.epoch, self.assignment = epoch, assignment
        self.day = session.day.isoformat()
        self.symbols = Symbols([(lo, hi) for lo, hi in ranges])
        self.book = BucketBook()
        self.intake = Intake(session, self.symbols, self.book)
        self.table = Columns(STATE, STATE_DEFAULTS, FIRST_CAPACITY)
        self.quotes = np.zeros(0, kernels.QUOTE_STATE)
        self.closed_k = session.first_k - 1
        self.started = False
        self._pending: list[_Pending] = []
        self._flags: set[str] = set()
        self._crossings: list[Crossing] = []
        self._use(dict(parameters), parameters_version)
        self.rings = Rings(RING, self.settings.depth)
        self.minutes = Rings(MINUTES, detector.MINUTES_KEPT)
        self.exits = ExitWatch(int(str(self.parameters.get("exit_confirm_prints", 2))))
        self.features: detector.Features | None = None

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
        first = max(k - self.rings.depth + 1, self.session.first_k)
        for name in ("source", "ao", "x"):
            for j in range(k - self.rings.depth + 1, k + 1):
                self.rings.row(name, j)[:] = np.nan
        for j in range(first, k + 1):
            self._set_source(j)
        start = max(first, k - self.rings.depth + self.settings.curve.slow)
        for j in range(start, k + 1):
            detector.curves(self.rings, j, self.settings.curve)

    # --- feed ----------------------------------------------------------------------------------

    def feed(self, buf: bytes, offset: int | None = None) -> None:
        """Take one msgpack frame; `offset` is the relay's number of it.

        A malformed frame is counted, left out, and flagged in the next report.
        """
        if self.intake.feed(buf, offset) or self.exits.symbols:
            self._drain()

    def _drain(self) -> None:
        bad = self.intake.counts["bad_frames"]
        arrived = self.intake.drain(self.closed_k)
        if self.intake.counts["bad_frames"] > bad:
            self._flags.add("bad_frame")
        self.grow()
        if arrived is None:
            return
        for name, counts in (("seen", arrived.seen), ("late", arrived.late)):
            self.table[name][: counts.size] += counts
        if self.exits.symbols:
            self._watch_prints(arrived)

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
        due_k = min((watermark_ns - self.grace_ns) // BUCKET_NS - 1, self.session.end_k - 1)
        if self.started and due_k <= self.closed_k:
            return  # nothing closes: the frames wait, to be decoded many at a time
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
        self._apply_statuses(end_ns + self.grace_ns)
        sums = self.book.close(k, self.table["anchor_micro"])
        self._merge_late()
        self.intake.quotes.apply(end_ns, self.grace_ns, self.quotes)
        self._accumulate(sums)
        restarted = self._make_buckets(k, sums)
        self.closed_k = k
        every = detector.features(self.rings, k, self.table["ring_k"], self.settings)
        self.features = every
        taken = detector.step(self.rings, k, self.table, every, self.settings, restarted)
        return ClosedBucket(
            k, self._parts(k, taken), self._bucket_rows(k), self.intake.first_waiting_offset()
        )

    def _apply_statuses(self, cut_ns: int) -> None:
        table = self.table
        for status in self.intake.due_statuses(cut_ns):
            row = status.row
            if status.kind == "halt":
                table["halted"][row] = 1
            elif status.kind == "resume" and table["halted"][row]:
                table["halted"][row] = 0
                table["restart"][row] = 1
                table["reopen_k"][row] = status.ts_ns // BUCKET_NS
                table["until_k"][row] = (
                    status.ts_ns // BUCKET_NS + self.settings.limits.reopen_cooldown
                )
            elif status.kind == "band":
                table["luld_up"][row], table["luld_down"][row] = status.up, status.down
            elif status.kind == "revised":
                k = status.ts_ns // BUCKET_NS
                table["revised_k"][row] = max(table["revised_k"][row], k)

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

    def _accumulate(self, sums: np.ndarray) -> None:
        for name in ("volume", "trades", "value", "shares", "square"):
            self.table[name][:] += sums[name]

    def _make_buckets(self, k: int, sums: np.ndarray) -> np.ndarray:
        """Fill the rings' row of bucket k; return which symbols' rings began in it."""
        table, rings = self.table, self.rings
        real = sums["prints"] > 0
        first = table["first_k"]
        first[real & (first < 0)] = k
        restarted: np.ndarray = real & (table["restart"] != 0) & (table["halted"] == 0)
        restarted = restarted & (k >= table["reopen_k"])
        table["ring_k"][restarted] = k
        table["restart"][restarted] = 0
        if restarted.any():
            rings.forget(("source", "ao", "x"), np.flatnonzero(restarted))
        previous = table["close"].copy()
        for name in ("open", "high", "low", "close"):
            rings.row(name, k)[:] = np.where(real, sums[name], previous)
        table["close"][real] = sums["close"][real]
        table["last_ns"][real] = sums["last_ns"][real]
        table["fresh_k"][real] = k
        opening = real & np.isnan(table["open"])
        table["open"][opening] = sums["open"][opening]
        table["high"][:] = np.fmax(table["high"], np.where(real, sums["high"], np.nan))
        table["low"][:] = np.fmin(table["low"], np.where(real, sums["low"], np.nan))
        self._fill_counts(k, sums, real)
        self._set_source(k)
        if (k + 1) % detector.MINUTE == 0:
            usable = (k >= table["ring_k"]) & (table["restart"] == 0)
            row = self.minutes.row("close", k // detector.MINUTE)
            row[:] = np.where(usable, table["close"], np.nan)
        return restarted

    def _fill_counts(self, k: int, sums: np.ndarray, real: np.ndarray) -> None:
        rings = self.rings
        live = self.table["first_k"] >= 0
        for name in ("volume", "trades", "value", "shares"):
            rings.row(name, k)[:] = np.where(live, sums[name], 0)
        block = np.where(2 * sums["block"] > sums["volume"], sums["block"], 0)
        rings.row("calm", k)[:] = np.where(live, sums["volume"] - block, 0)
        rings.row("synthetic", k)[:] = live & ~real
        quotes = self.quotes
        two_sided = (quotes["bid"] > 0) & (quotes["ask"] >= quotes["bid"])
        middle = np.where(two_sided, (quotes["bid"] + quotes["ask"]) / 2, np.nan)
        rings.row("spread_bps", k)[:] = 1e4 * (quotes["ask"] - quotes["bid"]) / middle
        rings.row("mid", k)[:] = quotes["mid"]

    def _set_source(self, k: int) -> None:
        """Fill the rings' `source` of bucket k: what feeds the oscillator."""
        rings, table = self.rings, self.table
        median = (rings.row("high", k) + rings.row("low", k)) / 2
        if self.price_source == "vwap":
            source = vwap_usd(rings.row("value", k), rings.row("shares", k), rings.row("close", k))
        elif self.price_source == "mid":
            mid = rings.row("mid", k)
            source = np.where(np.isnan(mid), median, mid)
        else:
            source = median
        valid = (table["first_k"] >= 0) & (k >= table["ring_k"]) & (table["ring_k"] >= 0)
        broken = (table["restart"] != 0) & (table["halted"] == 0)
        rings.row("source", k)[:] = np.where(valid & ~broken, source, np.nan)

    def _bucket_rows(self, k: int) -> np.ndarray:
        order = self.symbols.ordered()
        order = order[self.table["first_k"][order] >= 0]
        rows = np.empty(order.size, BUCKET_ROW)
        rows["k"] = k
        rows["symbol"] = self.table["name"][order]
        for name in ("open", "high", "low", "close", "volume", "trades", "synthetic"):
            rows[name] = self.rings.row(name, k)[order]
        rows["vwap"] = vwap_usd(
            self.rings.row("value", k)[order], self.rings.row("shares", k)[order], rows["close"]
        )
        return rows

    # --- reports -------------------------------------------------------------------------------

    def _parts(self, k: int, taken: detector.Step) -> dict[str, Any]:
        table = self.table
        live = table["first_k"] >= 0
        fresh = live & (table["fresh_k"] > k - detector.FRESH_BUCKETS)
        withdrawn = [
            Withdrawn(
                candidate_id=describe.candidate_id(self, row), symbol=self.symbols.names[row],
                k=k, reason=reason.word,
            )
            for row, reason in taken.endings
        ]  # fmt: skip
        flags, self._flags = sorted(self._flags), set()
        return {
            "shard": self.shard,
            "epoch": self.epoch,
            "k": k,
            "params_version": self.parameters_version,
            "assignment": self.assignment,
            "n_symbols": int(live.sum()),
            "n_fresh": int(fresh.sum()),
            "prints": self.prints,
            "late_prints": int(table["late"].sum()),
            "gravity": describe.gravity(self, k, fresh),
            "candidates": describe.candidates(self, k, taken),
            "withdrawn": sorted(withdrawn, key=lambda one: one.symbol),
            "births": int(taken.births.size),
            "index": list(self._index(k)),
            "flags": flags,
        }

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
        values += [found.evidence.z.tolist(), every.accel[order].tolist()]
        names = [self.symbols.names[row] for row in order]
        return list(zip(names, *values, strict=True))

    # --- gaps and exits --------------------------------------------------------------------------

    def gap(self, from_ns: int, to_ns: int) -> None:
        """Tell that frames of `[from_ns, to_ns)` are lost; over 10 s the rings begin anew."""
        self._drain()
        self._flags.add("gap")
        if to_ns - from_ns > MAX_GAP_NS:
            self.table["restart"][:] = 1
            self.table["reopen_k"][:] = to_ns // BUCKET_NS

    def relay_restarted(self) -> None:
        """Tell that the relay counts its frames anew: the offsets so far mean nothing now."""
        self._drain()
        self.intake.forget_offsets()

    def watch(self, position: WatchedPosition) -> None:
        """Watch an active trade from the next frame on."""
        self._drain()
        self.exits.watch(position)

    def release(self, position_id: str) -> None:
        """Stop watching a trade."""
        self._drain()
        self.exits.release(position_id)

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
