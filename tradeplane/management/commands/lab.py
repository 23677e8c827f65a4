"""`manage.py lab`: what shards and hub would make of a tape, in one process."""

import json
import time
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from execution.venue.options import VenueError
from relay.tape import TapeError
from shards.archive import finish
from signals.parameters.catalogue import ParameterError, profiles
from tradeplane.lab import results
from tradeplane.lab.backtest import Asked, LabError, backtest
from tradeplane.lab.parameters import chosen
from tradeplane.lab.replay import replay
from tradeplane.lab.tables import TABLES, write_table


class Command(BaseCommand):
    help = (
        "Run a tape in one process: tables of what the shards make of it (buckets, oscillator, "
        "candidates), the decision records (decisions), or a whole backtest (run)."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("what", choices=(*TABLES, "decisions", "run", "archive"))
        parser.add_argument("tape", help="a tape (see `tape import`); of `archive`: a day's folder")
        parser.add_argument("--out", help="where the table goes; of `run`: a folder")
        parser.add_argument("--profile", choices=profiles())
        parser.add_argument("--set", action="append", default=[], metavar="name=value")
        parser.add_argument("--shards", type=int, default=1, choices=range(1, 27), metavar="1-26")
        parser.add_argument("--order-latency-ms", type=int, default=150, metavar="MS")
        parser.add_argument("--json", action="store_true", help="print one JSON object last")

    def handle(self, *args: Any, **options: Any) -> None:
        what = options["what"]
        if what == "archive":
            self._archive(Path(options["tape"]))
            return
        if not options["out"] and what != "run":
            raise CommandError("the following arguments are required: --out")
        if not 0 <= options["order_latency_ms"] <= 60_000:
            raise CommandError("--order-latency-ms must be from 0 to 60000", returncode=2)
        try:
            options["parameters"] = chosen(options["profile"], options["set"])
            if what in TABLES:
                self._table(options)
            else:
                self._backtest(options)
        except (TapeError, VenueError, ParameterError, LabError) as exc:
            raise CommandError(" ".join(str(exc).split())) from exc
        except OSError as exc:
            raise CommandError(f"{exc.filename or options['out']}: {exc.strerror or exc}") from exc

    def _table(self, options: dict[str, Any]) -> None:
        began = time.perf_counter()
        table, out = TABLES[options["what"]](), Path(options["out"])
        steps = replay(options["tape"], options["parameters"], shards=options["shards"])
        write_table(out, table, steps)
        summary = table.summary()
        told = {"table": options["what"], "out": str(out), **summary}
        self._say(options, told, began, f"{summary['rows']} rows, hash {summary['hash']}")

    def _backtest(self, options: dict[str, Any]) -> None:
        began = time.perf_counter()
        asked = Asked(
            tape=Path(options["tape"]),
            parameters=options["parameters"],
            shards=options["shards"],
            order_latency_ms=options["order_latency_ms"],
        )
        out = Path(options["out"]) if options["out"] else None
        with backtest(asked) as run:
            if options["what"] == "run":
                told = self._run(run, out)
                self._say(options, told, began, results.as_text(told))
                return
            rows = results.write_lines(out or Path(), results.decision_records(run))
            hashes = (run.summary or {})["hashes"]
            told = {"table": "decisions", "out": str(out), "rows": rows, "hashes": hashes}
            told["hash"] = hashes["decisions"]
            self._say(options, told, began, f"{rows} rows, hash {told['hash']}")

    def _run(self, run: Any, out: Path | None) -> dict[str, Any]:
        told = results.report(run)
        if out is not None:
            out.mkdir(parents=True, exist_ok=True)
            results.write_lines(out / "decisions.jsonl", results.decision_records(run))
            results.write_lines(out / "fills.jsonl", results.fills(run))
            results.write_lines(out / "trades.jsonl", told["trades"])
            results.write_lines(out / "report.json", [told])
        return told

    def _say(self, options: dict[str, Any], told: dict[str, Any], began: float, text: str) -> None:
        if options["json"]:
            wall_s = round(time.perf_counter() - began, 3)
            self.stdout.write(json.dumps({**told, "wall_s": wall_s}))
        else:
            self.stdout.write(text)

    def _archive(self, folder: Path) -> None:
        """Turn a day's closed buckets, spooled by the shards, into one Parquet file per cell."""
        try:
            made = finish(folder)
        except OSError as exc:
            raise CommandError(f"{exc.filename or folder}: {exc.strerror or exc}") from exc
        self.stdout.write(f"{len(made)} files in {folder}")
