"""`manage.py relay` serves consumers from one upstream; `relay keys …` manages their keys."""

import asyncio
import json
import logging
import signal
import ssl
import time
from typing import Any

import uvloop
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from relay import dispatch, keys
from relay.kept_ring import KeptRing, place_of
from relay.options import (
    RECORDABLE,
    channels,
    data_url,
    feed_of,
    positive,
    recorder,
    stream_url,
)
from relay.server import RelayServer, run_relay

logger = logging.getLogger(__name__)
DEFAULT_UPSTREAM = "wss://stream.data.alpaca.markets/v2/sip"
STATUS_S = 5.0


class Command(BaseCommand):
    help = "The relay: one upstream market-data connection for many consumers."
    requires_system_checks: list[str] = []
    _not_kept = ""

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--upstream", type=stream_url, default=settings.RELAY_UPSTREAM_URL or DEFAULT_UPSTREAM
        )
        parser.add_argument("--host", default="127.0.0.1")
        parser.add_argument("--port", type=int, default=8765, help="0 takes a free one")
        parser.add_argument("--tls-cert", help="certificate chain (PEM); with --tls-key: wss only")
        parser.add_argument("--tls-key")
        parser.add_argument("--upstream-ca", metavar="PEM", help="trust these, not the system's")
        parser.add_argument(
            "--data-url",
            type=data_url,
            help="the venue's data API, for gaps; default: of the upstream, '': none",
        )
        parser.add_argument("--no-news", action="store_true", help="do not serve /v1beta1/news")
        parser.add_argument(
            "--forget", action="store_true", help="keep no ring that outlives this process"
        )
        parser.add_argument("--record", metavar="DIR", help="record every symbol as tapes")
        parser.add_argument("--record-channels", type=channels, default=",".join(RECORDABLE))
        parser.add_argument(
            "--record-keep-gb", type=positive, default=64.0, help="of all tapes there"
        )
        parser.add_argument(
            "--json-status", action="store_true", help="one JSON line every five seconds"
        )
        topics = parser.add_subparsers(dest="topic")
        actions = topics.add_parser("keys", help="consumers' keys").add_subparsers(
            dest="action", required=True
        )
        add = actions.add_parser("add", help="make a key; its secret is shown once")
        add.add_argument("--role", choices=keys.ROLES, default="client")
        add.add_argument("--name", default="")
        add.add_argument("--range", action="append", default=[], help="AAPL, BR*, [A,AN) or *")
        actions.add_parser("list")
        actions.add_parser("revoke", help="ends its connections, too").add_argument("id")
        rotate = actions.add_parser("rotate", help="a new secret; the old one stays good a while")
        rotate.add_argument("id")
        rotate.add_argument("--grace-hours", type=float, default=24.0)

    def handle(self, *args: Any, topic: str | None, **options: Any) -> None:
        try:
            if topic == "keys":
                self._keys(options)
            else:
                uvloop.run(self._serve(options))
        except ValueError as exc:  # of a key file, of a directory
            raise CommandError(str(exc)) from exc
        except OSError as exc:
            where = f"{options['host']}:{options['port']}"
            raise CommandError(f"cannot listen on {where}: {exc.strerror or exc}") from exc

    def _keys(self, options: dict[str, Any]) -> None:
        home = settings.RELAY_HOME
        if options["action"] == "add":
            key_id, secret = keys.add_key(
                home, role=options["role"], name=options["name"], ranges=options["range"]
            )
            self.stdout.write(f"key {key_id}\nsecret {secret}")
        elif options["action"] == "rotate":
            grace_s = options["grace_hours"] * 3600
            secret = keys.rotate(home, options["id"], now_s=time.time(), grace_s=grace_s)
            self.stdout.write(f"key {options['id']}\nsecret {secret}")
        elif options["action"] == "revoke":
            keys.revoke(home, options["id"])
            self.stdout.write(f"{options['id']} revoked")
        else:
            for key in keys.list_keys(home):
                bound = " ".join(key.ranges)
                self.stdout.write(f"{key.id}  {key.role:6}  {key.name}  {bound}".rstrip())

    async def _serve(self, options: dict[str, Any]) -> None:
        dispatch.warm()
        stop = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        own = (settings.APCA_API_KEY_ID, settings.APCA_API_SECRET_KEY)
        recording = options["record"]
        server = RelayServer(
            upstream_url=options["upstream"],
            upstream_keys=own if all(own) else None,
            home=settings.RELAY_HOME,
            host=options["host"],
            port=options["port"],
            recorder=(
                recorder(recording, options["upstream"], keep_gb=options["record_keep_gb"])
                if recording
                else None
            ),
            record_channels=options["record_channels"],
            tls=_tls(options["tls_cert"], options["tls_key"]),
            data_url=options["data_url"],
            with_news=not options["no_news"],
            ca_file=options["upstream_ca"],
            kept=None if options["forget"] else self._kept_ring(feed_of(options["upstream"])),
        )
        status = asyncio.create_task(self._status(server)) if options["json_status"] else None
        await run_relay(server, stop=stop, on_ready=lambda: self._ready(server))
        if status is not None:
            status.cancel()

    def _kept_ring(self, feed: str) -> KeptRing | None:
        home = settings.RELAY_HOME
        try:
            home.mkdir(parents=True, exist_ok=True, mode=0o700)
            place = place_of(home, settings.TRADEPLANE_RUN, feed=feed)
            return KeptRing(place, home, feed=feed) if place is not None else None
        except OSError as exc:
            self._not_kept = exc.strerror or str(exc)
            return None

    def _ready(self, server: RelayServer) -> None:
        if self._not_kept:
            logger.warning("ring not kept", extra={"reason": self._not_kept})
        self.stdout.write(f"relay ready on {server.url}")
        self.stdout.flush()

    async def _status(self, server: RelayServer) -> None:
        while True:
            await asyncio.sleep(STATUS_S)
            self.stdout.write(json.dumps(server.status()))
            self.stdout.flush()


def _tls(certificate: str | None, key: str | None) -> ssl.SSLContext | None:
    if not certificate:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as exc:
        raise CommandError(f"cannot use {certificate}: {exc}") from exc
    return context
