"""Closes the round of a bucket: freezes what its decision may look at, stores it, hands it on.

A round with candidates is stored with its packed inputs before the task that decides it is sent,
so a lost task, a second one, or a crash in between all end in the same decision. Rounds without
candidates are decided on the spot and written in batches.
"""

import heapq
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec
from django.db.models import Q

from execution import selectors
from execution.brokers.port import AccountSnapshot, BrokerError
from execution.domain.orders import OrderStatus
from execution.domain.rounds import IndexState, RoundInput
from execution.hub.desk import Desk
from execution.hub.exposures import exposures_of, marks_of, symbol_facts
from execution.hub.futures import Futures
from execution.hub.trend_history import gap_scales
from execution.models import Order, Round, RoundState, Run
from execution.services import runs, trades
from execution.services.moves import TradeState as T
from execution.services.rounds import inputs_of
from execution.services.universe import Known
from signals.confidence.gravity import INDEX_WEIGHTS
from signals.confidence.index import IndexBook
from signals.messages import Candidate, Gravity, IndexBucket, Report
from signals.session import BUCKET_NS

BATCH_MAX = 200
FLUSH_S = 5.0
INDEX_ROUNDS = 1200  # more than the index book keeps
WINDOWS_MAX = 500  # candidates of a round whose windows are kept; no gate looks at them
_packer = msgspec.msgpack.Encoder()


@dataclass(kw_only=True)
class Vitals:
    """How the hub itself is doing, as the gates ask."""

    stream_connected: bool = True
    relay_lag_ms: float | None = 0.0  # of the shard that is nearest to the market
    disputed: frozenset[int] = frozenset()  # assignments that two shards claim
    clock_skew_ms: float | None = 0.0
    api_calls_left: int | None = None
    external_symbols: frozenset[str] = frozenset()  # held or ordered by somebody else
    news_of: Callable[[str], bool | None] = lambda symbol: None  # None: no news channel
    doubt: str = ""  # why entries are locked, "" when they are not


@dataclass(kw_only=True)
class Rounds:
    """Args: kill_level: the switch as it stands now; vitals: asked at each close."""

    desk: Desk
    parameters: dict[str, Any]
    params_version: int
    kill_level: Callable[[], str]
    vitals: Callable[[], Vitals]
    last_k: int | None = None
    index: IndexBook = field(default_factory=IndexBook)
    futures_source: str = ""  # file or address of real futures, "" none
    known: Known = field(default_factory=Known)  # of the universe's symbols
    futures: Futures = field(init=False)
    _batch: list[Round] = field(default_factory=list)
    _account: AccountSnapshot | None = None
    _account_ns: int = 0
    _flushed_at: float = float("-inf")

    def __post_init__(self) -> None:
        self.futures = Futures(index=self.index, source=self.futures_source)

    def restore(self) -> None:
        """Rebuild from the database what the next round needs of the day's last ones."""
        run = self.desk.run
        rows = selectors.rounds_of_the_day(run).order_by("-k").values_list("k", "index")
        recent = list(rows[:INDEX_ROUNDS])
        self.last_k = recent[0][0] if recent else None
        for k, seen in reversed(recent):
            for symbol, (close, mid, ts_ns) in sorted(seen.items()):
                self.index.add(IndexBucket(symbol=symbol, k=k, close=close, mid=mid, ts_ns=ts_ns))
        self.futures.scales = gap_scales(run)
        self._restore_account()

    def _restore_account(self) -> None:
        """Near misses are judged by the last reading of the account: that of the last round."""
        stored = selectors.rounds_of_the_day(self.desk.run).filter(inputs__isnull=False)
        row = stored.order_by("-k").first()
        if row is not None:
            inputs = inputs_of(row)
            self._account, self._account_ns = inputs.account, inputs.account_as_of_ns

    def close(
        self,
        k: int,
        reports: Sequence[Report],
        n_expected: int,
        duplicates: Sequence[list[str]] = (),
    ) -> bool:
        """Close round k with these reports; True when a decision task is owed.

        The last bucket decides: an older one is stored, never decided again.

        Args: duplicates: candidates that were told once too often: symbol, id, what it was.
        """
        now = self.desk.now_ns()
        row = self._row(k, reports, n_expected, now)
        row.duplicates = list(duplicates)
        candidates = bounded(
            sorted((c for report in reports for c in report.candidates), key=lambda c: c.symbol)
        )
        self.last_k = k
        if not candidates:
            self._batch.append(row)
            if len(self._batch) >= BATCH_MAX:
                self.flush()
            return False
        self.flush()
        inputs = self._inputs(k, reports, tuple(candidates), n_expected, row.coverage)
        row.inputs = _packer.encode(inputs)
        row.n_shadow = sum(c.shadow for c in candidates)
        row.n_candidates = len(candidates) - row.n_shadow
        row.state, row.decided_at = RoundState.CLOSED, None
        row.save(force_insert=True)
        return True

    def flush(self) -> None:
        """Make the rounds without candidates durable."""
        if self._batch:
            Round.objects.bulk_create(self._batch, ignore_conflicts=True)
            self._batch = []

    def flush_old(self, mono_s: float) -> None:
        """Live: no round waits longer than a few seconds to be durable."""
        if self._batch and mono_s - self._flushed_at >= FLUSH_S:
            self._flushed_at = mono_s
            self.flush()

    def forget_account(self) -> None:
        self._account = None

    # --- freezing the inputs ----------------------------------------------------------------------
    def _row(self, k: int, reports: Sequence[Report], n_expected: int, now_ns: int) -> Round:
        seen: dict[str, tuple[float, float | None, int]] = {}
        for bucket in sorted((b for r in reports for b in r.index), key=lambda b: b.symbol):
            self.index.add(bucket)
            seen[bucket.symbol] = (bucket.close, bucket.mid, bucket.ts_ns)
        n_symbols = sum(r.n_symbols for r in reports)
        return Round(
            run=self.desk.run,
            k=k,
            state=RoundState.DECIDED,
            closed_ns=now_ns,
            params_version=self.params_version,
            n_symbols=n_symbols,
            births=sum(r.births for r in reports),
            prints=sum(r.prints for r in reports),
            late_prints=sum(r.late_prints for r in reports),
            coverage=n_symbols / n_expected if n_expected else float(bool(reports)),
            flags=sorted({flag for r in reports for flag in r.flags}),
            withdrawn=sorted(
                [w.symbol, w.candidate_id, w.reason] for r in reports for w in r.withdrawn
            ),
            index=seen,
            decided_at=datetime.now(UTC),
        )

    def _inputs(
        self,
        k: int,
        reports: Sequence[Report],
        candidates: tuple[Any, ...],
        n_expected: int,
        coverage: float,
    ) -> RoundInput:
        run, vitals, end_ns = self.desk.run, self.vitals(), (k + 1) * BUCKET_NS
        universe = frozenset(run.universe)
        account = self._account_now(any(not c.shadow for c in candidates))
        day = selectors.trading_day(run)
        pnl = None if account is None else account.equity - account.last_equity
        active = list(trades.active(run))
        trend = self.futures.trend(self.parameters)
        blocked = self._blocked(reports, vitals)
        return RoundInput(
            run=run.pk,
            k=k,
            now_ns=end_ns + self.desk.late_ns(end_ns),
            params_version=self.params_version,
            mode=str(self.parameters["alpaca_trading_mode"]),
            day=runs.day_of(run),
            open_ns=run.open_ns,
            close_ns=run.close_ns,
            candidates=candidates,
            coverage=coverage,
            n_symbols=sum(r.n_symbols for r in reports),
            n_expected=n_expected,
            universe=universe.intersection(c.symbol for c in candidates),
            universe_size=len(universe),
            account=account,
            account_as_of_ns=self._account_ns,
            exposures=exposures_of(active, marks_of(reports), candidates, self.known),
            busy_symbols=frozenset(t.symbol for t in active) | vitals.external_symbols,
            reserved_usd=_reserved(run),
            day_pnl=pnl,
            daily_loss_latched=self._loss_latched(pnl, account),
            trades_today=day.trades + self.desk.entries_of_others,
            take_profits_today=day.take_profits,
            consecutive_losses=day.consecutive_losses,
            last_exit_ns=day.last_exit_ns,
            last_replacement_ns=day.last_replacement_ns,
            unsettled_usd=day.proceeds,
            day_trades_5d=self._day_trades(),
            symbols=symbol_facts(candidates, day, self.known, vitals.news_of, run.open_ns, blocked),
            kill_switch=self.kill_level(),
            stream_connected=vitals.stream_connected,
            unresolved_order=(
                selectors.has_unresolved_order(run)
                or any(trade.quarantined or trade.state == T.HELD_OVERNIGHT for trade in active)
            ),
            doubt=vitals.doubt,
            unprotected=any(trade.state in (T.UNPROTECTED, T.PARTIAL) for trade in active),
            mixed_versions=any(r.params_version != self.params_version for r in reports),
            market_halted=self._market_halted(reports),
            feed_has_luld=any(c.luld_up for c in candidates),
            relay_lag_ms=vitals.relay_lag_ms,
            clock_skew_ms=vitals.clock_skew_ms,
            api_calls_left=vitals.api_calls_left,
            gravity=_summed(reports),
            index=self._index_states(),
            futures=trend.parts,
            futures_as_of_ns=trend.as_of_ns,
        )

    def _market_halted(self, reports: Sequence[Report]) -> bool:
        """Is the whole market halted? Then people say when entries go on; brackets stay."""
        halted = any("market_halt" in report.flags for report in reports)
        if halted and runs.pause_entries(reason="the whole market is halted", actor="hub"):
            self.desk.note("kill", "the whole market is halted: entries paused", level="alarm")
        return halted

    def _day_trades(self) -> int:
        """Count them only when the old rule is to be respected."""
        if self.parameters["day_trade_policy"] != "legacy_pdt_guard":
            return 0
        run = self.desk.run
        return selectors.day_trades(run.account_number, runs.day_of(run))

    def _blocked(self, reports: Sequence[Report], vitals: Vitals) -> dict[str, str]:
        """Return why a candidate's own shard is no ground to stand on, by symbol."""
        most = float(self.parameters["max_relay_lag_ms"])
        found: dict[str, str] = {}
        lockstep = self.desk.run.lockstep
        for report in reports:
            why = ""
            if report.feed_lag_ms > most and not lockstep:
                why = f"shard {report.shard} is {report.feed_lag_ms:.0f} ms behind the market"
            if report.assignment in vitals.disputed:
                why = "two shards claim its letters"
            found |= {c.symbol: why for c in report.candidates if why}
        return found

    def _account_now(self, wanted: bool) -> AccountSnapshot | None:
        """Read the account when somebody may fire; without an answer there are no entries."""
        if wanted:
            try:
                self._account = self.desk.broker.account()
                self._account_ns = self.desk.now_ns()
            except BrokerError as exc:
                self.desk.note("round", f"no account data: {exc}", level="warning")
                self._account = None
        return self._account

    def _loss_latched(self, pnl: Decimal | None, account: AccountSnapshot | None) -> bool:
        """Latch the day's loss limit: it does not open again when an open loss recovers."""
        run = self.desk.run
        if run.latches.get("daily_loss"):
            return True
        if pnl is None or account is None:
            return False
        limit = account.last_equity * Decimal(str(self.parameters["max_daily_loss_percent"])) / 100
        if pnl > -limit:
            return False
        run.latches = {**run.latches, "daily_loss": True}
        Run.objects.filter(pk=run.pk).update(latches=run.latches)
        self.desk.note("round", f"daily loss limit: {pnl:.2f} USD", level="alarm")
        return True

    def _index_states(self) -> dict[str, IndexState]:
        return {
            symbol: IndexState(
                symbol=symbol,
                as_of_ns=series.as_of_ns,
                last_k=series.last_k,
                return_5m_percent=series.return_percent(60),
                sigma_5m_percent=series.sigma_5m_percent(),
                closes=tuple(series.closes),
            )
            for symbol, series in sorted(self.index.series.items())
            if series.closes and symbol in INDEX_WEIGHTS
        }


def bounded(candidates: list[Candidate]) -> list[Candidate]:
    """Return a crowd without the windows of its weaker members: its row must fit a database.

    Which keep theirs depends on the candidates alone, not on who reported them.
    """
    if len(candidates) <= WINDOWS_MAX:
        return candidates
    strongest = heapq.nsmallest(WINDOWS_MAX, candidates, key=_strength)
    kept = {c.candidate_id for c in strongest}
    return [
        c if c.candidate_id in kept else msgspec.structs.replace(c, window={}) for c in candidates
    ]


def _strength(c: Candidate) -> tuple[float, str, str]:
    return -c.z if math.isfinite(c.z) else math.inf, c.symbol, c.candidate_id


def _reserved(run: Run) -> Decimal:
    waiting = Order.objects.filter(run=run, purpose="e").filter(
        Q(status=OrderStatus.INTENT) | Q(status=OrderStatus.SENDING)
    )
    return sum((o.quantity * (o.limit or o.trade.limit) for o in waiting), Decimal(0))


def _summed(reports: Sequence[Report]) -> Gravity:
    return Gravity(
        n=sum(r.gravity.n for r in reports),
        n_up2=sum(r.gravity.n_up2 for r in reports),
        w=sum(r.gravity.w for r in reports),
        w_up2=sum(r.gravity.w_up2 for r in reports),
    )
