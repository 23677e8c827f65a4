"""One seed: a day with faults, then a healed venue, and what must be true of both.

Everything random comes from the seed; time is a number that the world moves. A hub may die at any
fail point, lose its database or Redis, be paused and replaced, and start again.
"""

import random
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from django.db import DatabaseError, connection

from execution import failpoints, kill_file
from execution.errors import LeaseLost
from execution.hub import exits, waiting
from execution.models import Lease, Order, Trade
from execution.selectors import kill_level
from execution.services import lease, runs
from execution.services.moves import OrderStatus
from execution.services.moves import TradeState as T
from execution.simulation import market
from execution.simulation.blows import KINDS, PAUSE, Blow, Blows
from execution.simulation.checker import BY_HAND, Audit, Verdict, in_doubt, is_too_late, judge
from execution.simulation.database import Line, commits, passes
from execution.simulation.hub import SimulatedHub
from execution.simulation.plans import FAULTS_MIN, led_by, rules
from execution.simulation.street import EVENING, Street
from execution.simulation.tasks import Tasks
from execution.simulation.venue import FaultyBroker, Late, Stream
from execution.venue.engine import VenueEngine
from execution.venue.faults import FaultPlan
from signals.session import BUCKET_NS

MS = 1_000_000
SECOND = 1_000_000_000
DAY_S = 12  # of faults; longer until enough of them happened
DAY_MAX_S = 400
WAIT_FOR_BLOW_S = 180  # of a day that is only about its blows
HEALING_S = 90
WAIT_FOR_ENTRY_S = 20
ENDLESS_S = 300  # after the longest day
GRACE_NS = 750 * MS
IDLE_NS = 2 * SECOND
EVENING_SHARE = 0.12
FLATTENED_DAYS = 0.15  # end with the kill switch there, and must end flat


class Died(BaseException):
    """The hub's process is gone, in the middle of whatever it did."""


class Endless(BaseException):
    """A hub waits for what will never come, long after everything was healed."""


@dataclass
class World:
    """Args:
    seed: everything that happens follows from it; blows: exactly these, one after the other, else
    some by the seed; toward: fail points that the day should come by.
    """

    seed: int
    blows: tuple[Blow, ...] | None = None
    toward: tuple[str, ...] = ()
    posts: Counter[str] = field(default_factory=Counter)
    injected: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)
        self.evening = self.rng.random() < EVENING_SHARE or EVENING in self.toward
        self.now_ns = market.SESSION.open_ns + 3600 * SECOND + 750 * MS
        self.run_id = f"seed-{self.seed}"
        self.plan = FaultPlan(rules=rules(self.rng, self.toward), seed=self.seed)
        self.engine = VenueEngine(
            session=market.SESSION,
            symbols=(market.SYMBOL, "SPY"),
            cash=Decimal(30_000),
            seed=self.run_id,
            latency_ns=self.rng.randrange(20, 300) * MS,
            faults=self.plan,
        )
        self.engine.on_quote(market.SYMBOL, market.BID, market.ASK, self.now_ns)
        self.stream = Stream(self.engine, self.rng)
        self.late = Late()
        self.audit = Audit()
        self.hub: SimulatedHub | None = None
        self._successor: SimulatedHub | None = None
        self._acting = False  # a hub is at work: it may die of it
        self._looking = False  # the auditor at the venue's door reads the database, not the hub
        self._hub_due = 0
        self.hubs = 0
        self.reached: Counter[str] = Counter()
        self.last_k = 0
        self.round_due = (self.now_ns // BUCKET_NS + 1) * BUCKET_NS + GRACE_NS
        self.healed, self.healed_ns = False, 0
        self.line = Line(self._count)
        self.tasks = Tasks(self)
        self._kept_since: int | None = None
        self.fate = self._blows()
        self.street = Street(self, self.toward)

    def _blows(self) -> Blows:
        if self.blows is not None:
            return Blows(self.blows, in_turn=True)
        count = self.rng.choice((0, 1, 1, 2, 3))
        found = []
        for _ in range(count):
            point = self.rng.choice(failpoints.POINTS)
            kind = self.rng.choice(("kill", *KINDS))
            if point == "journal.after_attempt" and self.rng.random() < 0.5:
                kind = PAUSE
            found.append(Blow(point, kind, self.rng.randrange(1, 4)))
        return Blows(found)

    @property
    def faults(self) -> int:
        """How much went wrong so far: at the venue, on the way, and in the hub's surroundings."""
        return sum(self.plan.injected.values()) + sum(self.injected.values())

    # --- the world --------------------------------------------------------------------------------
    def run(self) -> Verdict:
        """Live through the seed and return what was found."""
        failpoints.arm(self._reach)
        try:
            is_hub = lambda: self._acting and not self._looking  # noqa: E731
            own = passes(self.line, is_hub, lambda: self.now_ns)
            with connection.execute_wrapper(own), commits(self.line, is_hub):
                self._live()
        except Endless:
            self.audit.broken.append("L: a hub does not get through its start")
        finally:
            failpoints.arm(None)
            self.tasks.end()
        return judge(self.engine, self.run_id, self.audit, self.posts, self.now_ns)

    def _live(self) -> None:
        self.begun_ns = self.now_ns
        market.use_parameters()
        kill_file.clear()
        if kill_level() != "none":  # of the day before: a seed alone must show the same again
            runs.reset_kill_switch(from_level=kill_level(), reason="a new day", actor="simulation")
        self._start_hub()
        while not self._enough():
            self._turn()
        self._heal()
        end = self.now_ns + HEALING_S * SECOND
        quiet = 0
        while self.now_ns < end and quiet < 3:
            self._turn()
            if self.street.by_hand:
                self.street.acknowledge()
            quiet = quiet + 1 if self._converged() else 0
        self.audit.converged = quiet >= 3
        self.injected.update(self.plan.injected)

    def _enough(self) -> bool:
        lived = (self.now_ns - self.begun_ns) / SECOND
        if self.blows is None:
            return lived >= DAY_MAX_S or (lived >= DAY_S and self.faults >= FAULTS_MIN)
        return lived >= WAIT_FOR_BLOW_S or (lived >= DAY_S and not self.fate.left)

    def _heal(self) -> None:
        if self.rng.random() < FLATTENED_DAYS:
            self._flatten()
        self.plan.heal()
        self.healed, self.healed_ns = True, self.now_ns
        self.fate.end()
        self.line.heal()
        self.tasks.heal()
        self.engine.halted.clear()
        if kill_level() == "freeze":
            runs.reset_kill_switch(from_level="freeze", reason="healed", actor="simulation")
        if self.hub is not None and self.rng.random() < 0.75:  # else it must find out by itself
            self._post("stream", "down")
            self._post("stream", "up")

    def _flatten(self) -> None:
        """Somebody wants out: while an entry is on its way, if one comes soon."""
        end = self.now_ns + WAIT_FOR_ENTRY_S * SECOND
        while self.now_ns < end and not self._is_entry_on_its_way():
            self._turn()
        self.street.turn_switch("flatten")

    def _is_entry_on_its_way(self) -> bool:
        seen = self.hub.hub.trader.seen if self.hub is not None else []
        return any(one.entry.status in waiting.NO_ANSWER for one in seen)

    def _converged(self) -> bool:
        """Nothing waits for an answer, and the hub says that books and venue agree."""
        hub = self.hub.hub if self.hub is not None else None
        if hub is None or hub.desk.unsettled or hub.agreement.doubt or hub.desk.fills_missing:
            return False
        last_ns = max([self.healed_ns, *(bust.ts_ns for bust in self.engine.account.busts)])
        compared = (hub.agreement.reconciled_ns or 0) > last_ns and not self.engine._requests
        if not compared or len(hub.inbox) or self.stream.due_ns() is not None:
            return False
        if self.late.due_ns() is not None:
            return False
        lost = (OrderStatus.UNKNOWN, OrderStatus.SENDING)
        if Order.objects.filter(run=hub.run, status__in=lost).exists():
            return False
        states = {trade.state for trade in hub.trader.active_trades()}
        return states <= self._may_stay()

    def _may_stay(self) -> set[str]:
        """Return the states in which a trade may end the day; under `flatten` there is none."""
        if kill_level() == "flatten" and self.now_ns < market.SESSION.close_ns:
            return set()
        return {str(T.OPEN_PROTECTED), str(T.HELD_OVERNIGHT)}

    def _turn(self) -> None:
        """Let time go on to the next thing, then let the hub work; it may die of it."""
        due = [self.now_ns + IDLE_NS, self.street.due_ns(), self._hub_due]
        if not self.healed:
            due.append(self.round_due)
        due += [at for at in (self._venue_due_ns(), self.stream.due_ns()) if at is not None]
        due += self.tasks.due_ns()
        self._advance(max(self.now_ns + MS, min(due)))
        self.street.whim(self.now_ns)
        if self._hub_has_reason():
            self._as_hub(self._hub_turn)
            self._hub_due = self.now_ns if self.hub is None else self.hub.next_due_ns()
        self._note_faults()
        self._watch_flatten()

    def _note_faults(self) -> None:
        faults = sum(self.plan.injected.values())
        self.audit.faults_at += [self.now_ns] * (faults - len(self.audit.faults_at))

    def _watch_flatten(self) -> None:
        """Note from when to when shares were held although `flatten` stood and they could go."""
        symbol, now_ns = market.SYMBOL, self.now_ns
        may_go = symbol not in self.engine.halted and now_ns < market.SESSION.close_ns
        if self.street.flatten and may_go and self.engine.account.quantity(symbol) > 0:
            self._kept_since = self._kept_since or now_ns
            return
        if self._kept_since is not None:
            self.audit.kept.append((self._kept_since, now_ns))
            self._kept_since = None

    def _hub_has_reason(self) -> bool:
        """Is there news for it, or something that it does by the clock?"""
        if self.hub is None or len(self.hub.hub.inbox) or self.now_ns >= self._hub_due:
            return True
        if any(due_ns <= self.now_ns for due_ns in self.tasks.due_ns()):
            return True
        return not self.healed and self.now_ns >= self.round_due

    def _hub_turn(self) -> None:
        if self.hub is None:
            return
        if not self.healed and self.now_ns >= self.round_due:
            self._round(self.hub)
        self.hub.work()

    def _round(self, hub: SimulatedHub) -> None:
        """A bucket has ended; with a position open few rounds are worth their time here."""
        k = self.now_ns // BUCKET_NS - 1
        self.round_due = (k + 2) * BUCKET_NS + GRACE_NS
        busy = bool(hub.hub.trader.seen) and self.rng.random() < 0.8
        if k > self.last_k and not busy:
            self.last_k = k
            self.street.quote(market.BID, market.ASK)
            hub.decide(k)

    def _advance(self, ts_ns: int) -> None:
        """Move time and the market; the stream's news set out."""
        while (due := self._venue_due_ns()) is not None and due <= ts_ns:
            self.now_ns = max(self.now_ns, due)
            self.engine.advance(due)
            self.late.arrive(due)
            self._news()
        self.now_ns = max(self.now_ns, ts_ns)
        self.engine.advance(self.now_ns)
        self.street.live(self.now_ns)
        self._news()

    def _venue_due_ns(self) -> int | None:
        return min(filter(None, (self.engine.due_ns(), self.late.due_ns())), default=None)

    def _news(self) -> None:
        listening = self.hub is not None and self.hub.hub.stream_up
        connected = self.stream.send(self.now_ns, heard=listening)
        for update in self.stream.arrived(self.now_ns):
            if update.order.client_order_id == BY_HAND and self.audit.told_ns is None:
                self.audit.told_ns = self.now_ns if self.hub is not None else None
            self._post("update", update)
        if not connected:
            self._post("stream", "down")
            self._post("stream", "up")

    def _post(self, kind: str, payload: Any) -> None:
        """Tell the hub that leads."""
        leader = self._successor or self.hub
        if leader is not None:
            leader.hub.inbox.post(kind, payload)

    def _wait(self, seconds: float) -> None:
        """Somebody waits: the world goes on meanwhile, and what was broken is not so for ever."""
        if self.now_ns - self.begun_ns > DAY_MAX_S * SECOND:
            self.plan.heal()  # a hub that never gets through its start would never see the evening
            self.line.heal()
        if self.now_ns - self.begun_ns > (DAY_MAX_S + ENDLESS_S) * SECOND:
            raise Endless
        self._note_faults()
        self._advance(self.now_ns + max(MS, int(seconds * SECOND)))

    # --- what is done to a hub --------------------------------------------------------------------
    def lose_database(self, *, after: int) -> None:
        """Cut the hub's connection after so many more queries, for a while."""
        self._cut("database lost", after)

    def lose_a_commit(self, *, after: int) -> None:
        """Cut the hub's connection behind a commit: it is through, and the hub cannot know."""
        self.line.cut_behind_commit(after=after, back_ns=self._back_ns())

    def _cut(self, why: str, after: int) -> None:
        self.line.cut(why, after=after, back_ns=self._back_ns())

    def _back_ns(self) -> int:
        return self.now_ns + self.rng.randrange(0, 4000) * MS

    def _count(self, fault: str) -> None:
        self.injected[fault] += 1

    def leave_early(self, *, hard: bool) -> None:
        """Somebody wants out of what is open."""
        self._as_hub(lambda: self._leave(hard))

    def _leave(self, hard: bool) -> None:
        if self.hub is None:
            return
        for trade in Trade.objects.filter(run_id=self.run_id, state=T.OPEN_PROTECTED):
            self.street.events["leave early"] += 1
            exits.begin(self.hub.hub.desk, trade, "manual", hard=hard)
            self.hub.hub.flow.news = True

    # --- hubs that die ----------------------------------------------------------------------------
    def _as_hub(self, call: Callable[[], Any]) -> None:
        """Let the hub act; whatever kills it, another one starts after a while."""
        died, self._acting = True, True
        try:
            call()
            died = False
        except (Died, DatabaseError, LeaseLost) as exc:
            self.street.events[f"hub died: {type(exc).__name__}"] += 1
        except Exception as exc:  # noqa: BLE001 - whatever it is, it would have killed the process
            self._killed_by(exc)
        finally:
            self._acting = False
        if self._successor is not None:
            self.hub, self._successor = self._successor, None
        elif died:
            self._bury()

    def _killed_by(self, exc: Exception) -> None:
        at = traceback.extract_tb(exc.__traceback__)[-1]
        where = f"{at.filename.rpartition('/')[2]}:{at.lineno}"
        line = f"C: the hub was killed by {exc!r} at {where}"
        if line not in self.audit.broken:
            self.audit.broken.append(line)

    def _bury(self) -> None:
        died_ns, self.hub = self.now_ns, None
        self.stream.lose()
        down = self.rng.randrange(200, 9000) * MS
        while self.now_ns < died_ns + down:
            self._advance(self.now_ns + 500 * MS)
        self.audit.down.append((died_ns, self.now_ns))
        self._start_hub()

    def _start_hub(self, *, force: bool = True) -> None:
        begun = self.now_ns
        while True:
            self.hubs += 1
            self.hub = SimulatedHub(
                run_id=self.run_id,
                holder=f"{self.run_id}/{self.hubs}",
                broker=FaultyBroker(
                    self.engine,
                    lambda: self.now_ns,
                    self._at_send,
                    self.posts,
                    self.audit.requests,
                    self._wait,
                    self.late,
                ),
                now_ns=lambda: self.now_ns,
                wait=self._wait,
                tasks=self.tasks,
            )
            self._acting = True
            try:
                self.hub.start(force=force)
            except (Died, Exception) as exc:  # noqa: BLE001 - as in `_as_hub`
                self.street.events[f"hub died while starting: {type(exc).__name__}"] += 1
                if not isinstance(exc, (Died, DatabaseError, LeaseLost)):
                    self._killed_by(exc)
                self.hub = None
                self._acting = False
                self._wait(1.0)
                continue
            self._acting = False
            break
        self._hub_due = self.now_ns
        self.audit.down.append((begun, self.now_ns))

    def _reach(self, name: str) -> None:
        """A fail point: something may strike the hub here."""
        self.reached[name] += 1
        if name == "journal.after_attempt":
            self.tasks.stand_still()
        if self.hub is None or self.healed or not self._acting:
            return
        blow = self.fate.reach(name)
        if blow is None:
            return
        if name in self.toward:
            self.plan.ended |= led_by(name).difference(*(led_by(b.point) for b in self.fate.left))
        why = f"{blow.kind} at a fail point"
        if blow.kind == "database":
            self._cut(why, 0)
            return
        if blow.kind == "redis":
            self.tasks.lose_redis(why)
            return
        self.injected[why] += 1
        if blow.kind == "kill":
            raise Died(name)
        self._pause_and_replace()

    def _pause_and_replace(self) -> None:
        """The leader is stopped between its attempt and its socket; its successor leads."""
        paused, self.hub = self.hub, None
        self.stream.lose()
        self._start_hub(force=True)
        for _ in range(self.rng.randrange(1, 8)):
            self._turn()
        self._successor, self.hub = self.hub, paused  # which goes on: its fence must stop it
        self._acting = True

    def _at_send(self, client_order_id: str) -> None:
        """An order arrives at the venue: was its sender allowed to send it?"""
        hub, self._looking = self.hub, True
        try:
            row = Lease.objects.get(name=lease.HUB)
            if hub is None or row.epoch != hub.hub.epoch:
                self.audit.broken.append(f"I2: {client_order_id} was sent past the fence")
            if client_order_id.endswith("-e") and is_too_late(
                self.run_id, client_order_id, self.now_ns
            ):
                self.audit.broken.append(f"I4: {client_order_id} was sent for an old signal")
            if client_order_id.endswith("-e") and kill_level() != "none":
                self.audit.broken.append(f"I4: {client_order_id} was sent under the kill switch")
            if client_order_id.endswith("-e"):
                doubt = in_doubt(self.engine, self.run_id, self.audit, client_order_id, self.now_ns)
                self.audit.broken += [f"I4: {client_order_id} was sent while {doubt}"] * bool(doubt)
        finally:
            self._looking = False
