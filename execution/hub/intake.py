"""Reports as they come in: copies and old lives are ignored, gaps are remembered."""

import logging
from dataclasses import dataclass, field

from signals.messages import Report

logger = logging.getLogger(__name__)
KEPT_K_MAX = 10_000
BEHIND_MAX = 2_000


@dataclass
class Intake:
    """Reports by bucket and shard, until their round is closed."""

    reports: dict[int, dict[int, Report]] = field(default_factory=dict)
    latest: dict[int, Report] = field(default_factory=dict)
    behind: list[Report] = field(default_factory=list)  # with news of a closed round
    duplicates: int = 0
    late: int = 0

    def add(self, report: Report, *, closed_k: int | None) -> bool:
        """Keep a report; False for a copy, for an old life of its shard, or for a closed round."""
        last = self.latest.get(report.shard)
        if last is not None and report.epoch < last.epoch:
            self.duplicates += 1
            return False
        if last is None or report.epoch > last.epoch or report.k >= last.k:
            self.latest[report.shard] = report
        if closed_k is not None and report.k <= closed_k:
            self.late += 1
            if (report.candidates or report.index) and len(self.behind) < BEHIND_MAX:
                self.behind.append(report)
            return False
        if len(self.reports) >= KEPT_K_MAX:
            logger.error("too many open rounds", extra={"k": report.k})
            return False
        of_k = self.reports.setdefault(report.k, {})
        if report.shard in of_k:
            self.duplicates += 1
            if _content(of_k[report.shard]) != _content(report):
                logger.error("two different reports", extra={"shard": report.shard, "k": report.k})
            return False
        of_k[report.shard] = report
        return True

    def take(self, k: int) -> list[Report]:
        """Return and forget the reports of a bucket, by shard."""
        return [report for _, report in sorted(self.reports.pop(k, {}).items())]

    def take_behind(self) -> dict[int, list[Report]]:
        """Return and forget the reports that came after their round, by bucket, oldest first."""
        found: dict[int, list[Report]] = {}
        for report in sorted(self.behind, key=lambda r: (r.k, r.shard)):
            found.setdefault(report.k, []).append(report)
        self.behind = []
        return found

    def complete(self, k: int, shards: set[int]) -> bool:
        return shards <= set(self.reports.get(k, ()))

    @property
    def open_ks(self) -> list[int]:
        return sorted(self.reports)

    @property
    def prints(self) -> int:
        return sum(report.prints for report in self.latest.values())


def _content(report: Report) -> tuple[object, ...]:
    return (report.candidates, report.withdrawn, report.n_symbols, report.gravity)
