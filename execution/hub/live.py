"""Without lock-step: work whenever there is something to do; time does not wait."""

from typing import TYPE_CHECKING

from execution.hub.desk import MS
from signals.session import BUCKET_NS

if TYPE_CHECKING:
    from execution.hub.coordinator import Coordinator

POLL_S = 0.1
HEARTBEATS_S = 1.0


class Live:
    """One pass of `work` per event, at least ten in a second."""

    def __init__(self, hub: "Coordinator") -> None:
        self.hub = hub
        self._alive: set[int] = set()
        self._alive_at = float("-inf")

    def run(self) -> None:
        """Work until a paced tape has ended; live, until told to stop."""
        hub = self.hub
        while not hub.tape_over:
            hub.pump(lambda: bool(hub.intake.reports) or hub.barrier.has_news, POLL_S)
            self.work()

    def work(self) -> None:
        hub = self.hub
        if hub.switches.look():
            hub.shard_desk.look_after()
            hub.shard_desk.assign_where_owed()
            hub.flow.sweep()
        if hub.stream_up and hub.stream_lost and hub.agreement.compare():
            hub.stream_lost = False
            hub.flow.news = True
        hub.flow.take_updates()
        hub.flow.act()
        for k in hub.intake.open_ks:
            if self._is_due(k):
                hub.flow.close_round(k)
        hub.shard_desk.watch()
        if hub.relay is not None:
            hub.relay.want_quotes(self._quote_symbols())
        hub.agreement.on_process_time()
        hub.rounds.flush_old(hub.mono())

    def _is_due(self, k: int) -> bool:
        """Every living shard has reported, or the decision cannot wait any longer."""
        hub = self.hub
        if hub.mono() - self._alive_at >= HEARTBEATS_S:
            self._alive, self._alive_at = set(hub.beats()), hub.mono()
        wanted = self._alive & hub.shard_desk.shards or hub.shard_desk.shards
        if hub.intake.complete(k, wanted):
            return True
        deadline = int(hub.rounds.parameters["decision_deadline_ms"]) * MS
        return hub.clock.now_ns() >= (k + 1) * BUCKET_NS + deadline

    def _quote_symbols(self) -> set[str]:
        hub = self.hub
        recent = {c.symbol for report in hub.intake.latest.values() for c in report.candidates}
        return recent | {trade.symbol for trade in hub.trader.active_trades()}
