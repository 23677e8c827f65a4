"""What both sides of the stream share: control frames, error codes, subscriptions."""

import base64
import binascii
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import msgspec

from relay.symbols import CHANNELS, is_pattern, is_symbol

MAX_INBOUND_BYTES = 64 * 1024
EXTENSIONS = ("frame", "prefix", "clock", "resume", "gap", "backfill", "news")
MAX_EXTENSION_INT = 1 << 53
ERRORS = {
    400: "invalid syntax",
    401: "not authenticated",
    402: "auth failed",
    403: "already authenticated",
    404: "auth timeout",
    405: "symbol limit exceeded",
    406: "connection limit exceeded",
    407: "slow client",
    409: "insufficient subscription",
    410: "invalid subscribe action for this feed",
    411: "insufficient scope",
    500: "internal error",
}
CLOSE_POLICY, CLOSE_SLOW, CLOSE_REVOKED, CLOSE_CHATTY = 1008, 4408, 4401, 4429
CLOSE_INTERNAL = 1011
Message = dict[str, object]
Wire = str | bytes


class ProtocolError(Exception):
    """ProtocolError ← LocalProtocolError (our mistake), RemoteProtocolError (theirs)."""


class LocalProtocolError(ProtocolError):
    """The caller did something out of turn."""


class RemoteProtocolError(ProtocolError):
    """The peer sent what the protocol does not allow."""


@dataclass(frozen=True, kw_only=True)
class Consumer:
    """Who is on the other side: `role` is shard, hub or client; no `ranges` means every symbol."""

    id: str
    role: str = "client"
    name: str = ""
    ranges: tuple[str, ...] = ()


def encode_control(message: Mapping[str, object], codec: str) -> Wire:
    """Return a control frame: an array of exactly one message, as text or msgpack."""
    if codec == "json":
        return json.dumps([message], separators=(",", ":"))
    return msgspec.msgpack.encode([message])


def decode_request(frame: Wire) -> Message:
    """Return what a client sent: one map, JSON text or msgpack, told apart by its first byte.

    Raises:
        RemoteProtocolError: anything else, or too long.
    """
    raw = frame.encode() if isinstance(frame, str) else bytes(frame)
    if len(raw) > MAX_INBOUND_BYTES:
        raise RemoteProtocolError("message too long")
    try:
        if raw.lstrip()[:1] in (b"{", b"["):
            found = msgspec.json.decode(raw)
        else:
            found = msgspec.msgpack.decode(raw)
    except (msgspec.MsgspecError, ValueError, RecursionError) as exc:
        raise RemoteProtocolError("not a message") from exc
    if not isinstance(found, dict) or not all(isinstance(key, str) for key in found):
        raise RemoteProtocolError("not a map")
    return found


def is_control(frame: bytes) -> bool:
    """Say whether a server's msgpack frame is one control message (its `T` is a word)."""
    return (
        len(frame) > 5 and frame[0] == 0x91 and frame[2:4] == b"\xa1T" and 0xA2 <= frame[4] <= 0xBF
    )


def handshake_credentials(headers: Iterable[tuple[str, str]]) -> tuple[str, str] | None:
    """Return the key and secret that a handshake's headers bring, None without any.

    The venue's own pair, or `Authorization: Basic`. A bearer token is nobody's key here: it comes
    back with an empty key, and is refused as any wrong one.
    """
    known = {name.lower(): value for name, value in headers}
    if "apca-api-key-id" in known:
        return known["apca-api-key-id"], known.get("apca-api-secret-key", "")
    scheme, _, value = known.get("authorization", "").partition(" ")
    if not scheme:
        return None
    if scheme.lower() != "basic":
        return "", value
    try:
        key, _, secret = base64.b64decode(value.strip(), validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return "", ""
    return key, secret


class Subscription:
    """What one client is subscribed to, per channel: symbols, `*`, patterns."""

    def __init__(self, names: Iterable[str] = tuple(CHANNELS)) -> None:
        self._entries: dict[str, set[str]] = {name: set() for name in names}

    def offer(self, names: Iterable[str]) -> None:
        """Take more channels in, those of an extension."""
        self._entries |= {name: set() for name in names}

    @property
    def channels(self) -> dict[str, frozenset[str]]:
        return {name: frozenset(entries) for name, entries in self._entries.items()}

    def add(self, channels: Mapping[str, Iterable[str]]) -> None:
        for name, entries in channels.items():
            self._entries[name].update(entries)

    def remove(self, channels: Mapping[str, Iterable[str]]) -> None:
        for name, entries in channels.items():
            self._entries[name].difference_update(entries)

    def acknowledgment(self) -> Message:
        """Return the complete state, empty channels included, as the venue acknowledges."""
        lists = {name: sorted(entries) for name, entries in self._entries.items()}
        if "trades" not in lists:
            return {"T": "subscription", **lists}
        follow = {"corrections": lists["trades"], "cancelErrors": lists["trades"]}
        return {"T": "subscription", **lists, **follow}


def requested_channels(
    message: Message, *, patterns: bool, names: Iterable[str] = tuple(CHANNELS)
) -> dict[str, list[str]]:
    """Return the entries per channel of a (un)subscribe; nulls and empty lists are nothing.

    Args:
        patterns: whether prefixes and ranges may be asked for.
        names: the channels that there are.
    Raises:
        RequestRefused: 400 for a malformed list or entry, 410 for a channel we do not have.
    """
    channels: dict[str, list[str]] = {}
    for name, entries in message.items():
        if name in ("action", "resume") or entries is None or entries == []:
            continue
        if not isinstance(entries, list) or not all(isinstance(entry, str) for entry in entries):
            raise RequestRefused(400)
        if name not in names:
            raise RequestRefused(410)
        for entry in entries:
            if not (is_symbol(entry) or (patterns and is_pattern(entry))):
                raise RequestRefused(400)
        channels[name] = entries
    return channels


class RequestRefused(Exception):
    """A client's request is answered with this error code and changes nothing."""

    def __init__(self, code: int) -> None:
        super().__init__(ERRORS[code])
        self.code = code
