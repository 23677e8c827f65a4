"""What a round is told of the account's busy slots and of each candidate's symbol."""

from collections.abc import Callable, Iterable, Mapping, Sequence

from execution import selectors
from execution.domain.gates import MINUTE_NS
from execution.domain.rounds import Exposure, OpenPosition, SymbolFacts
from execution.domain.software_exits import progress_r
from execution.domain.universe import relative_volume, split_suspected
from execution.hub.software import held_of, price_of
from execution.models import Trade
from execution.services.moves import TradeState as T
from execution.services.universe import Known
from signals.messages import Candidate, Mark, Report
from signals.session import BUCKET_NS

NO_FACTS = SymbolFacts()


def marks_of(reports: Iterable[Report]) -> dict[str, Mark]:
    """Return the newest mark of each symbol with a watched position."""
    marks = sorted((m for r in reports for m in r.marks), key=lambda mark: mark.k)
    return {mark.symbol: mark for mark in marks}


def exposures_of(
    active: Sequence[Trade],
    marks: Mapping[str, Mark],
    candidates: Iterable[Candidate],
    known: Known,
) -> tuple[Exposure, ...]:
    """Return every busy slot; the returns of one that no shard watches yet are its candidate's."""
    returns = {c.symbol: tuple(c.returns_1m_bps) for c in candidates}
    returns.update({symbol: tuple(mark.returns_1m_bps) for symbol, mark in marks.items()})
    return tuple(
        Exposure(
            symbol=trade.symbol,
            quantity=abs(trade.held) or trade.quantity,
            entry=trade.entry_value / trade.filled_quantity
            if trade.filled_quantity
            else trade.limit,
            stop=trade.stop_loss,
            sector=known.facts.get(trade.symbol, NO_FACTS).sector,
            returns_1m_bps=returns.get(trade.symbol, ()),
            position=_position(trade, marks.get(trade.symbol)),
        )
        for trade in active
    )


def _position(trade: Trade, mark: Mark | None) -> OpenPosition | None:
    """Return what the replacement rule asks; only a protected position can make room."""
    if trade.state != T.OPEN_PROTECTED or trade.leave_why or trade.held <= 0:
        return None
    halted = mark is not None and mark.halted
    stands = progress_r(held_of(trade, None if mark is None or halted else price_of(mark)))
    return OpenPosition(
        opened_ns=trade.opened_ns or trade.reserved_ns,
        score=trade.score,
        progress_r=None if stands is None else float(stands),
        round_trip_bps=float(trade.exit_parameters["plan"].get("round_trip_bps") or 0.0),
    )


def symbol_facts(
    candidates: Iterable[Candidate],
    day: selectors.TradingDayFacts,
    known: Known,
    news_of: Callable[[str], bool | None],
    open_ns: int,
    shaky: Mapping[str, str],
) -> dict[str, SymbolFacts]:
    """Return what is known of each candidate's symbol today.

    Args: shaky: why a symbol's own shard is no ground to stand on now.
    """
    found = {}
    for c in candidates:
        base = known.facts.get(c.symbol, NO_FACTS)
        minutes = ((c.k + 1) * BUCKET_NS - open_ns) / MINUTE_NS
        split = split_suspected(known.prev_close.get(c.symbol), c.session.open)
        curve = None if split else known.volume_curve.get(c.symbol)  # in shares of before it
        found[c.symbol] = SymbolFacts(
            trades_today=day.trades_of.get(c.symbol, 0),
            last_exit_ns=day.last_exit_of.get(c.symbol),
            last_resume_ns=c.resumed_ts_ns,
            pauses_today=c.pauses_today,
            blocked=split or shaky.get(c.symbol, ""),
            sector=base.sector,
            beta=base.beta,
            rvol=relative_volume(c.session.cum_volume, curve, minutes),
            has_news=news_of(c.symbol),
        )
    return found
