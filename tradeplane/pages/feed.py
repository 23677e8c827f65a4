"""One watcher per web process: reads the board once a second, hands changes to every page.

A page gets a numbered snapshot when it joins, then numbered deltas that hold the sections that
changed. Pages that miss a number ask for a snapshot. Nothing is read while nobody looks.
"""

import asyncio
import hashlib
import logging
import threading
from collections.abc import Callable
from dataclasses import asdict
from functools import cache
from typing import Any

from asgiref.sync import sync_to_async
from django.conf import settings
from django.db import DatabaseError, close_old_connections
from django.template.loader import render_to_string

from tradeplane.pages.board import SECTIONS, Board
from tradeplane.pages.health import Health
from tradeplane.runtime.redis import short_client

logger = logging.getLogger(__name__)

EVERY_S = 1.0
PENDING_MAX = 8

Message = dict[str, Any]
View = tuple[dict[str, str], Message]  # HTML by section, and facts about the whole page


class Reader:
    """Reads the board and renders its sections; one caller at a time."""

    def __init__(self) -> None:
        self.redis = short_client(settings.REDIS_STATE_URL)
        self._board = Board(self.redis)
        self._lock = threading.Lock()
        self._rendered: dict[str, tuple[Any, str]] = {}

    def look(self) -> tuple[dict[str, Any], View]:
        """Return the sections' values, their HTML, and the facts about the page."""
        with self._lock:
            values, health = self._board.read()
            html = {name: self._render(name, values[name]) for name in SECTIONS}
            return values, (html, _facts(values, health))

    def sections_outside_requests(self) -> View:
        """The same where no request begins or ends to drop a connection the database closed."""
        close_old_connections()
        return self.look()[1]

    def _render(self, name: str, values: Any) -> str:
        """Render a section when its values changed."""
        known = self._rendered.get(name)
        if known is None or known[0] != values:
            text: str = render_to_string(f"live/{name}.html", {name: values})
            self._rendered[name] = known = (values, text)
        return known[1]


def _facts(values: dict[str, Any], health: Health) -> Message:
    return {"mode": values["mode"]["kind"], "build": build(), "health": asdict(health)}


@cache
def build() -> str:
    """Return a name of the pages' code: a page of another build must be loaded anew."""
    found = hashlib.sha256()
    for folder in (settings.BASE_DIR / "static", settings.BASE_DIR / "templates"):
        for path in sorted(folder.rglob("*.*")):
            found.update(path.read_bytes())
    return found.hexdigest()[:12]


@cache
def shared_reader() -> Reader:
    """Return the process's one reader (and its Redis connections)."""
    return Reader()


class Feed:
    """Fans the board out to the pages' queues; bounded, and a slow page gets a snapshot again."""

    def __init__(self, read: Callable[[], View]) -> None:
        self._read = sync_to_async(read, thread_sensitive=True)
        self._pages: set[asyncio.Queue[Message]] = set()
        self._task: asyncio.Task[None] | None = None
        self._sections: dict[str, str] = {}
        self._facts: Message = {}
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
        return {"type": "snapshot", "seq": self.seq, "sections": self._sections, **self._facts}

    async def _run(self) -> None:
        while self._pages:
            await asyncio.sleep(EVERY_S)
            try:
                self._send(await self._look())
            except DatabaseError:
                logger.exception("the board cannot be read")
                self._send({"type": "error", "seq": self.seq})

    async def _look(self) -> Message:
        """Read once; the delta since the last look, or a beat with the clock."""
        sections, self._facts = await self._read()
        changed = {n: html for n, html in sections.items() if self._sections.get(n) != html}
        self._sections = sections
        if not changed:
            return {"type": "beat", "seq": self.seq, **self._facts}
        self.seq += 1
        return {"type": "delta", "seq": self.seq, "sections": changed, **self._facts}

    def _send(self, message: Message) -> None:
        for queue in self._pages:
            if queue.full():  # a slow page: drop what it has not read, it starts anew
                while not queue.empty():
                    queue.get_nowait()
                queue.put_nowait(self.snapshot())
            else:
                queue.put_nowait(message)
