"""What is wrong here, and what to do: one check per line."""

import importlib.metadata
import json
import re
import shutil
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path

from django.conf import settings
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor
from websockets.exceptions import WebSocketException
from websockets.sync.client import connect

from relay.tls import client_context
from tradeplane.runtime import redis

REQUIREMENTS = Path(__file__).resolve().parents[2] / "requirements.txt"
FREE_BYTES_MIN = 2 * 1024**3
SKEW_S_MAX = 1.5
TIMEOUT_S = 3.0
_PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^ ;]+)(?: ; (.+))?$")


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One answer; `advice` says what to do when it is not ok."""

    what: str
    ok: bool
    text: str
    advice: str = ""


def findings() -> Iterator[Finding]:
    """Run every check, one after the other; none raises."""
    checks: tuple[Callable[[], Finding], ...] = (
        python, packages, disk, database, redis_server, relay, broker,
    )  # fmt: skip
    for check in checks:
        try:
            yield check()
        except Exception as exc:  # noqa: BLE001 - a check that fails is a finding, whatever it is
            yield Finding(what=check.__name__, ok=False, text=f"{type(exc).__name__}: {exc}")


def python() -> Finding:
    version = ".".join(map(str, sys.version_info[:3]))
    return Finding(
        what="python", ok=sys.version_info >= (3, 11), text=version, advice="install Python 3.11+"
    )


def packages() -> Finding:
    wrong = []
    for line in REQUIREMENTS.read_text().splitlines():
        pin = _PIN.match(line)
        if pin is None or pin[3]:  # a pin with a marker may not be for this machine
            continue
        try:
            installed = importlib.metadata.version(pin[1])
        except importlib.metadata.PackageNotFoundError:
            installed = "none"
        if installed != pin[2]:
            wrong.append(f"{pin[1]} {installed}, pinned {pin[2]}")
    return Finding(
        what="packages",
        ok=not wrong,
        text="; ".join(wrong) or "as pinned",
        advice=".venv/bin/uv pip install -r requirements.txt",
    )


def disk() -> Finding:
    free = shutil.disk_usage(settings.TRADEPLANE_HOME).free
    return Finding(
        what="disk",
        ok=free >= FREE_BYTES_MIN,
        text=f"{free / 1024**3:.1f} GiB free in {settings.TRADEPLANE_HOME}",
        advice="make room, or set TRADEPLANE_HOME to a larger disk",
    )


def database() -> Finding:
    kind = connection.vendor
    try:
        executor = MigrationExecutor(connection)
        plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
    except DatabaseError as exc:
        return Finding(what="database", ok=False, text=f"{kind}: {exc}", advice="see DATABASE_URL")
    return Finding(
        what="database",
        ok=not plan,
        text=f"{kind}, {f'{len(plan)} migrations missing' if plan else 'up to date'}",
        advice="script/manage migrate",
    )


def redis_server() -> Finding:
    if not settings.REDIS_URL_GIVEN:
        return Finding(what="redis", ok=True, text=f"embedded: {redis.locate_server()}")
    return Finding(
        what="redis",
        ok=redis.answers(settings.REDIS_URL),
        text="REDIS_URL",
        advice="start it, or correct REDIS_URL (address, password)",
    )


def relay() -> Finding:
    if not settings.RELAY_KEY_ID:
        return Finding(what="relay", ok=True, text="no RELAY_KEY_ID here: `up` makes its own")
    try:
        text = _relay_answer()
    except (OSError, ValueError, LookupError, WebSocketException) as exc:
        text = f"{type(exc).__name__}: {exc}"
    return Finding(
        what="relay",
        ok=text == "authenticated",
        text=f"{settings.RELAY_URL}: {text}",
        advice="start it, or make a key on its host: script/manage relay keys add",
    )


def _relay_answer() -> str:
    """Sign in like any consumer; the relay's own word."""
    url, ca_file = settings.RELAY_URL, settings.RELAY_CA_FILE
    tls = client_context(ca_file) if url.startswith("wss:") else None
    with connect(url, ssl=tls, open_timeout=TIMEOUT_S, close_timeout=1, proxy=None) as socket:
        socket.recv(timeout=TIMEOUT_S)  # "connected"
        keys = {"key": settings.RELAY_KEY_ID, "secret": settings.RELAY_SECRET}
        socket.send(json.dumps({"action": "auth", **keys}))
        answer = json.loads(socket.recv(timeout=TIMEOUT_S))[0]
        return str(answer.get("msg", answer))


def broker() -> Finding:
    """The account behind the keys, and how far our clock is from the server's."""
    if not settings.APCA_API_KEY_ID:
        return Finding(what="venue", ok=True, text="no keys: the paper venue of `up`")
    url = settings.APCA_API_BASE_URL.rstrip("/") + "/v2/account"
    request = urllib.request.Request(  # noqa: S310 - the configured address, checked below
        url,
        headers={
            "APCA-API-KEY-ID": settings.APCA_API_KEY_ID,
            "APCA-API-SECRET-KEY": settings.APCA_API_SECRET_KEY,
        },
    )
    if request.type not in ("http", "https"):
        return Finding(what="venue", ok=False, text=url, advice="APCA_API_BASE_URL is http(s)")
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:  # noqa: S310
            return _skew(url, answer.headers.get("Date"))
    except urllib.error.HTTPError as exc:
        return Finding(
            what="venue", ok=False, text=f"{url}: {exc.code}", advice="correct the APCA_ keys"
        )
    except OSError as exc:
        return Finding(what="venue", ok=False, text=f"{url}: {exc}", advice="is it reachable?")


def _skew(url: str, stamp: str | None) -> Finding:
    skew = 0.0
    if stamp:
        theirs = parsedate_to_datetime(stamp)
        skew = abs((datetime.fromtimestamp(time.time(), UTC) - theirs).total_seconds())
    return Finding(
        what="venue",
        ok=skew <= SKEW_S_MAX + 1,  # their stamp has whole seconds
        text=f"{url}: signed in, clocks {skew:.0f} s apart",
        advice="set this machine's clock (chrony, systemd-timesyncd)",
    )
