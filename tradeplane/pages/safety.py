"""What the system page says of the safety net: books, drill, what slept, the switch's file."""

from dataclasses import dataclass

from django.utils.timezone import now

from execution import kill_file, selectors
from execution.models import Figure

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
