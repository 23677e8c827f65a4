"""The server's side of the stream's control conversation, without a connection (sans-I/O).

Alpaca's v2 stock stream (and, with other channels, its news), plus the extensions of
`relay.wire.EXTENSIONS` for clients that ask for them in their `auth` message. Feed received
messages in, send `frames_to_send()` out. Data frames do not pass through here: they are bytes all
the way. The client's side is in `relay.client_protocol`.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from relay.symbols import CHANNELS, NEWS_CHANNELS, covers
from relay.wire import (
    CLOSE_POLICY,
    CLOSE_REVOKED,
    CLOSE_SLOW,
    ERRORS,
    EXTENSIONS,
    MAX_EXTENSION_INT,
    MAX_INBOUND_BYTES,
    Consumer,
    Message,
    RemoteProtocolError,
    RequestRefused,
    Subscription,
    Wire,
    decode_request,
    encode_control,
    requested_channels,
)

__all__ = [
    "CLOSE_POLICY",
    "CLOSE_REVOKED",
    "CLOSE_SLOW",
    "ERRORS",
    "MAX_INBOUND_BYTES",
    "Authenticated",
    "CloseConnection",
    "Consumer",
    "ServerEvent",
    "ServerProtocol",
    "StatusRequested",
    "Subscribed",
    "Subscription",
    "UpstreamRequested",
    "encode_control",
]


@dataclass(frozen=True, kw_only=True)
class Authenticated:
    """The client is who it says; its granted extensions."""

    consumer: Consumer
    extensions: frozenset[str]


@dataclass(frozen=True, kw_only=True)
class Subscribed:
    """The subscription changed (and is acknowledged); `resume` is (epoch, offset) when asked."""

    channels: dict[str, frozenset[str]]
    resume: tuple[int, int] | None = None


@dataclass(frozen=True, kw_only=True)
class UpstreamRequested:
    """The hub asks for the upstream: `command` is open or status; key and secret are its own."""

    command: str
    key: str = field(default="", repr=False)
    secret: str = field(default="", repr=False)


@dataclass(frozen=True, kw_only=True)
class StatusRequested:
    """The hub wants to know how everybody is."""


@dataclass(frozen=True, kw_only=True)
class CloseConnection:
    """Send what is queued, then close with this code."""

    code: int
    reason: str


ServerEvent = Authenticated | Subscribed | UpstreamRequested | StatusRequested | CloseConnection


class ServerProtocol:
    """One client's conversation, as the server sees it. Speaks first: send at once.

    Args:
        codec: "json" or "msgpack", from the handshake's Content-Type.
        authenticate: returns the consumer of a key and secret, None when they are wrong.
        extensions_offered: of `EXTENSIONS`, what this server can do.
        channels_offered: channels of this feed.
        upstream_control: whether hub-role clients may send `upstream` requests.
    """

    def __init__(
        self,
        codec: str,
        authenticate: Callable[[str, str], Consumer | None],
        *,
        extensions_offered: Iterable[str] = (),
        channels_offered: Iterable[str] = tuple(CHANNELS),
        upstream_control: bool = False,
    ) -> None:
        self.codec = codec
        self.consumer: Consumer | None = None
        self.extensions: frozenset[str] = frozenset()
        self.subscription = Subscription(channels_offered)
        self.closed = False
        self._authenticate = authenticate
        self._offered = frozenset(extensions_offered)
        self._upstream_control = upstream_control
        self._outgoing: list[Wire] = []
        self.send({"T": "success", "msg": "connected"})

    def frames_to_send(self) -> list[Wire]:
        frames, self._outgoing = self._outgoing, []
        return frames

    def send(self, message: Mapping[str, object]) -> None:
        """Queue one control message."""
        self._outgoing.append(encode_control(message, self.codec))

    def send_error(self, code: int) -> None:
        self.send({"T": "error", "code": code, "msg": ERRORS[code]})

    def receive(self, frame: Wire) -> list[ServerEvent]:
        """Take one whole message of the client; its answers are queued."""
        if self.closed:
            return []
        try:
            return self._dispatch(decode_request(frame))
        except RemoteProtocolError:
            self.send_error(400)
        except RequestRefused as refused:
            self.send_error(refused.code)
        return []

    def authenticate_headers(self, key: str, secret: str) -> list[ServerEvent]:
        """Authenticate by the handshake's APCA headers, before any message."""
        return self._auth({"key": key, "secret": secret})

    def auth_timed_out(self) -> list[ServerEvent]:
        """The client did not authenticate in time."""
        return [] if self.consumer or self.closed else self._fail(404)

    def refuse(self, code: int, close: int = CLOSE_POLICY) -> list[ServerEvent]:
        """Turn the client away: one error, then the end."""
        return self._fail(code, close)

    def withdraw(self, channels: Mapping[str, Iterable[str]], code: int) -> None:
        """Take entries away that were acknowledged before, saying why."""
        self.subscription.remove(channels)
        self.send_error(code)
        self.send(self.subscription.acknowledgment())

    def _dispatch(self, message: Message) -> list[ServerEvent]:
        action = message.get("action")
        if action == "auth":
            return self._auth(message)
        if action in ("subscribe", "unsubscribe"):
            return self._change(message, subscribe=action == "subscribe")
        if action == "upstream" and self._upstream_control:
            return self._upstream(message)
        if action == "status" and self._upstream_control:
            self._require_hub()
            return [StatusRequested()]
        raise RequestRefused(400)

    def _auth(self, message: Message) -> list[ServerEvent]:
        if self.consumer is not None:
            raise RequestRefused(403)
        key, secret = message.get("key"), message.get("secret")
        asked = message.get("extensions")
        if not isinstance(key, str) or not isinstance(secret, str):
            raise RequestRefused(400)
        if asked is not None and not isinstance(asked, list):
            raise RequestRefused(400)
        self.consumer = self._authenticate(key, secret)
        if self.consumer is None:
            return self._fail(402)
        reply: Message = {"T": "success", "msg": "authenticated"}
        if asked is not None:
            granted = [name for name in EXTENSIONS if name in self._offered and name in asked]
            self.extensions = frozenset(granted)
            if "news" in granted:
                self.subscription.offer(NEWS_CHANNELS)
            reply["extensions"] = granted
        self.send(reply)
        return [Authenticated(consumer=self.consumer, extensions=self.extensions)]

    def _fail(self, code: int, close: int = CLOSE_POLICY) -> list[ServerEvent]:
        self.send_error(code)
        self.closed = True
        return [CloseConnection(code=close, reason=ERRORS[code])]

    def _change(self, message: Message, *, subscribe: bool) -> list[ServerEvent]:
        if self.consumer is None:
            raise RequestRefused(401)
        patterns = "prefix" in self.extensions
        names = self.subscription.channels
        channels = requested_channels(message, patterns=patterns, names=names)
        if subscribe and not self._within(channels):
            raise RequestRefused(411)
        resume = self._resume(message) if subscribe else None
        change = self.subscription.add if subscribe else self.subscription.remove
        change(channels)
        self.send(self.subscription.acknowledgment())
        return [Subscribed(channels=self.subscription.channels, resume=resume)]

    def _within(self, channels: Mapping[str, Iterable[str]]) -> bool:
        """Say whether the key may have all of these symbols."""
        allowed = self.consumer.ranges if self.consumer else ()
        return all(covers(allowed, entry) for entries in channels.values() for entry in entries)

    def _resume(self, message: Message) -> tuple[int, int] | None:
        wanted = message.get("resume")
        if wanted is None:
            return None
        if "resume" not in self.extensions or not isinstance(wanted, dict):
            raise RequestRefused(400)
        return _extension_int(wanted.get("e")), _extension_int(wanted.get("o"))

    def _require_hub(self) -> None:
        if self.consumer is None:
            raise RequestRefused(401)
        if self.consumer.role != "hub":
            raise RequestRefused(411)

    def _upstream(self, message: Message) -> list[ServerEvent]:
        self._require_hub()
        command = message.get("command")
        key, secret = message.get("key", ""), message.get("secret", "")
        known = command in ("open", "status")
        if not known or not isinstance(key, str) or not isinstance(secret, str):
            raise RequestRefused(400)
        return [UpstreamRequested(command=str(command), key=key, secret=secret)]


def _extension_int(value: object) -> int:
    if type(value) is not int or not 0 <= value < MAX_EXTENSION_INT:
        raise RequestRefused(400)
    return value
