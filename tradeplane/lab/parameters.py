"""A parameter set from the command line: a profile and single values over it."""

from collections.abc import Sequence

from signals.parameters import catalogue


def chosen(profile: str | None, assignments: Sequence[str]) -> dict[str, object]:
    """Return a complete valid set.

    Args: assignments: `name=value` each, later ones win.
    Raises:
        ParameterError, KeyError: an unknown name or profile, a bad value, or a set that does not
            fit together.
    """
    values = catalogue.profile(profile) if profile else catalogue.defaults()
    values |= dict(catalogue.parse_assignment(each) for each in assignments)
    return dict(catalogue.validate(values))
