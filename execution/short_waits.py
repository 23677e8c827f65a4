"""A database that does not answer must not hold up who wants out: short time-outs, for a while."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db import close_old_connections, connection


@contextmanager
def short_waits(seconds: int = 1) -> Iterator[None]:
    """Let connections that are opened inside give up after so long; open ones stay as they are."""
    settings_dict = connection.settings_dict
    before = settings_dict["OPTIONS"]
    settings_dict["OPTIONS"] = {**before, **_options(before, seconds)}
    try:
        yield
    finally:
        settings_dict["OPTIONS"] = before


def drop_broken() -> None:
    """Let the next query dial anew if this connection has failed."""
    if not connection.in_atomic_block:
        close_old_connections()


def _options(usual: dict[str, Any], seconds: int) -> dict[str, Any]:
    if connection.vendor == "sqlite":
        first = usual.get("init_command", "")
        return {
            "timeout": seconds,
            "init_command": f"PRAGMA busy_timeout={1000 * seconds}; {first} "
            f"PRAGMA busy_timeout={1000 * seconds};",
        }
    return {"connect_timeout": seconds, "read_timeout": seconds, "write_timeout": seconds}
