"""Reads: the parameters that count, and their history."""

from dataclasses import dataclass

from signals.models import ActiveParameters, ExpiringChange, ParameterSet
from signals.parameters.catalogue import BadValue, defaults, validate

HISTORY_MAX = 500


def active_parameters(k: int | None = None) -> tuple[int, dict[str, object]]:
    """Return (version, complete set) that counts in bucket k; without k the newest one.

    Version 0 are the catalogue's defaults, while nothing was saved. A parameter that is younger
    than the saved set has its default.
    """
    rows = ActiveParameters.objects.select_related("version").order_by("-id")
    if k is not None:
        rows = rows.filter(active_from_k__lte=k)
    newest = rows.first()
    if newest is None:
        return 0, defaults()
    return newest.version.version, validate(newest.version.values)


def active_version() -> int:
    """Return the version of `active_parameters`, without its set."""
    rows = ActiveParameters.objects.order_by("-id").values_list("version__version", flat=True)
    return rows.first() or 0


def parameters_of(version: int) -> dict[str, object]:
    """Return the complete set of a version.

    Raises:
        BadValue: no such version.
    """
    if version == 0:
        return defaults()
    row = ParameterSet.objects.filter(version=version).first()
    if row is None:
        raise BadValue(f"there is no parameter version {version}")
    return validate(row.values)


@dataclass(frozen=True, kw_only=True)
class Change:
    """One version and what it changed: name → (old, new)."""

    version: int
    base: int
    author: str
    comment: str
    saved_at: str
    changed: dict[str, tuple[object, object]]


def parameter_history(limit: int = 50) -> list[Change]:
    """Return the newest versions first, each with its differences from its base."""
    rows = list(ParameterSet.objects.order_by("-version")[: min(limit, HISTORY_MAX)])
    bases = ParameterSet.objects.in_bulk({row.base for row in rows})
    catalogue = defaults()
    return [
        Change(
            version=row.version,
            base=row.base,
            author=row.author,
            comment=row.comment,
            saved_at=row.saved_at.isoformat(),
            changed=_changed(
                bases[row.base].values if row.base in bases else catalogue, row.values
            ),
        )
        for row in rows
    ]


def _changed(old: dict[str, object], new: dict[str, object]) -> dict[str, tuple[object, object]]:
    return {name: (old.get(name), value) for name, value in new.items() if old.get(name) != value}


def expiring() -> dict[int, int]:
    """Return the versions whose change will go back by itself, with the market time of it."""
    return dict(ExpiringChange.objects.filter(settled=None).values_list("version", "due_ns"))
