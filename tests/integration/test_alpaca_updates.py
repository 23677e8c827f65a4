"""The trade-updates socket: one whose other end is gone, or says nothing, is dialed anew."""

import asyncio
import json
import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection, serve

from execution.brokers import alpaca_updates
from execution.brokers.alpaca_updates import AlpacaUpdates

TIMEOUT_S = 15.0


class Venue:
    """Speaks the protocol; `hang` stops reading and answering, as a dead network does."""

    def __init__(self) -> None:
        self.connections = 0
        self.hanging = threading.Event()
        self.port = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._sockets: list[ServerConnection] = []

    async def handle(self, socket: ServerConnection) -> None:
        self.connections += 1
        self._sockets.append(socket)
        await socket.recv()
        await socket.send(say("authorization", {"status": "authorized", "action": "authenticate"}))
        await socket.recv()
        await socket.send(say("listening", {"streams": ["trade_updates"]}))
        await socket.wait_closed()

    def hang(self) -> None:
        """Take no byte any more from the connections there are."""
        for socket in self._sockets:
            self._loop.call_soon_threadsafe(socket.transport.pause_reading)

    async def main(self, ready: threading.Event, stop: asyncio.Event) -> None:
        self._loop = asyncio.get_running_loop()
        async with serve(self.handle, "127.0.0.1", 0, ping_interval=None) as server:
            self.port = server.sockets[0].getsockname()[1]
            ready.set()
            await stop.wait()
            for socket in self._sockets:
                socket.transport.abort()


def say(stream: str, data: dict[str, Any]) -> bytes:
    return json.dumps({"stream": stream, "data": data}).encode()


@contextmanager
def venue() -> Iterator[Venue]:
    made, ready, stops = Venue(), threading.Event(), []

    async def main() -> None:
        stop = asyncio.Event()
        stops.append((asyncio.get_running_loop(), stop))
        await made.main(ready, stop)

    thread = threading.Thread(target=lambda: asyncio.run(main()))
    thread.start()
    assert ready.wait(TIMEOUT_S)
    try:
        yield made
    finally:
        loop, stop = stops[0]
        loop.call_soon_threadsafe(stop.set)
        thread.join(TIMEOUT_S)


@contextmanager
def listening(port: int) -> Iterator[tuple[AlpacaUpdates, "queue.Queue[tuple[str, Any]]"]]:
    told: queue.Queue[tuple[str, Any]] = queue.Queue()
    stream = AlpacaUpdates(
        url=f"ws://127.0.0.1:{port}/stream",
        key="k",
        secret="s",
        post=lambda kind, payload=None: told.put((kind, payload)),
    )
    stream.start()
    try:
        yield stream, told
    finally:
        stream.stop()


def states(told: "queue.Queue[tuple[str, Any]]", count: int) -> list[str]:
    return [told.get(timeout=TIMEOUT_S)[1] for _ in range(count)]


def test_a_half_open_socket_is_found_dead_and_dialed_anew(monkeypatch) -> None:
    monkeypatch.setitem(alpaca_updates.PINGS, "ping_interval", 0.2)
    monkeypatch.setitem(alpaca_updates.PINGS, "ping_timeout", 0.2)
    monkeypatch.setitem(alpaca_updates.PINGS, "close_timeout", 0.2)
    with venue() as there, listening(there.port) as (_, told):
        assert states(told, 1) == ["up"]

        there.hang()

        assert states(told, 2) == ["down", "up"]
        assert there.connections == 2


def test_a_socket_that_does_not_speak_is_dropped_when_asked() -> None:
    with venue() as there, listening(there.port) as (stream, told):
        assert states(told, 1) == ["up"]

        stream.restart()

        assert states(told, 2) == ["down", "up"]
        assert there.connections == 2


@pytest.mark.parametrize("field", ["ping_interval", "ping_timeout"])
def test_a_dead_socket_is_known_within_seconds_and_not_minutes(field: str) -> None:
    assert 0 < alpaca_updates.PINGS[field] <= 5
