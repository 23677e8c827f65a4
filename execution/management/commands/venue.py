"""manage.py venue: the paper venue on loopback, over a tape."""

import asyncio
import re
import time
from argparse import ArgumentTypeError
from datetime import date
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from execution.venue import days, run
from execution.venue.options import VenueError, VenueOptions
from relay.tape import TapeError

MAX_SPEED = 10_000.0


def _speed(text: str) -> float | None:
    """Return market seconds per second, None for `max`."""
    if text == "max":
        return None
    try:
        speed = float(text)
    except ValueError:
        speed = 0.0
    if not 0 < speed <= MAX_SPEED:
        raise ArgumentTypeError(f"must be 'max' or a number in (0, {MAX_SPEED:.0f}], not {text!r}")
    return speed


def _clock(text: str) -> str:
    if not re.fullmatch(r"([01]?\d|2[0-3]):[0-5]\d", text):
        raise ArgumentTypeError(f"must be HH:MM, New York time, not {text!r}")
    return text


def _between(low: int, high: int) -> Any:
    def parse(text: str) -> int:
        if not text.isdigit() or not low <= int(text) <= high:
            raise ArgumentTypeError(f"must be a whole number from {low} to {high}, not {text!r}")
        return int(text)

    return parse


def _money(text: str) -> Decimal:
    try:
        amount = Decimal(text)
    except InvalidOperation:
        amount = Decimal(0)
    if not amount.is_finite() or not 0 < amount <= 10**9:
        raise ArgumentTypeError(f"must be USD in (0, 1000000000], not {text!r}")
    return amount


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise ArgumentTypeError(f"must be from 0 to 1, not {text!r}")
    return share


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise ArgumentTypeError(f"{text!r} is not a day like 2026-11-23") from None


def _made_up_day(day: date | None) -> date:
    """Hours away from the host's clock, so that nobody takes one for the other."""
    now_ns = time.time_ns()
    if day is None:
        return days.last_session(now_ns).day
    try:
        return days.past_session(day, now_ns).day
    except ValueError as exc:
        raise CommandError(f"--day: {exc}", returncode=2) from exc


class Command(BaseCommand):
    help = "Serve the paper venue: market data from a tape, trading, trade updates, on loopback."
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        market = parser.add_mutually_exclusive_group()
        market.add_argument("--tape", type=Path, help="play this tape")
        market.add_argument(
            "--synthetic", type=_between(0, 2**31), metavar="SEED", help="make up a whole market"
        )
        parser.add_argument(
            "--planted", type=Path, metavar="CSV", help="list the accelerations that are made up"
        )
        parser.add_argument(
            "--symbols", type=_between(8, 40_000), metavar="N", help="how many names are made up"
        )
        parser.add_argument(
            "--day", type=_day, metavar="YYYY-MM-DD", help="its day, default the last session"
        )
        parser.add_argument("--speed", type=_speed, default=1.0, metavar="N|max")
        parser.add_argument("--port", type=_between(0, 65535), default=8766, help="0: any free one")
        parser.add_argument(
            "--wait-for", type=_between(0, 1000), default=1, help="start at N data clients"
        )
        parser.add_argument("--from", type=_clock, dest="start", metavar="HH:MM")
        parser.add_argument("--order-latency-ms", type=_between(0, 60_000), default=150)
        parser.add_argument("--cash", type=_money, default=Decimal(100_000))
        parser.add_argument(
            "--partial-rate", type=_share, default=0.0, help="share of fills that are partial"
        )
        parser.add_argument(
            "--faults", type=Path, metavar="FILE", help="let go wrong what this plan says"
        )
        parser.add_argument("--seed", default="paper", help="order ids and partial fills")
        parser.add_argument(
            "--lockstep", action="store_true", help="wait for a hub; at --speed max never run free"
        )
        parser.add_argument(
            "--data-seats", type=_between(1, 64), default=64, metavar="N",
            help="market-data connections at one time (the real plans: 1)",
        )  # fmt: skip
        parser.add_argument(
            "--seat-linger-s", type=_between(0, 3600), default=0, metavar="S",
            help="a data session that died keeps its seat so long (the real one: some 90)",
        )  # fmt: skip
        parser.add_argument("--once", action="store_true", help="stop when the tape has ended")

    def handle(self, *args: Any, **given: Any) -> None:
        try:
            options = self._options(given)
            listener = run.listen(given["port"])
            asyncio.run(run.serve(options, listener, once=given["once"], ready=self._say))
        except (TapeError, VenueError) as exc:
            raise CommandError(str(exc)) from exc
        except KeyboardInterrupt:
            pass  # Ctrl-C is how one stops it

    def _options(self, given: dict[str, Any]) -> VenueOptions:
        key, secret = settings.APCA_API_KEY_ID, settings.APCA_API_SECRET_KEY
        credentials = run.new_credentials(key, secret)
        if not (key and secret):
            self._say(f"APCA_API_KEY_ID={credentials.key}")
            self._say(f"APCA_API_SECRET_KEY={credentials.secret}")
        common = {
            "speed": given["speed"],
            "wait_for": given["wait_for"],
            "lockstep": given["lockstep"],
            "latency_ns": given["order_latency_ms"] * 1_000_000,
            "cash": given["cash"],
            "partial_rate": given["partial_rate"],
            "seed": given["seed"],
            "faults": given["faults"],
            "data_seats": given["data_seats"],
            "seat_linger_s": float(given["seat_linger_s"]),
        }
        if given["synthetic"] is not None:
            day = _made_up_day(given["day"])
            start, planted = given["start"] or "", given["planted"]
            if given["symbols"] is not None:
                common["symbols"] = given["symbols"]
            return run.synthetic_options(
                credentials, given["synthetic"], day, start, planted, **common
            )
        for name in ("symbols", "day", "planted"):
            if given[name] is not None:
                raise CommandError(f"--{name} needs --synthetic", returncode=2)
        if given["tape"] is None:
            return run.host_options(credentials, time.time_ns(), **common)
        return run.tape_options(credentials, given["tape"], given["start"] or "", **common)

    def _say(self, line: str) -> None:
        self.stdout.write(line)
        self.stdout.flush()
