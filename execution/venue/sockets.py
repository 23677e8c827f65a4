"""One websocket connection of the ASGI server, and the HTTP request, without their dicts."""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Scope = MutableMapping[str, Any]
ABNORMAL = (1005, 1006)  # what the server says of a connection that ended without a code


class Closed(Exception):
    """The other side is gone; `said_goodbye` when it closed as the protocol asks."""

    said_goodbye = False


class Socket:
    """A websocket. `send` waits while the peer's buffers are full, so nothing piles up here."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.headers = {
            name.decode("latin-1").lower(): value.decode("latin-1")
            for name, value in scope["headers"]
        }
        self.path: str = scope["path"]
        self._receive = receive
        self._send = send
        self.closed = False

    async def accept(self) -> None:
        await self._receive()  # websocket.connect
        await self._send({"type": "websocket.accept"})

    async def receive(self) -> str | bytes:
        """Return the next message. Raises: Closed."""
        message = await self._receive()
        if message["type"] != "websocket.receive":
            self.closed = True
            closed = Closed()
            closed.said_goodbye = message.get("code", 1006) not in ABNORMAL
            raise closed
        text = message.get("text")
        data: bytes = message.get("bytes") or b""
        return text if text is not None else data

    async def send(self, message: str | bytes) -> None:
        """Send one message. Raises: Closed."""
        kind = "text" if isinstance(message, str) else "bytes"
        await self._guarded({"type": "websocket.send", kind: message})

    async def close(self, code: int = 1000, reason: str = "") -> None:
        if not self.closed:
            await self._guarded({"type": "websocket.close", "code": code, "reason": reason})
            self.closed = True

    async def _guarded(self, message: Message) -> None:
        if self.closed:
            raise Closed
        try:
            await self._send(message)
        except (OSError, RuntimeError) as exc:  # uvicorn: ClientDisconnected, or sent after close
            self.closed = True
            raise Closed from exc


async def read_body(receive: Receive, limit: int) -> bytes:
    """Return a request's body, at most `limit` + 1 bytes of it."""
    body = b""
    while len(body) <= limit:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    return body[: limit + 1]


async def respond(
    send: Send, status: int, body: bytes, headers: tuple[tuple[bytes, bytes], ...] = ()
) -> None:
    base = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": [*base, *headers]})
    await send({"type": "http.response.body", "body": body})
