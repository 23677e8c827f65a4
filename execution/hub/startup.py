"""The start-up sequence of DESIGN 4: each step is a row that says how far it is and why not.

A step either returns (done) or raises `StepBlocked`; it is tried again with back-off for as long
as it takes. After a restart the same steps rebuild everything from the database.
"""

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from django.db import DatabaseError, close_old_connections

from accounts import services as books
from execution.brokers.port import BrokerError, TradingDay
from execution.domain.universe import Listing, Note, excluded, listing, read_notes
from execution.errors import LeaseLost, StepBlocked
from execution.hub import namesakes, orphans
from execution.hub.agreement import Agreement
from execution.hub.allotment import Allotment
from execution.hub.coordinator import Coordinator
from execution.hub.day_end import DayEnd
from execution.hub.desk import Desk
from execution.hub.exit_desk import ExitDesk
from execution.hub.history import history_of
from execution.hub.intake import Intake
from execution.hub.lockstep import LockstepLink
from execution.hub.new_day import coming_day
from execution.hub.relay_link import READY, RelayLink
from execution.hub.rounds import Rounds
from execution.hub.shard_desk import ShardDesk
from execution.hub.software import SoftwareExits
from execution.hub.trader import Trader
from execution.models import RunState
from execution.services import cash, lease, runs, trades, universe
from signals import selectors as parameter_selectors
from signals import services as parameter_services
from signals.build import build
from signals.session import day_of

logger = logging.getLogger(__name__)

BACKOFF_S = (0.25, 0.5, 1.0, 2.0, 5.0)
WAIT_S = 0.25
UPSTREAM_AGAIN_S = 5.0
PACED_AFTER_S = 2.0
SAME_TIME_NS = 60_000_000_000
DIFFERS_READS = 3  # comparisons that find the same, before it is more than news on its way


class Startup:
    """Runs the steps in order against one coordinator."""

    def __init__(self, hub: Coordinator, *, take_over: bool = False) -> None:
        self.hub = hub
        self._take_over = take_over  # the operator said so: the living leader is fenced
        self._asked_upstream = float("-inf")
        self._differed = 0
        self._knows_namesakes = False  # orders of today that are named as ours and are not
        self._attached_at = hub.mono()
        self.steps: tuple[tuple[str, Callable[[], str | None]], ...] = (
            ("lease", self.take_lease),
            ("relay", self.reach_relay),
            ("upstream", self.open_upstream),
            ("account", self.read_account),
            ("updates", self.listen_to_updates),
            ("clock", self.find_clock),
            ("reconcile", self.reconcile),
            ("universe", self.read_universe),
            ("shards", self.assign_shards),
            ("rounds", self.resume),
        )

    def run(self) -> bool:
        """Go through all steps; True when rounds may begin, False when the run is over already.

        Raises:
            Stopping, LeaseLost: as `Coordinator.pump`.
            DayOver: a step was blocked until the next trading day began.
        """
        hub = self.hub
        self._with_database(self.begin)
        if hub.run.state in (RunState.ENDED, RunState.FAILED):
            hub.state = hub.run.state
            return False
        self._stand_by()
        self._with_database(self.begin)  # who led meanwhile has written it, perhaps for days
        self._with_database(self._plan)
        for name, step in self.steps:
            self._until_done(name, step)
        hub.state = "running"
        self._say_build()
        runs.update_run(hub.run, state=RunState.RUNNING)
        hub.note("startup", "all steps hold: rounds begin", mode=hub.run.mode, build=hub.run.build)
        return True

    def _say_build(self) -> None:
        """Keep which program leads the run; every start is a line of the log with it."""
        hub, now = self.hub, build()
        if hub.run.build not in ("", now):
            hub.note("startup", f"another build: {hub.run.build} before, {now} now")
        runs.update_run(hub.run, build=now)

    def begin(self) -> None:
        """Open the run."""
        self.hub.run = runs.open_run(self.hub.config.run_id)

    def _plan(self) -> None:
        runs.plan_steps(self.hub.run, tuple(name for name, _ in self.steps))

    def _stand_by(self) -> None:
        """Wait until nobody else leads: until then no row is written and no task is taken."""
        said = ""
        while not self.hub.epoch:
            try:
                self.take_lease()
            except (StepBlocked, DatabaseError) as exc:
                if said != str(exc):
                    said = str(exc)
                    logger.warning("standing by", extra={"reason": said})
                close_old_connections()
                self.hub.pump(lambda: False, WAIT_S)
        self.hub.leads(True)

    def _with_database(self, call: Callable[[], None]) -> None:
        """The database may come up after us."""
        for attempt in range(10**6):
            try:
                return call()
            except DatabaseError:
                logger.warning("the database does not answer", exc_info=attempt == 0)
                close_old_connections()
                self.hub.pump(lambda: False, BACKOFF_S[min(attempt, len(BACKOFF_S) - 1)])
        return None

    def _until_done(self, name: str, step: Callable[[], str | None]) -> None:
        hub, failures = self.hub, 0
        runs.set_step(hub.run, name, "running")
        while True:
            try:
                said = step()
            except (StepBlocked, BrokerError, DatabaseError) as exc:
                waiting = isinstance(exc, StepBlocked) and exc.waiting
                self._show_held(name, str(exc) or type(exc).__name__, waiting=waiting)
                pause = WAIT_S if waiting else BACKOFF_S[min(failures, len(BACKOFF_S) - 1)]
                failures += 1
                self._look_after_positions()
                if hasattr(hub, "desk"):
                    hub.new_day.look()
                hub.pump(lambda: False, pause)
                continue
            runs.set_step(hub.run, name, "done", said or "")
            return

    def _look_after_positions(self) -> None:
        """A blocked step keeps entries off; what is open is protected and left all the same."""
        hub = self.hub
        if not hub.epoch or hub.in_lockstep:  # there the market stands still until we are ready
            return
        try:
            if not hasattr(hub, "trader"):
                if not trades.active(hub.run).exists():
                    return
                self.read_account()
            if not hub.clock.known and not self._on_the_hosts_time():
                return
            hub.switches.look()
            hub.flow.take_updates()
            hub.flow.act()
        except (StepBlocked, BrokerError, DatabaseError) as exc:
            logger.warning("open positions wait", extra={"error": str(exc)})

    def _on_the_hosts_time(self) -> bool:
        """Follow the host's clock when the broker's says the same; a tape is elsewhere."""
        hub = self.hub
        if hub.config.lockstep_url:
            return False
        if abs(hub.broker.clock().ts_ns - hub.clock.wall_ns()) < SAME_TIME_NS:
            hub.clock.follow_host()
        return hub.clock.known

    def _show_held(self, name: str, reason: str, *, waiting: bool) -> None:
        """Say why a step is not done: it waits for its turn (normal), or something is wrong."""
        state, level = ("running", "info") if waiting else ("blocked", "warning")
        try:
            if runs.set_step(self.hub.run, name, state, reason):
                self.hub.note("startup", f"{name}: {reason}", level=level)
        except DatabaseError:
            close_old_connections()

    # --- 1, 2: the relay and its upstream --------------------------------------------------------
    def take_lease(self) -> str:
        hub = self.hub
        if hub.epoch:
            return f"epoch {hub.epoch}"
        try:
            hub.epoch = lease.take(hub.holder, force=self._take_over)
        except LeaseLost as exc:
            raise StepBlocked(str(exc), waiting=True) from exc
        hub.lease_at = hub.mono()
        self._take_over = False  # once; whoever takes it from us later means it
        return f"epoch {hub.epoch}"

    def reach_relay(self) -> str:
        hub, config = self.hub, self.hub.config
        if hub.relay is None:
            hub.relay = RelayLink(
                url=config.relay_url,
                key=config.relay_key,
                secret=config.relay_secret,
                ca_file=config.relay_ca_file,
                post=hub.inbox.post,
                news=bool(config.data_url),  # a venue on this machine has none
            )
            hub.relay.start()
        state, reason = hub.relay_state
        if state not in READY:
            raise StepBlocked(reason or state or "connecting to the relay", waiting=True)
        return config.relay_url

    def open_upstream(self) -> str:
        hub, config = self.hub, self.hub.config
        state = str(hub.upstream.get("state", ""))
        if state == "open":
            return str(hub.upstream.get("feed", ""))
        if hub.relay is not None and hub.mono() - self._asked_upstream >= UPSTREAM_AGAIN_S:
            self._asked_upstream = hub.mono()
            hub.relay.open_upstream(config.broker_key, config.broker_secret)
        reason = str(hub.upstream.get("reason") or state or "asked the relay to open the feed")
        raise StepBlocked(reason, waiting=True)

    # --- 3: the account, its updates, the clock, agreement ---------------------------------------
    def read_account(self) -> str:
        hub = self.hub
        version, values = self._parameters()
        account = hub.broker.account()
        self._allow(account.status, str(values["alpaca_trading_mode"]))
        clock = hub.broker.clock()
        day = self._trading_day(clock.ts_ns)
        if not hub.run.account_number:
            account = cash.open_books(hub.run, hub.broker, now_ns=clock.ts_ns)
        elif hub.run.account_number != account.number:
            raise StepBlocked(
                f"run {hub.run.pk} belongs to account {hub.run.account_number},"
                f" the keys open {account.number}"
            )
        if runs.begin_day(hub.run, day=day.day, open_ns=day.open_ns, close_ns=day.close_ns):
            hub.intake = Intake()  # what still came in is of the last day
        hub.switches.use(version, values)
        books.open_account(
            number=account.number,
            run_id=hub.run.pk,
            cash=hub.run.opening_cash,
            session_date=day.day,
            ts_ns=clock.ts_ns,
            mode=hub.run.mode if hub.run.mode in ("shadow", "live") else "paper",
        )
        self._build()
        self._forbid_shorting()
        return f"{account.number}, ${account.cash:,.2f}"

    def _forbid_shorting(self) -> None:
        """No race of two exits may open a short; a broker that will not say so is worth a word."""
        try:
            self.hub.broker.forbid_shorting()
        except BrokerError as exc:
            self.hub.note("startup", f"shorting is not switched off: {exc}", level="warning")

    def _parameters(self) -> tuple[int, dict[str, Any]]:
        """Return the set that counts; the defaults become version 1, so that orders can name it."""
        version, values = parameter_selectors.active_parameters()
        if version == 0:
            version = parameter_services.save_parameters(
                values=values, author="hub", comment="defaults", base_version=0
            )
            parameter_services.activate(version, author="hub")
        return version, dict(values)

    def _allow(self, status: str, mode: str) -> None:
        if status != "ACTIVE":
            raise StepBlocked(f"the account is {status}")
        if mode == "live" and self.hub.upstream.get("feed") == "iex":
            raise StepBlocked("live needs the sip feed: thresholds on volume mean nothing on iex")
        account_mode = self.hub.config.account_mode(mode)
        if account_mode == "live_not_allowed":
            raise StepBlocked("these are live keys and live trading is not switched on in words")
        if mode not in ("off", account_mode):
            raise StepBlocked(
                f"trading mode is {mode}, the account behind the keys is {account_mode}"
            )

    def _trading_day(self, now_ns: int) -> TradingDay:
        found = coming_day(self.hub.broker, now_ns)
        if found is None:
            raise StepBlocked(f"the calendar has no trading day from {day_of(now_ns)} on")
        return found

    def _build(self) -> None:
        """Make the parts that need the run's row; a second pass of the step keeps them."""
        hub = self.hub
        hub.desk = Desk(
            run=hub.run,
            broker=hub.broker,
            epoch=hub.epoch,
            now_ns=hub.clock.now_ns,
            bid_of=hub.bid_of,
            slack_ns=lambda: hub.clock.slack_ns,
        )
        hub.trader = Trader(desk=hub.desk, mono=hub.mono)
        hub.agreement = Agreement(trader=hub.trader, mono=hub.mono, at_once=lambda: hub.in_lockstep)
        hub.agreement.busy_s = lambda: float(hub.rounds.parameters["reconcile_interval_s"])
        hub.agreement.reserved = lambda: int(hub.rounds.parameters["api_calls_reserved_for_exits"])
        hub.agreement.shelter = lambda: orphans.shelter(hub.desk, hub.rounds.parameters)
        hub.software = SoftwareExits(trader=hub.trader)
        hub.exit_desk = ExitDesk(
            trader=hub.trader,
            epoch_of=hub.epoch_of,
            quote_of=hub.quote_of,
            marks=hub.software.marks,
        )
        values = hub.run.parameters[str(hub.run.parameters_version)]
        hub.rounds = Rounds(
            desk=hub.desk,
            parameters=values,
            params_version=hub.run.parameters_version,
            kill_level=lambda: hub.switches.kill,
            vitals=hub.vitals,
            futures_source=hub.config.futures_source,
        )
        hub.day_end = DayEnd(trader=hub.trader, parameters=lambda: hub.rounds.parameters)
        hub.shard_desk = ShardDesk(
            run=hub.run,
            send=hub.send,
            mono=hub.mono,
            fence=hub.fence,
            speed=hub.config.speed,
            record_dir=hub.config.record_dir or None,
            parameters=values,
            params_version=hub.run.parameters_version,
        )
        hub.allotment = Allotment(hub, load=lambda: hub.measured(hub.run.pk))
        hub.rounds.restore()

    def listen_to_updates(self) -> None:
        hub = self.hub
        if hub.updates is None:
            hub.updates = hub.broker.updates(hub.inbox.post)
            hub.updates.start()
        if not hub.stream_up:
            raise StepBlocked("connecting to trade_updates", waiting=True)

    def find_clock(self) -> str:
        """Meet the venue's lock-step, or take the tape's clock; live, the host's."""
        hub, config = self.hub, self.hub.config
        hub.shard_desk.lockstep = hub.stop is not None
        if config.lockstep_url and hub.lockstep is None:
            hub.lockstep = LockstepLink(
                url=config.lockstep_url,
                key=config.broker_key,
                secret=config.broker_secret,
                post=hub.inbox.post,
                grace_ms=int(hub.rounds.parameters["lateness_grace_ms"]),
            )
            hub.lockstep.start()
        if not config.lockstep_url and not hub.upstream.get("clock"):
            hub.clock.follow_host()
        if hub.stop is not None and hub.stop.n >= 0:
            hub.clock.stop_at(hub.stop.t_ns)
            runs.update_run(hub.run, lockstep=True)
            return f"lock-step, stop {hub.stop.n}"
        if hub.lockstep is not None and not hub.clock.known:
            self._ask_for_paced_time()
        if not hub.clock.known:
            raise StepBlocked(hub.lockstep_state or "waiting for the market clock", waiting=True)
        return hub.clock.source

    def _ask_for_paced_time(self) -> None:
        """A paced tape stands still, without stops, until the shards subscribe: ask the venue."""
        hub = self.hub
        if hub.lockstep_state != "attached":
            self._attached_at = hub.mono()
        elif hub.mono() - self._attached_at >= PACED_AFTER_S:
            hub.clock.tape_at(hub.broker.clock().ts_ns)

    def reconcile(self) -> str:
        """Compare; what goes on differing locks entries, but keeps nobody from getting out."""
        agreement = self.hub.agreement
        if not self._knows_namesakes:
            namesakes.recognize(self.hub.desk)
            self._knows_namesakes = True
        if agreement.compare():
            return "books and broker agree"
        self._differed = self._differed + 1 if agreement.doubt else 0
        if self._differed < DIFFERS_READS:
            raise StepBlocked("; ".join(agreement.differences) or "the broker does not answer")
        return f"entries are locked until this is acknowledged: {agreement.doubt}"

    # --- 4, 5: who watches what ------------------------------------------------------------------
    def read_universe(self) -> str:
        """Make the day's universe once; after a restart it is the one that was frozen."""
        hub = self.hub
        if not hub.run.universe:
            listings = self._listings()
            if not any(one.included for one in listings):
                raise StepBlocked("the broker lists no asset that may be entered")
            universe.freeze_universe(hub.run, listings)
        hub.rounds.known = universe.Known(hub.run)
        known = len(hub.rounds.known.volume_curve)
        return f"{len(hub.run.universe)} symbols, usual volume by the time of day known of {known}"

    def _listings(self) -> list[Listing]:
        hub = self.hub
        assets = {asset.symbol: asset for asset in hub.broker.assets()}
        values = hub.rounds.parameters
        worth = sorted(a.symbol for a in assets.values() if not excluded(a, values))
        past, day = history_of(hub.config), runs.day_of(hub.run)
        bars = past.bars(worth, day, self._breathe)
        notes = self._notes()
        found = [
            listing(asset, bars.get(symbol, ()), notes.get(symbol, Note()), values)
            for symbol, asset in sorted(assets.items())
        ]
        likely = sorted(found, key=lambda one: (-(one.dollar_volume_20d or 0), one.symbol))
        curves = past.curves([one.symbol for one in likely if one.included], day, self._breathe)
        return [replace(one, volume_curve=curves.get(one.symbol)) for one in found]

    def _breathe(self) -> None:
        """Between two requests of a history that takes minutes: the day may have begun."""
        self.hub.pump(lambda: False, 0)
        self._look_after_positions()

    def _notes(self) -> dict[str, Note]:
        path = self.hub.config.symbol_notes
        if not path:
            return {}
        try:
            return read_notes(Path(path).read_text())
        except (OSError, ValueError) as exc:
            raise StepBlocked(f"TRADEPLANE_SYMBOLS: {exc}") from exc

    def assign_shards(self) -> str:
        """Give letters to the shards that live; after a restart, to the ones that had them."""
        hub, desk, allotment = self.hub, self.hub.shard_desk, self.hub.allotment
        allotment.look()
        if not desk.grants:
            living = allotment.living
            wanted = max(1, hub.config.shards - len(allotment.drained))
            if len(living) < wanted:
                raise StepBlocked(f"{len(living)} of {wanted} shards answer", waiting=True)
            allotment.begin()
        desk.assign_where_owed()
        allotment.expect()
        hub.intake.keep_only(set(desk.grants))
        if desk.unready:
            waiting = ", ".join(map(str, desk.waiting_for))
            raise StepBlocked(f"waiting for shards {waiting}", waiting=True)
        return f"{len(desk.shards)} shards"

    # --- 6: go on where we were ------------------------------------------------------------------
    def resume(self) -> None:
        hub = self.hub
        hub.flow.sweep()
        hub.flow.act()
        if hub.rounds.last_k is not None:
            stop = hub.stop.n if hub.stop is not None and hub.stop.n >= 0 else None
            hub.shard_desk.ask_again(hub.rounds.last_k + 1, stop, sorted(hub.shard_desk.shards))
