"""The status page's live connection."""

import asyncio
from typing import Any

from channels.generic.websocket import AsyncJsonWebsocketConsumer

from tradeplane.pages.feed import Feed, shared_reader

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


class StatusConsumer(AsyncJsonWebsocketConsumer):  # type: ignore[misc] # Channels has no types
    """Snapshot first, then deltas; the page may ask for a snapshot again."""

    #: No channel layer: a page must not go blind because Redis did.
    channel_layer_alias = "none"
    _pump: asyncio.Task[None] | None = None
    _queue: asyncio.Queue[dict[str, Any]] | None = None

    async def connect(self) -> None:
        user = self.scope.get("user")
        if user is None or not user.is_authenticated:
            await self.close(code=CLOSE_UNAUTHENTICATED)
            return
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
            await self.send_json(current_feed().snapshot())

    async def _pump_queue(self, queue: asyncio.Queue[dict[str, Any]]) -> None:
        while True:
            await self.send_json(await queue.get())
