"""Writes: save a version of the parameters, make a version count."""

import hashlib
import json
from collections.abc import Mapping

from django.db import IntegrityError, transaction
from django.db.models import Max

from signals import selectors
from signals.errors import StaleParameters
from signals.models import ActiveParameters, ExpiringChange, ParameterSet, Trial
from signals.parameters.catalogue import BadValue, InvalidParameters, validate

NEVER_EXPIRES = ("alpaca_trading_mode", "kill_switch")


def save_parameters(
    *, values: Mapping[str, object], author: str, comment: str = "", base_version: int
) -> int:
    """Save the whole set under a new version and return it; it does not count yet.

    Args:
        base_version: the active version that the author changed (0: the catalogue).
    Raises:
        InvalidParameters: the set is refused as a whole; nothing is saved.
        StaleParameters: another version became active in between.
    """
    complete = validate(values)
    try:
        with transaction.atomic():
            active, _ = selectors.active_parameters()
            if active != base_version:
                raise StaleParameters(
                    f"version {active} became active while version {base_version} was edited"
                )
            newest = ParameterSet.objects.aggregate(Max("version"))["version__max"] or 0
            ParameterSet.objects.create(
                version=newest + 1,
                base=base_version,
                values=complete,
                sha256=fingerprint(complete),
                author=author,
                comment=comment[:300],
            )
            return int(newest) + 1
    except IntegrityError:
        raise StaleParameters("another version was saved at the same moment") from None


def activate(version: int, *, active_from_k: int = 0, author: str = "") -> int:
    """Make the version count from bucket `active_from_k` on (0: at once) and return it.

    Raises:
        BadValue: no such version.
    """
    if not ParameterSet.objects.filter(version=version).exists():
        raise BadValue(f"there is no parameter version {version}")
    ActiveParameters.objects.create(version_id=version, active_from_k=active_from_k, author=author)
    return version


def let_expire(version: int, *, due_ns: int) -> None:
    """Let what a version changes go back by itself; call inside the transaction that saves it.

    Args: due_ns: market clock.
    Raises:
        BadValue: it changes what must not change by itself.
    """
    row = ParameterSet.objects.get(version=version)
    old = selectors.parameters_of(row.base)
    before = {name: old[name] for name, value in row.values.items() if old[name] != value}
    if held := [name for name in NEVER_EXPIRES if name in before]:
        raise BadValue(f"{held[0]} cannot go back by itself")
    ExpiringChange.objects.create(version=row, due_ns=due_ns, before=before)


def expire_due(*, now_ns: int, active_from_k: int = 0) -> list[str]:
    """Let every change whose time is over go back, under one new version; say what was done.

    A value that somebody changed again since stays as it is.

    Raises:
        StaleParameters: somebody saved at this moment; ask again.
    """
    over = ExpiringChange.objects.filter(settled=None, due_ns__lte=now_ns)
    if not over.exists():
        return []
    with transaction.atomic():
        due = list(over.select_related("version").order_by("version_id"))
        return _go_back(due, active_from_k) if due else []


def _go_back(due: list[ExpiringChange], active_from_k: int) -> list[str]:
    active, values = selectors.active_parameters()
    back: dict[str, object] = {}
    for change in reversed(due):  # a value that two of them changed: the oldest knows what was
        for name, old in change.before.items():
            if values[name] == change.version.values[name] or name in back:
                back[name] = old
    names = " and ".join(str(change.version_id) for change in due)
    said = f"the change of version {names} is over"
    if back:
        try:
            active = save_parameters(
                values={**values, **back}, author="expiry", comment=said, base_version=active
            )
            activate(active, active_from_k=active_from_k, author="expiry")
            said = f"{said}: version {active} counts"
        except InvalidParameters as exc:
            said = f"{said}, but its old values do not fit any more: {exc}"
    ExpiringChange.objects.filter(pk__in=[change.pk for change in due]).update(settled=active)
    return [said]


def count_trial(values: Mapping[str, object], *, kind: str, actor: str) -> int:
    """Register that a complete set was evaluated; return how many different ones were so far."""
    Trial.objects.get_or_create(
        sha256=fingerprint(values), defaults={"kind": kind, "actor": actor[:150]}
    )
    return Trial.objects.count()


def fingerprint(values: Mapping[str, object]) -> str:
    """Return the SHA-256 of the set in canonical JSON."""
    text = json.dumps(values, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()
