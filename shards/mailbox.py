"""Where this worker's tasks leave messages for the resident engine beside them.

Light on purpose: every process that knows the tasks imports it, the engine only a shard.
"""

import logging
from collections.abc import Callable
from typing import Any

logger = logging.getLogger(__name__)
Post = Callable[[str, dict[str, Any]], None]
_post: Post | None = None


def open_for(post: Post) -> None:
    """Deliver to this resident from now on."""
    global _post
    _post = post


def close_for(post: Post) -> None:
    """Stop delivering to this resident; a newer one keeps its mail."""
    global _post
    if _post == post:
        _post = None


def deliver(kind: str, payload: dict[str, Any]) -> bool:
    """Hand a message over; False when nobody is there (the hub sends until it is answered)."""
    if _post is None:
        logger.warning("no resident engine", extra={"kind": kind})
        return False
    _post(kind, payload)
    return True
