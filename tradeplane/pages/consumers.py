"""The pages' live connection."""

import asyncio
from typing import Any
from urllib.parse import parse_qs

from channels.generic.websocket import AsyncJsonWebsocketConsumer

from tradeplane.pages.board import SECTIONS
from tradeplane.pages.feed import Feed, Message, shared_reader

CLOSE_UNAUTHENTICATED = 4401
_feeds: dict[asyncio.AbstractEventLoop, Feed] = {}


def current_feed() -> Feed:
    """Return the feed of the running loop: one per web process."""
    loop = asyncio.get_running_loop()
    for stale in [known for known in _feeds if known.is_closed()]:
        del _feeds[stale]
    if loop not in _feeds:
        _feeds[loop] = Feed(shared_reader().sections_outside_requests)
    return _feeds[loop]


class LiveConsumer(AsyncJsonWebsocketConsumer):  # type: ignore[misc] # Channels has no types
    """Snapshot first, then deltas; the page may ask for a snapshot again.

    `?sections=mode,hero` keeps what the page has no place for from being sent to it.
    """

    #: No channel layer: a page must not go blind because Redis did.
    channel_layer_alias = "none"
    _pump: asyncio.Task[None] | None = None
    _queue: asyncio.Queue[Message] | None = None
    _wanted: frozenset[str] = frozenset(SECTIONS)

    async def connect(self) -> None:
        user = self.scope.get("user")
        if user is None or not user.is_authenticated:
            await self.close(code=CLOSE_UNAUTHENTICATED)
            return
        asked = parse_qs(self.scope.get("query_string", b"").decode("ascii", "replace"))
        if "sections" in asked:
            self._wanted = frozenset(asked["sections"][0].split(","))
        await self.accept()
        self._queue = await current_feed().join()
        self._pump = asyncio.create_task(self._pump_queue(self._queue))

    async def disconnect(self, code: int) -> None:
        if self._queue is not None:
            current_feed().leave(self._queue)
        if self._pump is not None:
            self._pump.cancel()

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        if isinstance(content, dict) and content.get("type") == "snapshot":
            await self.send_json(self._trimmed(current_feed().snapshot()))

    async def _pump_queue(self, queue: asyncio.Queue[Message]) -> None:
        while True:
            await self.send_json(self._trimmed(await queue.get()))

    def _trimmed(self, message: Message) -> Message:
        if "sections" not in message:
            return message
        kept = {n: html for n, html in message["sections"].items() if n in self._wanted}
        return {**message, "sections": kept}
