"""The parameters a run starts with: checked before anything starts, saved once the database is."""

from collections.abc import Sequence

from django.db import DatabaseError

from signals import selectors, services
from signals.parameters import catalogue


def chosen_values(profile: str | None, assignments: Sequence[str]) -> dict[str, object] | None:
    """Return the complete set that `--profile` and `--set` ask for, None when neither was given.

    Raises:
        ParameterError: unknown name or profile, bad value, or a set that contradicts itself.
    """
    if profile is None and not assignments:
        return None
    values: dict[str, object] = dict(catalogue.profile(profile) if profile else _current())
    for assignment in assignments:
        name, value = catalogue.parse_assignment(assignment)
        values[name] = value
    return dict(catalogue.validate(values))


def activate_for_run(values: dict[str, object], comment: str) -> int:
    """Make `values` the active set and return its version; the same values make no new version."""
    version, active = selectors.active_parameters()
    if dict(active) == values:
        return version
    saved = services.save_parameters(
        values=values, author="up", comment=comment, base_version=version
    )
    return services.activate(saved, author="up")


def activate_first(profile: str) -> bool:
    """Make a profile the active set when there is none yet; False when there is one."""
    version, _ = selectors.active_parameters()
    if version:
        return False
    values = dict(catalogue.validate(catalogue.profile(profile)))
    activate_for_run(values, f"profile {profile}")
    return True


def _current() -> dict[str, object]:
    """The active set, or the defaults while there is no database yet."""
    try:
        _, values = selectors.active_parameters()
    except DatabaseError:
        return catalogue.defaults()
    return dict(values)
