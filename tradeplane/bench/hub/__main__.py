"""`script/bench hub [--json] [--quick] [--minutes N] [--database URL]`: crowds, orders, a market.

The work is done by a process of its own (`inside`), so that the settings find a home and a database
that nobody else uses.
"""

import subprocess
import sys
import tempfile

from tradeplane.bench.hub.options import told
from tradeplane.runtime.environment import base_environment


def main() -> None:
    options = told(sys.argv[1:])
    with tempfile.TemporaryDirectory(prefix="bench-hub-") as home:
        environment = {
            "TRADEPLANE_HOME": home,
            "DATABASE_URL": options.database or f"sqlite:///{home}/tradeplane.sqlite3",
            "REDIS_URL": "",
            "DJANGO_SETTINGS_MODULE": "tradeplane.settings",
            "LOG_LEVEL": "WARNING",
        }
        done = subprocess.run(  # noqa: S603 - our own module
            [sys.executable, "-m", "tradeplane.bench.hub.inside", *sys.argv[1:]],
            env=base_environment(environment),
            check=False,
        )
    sys.exit(done.returncode)


if __name__ == "__main__":
    main()
