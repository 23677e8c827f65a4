"""`manage.py overnight`: positions that slept, and what becomes of them."""

import getpass
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError

from execution.models import Trade
from execution.services import reviews
from execution.services.moves import TradeState as T


class Command(BaseCommand):
    help = "List the positions held overnight, or decide: they lock entries until reviewed."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("trade", nargs="?", type=int, help="number from the list")
        parser.add_argument("decision", nargs="?", choices=reviews.DECISIONS)
        parser.add_argument("--reason", default="", help="why; required to decide")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            self._list_or_decide(options)
        except DatabaseError as exc:
            raise CommandError(f"the database does not answer: {exc}") from exc

    def _list_or_decide(self, options: dict[str, Any]) -> None:
        if options["trade"] is None:
            self._list()
            return
        if options["decision"] is None:
            raise CommandError("say keep or sell, with --reason", returncode=2)
        try:
            row = reviews.review(
                trade_id=options["trade"],
                decision=options["decision"],
                reason=options["reason"],
                actor=getpass.getuser(),
            )
        except Trade.DoesNotExist as exc:
            raise CommandError(f"no trade {options['trade']}") from exc
        except ValueError as exc:
            raise CommandError(str(exc)) from exc
        text = f"{row.trade.symbol}: {row.decision}, at the next open"
        self.stdout.write(self.style.SUCCESS(text))

    def _list(self) -> None:
        held = Trade.objects.filter(state=T.HELD_OVERNIGHT).order_by("pk")
        for trade in held:
            newest = trade.reviews.first()
            said = newest.decision if newest else "not reviewed: entries are locked"
            self.stdout.write(
                f"{trade.pk}: {trade.held} {trade.symbol} since {trade.day}, stop"
                f" {trade.stop_loss:f}: {said}"
            )
        if not held:
            self.stdout.write("nothing is held overnight")
