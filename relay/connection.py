"""Client connections that hand whole messages to a callback, past the library's queue.

`websockets` does the handshake, pings, closing and everything unusual; see `relay.data_frames`.
"""

from collections.abc import Callable
from typing import Any

from websockets.asyncio.client import ClientConnection
from websockets.frames import DATA_OPCODES, Frame
from websockets.http11 import Response
from websockets.protocol import Event, State

from relay.data_frames import DataFrames

_END_OF_HEADERS = b"\r\n\r\n"


class DirectConnection(ClientConnection):
    """Calls `on_message` with every message, in order, as soon as its bytes are there.

    An error of the callback ends the connection and is kept in `failure`.
    """

    def __init__(
        self, *args: Any, on_message: Callable[[bytes], None], max_bytes: int, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.failure: Exception | None = None
        self._on_message = on_message
        self._frames: DataFrames | None = DataFrames(max_bytes=max_bytes)
        self._head = bytearray()  # of the handshake's answer
        self._parts: list[bytes] = []  # of a message that came through the library

    def data_received(self, data: bytes) -> None:
        if self.failure is not None:
            return
        if self.protocol.state is State.CONNECTING:
            data = self._answer(data)
        if self._frames is None:
            super().data_received(data)
        elif data:
            messages, others = self._frames.feed(data)
            for message in messages:
                self._deliver(message)
            for piece in others:
                super().data_received(piece)

    def _answer(self, data: bytes) -> bytes:
        """Give the library the handshake's answer; return what came behind it."""
        known = max(0, len(self._head) - len(_END_OF_HEADERS))
        self._head += data
        end = self._head.find(_END_OF_HEADERS, known)
        if end < 0:
            super().data_received(data)
            return b""
        behind = len(self._head) - end - len(_END_OF_HEADERS)
        super().data_received(data[: len(data) - behind])
        if self.protocol.state is not State.OPEN or self.protocol.extensions:
            self._frames = None  # refused (a body may follow), or compressed
        return data[len(data) - behind :]

    def process_event(self, event: Event) -> None:
        """Take data that the library has parsed (compressed frames)."""
        if isinstance(event, Response) or not isinstance(event, Frame):
            super().process_event(event)
        elif event.opcode in DATA_OPCODES:
            self._parts.append(bytes(event.data))
            if event.fin:
                whole, self._parts = b"".join(self._parts), []
                self._deliver(whole)
        else:
            super().process_event(event)

    def _deliver(self, message: bytes) -> None:
        if self.failure is not None:
            return
        try:
            self._on_message(message)
        except Exception as exc:  # noqa: BLE001 - raised by whoever holds the connection
            self.fail(exc)

    def fail(self, failure: Exception) -> None:
        """End the connection at once, for this reason."""
        self.failure = self.failure or failure
        self.transport.abort()
