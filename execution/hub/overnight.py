"""A position that had to sleep: behind its stop, and nothing is bought until a person has decided.

The decision counts in the next session: sell it, or keep it as an open position of that day, which
the evening's ladder leaves like any other. (Design: trigger 6.4 "HELD_OVERNIGHT".)
"""

from execution.hub import exits
from execution.hub.desk import SECOND, Desk
from execution.models import Trade
from execution.services import trades
from execution.services.moves import TradeEvent as V
from execution.services.moves import TradeState as T

WHY = "review"
ASK_NS = 2 * SECOND  # how soon a review of the day is seen


def look_after(desk: Desk, trade: Trade) -> Trade:
    """Do what was decided, once the market is open; without a decision the position stays."""
    run, now = desk.run, desk.now_ns()
    if not run.open_ns <= now < run.close_ns or now < (trade.exit_due_ns or 0):
        return trade
    review = trade.reviews.first()
    if review is None:
        return trade
    text = f"{review.decision} after the night: {review.reason}"
    desk.note_trade(trade, "exit", text, decision=review.decision)
    if review.decision == "keep":
        # A new version: its shard has to watch it again.
        version = trade.version + 1
        return trades.change(trade, V.PROTECT, exit_why="", exit_due_ns=None, version=version)
    return exits.begin(desk, trade, WHY)


def wake_ns(desk: Desk, trade: Trade) -> int | None:
    """Return when time alone asks for a look: the open, then every moment, for the decision."""
    run, now = desk.run, desk.now_ns()
    if trade.state != T.HELD_OVERNIGHT or now >= run.close_ns:
        return None
    return max(run.open_ns, trade.exit_due_ns or 0, now + ASK_NS)
