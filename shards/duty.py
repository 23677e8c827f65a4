"""One assignment being worked on: frames and clocks in, messages to the hub out. No network.

The resident owns the connections; `Duty` knows whose turn it is: it closes what a frame's
watermark allows before it takes the frame, and answers each lock-step stop after its buckets.
"""

import logging
from collections.abc import Callable
from typing import Any, BinaryIO

import msgspec
import numpy as np

from relay.extension import Extension, read_extension
from relay.frames import FrameError
from shards.assignment import Assignment
from shards.engine import ClosedBucket, Engine
from shards.lag import Lag
from shards.state import EngineState
from signals import messages
from signals.messages import Message

logger = logging.getLogger(__name__)

_CONTROLS = ("clock", "resume", "gap")  # control messages that concern a duty
_WORDS = (b"\xa1T\xa5clock", b"\xa1T\xa6resume", b"\xa1T\xa3gap")
_LOOK_BYTES = 160  # an extension element and the start of what follows


class Duty:
    """Args:
    send: queues a message for the hub; seq: the next message number of this process.
    keep: queues the state after a close (with the relay's epoch), None without a store.
    now_ns: the host's clock, for the lag.
    archive: takes each close's rows, and revisions of earlier ones; never waits.
    begun: told the relay's epoch and the number of the first frame that was taken.
    """

    def __init__(
        self,
        assignment: Assignment,
        engine: Engine,
        *,
        send: Callable[[Message], None],
        seq: Callable[[], int],
        keep: Callable[[EngineState, int], None] | None,
        now_ns: Callable[[], int],
        record: BinaryIO | None = None,
        archive: Callable[[np.ndarray], None] | None = None,
        begun: Callable[[int, int], None] | None = None,
    ) -> None:
        self.assignment, self.engine = assignment, engine
        self._send, self._seq, self._keep, self._now_ns = send, seq, keep, now_ns
        self._record, self._archive, self._begun = record, archive, begun
        self._lag = Lag(silent=assignment.lockstep, speed=assignment.speed)
        self.relay_epoch: int | None = None
        self.expected = 0  # frames below it were taken
        self.watermark_ns = 0
        self._gap_since_ns: int | None = None
        self._seen_until_ns = 0  # data up to this clock is sent again, and was taken already
        for position in assignment.watch:
            engine.watch(position)
        if (coming := assignment.coming) is not None:
            engine.set_parameters(coming.values, coming.version, coming.from_k)

    @property
    def lag_ms(self) -> float:
        """How far what was worked off trails the market; 0 in lock-step."""
        return self._lag.ms(self._now_ns())

    def resume_at(self, epoch: int, offset: int) -> None:
        """Tell where the restored engine goes on, in the relay's count."""
        self.relay_epoch, self.expected = epoch, offset

    def take(self, frame: bytes) -> None:
        """Take one frame of the relay, data or control."""
        try:
            position = read_extension(frame)
            control = _controls(frame) if _may_hold_control(frame) else []
        except (FrameError, msgspec.MsgspecError, IndexError, RecursionError):
            logger.warning("bad frame set aside", extra={"bytes": len(frame)})
            return
        watermark_ns, stop = 0, None
        for message in control:
            if message["T"] == "clock":
                watermark_ns, stop = int(message["t"]), message.get("stop")
                self._note_repetition(int(message.get("again", 0)))
            elif message["T"] == "resume" and message.get("state") == "GAP":
                self._gap_since_ns = self.watermark_ns or self.engine.intake.resumed_cut_ns
            elif message["T"] == "gap":  # the venue's prints of this time may be missing
                self._note_gap(message.get("from"), message.get("to"))
        if position is None:
            if not control:
                self._feed(frame, None)
        else:
            watermark_ns = max(watermark_ns, position.watermark_ns)
            self._note_epoch(position.epoch)
            if self._begun is not None:
                self._begun(position.epoch, position.previous + 1)
                self._begun = None
        self._advance(watermark_ns, stop)
        if position is not None and self._is_new(position):
            self.expected = position.offset + 1
            if not control and not self._seen_until_ns:
                self._feed(frame, position)

    def _is_new(self, position: Extension) -> bool:
        """Was it not taken yet? A part of a long frame of the upstream completes no number."""
        part = position.previous == position.offset
        return position.offset >= self.expected - part

    def _note_gap(self, from_ns: object, to_ns: object) -> None:
        if isinstance(from_ns, int) and isinstance(to_ns, int) and from_ns < to_ns:
            self.engine.gap(from_ns, to_ns)

    def _note_repetition(self, again_ns: int) -> None:
        """What follows is sent again up to `again_ns`: nothing new when we closed that already."""
        self._seen_until_ns = again_ns if again_ns <= self.watermark_ns else 0

    def _feed(self, frame: bytes, position: Extension | None) -> None:
        """A frame holds what the relay counts from `previous` (left out) up to `offset`."""
        if position is None:
            self.engine.feed(frame)
        else:
            self.engine.feed(frame, position.previous + 1, position.offset)
        if self.engine.exits.symbols:
            self._send_signals()

    def _note_epoch(self, epoch: int) -> None:
        if self.relay_epoch is not None and self.relay_epoch != epoch:
            logger.warning("the relay began anew", extra={"epoch": epoch})
            self.engine.relay_restarted()
            self.expected = 0
            if self._gap_since_ns is None:
                self._gap_since_ns = self.watermark_ns
        self.relay_epoch = epoch

    def _advance(self, watermark_ns: int, stop: int | None) -> None:
        """Close what is due; in lock-step answer the stop with the last report, or without."""
        if self._gap_since_ns is not None and watermark_ns > 0:
            if 0 < self._gap_since_ns < watermark_ns:  # else all that was missed is sent again
                self.engine.gap(self._gap_since_ns, watermark_ns)
            self._gap_since_ns = None
        if watermark_ns <= self.watermark_ns and stop is None:
            return
        self.watermark_ns = max(self.watermark_ns, watermark_ns)
        self._lag.note(self._now_ns(), self.watermark_ns)
        previous: ClosedBucket | None = None
        for closed in self.engine.closing(self.watermark_ns):
            self._book(closed)
            if previous is not None:
                self._report(previous, None)
            previous = closed
        if previous is not None or stop is not None:
            self._send_signals()
        if previous is not None:
            self._report(previous, stop)
            self._archive_revisions()
        elif stop is not None:
            self._send(
                messages.StopDone(
                    run=self.assignment.run, shard=self.engine.shard, epoch=self.engine.epoch,
                    seq=self._seq(), stop=stop, t_ns=self.watermark_ns,
                    assignment=self.assignment.assignment,
                )
            )  # fmt: skip

    def _book(self, closed: ClosedBucket) -> None:
        if self._record is not None and closed.rows.size:
            self._record.write(closed.rows.tobytes())
            self._record.flush()
        if self._archive is not None and closed.rows.size:
            self._archive(closed.rows)
        if self._keep is not None:
            self._keep(self.engine.state_after(closed.k), self.relay_epoch or 0)

    def _archive_revisions(self) -> None:
        """Hand on what became of earlier buckets: after the report, which must not wait for it."""
        if self._archive is not None:
            revised = self.engine.take_revisions()
            if revised.size:
                self._archive(revised)

    def _report(self, closed: ClosedBucket, stop: int | None) -> None:
        self._send(
            messages.Report(
                run=self.assignment.run, seq=self._seq(), stop=stop, feed_lag_ms=self.lag_ms,
                **closed.report_parts,
            )
        )  # fmt: skip

    def _send_signals(self) -> None:
        for signal in self.engine.take_exit_signals():
            self._send(signal)

    def close(self) -> None:
        """End: the record file is complete up to the last report."""
        if self._record is not None:
            self._record.close()


def _may_hold_control(frame: bytes) -> bool:
    head = frame[:_LOOK_BYTES]
    return any(word in head for word in _WORDS)


def _controls(frame: bytes) -> list[dict[str, Any]]:
    decoded = msgspec.msgpack.decode(frame)
    found = decoded if isinstance(decoded, list) else []
    return [one for one in found if isinstance(one, dict) and one.get("T") in _CONTROLS]
