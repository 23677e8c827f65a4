"""What the market does, and what people and surroundings do to a hub, by a seed."""

from collections import Counter
from decimal import Decimal
from typing import TYPE_CHECKING

from execution.domain.kill_levels import TURNS
from execution.models import Difference, Trade
from execution.selectors import kill_level
from execution.services import adoption, runs
from execution.services.moves import TradeState as T
from execution.simulation import market
from execution.simulation.checker import BY_HAND
from execution.venue.orders import OrderRequest

if TYPE_CHECKING:
    from execution.simulation.world import World

MS = 1_000_000
SECOND = 1_000_000_000
CENT = Decimal("0.01")
UNANSWERED_COMMITS = 0.35  # of the losses of the database
#: How often each of these comes up when something does; `evening` only late in the day.
WHIMS = {
    "nothing": 2,
    "switch": 2,
    "database": 2,
    "redis": 3,
    "leave": 3,
    "hand": 1,
    "evening": 4,
}
#: What brings a hub to a place that it seldom comes by: (whims, rates of the venue's faults).
LEADS: dict[str, tuple[dict[str, int], dict[str, float]]] = {
    "exit.after_patch": ({"leave": 40}, {}),
    "exit.after_cancel": ({"leave": 40}, {}),
    "exit.before_sell": ({"leave": 40}, {}),
    "resolver.after_404": ({}, {"lose_request": 0.3, "hidden": 1.0}),
    "protect.before_oco": ({}, {"partial": 1.0, "lose_leg": 1.0}),
    "cover.before_buy": ({}, {"both_legs": 1.0}),
    "kill.after_level": ({}, {"both_legs": 1.0}),
    "day_end.after_close_all": ({"evening": 60}, {}),
}
EVENING = "day_end.after_close_all"


class Street:
    """`events`: what was done on purpose, by name; faults are counted by the world."""

    def __init__(self, world: "World", toward: tuple[str, ...]) -> None:
        self.world, self.rng = world, world.rng
        self.events: Counter[str] = Counter()
        self.flatten = False  # the kill switch stands there
        self.by_hand = False  # somebody has an order of their own at the broker
        self._weights = dict(WHIMS)
        for point in toward:
            self._weights |= LEADS.get(point, ({}, {}))[0]
        if not world.evening:
            del self._weights["evening"]
        if toward:
            del self._weights["hand"]  # whoever must get there may trade
        self.market_due = world.now_ns + SECOND
        self.whim_due = world.now_ns + self.rng.randrange(2, 8) * SECOND

    def due_ns(self) -> int:
        return self.market_due if self.world.healed else min(self.market_due, self.whim_due)

    def live(self, now_ns: int) -> None:
        """Do what is due."""
        if now_ns >= self.market_due:
            busy = bool(self.world.engine.open_orders)
            self.market_due = now_ns + self.rng.randrange(400, 2500 if busy else 6000) * MS
            self._move()

    def whim(self, now_ns: int) -> None:
        """Let something happen to the hub, when it is time."""
        if now_ns < self.whim_due or self.world.healed:
            return
        self.whim_due = now_ns + self.rng.randrange(2000, 7000) * MS
        if kill_level() != "none" and self.rng.random() < 0.7:
            self.turn_switch("none")
            return
        names, weights = zip(*self._weights.items(), strict=True)
        (chosen,) = self.rng.choices(names, weights)
        getattr(self, f"_{chosen}")()

    def quote(self, bid: Decimal, ask: Decimal) -> None:
        self.world.engine.on_quote(market.SYMBOL, bid, ask, self.world.now_ns)

    def turn_switch(self, level: str) -> None:
        standing = kill_level()
        if level not in TURNS[standing]:  # weaker: a person ends what stands first
            runs.reset_kill_switch(from_level=standing, reason="a whim", actor="simulation")
        if level != "none":
            runs.set_kill_switch(level=level, reason="a whim", actor="simulation")
        self.flatten = level == "flatten"

    # --- the market -------------------------------------------------------------------------------
    def _move(self) -> None:
        """Wander, or run to a leg of whatever is open."""
        engine, now_ns = self.world.engine, self.world.now_ns
        levels = [o for o in engine.open_orders if o.side == "sell"]
        if levels and self.rng.random() < 0.3 and not self.world.healed:
            order = self.rng.choice(levels)
            price = order.limit or order.stop or market.BID
            self.quote(price, price + 2 * CENT)
            engine.on_trade(market.SYMBOL, price, 100, True, now_ns)
            return
        bid = market.BID + self.rng.randrange(-12, 13) * CENT
        self.quote(bid, bid + 2 * CENT)
        engine.on_trade(market.SYMBOL, bid + CENT, 100, True, now_ns)

    # --- people and surroundings ------------------------------------------------------------------
    def _nothing(self) -> None:
        pass

    def _switch(self) -> None:
        level = self.rng.choice(("pause", "cancel_entries", "flatten"))
        self.events[f"kill {level}"] += 1
        self.turn_switch(level)

    def _database(self) -> None:
        if self.rng.random() < UNANSWERED_COMMITS:
            self.world.lose_a_commit(after=self.rng.randrange(0, 12))
        else:
            self.world.lose_database(after=self.rng.randrange(0, 60))

    def _redis(self) -> None:
        self.world.tasks.lose_redis("redis lost")

    def _leave(self) -> None:
        self.world.leave_early(hard=self.rng.random() < 0.5)

    def _hand(self) -> None:
        """Somebody orders something in the broker's app: entries are locked from then on."""
        if self.by_hand or self.rng.random() < 0.5:
            return
        self.events["by hand"] += 1
        self.by_hand = True
        order = OrderRequest(
            client_order_id=BY_HAND, symbol="SPY", side="buy", type="limit", quantity=5,
            limit=Decimal(1), time_in_force="day",
        )  # fmt: skip
        self.world.engine.submit(order, self.world.now_ns)

    def acknowledge(self) -> None:
        """Say that what was done by hand is known, once the hub shows it."""
        row = Difference.objects.filter(open_key=self.world.run_id, acknowledged_at=None).first()
        if row is not None and not row.body["blocked"]:
            adoption.acknowledge(difference_id=row.pk, reason="mine", actor="simulation")

    def _evening(self) -> None:
        """Hours pass while no hub looks: best with a position, for which it may be too late."""
        world = self.world
        open_ = Trade.objects.filter(run_id=world.run_id, state=T.OPEN_PROTECTED).exists()
        wanted = EVENING in world.toward
        if not open_ and (wanted or self.rng.random() < 0.8):
            return
        self.events["hours pass"] += 1
        left_ns = world.now_ns
        late_ns = market.SESSION.close_ns - self.rng.randrange(150, 295 if wanted else 620) * SECOND
        world.now_ns = max(world.now_ns, late_ns)
        world.engine.advance(world.now_ns)  # what was under way at the venue is over by then
        world.begun_ns += world.now_ns - left_ns  # they are not lived
        world.audit.down.append((left_ns, world.now_ns))
