"""One consumer's place at the relay: its line in the fan-out and its socket.

Data goes to the transport at once, as whole frames, past the library's `send`; while the transport
is full the outbox gathers more into fewer frames. Nothing here waits for a consumer.
"""

import asyncio
import time
from collections.abc import Callable

from websockets.asyncio.server import ServerConnection
from websockets.protocol import State

from relay.data_frames import BINARY, TEXT, frame_header
from relay.fanout import Fanout
from relay.lines import Line

WRITE_LIMIT = (512 * 1024, 128 * 1024)  # the transport's buffer: full from, free again below


class Seat:
    """Sends what waits for one consumer, as far as its socket takes it.

    Args:
        on_lost: called when a replay cannot go on (what it needs has left the ring).
    """

    def __init__(
        self, fanout: Fanout, socket: ServerConnection, on_lost: Callable[[Line], None]
    ) -> None:
        self.socket = socket
        self.line: Line
        self.due = False  # in the list of those to be flushed
        self._fanout = fanout
        self._on_lost = on_lost
        self._waiting: asyncio.Task[None] | None = None

    def flush(self) -> None:
        """Write what waits; come back by ourselves when the socket is full."""
        self.due = False
        line, transport = self.line, self.socket.transport
        while self._waiting is None and self.socket.state is State.OPEN:
            if line.cursor is not None and not self._fanout.replay(line, now_s=time.monotonic()):
                return self._on_lost(line)
            if not line.outbox:
                return None
            pieces: list[bytes] = []
            for frame in line.outbox.take():
                body, opcode = (frame, BINARY) if type(frame) is bytes else (_utf8(frame), TEXT)
                pieces += (frame_header(len(body), opcode), body)
            transport.write(b"".join(pieces))
            if self.socket.paused:
                line.sending_since_s = time.monotonic()
                self._waiting = asyncio.create_task(self._wait())
        return None

    async def _wait(self) -> None:
        try:
            await self.socket.drain()
        except OSError:
            return  # the connection is lost; its reader says so
        self.line.sending_since_s = None
        self._waiting = None
        self.flush()

    def close(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()


def _utf8(frame: str | bytes) -> bytes:
    return frame.encode() if isinstance(frame, str) else frame
