"""Exit signals of the shards: stored, validated by the domain, acted on — or, nearly always,
found to be done already by the venue's own legs.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal

import msgspec
from django.db.models import Min, QuerySet

from execution.brokers.port import BrokerError
from execution.domain.exits import (
    ExitContext,
    ExitOutcome,
    ExitVerdict,
    is_eligible,
    validate_exit,
)
from execution.hub import exits
from execution.hub.trader import Trader
from execution.models import ExitSignalRecord, Trade
from execution.services.moves import TradeState as T
from signals.messages import ExitSignal, Mark, Quote

FINAL = (ExitOutcome.CONFIRMED_BY_BROKER, ExitOutcome.ACTED, ExitOutcome.REJECTED)
TRIES_MAX = 20


@dataclass(kw_only=True)
class ExitDesk:
    """Args: what the hub knows besides the signal.

    epoch_of: the newest life of a shard, None when unknown; quote_of: the newest quote of a symbol;
    marks: the newest closed bucket of each watched symbol.
    """

    trader: Trader
    epoch_of: Callable[[int], int | None] = lambda shard: None
    quote_of: Callable[[str], Quote | None] = lambda symbol: None
    marks: Mapping[str, Mark] = field(default_factory=dict)
    _wake_ns: int | None = None
    _read: bool = False  # `_wake_ns` is what the rows say

    def receive(self, signal: ExitSignal) -> None:
        """Store a signal once, then look at it; a copy is counted by the database and ignored."""
        trade = self._trade(signal)
        record, new = ExitSignalRecord.objects.get_or_create(
            run=self.trader.desk.run,
            signal_id=signal.signal_id,
            defaults={
                "trade": trade,
                "symbol": signal.symbol,
                "kind": signal.kind,
                "ts_ns": signal.ts_ns,
                "body": msgspec.to_builtins(signal),
            },
        )
        if new:
            self._judge(record, signal)

    def retry_due(self) -> bool:
        """Look again at the deferred signals whose time has come; False when there were none."""
        at_ns, now_ns = self.wake_ns(), self.trader.desk.now_ns()
        if at_ns is None or at_ns > now_ns:
            return False
        due = self._deferred().filter(retry_at_ns__lte=now_ns)
        for record in due.order_by("ts_ns", "symbol", "signal_id"):
            self._judge(record, msgspec.convert(record.body, ExitSignal))
        return True

    def wake_ns(self) -> int | None:
        """Return when the next deferred signal is due; nobody else writes these rows."""
        if not self._read:
            self._wake_ns = self._deferred().aggregate(due=Min("retry_at_ns"))["due"]
            self._read = True
        return self._wake_ns

    def _deferred(self) -> QuerySet[ExitSignalRecord]:
        return ExitSignalRecord.objects.filter(run=self.trader.desk.run, retry_at_ns__isnull=False)

    def _judge(self, record: ExitSignalRecord, signal: ExitSignal) -> None:
        trade = self._trade(signal)
        verdict = self._verdict(record, signal, trade)
        record.outcome, record.reason = verdict.outcome, verdict.reason[:120]
        record.checks = [dict(check) for check in verdict.checks]
        record.tries += 1
        deferred = verdict.outcome is ExitOutcome.DEFERRED and record.tries < TRIES_MAX
        record.retry_at_ns = self._retry_ns(verdict) if deferred else None
        self._read = False
        record.save()
        if verdict.outcome is ExitOutcome.ACTED and trade is not None:
            self._act(signal, trade)

    def _retry_ns(self, verdict: ExitVerdict) -> int | None:
        at_ns = verdict.retry_at_ns
        return None if at_ns is None else at_ns + self.trader.desk.slack_ns()

    def _verdict(
        self, record: ExitSignalRecord, signal: ExitSignal, trade: Trade | None
    ) -> ExitVerdict:
        if trade is None:
            return ExitVerdict(
                outcome=ExitOutcome.REJECTED,
                reason="unknown_position",
                retry_at_ns=None,
                checks=(),
            )
        return validate_exit(signal, self._context(record, signal, trade), trade.exit_parameters)

    def _context(self, record: ExitSignalRecord, signal: ExitSignal, trade: Trade) -> ExitContext:
        desk = self.trader.desk
        quantity: int | None = None
        if trade.state in (T.OPEN_PROTECTED, T.UNPROTECTED, T.PARTIAL):
            try:
                held = desk.position(trade.symbol)
                quantity = int(held.quantity) if held is not None else 0
            except BrokerError:
                quantity = None
        mark = self.marks.get(trade.symbol)
        exits_of = trade.orders.filter(purpose__in=("tp", "sl", "o"))
        return ExitContext(
            now_ns=max(signal.ts_ns, desk.now_ns() - desk.slack_ns()),
            seen=record.tries > 0 and record.outcome in FINAL,
            newest=signal.epoch >= (self.epoch_of(signal.shard) or signal.epoch),
            position_version=signal.position_version if self._same_bracket(signal, trade) else -1,
            state=T(trade.state),
            broker_quantity=quantity,
            broker_as_of_ns=desk.now_ns(),
            leg_filled=any(o.filled_quantity >= o.quantity > 0 for o in exits_of),
            leg_partially_filled=any(0 < o.filled_quantity < o.quantity for o in exits_of),
            entry_fill_ns=trade.opened_ns or 0,
            print_eligible=is_eligible(
                signal.conditions,
                odd_lots_in_price=bool(trade.exit_parameters.get("include_odd_lots_in_price")),
            ),
            print_canceled=mark is not None and signal.trade_id in mark.revised,
            quote=self._newest_quote(signal, mark),
            halted=mark is not None and mark.halted,
            exit_mode=str(trade.exit_parameters.get("exit_mode", "broker_bracket")),
            tries=record.tries,
        )

    def _newest_quote(self, signal: ExitSignal, mark: Mark | None) -> Quote | None:
        """Return the newest of what the signal, the bucket and the hub itself saw."""
        known = (_quote(signal), None if mark is None else mark.quote, self.quote_of(signal.symbol))
        return max((q for q in known if q is not None), key=lambda q: q.ts_ns, default=None)

    def _same_bracket(self, signal: ExitSignal, trade: Trade) -> bool:
        """A closed trade has one version more than its shard was told; its signal still counts."""
        closed = trade.state == T.CLOSED
        return signal.position_version in (trade.version, trade.version - closed)

    def _act(self, signal: ExitSignal, trade: Trade) -> None:
        desk = self.trader.desk
        desk.note_trade(
            trade,
            "exit",
            f"the venue's {signal.kind} has not acted at {signal.price}",
            level="alarm" if signal.kind == "stop" else "warning",
            price=signal.price,
        )
        if signal.bid:
            desk.signal_bids[trade.symbol] = Decimal(str(signal.bid))
        exits.leave(desk, trade, signal.kind)
        desk.signal_bids.pop(trade.symbol, None)
        self.trader.busy = True

    def _trade(self, signal: ExitSignal) -> Trade | None:
        run_id, _, pk = signal.position_id.rpartition(":")
        if run_id != self.trader.desk.run.pk or not pk.isdigit():
            return None
        return Trade.objects.filter(run_id=run_id, pk=int(pk)).first()


def _quote(signal: ExitSignal) -> Quote | None:
    if not signal.bid or not signal.ask or signal.quote_ts_ns is None:
        return None
    return Quote(bid=signal.bid, ask=signal.ask, bid_size=0, ask_size=0, ts_ns=signal.quote_ts_ns)
