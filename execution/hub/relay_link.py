"""The hub's seat at the relay: opens the upstream, brings the market clock and a few quotes.

The hub needs no engine and no kernels: it subscribes to the quotes of candidates and open
positions only, so plain msgpack is fast enough.
"""

import asyncio
import logging
import threading
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any, NamedTuple

import msgpack

from relay.client import RelayClient

logger = logging.getLogger(__name__)

READY = ("open", "subscribed")


class Nbbo(NamedTuple):
    """A quote as the hub saw it; prices as on the wire."""

    bid: float
    ask: float
    bid_size: int
    ask_size: int
    ts_ns: int


class RelayLink:
    """Post ("relay", (state, reason)), ("upstream", message), ("clock", ns); keep quotes.

    `ask_status` is answered with ("relay_status", message). With `news` the relay is asked for the
    venue's news as well: when a symbol had some is recorded with its candidates.
    """

    def __init__(
        self,
        *,
        url: str,
        key: str,
        secret: str,
        post: Callable[..., None],
        clock: bool = True,
        ca_file: str = "",
        news: bool = False,
    ) -> None:
        self._post = post
        self._clock = clock
        self._loop: asyncio.AbstractEventLoop | None = None
        self._wanted: tuple[str, ...] = ()
        self._upstream: dict[str, object] | None = None  # the request that opened it
        self._open = False
        # Written by the link's thread, read by the coordinator:
        self.quotes: dict[str, Nbbo] = {}
        self.news: dict[str, int] = {}  # newest article of a symbol, ns; "" of any symbol
        self.client = RelayClient(
            url,
            key,
            secret,
            extensions=tuple(name for name, on in (("clock", clock), ("news", news)) if on),
            on_frame=self._on_frame,
            on_state=self._on_state,
            ca_file=ca_file or None,
        )
        self._also = {"news": ("*",)} if news else {}
        if news:
            self.client.want(self._also)
        self._thread = threading.Thread(target=self._run, name="hub-relay", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        loop = self._loop
        if loop is None or not self._thread.is_alive():
            return
        future = asyncio.run_coroutine_threadsafe(self.client.close(), loop)
        try:
            future.result(2)
        except (TimeoutError, asyncio.CancelledError):
            pass
        self._thread.join(3)

    def open_upstream(self, key: str, secret: str) -> None:
        """Ask the relay to open the venue's feed; the keys go over this channel only."""
        self._upstream = {"action": "upstream", "command": "open", "key": key, "secret": secret}
        self._in_loop(self.client.send, self._upstream)

    def ask_status(self) -> None:
        """Ask the relay for its figures, when it is there."""
        if self._open:
            self._in_loop(self.client.send, {"action": "status"})

    def want_quotes(self, symbols: Iterable[str]) -> None:
        """Subscribe to the quotes of exactly these symbols."""
        wanted = tuple(sorted(set(symbols)))
        if wanted != self._wanted:
            self._wanted = wanted
            self._in_loop(lambda: self.client.want({"quotes": wanted, **self._also}))

    def _in_loop(self, call: Callable[..., Any], *args: Any) -> None:
        if self._loop is not None and self._loop.is_running():
            self._loop.call_soon_threadsafe(call, *args)

    def _run(self) -> None:
        try:
            asyncio.run(self._main())
        except Exception as exc:  # the coordinator must hear of it, whatever it is
            logger.exception("the relay link ended")
            self._post("relay", ("dead", repr(exc)))

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        await self.client.run()

    def _on_state(self, state: str, reason: str = "") -> None:
        """Pass it on; a relay that was restarted has forgotten the upstream it held."""
        self._open = state in READY
        self._post("relay", (state, reason))
        if state == "open" and self._upstream is not None:
            self.client.send(self._upstream)

    def _on_frame(self, frame: bytes) -> None:
        for message in msgpack.unpackb(frame, timestamp=0, strict_map_key=False):
            kind = message.get("T")
            if kind == "clock":
                self._post("clock", int(message["t"]))
            elif kind == "q":
                self.quotes[message["S"]] = _nbbo(message)
            elif kind == "n":
                self._note_news(message)
            elif kind == "upstream":
                self._post("upstream", message)
            elif kind == "status":
                self._post("relay_status", message)
            elif kind == "error":
                self._post("relay", ("error", str(message.get("msg", ""))))

    def _note_news(self, message: dict[str, Any]) -> None:
        ts_ns = _time_ns(message.get("created_at") or message.get("t"))
        for symbol in ("", *(message.get("symbols") or ())):
            self.news[str(symbol)] = max(ts_ns, self.news.get(str(symbol), 0))


def _nbbo(message: dict[str, Any]) -> Nbbo:
    ts_ns = _time_ns(message.get("t"))
    return Nbbo(
        bid=float(message.get("bp") or 0),
        ask=float(message.get("ap") or 0),
        bid_size=int(message.get("bs") or 0),
        ask_size=int(message.get("as") or 0),
        ts_ns=ts_ns,
    )


def _time_ns(stamp: Any) -> int:
    """Return a time of the wire in ns; 0 for what is not one."""
    if isinstance(stamp, msgpack.Timestamp):
        return stamp.to_unix_nano()
    if isinstance(stamp, str):
        try:
            return int(datetime.fromisoformat(stamp).timestamp() * 1e9)
        except ValueError:
            return 0
    return int(stamp or 0)
