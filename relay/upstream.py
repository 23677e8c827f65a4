"""The one upstream connection that the venue allows: opened by the hub or by our own keys."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

from relay.client import RelayClient

logger = logging.getLogger(__name__)
LOOPBACK = ("127.0.0.1", "localhost", "::1")


class Upstream:
    """State and subscription of the upstream; a change of keys opens a new connection.

    Args:
        on_frame: every received frame, in order.
        on_state: called after each change of `message()`.
    """

    def __init__(
        self, url: str, *, on_frame: Callable[[bytes], None], on_state: Callable[[], None]
    ) -> None:
        self.url = url
        self.state, self.reason = "closed", "not opened yet"
        self._feed = urlsplit(url).path.rpartition("/")[2]
        self._distant = urlsplit(url).hostname not in LOOPBACK
        self._on_frame = on_frame
        self._on_state = on_state
        self._wanted: dict[str, list[str]] = {}
        self._keys: tuple[str, str] | None = None
        self._client: RelayClient | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def opened(self) -> bool:
        """Whether somebody gave us keys."""
        return self._keys is not None

    def message(self) -> dict[str, object]:
        """Return the state as hubs are told it."""
        clock = self._client is not None and "clock" in self._client.granted
        told = {"state": self.state, "reason": self.reason, "feed": self._feed, "clock": clock}
        return {"T": "upstream", **told}

    def open(self, key: str, secret: str) -> None:
        """Connect with these keys; the same keys again change nothing while they work."""
        running = self._task is not None and not self._task.done()
        if running and self._keys == (key, secret):
            return
        self._keys = (key, secret)
        before = self._task
        client = self._client = RelayClient(
            self.url,
            key,
            secret,
            extensions=("clock",),
            on_frame=self._on_frame,
            on_state=lambda state, reason: self._changed(client, state, reason),
            retry_refused_s=None,
            compression=self._distant,
        )
        self._client.want(self._wanted)
        self._task = asyncio.create_task(self._run(self._client, before))

    async def _run(self, client: RelayClient, before: asyncio.Task[None] | None) -> None:
        """Hold one connection; the one before it must be gone (the venue allows only one)."""
        if before is not None:
            before.cancel()
            await asyncio.gather(before, return_exceptions=True)
        await client.run()

    def want(self, channels: Mapping[str, list[str]]) -> None:
        """Subscribe to exactly this from now on."""
        self._wanted = dict(channels)
        if self._client is not None:
            self._client.want(channels)

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def _changed(self, client: RelayClient, state: str, reason: str) -> None:
        if client is not self._client or state == "subscribed":
            return  # an earlier connection, or nothing new
        if (state, reason) == (self.state, self.reason):
            return
        self.state, self.reason = state, reason
        facts = {"state": state, "reason": reason, "feed": self._feed}
        logger.info("upstream state", extra=facts)
        self._on_state()
