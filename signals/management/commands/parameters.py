"""Lists and shows parameters; writes their reference page."""

import json
from argparse import ArgumentParser
from itertools import groupby
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError

from signals import selectors
from signals.parameters.catalogue import (
    BY_NAME,
    PARAMETERS,
    ParameterError,
    advice,
    defaults,
    profile,
    profiles,
    reference_markdown,
    shown,
    unknown,
)


class Command(BaseCommand):
    help = (
        "parameters list [--profile P]: every value; parameters show NAME…: what it means; "
        "parameters --write-docs: docs/parameters.md"
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("action", nargs="?", choices=["list", "show"], default="list")
        parser.add_argument("names", nargs="*", metavar="NAME")
        parser.add_argument("--profile", choices=profiles())
        parser.add_argument("--json", action="store_true", help="print one JSON object")
        parser.add_argument("--write-docs", action="store_true")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["write_docs"]:
            path = settings.BASE_DIR / "docs" / "parameters.md"
            path.parent.mkdir(exist_ok=True)
            path.write_text(reference_markdown(), encoding="utf-8")
            self.stdout.write(f"wrote {path.relative_to(settings.BASE_DIR)}")
            return
        version, values = self._values(options["profile"])
        if options["action"] == "show":
            self._show(options["names"], values)
        elif options["json"]:
            self.stdout.write(json.dumps({"version": version, "values": values}))
        else:
            self._list(version, values)

    def _values(self, name: str | None) -> tuple[int | str, dict[str, object]]:
        if name is not None:
            return name, profile(name)
        try:
            return selectors.active_parameters()
        except DatabaseError:
            return 0, defaults()  # not migrated yet
        except ParameterError as exc:
            raise CommandError(f"the active parameters are not valid: {exc}") from exc

    def _list(self, version: int | str, values: dict[str, object]) -> None:
        self.stdout.write(f"parameters: version {version}")
        for title, rows in groupby(PARAMETERS, key=lambda row: row.group):
            self.stdout.write(f"\n{title}")
            for row in rows:
                mark = (
                    "" if values[row.name] == row.default else f"  (default {shown(row.default)})"
                )
                self.stdout.write(f"  {row.name} = {shown(values[row.name])} {row.unit}{mark}")
        for line in advice(values):
            self.stdout.write(self.style.WARNING(line))

    def _show(self, names: list[str], values: dict[str, object]) -> None:
        if not names:
            raise CommandError("show needs a name")
        for name in names:
            if name not in BY_NAME:
                raise CommandError(unknown(name))
            row = BY_NAME[name]
            self.stdout.write(
                f"{name} = {shown(values[name])} {row.unit}\n  default {shown(row.default)}, "
                f"range {row.range_text}, group {row.group}\n  {row.help}"
            )
