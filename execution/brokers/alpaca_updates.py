"""Alpaca's `trade_updates` behind the port, through the official stream class in its own thread."""

import asyncio
import logging
import threading
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from alpaca.trading.stream import TradingStream

from execution.brokers import wire
from execution.brokers.port import Post

logger = logging.getLogger(__name__)
#: The SDK logs a traceback per failed attempt; our own state says the same in one row.
logging.getLogger("alpaca.trading.stream").setLevel(logging.CRITICAL)


#: A socket whose other end is gone without a word is known to be dead after 6 s, not the SDK's 190.
PINGS = {
    "ping_interval": 3,
    "ping_timeout": 3,
    "open_timeout": 5,
    "close_timeout": 1,
    "max_queue": 1024,
}


class _Stream(TradingStream):
    """Tells when it listens and when it does not; the SDK keeps that to itself."""

    def __init__(self, *args: Any, notice: Callable[[str], None], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._notice = notice

    async def _dispatch(self, msg: dict[str, Any]) -> None:
        if msg.get("stream") == "listening":
            streams = (msg.get("data") or {}).get("streams") or []
            self._notice("up" if "trade_updates" in streams else "down")
            return
        await super()._dispatch(msg)

    async def close(self) -> None:
        self._notice("down")
        await super().close()


def stream_url_of(base_url: str) -> str:
    """Return the trade_updates URL that belongs to a trading URL."""
    parts = urlsplit(base_url)
    scheme = "wss" if parts.scheme == "https" else "ws"
    return f"{scheme}://{parts.netloc}/stream"


class AlpacaUpdates:
    """The port's `Updates` over one socket, which is dialed again for as long as it runs."""

    def __init__(self, *, url: str, key: str, secret: str, post: Post) -> None:
        self._post = post
        self._stream = _Stream(
            key,
            secret,
            raw_data=True,
            url_override=url,
            websocket_params=dict(PINGS),
            notice=lambda s: post("stream", s),
        )
        self._stream._reconnect_min_backoff = 0.25
        self._stream._reconnect_max_backoff = 5.0
        self._stream.subscribe_trade_updates(self._receive)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._thread = threading.Thread(target=self._run, name="hub-updates", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End at once; the SDK's own stop would wait for its next five-second look."""
        if self._loop is not None and self._task is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._task.cancel)
            self._thread.join(3)

    def restart(self) -> None:
        """Drop the connection and dial anew: it is open, but it did not bring what happened."""
        if self._loop is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._drop)

    def _drop(self) -> None:
        socket = self._stream._ws
        if socket is not None:
            socket.fail_connection(1001, "silent")

    def _run(self) -> None:
        try:
            asyncio.run(self._main())
        except asyncio.CancelledError:
            pass
        except Exception:
            logger.exception("the trade_updates thread ended")
            self._post("stream", "down")

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.current_task()
        try:
            await self._stream._run_forever()
        finally:
            await self._stream.close()

    async def _receive(self, message: dict[str, Any]) -> None:
        """Hand one event on; one we cannot read is a reason to reconcile, not to die."""
        try:
            update = wire.trade_update(message["data"])
        except wire.UNREADABLE as exc:
            logger.warning("unreadable trade update", extra={"error": repr(exc)})
            self._post("bad_update", repr(exc))
            return
        self._post("update", update)
