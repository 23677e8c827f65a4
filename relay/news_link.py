"""The second upstream connection: the venue's news, opened when somebody wants news."""

import asyncio
import logging
from collections.abc import Callable, Iterable
from urllib.parse import urlsplit

from relay.client import RelayClient
from relay.news import NEWS_PATH

logger = logging.getLogger(__name__)


def news_url(stream_url: str) -> str:
    """Return the news stream of the host of a stock stream."""
    parts = urlsplit(stream_url)
    return f"{parts.scheme}://{parts.netloc}{NEWS_PATH}"


class NewsLink:
    """Holds at most one connection; without keys, or when nobody wants news, none.

    Args:
        url: the news stream; None when there are no news.
        on_frame: every data and control frame, in order.
    """

    def __init__(
        self, url: str | None, *, on_frame: Callable[[bytes], None], ca_file: str | None = None
    ) -> None:
        self.state, self.reason = ("closed", "") if url else ("off", "")
        self._url = url
        self._on_frame = on_frame
        self._ca_file = ca_file
        self._wanted: tuple[str, ...] = ()
        self._keys: tuple[str, str] | None = None
        self._client: RelayClient | None = None
        self._task: asyncio.Task[None] | None = None

    def want(self, entries: Iterable[str]) -> None:
        """Subscribe to exactly these from now on."""
        self._wanted = tuple(entries)
        if self._client is not None:
            self._client.want({"news": self._wanted})
        self._dial()

    def open(self, key: str, secret: str) -> None:
        """Use these keys; other ones than before open a new connection."""
        refused = self._task is not None and self._task.done()
        if self._keys == (key, secret) and not refused:
            return
        self._keys, self._client = (key, secret), None
        self._dial()

    def _dial(self) -> None:
        if self._url is None or self._keys is None or not self._wanted or self._client is not None:
            return
        before = self._task
        client = self._client = RelayClient(
            self._url,
            *self._keys,
            on_frame=self._on_frame,
            on_state=lambda state, reason: self._changed(client, state, reason),
            retry_refused_s=None,
            ca_file=self._ca_file,
        )
        client.want({"news": self._wanted})
        self._task = asyncio.create_task(self._run(client, before))

    async def _run(self, client: RelayClient, before: asyncio.Task[None] | None) -> None:
        """Hold one connection; the one before it must be gone (the venue allows only one)."""
        if before is not None:
            before.cancel()
            await asyncio.gather(before, return_exceptions=True)
        await client.run()

    def _changed(self, client: RelayClient, state: str, reason: str) -> None:
        if client is not self._client or (state, reason) == (self.state, self.reason):
            return
        self.state, self.reason = state, reason
        logger.info("news state", extra={"state": state, "reason": reason})

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
