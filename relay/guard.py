"""Server connections with limits from the first byte on: pending, per address, bytes, pieces."""

import asyncio
import time
from collections.abc import Callable
from typing import Any, cast

from websockets.asyncio.server import ServerConnection

from relay.gate import Bucket, Gate

STRANGER_BYTES = 24 * 1024  # handshake and login together
INBOUND_BYTES = (1 << 20, 64 * 1024)  # burst, per second: consumers say almost nothing
INBOUND_PIECES = (2_000, 100)  # ping floods and one-byte writes end here


class GuardedConnection(ServerConnection):
    """Hangs up on who is over a limit; nothing is parsed of a connection that was not admitted.

    Args:
        on_refused: called once for each connection that ends here.
    """

    def __init__(
        self, *args: Any, gate: Gate, on_refused: Callable[[], None], **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self._gate = gate
        self._on_refused = on_refused
        self._address = ""
        self._admitted = self._pending = False
        self._known = False
        self._stranger_bytes = STRANGER_BYTES
        now_s = time.monotonic()
        burst, per_second = INBOUND_BYTES
        self._bytes = Bucket(burst=burst, per_second=per_second, now_s=now_s)
        burst, per_second = INBOUND_PIECES
        self._pieces = Bucket(burst=burst, per_second=per_second, now_s=now_s)

    def authenticated(self) -> None:
        """This is nobody's stranger any more."""
        self._known = True
        self._leave()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        peer = transport.get_extra_info("peername")
        self._address = str(peer[0]) if peer else ""
        if not self._gate.admit(self._address, now_s=time.monotonic()):
            self._on_refused()
            cast(asyncio.Transport, transport).abort()
            return
        self._admitted = self._pending = True
        super().connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._admitted:
            self._leave()
            super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if not self._admitted or self.transport.is_closing():
            return
        now_s = time.monotonic()
        within = self._pieces.take(1, now_s=now_s) and self._bytes.take(len(data), now_s=now_s)
        if not self._known:
            self._stranger_bytes -= len(data)
            within = within and self._stranger_bytes >= 0
        if within:
            super().data_received(data)
        else:
            self._on_refused()
            self.transport.abort()

    def eof_received(self) -> None:
        if self._admitted:
            super().eof_received()

    def _leave(self) -> None:
        if self._pending:
            self._pending = False
            self._gate.leave(self._address)
