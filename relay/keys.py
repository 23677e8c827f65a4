"""Consumers' keys of the relay: `keys.json` in its home, secrets as SHA-256 only.

A secret has 256 random bits, so a plain hash is enough. Writers replace the file; a running relay
sees the change by its stamp.
"""

import hashlib
import hmac
import json
import os
import secrets
from pathlib import Path

import msgspec

from relay.wire import Consumer

ROLES = ("shard", "hub", "client")
FILE_NAME = "keys.json"


class KeyFileError(ValueError):
    """The key file or a request about keys is not acceptable; one clear line."""


class StoredKey(msgspec.Struct, frozen=True, kw_only=True):
    """One consumer's key as it is stored."""

    id: str
    role: str
    name: str
    sha256: str


def add_key(home: Path | str, *, role: str, name: str) -> tuple[str, str]:
    """Make a key and return (id, secret); the secret is not stored and cannot be shown again.

    Args:
        home: the relay's directory; made when missing.
    """
    if role not in ROLES:
        raise KeyFileError(f"role {role!r} is not one of {', '.join(ROLES)}")
    key_id, secret = f"RK{secrets.token_hex(9).upper()}", secrets.token_urlsafe(32)
    stored = StoredKey(id=key_id, role=role, name=name[:80], sha256=_hash(secret))
    _write(Path(home), [*list_keys(home), stored])
    return key_id, secret


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
    return hashlib.sha256(secret.encode()).hexdigest()


def _write(home: Path, keys: list[StoredKey]) -> None:
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    fresh = home / f"{FILE_NAME}.{secrets.token_hex(4)}"
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump(msgspec.to_builtins(keys), file, indent=1)
    fresh.replace(home / FILE_NAME)


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
        key = self._keys.get(key_id)
        wanted = key.sha256 if key else _hash("nobody")
        if not hmac.compare_digest(wanted, _hash(secret)) or key is None:
            return None
        return Consumer(id=key.id, role=key.role, name=key.name)

    def holds(self, key_id: str) -> bool:
        """Say whether the key is still good."""
        return key_id in self._keys
