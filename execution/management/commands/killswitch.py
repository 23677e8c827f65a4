"""`manage.py killswitch`: show, turn or drill the kill switch; works without database and Redis.

The file comes first (the hub's next order reads it), then the database, then the broker itself when
everything must go and the hub has not done it.
"""

import getpass
from datetime import UTC, datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError

from execution import drill, kill_file, selectors, way_out
from execution.domain.kill_levels import TURNS, crosses
from execution.errors import SwitchMoved, SwitchStands
from execution.services import runs
from execution.short_waits import short_waits

EFFECTS = {
    "none": "entries are allowed again",
    "pause": "no new entries; open positions keep their brackets",
    "cancel_entries": "as pause, and entries that are not filled yet are canceled",
    "flatten": "as cancel_entries, and every position is closed at the market",
    "freeze": "the hub touches nothing; brackets at the broker stay",
}
FLAT_WITHIN_S = 20.0
HUB_PATIENCE_S = drill.HUB_PATIENCE_S


class Command(BaseCommand):
    help = "Show the kill switch, or turn it: none, pause, cancel_entries, flatten, freeze."
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("level", nargs="?", choices=sorted(EFFECTS))
        parser.add_argument("--reason", default="", help="why; required to turn it")
        parser.add_argument(
            "--yes", action="store_true", help="required for flatten, none, and freeze over flatten"
        )
        parser.add_argument(
            "--direct", action="store_true", help="flatten at the broker itself, at once"
        )
        parser.add_argument(
            "--suspend", action="store_true", help="then switch trading off at the broker, too"
        )
        parser.add_argument(
            "--drill", action="store_true", help="turn it for real on a paper account and measure"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if options["drill"]:
            self._drill(sure=options["yes"], direct=options["direct"])
            return
        with short_waits():
            if options["level"] is None:
                self._show()
            else:
                self._turn(options["level"], options)

    def _show(self) -> None:
        try:
            now = selectors.kill_switch()
        except DatabaseError as exc:
            raise CommandError(
                f"unknown: the database does not answer ({exc}); {kill_file.NAME} of this host "
                f"says {kill_file.read()['level']}, and the stronger of the two counts"
            ) from exc
        why = f" ({now.reason}; {now.actor})" if now.level != "none" else ""
        self.stdout.write(f"{now.level}: {EFFECTS[now.level]}{why}")

    def _turn(self, level: str, options: dict[str, Any]) -> None:
        if level in ("none", "flatten") and not options["yes"]:
            raise CommandError(f"{level}: {EFFECTS[level]}; add --yes to do it")
        if not options["reason"].strip():
            raise CommandError("turning the kill switch needs a reason")
        actor = getpass.getuser()
        if level == "none":
            self._reset(options["reason"], actor)
        else:
            self._stop(level, actor, options)
        if options["suspend"] or level == "none":
            self._suspend(suspended=level != "none", wanted=options["suspend"])
        self.stdout.write(self.style.SUCCESS(f"{level}: {EFFECTS[level]}"))

    def _stop(self, level: str, actor: str, options: dict[str, Any]) -> None:
        if level != "flatten":  # which may follow everything, and waits for nothing
            self._must_not_weaken(level, sure=options["yes"])
        at = datetime.now(UTC).isoformat()
        kill_file.write(level=level, reason=options["reason"], actor=actor, at=at)
        direct = options["direct"]
        if level == "flatten" and direct:
            self._leave(patience_s=0.0)
        told = self._tell_database(level, options["reason"], actor)
        if level == "flatten" and not direct:
            self._leave(patience_s=HUB_PATIENCE_S if told else 0.0)

    def _must_not_weaken(self, level: str, *, sure: bool) -> None:
        """Raises: CommandError: a stronger stop stands, or `flatten` does and nobody said --yes."""
        try:
            standing = selectors.kill_level()
        except DatabaseError:
            standing = kill_file.read()["level"]
        if level not in TURNS[standing]:
            raise CommandError(f"{SwitchStands(standing, level)}: killswitch none --yes")
        if crosses(standing, level) and not sure:
            raise CommandError(f"{standing} stands; {level}: {EFFECTS[level]}; add --yes to do it")

    def _reset(self, reason: str, actor: str) -> None:
        try:
            standing = selectors.kill_level()
            if standing != "none":
                runs.reset_kill_switch(from_level=standing, reason=reason, actor=actor)
        except DatabaseError as exc:
            raise CommandError(f"the database does not answer, nothing is reset: {exc}") from exc
        except SwitchMoved as exc:
            raise CommandError(f"nothing is reset: {exc}") from exc

    def _tell_database(self, level: str, reason: str, actor: str) -> bool:
        try:
            runs.set_kill_switch(level=level, reason=reason, actor=actor)
        except SwitchStands as exc:  # turned at this very moment
            raise CommandError(str(exc)) from exc
        except DatabaseError as exc:
            self.stderr.write(f"the database does not answer ({exc}); the file counts")
            return False
        return True

    def _leave(self, *, patience_s: float) -> None:
        """See that the account is flat; close everything at the broker when nobody else does."""
        try:
            broker = way_out.own_broker()
        except ValueError as exc:
            self.stderr.write(f"not looked at the broker: {exc}")
            return
        outcome = way_out.leave(broker, within_s=FLAT_WITHIN_S, patience_s=patience_s)
        if not outcome.flat:
            left = ", ".join(outcome.left) or "the broker does not answer"
            raise CommandError(f"latched, but not flat after {outcome.seconds:.1f} s: {left}")
        self.stdout.write(f"flat after {outcome.seconds:.1f} s")

    def _suspend(self, *, suspended: bool, wanted: bool) -> None:
        try:
            broker = way_out.own_broker()
            if wanted or broker.account().suspended_by_user:
                broker.suspend(suspended=suspended)
                self.stdout.write(f"trading at the broker is {'off' if suspended else 'on'}")
        except (ValueError, way_out.BrokerError) as exc:
            self.stderr.write(f"trading at the broker is as it was: {exc}")

    def _drill(self, *, sure: bool, direct: bool) -> None:
        if not sure:
            raise CommandError("the drill closes every position of a paper account; add --yes")
        try:
            broker = way_out.own_broker()
            result = drill.run(broker, url=broker.url, direct=direct, actor=getpass.getuser())
        except (ValueError, way_out.BrokerError, DatabaseError, SwitchMoved) as exc:
            raise CommandError(str(exc)) from exc
        for name, value in result.items():
            self.stdout.write(f"{name:<12} {value}")
        if not result["ok"]:
            raise CommandError("the drill missed its limits")
