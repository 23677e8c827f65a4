"""What the system page says of the safety net: books, drill, what slept, the switch's file."""

from dataclasses import dataclass

from django.utils.timezone import now

from accounts.models import Account
from execution import kill_file, selectors
from execution.models import Figure
from execution.services import days

OLD_BOOKS_S = 180


@dataclass(frozen=True)
class Line:
    """One row: `good` None says neither good nor bad."""

    key: str
    title: str
    text: str
    good: bool | None


def lines() -> list[Line]:
    """Return the rows, in fixed order."""
    found = [_books(selectors.newest_figure("books")), _drill(selectors.newest_figure("drill"))]
    found += _days()
    asleep = selectors.held_overnight()
    if asleep:
        text = f"{', '.join(asleep)}: run manage.py overnight"
        found.append(Line("overnight", "Held overnight", text, False))
    file = kill_file.read()
    if file["level"] != "none":
        text = f"{file['level']} ({file.get('reason', '')})"
        found.append(Line("file", "Kill file of this host", text, False))
    return found


def _books(figure: Figure | None) -> Line:
    if figure is None:
        return Line("books", "Books", "not checked yet", None)
    age_s = (now() - figure.at).total_seconds()
    when = f"{figure.at:%H:%M:%S} UTC, {figure.body['ms']:.0f} ms"
    if not figure.ok:
        text = f"{figure.body['violations']} broken: {figure.body['first'][0]} ({when})"
        return Line("books", "Books", text, False)
    if age_s > OLD_BOOKS_S:
        return Line("books", "Books", f"held at {when}; not checked since", None)
    checks = ", ".join(figure.body.get("checks", ()))
    return Line("books", "Books", f"every invariant holds: {checks} ({when})", True)


def _days() -> list[Line]:
    """Say up to which day the books are closed, and which one is owed; and the program's build."""
    run = selectors.current_run()
    if run is None:
        return []
    account = Account.objects.filter(run_id=run.pk, number=run.account_number).first()
    through = None if account is None else account.closed_through
    text = "no day is closed yet" if through is None else f"closed through {through}"
    owed = days.due(run)
    if owed is not None:
        text += f"; {owed.day} is over: it closes when books and broker agree"
    return [
        Line("days", "Days in the books", text, None),
        Line("build", "Build of the hub", run.build or "not known", None),
    ]


def _drill(figure: Figure | None) -> Line:
    if figure is None:
        return Line("drill", "Kill switch drill", "never: manage.py killswitch --drill --yes", None)
    body = figure.body
    blocked = "" if body["blocked_ms"] is None else f"blocked after {body['blocked_ms']:.0f} ms, "
    flat = "never flat" if body["flat_s"] is None else f"flat after {body['flat_s']:.1f} s"
    away = "" if body.get("database", "answered") == "answered" else ", the database away"
    by = f"{body['held']} held, by the {body['path']}{away}"
    text = f"{blocked}{flat}, {by} ({figure.at:%F %H:%M} UTC)"
    return Line("drill", "Kill switch drill", text, figure.ok)
