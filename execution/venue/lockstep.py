"""`/lockstep`: where the hub and the tape meet, stop by stop."""

import asyncio
import json
import logging
from dataclasses import dataclass
from typing import Any

from execution.venue.options import Credentials
from execution.venue.sockets import Closed, Socket

logger = logging.getLogger(__name__)
AUTH_TIMEOUT_S = 10.0
MS = 1_000_000
GRACE_MS_MAX = 60_000
REPLACED = 4409  # close code for a hub whose place another one took


@dataclass(frozen=True)
class Stop:
    """The tape stands at `t_ns`; every trade update up to number `updates` has been written."""

    number: int
    t_ns: int
    updates: int
    end: bool

    def message(self) -> str:
        return json.dumps(
            {
                "stop": self.number,
                "t": self.t_ns,
                "updates": self.updates,
                "end": self.end,
                "speed": "max",
            }
        )


class LockstepDesk:
    """One hub at a time; a new one takes the place of the old. The current stop is re-sent.

    Args: live_ns: before this time a paced tape is fast-forwarded to warm its readers up.
    """

    def __init__(self, credentials: Credentials, *, live_ns: int = 0) -> None:
        self._credentials = credentials
        self._live_ns = live_ns
        self._hub: Socket | None = None
        self._stop: Stop | None = None
        self._continued = asyncio.Event()
        self._wake_at_ns: int | None = None
        self._report: str | None = None
        self.attached = asyncio.Event()
        self.begun = asyncio.Event()  # a paced tape may start: the hub says that all are ready
        self.grace_ns = 750 * MS

    async def offer(self, stop: Stop) -> int | None:
        """Tell the hub the tape has stopped, wait for its `continue`, return its `wake_at`.

        Without a hub this waits: the stop is sent when one attaches.
        """
        self._continued.clear()
        self._stop = stop
        await self._tell(stop.message())
        await self._continued.wait()
        return self._wake_at_ns

    async def report(self, t_ns: int, *, end: bool, speed: float) -> None:
        """Tell the hub the time of a tape that does not stop; a later hub is told it at once."""
        warming = t_ns < self._live_ns
        self._report = json.dumps({"t": t_ns, "end": end, "speed": speed, "warm_up": warming})
        await self._tell(self._report)

    async def serve(self, socket: Socket) -> None:
        """Hold one connection to its end."""
        await socket.accept()
        try:
            if not await self._authorized(socket):
                return
            await self._attach(socket)
            while True:
                self._receive(_decode(await socket.receive()))
        except Closed:
            pass
        finally:
            self._detach(socket)

    async def _authorized(self, socket: Socket) -> bool:
        try:
            async with asyncio.timeout(AUTH_TIMEOUT_S):
                message = _decode(await socket.receive())
        except TimeoutError:
            await socket.close(4404, "auth timeout")
            return False
        key, secret = message.get("key"), message.get("secret")
        known = message.get("action") == "auth" and isinstance(key, str) and isinstance(secret, str)
        if known and self._credentials.match(str(key), str(secret)):
            return True
        await socket.send(json.dumps({"state": "refused", "reason": "auth failed"}))
        await socket.close(4402, "auth failed")
        return False

    async def _attach(self, socket: Socket) -> None:
        await socket.send(json.dumps({"state": "attached"}))
        previous, self._hub = self._hub, socket
        logger.info("hub attached to the tape")
        self.attached.set()
        if previous is not None:
            try:
                await previous.close(REPLACED, "another hub attached")
            except Closed:
                pass
        if self._stop is not None and not self._continued.is_set():
            await socket.send(self._stop.message())
        elif self._report is not None:
            await socket.send(self._report)

    def _detach(self, socket: Socket) -> None:
        if self._hub is socket:
            self._hub = None
            self.attached.clear()
            logger.info("hub detached from the tape")

    def _receive(self, message: dict[str, Any]) -> None:
        action = message.get("action")
        if action == "grace" and isinstance(message.get("ms"), int):
            self.grace_ns = max(0, min(message["ms"], GRACE_MS_MAX)) * MS
        if action == "begin":
            self.begun.set()
        if action != "continue" or self._stop is None or message.get("stop") != self._stop.number:
            return  # old and repeated ones change nothing
        if self._continued.is_set():
            return
        wake_at = message.get("wake_at")
        self._wake_at_ns = wake_at if isinstance(wake_at, int) else None
        self._continued.set()

    async def _tell(self, message: str) -> None:
        if self._hub is None:
            return
        try:
            await self._hub.send(message)
        except Closed:
            self._detach(self._hub)


def _decode(message: str | bytes) -> dict[str, Any]:
    try:
        value = json.loads(message)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
