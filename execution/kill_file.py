"""The kill switch as a file: what still counts when database and Redis are dead.

`manage.py killswitch` writes it first. Whatever says stop, stops: the stronger of file and database
counts, and a file that cannot be read says pause. The hub answers in a second file, so that a drill
can measure how long it took to hear, whatever else is dead.
"""

import json
import os
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from django.conf import settings

from execution.domain.kill_levels import STRENGTH

NAME, HEARD = "kill.json", "kill.heard.json"


def path() -> Path:
    return Path(settings.TRADEPLANE_HOME) / NAME


def write(*, level: str, reason: str, actor: str, at: str) -> None:
    """Latch a level, whole or not at all."""
    _put(path(), {"level": level, "reason": reason, "actor": actor, "at": at})


def read() -> Mapping[str, str]:
    """Return what the file says; level `none` when there is none, `pause` when it is damaged."""
    try:
        text = path().read_text()
    except FileNotFoundError:
        return {"level": "none"}
    except OSError as exc:
        return {"level": "pause", "reason": f"{path()} cannot be read: {exc}"}
    try:
        body = json.loads(text)
        level = body["level"]
    except (ValueError, KeyError, TypeError):
        return {"level": "pause", "reason": f"{path()} is damaged"}
    return body if level in STRENGTH else {"level": "pause", "reason": f"no such level: {level}"}


def moment(said: Mapping[str, str]) -> datetime | None:
    """Return when it was written; None when that is not to be read."""
    try:
        at = datetime.fromisoformat(said["at"])
    except (KeyError, TypeError, ValueError):
        return None
    return at if at.tzinfo is not None else None


def clear() -> None:
    path().unlink(missing_ok=True)


def answer(level: str, *, at_ns: int) -> None:
    """Say that this host's hub knows the file's level, since this moment of the host's clock."""
    _put(path().with_name(HEARD), {"level": level, "at_ns": at_ns, "pid": os.getpid()})


def heard(level: str, *, since_ns: int) -> int | None:
    """Return when the hub said that it knows this level; None when it has not since then."""
    try:
        body = json.loads(path().with_name(HEARD).read_text())
        at_ns = int(body["at_ns"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return at_ns if body["level"] == level and at_ns >= since_ns else None


def _put(target: Path, body: Mapping[str, Any]) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    fresh = target.with_suffix(f".{os.getpid()}")
    fresh.write_text(json.dumps(body))
    fresh.replace(target)
