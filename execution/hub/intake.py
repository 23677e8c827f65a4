"""Reports as they come in: copies and old lives are ignored, gaps are remembered."""

import logging
from dataclasses import dataclass, field

from signals.messages import Report

logger = logging.getLogger(__name__)
KEPT_K_MAX = 10_000
BEHIND_MAX = 2_000
COPIES_MAX = 200  # candidates of a bucket whose ignored messages are remembered
#: What an ignored message was.
COPY, OTHER, OLD_LIFE = "copy", "other", "old_life"


@dataclass
class Intake:
    """Reports by bucket and grant, until their round is closed."""

    reports: dict[int, dict[int, Report]] = field(default_factory=dict)
    latest: dict[int, Report] = field(default_factory=dict)
    behind: list[Report] = field(default_factory=list)  # with news of a closed round
    duplicates: int = 0
    late: int = 0
    _ignored: dict[int, list[list[str]]] = field(default_factory=dict)

    def add(self, report: Report, *, closed_k: int | None) -> bool:
        """Keep a report; False for a copy, for an old life of its shard, or for a closed round."""
        last = self.latest.get(report.assignment)
        if last is not None and report.epoch < last.epoch:
            self._ignore(report, OLD_LIFE)
            return False
        if last is None or report.epoch > last.epoch or report.k >= last.k:
            self.latest[report.assignment] = report
        if closed_k is not None and report.k <= closed_k:
            self.late += 1
            told = report.candidates or report.index or report.marks or report.withdrawn
            if told and len(self.behind) < BEHIND_MAX:
                self.behind.append(report)
            return False
        if len(self.reports) >= KEPT_K_MAX:
            logger.error("too many open rounds", extra={"k": report.k})
            return False
        of_k = self.reports.setdefault(report.k, {})
        if report.assignment in of_k:
            same = _content(of_k[report.assignment]) == _content(report)
            self._ignore(report, COPY if same else OTHER)
            if not same:
                logger.error("two different reports", extra={"shard": report.shard, "k": report.k})
            return False
        of_k[report.assignment] = report
        return True

    def take(self, k: int) -> list[Report]:
        """Return and forget the reports of a bucket, by grant."""
        return [report for _, report in sorted(self.reports.pop(k, {}).items())]

    def take_ignored(self, k: int) -> list[list[str]]:
        """Return [symbol, candidate id, what it was] of the candidates told once too often."""
        found = sorted(self._ignored.get(k, []))
        self._ignored = {later: told for later, told in self._ignored.items() if later > k}
        return found

    def _ignore(self, report: Report, what: str) -> None:
        self.duplicates += 1
        if report.candidates and (report.k in self._ignored or len(self._ignored) < KEPT_K_MAX):
            of_k = self._ignored.setdefault(report.k, [])
            room = COPIES_MAX - len(of_k)
            of_k += [[c.symbol, c.candidate_id, what] for c in report.candidates[:room]]

    def take_behind(self) -> dict[int, list[Report]]:
        """Return and forget the reports that came after their round, by bucket, oldest first."""
        found: dict[int, list[Report]] = {}
        for report in sorted(self.behind, key=lambda r: (r.k, r.assignment)):
            found.setdefault(report.k, []).append(report)
        self.behind = []
        return found

    def keep_only(self, grants: set[int]) -> None:
        """Forget what was said under other numbers: whoever has the letters now says it again."""
        self.latest = {n: report for n, report in self.latest.items() if n in grants}
        for k, of_k in list(self.reports.items()):
            self.reports[k] = {n: report for n, report in of_k.items() if n in grants}

    def complete(self, k: int, grants: set[int]) -> bool:
        return grants <= set(self.reports.get(k, ()))

    @property
    def open_ks(self) -> list[int]:
        return sorted(self.reports)

    @property
    def prints(self) -> int:
        return sum(report.prints for report in self.latest.values())


def _content(report: Report) -> tuple[object, ...]:
    return (report.candidates, report.withdrawn, report.n_symbols, report.gravity)
