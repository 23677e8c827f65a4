"""What people may change while the hub runs: the kill switch and the parameters."""

from typing import TYPE_CHECKING, Any

from execution import selectors
from execution.hub import exits
from execution.models import Order, Trade
from execution.services import runs
from execution.services.moves import OrderStatus as Status
from execution.services.moves import TradeState as T
from signals import selectors as parameter_selectors
from signals import services as parameter_services
from signals.errors import StaleParameters
from signals.session import BUCKET_NS

if TYPE_CHECKING:
    from execution.hub.coordinator import Coordinator

LOOK_S = 2.0
KILL_LOOK_S = 0.1
STANDING = ("cancel_entries", "flatten")  # levels that act on what comes later, too
NOTED = {"none": "info"}  # to go on again is nothing to acknowledge


class Switches:
    """`kill` is the level that counts now."""

    def __init__(self, hub: "Coordinator") -> None:
        self.hub = hub
        self.kill = "none"
        self._acted = "none"
        self._said_bound = False
        self._looked = self._looked_at_kill = float("-inf")
        self._next: tuple[int, dict[str, Any], int] | None = None  # version, values, from k

    def hurry(self) -> None:
        """Look at the kill switch in the very next turn; safe from any thread."""
        self._looked_at_kill = float("-inf")
        self.hub.inbox.wake()

    def look(self) -> bool:
        """Read what may have changed; True when it was time for the slow look."""
        self.heed_kill()
        now = self.hub.mono()
        if now - self._looked < LOOK_S:
            return False
        self._looked = now
        self.hub.flow.news |= self.kill in STANDING  # the market may have opened meanwhile
        self._look_at_parameters()
        return True

    def heed_kill(self) -> None:
        """Act on a kill switch that has changed."""
        now = self.hub.mono()
        if now - self._looked_at_kill < KILL_LOOK_S:
            return
        self._looked_at_kill = now
        self.kill = selectors.kill_level()
        if self.kill != self._acted:
            self._act_on_kill()

    def _act_on_kill(self) -> None:
        """pause: no entries · cancel_entries: and none half open · flatten: and out of all."""
        hub, self._acted = self.hub, self.kill
        hub.note("kill", f"kill switch: {self.kill}", level=NOTED.get(self.kill, "alarm"))
        if self.kill in STANDING:
            hub.flow.news = True
            hub.trader.look()
            self.enforce()

    def enforce(self) -> bool:
        """Act on what came after the switch was turned as well: it counts while it stands.

        An entry on its way to the broker then, or one of unknown fate, may still buy. Returns:
        whether something was begun, so that the trades are to be looked at again.
        """
        if self.kill not in STANDING:
            return False
        took_back = [self._take_back(one.entry) for one in self.hub.trader.seen]
        left = [self._leave(one.trade) for one in self.hub.trader.seen]
        return any(took_back + left)

    def _take_back(self, entry: Order) -> bool:
        now_ns = self.hub.clock.now_ns()
        works = entry.broker_id and entry.status in (Status.WORKING, Status.PARTIAL)
        if not works or (entry.expires_ns is not None and entry.expires_ns <= now_ns):
            return False
        return bool(Order.objects.filter(pk=entry.pk).update(expires_ns=now_ns))

    def _leave(self, trade: Trade) -> bool:
        """Sell what is held; before the open and after the close its stop keeps it instead."""
        run, desk = self.hub.run, self.hub.desk
        if self.kill != "flatten" or trade.held <= 0 or trade.state not in exits.LEAVING_FROM:
            return False
        if not run.open_ns <= desk.now_ns() < run.close_ns:
            return False
        return exits.begin(desk, trade, "kill", hard=True).state == T.EXITING

    def _look_at_parameters(self) -> None:
        """A new active set counts two buckets later, on hub and shards together."""
        hub = self.hub
        self._let_expire()
        known = (hub.rounds.params_version, self._next[0] if self._next else None)
        if parameter_selectors.active_version() in known:
            return
        version, values = parameter_selectors.active_parameters()
        if version in known or self._mode_is_bound(values):
            return
        from_k = (hub.rounds.last_k or hub.clock.now_ns() // BUCKET_NS) + 2
        self._next = (version, dict(values), from_k)
        hub.shard_desk.send_parameters(version, values, from_k)
        hub.note("startup", f"parameters version {version} counts from bucket {from_k}")

    def _let_expire(self) -> None:
        """A change that was meant for a while goes back by itself, by the market clock."""
        hub = self.hub
        if not hub.clock.known:
            return
        now_ns = hub.clock.now_ns()
        try:
            for said in parameter_services.expire_due(
                now_ns=now_ns, active_from_k=now_ns // BUCKET_NS + 2
            ):
                hub.note("parameters", said)
        except StaleParameters:
            pass  # somebody saves at this moment: the next look finds it again

    def _mode_is_bound(self, values: dict[str, Any]) -> bool:
        """A trading mode does not change over an open position or order: not before it is flat."""
        mode = str(values["alpaca_trading_mode"])
        if mode == str(self.hub.rounds.parameters["alpaca_trading_mode"]):
            return False
        bound = bool(self.hub.trader.active_trades())
        if bound and not self._said_bound:
            self.hub.note("parameters", f"trading mode {mode} waits until flat", level="warning")
        self._said_bound = bound
        return bound

    def switch_parameters(self, k: int) -> None:
        """Let the coming set count when its first bucket closes."""
        if self._next is None or k < self._next[2]:
            return
        version, values, _ = self._next
        self._next = None
        self.use(version, values)

    def use(self, version: int, values: dict[str, Any]) -> None:
        """Let a set count from now on; the run keeps every set it ever used."""
        hub = self.hub
        runs.update_run(
            hub.run,
            parameters_version=version,
            mode=str(values["alpaca_trading_mode"]),
            parameters={**hub.run.parameters, str(version): values},
        )
        if hasattr(hub, "rounds"):
            hub.rounds.parameters, hub.rounds.params_version = values, version
            hub.shard_desk.parameters, hub.shard_desk.params_version = values, version
