"""A stream client that stays: shards and hub towards the relay, the relay towards the venue.

Connects, authenticates, subscribes, reconnects with jittered back-off and takes up where it was,
when the server can replay (`frame` and `resume` extensions).
"""

import asyncio
import logging
import random
import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus, WebSocketException

from relay.client_protocol import (
    Acknowledged,
    ClientEvent,
    ClientProtocol,
    LoggedIn,
    ServerSaidError,
)
from relay.connection import DirectConnection
from relay.errors import FrameError
from relay.extension import read_extension
from relay.tls import client_context
from relay.wire import Message, ProtocolError, is_control

logger = logging.getLogger(__name__)
MSGPACK_HEADER = {"Content-Type": "application/msgpack"}
WELCOME_TIMEOUT_S = 10.0
BACKOFF_S = (0.25, 5.0)
PENDING_REQUESTS_MAX = 100
SILENT_TICKS_MAX = 10  # seconds without a frame, where heartbeats are due four times a second
MAX_MESSAGE_BYTES = 16 << 20  # the venue's are some 100 KiB; a longer one ends the connection
REFUSALS = (402, 409)  # trying again soon will not help
SEAT_TAKEN, LIMIT = 406, 405
BROKEN = (401, 407)  # after the login: only a new connection helps
SEAT_BACKOFF_S = (5.0, 15.0)  # a dead connection may keep its seat for 90 s
ACK_TICKS_MAX = 10  # seconds until a request must be acknowledged
CORRECTIONS_MAX = 3  # times we ask again when the acknowledged subscription is not ours


class AuthRefused(Exception):
    """The server does not take our key."""


class SeatTaken(Exception):
    """The server has no room for us (406, or HTTP 429): an old connection may still hold it."""


class RelayClient:
    """One lasting subscription of a msgpack stream.

    Args:
        on_frame: called in the loop with every frame, control frames included, in order.
        on_state: called with (state, reason); connecting, open (logged in), subscribed (the
            wanted subscription is acknowledged), lost, refused, closed.
        on_refused: called with the subscription we still have when a larger one was refused (405).
        retry_refused_s: pause after a refused key; None ends `run` in state refused.
        compression: offer permessage-deflate (towards a distant venue).
        ca_file: for wss, certificates to trust instead of the system's.
    """

    def __init__(
        self,
        url: str,
        key: str,
        secret: str,
        *,
        extensions: Iterable[str] = (),
        on_frame: Callable[[bytes], None],
        on_state: Callable[[str, str], None],
        on_refused: Callable[[dict[str, frozenset[str]]], None] | None = None,
        retry_refused_s: float | None = 5.0,
        compression: bool = False,
        ca_file: str | None = None,
        rng: random.Random | None = None,
    ) -> None:
        self.url = url
        self.granted: frozenset[str] = frozenset()
        self.wanted: dict[str, frozenset[str]] = {}
        self._credentials = (key, secret)
        self._extensions = tuple(extensions)
        self._on_frame = on_frame
        self._on_state = on_state
        self._on_refused = on_refused
        self._retry_refused_s = retry_refused_s
        self._compression = "deflate" if compression else None
        self._ca_file = ca_file
        self._rng = rng or random.Random()
        self._asked: dict[str, frozenset[str]] = {}  # of this connection
        self._position: tuple[int, int] | None = None
        self._resume: tuple[int, int] | None = None
        self._protocol: ClientProtocol | None = None
        self._pending: list[Message] = []
        self._wake = asyncio.Event()
        self._closing = asyncio.Event()
        self._live = False
        self._subscribed = False
        self._resuming = False  # asked to, and not answered yet
        self._refusal_logged = False
        self._silent_ticks = 0
        self._have: dict[str, frozenset[str]] = {}  # acknowledged on this connection
        self._open_requests = self._open_ticks = self._corrections = 0
        self._connection: DirectConnection | None = None
        self._retry_at_s = 0.0
        self._limit: asyncio.Timeout | None = None

    # --- what the owner calls, in the loop -------------------------------------------------------

    def subscribe(
        self,
        *,
        trades: Iterable[str] = (),
        quotes: Iterable[str] = (),
        statuses: Iterable[str] = (),
        lulds: Iterable[str] = (),
        bars: Iterable[str] = (),
        resume: tuple[int, int] | None = None,
    ) -> None:
        """Say what is wanted from now on, all of it.

        Args:
            resume: (epoch, offset) of the first frame wanted, for the next request only.
        """
        lists = {"trades": trades, "quotes": quotes, "statuses": statuses, "lulds": lulds}
        self.want({**lists, "bars": bars}, resume=resume)

    def want(
        self, channels: Mapping[str, Iterable[str]], *, resume: tuple[int, int] | None = None
    ) -> None:
        """The same for any channels."""
        self.wanted = {name: frozenset(entries) for name, entries in channels.items()}
        if resume is not None:
            self._resume = resume
            self._position = None
        if self._live:
            self._request()

    def send(self, message: Message) -> None:
        """Send a request, after the login when we are not connected.

        Raises:
            OverflowError: too many requests wait for a connection.
        """
        if self._live and self._protocol is not None:
            self._protocol.send(message)
            self._wake.set()
        elif len(self._pending) >= PENDING_REQUESTS_MAX:
            raise OverflowError("too many requests wait for a connection")
        else:
            self._pending.append(message)

    def drop(self, reason: str) -> None:
        """Give up this connection, and come back."""
        if self._connection is not None:
            self._connection.fail(ConnectionResetError(reason))

    def retry_in_s(self) -> float:
        """Return how long it is until the next attempt to connect."""
        return max(0.0, self._retry_at_s - time.monotonic())

    async def close(self) -> None:
        """Make `run` end."""
        self._closing.set()

    async def run(self) -> None:
        """Hold the connection until `close`."""
        attempt = seats = 0
        while not self._closing.is_set():
            self._on_state("connecting", "")
            pause_s, logged_in = 0.0, False
            try:
                await self._until_closing(self._session())
            except AuthRefused as exc:
                self._note_refusal(str(exc))
                if self._retry_refused_s is None:
                    return
                pause_s = self._retry_refused_s
            except SeatTaken as exc:
                seats += 1
                pause_s = self._seat_backoff_s(seats)
                self._note_lost(str(exc), pause_s)
            except (OSError, TimeoutError, WebSocketException, ProtocolError) as exc:
                logged_in = self._live
                attempt = 1 if logged_in else attempt + 1
                seats = 0 if logged_in else seats
                pause_s = self._backoff_s(attempt)
                self._note_lost(_reason(exc), pause_s)
            if self._closing.is_set():
                break
            await self._until_closing(asyncio.sleep(pause_s))
        self._leave()
        self._on_state("closed", "")

    def _note_lost(self, reason: str, pause_s: float) -> None:
        self._leave()
        self._retry_at_s = time.monotonic() + pause_s
        self._on_state("lost", reason)

    # --- one connection --------------------------------------------------------------------------

    async def _until_closing(self, work: object) -> None:
        """Run `work`, or less of it when `close` is called."""
        task = asyncio.ensure_future(work)  # type: ignore[call-overload]
        stop = asyncio.ensure_future(self._closing.wait())
        try:
            await asyncio.wait({task, stop}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stop.cancel()
            if not task.done():
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        if not task.cancelled():
            task.result()

    async def _session(self) -> None:
        try:
            await self._connected()
        except InvalidStatus as exc:
            if exc.response.status_code == 429:
                raise SeatTaken("HTTP 429") from exc
            raise

    async def _connected(self) -> None:
        key, secret = self._credentials
        self._protocol = ClientProtocol(key, secret, extensions=self._extensions)
        async with connect(
            self.url,
            additional_headers=MSGPACK_HEADER,
            compression=self._compression,
            create_connection=partial(
                DirectConnection, on_message=self._take, max_bytes=MAX_MESSAGE_BYTES
            ),  # type: ignore[arg-type]
            max_size=MAX_MESSAGE_BYTES,
            ssl=client_context(self._ca_file) if self.url.startswith("wss:") else None,
            open_timeout=10,
            close_timeout=1,
            ping_interval=10,
            ping_timeout=60,
            proxy=None,
        ) as connection:
            tasks = [self._write(connection), self._watch(connection)]
            beside = [asyncio.create_task(task) for task in tasks]
            try:
                await self._read(connection)
            finally:
                for task in beside:
                    task.cancel()
                # started after the connection was lost (a refusal in the first bytes), its pings
                # would fail with a traceback in the log
                if connection.keepalive_task is not None:
                    connection.keepalive_task.cancel()
        raise ConnectionResetError(f"closed: {connection.close_code} {connection.close_reason}")

    async def _read(self, connection: ClientConnection) -> None:
        """Stay until the connection is gone; a server that does not let us in is given up."""
        if isinstance(connection, DirectConnection):
            self._connection = connection
        try:
            async with asyncio.timeout(WELCOME_TIMEOUT_S) as self._limit:
                if self._live:
                    self._limit.reschedule(None)
                await connection.wait_closed()
        finally:
            self._limit = self._connection = None
        if isinstance(connection, DirectConnection) and connection.failure is not None:
            raise connection.failure

    async def _watch(self, connection: ClientConnection) -> None:
        """Give up a server whose heartbeats stop. Ticks, not time: our own loop may be busy."""
        self._silent_ticks = 0
        while True:
            await asyncio.sleep(1)
            self._silent_ticks += self._live and "frame" in self.granted
            self._open_ticks += self._open_requests > 0
            if self._silent_ticks > SILENT_TICKS_MAX:
                self.drop("silent")
            elif self._open_ticks > ACK_TICKS_MAX:
                self.drop("request not acknowledged")

    async def _write(self, connection: ClientConnection) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            await self._flush(connection)

    async def _flush(self, connection: ClientConnection) -> None:
        for frame in self._protocol.frames_to_send() if self._protocol else ():
            await connection.send(frame)

    def _take(self, frame: bytes) -> None:
        self._silent_ticks = 0
        if is_control(frame) and self._protocol is not None:
            for event in self._protocol.receive(frame):
                self._handle(event)
            self._wake.set()
        elif self._resuming:
            return  # a heartbeat or a clock: it comes again in its place, behind what we missed
        elif "frame" in self.granted:
            try:
                found = read_extension(frame)
            except FrameError:
                found = None  # the owner's reader will meet it, too, and count it
            if found is not None:
                self._position = (found.epoch, found.offset)
        self._on_frame(frame)

    def _handle(self, event: ClientEvent) -> None:
        if isinstance(event, LoggedIn):
            self._enter(event.extensions)
        elif isinstance(event, Acknowledged):
            self._acknowledged(event.channels)
        elif isinstance(event, ServerSaidError):
            self._refused(event)

    def _refused(self, error: ServerSaidError) -> None:
        """React to an error as its code asks for."""
        text = f"{error.code} {error.msg}"
        if error.code in REFUSALS:
            raise AuthRefused(text)
        if error.code == SEAT_TAKEN:
            raise SeatTaken(text)
        if error.fatal or error.code in BROKEN:
            raise ConnectionRefusedError(text)
        logger.warning("stream error", extra={"code": error.code, "reason": error.msg})
        self._answered()
        if error.code == LIMIT:
            self._asked = dict(self._have)
            if self._on_refused is not None:
                self._on_refused(self._have)

    def _answered(self) -> None:
        self._resuming = False
        self._open_requests = max(0, self._open_requests - 1)
        self._open_ticks = 0

    def _enter(self, extensions: frozenset[str]) -> None:
        self._live, self.granted = True, extensions
        self._asked, self._subscribed, self._refusal_logged = {}, False, False
        self._have, self._corrections, self._retry_at_s = {}, 0, 0.0
        if self._limit is not None:
            self._limit.reschedule(None)
        self._on_state("open", "")
        if self.wanted and not self._asked:  # the owner may have subscribed in `on_state`
            self._request()
        for message in self._pending:
            self.send(message)
        self._pending = []

    def _leave(self) -> None:
        self._live, self._protocol, self._asked, self._resuming = False, None, {}, False
        self._open_requests = self._open_ticks = 0

    def _request(self) -> None:
        """Ask for the difference to what this connection has, from where we were."""
        if self._protocol is None:
            return
        resume, self._resume = self._resume, None
        if resume is None and not self._asked and self._position is not None:
            resume = (self._position[0], self._position[1] + 1)
        if "resume" not in self.granted:
            resume = None
        if requests := self._protocol.change(self._asked, self.wanted, resume=resume):
            self._subscribed, self._resuming = False, resume is not None
            self._open_requests += requests
        self._asked = dict(self.wanted)
        self._wake.set()

    def _acknowledged(self, channels: Mapping[str, frozenset[str]]) -> None:
        """Compare what the server says we have with what we want; ask again when it differs."""
        self._answered()
        wanted = {name: entries for name, entries in self.wanted.items() if entries}
        self._have = {name: entries for name, entries in channels.items() if entries}
        if self._have == wanted:
            self._corrections = 0
            if not self._subscribed:
                self._subscribed = True
                self._on_state("subscribed", "")
        elif not self._open_requests and self._corrections < CORRECTIONS_MAX:
            self._corrections += 1
            self._asked = dict(self._have)
            self._request()

    def _note_refusal(self, reason: str) -> None:
        self._leave()
        if not self._refusal_logged:
            logger.error("stream refused our key", extra={"url": self.url, "reason": reason})
        self._refusal_logged = True
        self._on_state("refused", reason)

    def _backoff_s(self, attempt: int) -> float:
        first, last = BACKOFF_S
        ceiling = min(last, first * 2 ** min(attempt - 1, 10))
        return float(ceiling * self._rng.uniform(0.5, 1.0))

    def _seat_backoff_s(self, attempt: int) -> float:
        first, last = SEAT_BACKOFF_S
        ceiling = min(last, first * 1.5 ** min(attempt - 1, 10))
        return float(ceiling * self._rng.uniform(0.8, 1.2))


def _reason(exc: BaseException) -> str:
    return (str(exc) or type(exc).__name__)[:200]
