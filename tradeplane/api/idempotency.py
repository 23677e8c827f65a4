"""A POST that is sent twice acts once.

With an `Idempotency-Key` header the effect and its answer are one transaction: a second request of
the same caller with the same key and body gets the first one's answer; a refusal is not kept.
"""

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from django.db import IntegrityError, transaction
from django.http import HttpRequest
from ninja.errors import HttpError
from ninja.params.functions import Header

from tradeplane.api.auth import caller_of
from tradeplane.models import IdempotentAnswer

Act = Callable[[], dict[str, Any]]
KEPT = timedelta(days=7)
SWEEP_MAX = 100

IdempotencyKey = Annotated[
    str | None,
    Header(  # last and alone: only there ninja looks for it
        None,
        min_length=1,
        max_length=64,
        pattern=r"^[!-~]+$",
        description="Send the same value when you repeat a request, so that it acts once.",
    ),
]


def once(request: HttpRequest, key: str | None, act: Act) -> dict[str, Any]:
    """Return what `act` returns, in one transaction; with a known key: what it returned then.

    Raises:
        HttpError: 422, the key was used for another request.
    """
    if key is None:
        with transaction.atomic():
            return act()
    try:
        return _once(request, key, act)
    except IntegrityError:  # the same key at the same moment: the other one has committed by now
        return _once(request, key, act)


def _once(request: HttpRequest, key: str, act: Act) -> dict[str, Any]:
    caller, asked = caller_of(request).ident, _fingerprint(request)
    now = datetime.now(UTC)
    with transaction.atomic():
        known = IdempotentAnswer.objects.filter(caller=caller, key=key).first()
        if known is None:
            row = IdempotentAnswer.objects.create(
                caller=caller, key=key, request_sha256=asked, at=now
            )
            row.answer = act()
            row.save(update_fields=["answer"])
            _sweep(now)
            return row.answer
    if known.request_sha256 != asked:
        raise HttpError(422, "this Idempotency-Key was used for another request")
    return dict(known.answer or {})


def _fingerprint(request: HttpRequest) -> str:
    text = f"{request.method} {request.path}\n".encode() + request.body
    return hashlib.sha256(text).hexdigest()


def _sweep(now: datetime) -> None:
    old = IdempotentAnswer.objects.filter(at__lt=now - KEPT).order_by("at")
    ids = list(old.values_list("pk", flat=True)[:SWEEP_MAX])
    IdempotentAnswer.objects.filter(pk__in=ids).delete()
