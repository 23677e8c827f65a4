"""The decision of a person about a position that slept."""

from execution.models import OvernightReview, Trade
from execution.services.moves import TradeState as T

DECISIONS = ("keep", "sell")


def review(*, trade_id: int, decision: str, reason: str, actor: str) -> OvernightReview:
    """Record what becomes of a held position; the hub acts on it when the market is open.

    Raises:
        Trade.DoesNotExist: no such trade.
        ValueError: it did not sleep, an unknown decision, or no reason.
    """
    trade = Trade.objects.get(pk=trade_id)
    if trade.state != T.HELD_OVERNIGHT:
        raise ValueError(f"{trade.symbol} is {trade.state}, not held overnight")
    if decision not in DECISIONS:
        raise ValueError(f"no such decision: {decision} (there are {', '.join(DECISIONS)})")
    if not reason.strip():
        raise ValueError("a review needs a reason")
    return OvernightReview.objects.create(
        trade=trade, decision=decision, reason=reason[:200], actor=actor[:80]
    )
