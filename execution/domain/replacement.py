"""May a much better candidate push the weakest open position out? Only when `replace_weaker` is on.

The position is sold first; the candidate enters in a later round, when the sale is confirmed and it
still passes everything. Source: design, trigger 5.8.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from execution.domain.gates import MINUTE_NS
from execution.domain.portfolio import place
from execution.domain.rounds import Exposure, OpenPosition, Replacement, RoundInput
from execution.domain.setup import Setup

MIN_AGE_NS = 10 * MINUTE_NS
PAUSE_NS = 60 * MINUTE_NS
STANDSTILL_R = 0.25  # between −.25 and +.25 R: neither a loser to sit out nor a winner to cut
BETTER_BY = 15.0  # points of score
MAX_COST_SHARE = 0.10  # of the new target


def replacement(
    s: Setup, r: RoundInput, p: Mapping[str, Any], taken: Sequence[Exposure]
) -> Replacement | None:
    """Return what the candidate would replace; None when the rule does not allow it.

    Args:
        s: a candidate whose only fault is that every slot is busy.
        taken: entries of this round with a better rank.
    """
    if not (p["replace_weaker"] and p["concurrent_trading"]) or _too_soon(r):
        return None
    mine = r.exposures or ()
    open_now = [(e.position.score, e.symbol, e) for e in mine if e.position is not None]
    if not open_now:
        return None
    weakest = min(open_now, key=lambda one: one[:2])[2]
    position = weakest.position
    if position is None or not _may_go(position, s, r):
        return None
    others = tuple(e for e in mine if e.symbol != weakest.symbol)
    if not all(gate.open for gate in place(s, replace(r, exposures=others), p, taken).gates):
        return None
    return Replacement(
        leaves=weakest.symbol,
        enters=s.candidate.symbol,
        candidate_id=s.candidate.candidate_id,
        text=f"{weakest.symbol} makes room: entered with {position.score:.1f}, it stands at "
        f"{position.progress_r:+.2f} R; {s.candidate.symbol} scores {s.score.final:.1f}.",
    )


def _too_soon(r: RoundInput) -> bool:
    last_ns = r.last_replacement_ns
    return last_ns is not None and r.bucket_end_ns - last_ns < PAUSE_NS


def _may_go(position: OpenPosition, s: Setup, r: RoundInput) -> bool:
    """Old enough, going nowhere, much weaker, and cheap to leave; the unknown stays."""
    stands = position.progress_r
    return (
        r.bucket_end_ns - position.opened_ns >= MIN_AGE_NS
        and stands is not None
        and abs(stands) <= STANDSTILL_R
        and s.score.final >= position.score + BETTER_BY
        and position.round_trip_bps < MAX_COST_SHARE * s.bracket.take_profit_bps
    )
