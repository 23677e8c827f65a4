"""`manage.py tape import|info|cut|record`: make a tape of CSV files or a stream, look, cut."""

import asyncio
import datetime as dt
import re
import signal
import time
from argparse import ArgumentTypeError
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import uvloop
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from relay import tape
from relay.client import RelayClient
from relay.options import channels, positive, recorder, stream_url
from relay.wire import is_control

NEW_YORK = ZoneInfo("America/New_York")


def clock_time(text: str) -> dt.time:
    """Parse HH:MM or HH:MM:SS."""
    if not re.fullmatch(r"\d\d?:\d\d(:\d\d)?", text):
        raise ArgumentTypeError(f"{text!r} is not a time like 10:00 or 10:00:05")
    try:
        return dt.time.fromisoformat(text.rjust(5, "0") if text.count(":") == 1 else text)
    except ValueError as exc:
        raise ArgumentTypeError(f"{text!r} is not a time of day") from exc


def moment_ns(day: dt.date, time: dt.time) -> int:
    """Return the UTC ns of a New York time on the tape's day."""
    return int(dt.datetime.combine(day, time, NEW_YORK).timestamp()) * 1_000_000_000


class Command(BaseCommand):
    help = "Tapes of market data: import CSV ticks, show what is on a tape, cut a part of it."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True)
        make = actions.add_parser("import", help="make a tape of CSV files (also .gz)")
        make.add_argument("csv", nargs="+")
        make.add_argument("--feed", default="sip")
        look = actions.add_parser("info", help="count what is on a tape; exit 1 when damaged")
        cut = actions.add_parser("cut", help="copy a part of a tape (New York times)")
        record = actions.add_parser("record", help="record a stream (a relay's, the venue's)")
        record.add_argument("--url", type=stream_url, default=settings.RELAY_URL)
        record.add_argument("--out", required=True, metavar="DIR")
        record.add_argument("--channels", type=channels, default="trades,quotes,statuses,lulds")
        record.add_argument("--keep-gb", type=positive, default=64.0)
        record.add_argument("--seconds", type=positive, help="then stop; else at Ctrl-C")
        for action in (look, cut):
            action.add_argument("tape")
        cut.add_argument("--from", dest="start", type=clock_time, required=True)
        cut.add_argument("--to", dest="end", type=clock_time, required=True)
        cut.add_argument("--symbols", help="comma-separated")
        for action in (make, cut):
            action.add_argument("--out", required=True)
        for action in (make, look, cut):
            action.add_argument("--json", action="store_true", dest="as_json")

    def handle(self, *args: Any, action: str, as_json: bool = False, **options: Any) -> None:
        if action == "record":
            self._record(options)
            return
        made = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
        try:
            if action == "import":
                tape.import_csv(options["csv"], options["out"], feed=options["feed"], created=made)
            elif action == "cut":
                self._cut(made, **options)
            found = tape.info(options["tape"] if action == "info" else options["out"])
        except tape.TapeError as exc:
            raise CommandError(str(exc)) from exc
        text = msgspec.json.encode(found).decode() if as_json else _described(found)
        self.stdout.write(text)
        if found.damaged:
            raise CommandError(found.damaged)

    def _record(self, options: dict[str, Any]) -> None:
        try:
            frames, trouble = uvloop.run(_record(**options))
        except ValueError as exc:
            raise CommandError(str(exc)) from exc
        self.stdout.write(f"{frames:,} frames recorded")
        if trouble:
            raise CommandError(f"{options['url']} was never reached: {trouble}")

    def _cut(self, made: str, **options: Any) -> None:
        day = tape.TapeReader(options["tape"]).header.day
        start_ns, end_ns = (moment_ns(day, options[name]) for name in ("start", "end"))
        if end_ns <= start_ns:
            raise CommandError("--to must be later than --from")
        listed = options["symbols"]
        symbols = [name.strip() for name in listed.split(",")] if listed else None
        if Path(options["out"]).resolve() == Path(options["tape"]).resolve():
            raise CommandError("--out must be another file than the tape itself")
        tape.cut(options["tape"], options["out"], start_ns, end_ns, symbols, created=made)


async def _record(
    url: str, out: str, channels: list[str], keep_gb: float, seconds: float | None, **_options: Any
) -> tuple[int, str]:
    """Record until told to stop; return how many frames, and why when we were never let in."""
    writer = recorder(out, url, keep_gb=keep_gb)
    trouble = ["no answer"]
    key = (settings.RELAY_KEY_ID, settings.RELAY_SECRET)
    if not all(key):
        key = (settings.APCA_API_KEY_ID, settings.APCA_API_SECRET_KEY)

    def take(frame: bytes) -> None:
        if not is_control(frame):
            writer.add([frame], recv_ns=time.time_ns())

    def changed(state: str, reason: str) -> None:
        if state == "subscribed":
            trouble.clear()
        elif trouble and reason:
            trouble[:] = [reason]

    client = RelayClient(
        url, *key, on_frame=take, on_state=changed,
        ca_file=settings.RELAY_CA_FILE or None,
    )  # fmt: skip
    client.want({name: ["*"] for name in channels})
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    running = asyncio.create_task(client.run())
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        pass
    await client.close()
    await running
    await asyncio.to_thread(writer.close)
    return writer.counters["recorded"], trouble[0] if trouble else ""


def _described(found: tape.TapeInfo) -> str:
    header = found.header
    counts = ", ".join(f"{number:,} {kind}" for kind, number in found.messages.items())
    names = ", ".join(header.symbols[:12]) + (" …" if len(header.symbols) > 12 else "")
    lines = [
        f"{found.path}: {header.feed} of {header.day} ({header.source})",
        f"size     {found.size_bytes:,} bytes",
        f"frames   {found.frames:,}",
        f"messages {counts or 'none'}",
        f"symbols  {found.symbols:,}: {names}",
        f"from     {_shown(found.first_ns)}",
        f"to       {_shown(found.last_ns)}",
    ]
    return "\n".join(lines)


def _shown(ts_ns: int | None) -> str:
    if ts_ns is None:
        return "—"
    moment = dt.datetime.fromtimestamp(ts_ns // 1_000_000_000, NEW_YORK)
    return f"{moment:%H:%M:%S} New York"
