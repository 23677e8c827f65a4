"""What a child finds in its environment. (Reading it for ourselves: settings.py only.)

Secrets are given to the role that needs them and blanked for the others; blank, not absent,
because a `.env` file fills what is absent.
"""

import os
from collections.abc import Mapping

SECRET_NAMES = (
    "APCA_API_KEY_ID",
    "APCA_API_SECRET_KEY",
    "ALPACA_API_KEY",
    "ALPACA_SECRET_KEY",
    "RELAY_KEY_ID",
    "RELAY_SECRET",
)


def base_environment(common: Mapping[str, str]) -> dict[str, str]:
    """Return our environment for a child: without secrets, with what all roles share."""
    inherited = {name: value for name, value in os.environ.items() if name not in SECRET_NAMES}
    return inherited | dict.fromkeys(SECRET_NAMES, "") | {"PYTHONUNBUFFERED": "1"} | dict(common)
