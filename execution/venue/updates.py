"""`/stream`: the trade updates, JSON in binary frames as on Alpaca's paper endpoint."""

import asyncio
import json
import logging
from collections.abc import Iterable
from typing import Any

from execution.venue.faults import FaultPlan, FaultyStream
from execution.venue.options import Credentials
from execution.venue.sockets import Closed, Socket

logger = logging.getLogger(__name__)
AUTH_TIMEOUT_S = 10.0
MAX_CONNECTIONS = 32
TRADE_UPDATES = "trade_updates"


class UpdateStream:
    """The listeners of one account's trade updates."""

    def __init__(self, credentials: Credentials, faulty: FaultyStream | None = None) -> None:
        self._credentials = credentials
        self._faulty = faulty or FaultyStream(FaultPlan())
        self._listening: set[Socket] = set()
        self._connections = 0

    @property
    def listeners(self) -> int:
        return len(self._listening)

    async def serve(self, socket: Socket) -> None:
        """Hold one connection to its end. Never speaks before the client has."""
        await socket.accept()
        self._connections += 1
        try:
            if self._connections > MAX_CONNECTIONS:
                await socket.close(4406, "connection limit exceeded")
            elif await self._authorized(socket):
                while True:
                    await self._receive(socket, _decode(await socket.receive()))
        except Closed:
            pass
        finally:
            self._connections -= 1
            self._listening.discard(socket)

    async def send(self, updates: Iterable[dict[str, Any]], now_ns: int = 0) -> None:
        """Write the updates, in order, to everybody who listens — but for the plan's faults."""
        sent, cut = self._faulty.pass_on(updates, now_ns)
        await self._write(sent)
        for socket in tuple(self._listening) if cut else ():
            self._listening.discard(socket)
            await socket.close(1012, "cut by the fault plan")

    async def _write(self, updates: Iterable[dict[str, Any]]) -> None:
        for update in updates:
            message = _encode(TRADE_UPDATES, update)
            for socket in tuple(self._listening):
                try:
                    await socket.send(message)
                except Closed:
                    self._listening.discard(socket)

    async def _authorized(self, socket: Socket) -> bool:
        try:
            async with asyncio.timeout(AUTH_TIMEOUT_S):
                return await self._authenticate(socket)
        except TimeoutError:
            await socket.close(4404, "auth timeout")
            return False

    async def _authenticate(self, socket: Socket) -> bool:
        while True:
            message = _decode(await socket.receive())
            action = message.get("action")
            good = action in ("auth", "authenticate") and self._knows(message)
            answer = {
                "status": "authorized" if good else "unauthorized",
                "action": "listen" if action == "listen" else "authenticate",
            }
            await socket.send(_encode("authorization", answer))
            if good:
                return True
            if action != "listen":
                await socket.close(4402, "unauthorized")
                return False

    def _knows(self, message: dict[str, Any]) -> bool:
        data = message.get("data")
        fields = data if isinstance(data, dict) else message
        key = fields.get("key_id", fields.get("key"))
        secret = fields.get("secret_key", fields.get("secret"))
        return (
            isinstance(key, str)
            and isinstance(secret, str)
            and self._credentials.match(key, secret)
        )

    async def _receive(self, socket: Socket, message: dict[str, Any]) -> None:
        if message.get("action") != "listen":
            return
        data = message.get("data")
        wanted = data.get("streams") if isinstance(data, dict) else None
        listens = isinstance(wanted, list) and TRADE_UPDATES in wanted
        if listens:
            self._listening.add(socket)
        else:
            self._listening.discard(socket)
        await socket.send(_encode("listening", {"streams": [TRADE_UPDATES] if listens else []}))


def _encode(stream: str, data: dict[str, Any]) -> bytes:
    return json.dumps({"stream": stream, "data": data}, separators=(",", ":")).encode()


def _decode(message: str | bytes) -> dict[str, Any]:
    try:
        value = json.loads(message)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
