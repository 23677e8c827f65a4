"""Do we and the broker agree? Asked at start, after gaps, and regularly; doubt locks entries."""

from collections.abc import Callable
from dataclasses import dataclass, field

from execution import reconcile
from execution.brokers.port import BrokerError
from execution.hub.trader import Trader
from execution.services import adoption

IDLE_S = 60.0
WATCHFUL_S = 300.0  # after a trade: a late fill or a bust whose news was lost leaves shares naked
AGAIN_S = 1.0
ASKED_S = 2.0  # after one without an answer, a first difference, or an acknowledgement
#: After a gap a difference may be news on its way: so often it is asked for again, by its age.
AFTER_A_GAP_S = ((5.0, AGAIN_S), (30.0, 4.0))
SHOWN_S = 10.0  # what explains a difference is looked up that often while it stays the same
FRESH_NS = 60_000_000_000


@dataclass(kw_only=True)
class Agreement:
    """Args: at_once: one differing read is enough (the venue stands still), else two in a row."""

    trader: Trader
    mono: Callable[[], float]
    at_once: Callable[[], bool]
    busy_s: Callable[[], float] = lambda: 15.0  # between comparisons while anything is open
    reserved: Callable[[], int] = lambda: 0  # requests of the minute that are kept for exits
    shelter: Callable[[], object] = lambda: None  # protects what is held and is not ours
    doubt: str = ""  # why entries are locked, "" when they are not
    differences: list[str] = field(default_factory=list)
    reconciled_ns: int | None = None  # market time of the last clean comparison
    _at: float = float("-inf")
    _since: float = float("-inf")  # when they began to differ, whatever differs now
    _shown: bool = True  # the pages may show one; a new hub does not know
    _looked_at: float = float("-inf")  # for what explains the difference
    _busy_at: float = float("-inf")
    _failures: int = 0  # comparisons that got no answer to one of their questions, since one did

    def compare(self) -> bool:
        """Compare now; True when all agrees."""
        desk, self._at = self.trader.desk, self.mono()
        try:
            findings = reconcile.reconcile(self.trader)
        except BrokerError as exc:
            desk.note("reconcile", f"no comparison: {exc}", level="warning")
            self._failures += 1
            return False
        self._failures = 0
        if findings.clean:
            self._agree()
            return True
        again = findings.differences == self.differences
        if not self.differences:
            self._since = self._at
        if not again:
            self._looked_at = float("-inf")
            desk.note("reconcile", "; ".join(findings.differences), level="alarm")
        self.differences = findings.differences
        if again or self.at_once():
            self.doubt = "; ".join(findings.differences)[:200]
            self._shelter()
            return self._take_over() and self.compare()
        return False

    def _agree(self) -> None:
        desk = self.trader.desk
        if self.doubt:
            desk.note("reconcile", "books and broker agree again")
        if self._shown:
            adoption.gone(desk.run)
        self.reconciled_ns, self.doubt, self.differences = desk.now_ns(), "", []
        self._shown = False

    def _take_over(self) -> bool:
        """Show what differs, and book it once a person has acknowledged just this."""
        if self._at - self._looked_at < SHOWN_S and not self._is_acknowledged():
            return False
        desk, self._shown = self.trader.desk, True
        try:
            facts = adoption.find(desk.run, desk.broker, now_ns=desk.now_ns())
        except BrokerError as exc:
            desk.note("reconcile", f"not looked into: {exc}", level="warning")
            return False
        self._looked_at = float("-inf") if facts.owed else self._at
        row = adoption.show(desk.run, facts, self.differences, now_ns=desk.now_ns())
        if row.acknowledged_at is None:
            return False
        return adoption.book(row, facts, epoch=desk.epoch, now_ns=desk.now_ns())

    def _is_acknowledged(self) -> bool:
        return bool(self.doubt) and adoption.is_acknowledged(self.trader.desk.run)

    def after_a_gap(self) -> bool:
        """Compare until all agrees; one that differs for long is not asked without a pause."""
        now = self.mono()
        lasts_s = now - self._since if self.doubt else 0.0
        pauses = (pause_s for until_s, pause_s in AFTER_A_GAP_S if lasts_s < until_s)
        pause_s = self.busy_s() if self._must_spare() else next(pauses, self.busy_s())
        return now - self._at >= pause_s and self.compare()

    def _must_spare(self) -> bool:
        """Would comparing at once use up requests that exits may need?"""
        left = self.trader.desk.broker.calls_left
        return left is not None and left <= self.reserved()

    def _shelter(self) -> None:
        try:
            self.shelter()
        except BrokerError as exc:
            text = f"unknown positions are not looked after: {exc}"
            self.trader.desk.note("reconcile", text, level="warning")

    def on_process_time(self) -> None:
        """Live: each `reconcile_interval_s` while something is or just was open; or each minute."""
        now = self.mono()
        if self.trader.busy or self.trader.resolver.open:
            self._busy_at = now
        watchful = now - self._busy_at < WATCHFUL_S
        due = now - self._at >= (self.busy_s() if watchful else IDLE_S)
        unsure = bool(self.differences) and not self.doubt  # a second look says whether it stands
        again = (self._failures or unsure or self._is_acknowledged()) and not self._must_spare()
        pause_s = ASKED_S * 2 ** min(max(self._failures - 1, 0), 3)
        if due or (again and now - self._at >= pause_s):
            self.compare()

    def hear_of(self, fill_ns: int) -> None:
        """An execution was booked; one from before we last agreed cannot be the whole story.

        The venue may have taken it back since, and that news may be the one that was lost.
        """
        if self.reconciled_ns is not None and fill_ns < self.reconciled_ns:
            self._at, self.reconciled_ns = float("-inf"), None

    def on_market_time(self) -> None:
        """In lock-step nothing happens between stops, so a minute of market is close enough."""
        if self.trader.busy:
            self.refresh()
        elif self._is_acknowledged():
            self.compare()

    def refresh(self) -> None:
        """Entries need a clean comparison of the last minute."""
        last = self.reconciled_ns
        if last is None or self.trader.desk.now_ns() - last >= FRESH_NS:
            self.compare()
