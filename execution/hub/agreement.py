"""Do we and the broker agree? Asked at start, after gaps, and regularly; doubt locks entries."""

from collections.abc import Callable
from dataclasses import dataclass, field

from execution import reconcile
from execution.brokers.port import BrokerError
from execution.hub.trader import Trader

BUSY_S = 15.0
IDLE_S = 60.0
FRESH_NS = 60_000_000_000


@dataclass(kw_only=True)
class Agreement:
    """Args: at_once: one differing read is enough (the venue stands still), else two in a row."""

    trader: Trader
    mono: Callable[[], float]
    at_once: Callable[[], bool]
    doubt: str = ""  # why entries are locked, "" when they are not
    differences: list[str] = field(default_factory=list)
    reconciled_ns: int | None = None  # market time of the last clean comparison
    _at: float = float("-inf")

    def compare(self) -> bool:
        """Compare now; True when all agrees."""
        desk, self._at = self.trader.desk, self.mono()
        try:
            findings = reconcile.reconcile(self.trader)
        except BrokerError as exc:
            desk.note("reconcile", f"no comparison: {exc}", level="warning")
            return False
        if findings.clean:
            if self.doubt:
                desk.note("reconcile", "books and broker agree again")
            self.reconciled_ns, self.doubt, self.differences = desk.now_ns(), "", []
            return True
        again = findings.differences == self.differences
        if again or self.at_once():
            self.doubt = "; ".join(findings.differences)[:200]
        if not again:
            desk.note("reconcile", "; ".join(findings.differences), level="alarm")
        self.differences = findings.differences
        return False

    def on_process_time(self) -> None:
        """Live: each 15 s while anything is open, else each minute."""
        if self.mono() - self._at >= (BUSY_S if self.trader.busy else IDLE_S):
            self.compare()

    def on_market_time(self) -> None:
        """In lock-step nothing happens between stops, so a minute of market is close enough."""
        if self.trader.busy:
            self.refresh()

    def refresh(self) -> None:
        """Entries need a clean comparison of the last minute."""
        last = self.reconciled_ns
        if last is None or self.trader.desk.now_ns() - last >= FRESH_NS:
            self.compare()
