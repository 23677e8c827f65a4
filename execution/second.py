"""The hub's second process: judges half of a crowd, and knows nothing else.

`python -m execution.second` reads questions from its standard input and writes answers to its
standard output, each msgpack behind its length, until its input ends: it cannot outlive the hub.
It is never needed: without an answer in time the hub judges the whole crowd itself.
"""

import gc
import logging
import os
import select
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from execution.domain.halves import Answer, Ask, answer

logger = logging.getLogger(__name__)

ROOT = Path(__file__).parents[1]
SEND_S = 1.0
PATIENCE = 1.0  # how much longer than its own half the hub waits: then it would be done alone
CHUNK = 1 << 20
LENGTH = struct.Struct("<Q")
ANSWER_MAX = 1 << 28
_encoder = msgspec.msgpack.Encoder()
_answers = msgspec.msgpack.Decoder(Answer)


class SecondHand:
    """The hub's end: `ask` is a `domain.halves.Second`. One question at a time.

    Args: patience: how long an answer is waited for, as a multiple of the time since it was asked.
    """

    def __init__(self, patience: float = PATIENCE) -> None:
        self._patience = patience
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()

    def start(self) -> None:
        """Start the process, or a new one when it has died."""
        if self._process is not None and self._process.poll() is None:
            return
        self.stop()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "execution.second"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT, bufsize=0,
        )  # fmt: skip

    def stop(self) -> None:
        """End the process; it has nothing to lose."""
        process, self._process = self._process, None
        if process is None:
            return
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()
        process.kill()
        process.wait()

    def ask(self, question: Ask) -> Callable[[], Answer | None]:
        """Send a question; the result waits for the answer, None when there will be none."""
        if not self._lock.acquire(blocking=False):
            return lambda: None
        asked = time.monotonic()
        try:
            self.start()
            self._send(_encoder.encode(question), asked + SEND_S)
        except (OSError, ValueError) as exc:  # ValueError: it was stopped meanwhile
            self._failed(exc)
            self._lock.release()
            return lambda: None
        return lambda: self._answer(asked)

    def _answer(self, asked: float) -> Answer | None:
        now = time.monotonic()
        due = now + self._patience * (now - asked)
        try:
            size = LENGTH.unpack(self._read(LENGTH.size, due))[0]
            if size > ANSWER_MAX:
                raise OSError(f"an answer of {size} bytes")
            return _answers.decode(self._read(size, due))
        except (OSError, ValueError, msgspec.MsgspecError) as exc:
            self._failed(exc)
            return None
        finally:
            self._lock.release()

    def _failed(self, exc: Exception) -> None:
        logger.warning("the hub judges a crowd alone", extra={"error": str(exc)})
        self.stop()

    def _send(self, body: bytes, due: float) -> None:
        pipe = self._process.stdin if self._process is not None else None
        if pipe is None:
            raise OSError("there is no second process")
        os.set_blocking(pipe.fileno(), False)
        left = memoryview(LENGTH.pack(len(body)) + body)
        while left:
            if not select.select([], [pipe], [], max(0.0, due - time.monotonic()))[1]:
                raise OSError("the second process does not read")
            left = left[os.write(pipe.fileno(), left[:CHUNK]) :]

    def _read(self, size: int, due: float) -> bytes:
        pipe = self._process.stdout if self._process is not None else None
        if pipe is None:
            raise OSError("there is no second process")
        found = bytearray()
        while len(found) < size:
            if not select.select([pipe], [], [], max(0.0, due - time.monotonic()))[0]:
                raise OSError("the second process is late")
            part = os.read(pipe.fileno(), min(CHUNK, size - len(found)))
            if not part:
                raise OSError("the second process has ended")
            found += part
        return bytes(found)


def main() -> None:
    """Answer until the input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the hub's; it ends us
    asks = msgspec.msgpack.Decoder(Ask)
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    gc.freeze()
    gc.disable()  # nothing in a round points in a circle
    while head := source.read(LENGTH.size):
        body = source.read(LENGTH.unpack(head)[0])
        told = _encoder.encode(answer(asks.decode(body)))
        sink.write(LENGTH.pack(len(told)))
        sink.write(told)
        sink.flush()


if __name__ == "__main__":
    main()
