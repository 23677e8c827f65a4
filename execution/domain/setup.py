"""One candidate made ready for its gates: checked numbers, bracket, size, checks, score."""

import math
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import msgspec

from execution.domain.bracket import Bracket, bracket, geometry_problem, reach_probability
from execution.domain.gates import MINUTE_NS, SECOND_NS, start_equity
from execution.domain.prices import decimal_of
from execution.domain.rounds import GateResult, RoundInput, SymbolFacts
from execution.domain.score import Score, score
from execution.domain.sizing import Budget, Sizing, budget_of, sized
from signals.confidence.check import Check, composite
from signals.confidence.futures import TrendPart, check_futures
from signals.confidence.gravity import INDEX_WEIGHTS, Burst, Tide, check_gravity, tide_of
from signals.confidence.spread import check_spread, spread_bps
from signals.confidence.vwap import check_vwap
from signals.messages import Candidate, Quote

NO_FACTS = SymbolFacts()
CHECKS = ("gravity", "futures", "spread", "vwap")
_POSITIVE = ("close", "base_close", "slow_mean", "sigma5_bps", "sigma1m_bps")
_FINITE = ("x", "z", "accel", "surge", "cum_dollars", "dollar_volume_1m", "synthetic_share")
_COUNTS = ("cum_volume", "burst_trades", "volume_1m", "volume_5m", "flat_len")


def bad_input(c: Candidate) -> str:
    """Return which number of the candidate cannot be; "" when all can."""
    for name in _POSITIVE:
        value = getattr(c, name)
        if not (math.isfinite(value) and value > 0):
            return f"{name} is {value}"
    for name in _FINITE:
        if not math.isfinite(getattr(c, name)):
            return f"{name} is {getattr(c, name)}"
    for name in _COUNTS:
        if getattr(c, name) < 0:
            return f"{name} is {getattr(c, name)}"
    if not is_contiguous(c):
        return "its window of buckets has a gap"
    loose = [c.luld_up, c.luld_down, c.session.vwap, c.session.vwap_5min_ago, c.session.vwap_sd]
    if c.quote is not None:
        loose += [c.quote.bid, c.quote.ask, c.quote.median_spread_bps_60s]
    for value in loose:
        if value is not None and not (math.isfinite(value) and value >= 0):
            return f"a quote, band or average is {value}"
    return ""


def is_contiguous(c: Candidate) -> bool:
    """Does the window end at k, with a value of every bucket in every column?"""
    if not c.window:
        return True
    lengths = {len(column) for name, column in c.window.items() if name != "k0"}
    first = c.window.get("k0", [])
    return len(lengths) == 1 and len(first) == 1 and first[0] + max(lengths) - 1 == c.k


class Setup(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What a candidate would be as a trade, before anyone asks whether it may."""

    candidate: Candidate
    facts: SymbolFacts
    quote: Quote | None
    ask: float  # of the quote, else the close
    bracket: Bracket
    geometry: str
    sizing: Sizing | None
    reach: float
    minutes: float
    checks: dict[str, Check]
    confidence: float
    score: Score

    @property
    def spread(self) -> float:
        """Quoted spread in bps; infinite without a two-sided quote."""
        q = self.quote
        return spread_bps(q.bid, q.ask) if q is not None and q.bid > 0 else math.inf

    @property
    def quantity(self) -> int:
        return 0 if self.sizing is None else self.sizing.quantity


class Draft(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A candidate half decided: everything but its place among the others."""

    setup: Setup
    gates: tuple[GateResult, ...]  # G, S, C, score, confirm
    streak: int
    ready: bool


def holding_minutes(r: RoundInput, p: Mapping[str, Any]) -> float:
    """Return how long the target may take: to the flatten time, or the time stop if sooner."""
    flatten_ns = r.close_ns - p["flatten_min_before_close"] * MINUTE_NS
    left: float = max(0.0, (flatten_ns - r.bucket_end_ns) / MINUTE_NS)
    hold: float = p["max_hold_minutes"]
    return min(left, hold) if hold > 0 else left


def available_usd(r: RoundInput, p: Mapping[str, Any]) -> Decimal:
    """Return what entries may cost: buying power, or cash without margin, less reservations.

    With day_trade_policy cash only what is settled counts: not the proceeds of today's sales.
    """
    if r.account is None:
        return Decimal(0)
    power = r.account.buying_power
    if p["day_trade_policy"] == "cash":
        power = min(power, r.account.cash - r.unsettled_usd)
    elif not p["use_margin"]:
        power = min(power, r.account.cash)
    return max(Decimal(0), power - r.reserved_usd)


class Common(msgspec.Struct, frozen=True, kw_only=True):
    """What is the same for every candidate of a round: computed once, not thousands of times."""

    budget: Budget
    minutes: float
    futures: Check
    tide: Tide
    quote_time_ns: int
    weights: dict[str, float]


def common_of(r: RoundInput, p: Mapping[str, Any]) -> Common:
    """Return what the candidates of a round share."""
    trend = [TrendPart(f.weight, f.sign, f.ema_gap_bps, f.scale_bps, f.ret15_z) for f in r.futures]
    return Common(
        budget=budget_of(start_equity(r), available_usd(r, p), p),
        minutes=holding_minutes(r, p),
        futures=check_futures(
            parts=trend,
            parts_as_of_ns=r.futures_as_of_ns,
            as_of_ns=r.bucket_end_ns,
            parameters=p,
        ),
        tide=_tide(r, p),
        quote_time_ns=r.bucket_end_ns + p["lateness_grace_ms"] * SECOND_NS // 1000,
        weights={name: p[f"conf_weight_{name}"] for name in CHECKS},
    )


def _tide(r: RoundInput, p: Mapping[str, Any]) -> Tide:
    present = [r.index[symbol] for symbol in INDEX_WEIGHTS if symbol in r.index]
    return tide_of(
        total=r.gravity,
        coverage=r.n_symbols / r.n_expected if r.n_expected > 0 else 0.0,
        index={
            state.symbol: (state.return_5m_percent, state.sigma_5m_percent)
            for state in present
            if state.return_5m_percent is not None and state.sigma_5m_percent is not None
        },
        index_as_of_ns=min((state.as_of_ns for state in present), default=None),
        as_of_ns=r.bucket_end_ns,
        parameters=p,
    )


def set_up(c: Candidate, r: RoundInput, p: Mapping[str, Any], common: Common) -> Setup:
    """Return the candidate's setup; its numbers must have passed `bad_input`."""
    quote = c.quote
    ask = quote.ask if quote is not None and quote.ask > 0 else c.close
    plan = bracket(
        ask=decimal_of(ask),
        signal=decimal_of(c.close),
        sigma1m_bps=c.sigma1m_bps,
        luld_up=None if c.luld_up is None else decimal_of(c.luld_up),
        parameters=p,
    )
    geometry = geometry_problem(plan.limit, plan.take_profit, plan.stop_loss)
    sizing = None if geometry else _sized(c, plan, common)
    minutes = common.minutes
    checks = _checks(c, r, p, common, ask, plan, 0 if sizing is None else sizing.quantity)
    confidence = composite(checks, common.weights)
    reach = reach_probability(plan.take_profit_bps, c.sigma1m_bps, minutes)
    cost = checks["spread"].inputs.get("cost_to_target")
    return Setup(
        candidate=c,
        facts=r.symbols.get(c.symbol, NO_FACTS),
        quote=quote,
        ask=ask,
        bracket=plan,
        geometry=geometry,
        sizing=sizing,
        reach=reach,
        minutes=minutes,
        checks=checks,
        confidence=confidence,
        score=score(
            z=c.z,
            accel=acceleration(c, p),
            surge=c.surge,
            reach=reach,
            confidence=confidence,
            cost_to_target=cost if isinstance(cost, float) else None,
            parameters=p,
        ),
    )


def acceleration(c: Candidate, p: Mapping[str, Any]) -> float:
    """Return what `ao_accel_rate` is compared with: the slope, or the ratio to the former value."""
    if p["ao_accel_mode"] == "slope":
        return c.accel
    lookback: int = p["ao_accel_lookback"]
    return c.x / max(c.x - lookback * c.accel, 1.0)


def _sized(c: Candidate, plan: Bracket, common: Common) -> Sizing:
    ask_size = None if c.quote is None else c.quote.ask_size
    return sized(common.budget, plan.limit, plan.stop_loss, c.volume_5m, ask_size)


def _checks(
    c: Candidate,
    r: RoundInput,
    p: Mapping[str, Any],
    common: Common,
    ask: float,
    plan: Bracket,
    quantity: int,
) -> dict[str, Check]:
    return {
        "gravity": check_gravity(common.tide, _burst(c, r)),
        "futures": common.futures,
        "spread": check_spread(
            quote=c.quote,
            as_of_ns=common.quote_time_ns,
            quantity=quantity,
            sigma1m_bps=c.sigma1m_bps,
            volume_1m=c.volume_1m,
            take_profit_bps=plan.take_profit_bps,
            parameters=p,
        ),
        "vwap": check_vwap(
            session=c.session,
            price=ask,
            open_ns=r.open_ns,
            as_of_ns=r.bucket_end_ns,
            parameters=p,
        ),
    }


def _burst(c: Candidate, r: RoundInput) -> Burst:
    """The move from the bucket before the burst to now, and SPY's over the same buckets."""
    facts, spy = r.symbols.get(c.symbol, NO_FACTS), r.index.get("SPY")
    buckets = c.k - c.b + 1
    spy_percent = None
    if spy is not None and spy.last_k == c.k and len(spy.closes) > buckets:
        spy_percent = 100 * (spy.closes[-1] / spy.closes[-1 - buckets] - 1)
    return Burst(
        return_percent=100 * (c.close / c.base_close - 1),
        beta=1.0 if facts.beta is None else facts.beta,
        spy_percent=spy_percent,
    )
