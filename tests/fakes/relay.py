"""A relay for tests: one port, msgpack, the extensions, frames as the test says."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from relay import frames
from relay.extension import pack_extension

EPOCH = 4711
Say = Callable[[dict[str, Any]], Awaitable[None]]


class FakeRelay:
    """Remembers every frame it sent, so that `resume` works; `subscribed` counts the asks."""

    def __init__(self) -> None:
        self.log: list[bytes] = []
        self.epoch = EPOCH
        self.requests: list[dict[str, Any]] = []
        self.subscribed = asyncio.Event()
        self._consumers: set[ServerConnection] = set()
        self._server: Server | None = None

    async def __aenter__(self) -> "FakeRelay":
        self._server = await serve(self._serve, "127.0.0.1", 0, max_size=None)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    @property
    def url(self) -> str:
        assert self._server is not None
        port = self._server.sockets[0].getsockname()[1]
        return f"ws://127.0.0.1:{port}/v2/sip"

    async def send(self, watermark_ns: int, messages: list[bytes]) -> int:
        """Send one frame to everybody; returns its offset."""
        offset = len(self.log) + 1
        head = pack_extension(self.epoch, offset, offset - 1, watermark_ns)
        self.log.append(frames.encode_array([head, *messages]))
        for consumer in list(self._consumers):
            await consumer.send(self.log[-1])
        return offset

    async def clock(self, t_ns: int, stop: int | None = None) -> None:
        message = {"T": "clock", "t": t_ns} | ({} if stop is None else {"stop": stop})
        await self.send(t_ns, [msgspec.msgpack.encode(message)])

    async def drop(self) -> None:
        """Cut every connection."""
        self.subscribed.clear()
        for consumer in list(self._consumers):
            await consumer.close()

    async def _serve(self, connection: ServerConnection) -> None:
        async def say(message: dict[str, Any]) -> None:
            await connection.send(msgspec.msgpack.encode([message]))

        await say({"T": "success", "msg": "connected"})
        try:
            await self._converse(connection, say)
        except ConnectionClosed:
            pass  # however it went away
        finally:
            self._consumers.discard(connection)

    async def _converse(self, connection: ServerConnection, say: Say) -> None:
        channels: dict[str, list[str]] = {}
        async for raw in connection:
            request = msgspec.msgpack.decode(raw)
            self.requests.append(request)
            if request["action"] == "auth":
                granted = request["extensions"]
                await say({"T": "success", "msg": "authenticated", "extensions": granted})
            elif request["action"] == "subscribe":
                channels |= {k: v for k, v in request.items() if k not in ("action", "resume")}
                await say({"T": "subscription", **channels})
                await self._resume(connection, request.get("resume"))
                self._consumers.add(connection)
                self.subscribed.set()

    async def _resume(self, connection: ServerConnection, resume: dict[str, int] | None) -> None:
        if resume is None:
            return
        known = resume["e"] == self.epoch
        state = "RECOVERED" if known else "GAP"
        answer = {"T": "resume", "state": state, "from": resume["o"], "to": 0, "e": self.epoch}
        await connection.send(msgspec.msgpack.encode([answer]))
        for frame in self.log[resume["o"] - 1 :] if known else []:
            await connection.send(frame)
