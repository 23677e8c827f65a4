"""The one upstream connection that the venue allows: opened by the hub or by our own keys.

`relay.client` connects and comes back; here is what that means for the rest: states for the hubs,
silence that is a fault, gaps, and trades that come twice.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple
from urllib.parse import urlsplit

from relay import watchdog
from relay.client import RelayClient

logger = logging.getLogger(__name__)
LOOPBACK = ("127.0.0.1", "localhost", "::1")
WATCH_S = 0.25
MALFORMED = (3, 60.0)  # so many within so many seconds: the connection is not sane


class Interruption(NamedTuple):
    """Since when nothing comes, on the host's clock and on the venue's own (UTC ns), and why."""

    host_ns: int
    market_ns: int
    reason: str


Channels = Mapping[str, frozenset[str]]


class Upstream:
    """State and subscription of the upstream; a change of keys opens a new connection.

    Args:
        on_frame: every received frame, in order.
        on_state: called after each change of `message()`.
        on_gap: called with (from_ns, to_ns, reason) when data flows again after an interruption.
        on_refused: called with the subscription that the venue left us with (405).
        market_ns: how far a venue with a clock of its own has come, UTC ns.
        ca_file: for wss, certificates to trust instead of the system's.
    """

    def __init__(
        self,
        url: str,
        *,
        on_frame: Callable[[bytes], None],
        on_state: Callable[[], None],
        on_gap: Callable[[int, int, str], None] = lambda start, end, reason: None,
        on_refused: Callable[[Channels], None] = lambda channels: None,
        market_ns: Callable[[], int] = lambda: 0,
        ca_file: str | None = None,
    ) -> None:
        self.url = url
        self.state, self.reason = "closed", "not opened yet"
        self.heard_ns: int | None = None  # the last frame, on the host's clock
        self._feed = urlsplit(url).path.rpartition("/")[2]
        self._distant = urlsplit(url).hostname not in LOOPBACK
        self._on_frame = on_frame
        self._on_state = on_state
        self._on_gap = on_gap
        self._on_refused = on_refused
        self._market_ns = market_ns
        self._ca_file = ca_file
        self._wanted: dict[str, list[str]] = {}
        self._keys: tuple[str, str] | None = None
        self._client: RelayClient | None = None
        self._task: asyncio.Task[None] | None = None
        self._watching: asyncio.Task[None] | None = None
        self._silence = watchdog.Silence()
        self._interrupted: Interruption | None = None
        self._malformed_s: list[float] = []

    @property
    def opened(self) -> bool:
        """Whether somebody gave us keys."""
        return self._keys is not None

    @property
    def keys(self) -> tuple[str, str] | None:
        """The venue's key and secret that we hold."""
        return self._keys

    @property
    def has_clock(self) -> bool:
        """Whether the venue's time is its own (a tape's)."""
        return self._client is not None and "clock" in self._client.granted

    def expects_data(self) -> bool:
        """Say whether silence means something: connected, live, in regular hours."""
        return self.state == "open" and not self.has_clock and watchdog.in_session(time.time_ns())

    def message(self) -> dict[str, object]:
        """Return the state as hubs are told it; `retry_ms` while we wait to connect again."""
        client = self._client
        told = {
            "state": self.state, "reason": self.reason, "feed": self._feed,
            "clock": self.has_clock,
        }  # fmt: skip
        if client is not None and self.state == "lost" and client.retry_in_s() > 0:
            told["retry_ms"] = round(client.retry_in_s() * 1000)
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
            on_frame=self._take,
            on_state=lambda state, reason: self._changed(client, state, reason),
            on_refused=lambda channels: self._refused(client, channels),
            retry_refused_s=None,
            compression=self._distant,
            ca_file=self._ca_file,
        )
        self._client.want(self._wanted)
        self._task = asyncio.create_task(self._run(self._client, before))
        if self._watching is None:
            self._watching = asyncio.create_task(self._watch())

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
        tasks = [task for task in (self._task, self._watching) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def malformed(self, frames: int, *, now_s: float) -> None:
        """Frames could not be read: what they held is lost, and the third ends the connection."""
        now_ns = time.time_ns()
        if self.has_clock:
            self._interrupt(now_ns, self._market_ns(), "malformed frame")
        else:
            self._on_gap(self.heard_ns or now_ns, now_ns, "malformed frame")
        count, within_s = MALFORMED
        self._malformed_s = [s for s in self._malformed_s if now_s - s < within_s]
        self._malformed_s += [now_s] * min(frames, count)
        if len(self._malformed_s) >= count and self._client is not None:
            self._malformed_s = []
            self._client.drop("malformed frames")

    # --- what the connection tells us --------------------------------------------------------

    def _take(self, frame: bytes) -> None:
        self.heard_ns = time.time_ns()
        self._on_frame(frame)

    def _changed(self, client: RelayClient, state: str, reason: str) -> None:
        if client is not self._client:
            return None  # an earlier connection
        if state == "subscribed":
            self._silence.subscribed(time.monotonic())
            return None if self.has_clock else self._close_gap(time.time_ns())
        if state in ("lost", "refused", "closed"):
            self._silence.lost()
            if self.state == "open" and self.heard_ns is not None:
                self._interrupt(self.heard_ns, self._market_ns(), reason)
        if (state, reason) == (self.state, self.reason):
            return None
        self.state, self.reason = state, reason
        facts = {"state": state, "reason": reason, "feed": self._feed}
        logger.info("upstream state", extra=facts)
        return self._on_state()

    def was_before(self, host_ns: int, market_ns: int) -> None:
        """A process before us had the upstream until then."""
        self._interrupt(host_ns, market_ns, "relay restarted")

    def _interrupt(self, host_ns: int, market_ns: int, reason: str) -> None:
        if self._interrupted is None:
            self._interrupted = Interruption(host_ns, market_ns, reason)

    def clock(self, ts_ns: int) -> None:
        """A venue with a clock says where it is: what it passed without us is a gap."""
        if self.state == "open":
            self._close_gap(ts_ns)

    def _close_gap(self, to_ns: int) -> None:
        if self._interrupted is not None:
            host_ns, market_ns, reason = self._interrupted
            from_ns = market_ns if self.has_clock else host_ns
            self._interrupted = None
            if 0 < from_ns < to_ns:  # else it says all that was missed again
                self._on_gap(from_ns, to_ns, reason)

    def _refused(self, client: RelayClient, channels: Channels) -> None:
        if client is self._client:
            self._on_refused(channels)

    # --- silence -----------------------------------------------------------------------------

    async def _watch(self) -> None:
        """Drop a connection that says nothing while the market is open (live clocks only)."""
        heard_ns = self.heard_ns
        while True:
            await asyncio.sleep(WATCH_S)
            now_s = time.monotonic()
            if self.heard_ns != heard_ns:
                heard_ns = self.heard_ns
                if self.state == "open":
                    self._silence.heard(now_s)
            client = self._client
            if client is None or self.state != "open" or self.has_clock:
                continue
            if not watchdog.in_session(time.time_ns()):
                self._silence.lost()
                self._silence.subscribed(now_s)
            elif self._silence.expired(watchdog.limit_s(self._feed, self._wanted), now_s=now_s):
                client.drop("silent")
