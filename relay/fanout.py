"""Fan-out: each upstream frame once through the scanner, then to each consumer by mask and copy.

No sockets here: lines (consumers) hold an outbox and are woken; `relay.server` sends. Every frame
of the upstream has an offset of its own, also when several are routed together.
"""

from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec
import numpy as np

from relay import frames
from relay.dispatch import Batch, Dispatcher, Room
from relay.duplicates import SeenTrades
from relay.json_frames import to_json
from relay.lines import Line, deliver_extra, ends_of, replay_entries
from relay.news import NewsRoute, news_in
from relay.outbox import Outbox
from relay.protocol import ServerProtocol
from relay.ring import Ring
from relay.routing import Route
from relay.symbol_watch import Newest
from relay.symbols import CHANNELS, covers, is_symbol
from relay.wire import is_control

RING_BYTES = 128 << 20
RING_SECONDS = 60.0
QUEUE_BYTES = 8 << 20
QUEUE_SECONDS = 4.5  # a consumer that reads nothing is out within five
FRESH_SECONDS = 2.0  # without a clock upstream, the host's counts this long after a frame
ANEW_NS = 60_000_000_000  # a clock that goes back further than a step repeated
REPLAY_BYTES = 256 * 1024
SEEN_BYTES, SEEN_SECONDS = 16 << 20, 30.0  # for trades that come twice after a reconnect
LAGGING = (0.5, 0.25)  # seconds waited, share of the queue: from here on a consumer lags
LAGGING_NO_MORE = (0.1, 0.05)
LINGER_SECONDS = 60.0  # the upstream keeps a subscription this long, so that a restart finds it


class _Clock(msgspec.Struct):
    T: str
    t: int = 0


_Marker = Mapping[str, object]
_decode_clock = msgspec.msgpack.Decoder(list[_Clock]).decode


class Fanout:
    """The relay's heart. Times are arguments: process seconds and market-side nanoseconds.

    Args:
        epoch: of the offsets, < 2^53; another run of the relay has another one.
        on_union: called with what the upstream must be subscribed to, when that changes.
        always: what it is subscribed to for nobody in particular (a recording).
        on_data: called with well-formed data frames and their time of arrival, UTC ns.
        on_clock: called with the time of each clock frame before it is passed on, UTC ns.
        keep: called with what goes into the ring, as `RingFile.append` without the time.
    """

    def __init__(
        self,
        *,
        epoch: int,
        on_union: Callable[[dict[str, list[str]]], None],
        ring: Ring | None = None,
        always: Mapping[str, Iterable[str]] | None = None,
        on_data: Callable[[Sequence[bytes], int], None] | None = None,
        on_clock: Callable[[int], None] = lambda ts_ns: None,
        keep: Callable[[bytes, np.ndarray, int, int, str], None] | None = None,
    ) -> None:
        self.epoch = epoch
        self.ring = ring or Ring(max_bytes=RING_BYTES, max_seconds=RING_SECONDS)
        self.lines: list[Line] = []
        self.counters: Counter[str] = Counter()
        self.upstream_has_clock = False
        self._on_union = on_union
        self._on_data = on_data
        self._on_clock = on_clock
        self._keep = keep
        self._newest = Newest(())
        self._gaps: deque[int] = deque()  # offsets of the gap markers in the ring
        self._always = {name: frozenset(entries) for name, entries in (always or {}).items()}
        self._room = Room()
        self._seen: SeenTrades | None = None
        self._seen_until_s = 0.0
        self._live: list[Line] = []  # who is dealt to, by the dispatcher's numbers
        self._dispatcher: Dispatcher | None = None  # None: routes have changed
        self._dispatcher_before: Dispatcher | None = None
        self._union: dict[str, list[str]] = {}
        self._prune_at_s: float | None = None
        self._watermark_ns = 0
        self._last_frame_s = float("-inf")
        for entry in self.ring.entries():  # of a process before us
            self._watermark_ns = max(self._watermark_ns, entry.watermark_ns)
            if entry.extension == "gap":
                self._gaps.append(entry.offset)

    def start(self) -> None:
        """Ask for what is always wanted."""
        self._set_union(self._wanted())

    # --- consumers -------------------------------------------------------------------------------

    def add(self, protocol: ServerProtocol, wake: Callable[[], None]) -> Line:
        """Take in a new connection."""
        convert = to_json if protocol.codec == "json" else bytes
        outbox = Outbox(epoch=None, convert=convert, last_offset=self.ring.next_offset - 1)
        line = Line(protocol, wake, outbox)
        self.lines.append(line)
        return line

    def remove(self, line: Line, *, now_s: float) -> None:
        """Forget a connection; the upstream keeps its subscription for a while."""
        if line in self.lines:
            self.lines.remove(line)
            self._dispatcher = None
            self._update_union(now_s)

    def authenticated(self, line: Line) -> None:
        """The consumer's extensions are known now."""
        if "frame" in line.protocol.extensions:
            line.outbox.epoch = self.epoch

    def subscribed(
        self,
        line: Line,
        channels: Mapping[str, Iterable[str]],
        resume: tuple[int, int] | None,
        *,
        now_s: float,
    ) -> None:
        """Use a changed subscription from the next frame on, or from the one resumed at."""
        line.route = Route(channels)
        line.news = NewsRoute(channels.get("news", ()))
        self._dispatcher = None
        if resume is not None:
            self._resume(line, *resume)
        self.flush_control(line, now_s=now_s)
        self._update_union(now_s)

    def _resume(self, line: Line, epoch: int, offset: int) -> None:
        first, following = self.ring.first_offset, self.ring.next_offset
        same = epoch == self.epoch
        # who cannot be shown a gap among the data is told of it here
        hidden = "gap" not in line.protocol.extensions and self._gap_since(offset)
        kept = same and first <= offset <= following
        recovered = kept and not hidden
        # what another run of the relay gave came before all that this one has
        rest = first if not same or offset < first else following
        start = offset if kept else rest
        state = "RECOVERED" if recovered else "GAP"
        until = following if recovered else start
        reply = {"T": "resume", "state": state, "from": offset, "to": until, "e": self.epoch}
        line.protocol.send(reply)
        line.cursor = start if start < following else None
        line.outbox.rewind(start - 1)
        self.counters[f"resume_{state.lower()}"] += 1

    def _gap_since(self, offset: int) -> bool:
        while self._gaps and self._gaps[0] < self.ring.first_offset:
            self._gaps.popleft()
        return bool(self._gaps) and self._gaps[-1] >= offset

    def flush_control(self, line: Line, *, now_s: float) -> None:
        """Queue what the conversation wants to say, behind the data already queued."""
        for frame in line.protocol.frames_to_send():
            line.outbox.put_control(frame, now_s=now_s)
        line.wake()

    # --- frames ----------------------------------------------------------------------------------

    def receive(self, received: Sequence[bytes], *, now_s: float, now_ns: int) -> None:
        """Route upstream frames, in order. Malformed ones are counted and dropped."""
        run: list[bytes] = []
        for frame in received:
            if not is_control(frame):
                run.append(frame)
                continue
            clock_ns = _clock_of(frame)
            if clock_ns is not None:
                self._data(run, now_s, now_ns)
                run = []
                self._clock(frame, clock_ns, now_s)
        self._data(run, now_s, now_ns)

    def _data(self, run: list[bytes], now_s: float, now_ns: int) -> None:
        if not run:
            return
        self._last_frame_s = now_s
        if self._seen is not None:
            run = self._unseen(run, now_s)
        good, data, ends, spans = self._scanned(run)
        if not good:
            return
        watermark_ns = self.watermark(now_s=now_s, now_ns=now_ns)
        first_offset = self.ring.next_offset
        for frame in good:
            self.ring.append(frame, added_s=now_s, watermark_ns=watermark_ns)
        if self._keep is not None:
            self._keep(data, ends, first_offset, watermark_ns, "")
        if self._on_data is not None:
            self._on_data(good, now_ns)
        self.counters["frames"] += len(good)
        self.counters["messages"] += spans.size
        if self._newest:
            self._newest.note(spans)
        batch = Batch(data, spans, ends, first_offset, watermark_ns)
        dispatcher = self._dispatcher or self._compiled()
        live = self._live
        for number, count, body, offset in dispatcher.deal(batch, self._room):
            line = live[number]
            line.outbox.put_data(count, body, offset=offset, watermark_ns=watermark_ns, now_s=now_s)
            line.wake()

    def _compiled(self) -> Dispatcher:
        """Compile the routes of all who are live."""
        self._live = [line for line in self.lines if line.cursor is None and line.route]
        routes = [line.route for line in self._live]
        self._dispatcher = Dispatcher(routes, self._dispatcher_before)
        self._dispatcher_before = self._dispatcher
        return self._dispatcher

    def _scanned(self, run: list[bytes]) -> tuple[list[bytes], bytes, np.ndarray, np.ndarray]:
        """Return the well-formed frames, their joined bytes, where each ends, and all spans."""
        data, ends = b"".join(run), ends_of(run)
        try:
            return run, data, ends, self._room.scan(data, ends)
        except frames.FrameError:
            good = [frame for frame in run if _is_frame(frame)]
            self.counters["malformed"] += len(run) - len(good)
            data, ends = b"".join(good), ends_of(good)
            return good, data, ends, self._room.scan(data, ends)

    def _clock(self, frame: bytes, clock_ns: int, now_s: float) -> None:
        self._last_frame_s = now_s
        self._on_clock(clock_ns)
        if self.upstream_has_clock:
            anew = clock_ns < self._watermark_ns - ANEW_NS  # another tape, or this one once more
            self._watermark_ns = clock_ns if anew else max(self._watermark_ns, clock_ns)
        self.counters["clocks"] += 1
        self._to_askers(frame, "clock", now_s)

    def gap(self, from_ns: int, to_ns: int, reason: str, *, now_s: float) -> None:
        """Tell, in its place among the data, that prints of [from_ns, to_ns) may be missing."""
        marker = {"T": "gap", "from": from_ns, "to": to_ns, "reason": reason}
        self.counters["gaps"] += 1
        self.mark(marker, "gap", now_s=now_s)

    def backfill(self, frame: bytes, *, now_s: float) -> None:
        """Give fetched trades to those who asked for `backfill`, by their trades subscription."""
        self.counters["backfilled"] += frames.scan(frame).size
        self._to_askers(frame, "backfill", now_s)

    def mark(self, marker: _Marker, extension: str, *, now_s: float) -> None:
        """Put a marker among the data, for those who asked for the extension."""
        self._to_askers(msgspec.msgpack.encode([marker]), extension, now_s)

    def _to_askers(self, frame: bytes, extension: str, now_s: float) -> None:
        entry = self.ring.append(
            frame, added_s=now_s, watermark_ns=self._watermark_ns, extension=extension
        )
        if extension == "gap":
            self._gaps.append(entry.offset)
        if self._keep is not None:
            self._keep(frame, ends_of([frame]), entry.offset, entry.watermark_ns, extension)
        for line in self.lines:
            if line.cursor is None:
                deliver_extra(line, entry, now_s)

    def news(self, frame: bytes, *, now_s: float) -> None:
        """Give news to who wants them; they are not kept for replays.

        A frame that is none is counted and dropped.
        """
        try:
            found = list(news_in(frame))
        except ValueError:
            self.counters["malformed_news"] += 1
            return
        self.counters["news"] += len(found)
        for line in self.lines:
            for body, symbols in found if line.news else ():
                if line.news.wants(symbols):
                    line.outbox.put_news(body, now_s=now_s)
                    line.wake()

    def watched(self) -> frozenset[str]:
        """Return the symbols that consumers with `backfill` watch.

        These they name one by one, in any channel (quotes: a candidate, an open position), and
        have the trades of, be it by a pattern.
        """
        return frozenset(
            entry
            for line in self.lines
            if "backfill" in line.protocol.extensions
            for entry in _watched_by(line.protocol.subscription.channels)
        )

    def named(self) -> frozenset[str]:
        """Return the symbols that shards and hubs name one by one, and whose trades we have."""
        trades = self._union.get("trades", ())
        every = "*" in trades
        return frozenset(
            entry
            for line in self.lines
            if line.consumer is not None and line.consumer.role in ("shard", "hub")
            for channel in ("trades", "quotes")
            for entry in line.protocol.subscription.channels.get(channel, ())
            if entry != "*" and is_symbol(entry) and (every or entry in trades)
        )

    def note_symbols(self, symbols: Sequence[str]) -> None:
        """Note from now on when each of these trades; what is known of them stays."""
        if set(symbols) != self._newest.times().keys():
            self._newest = Newest(symbols, self._newest)

    def newest_times(self) -> dict[str, int]:
        """Return when each noted symbol traded last, UTC ns, 0 for not yet."""
        return self._newest.times()

    def reconnected(self, *, now_s: float) -> None:
        """The upstream is a new connection: for a while, drop trades that were sent before."""
        before = self.ring.newest(max_bytes=SEEN_BYTES)
        self._seen = SeenTrades(before) if before else None
        self._seen_until_s = now_s + SEEN_SECONDS

    def _unseen(self, run: list[bytes], now_s: float) -> list[bytes]:
        if self._seen is None or now_s > self._seen_until_s:
            self._seen = None
            return run
        fresh = [self._seen.without(frame) for frame in run]
        self.counters["duplicates"] += sum(count for _, count in fresh)
        return [frame for frame, _ in fresh]

    @property
    def market_ns(self) -> int:
        """The watermark as it was told last, UTC ns; 0 before the first frame."""
        return self._watermark_ns

    def watermark(self, *, now_s: float, now_ns: int) -> int:
        """Return the market time before which no more prints are expected, UTC ns."""
        if not self.upstream_has_clock and now_s - self._last_frame_s <= FRESH_SECONDS:
            self._watermark_ns = max(self._watermark_ns, now_ns)
        return self._watermark_ns

    def replay(self, line: Line, *, now_s: float) -> bool:
        """Queue the next part of a replay; say whether the consumer could still be served."""
        while line.cursor is not None and not line.outbox:
            try:
                entries = self.ring.since(line.cursor, max_bytes=REPLAY_BYTES)
            except LookupError:
                return False
            replay_entries(line, entries, now_s)
            following = line.cursor + len(entries)
            line.cursor = following if following < self.ring.next_offset else None
            if line.cursor is None:
                self._dispatcher = None
        return True

    # --- time ------------------------------------------------------------------------------------

    def heartbeat(self, *, now_s: float, now_ns: int) -> None:
        """Tell every live consumer the position and the watermark, data or not."""
        watermark_ns = self.watermark(now_s=now_s, now_ns=now_ns)
        for line in self.lines:
            if line.outbox.epoch is not None and line.cursor is None:
                line.outbox.put_heartbeat(
                    offset=self.ring.next_offset - 1, watermark_ns=watermark_ns, now_s=now_s
                )
                line.wake()
        if self._prune_at_s is not None and now_s >= self._prune_at_s:
            self._prune_at_s = None
            self._set_union(self._wanted())

    def wanted(self) -> dict[str, int | str]:
        """Return what the upstream must send, per channel: how many symbols, or `*`."""
        return {
            name: "*" if "*" in entries else len(entries) for name, entries in self._union.items()
        }

    def slow_lines(self, *, now_s: float) -> list[Line]:
        """Return the consumers whose queue is too long, in bytes or in time."""
        return [line for line in self.lines if _is_slow(line, now_s)]

    def lagging_changes(self, *, now_s: float) -> list[Line]:
        """Return the consumers that began to lag, or lag no more."""
        changed = []
        for line in self.lines:
            wait_s, share = LAGGING_NO_MORE if line.lagging else LAGGING
            since_s = line.waiting_since_s()
            late = since_s is not None and now_s - since_s > wait_s
            if (late or line.outbox.size_bytes > share * QUEUE_BYTES) != line.lagging:
                line.lagging = not line.lagging
                self.counters["lagging"] += line.lagging
                changed.append(line)
        return changed

    def roll_back(self, held: Mapping[str, frozenset[str]], *, now_s: float) -> None:
        """The venue refused a larger subscription: whoever asked for more is told, and loses it."""
        for line in self.lines:
            beyond = {
                name: {entry for entry in entries if not _is_held(entry, held.get(name))}
                for name, entries in line.protocol.subscription.channels.items()
                if name in CHANNELS
            }
            if any(beyond.values()):
                line.protocol.withdraw(beyond, 405)
                line.route = Route(line.protocol.subscription.channels)
                self.flush_control(line, now_s=now_s)
        self._dispatcher = None
        self._prune_at_s = None
        self._set_union(self._wanted())

    # --- what the upstream must send -------------------------------------------------------------

    def _wanted(self) -> dict[str, list[str]]:
        union: dict[str, set[str]] = {name: set(found) for name, found in self._always.items()}
        for line in self.lines:
            for name, entries in line.protocol.subscription.channels.items():
                union.setdefault(name, set()).update(entries)
        return {name: _upstream_entries(entries) for name, entries in union.items() if entries}

    def _update_union(self, now_s: float) -> None:
        """Grow at once; shrink only after a while."""
        wanted = self._wanted()
        grown = {
            name: _upstream_entries({*wanted.get(name, ()), *self._union.get(name, ())})
            for name in {*wanted, *self._union}
        }
        if grown != wanted and self._prune_at_s is None:
            self._prune_at_s = now_s + LINGER_SECONDS
        self._set_union(grown)

    def _set_union(self, union: dict[str, list[str]]) -> None:
        if union != self._union:
            self._union = union
            self._on_union(union)


def _is_held(entry: str, held: frozenset[str] | None) -> bool:
    return held is not None and ("*" in held or entry in held)


def _watched_by(channels: Mapping[str, frozenset[str]]) -> Iterable[str]:
    trades = channels["trades"]
    named = {entry for entries in channels.values() for entry in entries if is_symbol(entry)}
    return (one for one in named - {"*"} if trades and covers(trades, one))


def _upstream_entries(entries: Iterable[str]) -> list[str]:
    """Return plain symbols, or `*` as soon as one entry is more than a symbol."""
    found = set(entries)
    if any(entry == "*" or not is_symbol(entry) for entry in found):
        return ["*"]
    return sorted(found)


def _clock_of(frame: bytes) -> int | None:
    try:
        (message,) = _decode_clock(frame)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    return message.t if message.T == "clock" else None


def _is_frame(frame: bytes) -> bool:
    try:
        frames.scan(frame)
    except frames.FrameError:
        return False
    return True


def _is_slow(line: Line, now_s: float) -> bool:
    since_s = line.waiting_since_s()
    late = since_s is not None and now_s - since_s > QUEUE_SECONDS
    return late or line.outbox.size_bytes > QUEUE_BYTES
