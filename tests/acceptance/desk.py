"""A made-up market of 300 stocks in real time, eager to buy, and a terminal beside it."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from execution import way_out
from execution.brokers.alpaca import AlpacaBroker
from tests.acceptance.stack import ROOT, environment
from tradeplane.bench.takeover.__main__ import Market, child_pid

#: Buys soon, and holds what it has: a bracket that nothing reaches.
EAGER = (
    "universe_max_price=1000", "max_quote_age_ms=5000", "ao_min_z=0.5", "ao_min_magnitude_bps=0.5",
    "ao_accel_rate=0.05", "take_profit_percent=4", "stop_loss_percent=4", "symbol_cooldown_s=0",
    "cooldown_after_trade_s=0",
)  # fmt: skip
HOLDS_WITHIN_S = 300


class Desk:
    """A terminal beside a running market."""

    def __init__(self, market: Market, home: Path) -> None:
        self.market, self.home = market, home

    @property
    def broker(self) -> AlpacaBroker:
        venue = json.loads((self.home / way_out.VENUE).read_text())
        return AlpacaBroker(key=venue["key"], secret=venue["secret"], url=venue["url"])

    def wait_until_held(self) -> None:
        """The hub itself has bought something, and both its exits are at the venue."""
        query = "select 1 from execution_trade where state = 'open_protected'"
        self.market.until(
            lambda: bool(self.market.rows(query)), HOLDS_WITHIN_S, "a position of the hub's own"
        )

    def drill(self) -> subprocess.Popen[str]:
        return self.manage("killswitch", "--drill", "--yes")

    def books_are_sound(self) -> bool:
        done = self.manage("check_books")
        done.communicate(timeout=120)
        return done.returncode == 0

    def hub(self) -> int:
        """Return the process id of the hub that `up` looks after."""
        return child_pid(self.market.pid, "hub")

    def second(self, role: str, *words: str, **more: str) -> subprocess.Popen[str]:
        """Start another process of a role beside the hub, with what the hub was given."""
        lines = Path(f"/proc/{self.hub()}/environ").read_bytes().decode().split("\0")
        given = dict(line.split("=", 1) for line in lines if "=" in line)
        with (self.home / f"second-{role}.log").open("w") as out:
            return subprocess.Popen(
                [sys.executable, "manage.py", role, *words], env=given | more, cwd=ROOT, text=True,
                stdout=out, stderr=out,
            )  # fmt: skip

    def said(self, role: str) -> str:
        """Return what the second process of a role has written."""
        return (self.home / f"second-{role}.log").read_text()

    def one(self, query: str) -> Any:
        (value,) = self.market.one(query)
        return value

    def redis(self) -> int:
        """Return the process id of the embedded server; it writes its own command line."""
        children = f"/proc/{self.market.pid}/task/{self.market.pid}/children"
        for pid in map(int, Path(children).read_text().split()):
            if b"-server" in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0]:
                return pid
        raise AssertionError("no embedded server")

    def manage(self, *words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "manage.py", *words], env=environment(self.home), cwd=ROOT,
            text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip


@contextmanager
def eager_market(home: Path, **given: str) -> Iterator[Desk]:
    """Run it until the block ends. Args: given: goes into every role's environment."""
    wanted = [word for one in EAGER for word in ("--set", one)]
    market = Market(home, 300, 2, "--profile", "quiet", *wanted, seed=3115, **given)
    try:
        market.wait_live()
        yield Desk(market, home)
    finally:
        market.stop()
