"""`manage.py sentinel`: flat at the end of the day, whatever has become of the hub."""

import threading
import time
from typing import Any

import redis
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from redis.backoff import NoBackoff
from redis.retry import Retry

from execution import way_out
from execution.sentinel import FLAT_WITHIN_S, Sentinel, Watch

EVERY_S = 5.0
REDIS_TIMEOUT_S = 1.0


class Command(BaseCommand):
    help = "Watch the account from another host; close everything before the close, or now."
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--flatten", action="store_true", help="the kill button: now, and exit")
        parser.add_argument("--yes", action="store_true", help="required for --flatten")
        parser.add_argument("--once", action="store_true", help="look once and exit")
        parser.add_argument(
            "--silent-min", type=float, default=3.0, metavar="MIN",
            help="act so early when the hub is silent (default 3)",
        )  # fmt: skip
        parser.add_argument(
            "--whatever-min", type=float, default=2.0, metavar="MIN",
            help="act then whatever the hub says (default 2)",
        )  # fmt: skip
        parser.add_argument(
            "--naked-s", type=float, default=10.0, metavar="S",
            help="act when shares have had no stop for so long and the hub is silent "
            "(default 10; 0: never)",
        )  # fmt: skip
        parser.add_argument("--every", type=float, default=EVERY_S, help="seconds between looks")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            broker = way_out.own_broker()
        except ValueError as exc:
            raise CommandError(str(exc)) from exc
        watch = Watch(
            silent_min=options["silent_min"],
            whatever_min=options["whatever_min"],
            naked_s=options["naked_s"],
        )
        if not 0 <= watch.whatever_min <= watch.silent_min <= 60 or options["every"] <= 0:
            raise CommandError("0 <= --whatever-min <= --silent-min <= 60", returncode=2)
        if not 0 <= watch.naked_s <= 600:
            raise CommandError("0 <= --naked-s <= 600", returncode=2)
        if options["flatten"]:
            self._flatten(broker, sure=options["yes"])
            return
        sentinel = Sentinel(broker=broker, say=self._say, hub_age_s=_hub_age, watch=watch)
        waiting = threading.Event()
        try:
            while True:
                sentinel.step()
                if options["once"]:
                    return
                waiting.wait(options["every"])
        except KeyboardInterrupt:
            self._say("sentinel stopped")

    def _flatten(self, broker: Any, *, sure: bool) -> None:
        if not sure:
            raise CommandError("this cancels every order and sells every position; add --yes")
        outcome = way_out.leave(broker, within_s=FLAT_WITHIN_S)
        if not outcome.flat:
            left = ", ".join(outcome.left) or "the broker does not answer"
            raise CommandError(f"not flat after {outcome.seconds:.1f} s: {left}")
        self._say(f"flat after {outcome.seconds:.1f} s")

    def _say(self, line: str) -> None:
        self.stdout.write(line)
        self.stdout.flush()


def _hub_age() -> float | None:
    """Return the age of the hub's heart-beat in Redis; None without Redis or beat."""
    if not settings.REDIS_URL_GIVEN:
        return None
    link = redis.Redis.from_url(
        settings.REDIS_STATE_URL,
        socket_timeout=REDIS_TIMEOUT_S,
        socket_connect_timeout=REDIS_TIMEOUT_S,
        retry=Retry(NoBackoff(), 0),
    )
    try:
        at = link.hget("hb:hub", "at")
        return None if at is None else max(0.0, time.time() - int(at) / 1e9)
    except (redis.RedisError, ValueError):
        return None
    finally:
        link.close()
