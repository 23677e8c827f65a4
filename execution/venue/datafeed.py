"""`/v2/{iex,sip,test}` and `/v1beta1/news`: the venue's data, one bounded outbox per client."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterable

import numpy as np

from execution.venue.cursor import Piece
from execution.venue.delivery import as_json, clock_frame, data_frames, joined
from execution.venue.history import TradeHistory
from execution.venue.options import Credentials
from execution.venue.seats import Seats
from execution.venue.sockets import Closed, Socket
from relay.frames import TRADE
from relay.news import NEWS_PATH, NewsRoute, news_in
from relay.protocol import (
    CLOSE_SLOW,
    CloseConnection,
    Consumer,
    ServerEvent,
    ServerProtocol,
    Subscribed,
)
from relay.routing import Route
from relay.symbols import CHANNELS, NEWS_CHANNELS
from relay.wire import handshake_credentials

logger = logging.getLogger(__name__)
AUTH_TIMEOUT_S = 10.0
NEWS = ord("n")
OUTBOX_BYTES = 8 << 20
SEND_TIMEOUT_S = 5.0
FLUSH_S = 1.0


class Outbox:
    """Frames on their way to one client.

    A bounded one never waits: it drops the client that cannot keep up. The other makes the
    producer wait instead, so that a tape without deadlines runs as fast as its slowest reader.
    """

    def __init__(self, socket: Socket, *, bounded: bool) -> None:
        self._socket = socket
        self._bounded = bounded
        self._waiting: deque[str | bytes] = deque()
        self._size = 0
        self._filled = asyncio.Event()
        self._emptied = asyncio.Event()
        self._emptied.set()
        self.overflowed = False

    async def put(self, frame: str | bytes) -> None:
        if not self._bounded:
            await self._socket.send(frame)
        elif self._size + len(frame) > OUTBOX_BYTES:
            self.overflowed = True
            self._filled.set()
        elif not self.overflowed:
            self._waiting.append(frame)
            self._size += len(frame)
            self._filled.set()
            self._emptied.clear()

    async def emptied(self) -> None:
        """Wait, not long, until all that was put is sent."""
        try:
            async with asyncio.timeout(FLUSH_S):
                await self._emptied.wait()
        except TimeoutError:
            pass

    async def drain(self) -> None:
        """Send what is put, in order, until the client is gone or too slow."""
        while not self.overflowed:
            await self._filled.wait()
            self._filled.clear()
            while self._waiting and not self.overflowed:
                frame = self._waiting.popleft()
                self._size -= len(frame)
                try:
                    async with asyncio.timeout(SEND_TIMEOUT_S):
                        await self._socket.send(frame)
                except TimeoutError:
                    self.overflowed = True
            self._emptied.set()


class DataClient:
    """One connection: the conversation, what it wants, what waits for it."""

    def __init__(self, socket: Socket, protocol: ServerProtocol, *, bounded: bool) -> None:
        self.socket = socket
        self.protocol = protocol
        self.outbox = Outbox(socket, bounded=bounded)
        self.route = Route({})
        self.news = NewsRoute(())

    async def flush(self) -> None:
        """Send what the conversation has to say."""
        for frame in self.protocol.frames_to_send():
            await self.outbox.put(frame)

    async def give(self, frame: bytes) -> None:
        """Send a data frame in the client's codec."""
        await self.outbox.put(as_json(frame) if self.protocol.codec == "json" else frame)

    @property
    def has_clock(self) -> bool:
        return "clock" in self.protocol.extensions


class DataFeed:
    """All data clients. `shown_ns` is the market clock a new client is told."""

    def __init__(
        self, credentials: Credentials, *, bounded: bool, seats: Seats | None = None
    ) -> None:
        self.history = TradeHistory()
        self._credentials = credentials
        self._bounded = bounded
        self._seats = {"data": seats or Seats(), "news": Seats()}
        self._clients: set[DataClient] = set()
        self._readers: set[DataClient] = set()  # of news
        self._changed = asyncio.Event()
        self._stop: int | None = None
        self._step: tuple[int, list[Piece]] | None = None  # lock-step: where it began, its data
        self._moving = asyncio.Lock()  # who subscribes in the middle of a step waits for its end
        self.shown_ns: Callable[[], int] = lambda: 0
        self.prints_sent = 0  # prints of the tape that at least one client was sent

    async def wait_for(self, clients: int) -> None:
        """Wait until this many clients are subscribed."""
        while len(self._clients) < clients:
            self._changed.clear()
            await self._changed.wait()

    async def step(
        self, pieces: Iterable[Piece], *, from_ns: int, to_ns: int, clock: bool, stop: int | None
    ) -> None:
        """Send one step: data of (from_ns, to_ns], then the clock; a stop's data is kept."""
        async with self._moving:
            passed = list(joined(pieces))
            self._step = None if stop is None else (from_ns, passed)
            self.history.add(passed)
            await self._deliver(passed)
            if clock:
                await self._tell(to_ns, stop)

    async def _deliver(self, pieces: Iterable[Piece]) -> None:
        for piece in pieces:
            anyone = np.zeros(piece.spans.size, np.bool_)
            for client in tuple(self._clients):
                mask = client.route.mask(piece.spans)
                anyone |= mask
                for frame in data_frames(piece, mask):
                    await self._give(client, frame)
            self.prints_sent += int(np.count_nonzero(anyone & (piece.spans["kind"] == TRADE)))
            if (news := piece.spans["kind"] == NEWS).any():
                await self._deliver_news(piece, news)

    async def _deliver_news(self, piece: Piece, mask: np.ndarray) -> None:
        for frame in data_frames(piece, mask):
            for body, symbols in news_in(frame):
                for client in tuple(self._readers):
                    if client.news.wants(symbols):
                        await self._give(client, b"\x91" + body)

    async def _tell(self, ts_ns: int, stop: int | None) -> None:
        """Tell the clients that asked for it what time the market has reached."""
        self._stop = stop
        frame = clock_frame(ts_ns, stop)
        for client in tuple(self._clients):
            if client.has_clock:
                await self._give(client, frame)

    async def serve(self, socket: Socket) -> None:
        """Hold one connection to its end."""
        await socket.accept()
        packed = socket.headers.get("content-type", "") == "application/msgpack"
        news = NEWS_PATH in socket.path
        protocol = ServerProtocol(
            "msgpack" if packed else "json",
            self._authenticate,
            extensions_offered=() if news else ("prefix", "clock"),
            channels_offered=NEWS_CHANNELS if news else CHANNELS,
        )
        client = DataClient(socket, protocol, bounded=self._bounded)
        seats, clean = self._seats["news" if news else "data"], False
        draining = asyncio.create_task(self._drain(client))
        try:
            await self._converse(client, seats)
            clean = True
        except Closed as closed:
            clean = closed.said_goodbye
        finally:
            seats.leave(client, clean=clean)
            self._clients.discard(client)
            self._readers.discard(client)
            draining.cancel()
            await asyncio.gather(draining, return_exceptions=True)

    def _authenticate(self, key: str, secret: str) -> Consumer | None:
        return Consumer(id=key) if self._credentials.match(key, secret) else None

    async def _drain(self, client: DataClient) -> None:
        """Send the client's outbox; a slow client is told, then cut."""
        try:
            await client.outbox.drain()
            self._clients.discard(client)
            logger.warning("slow data client cut off", extra={"outbox_bytes": OUTBOX_BYTES})
            client.protocol.send_error(407)
            async with asyncio.timeout(FLUSH_S):
                for frame in client.protocol.frames_to_send():
                    await client.socket.send(frame)
            await client.socket.close(CLOSE_SLOW, "slow client")
        except (Closed, TimeoutError):
            pass

    async def _converse(self, client: DataClient, seats: Seats) -> None:
        protocol = client.protocol
        await client.flush()
        if not seats.take(client):
            await self._finish(client, protocol.refuse(406))
            return
        known = handshake_credentials(client.socket.headers.items())
        if known is not None and await self._finish(client, protocol.authenticate_headers(*known)):
            return
        deadline = asyncio.get_running_loop().time() + AUTH_TIMEOUT_S
        while True:
            try:
                async with asyncio.timeout_at(deadline if protocol.consumer is None else None):
                    message = await client.socket.receive()
            except TimeoutError:
                await self._finish(client, protocol.auth_timed_out())
                return
            if await self._finish(client, protocol.receive(message)):
                return

    async def _finish(self, client: DataClient, events: list[ServerEvent]) -> bool:
        """Act on the conversation's events; say whether the connection has ended."""
        await client.flush()
        for event in events:
            if isinstance(event, Subscribed):
                await self._subscribed(client, event)
            elif isinstance(event, CloseConnection):
                await client.outbox.emptied()
                await client.socket.close(event.code, event.reason)
                return True
        return False

    async def _subscribed(self, client: DataClient, event: Subscribed) -> None:
        """Route for the client; one that is new to us is told the time, and the stop it missed."""
        client.route = Route(event.channels)
        client.news = NewsRoute(event.channels.get("news", ()))
        if client.news:
            self._readers.add(client)
        if not client.route:
            self._clients.discard(client)
            return
        if client in self._clients:
            return
        async with self._moving:
            self._clients.add(client)
            self._changed.set()
            if client.has_clock:
                await self._catch_up(client)

    async def _catch_up(self, client: DataClient) -> None:
        """Tell the time; at a stop first repeat its data, which another reader took and lost."""
        if self._step is not None:
            from_ns, pieces = self._step
            await client.give(clock_frame(from_ns, None, again_ns=self.shown_ns()))
            for piece in pieces:
                for frame in data_frames(piece, client.route.mask(piece.spans)):
                    await client.give(frame)
        await client.give(clock_frame(self.shown_ns(), self._stop))

    async def _give(self, client: DataClient, frame: bytes) -> None:
        try:
            await client.give(frame)
        except Closed:
            self._clients.discard(client)
