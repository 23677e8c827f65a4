"""Our side of the stream's control conversation, without a connection (sans-I/O)."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum, auto

import msgspec

from relay.symbols import CHANNELS, NEWS_CHANNELS
from relay.wire import EXTENSIONS, LocalProtocolError, Message, RemoteProtocolError, is_control

__all__ = [
    "Acknowledged",
    "ClientEvent",
    "ClientProtocol",
    "ClientState",
    "ControlReceived",
    "LoggedIn",
    "ServerSaidError",
    "is_control",
]

_CHANNELS = (*CHANNELS, *NEWS_CHANNELS)


class ClientState(Enum):
    """Where the conversation stands."""

    CONNECTING = auto()
    AUTHENTICATING = auto()
    LIVE = auto()
    REFUSED = auto()


@dataclass(frozen=True, kw_only=True)
class LoggedIn:
    """The server accepted us and granted these extensions."""

    extensions: frozenset[str]


@dataclass(frozen=True, kw_only=True)
class Acknowledged:
    """The complete subscription as the server has it."""

    channels: dict[str, frozenset[str]]


@dataclass(frozen=True, kw_only=True)
class ServerSaidError:
    """An error; `fatal` before we were logged in."""

    code: int
    msg: str
    fatal: bool


@dataclass(frozen=True, kw_only=True)
class ControlReceived:
    """Any other control message (clock, resume, upstream)."""

    message: Message


ClientEvent = LoggedIn | Acknowledged | ServerSaidError | ControlReceived


class ClientProtocol:
    """Our side of a msgpack stream. Give it the frames for which `is_control` holds."""

    def __init__(self, key: str, secret: str, *, extensions: Iterable[str] = ()) -> None:
        self.state = ClientState.CONNECTING
        self.extensions: frozenset[str] = frozenset()
        self._credentials = (key, secret)
        self._asked = [name for name in EXTENSIONS if name in set(extensions)]
        self._outgoing: list[bytes] = []

    def frames_to_send(self) -> list[bytes]:
        frames, self._outgoing = self._outgoing, []
        return frames

    def send(self, message: Mapping[str, object]) -> None:
        """Queue one request.

        Raises:
            LocalProtocolError: we are not logged in.
        """
        if self.state is not ClientState.LIVE:
            raise LocalProtocolError(f"cannot send while {self.state.name}")
        self._outgoing.append(msgspec.msgpack.encode(message))

    def change(
        self,
        have: Mapping[str, Iterable[str]],
        want: Mapping[str, Iterable[str]],
        *,
        resume: tuple[int, int] | None = None,
    ) -> int:
        """Queue what turns the subscription `have` into `want`; return the number of requests."""
        more = {
            name: sorted(set(want.get(name, ())) - set(have.get(name, ()))) for name in _CHANNELS
        }
        less = {
            name: sorted(set(have.get(name, ())) - set(want.get(name, ()))) for name in _CHANNELS
        }
        added = {name: entries for name, entries in more.items() if entries}
        dropped = {name: entries for name, entries in less.items() if entries}
        if added or resume is not None:
            asked = {"resume": {"e": resume[0], "o": resume[1]}} if resume is not None else {}
            self.send({"action": "subscribe", **added, **asked})
        if dropped:
            self.send({"action": "unsubscribe", **dropped})
        return int(bool(added) or resume is not None) + int(bool(dropped))

    def receive(self, frame: bytes) -> list[ClientEvent]:
        """Take one control frame.

        Raises:
            RemoteProtocolError: it is not one, or comes out of turn.
        """
        try:
            messages = msgspec.msgpack.decode(frame, type=list[Message])
        except (msgspec.MsgspecError, ValueError, RecursionError) as exc:
            raise RemoteProtocolError(f"bad control frame {bytes(frame[:80])!r}") from exc
        return [event for message in messages for event in self._receive(message)]

    def _receive(self, message: Message) -> list[ClientEvent]:
        kind = message.get("T")
        if kind == "success":
            return self._success(message)
        if kind == "error":
            return self._error(message)
        if kind == "subscription":
            lists = {name: _symbols(message.get(name)) for name in _CHANNELS}
            return [Acknowledged(channels=lists)]
        return [ControlReceived(message=message)]

    def _success(self, message: Message) -> list[ClientEvent]:
        said = message.get("msg")
        if said == "connected" and self.state is ClientState.CONNECTING:
            self.state = ClientState.AUTHENTICATING
            key, secret = self._credentials
            request: Message = {"action": "auth", "key": key, "secret": secret}
            if self._asked:
                request["extensions"] = self._asked
            self._outgoing.append(msgspec.msgpack.encode(request))
            return []
        if said == "authenticated" and self.state is ClientState.AUTHENTICATING:
            self.state = ClientState.LIVE
            granted = message.get("extensions")
            names = granted if isinstance(granted, list) else []
            self.extensions = frozenset(name for name in names if isinstance(name, str))
            return [LoggedIn(extensions=self.extensions)]
        raise RemoteProtocolError(f"{said!r} while {self.state.name}")

    def _error(self, message: Message) -> list[ClientEvent]:
        code, msg = message.get("code"), message.get("msg")
        number = code if isinstance(code, int) else 0
        if number == 403:
            return []  # harmless: the server had us already
        fatal = self.state is not ClientState.LIVE
        if fatal:
            self.state = ClientState.REFUSED
        return [ServerSaidError(code=number, msg=str(msg)[:200], fatal=fatal)]


def _symbols(entries: object) -> frozenset[str]:
    """Return the symbols of an acknowledged channel; whatever else is in it is nothing."""
    found = entries if isinstance(entries, list) else []
    return frozenset(entry for entry in found if isinstance(entry, str))
