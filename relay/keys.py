"""Consumers' keys of the relay: `keys.json` in its home, secrets as SHA-256 only.

A secret has 256 random bits, so a plain hash is enough. Writers replace the file; a running relay
sees the change by its stamp.
"""

import hashlib
import hmac
import json
import os
import secrets
import time
from collections.abc import Iterable
from pathlib import Path

import msgspec

from relay.symbols import is_pattern, is_symbol
from relay.wire import Consumer

ROLES = ("shard", "hub", "client")
FILE_NAME = "keys.json"


class KeyFileError(ValueError):
    """The key file or a request about keys is not acceptable; one clear line."""


class StoredKey(msgspec.Struct, frozen=True, kw_only=True):
    """One consumer's key as it is stored; no `ranges` means every symbol.

    While it rotates, the secret before (`old_sha256`) is good until `old_until_s` (Unix time).
    """

    id: str
    role: str
    name: str
    sha256: str
    ranges: tuple[str, ...] = ()
    old_sha256: str = ""
    old_until_s: float = 0.0

    def fits(self, secret_hash: str, now_s: float) -> bool:
        """Compare in constant time."""
        new = hmac.compare_digest(self.sha256, secret_hash)
        old = hmac.compare_digest(self.old_sha256 or _NOBODY, secret_hash)
        return new or (old and self.old_sha256 != "" and now_s < self.old_until_s)


def add_key(
    home: Path | str, *, role: str, name: str, ranges: Iterable[str] = ()
) -> tuple[str, str]:
    """Make a key and return (id, secret); the secret is not stored and cannot be shown again.

    Args:
        home: the relay's directory; made when missing.
        ranges: the symbols, prefixes and ranges it may ask for; none means all.
    """
    if role not in ROLES:
        raise KeyFileError(f"role {role!r} is not one of {', '.join(ROLES)}")
    bound = tuple(ranges)
    for entry in bound:
        if not (is_symbol(entry) or is_pattern(entry)):
            raise KeyFileError(f"{entry!r} is not a symbol, a prefix or a range")
    key_id, secret = f"RK{secrets.token_hex(9).upper()}", secrets.token_urlsafe(32)
    stored = StoredKey(id=key_id, role=role, name=name[:80], sha256=_hash(secret), ranges=bound)
    _write(Path(home), [*list_keys(home), stored])
    return key_id, secret


def rotate(home: Path | str, key_id: str, *, now_s: float, grace_s: float) -> str:
    """Give a key a new secret and return it; the one before stays good for `grace_s`."""
    keys = list_keys(home)
    key = next((key for key in keys if key.id == key_id), None)
    if key is None:
        raise KeyFileError(f"no key {key_id}")
    secret = secrets.token_urlsafe(32)
    fresh = msgspec.structs.replace(
        key, sha256=_hash(secret), old_sha256=key.sha256, old_until_s=now_s + grace_s
    )
    _write(Path(home), [fresh if one is key else one for one in keys])
    return secret


def revoke(home: Path | str, key_id: str) -> None:
    """Remove a key; a relay that runs cuts its consumer."""
    keys = list_keys(home)
    left = [key for key in keys if key.id != key_id]
    if len(left) == len(keys):
        raise KeyFileError(f"no key {key_id}")
    _write(Path(home), left)


def list_keys(home: Path | str) -> list[StoredKey]:
    """Return the stored keys, oldest first; none when there is no file."""
    path = Path(home) / FILE_NAME
    try:
        return msgspec.json.decode(path.read_bytes(), type=list[StoredKey])
    except FileNotFoundError:
        return []
    except (msgspec.MsgspecError, OSError) as exc:
        raise KeyFileError(f"{path}: {exc}") from exc


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


_NOBODY = _hash("nobody")


def _write(home: Path, keys: list[StoredKey]) -> None:
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    fresh = home / f"{FILE_NAME}.{secrets.token_hex(4)}"
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump(msgspec.to_builtins(keys), file, indent=1)
    fresh.replace(home / FILE_NAME)


_STRANGER = StoredKey(id="", role="client", name="", sha256=_NOBODY)


class KeyStore:
    """The keys a running relay accepts; reads the file again when it has changed."""

    def __init__(self, home: Path | str) -> None:
        self._home = Path(home)
        self._stamp: tuple[int, int, int] | None = None
        self._keys: dict[str, StoredKey] = {}
        self.error: str | None = None

    def refresh(self) -> bool:
        """Read the file when it changed; an unreadable one keeps the keys we have."""
        try:
            found = (self._home / FILE_NAME).stat()
            stamp = (found.st_mtime_ns, found.st_ino, found.st_size)
        except OSError:
            stamp = (0, 0, 0)
        if stamp == self._stamp:
            return False
        self._stamp = stamp
        try:
            self._keys = {key.id: key for key in list_keys(self._home)}
            self.error = None
        except KeyFileError as exc:
            self.error = str(exc)
        return True

    def authenticate(self, key_id: str, secret: str) -> Consumer | None:
        """Return the consumer of this key and secret, None when they do not fit."""
        self.refresh()
        key = self._keys.get(key_id, _STRANGER)
        if not key.fits(_hash(secret), time.time()) or key is _STRANGER:
            return None
        return Consumer(id=key.id, role=key.role, name=key.name, ranges=key.ranges)

    def holds(self, key_id: str) -> bool:
        """Say whether the key is still good."""
        return key_id in self._keys
