"""One watcher per web process: reads the board once a second, hands changes to every page.

A page gets a numbered snapshot when it joins, then numbered deltas that hold the sections that
changed. Pages that miss a number ask for a snapshot. Nothing is read while nobody looks.
"""

import asyncio
import logging
from collections.abc import Callable
from functools import cache
from typing import Any

from asgiref.sync import sync_to_async
from django.conf import settings
from django.db import DatabaseError, close_old_connections
from django.template.loader import render_to_string

from tradeplane.pages import board as pages_board
from tradeplane.runtime.redis import short_client

logger = logging.getLogger(__name__)

EVERY_S = 1.0
BEAT_EVERY = 2  # looks without a change before a sign of life
PENDING_MAX = 8

Message = dict[str, Any]


class Reader:
    """Reads the board and renders its sections; synchronous, used from one thread."""

    def __init__(self) -> None:
        self._redis = short_client(settings.REDIS_STATE_URL)

    def sections(self) -> tuple[dict[str, str], str]:
        """Return the HTML of every section by name, and the kind of the mode."""
        values = pages_board.board(pages_board.heartbeats(self._redis))
        html: dict[str, str] = {
            name: render_to_string(f"status/{name}.html", {name: values[name]})
            for name in pages_board.SECTIONS
        }
        return html, str(values["mode"]["kind"])

    def sections_outside_requests(self) -> tuple[dict[str, str], str]:
        """The same where no request begins or ends to drop a connection the database closed."""
        close_old_connections()
        return self.sections()


@cache
def shared_reader() -> Reader:
    """Return the process's one reader (and its Redis connections)."""
    return Reader()


class Feed:
    """Fans the board out to the pages' queues; bounded, and a slow page gets a snapshot again."""

    def __init__(self, read: Callable[[], tuple[dict[str, str], str]]) -> None:
        self._read = sync_to_async(read, thread_sensitive=True)
        self._pages: set[asyncio.Queue[Message]] = set()
        self._task: asyncio.Task[None] | None = None
        self._sections: dict[str, str] = {}
        self._kind = "off"
        self._quiet = 0
        self.seq = 0

    async def join(self) -> asyncio.Queue[Message]:
        """Return a queue whose first message is a snapshot."""
        if not self._sections or not self._pages:
            await self._look()
        queue: asyncio.Queue[Message] = asyncio.Queue(PENDING_MAX)
        queue.put_nowait(self.snapshot())
        self._pages.add(queue)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run())
        return queue

    def leave(self, queue: asyncio.Queue[Message]) -> None:
        self._pages.discard(queue)

    def snapshot(self) -> Message:
        return {"type": "snapshot", "seq": self.seq, "mode": self._kind, "sections": self._sections}

    async def _run(self) -> None:
        while self._pages:
            await asyncio.sleep(EVERY_S)
            try:
                self._send(await self._look())
            except DatabaseError:
                logger.exception("the board cannot be read")
                self._send({"type": "stale", "seq": self.seq})

    async def _look(self) -> Message | None:
        """Read once; the delta since the last look, a sign of life now and then, or None."""
        sections, self._kind = await self._read()
        changed = {n: html for n, html in sections.items() if self._sections.get(n) != html}
        self._sections = sections
        if changed:
            self._quiet = 0
            self.seq += 1
            return {"type": "delta", "seq": self.seq, "mode": self._kind, "sections": changed}
        self._quiet += 1
        return {"type": "beat", "seq": self.seq} if self._quiet % BEAT_EVERY == 0 else None

    def _send(self, message: Message | None) -> None:
        if message is None:
            return
        for queue in self._pages:
            if queue.full():  # a slow page: drop what it has not read, it starts anew
                while not queue.empty():
                    queue.get_nowait()
                queue.put_nowait(self.snapshot())
            else:
                queue.put_nowait(message)
