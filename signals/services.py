"""Writes: save a version of the parameters, make a version count."""

import hashlib
import json
from collections.abc import Mapping

from django.db import IntegrityError, transaction
from django.db.models import Max

from signals import selectors
from signals.errors import StaleParameters
from signals.models import ActiveParameters, ParameterSet
from signals.parameters.catalogue import BadValue, validate


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


def fingerprint(values: Mapping[str, object]) -> str:
    """Return the SHA-256 of the set in canonical JSON."""
    text = json.dumps(values, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()
