"""Without lock-step: work whenever there is something to do; time does not wait."""

from typing import TYPE_CHECKING

from execution.hub.desk import MS
from signals.session import BUCKET_NS

if TYPE_CHECKING:
    from execution.hub.coordinator import Coordinator

POLL_S = 0.1
HEARTBEATS_S = 1.0
END_WITHIN_S = 10.0  # for the last reports of a tape, and for orders without an answer


class Live:
    """One pass of `work` per event, at least ten in a second."""

    def __init__(self, hub: "Coordinator") -> None:
        self.hub = hub
        self._alive: set[int] = set()
        self._alive_at = float("-inf")

    def run(self) -> None:
        """Work until a paced tape has ended; live, until told to stop."""
        hub = self.hub
        if hub.lockstep is not None:
            hub.lockstep.begin()
        while hub.tape_end_ns is None:
            hub.take_in(POLL_S)
            self.work()
        self._finish_tape(hub.tape_end_ns)

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
        self._close_rounds()
        hub.flow.take_late()
        hub.shard_desk.watch()
        if hub.relay is not None:
            hub.relay.want_quotes(self._quote_symbols())
        hub.agreement.on_process_time()
        hub.rounds.flush_old(hub.mono())

    def _close_rounds(self) -> None:
        """Close what is due, in order: a later round never overtakes an earlier one."""
        hub = self.hub
        for k in hub.intake.open_ks:
            if not self._is_due(k):
                return
            hub.flow.close_round(k)

    def _is_due(self, k: int) -> bool:
        """Every living shard has reported, or the decision cannot wait any longer."""
        hub = self.hub
        if hub.intake.complete(k, self._wanted()):
            return True
        deadline_ns = int(hub.rounds.parameters["decision_deadline_ms"]) * MS
        return hub.desk.late_ns((k + 1) * BUCKET_NS) >= deadline_ns

    def _wanted(self) -> set[int]:
        """Return the shards whose report a round waits for."""
        hub = self.hub
        if hub.mono() - self._alive_at >= HEARTBEATS_S:
            self._alive, self._alive_at = set(hub.beats()), hub.mono()
        return self._alive & hub.shard_desk.shards or hub.shard_desk.shards

    def _quote_symbols(self) -> set[str]:
        hub = self.hub
        recent = {c.symbol for report in hub.intake.latest.values() for c in report.candidates}
        return recent | {trade.symbol for trade in hub.trader.active_trades()}

    # --- the end of a tape ------------------------------------------------------------------------
    def _finish_tape(self, end_ns: int) -> None:
        """Take in what is still on its way: the last buckets' reports, the last answers."""
        hub = self.hub
        last_k = self._last_k(end_ns)
        deadline = hub.mono() + END_WITHIN_S
        while hub.mono() < deadline and not self._all_in(last_k):
            hub.take_in(POLL_S)
            self.work()
        if not self._all_in(last_k):
            hub.note("round", f"the tape ended before every bucket up to {last_k}", level="warning")

    def _last_k(self, end_ns: int) -> int:
        """Return the last bucket that a shard closes before the tape's end."""
        grace_ns = int(self.hub.rounds.parameters["lateness_grace_ms"]) * MS
        return (min(end_ns - grace_ns, self.hub.run.close_ns) // BUCKET_NS) - 1

    def _all_in(self, last_k: int) -> bool:
        hub = self.hub
        of = hub.intake.latest
        closed = all(shard in of and of[shard].k >= last_k for shard in self._wanted())
        waiting = hub.intake.reports or hub.intake.behind or hub.desk.unsettled
        return closed and not waiting
