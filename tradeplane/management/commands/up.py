"""`manage.py up`: everything on one machine. Exit codes: 0 done, 1 failed, 2 wrong usage."""

import argparse
import re
import time
from datetime import date
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from execution.venue import days
from relay.keys import KeyFileError
from relay.tape_format import TapeError
from signals.parameters.catalogue import ParameterError
from tradeplane.runtime.home import HomeBusy
from tradeplane.runtime.ports import NoFreePort
from tradeplane.runtime.redis import NoServer
from tradeplane.runtime.roles import MarketPlan, SyntheticPlan, TapePlan
from tradeplane.runtime.run_parameters import chosen_values
from tradeplane.runtime.supervisor import FatalDeath, StartFailed
from tradeplane.runtime.tapes import check_tape
from tradeplane.runtime.up import Options, Up, UpError

WHOLE_MARKET_SHARDS = 2
PLANTED = "planted.csv"  # what accelerates in a made-up market, and when
CLEAR_LINES = (UpError, HomeBusy, KeyFileError, NoFreePort, NoServer, StartFailed, FatalDeath)


class Command(BaseCommand):
    help = "Run all roles on this machine: paper venue, relay, shards, hub, web."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--tape", metavar="F", help="replay this tape through the paper venue")
        parser.add_argument(
            "--synthetic", type=_between(0, 2**31), metavar="SEED", help="make up a whole market"
        )
        parser.add_argument(
            "--symbols", type=_between(8, 40_000), metavar="N", help="its size, default 11,000"
        )
        parser.add_argument(
            "--day", type=_day, metavar="YYYY-MM-DD", help="its day, default the last session"
        )
        parser.add_argument("--speed", type=_speed, metavar="N|max", help="default 1")
        parser.add_argument("--from", dest="start", type=_clock, metavar="HH:MM", help="New York")
        parser.add_argument("--until-end", action="store_true", help="stop when the tape ends")
        parser.add_argument("--shards", type=_between(1, 26), metavar="N")
        parser.add_argument("--port", type=_between(1, 65535), default=8000, metavar="P")
        parser.add_argument("--profile", metavar="NAME", help="start with this parameter profile")
        parser.add_argument("--set", action="append", default=[], metavar="name=value")
        parser.add_argument("--order-latency-ms", type=_between(0, 60_000), metavar="MS")
        parser.add_argument("--json", action="store_true", help="the summary as one JSON line")

    def handle(self, *args: Any, **options: Any) -> None:
        checked = _checked(options)
        try:
            code = Up(checked).run()
        except CLEAR_LINES as exc:
            raise CommandError(str(exc)) from exc
        if code:
            raise CommandError("failed", returncode=code)


def _checked(options: dict[str, Any]) -> Options:
    """Return the options, or leave with one clear line before anything starts."""
    _check_combination(options)
    _check_day(options["day"])
    try:
        if options["tape"]:
            check_tape(Path(options["tape"]))
        values = chosen_values(options["profile"], options["set"])
    except (TapeError, OSError) as exc:
        raise CommandError(f"tape: {exc}") from exc
    except ParameterError as exc:
        raise CommandError(str(exc), returncode=2) from exc
    market = _market_plan(options)
    return Options(
        market=market,
        until_end=options["until_end"],
        shards=options["shards"] or _usual_shards(market),
        port=options["port"],
        as_json=options["json"],
        parameters=values,
        parameters_comment=_comment(options),
    )


def _check_combination(options: dict[str, Any]) -> None:
    """Refuse options that mean nothing together."""
    synthetic = options["synthetic"] is not None
    if options["tape"] and synthetic:
        raise CommandError("--tape and --synthetic: one market at a time", returncode=2)
    for name in ("symbols", "day"):
        if options[name] is not None and not synthetic:
            raise CommandError(f"--{name} needs --synthetic", returncode=2)
    if options["tape"] or synthetic:
        return
    for name in ("speed", "start", "until_end", "order_latency_ms"):
        if options[name]:
            flag = "from" if name == "start" else name.replace("_", "-")
            raise CommandError(f"--{flag} needs --tape or --synthetic", returncode=2)


def _check_day(day: date | None) -> None:
    try:
        if day is not None:
            days.past_session(day, time.time_ns())
    except ValueError as exc:
        raise CommandError(f"--day: {exc}", returncode=2) from exc


def _market_plan(options: dict[str, Any]) -> MarketPlan | None:
    """Return what the venue plays; None when Alpaca's market is followed with given keys."""
    how: dict[str, Any] = {
        "speed": options["speed"] or "1",
        "start": options["start"] or "",
        "order_latency_ms": options["order_latency_ms"],
    }
    if options["tape"]:
        return TapePlan(path=Path(options["tape"]).resolve(), **how)
    planted = settings.TRADEPLANE_HOME / PLANTED
    if options["synthetic"] is not None:
        how |= {name: options[name] for name in ("symbols", "day")}
        return SyntheticPlan(seed=options["synthetic"], planted=planted, **how)
    return None if settings.APCA_API_KEY_ID else SyntheticPlan(planted=planted, **how)


def _usual_shards(market: MarketPlan | None) -> int:
    """A whole market is more than one shard's work; a tape of a few names is not."""
    return 1 if isinstance(market, TapePlan) else WHOLE_MARKET_SHARDS


def _comment(options: dict[str, Any]) -> str:
    words = [f"profile {options['profile']}"] if options["profile"] else []
    return ", ".join(words + options["set"])[:200]


def _speed(text: str) -> str:
    if text == "max":
        return text
    try:
        if 0 < float(text) <= 10_000:
            return text
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"{text!r} is neither a number in (0, 10000] nor max")


def _clock(text: str) -> str:
    if not re.fullmatch(r"([01]\d|2[0-3]):[0-5]\d", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a time like 10:30")
    return text


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a day like 2026-11-23") from None


def _between(low: int, high: int) -> Any:
    def number(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = low - 1
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number {low} to {high}")
        return value

    return number
