"""The relay's sockets: consumers in front, the upstream behind, the fan-out between."""

import asyncio
import logging
import ssl
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from relay.backfill import Backfiller
from relay.fanout import Fanout
from relay.gate import Bucket, Gate
from relay.guard import GuardedConnection
from relay.kept_ring import KeptRing
from relay.keys import KeyStore
from relay.lines import Line
from relay.market_rest import HttpMarketRest, MarketRest, rest_url
from relay.metrics import CONTENT_TYPE, metrics_text
from relay.news import NEWS_PATH
from relay.news_link import NewsLink, news_url
from relay.prober import Prober
from relay.protocol import (
    CLOSE_REVOKED,
    CLOSE_SLOW,
    Authenticated,
    CloseConnection,
    ServerEvent,
    ServerProtocol,
    StatusRequested,
    Subscribed,
    UpstreamRequested,
)
from relay.recorder import Recorder
from relay.seats import WRITE_LIMIT, Seat
from relay.symbols import CHANNELS, NEWS_CHANNELS
from relay.upstream import LOOPBACK, Upstream
from relay.wire import (
    CLOSE_CHATTY,
    CLOSE_INTERNAL,
    EXTENSIONS,
    MAX_INBOUND_BYTES,
    handshake_credentials,
    is_control,
)

logger = logging.getLogger(__name__)
AUTH_TIMEOUT_S = 10.0
HEARTBEAT_S = 0.25
KEYS_CHECK_S = 1.0
CONNECTIONS_MAX = 128
LAST_WORD_S = 1.0
REQUESTS = (200, 10)  # burst, per second


class RelayServer:
    """One relay: `async with` starts it, leaving stops it.

    Args:
        upstream_url: the venue's stream; its last part names the feed that is served.
        upstream_keys: open by ourselves with these; None waits for the hub's.
        port: 0 takes a free one.
        recorder: gets every data frame; then every symbol of `record_channels` is subscribed.
        data_url: the venue's data API (scheme and host), for gaps; None: as the stream's address
            says, "": none.
        with_news: hold the venue's news stream, too, when somebody wants news.
        ca_file: for wss and https upstream, certificates to trust instead of the system's.
        kept: where the ring outlives this process; what it holds is taken up.
    """

    def __init__(
        self,
        *,
        upstream_url: str,
        upstream_keys: tuple[str, str] | None,
        home: Path | str,
        host: str = "127.0.0.1",
        port: int = 0,
        tls: ssl.SSLContext | None = None,
        recorder: Recorder | None = None,
        record_channels: Iterable[str] = tuple(CHANNELS),
        data_url: str | None = None,
        with_news: bool = True,
        ca_file: str | None = None,
        kept: KeptRing | None = None,
    ) -> None:
        self.feed = urlsplit(upstream_url).path.rstrip("/").rpartition("/")[2] or "sip"
        self.host, self.port = host, port
        self.keys = KeyStore(home)
        self._recorder = recorder
        self._kept = kept
        self.fanout = Fanout(
            epoch=kept.epoch if kept else time.time_ns() // 1000,
            ring=kept.ring if kept else None,
            keep=kept.append if kept else None,
            on_union=self._on_union,
            always=dict.fromkeys(record_channels, ("*",)) if recorder else None,
            on_data=self._record if recorder else None,
            on_clock=lambda ts_ns: self.upstream.clock(ts_ns),
        )
        self.upstream = Upstream(
            upstream_url,
            on_frame=self._on_upstream_frame,
            on_state=self._on_upstream_state,
            on_gap=self._on_gap,
            on_refused=self._on_union_refused,
            market_ns=self._market_ns,
            ca_file=ca_file,
        )
        self.news = NewsLink(
            news_url(upstream_url) if with_news else None, on_frame=self._on_news, ca_file=ca_file
        )
        if kept and kept.alive_ns:
            self.upstream.was_before(kept.alive_ns, self.fanout.market_ns)
        self._data_url = rest_url(upstream_url) if data_url is None else data_url
        self._ca_file = ca_file
        self._backfiller = Backfiller(self.fanout, self._market_rest)
        self.prober = Prober(
            self.fanout, self._market_rest, self._backfiller,
            active=lambda: self.upstream.expects_data(), tell=self._tell_hubs,
        )  # fmt: skip
        self._upstream_keys = upstream_keys
        self._tls = tls
        self._gate = Gate()
        self._loop_lag_s = 0.0
        self._heard_s: float | None = None  # the upstream, at last
        self._inbound: list[bytes] = []
        self._sockets: dict[int, ServerConnection] = {}
        self._due: list[Seat] = []
        self._server: Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        scheme = "wss" if self._tls else "ws"
        return f"{scheme}://{self.host}:{self.port}/v2/{self.feed}"

    async def __aenter__(self) -> "RelayServer":
        self._server = await serve(
            self._serve_consumer,
            self.host,
            self.port,
            process_request=self._check_request,
            create_connection=partial(
                GuardedConnection, gate=self._gate, on_refused=self._note_refused
            ),  # type: ignore[arg-type]
            ssl=self._tls,
            compression=None,
            max_size=MAX_INBOUND_BYTES,
            close_timeout=LAST_WORD_S,
            ping_interval=20,
            ping_timeout=30,
            write_limit=WRITE_LIMIT,
            server_header=None,
        )
        self.port = self._server.sockets[0].getsockname()[1]
        if self._recorder is not None:
            self.fanout.start()
            self._open_by_ourselves()
        self._start(self._tick())
        self._start(self._watch_keys())
        self._start(self._backfiller.run())
        self._start(self.prober.run())
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.upstream.close()
        await self.news.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()
        if self._recorder is not None:
            await asyncio.to_thread(self._recorder.close)
        if self._kept is not None:
            self._kept.close()

    def status(self) -> dict[str, object]:
        """Return counters for people and programs; nothing secret."""
        return {
            "upstream": self.upstream.message()["state"],
            "news_upstream": self.news.state,
            "consumers": len(self.fanout.lines),
            "offset": self.fanout.ring.next_offset - 1,
            "ring_bytes": self.fanout.ring.size_bytes,
            "loop_lag_ms": round(1000 * self._loop_lag_s),
            **self.fanout.counters,
            **(self._recorder.counters if self._recorder is not None else {}),
        }

    def status_message(self) -> dict[str, object]:
        """Return the same for a hub, with every consumer."""
        now_s = time.monotonic()
        consumers = [line.state(now_s) for line in self.fanout.lines if line.consumer is not None]
        told = {**self.status(), "upstream": self.upstream.message(), "consumers": consumers}
        told |= {"wanted": self.fanout.wanted(), "mute": self.prober.watch.mute}
        return {"T": "status", **told}

    # --- consumers -------------------------------------------------------------------------------

    def _check_request(self, socket: ServerConnection, request: Request) -> Response | None:
        path = urlsplit(request.path).path
        if "Origin" in request.headers:
            return socket.respond(HTTPStatus.FORBIDDEN, "no browsers here\n")
        if path == "/metrics":
            return self._metrics(socket)
        if path.rstrip("/").replace("//", "/") in (f"/v2/{self.feed}", NEWS_PATH):
            return None
        return socket.respond(HTTPStatus.NOT_FOUND, f"this relay serves /v2/{self.feed}\n")

    def _metrics(self, socket: ServerConnection) -> Response:
        if socket.remote_address[0] not in LOOPBACK:
            return socket.respond(HTTPStatus.FORBIDDEN, "metrics are for this machine\n")
        now_s = time.monotonic()
        answer = socket.respond(
            HTTPStatus.OK,
            metrics_text(
                self.fanout,
                now_s=now_s,
                state=self.upstream.state,
                age_s=now_s - self._heard_s if self._heard_s is not None else None,
                loop_lag_s=self._loop_lag_s,
            ),
        )
        del answer.headers["Content-Type"]
        answer.headers["Content-Type"] = CONTENT_TYPE
        return answer

    def _note_refused(self) -> None:
        self.fanout.counters["refused"] += 1

    async def _serve_consumer(self, socket: ServerConnection) -> None:
        request = cast(Request, socket.request)  # the handshake is done
        packed = any("msgpack" in kind for kind in request.headers.get_all("Content-Type"))
        codec, news = "msgpack" if packed else "json", NEWS_PATH in request.path
        protocol = ServerProtocol(
            codec,
            self.keys.authenticate,
            extensions_offered=() if news else EXTENSIONS,
            channels_offered=NEWS_CHANNELS if news else CHANNELS,
            upstream_control=not news,
        )
        seat = Seat(self.fanout, socket, self._cut)
        line = seat.line = self.fanout.add(protocol, lambda: self._wake(seat))
        self._sockets[id(line)] = socket
        try:
            await self._converse(line, socket, handshake_credentials(request.headers.raw_items()))
        except ConnectionClosed:
            pass
        except Exception:  # a defect of ours: this consumer is told, the others are served
            logger.exception("a conversation failed")
            await self._handle(line, socket, line.protocol.refuse(500, CLOSE_INTERNAL))
        finally:
            self.fanout.remove(line, now_s=time.monotonic())
            self._sockets.pop(id(line), None)
            seat.close()

    def _wake(self, seat: Seat) -> None:
        """Flush this seat before the loop's next turn, with all others that have something."""
        if not seat.due:
            if not self._due:
                asyncio.get_running_loop().call_soon(self._flush)
            seat.due = True
            self._due.append(seat)

    def _flush(self) -> None:
        due, self._due = self._due, []
        for seat in due:
            seat.flush()

    async def _converse(
        self, line: Line, socket: ServerConnection, credentials: tuple[str, str] | None
    ) -> None:
        await self._say(socket, line.protocol.frames_to_send())  # the welcome, at once
        if len(self.fanout.lines) > CONNECTIONS_MAX:
            return await self._handle(line, socket, line.protocol.refuse(406))
        if credentials is not None:
            await self._handle(line, socket, line.protocol.authenticate_headers(*credentials))
        try:
            async with asyncio.timeout(AUTH_TIMEOUT_S):
                while line.consumer is None and not line.protocol.closed:
                    await self._handle(line, socket, line.protocol.receive(await socket.recv()))
        except TimeoutError:
            await self._handle(line, socket, line.protocol.auth_timed_out())
        talk = Bucket(burst=REQUESTS[0], per_second=REQUESTS[1], now_s=time.monotonic())
        while not line.protocol.closed:
            request = await socket.recv()
            if not talk.take(1, now_s=time.monotonic()):
                self.fanout.counters["refused"] += 1
                return await socket.close(CLOSE_CHATTY, "too many requests")
            await self._handle(line, socket, line.protocol.receive(request))
        return None

    async def _handle(
        self, line: Line, socket: ServerConnection, events: Iterable[ServerEvent]
    ) -> None:
        now_s = time.monotonic()
        for event in events:
            if isinstance(event, Authenticated):
                self._greet(line)
                if isinstance(socket, GuardedConnection):
                    socket.authenticated()
            elif isinstance(event, Subscribed):
                self.fanout.subscribed(line, event.channels, event.resume, now_s=now_s)
                self._open_by_ourselves()
            elif isinstance(event, UpstreamRequested):
                if event.command == "open":
                    self._open(event.key, event.secret)
                line.protocol.send(self.upstream.message())
            elif isinstance(event, StatusRequested):
                line.protocol.send(self.status_message())
            elif isinstance(event, CloseConnection):
                await self._say(socket, line.protocol.frames_to_send())
                await socket.close(event.code, event.reason)
        self.fanout.flush_control(line, now_s=now_s)

    def _greet(self, line: Line) -> None:
        self.fanout.authenticated(line)
        if line.consumer is not None:
            facts = {"consumer": line.consumer.id, "role": line.consumer.role}
            logger.info("consumer connected", extra=facts)

    async def _say(self, socket: ServerConnection, frames: Iterable[str | bytes]) -> None:
        """Send control frames past the queue; a socket that is stuck is given up."""
        try:
            async with asyncio.timeout(LAST_WORD_S):
                for frame in frames:
                    await socket.send(frame)
        except (TimeoutError, ConnectionClosed):
            pass

    def _cut(self, line: Line, code: int = CLOSE_SLOW, error: int = 407) -> None:
        """Tell a consumer that it is out, and put it out; nobody else waits for that."""
        if line.protocol.closed:
            return
        line.protocol.closed = True
        self.fanout.remove(line, now_s=time.monotonic())
        self.fanout.counters["cut"] += 1
        waiting = {"consumer": line.consumer.id if line.consumer else "", "error": error}
        logger.warning("consumer cut", extra={**waiting, "queued_bytes": line.outbox.size_bytes})
        line.outbox.clear()
        line.protocol.send_error(error)
        socket = self._sockets.get(id(line))
        if socket is not None:
            self._start(self._put_out(socket, line.protocol.frames_to_send(), code))

    async def _put_out(
        self, socket: ServerConnection, frames: Iterable[str | bytes], code: int
    ) -> None:
        await self._say(socket, frames)
        reason = "slow client" if code == CLOSE_SLOW else "key revoked"
        await socket.close(code, reason)

    # --- upstream --------------------------------------------------------------------------------

    def _on_union(self, union: dict[str, list[str]]) -> None:
        self.news.want(union.get("news", ()))
        self.upstream.want({name: union[name] for name in CHANNELS if name in union})

    def _open_by_ourselves(self) -> None:
        if self._upstream_keys is not None and not self.upstream.opened:
            self._open(*self._upstream_keys)

    def _open(self, key: str, secret: str) -> None:
        self.upstream.open(key, secret)
        self.news.open(key, secret)

    def _market_rest(self) -> MarketRest | None:
        if not self._data_url or self.upstream.keys is None:
            return None
        return HttpMarketRest(
            self._data_url, *self.upstream.keys, feed=self.feed, ca_file=self._ca_file
        )

    def _market_ns(self) -> int:
        """Return how far the market has come with all that has arrived."""
        if self._inbound:
            self._route()
        return self.fanout.market_ns

    def _on_news(self, frame: bytes) -> None:
        if not is_control(frame):
            self.fanout.news(frame, now_s=time.monotonic())
            self._record([frame], time.time_ns())
            self._flush()

    def _on_upstream_frame(self, frame: bytes) -> None:
        """Collect what arrives in one turn of the loop; it is routed together."""
        if not self._inbound:
            asyncio.get_running_loop().call_soon(self._route)
        self._inbound.append(frame)

    def _route(self) -> None:
        received, self._inbound = self._inbound, []
        self._heard_s = time.monotonic()
        malformed = self.fanout.counters["malformed"]
        self.fanout.receive(received, now_s=self._heard_s, now_ns=time.time_ns())
        if bad := self.fanout.counters["malformed"] - malformed:
            self.upstream.malformed(bad, now_s=self._heard_s)
        self._flush()

    def _on_gap(self, from_ns: int, to_ns: int, reason: str) -> None:
        """Mark it behind all that has arrived before."""
        if self._inbound:
            self._route()
        facts = {"reason": reason, "missing_ms": (to_ns - from_ns) // 1_000_000}
        logger.warning("upstream gap", extra=facts)
        self.fanout.gap(from_ns, to_ns, reason, now_s=time.monotonic())
        self._backfiller.gap(from_ns, to_ns)

    def _on_union_refused(self, held: Mapping[str, frozenset[str]]) -> None:
        logger.error("the venue refused the subscription", extra={"code": 405})
        self.fanout.roll_back(held, now_s=time.monotonic())

    def _on_upstream_state(self) -> None:
        """Tell every hub; what has arrived before is routed first."""
        if self._inbound:
            self._route()
        message = self.upstream.message()
        self.fanout.upstream_has_clock = bool(message["clock"])
        if message["state"] == "open" and self.fanout.ring.size_bytes:
            self.fanout.reconnected(now_s=time.monotonic())
        self._tell_hubs(message)

    def _tell_hubs(self, message: dict[str, object]) -> None:
        for line in self.fanout.lines:
            if line.consumer is not None and line.consumer.role == "hub":
                line.protocol.send(message)
                self.fanout.flush_control(line, now_s=time.monotonic())

    def _note_lagging(self, line: Line, now_s: float) -> None:
        """Tell the hubs, and the consumer where it would understand."""
        found = line.state(now_s)
        logger.warning("consumer lags" if line.lagging else "consumer keeps up again", extra=found)
        self._tell_hubs({"T": "consumer", **found})
        if "frame" in line.protocol.extensions:
            line.protocol.send({"T": "consumer", **found})
            self.fanout.flush_control(line, now_s=now_s)

    def _record(self, received: Sequence[bytes], now_ns: int) -> None:
        if self._recorder is not None:
            self._recorder.add(received, recv_ns=now_ns)

    # --- clockwork -------------------------------------------------------------------------------

    async def _tick(self) -> None:
        while True:
            due_s = time.monotonic() + HEARTBEAT_S
            await asyncio.sleep(HEARTBEAT_S)
            now_s = time.monotonic()
            self._loop_lag_s = max(now_s - due_s, 0.95 * self._loop_lag_s)  # fades in some seconds
            self.fanout.heartbeat(now_s=now_s, now_ns=time.time_ns())
            if self._kept is not None and self.upstream.state == "open":
                self._kept.alive(time.time_ns())
            for line in self.fanout.slow_lines(now_s=now_s):
                self._cut(line)
            for line in self.fanout.lagging_changes(now_s=now_s):
                self._note_lagging(line, now_s)

    async def _watch_keys(self) -> None:
        while True:
            await asyncio.sleep(KEYS_CHECK_S)
            if not self.keys.refresh():
                continue
            if self.keys.error:
                logger.error("key file not read", extra={"reason": self.keys.error})
            for line in list(self.fanout.lines):
                if line.consumer is not None and not self.keys.holds(line.consumer.id):
                    self._cut(line, CLOSE_REVOKED, 402)

    def _start(self, work: object) -> None:
        task: asyncio.Task[None] = asyncio.ensure_future(work)  # type: ignore[call-overload]
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            logger.error("relay task failed", exc_info=task.exception())


async def run_relay(
    server: RelayServer, *, stop: asyncio.Event, on_ready: Callable[[], None]
) -> None:
    """Serve until `stop` is set."""
    async with server:
        on_ready()
        await stop.wait()
