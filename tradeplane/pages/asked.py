"""What people ask for in addresses and forms, read without trust."""

import re

#: As many digits as every database's big integer holds; `isdigit` also takes `²`.
NUMBER = re.compile(r"[0-9]{1,18}")


def whole_number(text: str) -> int | None:
    """Return a number of a row or of minutes, None for anything else."""
    return int(text) if NUMBER.fullmatch(text) else None
