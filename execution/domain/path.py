"""The day again under another set, from its first round: one trade more changes all that follow.

Slots, cool-downs, limits and money come from the simulated trades, not from those that were made;
everything else is as the rounds kept it, also the kill switch. Fills are `hindsight`'s: simulated
and pessimistic. Source: design, trigger 8.2 class D.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

from execution.brokers.port import AccountSnapshot
from execution.domain.counterfactual import PATH
from execution.domain.decide import decide
from execution.domain.hindsight import Hindsight, hindsight, last_k
from execution.domain.rounds import (
    EntryPlan,
    Exposure,
    RoundDecision,
    RoundInput,
    Streak,
    SymbolFacts,
)
from signals.nearmiss import Bar
from signals.session import BUCKET_NS

#: Class D, too, but of how an order is filled or left: no simulated fill knows them.
UNFOLLOWED = frozenset({
    "breakeven_at_r", "entry_style", "entry_ttl_ms", "exit_mode", "no_progress_minutes",
    "no_progress_r", "reanchor_after_fill", "replace_weaker", "stop_type", "trail_distance_r",
    "trail_start_r", "trailing_enabled",
})  # fmt: skip
FOLLOWED = PATH - UNFOLLOWED
#: The buckets of a symbol after k up to and with the second number, oldest first, without a gap.
BarsAfter = Callable[[str, int, int], list[Bar]]


class PathLost(Exception):
    """The buckets of a trade are not kept: what follows it cannot be told."""


@dataclass(frozen=True, kw_only=True)
class PathTrade:
    """A simulated trade; `end` None: it was open to the end of what was played."""

    plan: EntryPlan
    closes: Mapping[int, float]  # by bucket, from the entry on
    returns_1m_bps: tuple[float, ...]
    end: Hindsight | None

    def gain(self, k: int) -> Decimal:
        """Return the profit or loss as of bucket k, USD."""
        if self.is_over(k) and self.end is not None:
            return self.plan.notional * Decimal(repr(self.end.percent)) / 100
        close = self.closes.get(k)
        if close is None:
            return Decimal(0)
        return self.plan.quantity * (Decimal(repr(close)) - self.plan.limit)

    def is_over(self, k: int) -> bool:
        return self.end is not None and self.end.k < k


@dataclass(kw_only=True)
class DayPath:
    """Args: new: the complete set; until_k: bars behind it are not needed."""

    new: Mapping[str, Any]
    bars_after: BarsAfter
    until_k: int
    trades: list[PathTrade] = field(default_factory=list)
    _streaks: Mapping[str, Streak] = field(default_factory=dict)
    _latched: bool = False
    _base: AccountSnapshot | None = None

    def play(self, stored: Iterable[RoundInput]) -> Iterator[RoundDecision]:
        """Yield each round's decision, oldest first.

        Raises:
            PathLost: the buckets after an entry are gone.
        """
        for r in stored:
            self._base = self._base or r.account
            answer = decide(self._inputs(r), self.new, self._streaks)
            self._streaks = answer.streaks
            self.trades += [self._enter(plan, r) for plan in answer.entries]
            yield answer

    def _enter(self, plan: EntryPlan, r: RoundInput) -> PathTrade:
        c = next(c for c in r.candidates if c.candidate_id == plan.candidate_id)
        end_k = last_k(r.k, r.close_ns, self.new)
        newest = min(end_k, self.until_k)
        bars = self.bars_after(plan.symbol, r.k, newest) if newest > r.k else []
        if newest > r.k and (not bars or (bars[0].k, bars[-1].k) != (r.k + 1, newest)):
            raise PathLost(plan.symbol)
        spread = c.quote
        end = hindsight(
            {"limit": plan.limit, "tp": plan.take_profit, "sl": plan.stop_loss},
            bars,
            end_k=end_k,
            spread_bps=2e4 * (spread.ask - spread.bid) / (spread.ask + spread.bid)
            if spread is not None and spread.bid > 0
            else float(self.new["max_spread_bps"]),
            slip_bps=float(self.new["stop_slip_bps"]),
        )
        closes = {bar.k: bar.close for bar in bars}
        return PathTrade(plan=plan, closes=closes, returns_1m_bps=tuple(c.returns_1m_bps), end=end)

    # --- the account as it would be ---------------------------------------------------------------
    def _inputs(self, r: RoundInput) -> RoundInput:
        over = sorted(
            (t for t in self.trades if t.is_over(r.k)), key=lambda t: t.end.k if t.end else 0
        )
        live = [t for t in self.trades if not t.is_over(r.k)]
        pnl = sum((t.gain(r.k) for t in self.trades), Decimal(0))
        return replace(
            r,
            exposures=tuple(_exposure(t) for t in live),
            busy_symbols=frozenset(t.plan.symbol for t in live),
            account=self._account(r, live, pnl),
            reserved_usd=Decimal(0),
            day_pnl=pnl,
            daily_loss_latched=self._loss(pnl),
            trades_today=len(self.trades),
            take_profits_today=sum(t.end is not None and t.end.ended == "target" for t in over),
            consecutive_losses=_losses(over),
            last_exit_ns=max((_left_ns(t) for t in over), default=None),
            last_replacement_ns=None,
            unsettled_usd=sum((t.plan.notional + t.gain(r.k) for t in over), Decimal(0)),
            symbols={name: self._facts(name, facts, over) for name, facts in r.symbols.items()},
            unresolved_order=False,
            unprotected=False,
        )

    def _account(
        self, r: RoundInput, live: list[PathTrade], pnl: Decimal
    ) -> AccountSnapshot | None:
        if r.account is None or self._base is None:
            return None
        bound = sum((t.plan.notional for t in live), Decimal(0))
        realized = pnl - sum((t.gain(r.k) for t in live), Decimal(0))
        return replace(
            r.account,
            last_equity=self._base.last_equity,
            equity=self._base.last_equity + pnl,
            cash=self._base.cash - bound + realized,
            buying_power=self._base.buying_power - bound + realized,
        )

    def _loss(self, pnl: Decimal) -> bool:
        if self._base is not None:
            most = self._base.last_equity * Decimal(str(self.new["max_daily_loss_percent"])) / 100
            self._latched = self._latched or pnl <= -most
        return self._latched

    def _facts(self, symbol: str, facts: SymbolFacts, over: list[PathTrade]) -> SymbolFacts:
        left = [_left_ns(t) for t in over if t.plan.symbol == symbol]
        today = sum(t.plan.symbol == symbol for t in self.trades)
        return replace(facts, trades_today=today, last_exit_ns=max(left, default=None))


def _exposure(t: PathTrade) -> Exposure:
    return Exposure(
        symbol=t.plan.symbol,
        quantity=t.plan.quantity,
        entry=t.plan.limit,
        stop=t.plan.stop_loss,
        sector=t.plan.sector,
        returns_1m_bps=t.returns_1m_bps,
    )


def _left_ns(t: PathTrade) -> int:
    return 0 if t.end is None else (t.end.k + 1) * BUCKET_NS


def _losses(over: list[PathTrade]) -> int:
    """Return how many of the newest were losses, without a gain between them."""
    count = 0
    for t in reversed(over):
        if t.end is None or t.end.percent >= 0:
            break
        count += 1
    return count
