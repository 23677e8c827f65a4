"""Without lock-step: work whenever there is something to do; time does not wait."""

from typing import TYPE_CHECKING

from execution.hub.desk import MS
from signals.session import BUCKET_NS

if TYPE_CHECKING:
    from execution.hub.coordinator import Coordinator

POLL_S = 0.1
END_WITHIN_S = 10.0  # for the last reports of a tape, and for orders without an answer


class Live:
    """One pass of `work` per event, at least ten in a second."""

    def __init__(self, hub: "Coordinator") -> None:
        self.hub = hub

    def run(self) -> None:
        """Work until a paced tape has ended; live, until told to stop.

        Raises:
            DayOver: live, when the next trading day begins.
        """
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
            hub.flow.sweep()
        if hub.stream_up and hub.stream_lost and hub.agreement.after_a_gap():
            hub.stream_lost = False
            hub.desk.stream_missed = 0  # while it was away; not its silence
            hub.flow.news = True
        self._watch_the_stream()
        hub.allotment.look()
        hub.flow.take_updates()
        hub.flow.act()
        hub.new_day.look()  # behind the last steps of the old one: what sleeps was put to bed
        self._close_rounds()
        hub.flow.take_late()
        hub.shard_desk.watch()
        if hub.relay is not None:
            hub.relay.want_quotes(self._quote_symbols())
        hub.agreement.on_process_time()
        if hub.clock.source == "host":
            hub.skew.look()
        hub.rounds.flush_old(hub.mono())

    def _watch_the_stream(self) -> None:
        """An open stream that does not bring what REST knows is dropped and dialed anew."""
        hub = self.hub
        missed, hub.desk.stream_missed = hub.desk.stream_missed, 0
        if missed and hub.stream_up and hub.updates is not None:
            hub.note("order", f"trade_updates missed {missed} fills: dialing anew", level="alarm")
            hub.updates.restart()

    def _close_rounds(self) -> None:
        """Close what is due, in order: a later round never overtakes an earlier one."""
        hub = self.hub
        for k in hub.intake.open_ks:
            if not self._is_due(k):
                return
            hub.flow.close_round(k)

    def _is_due(self, k: int) -> bool:
        """All who can have reported, or the decision cannot wait any longer."""
        hub = self.hub
        if hub.intake.complete(k, self._awaited()):
            return True
        deadline_ns = int(hub.rounds.parameters["decision_deadline_ms"]) * MS
        return hub.desk.late_ns((k + 1) * BUCKET_NS) >= deadline_ns

    def _awaited(self) -> set[int]:
        """Return whose report a round waits for: not of one that has been silent for too long."""
        hub, latest = self.hub, self.hub.intake.latest
        most_ns = int(hub.rounds.parameters["shard_heartbeat_timeout_ms"]) * MS
        return {
            one
            for one in hub.allotment.reporting
            if one not in latest or hub.desk.late_ns((latest[one].k + 1) * BUCKET_NS) <= most_ns
        }

    def _quote_symbols(self) -> set[str]:
        hub = self.hub
        recent = {c.symbol for report in hub.intake.latest.values() for c in report.candidates}
        return recent | {trade.symbol for trade in (one.trade for one in hub.trader.seen)}

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
        closed = all(grant in of and of[grant].k >= last_k for grant in hub.allotment.reporting)
        waiting = hub.intake.reports or hub.intake.behind or hub.desk.unsettled
        return closed and not waiting
