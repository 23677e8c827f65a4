"""`manage.py books`: trades, sums, the equity curve, the ledger built a second time, and what money
in suspense was.
"""

import getpass
import time
from datetime import date
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError

from accounts.errors import BookError
from execution import archive_bars, reports, selectors, tables
from execution.errors import ExportFailed
from execution.models import Run
from execution.services import cash, rebuild

#: The options by their names here, and what each report uses; --run is for all.
FLAGS = {
    "first": "--from", "last": "--to", "by": "--by", "activity": "--activity", "kind": "--as",
    "reason": "--reason", "out": "--out",
}  # fmt: skip
USED: dict[str, tuple[str, ...]] = {
    "trades": ("first", "last", "out"),
    "sums": ("first", "last", "by", "out"),
    "equity": ("first", "last", "out"),
    "rebuild": (),
    "settle": ("activity", "kind", "reason"),
}


class Command(BaseCommand):
    help = "Report the trades of a run, or write them to a .csv or .parquet file."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("what", choices=USED)
        parser.add_argument("--run", help="run id (default: the newest)")
        parser.add_argument("--from", dest="first", metavar="DAY", help="like 2013-10-08")
        parser.add_argument("--to", dest="last", metavar="DAY", help="this day included")
        parser.add_argument("--by", choices=sorted(reports.GROUPS), help="sums (default: day)")
        parser.add_argument("--activity", metavar="ID", help="settle: whose money (default: list)")
        parser.add_argument(
            "--as", dest="kind", choices=cash.SETTLED_AS, help="settle: what it was"
        )
        parser.add_argument("--reason", help="settle: how you know")
        parser.add_argument("--out", type=Path, metavar="F", help="write to this file instead")

    def handle(self, *args: Any, **options: Any) -> None:
        _check(options)
        options |= _days(options)
        try:
            run = self._run(options["run"])
            if options["what"] == "rebuild":
                self._rebuild(run)
                return
            if options["what"] == "settle":
                self._settle(run, options)
                return
            rows, columns = self._table(run, options)
            if options["out"] is None:
                self._print(rows, columns)
                return
            tables.write(options["out"], rows, columns)
        except DatabaseError as exc:
            raise CommandError(f"the database cannot be read (migrate first?): {exc}") from exc
        except ExportFailed as exc:
            raise CommandError(str(exc)) from exc
        self.stdout.write(f"{len(rows)} rows in {options['out']}")

    def _run(self, name: str | None) -> Run:
        run = selectors.current_run() if name is None else Run.objects.filter(pk=name).first()
        if run is None:
            raise CommandError(f"no run {name}" if name else "there is no run yet")
        return run

    def _table(
        self, run: Run, options: dict[str, Any]
    ) -> tuple[list[dict[str, Any]], tables.Columns]:
        archive = settings.ARCHIVE_HOME
        bars = None if archive is None else archive_bars.reader(archive)
        told = reports.report(run.pk, first=options["first"], last=options["last"], bars=bars)
        if options["what"] == "trades":
            return told.trades, reports.TRADE_COLUMNS
        if options["what"] == "sums":
            return reports.sums(told, options["by"] or "day"), reports.SUM_COLUMNS
        return reports.equity_curve(told), reports.EQUITY_COLUMNS

    def _print(self, rows: list[dict[str, Any]], columns: tables.Columns) -> None:
        cells = [tuple(columns), *(tuple(tables.cell(row.get(c)) for c in columns) for row in rows)]
        widths = [max(len(row[n]) for row in cells) for n in range(len(columns))]
        for row in cells:
            self.stdout.write("  ".join(one.ljust(w) for one, w in zip(row, widths, strict=True)))

    def _rebuild(self, run: Run) -> None:
        found = rebuild.compare(run)
        for line in found.differences:
            self.stdout.write(line)
        if found.was != found.made or found.differences:
            raise CommandError(
                f"the events make other books: {found.was[:12]} is {found.made[:12]} when rebuilt"
            )
        self.stdout.write(f"the events make the same books: {found.was}")

    def _settle(self, run: Run, options: dict[str, Any]) -> None:
        if options["activity"] is None:
            waiting = cash.in_suspense(run)
            for entry in waiting:
                name = entry.source_key.removeprefix("cash:")
                self.stdout.write(f"{name}: {entry.reason}, {entry.session_date}")
            if not waiting:
                self.stdout.write("nothing is in suspense")
            return
        try:
            cash.settle(
                run,
                name=options["activity"],
                kind=options["kind"] or "",
                reason=options["reason"] or "",
                actor=getpass.getuser(),
                now_ns=time.time_ns(),
            )
        except (BookError, ValueError) as exc:
            raise CommandError(str(exc)) from exc
        self.stdout.write(self.style.SUCCESS(f"{options['activity']} is {options['kind']}"))


def _check(options: dict[str, Any]) -> None:
    """Refuse options that would change nothing: whoever gave them expects that they do."""
    what = options["what"]
    for name, flag in FLAGS.items():
        if options[name] is not None and name not in USED[what]:
            users = ", ".join(one for one, used in USED.items() if name in used)
            raise CommandError(f"{flag} is for {users}, not for {what}", returncode=2)
    for name in ("kind", "reason"):
        if options[name] is not None and options["activity"] is None:
            raise CommandError(f"{FLAGS[name]} needs --activity", returncode=2)


def _days(options: dict[str, Any]) -> dict[str, date | None]:
    """Return the first and the last day that were asked for."""
    first, last = (_day(FLAGS[name], options[name]) for name in ("first", "last"))
    if first is not None and last is not None and first > last:
        raise CommandError(f"--from {first} is after --to {last}", returncode=2)
    return {"first": first, "last": last}


def _day(flag: str, text: str | None) -> date | None:
    """Return the day a text names; not argparse's `type`, which tells the whole usage as well."""
    try:
        return None if text is None else date.fromisoformat(text)
    except ValueError:
        raise CommandError(f"{flag}: {text!r} is no day like 2013-10-08", returncode=2) from None
