"""API keys: made, recognized, revoked. The secret leaves this module once, in `make_key`'s answer.

A token is `tp_<prefix>_<secret>`: the prefix finds the row and may be shown, the secret proves it.
"""

import hashlib
import hmac
import secrets
from collections.abc import Iterable
from datetime import datetime, timedelta

from django.contrib.auth.models import User
from django.db import OperationalError, transaction
from django.db.models import Q, QuerySet

from tradeplane.api.scopes import SCOPES, scopes_of
from tradeplane.models import ApiKey

PREFIX_LETTERS = "abcdefghjkmnpqrstuvwxyz23456789"  # none that look alike
PREFIX_LENGTH = 8
TOKEN_MAX = 100
LIVE_KEYS_MAX = 50  # per person
USED_EVERY = timedelta(minutes=1)
_NO_HASH = "0" * 64


class KeyRefused(ValueError):
    """A key cannot be made like this; the text is one line for people."""


def make_key(
    *,
    owner: User,
    name: str,
    scopes: Iterable[str],
    expires_at: datetime | None,
    now: datetime,
) -> tuple[ApiKey, str]:
    """Save a key and return it with its token, which cannot be had again.

    Raises:
        KeyRefused: no name, a name in use, no or unknown scope, or one that its owner lacks.
    """
    name, wanted = name.strip(), [scope for scope in SCOPES if scope in set(scopes)]
    _check(name, set(scopes), owner, expires_at, now)
    secret = secrets.token_urlsafe(32)
    with transaction.atomic():
        live = live_keys(now).filter(owner=owner)
        if live.filter(name=name).exists():
            raise KeyRefused(f"you have a key named {name!r}: revoke it first, or choose another")
        if live.count() >= LIVE_KEYS_MAX:
            raise KeyRefused(f"you have {LIVE_KEYS_MAX} keys: revoke one first")
        key = ApiKey.objects.create(
            name=name,
            prefix="".join(secrets.choice(PREFIX_LETTERS) for _ in range(PREFIX_LENGTH)),
            secret_sha256=digest(secret),
            scopes=wanted,
            owner=owner,
            made_at=now,
            expires_at=expires_at,
        )
    return key, f"tp_{key.prefix}_{secret}"


def revoke_key(*, key_id: int, by: User, now: datetime) -> ApiKey:
    """End a key for good; the first revocation counts. Others' keys need a superuser.

    Raises:
        ApiKey.DoesNotExist: no such key, or not theirs.
    """
    mine = ApiKey.objects.filter(pk=key_id)
    if not by.is_superuser:
        mine = mine.filter(owner=by)
    mine.filter(revoked_at=None).update(revoked_at=now, revoked_by=by.get_username()[:150])
    return mine.get()


def live_keys(now: datetime) -> QuerySet[ApiKey]:
    """Return the keys that open something; those of somebody who left do not."""
    mortal = Q(expires_at=None) | Q(expires_at__gt=now)
    return ApiKey.objects.filter(mortal, revoked_at=None, owner__is_active=True)


def recognized(token: str, now: datetime) -> ApiKey | None:
    """Return the live key that this token is, None for every other text; notes its use."""
    parts = token.split("_", 2) if len(token) <= TOKEN_MAX and token.isascii() else []
    if len(parts) != 3 or parts[0] != "tp":
        return None
    key = live_keys(now).filter(prefix=parts[1]).select_related("owner").first()
    known = _NO_HASH if key is None else key.secret_sha256
    if not hmac.compare_digest(digest(parts[2]), known) or key is None:
        return None
    _note_use(key, now)
    return key


def digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _check(
    name: str,
    scopes: set[str],
    owner: User,
    expires_at: datetime | None,
    now: datetime,
) -> None:
    if not name or len(name) > 60 or not name.isprintable():
        raise KeyRefused("a key needs a name of 1 to 60 letters: what will use it")
    if not scopes:
        raise KeyRefused("choose at least one scope")
    if strange := scopes - set(SCOPES):
        raise KeyRefused(f"there is no scope {min(strange)!r} (there are {', '.join(SCOPES)})")
    if denied := scopes - scopes_of(owner):
        raise KeyRefused(f"you may not give {min(denied)}: you do not have it yourself")
    if expires_at is not None and expires_at <= now:
        raise KeyRefused("the key would have expired already")


def _note_use(key: ApiKey, now: datetime) -> None:
    """At most one write a minute; a busy database is no reason to refuse a caller."""
    if key.last_used_at is not None and now - key.last_used_at < USED_EVERY:
        return
    try:
        ApiKey.objects.filter(pk=key.pk).update(last_used_at=now)
    except OperationalError:
        pass
