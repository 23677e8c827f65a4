"""The venue as one plain ASGI application: REST, trade updates, market data, the lock-step desk."""

import asyncio
import json
import logging
from collections.abc import Iterable
from dataclasses import dataclass

from execution.venue import rest
from execution.venue.cursor import TapeCursor
from execution.venue.datafeed import DataFeed
from execution.venue.engine import VenueEngine
from execution.venue.faults import FaultPlan, FaultyStream
from execution.venue.lockstep import LockstepDesk
from execution.venue.options import VenueOptions
from execution.venue.paced import PacedPlayer
from execution.venue.player import Player
from execution.venue.rejections import Rejection, unauthorized
from execution.venue.replay import Replay, tape_books
from execution.venue.seats import Seats
from execution.venue.sockets import Receive, Scope, Send, Socket, read_body, respond
from execution.venue.updates import UpdateStream
from execution.venue.wire import MAX_BODY_BYTES
from relay.news import NEWS_PATH
from relay.tape import Block, TapeReader

logger = logging.getLogger(__name__)
FEEDS = ("iex", "sip", "test")
_LIMITS = (
    (b"x-ratelimit-limit", b"200"),
    (b"x-ratelimit-remaining", b"199"),
    (b"x-ratelimit-reset", b"0"),
)


@dataclass
class Venue:
    """Everything one venue process holds; calling it is the ASGI application."""

    options: VenueOptions
    player: Player
    api: rest.TradingApi
    feed: DataFeed
    updates: UpdateStream
    desk: LockstepDesk

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self._http(scope, receive, send)
        elif scope["type"] == "websocket":
            await self._websocket(Socket(scope, receive, send), receive, send)

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = await read_body(receive, MAX_BODY_BYTES)
        answer: rest.Answer | None
        try:
            self._authorize(scope)
            request = rest.parse_request(
                scope["method"], scope["path"], scope["query_string"], body
            )
            asked = (request.path, request.query)
            history = self.feed.history.answer(*asked) if request.method == "GET" else None
            if history is not None:
                answer = rest.Answer(200, json.dumps(history, separators=(",", ":")).encode())
            elif request.path == "/venue/status":
                answer = rest.Answer(200, json.dumps(self.status()).encode())
            else:
                answer = await self._answer(request)
        except Rejection as refusal:
            answer = rest.Answer(refusal.status, json.dumps(refusal.body).encode())
        except Exception:  # a defect of ours must look like one of theirs: a 500 with a body
            logger.exception("request failed", extra={"path": scope["path"]})
            answer = rest.Answer(500, b'{"code":50010000,"message":"internal server error"}')
        if answer is not None:
            await respond(send, answer.status, answer.body, (*_LIMITS, *answer.headers))

    async def _answer(self, request: rest.Request) -> rest.Answer | None:
        """Return the answer, or what a fault makes of it; None: it never comes."""
        plan = self.api.engine.faults
        rule = plan.request(request.method, request.path, self.api.now_ns())
        if rule is None:
            return self.api.answer(request)
        if rule.do == "execute_late":
            await asyncio.sleep(rule.seconds)
            self.api.answer(request)
            return None
        answer = rest.faulty(rule.do, self.api, request)
        if answer is None:
            await asyncio.sleep(rule.seconds)  # the client has left by then; its socket is cut
        return answer

    def _authorize(self, scope: Scope) -> None:
        headers = dict(scope["headers"])
        key = headers.get(b"apca-api-key-id", b"").decode("latin-1")
        secret = headers.get(b"apca-api-secret-key", b"").decode("latin-1")
        if not self.options.credentials.match(key, secret):
            raise unauthorized()

    async def _websocket(self, socket: Socket, receive: Receive, send: Send) -> None:
        path = "/" + socket.path.strip("/")
        if path == "/stream":
            await self.updates.serve(socket)
        elif path == "/lockstep":
            await self.desk.serve(socket)
        elif path in {NEWS_PATH, *(f"/v2/{feed}" for feed in FEEDS)}:
            await self.feed.serve(socket)
        else:
            await receive()
            await send({"type": "websocket.close", "code": 4404})

    def status(self) -> dict[str, object]:
        """Return GET /venue/status; `truth` is what really happened to the account."""
        player, stop = self.player, self.player.stop
        speed = self.options.speed
        return {
            "tape": str(self.options.tape) if self.options.tape else None,
            "day": self.options.day.isoformat(),
            "state": player.state,
            "t_ns": player.now_ns(),
            "speed": "max" if speed is None else speed,
            "lockstep": player.lockstep,
            "stop": stop.number if stop is not None else None,
            "stops": player.costs.stops,
            "prints_sent": self.feed.prints_sent,
            "updates": self.api.engine.updates_emitted,
            "faults": dict(self.api.engine.faults.injected),
            "truth": self.api.engine.truth(),
        }


def _blocks(options: VenueOptions) -> Iterable[Block]:
    if options.blocks is not None:
        return options.blocks()
    return TapeReader(options.tape).blocks() if options.tape else ()


def build(options: VenueOptions) -> Venue:
    """Put a venue together; must run in the event loop that will serve it.

    Raises:
        TapeError: the tape is not readable.
    """
    cursor = TapeCursor(_blocks(options))
    plan = FaultPlan.load(options.faults) if options.faults else FaultPlan()
    engine = VenueEngine(
        session=options.session,
        symbols=options.symbols,
        cash=options.cash,
        seed=options.seed,
        latency_ns=options.latency_ns,
        partial_rate=options.partial_rate,
        books=tape_books(cursor),
        faults=plan,
    )
    seats = Seats(options.data_seats, options.seat_linger_s)
    feed = DataFeed(options.credentials, bounded=options.speed is not None, seats=seats)
    updates = UpdateStream(options.credentials, FaultyStream(plan))
    desk = LockstepDesk(options.credentials, live_ns=options.live_ns)
    make = Player if options.speed is None else PacedPlayer
    player = make(options, Replay(cursor, engine, options.start_ns), feed, updates, desk)
    feed.shown_ns = player.shown_ns
    return Venue(
        options=options,
        player=player,
        api=rest.TradingApi(engine, player.now_ns, options.listings),
        feed=feed,
        updates=updates,
        desk=desk,
    )
