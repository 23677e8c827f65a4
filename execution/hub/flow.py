"""What the coordinator does with news: trades forward, rounds closed, decided and sent.

Every method may be called again at any time: what was done is in the rows.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from execution import nudges, selectors
from execution.hub.desk import MS, shown
from execution.models import Order, Round, RoundState, Trade
from execution.services import rounds, runs
from execution.services.moves import OrderStatus as Status
from signals.messages import Report
from signals.session import BUCKET_NS

if TYPE_CHECKING:
    from execution.hub.coordinator import Coordinator

TASK_AGAIN_S = 5.0
NOT_SENT_AGAIN_S = 1.0
TASK_WAIT_LIVE_S = 3.0
EXITS_EVERY_S = 0.1  # while a task is waited for
SETTLE_PAUSE_S = 0.25
AGAIN_S = (0.25, 0.5, 1.0, 2.0)  # the broker counts our requests; the last ones are for exits


class Flow:
    """`news` says that something happened since the trades were last looked at."""

    def __init__(self, hub: "Coordinator") -> None:
        self.hub = hub
        self.news = True
        self._wake_ns: int | None = None
        self._again_at, self._agains = float("-inf"), 0
        self._busy: set[int] = set()  # trades that were not over when last settled

    # --- trades -----------------------------------------------------------------------------------
    def take_updates(self) -> None:
        """Apply the trade updates, then look at the exit signals, each in canonical order."""
        hub = self.hub
        for update in hub.barrier.take_updates():
            self.news = True
            if hub.trader.apply(update):
                hub.agreement.hear_of(update.ts_ns)
        signals = hub.barrier.take_signals()
        if self.news and signals:
            self.settle()
        for signal in signals:
            self.news = True
            hub.exit_desk.receive(signal)

    def act(self) -> None:
        """Bring everything forward that has news or is due by time; else cost nothing."""
        hub = self.hub
        due = self._wake_ns is not None and hub.clock.now_ns() >= self._wake_ns
        again = bool(hub.desk.unsettled) and hub.mono() >= self._again_at
        if not (self.news or due or again):
            return
        self.news = False
        self.settle()
        if any([hub.exit_desk.retry_due(), hub.software.act(), hub.day_end.act()]):
            self.settle()
        self._wake_ns = self._next_wake_ns()
        self._agains = self._agains + 1 if hub.desk.unsettled else 0
        self._again_at = hub.mono() + AGAIN_S[min(self._agains, len(AGAIN_S)) - 1]

    def settle(self) -> None:
        """Take the due steps of the trades; shards are told of positions that closed meanwhile."""
        hub = self.hub
        if hub.switches.kill == "freeze":
            hub.trader.look()
            return
        hub.trader.settle()
        if hub.switches.enforce():
            hub.trader.settle()
        before, self._busy = self._busy, {one.trade.pk for one in hub.trader.seen}
        if ended := before - self._busy:
            for trade in Trade.objects.filter(pk__in=ended).order_by("pk"):
                hub.shard_desk.release(trade)

    def until_settled(self) -> None:
        """In lock-step the market waits until every order's fate is known."""
        hub = self.hub
        while hub.desk.unsettled and hub.switches.kill != "freeze":
            hub.pump(lambda: False, SETTLE_PAUSE_S)
            self.act()

    def wake_ns(self) -> int | None:
        """Return when market time alone asks for something."""
        return self._wake_ns

    def _next_wake_ns(self) -> int | None:
        hub, now = self.hub, self.hub.clock.now_ns()
        if not hub.trader.busy:
            return None
        due = [part.wake_ns() for part in (hub.trader, hub.exit_desk, hub.software, hub.day_end)]
        return min((max(one, now + 1) for one in due if one is not None), default=None)

    # --- rounds -----------------------------------------------------------------------------------
    def close_round(self, k: int) -> None:
        """Close round k and see its decision and its entries through."""
        hub = self.hub
        reports = hub.intake.take(k)
        if hub.rounds.last_k is not None and k <= hub.rounds.last_k:
            return
        self._take_in(reports)
        self._resync(reports)
        if not self._ran_ahead(k):
            grace_ms = float(hub.rounds.parameters["lateness_grace_ms"])
            hub.stages.add("collect", self._late_ms(k) - grace_ms)
        hub.switches.switch_parameters(k)
        if not hub.rounds.close(k, reports, self._expected_symbols(), hub.intake.take_ignored(k)):
            self._note_decided(k)
            return
        if self._is_stale(k):
            rounds.skip_round(Round.objects.get(run=hub.run, k=k))
            self._note_decided(k)
            return
        self._see_through(k)

    def _note_decided(self, k: int) -> None:
        """Count a round, and whether its decision came after `decision_deadline_ms`."""
        hub = self.hub
        if self._ran_ahead(k):
            return
        deadline_ns = int(hub.rounds.parameters["decision_deadline_ms"]) * MS
        hub.stages.add_round(
            self._late_ms(k), in_time=hub.desk.late_ns((k + 1) * BUCKET_NS) <= deadline_ns
        )

    def _ran_ahead(self, k: int) -> bool:
        """Did bucket k end while the tape was fast-forwarded? Its times then measure nothing."""
        return (k + 1) * BUCKET_NS <= self.hub.warming_ns

    def _take_in(self, reports: Sequence[Report]) -> None:
        """Use what reports tell of trades: watched positions, and candidacies that ended."""
        self.news |= self.hub.software.see(reports)
        self.news |= self.hub.trader.withdraw(w for r in reports for w in r.withdrawn)

    def _resync(self, reports: Sequence[Report]) -> None:
        for shard, symbols in self.hub.shard_desk.resync(reports).items():
            text = f"a gap in the windows of {', '.join(sorted(symbols)[:5])}: shard {shard} begins"
            self.hub.note("shard", f"{text} them anew", level="warning", stocks=len(symbols))

    def _expected_symbols(self) -> int:
        """Return how many symbols should report; letters nobody reported yet count by the list."""
        hub = self.hub
        unheard, holders = 0, hub.shard_desk.holders
        if silent := set(holders.by_number) - set(hub.intake.latest):
            of = map(holders.of, hub.run.universe)
            unheard = sum(grant is not None and grant.number in silent for grant in of)
        return unheard + sum(report.n_symbols for report in hub.intake.latest.values())

    def take_late(self) -> None:
        """Add what came too late to the rounds it belongs to; it competes in the next one."""
        hub = self.hub
        found = hub.intake.take_behind()
        if found:
            hub.rounds.flush()
        for reports in found.values():
            self._take_in(reports)
            for bucket in (b for report in reports for b in report.index):
                hub.rounds.index.add(bucket)
            version, now_ns = hub.rounds.params_version, hub.clock.now_ns()
            if not rounds.add_late(hub.run, reports, version=version, now_ns=now_ns):
                hub.intake.behind += reports

    def sweep(self) -> None:
        """Finish what a crash or a lost message left: closed rounds, unsent entries."""
        hub = self.hub
        for row in Round.objects.filter(run=hub.run, state=RoundState.CLOSED).order_by("k"):
            if self._is_stale(row.k):
                rounds.skip_round(row)
            else:
                self._see_through(row.k)
        unsent = Order.objects.filter(run=hub.run, purpose="e", status=Status.INTENT)
        for order_id, before_ns in unsent.values_list("pk", "trade__send_before_ns"):
            if hub.desk.late_ns(before_ns) == 0:
                self._send_entry(order_id)

    def _is_stale(self, k: int) -> bool:
        late_ns = self.hub.desk.late_ns((k + 1) * BUCKET_NS)
        return late_ns > int(self.hub.rounds.parameters["max_signal_age_ms"]) * MS

    def _late_ms(self, k: int) -> float:
        return (self.hub.clock.now_ns() - (k + 1) * BUCKET_NS) / MS

    def _see_through(self, k: int) -> None:
        """Have round k decided by its task, then its entries sent by theirs."""
        hub = self.hub
        hub.decided.pop(k, None)
        decide, began = {"run": hub.run.pk, "k": k}, hub.mono()
        reported = hub.reported_at
        if not self._await_task(
            lambda: hub.send(nudges.DECIDE_ROUND, decide, "hub.decide"), lambda: k in hub.decided
        ):
            return
        hub.stages.add("decide", 1_000 * (hub.mono() - began))
        self._note_decided(k)
        orders = hub.decided.pop(k)
        self.news |= bool(hub.rounds.parameters["replace_weaker"])  # somebody may have to leave
        if not orders:
            return
        self.news = hub.trader.busy = True
        hub.agreement.refresh()
        for order_id in orders:
            began = hub.mono()
            answered = self._send_entry(order_id)
            if answered is not None:
                hub.stages.add("send", 1_000 * (answered - began))
                hub.stages.add("order", 1_000 * (answered - reported))
                hub.stages.add("total", self._late_ms(k))
        self.act()

    def _send_entry(self, order_id: int) -> float | None:
        """Have an entry sent.

        Returns: when the broker had answered, process clock; None when nothing was sent (yet).
        """
        hub = self.hub
        hub.submitted.pop(order_id, None)
        hub.trader.in_flight[order_id] = hub.mono()
        self.news = hub.trader.busy = True
        if not self._await_task(
            lambda: hub.send(nudges.SUBMIT_ORDER, {"order_id": order_id}, "hub.orders"),
            lambda: order_id in hub.submitted,
        ):
            return None
        answered = hub.mono()
        hub.submitted.pop(order_id, None)
        hub.trader.in_flight.pop(order_id, None)
        return answered if self._say_sent(order_id) else None

    def _say_sent(self, order_id: int) -> bool:
        """Log what became of an entry; False when it was not sent."""
        hub = self.hub
        order = Order.objects.get(pk=order_id)
        why = f" ({order.reason})" if order.reason else ""
        hub.note(
            "order",
            f"{order.symbol}: buy {order.quantity} up to {shown(order.limit)}: {order.status}{why}",
            level="warning" if order.status in (Status.REFUSED, Status.UNKNOWN) else "info",
            client_order_id=order.client_order_id,
            symbol=order.symbol,
            quantity=order.quantity,
            limit=str(order.limit),
            status=order.status,
            **selectors.broken_limit(order),
        )
        if order.status == Status.REFUSED:
            hub.rounds.forget_account()
        return order.sent_ns is not None and not order.denied_code

    def _await_task(self, send: Callable[[], bool], done: Callable[[], bool]) -> bool:
        """Send a task and wait for its answer; lost ones are sent again.

        In lock-step it waits as long as it takes; live it goes on, and the sweep finishes it.
        """
        hub, waited = self.hub, False
        if not hub.in_lockstep:
            return send() and self._await_live(done)
        while True:
            sent = send()
            if hub.pump(done, TASK_AGAIN_S if sent else NOT_SENT_AGAIN_S):
                if waited:
                    runs.set_step(hub.run, "rounds", "done")
                return True
            waited = True
            hub.say_waiting("a task was not answered" if sent else "the task queue is away (Redis)")

    def _await_live(self, done: Callable[[], bool]) -> bool:
        """Wait for a task's answer while exits go on; False when it took too long."""
        hub = self.hub
        give_up = hub.mono() + TASK_WAIT_LIVE_S
        while not hub.pump(done, EXITS_EVERY_S):
            if hub.mono() >= give_up:
                return False
            hub.switches.heed_kill()
            self.take_updates()
            self.act()
        return True
