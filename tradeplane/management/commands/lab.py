"""`manage.py lab`: what the shards would make of a tape, in one process."""

import json
import time
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from relay.tape import TapeError
from shards.archive import finish
from signals.parameters.catalogue import ParameterError, profiles
from tradeplane.lab.parameters import chosen
from tradeplane.lab.replay import replay
from tradeplane.lab.tables import TABLES, write_table


class Command(BaseCommand):
    help = "Run a tape through the shards' engine and write what it makes as CSV."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("what", choices=(*TABLES, "archive"))
        parser.add_argument("tape", help="a tape (see `tape import`); of `archive`: a day's folder")
        parser.add_argument("--out", help="where the CSV goes")
        parser.add_argument("--profile", choices=profiles())
        parser.add_argument("--set", action="append", default=[], metavar="name=value")
        parser.add_argument("--shards", type=int, default=1, choices=range(1, 27), metavar="1-26")
        parser.add_argument("--json", action="store_true", help="print one JSON object last")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["what"] == "archive":
            self._archive(Path(options["tape"]))
            return
        if not options["out"]:
            raise CommandError("the following arguments are required: --out")
        began = time.perf_counter()
        table = TABLES[options["what"]]()
        out = Path(options["out"])
        try:
            parameters = chosen(options["profile"], options["set"])
            steps = replay(options["tape"], parameters, shards=options["shards"])
            write_table(out, table, steps)
        except (TapeError, ParameterError) as exc:
            raise CommandError(" ".join(str(exc).split())) from exc
        except OSError as exc:
            raise CommandError(f"{exc.filename or out}: {exc.strerror or exc}") from exc
        summary = table.summary()
        if options["json"]:
            wall_s = round(time.perf_counter() - began, 3)
            self.stdout.write(
                json.dumps({"table": options["what"], "out": str(out), **summary, "wall_s": wall_s})
            )
        else:
            self.stdout.write(f"{summary['rows']} rows, hash {summary['hash']}")

    def _archive(self, folder: Path) -> None:
        """Turn a day's closed buckets, spooled by the shards, into one Parquet file per cell."""
        try:
            made = finish(folder)
        except ImportError as exc:
            raise CommandError("install requirements-archive.txt first") from exc
        except OSError as exc:
            raise CommandError(f"{exc.filename or folder}: {exc.strerror or exc}") from exc
        self.stdout.write(f"{len(made)} files in {folder}")
