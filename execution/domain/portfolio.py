"""How much, beside what is open: P1 to P7, with the entries already taken in this round.

P2 to P6 hold only when concurrent trading is on. Source: design, trigger 5.3 and 5.8.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from execution.domain.bracket import HUNDRED
from execution.domain.gates import compare, start_equity, state, unknown
from execution.domain.prices import exact
from execution.domain.rounds import Exposure, GateResult, RoundInput
from execution.domain.setup import Setup, available_usd
from execution.domain.sizing import fitted

COST_FACTOR = Decimal("1.01")  # of the limit, so that a small slip does not overdraw
MIN_COMMON_MINUTES = 30
OF_POSITIONS = ("P1", "P2", "P3", "P4", "P5", "P6")
ALONE = OF_POSITIONS[1:]  # nothing to ask with one position at a time


@dataclass(frozen=True, kw_only=True)
class Place:
    """What the portfolio leaves for a setup: the gates, and the quantity that fits."""

    gates: tuple[GateResult, ...]
    quantity: int


def slots(p: Mapping[str, Any]) -> int:
    """Return how many positions may be open at once."""
    return int(p["max_concurrent_positions"]) if p["concurrent_trading"] else 1


class Portfolio:
    """P1 to P7 beside what was open when the round began: what candidates share is asked once."""

    def __init__(self, r: RoundInput, p: Mapping[str, Any]) -> None:
        self._round, self._parameters = r, p
        self._alone: tuple[GateResult, ...] = ()
        if r.exposures is not None and not p["concurrent_trading"]:
            self._alone = (_slot(r.exposures, p), *_ALONE)
        self._have = available_usd(r, p)

    def place(self, s: Setup) -> Place:
        """Return `place` with nobody before it."""
        if not self._alone:
            return place(s, self._round, self._parameters)
        quantity = s.quantity
        power = _power(s, self._round, self._parameters, self._have, quantity)
        return Place(gates=(*self._alone, power), quantity=quantity)


def place(s: Setup, r: RoundInput, p: Mapping[str, Any], taken: Sequence[Exposure] = ()) -> Place:
    """Return P1 to P7; `taken` are the entries of this round with a better rank."""
    quantity = s.quantity
    if r.exposures is None:
        unasked = [unknown(gate_id, "The open positions are unknown.") for gate_id in OF_POSITIONS]
        power = _buying_power(s, r, p, taken, quantity)
        return Place(gates=(*unasked, power), quantity=quantity)
    busy = (*r.exposures, *taken)
    risk, quantity = _risk(s, r, p, busy, quantity)
    gates = (
        _slot(busy, p),
        _exposure(s, r, p, busy, quantity),
        risk,
        _letter(s, p, busy),
        _sector(s, p, busy),
        _correlation(s, p, busy),
        _buying_power(s, r, p, taken, quantity),
    )
    return Place(gates=gates, quantity=quantity)


def _slot(busy: Sequence[Exposure], p: Mapping[str, Any]) -> GateResult:
    names, n = ", ".join(sorted({e.symbol for e in busy})), slots(p)
    text = f"{n - len(busy)} of {n} slots are free." if n > 1 else "Your slot is free."
    if len(busy) >= n:
        which = "Your only slot is" if n == 1 else f"Your {n} slots are"
        text = f"{which} busy with {names}."
    return compare("P1", len(busy), "<", n, text)


def _alone(gate_id: str) -> GateResult:
    return state(gate_id, True, "Not asked: one position at a time.", "")


_ALONE = tuple(_alone(gate_id) for gate_id in ALONE)


def _exposure(
    s: Setup, r: RoundInput, p: Mapping[str, Any], busy: Sequence[Exposure], quantity: int
) -> GateResult:
    equity = start_equity(r)
    if not p["concurrent_trading"]:
        return _alone("P2")
    if equity <= 0:
        return unknown("P2", "Equity is unknown.")
    total = sum((e.quantity * e.entry for e in busy), quantity * s.bracket.limit)
    percent, most = HUNDRED * total / equity, p["max_total_exposure_percent"]
    text = f"All positions would be {percent:.1f} % of equity; your limit is {most:.1f} %."
    return compare("P2", percent, "<=", most, text)


def _risk(
    s: Setup, r: RoundInput, p: Mapping[str, Any], busy: Sequence[Exposure], quantity: int
) -> tuple[GateResult, int]:
    """P3, and the quantity cut to what the open risk leaves."""
    equity = start_equity(r)
    if not p["concurrent_trading"]:
        return _alone("P3"), quantity
    if equity <= 0 or s.geometry:
        return unknown("P3", "The open risk is unknown."), quantity
    open_risk = sum((e.quantity * max(e.entry - e.stop, Decimal(0)) for e in busy), Decimal(0))
    most = p["max_open_risk_percent"]
    left = exact(most) * equity / HUNDRED - open_risk
    cut = fitted(quantity, s.bracket.risk, left)
    planned = cut if cut > 0 else quantity
    percent = HUNDRED * (open_risk + planned * s.bracket.risk) / equity
    text = f"All planned losses would be {percent:.2f} % of equity; your limit is {most:.2f} %."
    if 0 < cut < quantity:
        text = f"Cut from {quantity} to {cut} shares. {text}"
    return compare("P3", percent, "<=", most, text), planned


def _letter(s: Setup, p: Mapping[str, Any], busy: Sequence[Exposure]) -> GateResult:
    if not p["concurrent_trading"]:
        return _alone("P4")
    letter, most = s.candidate.symbol[:1], p["max_per_letter"]
    count = sum(e.symbol[:1] == letter for e in busy)
    text = f"{count} open positions begin with {letter}; your limit is {most}."
    return compare("P4", count, "<", most, text)


def _sector(s: Setup, p: Mapping[str, Any], busy: Sequence[Exposure]) -> GateResult:
    if not p["concurrent_trading"]:
        return _alone("P5")
    sector, most = s.facts.sector, p["max_per_sector"]
    if sector is None:
        return unknown("P5", "The sector is unknown; that lets it pass.", open=True)
    count = sum(e.sector == sector for e in busy)
    text = f"{count} open positions are in {sector}; your limit is {most}."
    return compare("P5", count, "<", most, text)


def _correlation(s: Setup, p: Mapping[str, Any], busy: Sequence[Exposure]) -> GateResult:
    if not p["concurrent_trading"]:
        return _alone("P6")
    if not busy:
        return state("P6", True, "No other position is open.", "")
    most = p["max_pair_correlation"]
    pairs = [(_pair_correlation(s, e), e.symbol) for e in busy]
    highest, symbol = max(pairs)
    text = f"Correlation with {symbol} is {highest:.2f}; your limit is {most:.2f}."
    return compare("P6", highest, "<=", most, text)


def _pair_correlation(s: Setup, e: Exposure) -> float:
    """An unknown correlation is 1 within a sector, else 0."""
    known = correlation(s.candidate.returns_1m_bps, e.returns_1m_bps)
    if known is not None:
        return known
    return 1.0 if e.sector is not None and e.sector == s.facts.sector else 0.0


def correlation(a: Sequence[float], b: Sequence[float]) -> float | None:
    """Return the correlation of the newest common minutes; None with fewer than 30 of them."""
    n = min(len(a), len(b))
    if n < MIN_COMMON_MINUTES:
        return None
    left, right = a[-n:], b[-n:]
    mean_l, mean_r = sum(left) / n, sum(right) / n
    cov = sum((x - mean_l) * (y - mean_r) for x, y in zip(left, right, strict=True))
    var = sum((x - mean_l) ** 2 for x in left) * sum((y - mean_r) ** 2 for y in right)
    return cov / math.sqrt(var) if var > 0 else None


def _buying_power(
    s: Setup, r: RoundInput, p: Mapping[str, Any], taken: Sequence[Exposure], quantity: int
) -> GateResult:
    spent = sum((COST_FACTOR * e.quantity * e.entry for e in taken), Decimal(0))
    return _power(s, r, p, available_usd(r, p) - spent, quantity)


def _power(
    s: Setup, r: RoundInput, p: Mapping[str, Any], have: Decimal, quantity: int
) -> GateResult:
    if r.account is None:
        return unknown("P7", "Buying power is unknown.")
    need = COST_FACTOR * quantity * s.bracket.limit
    what = "buying power" if p["use_margin"] else "cash"
    return compare(
        "P7",
        have - need,
        ">=",
        0,
        f"{need:.2f} USD are needed, {have:.2f} USD of {what} are free.",
    )
