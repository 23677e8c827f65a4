"""`manage.py check_books`: the accounting and order invariants over the live database."""

import json
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError

from accounts import selectors
from accounts.check import check_all
from accounts.models import Account


class Command(BaseCommand):
    help = "Check the accounting and order invariants; exit 1 when one does not hold."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--account", help="account number (default: all)")
        parser.add_argument("--run", help="run id (default: all)")
        parser.add_argument("--json", action="store_true", help="print one JSON object last")

    def handle(self, *args: Any, account: str, run: str, **options: Any) -> None:
        try:
            reports = [self._report(one) for one in self._accounts(account, run)]
        except DatabaseError as exc:
            raise CommandError(f"the database cannot be read (migrate first?): {exc}") from exc
        violations = [text for report in reports for text in report["violations"]]
        for report in reports:
            for text in report["violations"]:
                self.stdout.write(f"{report['account']} ({report['run']}): {text}")
        if options["json"]:
            body = {"ok": not violations, "violations": len(violations), "accounts": reports}
            self.stdout.write(json.dumps(body))
        elif not violations:
            self.stdout.write(f"the books of {len(reports)} account(s) hold")
        if violations:
            raise CommandError(f"{len(violations)} invariant(s) broken, first: {violations[0]}")

    def _accounts(self, number: str | None, run: str | None) -> list[Account]:
        chosen = Account.objects.order_by("run_id", "number")
        if number is not None:
            chosen = chosen.filter(number=number)
        if run is not None:
            chosen = chosen.filter(run_id=run)
        found = list(chosen)
        if not found and (number is not None or run is not None):
            raise CommandError(
                f"no account {number or ''} in run {run or '(any)'}".replace("  ", " ")
            )
        return found

    def _report(self, account: Account) -> dict[str, Any]:
        found = check_all(account)
        return {
            "account": account.number,
            "run": account.run_id,
            "checks": sorted(found),
            "violations": [f"{name}: {text}" for name, texts in found.items() for text in texts],
            "cash": str(selectors.cash(account)),
            "positions": {
                symbol: held.quantity for symbol, held in selectors.positions(account).items()
            },
            "realized_pnl": str(selectors.realized_pnl(account)),
        }
