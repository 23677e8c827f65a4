"""Every gate on both sides of its threshold, and what it makes of the unknown."""

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import pytest

from execution.domain.decide import decide
from execution.domain.rounds import DecisionRecord, Exposure, FuturesPart, GateResult, SymbolFacts
from signals.messages import Gravity
from tests.unit.domain_builders import (
    CLOSE_NS,
    END_NS,
    OPEN_NS,
    K,
    a_candidate,
    a_quote,
    a_round,
    a_session,
    an_account,
    an_index,
    some_parameters,
)

SECOND = 1_000_000_000
MINUTE = 60 * SECOND
CONCURRENT = {"concurrent_trading": True, "max_trades_per_day": 9}
AN_ID = "2026-11-20-ABCD-x"


@dataclass(frozen=True, kw_only=True)
class Case:
    """One gate in one situation: which answer, and a word of its sentence."""

    gate: str
    passed: bool | None
    word: str
    open: bool | None = None  # None: as passed
    round: dict[str, Any] = field(default_factory=dict)
    candidate: dict[str, Any] = field(default_factory=dict)
    quote: dict[str, Any] | None = field(default_factory=dict)
    parameters: dict[str, Any] = field(default_factory=dict)
    facts: dict[str, Any] | None = field(default_factory=dict)  # None: nothing is known
    doubt: bool = False  # what it asks for is not known; a yes or no comes of it by a rule


def case(gate: str, passed: bool | None, word: str, **rest: Any) -> Case:
    return Case(gate=gate, passed=passed, word=word, **rest)


def record_of(c: Case) -> DecisionRecord:
    quote = None if c.quote is None else a_quote(**c.quote)
    candidate = a_candidate(**{"quote": quote, **c.candidate})
    symbols = {} if c.facts is None else {"ABCD": SymbolFacts(**c.facts)}
    round_ = a_round(candidate, **{"symbols": symbols, **c.round})
    return decide(round_, some_parameters(**c.parameters), {}).records[0]


def gate_of(record: DecisionRecord, gate_id: str) -> GateResult:
    return next(gate for gate in record.gates if gate.id == gate_id)


def at(**clock: int) -> dict[str, Any]:
    """The session such that the round's bucket ends at this many ns from open or to close."""
    if "after_open" in clock:
        return {"open_ns": END_NS - clock["after_open"], "close_ns": CLOSE_NS}
    return {"open_ns": OPEN_NS, "close_ns": END_NS + clock["before_close"]}


def exposure(symbol: str = "OPEN", **changes: Any) -> Exposure:
    base = {"quantity": 100, "entry": Decimal(50), "stop": Decimal(49)}
    return Exposure(symbol=symbol, **{**base, **changes})


def wave(flip: int = 1) -> tuple[float, ...]:
    return tuple(flip * float((-1) ** n) for n in range(30))


CASES = [
    # --- the account and the market
    case("G1", True, "mode is paper"),
    case("G1", False, "is off", parameters={"alpaca_trading_mode": "off"}),
    case("G1", False, "is off", round={"mode": "off"}),
    case("G1", None, "unknown", round={"mode": ""}),
    case("G2", True, "off"),
    case("G2", False, "pause", round={"kill_switch": "pause"}),
    case("G2", None, "unreadable", round={"kill_switch": "unreadable"}),
    case("G3", True, "open for 300 s", round=at(after_open=300 * SECOND)),
    case("G3", False, "open for 300 s", round=at(after_open=300 * SECOND - 1)),
    case("G3", True, "45.0 minutes", round=at(before_close=45 * MINUTE)),
    case("G3", False, "45.0 minutes", round=at(before_close=45 * MINUTE - 1)),
    case("G3", None, "calendar of today is unknown", round={"open_ns": 0, "close_ns": 0}),
    case("G4", True, "90.0 % of the universe", round={"coverage": 0.9}),
    case("G4", False, "90.0 % of the universe", round={"coverage": 0.8999}),
    case("G4", True, "1500 ms late", round={"relay_lag_ms": 1500.0}),
    case("G4", False, "1501 ms late", round={"relay_lag_ms": 1501.0}),
    case("G4", None, "is unknown", round={"relay_lag_ms": None}),
    case("G4", True, "differ by 250 ms", round={"clock_skew_ms": -250.0}),
    case("G4", False, "differ by 251 ms", round={"clock_skew_ms": -251.0}),
    case("G4", None, "is unknown", round={"clock_skew_ms": None}),
    case("G4", False, "different parameter versions", round={"mixed_versions": True}),
    case("G5", True, "10.0 s old", round={"now_ns": END_NS + 10 * SECOND}),
    case("G5", False, "10.0 s old", round={"now_ns": END_NS + 10 * SECOND + 1}),
    case("G5", None, "unknown", round={"account": None}),
    case("G5", False, "status is INACTIVE", round={"account": an_account(status="INACTIVE")}),
    case("G5", False, "blocked", round={"account": an_account(trading_blocked=True)}),
    case("G5", False, "blocked", round={"account": an_account(account_blocked=True)}),
    case("G5", False, "suspended", round={"account": an_account(suspended_by_user=True)}),
    case("G6", True, "connected"),
    case("G6", False, "not connected", round={"stream_connected": False}),
    case("G6", None, "unknown", round={"stream_connected": None}),
    case("G7", True, "-1.50 %", round={"day_pnl": Decimal("-449.99")}),
    case("G7", False, "-1.50 %", round={"day_pnl": Decimal("-450.00")}),
    case("G7", None, "unknown", round={"day_pnl": None}),
    case("G7", None, "unknown", round={"account": None}),
    case("G7", False, "for the day", round={"daily_loss_latched": True}),
    case("G8", True, "2 trades today", round={"trades_today": 2}),
    case("G8", False, "3 trades today", round={"trades_today": 3}),
    case("G8", True, "2 day trades", round={"day_trades_5d": 2, "account": an_account(
         equity=Decimal(24_999))}, parameters={"day_trade_policy": "legacy_pdt_guard"}),
    case("G8", False, "3 day trades", round={"day_trades_5d": 3, "account": an_account(
         equity=Decimal(24_999))}, parameters={"day_trade_policy": "legacy_pdt_guard"}),
    case("G8", True, "0 trades today", round={"day_trades_5d": 3, "account": an_account(
         equity=Decimal(25_000))}, parameters={"day_trade_policy": "legacy_pdt_guard"}),
    case("G8", True, "0 trades today", round={"day_trades_5d": 9, "account": an_account(
         equity=Decimal(100))}),
    case("G8", None, "is unknown", round={"account": None},
         parameters={"day_trade_policy": "legacy_pdt_guard"}),
    case("G8", None, "trades are unknown", round={"trades_today": None}),
    case("G9", True, "0 take-profits"),
    case("G9", None, "trades are unknown", round={"trades_today": None}),
    case("G9", False, "1 take-profits", round={"take_profits_today": 1}),
    case(
        "G9",
        True,
        "do not end",
        round={"take_profits_today": 9},
        parameters={"stop_after_take_profits": 0},
    ),
    case("G10", None, "trades are unknown", round={"trades_today": None}),
    case("G10", True, "1 losses", round={"consecutive_losses": 1}),
    case("G10", False, "2 losses", round={"consecutive_losses": 2}),
    case("G11", True, "No exit"),
    case("G11", None, "trades are unknown", round={"trades_today": None}),
    case("G11", True, "120 s ago", round={"last_exit_ns": END_NS - 120 * SECOND}),
    case("G11", False, "120 s ago", round={"last_exit_ns": END_NS - 120 * SECOND + 1}),
    case("G12", True, "No order is unresolved"),
    case("G12", False, "fate is unknown", round={"unresolved_order": True}),
    case("G12", False, "locked: no clock", round={"doubt": "no clock"}),
    case("G12", False, "without protection", round={"unprotected": True}),
    case("G12", None, "unknown", round={"unresolved_order": None}),
    case("G13", True, "no market-wide halt"),
    case("G13", False, "whole market is halted", round={"market_halted": True}),
    case("G13", None, "unknown", round={"market_halted": None}),
    case("G14", True, "61 API calls", round={"api_calls_left": 61}),
    case("G14", False, "60 API calls", round={"api_calls_left": 60}),
    case("G14", None, "lets it pass", open=True, round={"api_calls_left": None}),
    case("G15", True, "5.00 %", round={"universe": frozenset(f"N{n}" for n in range(20))}),
    case("G15", False, "5.26 %", round={"universe": frozenset(f"N{n}" for n in range(19))}),
    case("G15", None, "unknown", round={"universe": frozenset()}),
    # --- the symbol
    case("S1", True, "is in today's universe"),
    case("S1", False, "is not in", round={"universe": frozenset({"OTHER"})}),
    case("S1", False, "is blocked: split", facts={"blocked": "split"}),
    case("S1", True, "2.00 times", parameters={"rvol_min": 2}, facts={"rvol": 2.0}),
    case("S1", False, "1.99 times", parameters={"rvol_min": 2}, facts={"rvol": 1.99}),
    case("S1", None, "is unknown", parameters={"rvol_min": 2}),
    case("S2", True, "20.06 USD", parameters={"universe_min_price": 20.06}),
    case("S2", False, "20.06 USD", parameters={"universe_min_price": 20.07}),
    case("S2", True, "20.06 USD", parameters={"universe_max_price": 20.06}),
    case("S2", False, "20.06 USD", parameters={"universe_max_price": 20.05}),
    case("S2", None, "Not evaluated", open=True, quote={"ask": float("nan")}),
    case("S3", True, "not halted"),
    case("S3", None, "halts of ABCD are unknown", facts=None),
    case("S3", False, "is halted", candidate={"halted": True}),
    case("S3", True, "300 s ago", facts={"last_resume_ns": END_NS - 300 * SECOND}),
    case("S3", False, "300 s ago", facts={"last_resume_ns": END_NS - 300 * SECOND + 1}),
    case("S3", False, "paused 2 times", facts={"pauses_today": 2}),
    case("S3", True, "not halted", facts={"pauses_today": 1}),
    case("S4", True, "1.00 %", candidate={"luld_up": 20.2606}),
    case("S4", False, "1.00 %", candidate={"luld_up": 20.2605}),
    case("S4", None, "lets it pass", open=True),
    case("S4", None, "is unknown", round={"feed_has_luld": True}),
    case(
        "S4",
        None,
        "lets it pass",
        open=True,
        round={"feed_has_luld": True},
        parameters={"luld_min_distance_percent": 0.0},
    ),
    case("S5", True, "No position"),
    case("S5", False, "There is a position", round={"busy_symbols": frozenset({"ABCD"})}),
    case("S5", False, "There is a position", round={"exposures": (exposure("ABCD"),)}),
    case("S5", None, "unknown", round={"busy_symbols": None}),
    case("S6", True, "0 trades"),
    case("S6", None, "trades in ABCD are unknown", facts=None),
    case("S6", False, "1 trades in ABCD", facts={"trades_today": 1}),
    case(
        "S6",
        True,
        "1800 s ago",
        facts={"trades_today": 1, "last_exit_ns": END_NS - 1800 * SECOND},
        parameters={"max_trades_per_symbol_per_day": 5000 // 100},
    ),
    case("S6", False, "1800 s ago", facts={"last_exit_ns": END_NS - 1800 * SECOND + 1}),
    case("S7", True, "3500 ms old", round={"now_ns": END_NS + 3_500_000_000}),
    case("S7", False, "3500 ms old", round={"now_ns": END_NS + 3_500_000_001}),
    case("S7", False, "of bucket", candidate={"k": K - 1, "candidate_id": AN_ID, "b": K - 3}),
    case("S7", True, "0 ms old", round={"now_ns": END_NS}),
    case("S7", None, "is unknown", round={"now_ns": END_NS - 1}),
    case("S8", None, "Not evaluated", open=True, candidate={"base_close": float("nan")}),
    case("S8", True, "0.80 %", candidate={"base_close": 19.9},
         parameters={"max_chase_percent": 0.81}),
    case("S8", False, "0.80 %", candidate={"base_close": 19.9},
         parameters={"max_chase_percent": 0.80}),
    case("S9", None, "Not evaluated", open=True, candidate={"close": float("nan")}),
    case("S9", True, "20.0 bps", parameters={"max_adverse_bps": 20.0}),
    case("S9", False, "20.0 bps", parameters={"max_adverse_bps": 19.9}),
    case("S10", None, "Not evaluated", open=True, candidate={"sigma1m_bps": float("nan")}),
    case("S10", True, "15.7 %", parameters={"min_reach_prob": 0.157}),
    case("S10", False, "15.7 %", parameters={"min_reach_prob": 0.158}),
    case("S10", False, "in 0 minutes", round=at(before_close=10 * MINUTE)),
    case("S11", True, "1 share, limited by its share", candidate={"volume_5m": 50}),
    case("S11", False, "Less than one share", candidate={"volume_5m": 49}),
    case("S11", None, "size is unknown", round={"account": None}),
    case("S11", False, "at least a cent", candidate={"close": 0.02, "base_close": 0.02},
         quote={"bid": 0.02, "ask": 0.03}),
    case("S12", True, "70 %", candidate={"synthetic_share": 0.7}),
    case("S12", False, "70 %", candidate={"synthetic_share": 0.7001}),
    case("S12", False, "flagged: gap, odd", candidate={"flags": ["odd", "gap"]}),
    case("S12", False, "Bad input: z is nan", doubt=True, candidate={"z": float("nan")}),
    case("S12", False, "Bad input: synthetic_share is nan", doubt=True,
         candidate={"synthetic_share": float("nan")}),
    case("S12", False, "Bad input: close is -1.0", candidate={"close": -1.0}),
    case("S12", False, "Bad input: a quote", quote={"ask": float("inf")}),
    case("S12", False, "Bad input: volume_5m is -1", candidate={"volume_5m": -1}),
    case("S13", None, "Not evaluated", open=True, candidate={"x": float("nan")}),
    case("S13", None, "Not evaluated", open=True, candidate={"accel": float("inf")}),
    case("S13", True, "8.00 bps", candidate={"x": 8.0}),
    case("S13", False, "8.00 bps", candidate={"x": 7.9999}),
    case("S13", True, "accelerates by 0.01", candidate={"accel": 0.01}),
    case("S13", False, "accelerates by 0.00", candidate={"accel": 0.0}),
    case("S13", True, "12 buckets old", candidate={"b": K - 11}),
    case("S13", False, "13 buckets old", candidate={"b": K - 12}),
    # --- the confidence checks
    case("C1", True, "0.63"),
    case("C1", False, "0.63", parameters={"market_gravity_min": 0.64}),
    case(
        "C1",
        False,
        "switched off",
        open=True,
        parameters={"market_gravity_min": 0.64, "use_market_gravity": False},
    ),
    case("C1", None, "counts as neutral", open=True, round={"index": {}}),
    case(
        "C1",
        None,
        "closes the gate",
        round={"gravity": Gravity()},
        parameters={"on_unknown_gravity": "fail"},
    ),
    case("C2", None, "counts as neutral", open=True),
    case("C2", None, "closes the gate", parameters={"on_unknown_futures": "fail"}),
    case("C2", None, "switched off", open=True,
         parameters={"on_unknown_futures": "fail", "use_futures_trend": False}),
    case(
        "C2",
        True,
        "0.50; your minimum is 0.40",
        round={
            "futures": (
                FuturesPart(
                    symbol="SPY", weight=1.0, sign=1, ema_gap_bps=0.0, scale_bps=1.0, ret15_z=0.0
                ),
            ),
            "futures_as_of_ns": END_NS,
        },
    ),
    case(
        "C2",
        False,
        "your minimum is 0.40",
        round={
            "futures": (
                FuturesPart(
                    symbol="SPY", weight=1.0, sign=1, ema_gap_bps=-1.0, scale_bps=1.0, ret15_z=-1.0
                ),
            ),
            "futures_as_of_ns": END_NS,
        },
    ),
    case("C3", True, "9.98 bps"),
    case("C3", False, "9.98 bps", parameters={"max_spread_bps": 9.0}),
    case("C3", False, "switched off", open=True,
         parameters={"max_spread_bps": 9.0, "use_spread_liquidity": False}),
    case("C3", False, "locked", quote={"bid": 20.06}, parameters={"use_spread_liquidity": False}),
    case("C3", False, "2000 ms", quote={"ts_ns": END_NS - 1_250_000_001}),
    case("C3", True, "9.98", quote={"ts_ns": END_NS - 1_250_000_000}),
    case("C3", None, "closes the gate", quote=None),
    case("C3", None, "closes the gate", quote=None, parameters={"on_unknown_spread": "neutral"}),
    case(
        "C3",
        None,
        "counts as neutral",
        open=True,
        quote=None,
        round={"mode": "shadow"},
        parameters={"on_unknown_spread": "neutral"},
    ),
    case("C4", True, "0.80 % above"),
    case("C4", False, "2.91 % above", candidate={"session": a_session(vwap=19.4928)}),
    case("C4", False, "switched off", open=True,
         candidate={"session": a_session(vwap=19.4928)}, parameters={"use_vwap_alignment": False}),
    case("C4", None, "closes the gate", candidate={"session": a_session(trades=49)}),
    case("C4", None, "counts as neutral", open=True,
         candidate={"session": a_session(trades=49)}, parameters={"on_unknown_vwap": "neutral"}),
    # --- score and confirmation
    case("score", True, "52.1", parameters={"min_score": 52.0}),
    case("score", False, "52.1", parameters={"min_score": 52.2}),
    case("confirm", True, "Passed every gate in 1 round"),
    case("confirm", False, "in 1 round; you ask for 2 in a row", parameters={"confirm_buckets": 2}),
    case("confirm", None, "Not asked", open=True, parameters={"min_score": 99.0}),
    # --- the portfolio
    case("P1", True, "Your slot is free"),
    case("P1", None, "positions are unknown", round={"exposures": None}),
    case("P4", None, "positions are unknown", round={"exposures": None}),
    case("P1", False, "only slot is busy with OPEN", round={"exposures": (exposure(),)}),
    case(
        "P1",
        True,
        "1 of 2 slots are free",
        round={"exposures": (exposure(),)},
        parameters={**CONCURRENT, "max_concurrent_positions": 2},
    ),
    case("P2", True, "Not asked"),
    case("P2", True, "36.6 % of equity", round={"exposures": (exposure(),)},
         parameters={**CONCURRENT, "max_total_exposure_percent": 36.7}),
    case("P2", False, "36.6 % of equity", round={"exposures": (exposure(),)},
         parameters={**CONCURRENT, "max_total_exposure_percent": 36.6}),
    case("P2", None, "unknown", round={"account": None}, parameters=CONCURRENT),
    case("P3", True, "Not asked"),
    case("P3", True, "0.71 % of equity", round={"exposures": (exposure(),)},
         parameters=CONCURRENT),
    case("P3", True, "Cut from 298 to 236 shares",
         round={"exposures": (exposure(stop=Decimal("46.4")),)},
         parameters=CONCURRENT),
    case("P3", False, "1.78 % of equity", round={"exposures": (exposure(stop=Decimal("45.8")),)},
         parameters={**CONCURRENT, "max_open_risk_percent": 1.45}),
    case("P3", None, "unknown", round={"account": None}, parameters=CONCURRENT),
    case("P4", True, "Not asked"),
    case("P4", True, "1 open positions begin with A", round={"exposures": (exposure("AA"),)},
         parameters=CONCURRENT),
    case("P4", False, "2 open positions begin with A",
         round={"exposures": (exposure("AA"), exposure("AB"))}, parameters=CONCURRENT),
    case("P5", True, "Not asked"),
    case("P5", None, "lets it pass", open=True, parameters=CONCURRENT),
    case("P5", True, "0 open positions are in tech", facts={"sector": "tech"},
         parameters=CONCURRENT),
    case("P5", False, "1 open positions are in tech", facts={"sector": "tech"},
         round={"exposures": (exposure(sector="tech"),)}, parameters=CONCURRENT),
    case("P6", True, "Not asked"),
    case("P6", True, "No other position", parameters=CONCURRENT),
    case("P6", False, "Correlation with OPEN is 1.00", candidate={"returns_1m_bps": list(wave())},
         round={"exposures": (exposure(returns_1m_bps=wave()),)}, parameters=CONCURRENT),
    case("P6", True, "Correlation with OPEN is -1.00", candidate={"returns_1m_bps": list(wave())},
         round={"exposures": (exposure(returns_1m_bps=wave(-1)),)}, parameters=CONCURRENT),
    case("P6", True, "Correlation with OPEN is 0.00", doubt=True,
         candidate={"returns_1m_bps": list(wave())[1:]},
         round={"exposures": (exposure(returns_1m_bps=wave()),)}, parameters=CONCURRENT),
    case("P6", False, "Correlation with OPEN is 1.00", doubt=True, facts={"sector": "tech"},
         round={"exposures": (exposure(sector="tech"),)}, parameters=CONCURRENT),
    case("P7", True, "6023.40 USD are needed, 6298.70 USD of cash",
         round={"account": an_account(cash=Decimal("6298.70"))}),
    case("P7", None, "unknown", round={"account": None}),
]  # fmt: skip


def _name(c: Case) -> str:
    return f"{c.gate}-{c.passed}-{c.word}"


@pytest.mark.parametrize("c", CASES, ids=_name)
def test_a_gate_answers(c: Case) -> None:
    gate = gate_of(record_of(c), c.gate)

    assert gate.passed is c.passed, gate.text
    assert gate.open is (bool(c.passed) if c.open is None else c.open), gate.text
    assert c.word in gate.text
    assert gate.text.endswith((".", ")"))


#: Closed only by other entries of the same round; each has a test of its own below.
BY_THE_ROUND = {"P7", "rank"}
#: Made by the decision itself, of numbers that were checked: never unknown.
COUNTED_HERE = {"score", "rank"}


def test_every_gate_has_a_row_on_each_side_and_one_for_unknown() -> None:
    """A gate without rows, or one that is new, fails here."""
    ids = {
        gate.id for gate in decide(a_round(a_candidate()), some_parameters(), {}).records[0].gates
    } | {"rank"}

    assert ids - {c.gate for c in CASES if c.passed} == {"rank"}
    assert ids - {c.gate for c in CASES if c.passed is False} == BY_THE_ROUND
    assert ids - {c.gate for c in CASES if c.passed is None or c.doubt} == COUNTED_HERE


@pytest.mark.parametrize(
    "c", [c for c in CASES if c.passed is None and c.gate != "confirm"], ids=_name
)
def test_what_is_unknown_stops_the_entry_unless_its_own_sentence_says_that_it_passes(
    c: Case,
) -> None:
    record = record_of(c)
    gate = gate_of(record, c.gate)

    by_policy = gate.open and (
        "lets it pass" in gate.text or "neutral" in gate.text or "switched off" in gate.text
    )
    assert by_policy or record.outcome == "not_fired"


def test_the_turn_is_open_for_the_first_and_closed_for_the_next() -> None:
    pair = a_candidate("AAAA"), a_candidate("BBBB")

    first, second = decide(a_round(*pair), some_parameters(**CONCURRENT), {}).records

    assert gate_of(first, "rank").passed
    assert gate_of(second, "rank").passed is False


def test_buying_power_closes_when_other_entries_of_the_round_used_it_up() -> None:
    """P7 alone: the size is already cut to what is free, so only the round's own entries count."""
    account = an_account(cash=Decimal(8_000), buying_power=Decimal(8_000))
    pair = a_candidate("AAAA"), a_candidate("BBBB")
    parameters = some_parameters(**CONCURRENT, max_entries_per_round=2)

    decision = decide(a_round(*pair, account=account), parameters, {})

    assert [entry.symbol for entry in decision.entries] == ["AAAA"]
    loser = decision.records[1]
    assert (loser.primary_id, loser.all_failed) == ("P7", ("P7",))
    assert "are needed" in loser.primary_reason


def test_margin_widens_what_is_free_and_reservations_narrow_it() -> None:
    account = an_account(cash=Decimal(1_000))
    cash_only = record_of(case("P7", True, "", round={"account": account}))
    margin = record_of(
        case("P7", True, "", round={"account": account}, parameters={"use_margin": True})
    )
    reserved = record_of(case("P7", True, "", round={"reserved_usd": Decimal(59_000)}))

    assert cash_only.plan is not None
    assert margin.plan is not None
    assert reserved.plan is not None
    assert cash_only.plan["qty"] == reserved.plan["qty"] == 47
    assert margin.plan["qty"] == 298


def test_a_candidate_with_a_number_that_cannot_be_is_judged_by_s12_alone() -> None:
    record = record_of(case("S12", False, "", candidate={"x": float("inf")}))

    assert record.all_failed == ("S12",)
    assert (record.primary_id, record.plan, record.score) == ("S12", None, {})
    assert len(record.gates) == 15 + 13 + 4 + 7


def test_two_shards_that_claim_one_symbol_block_it() -> None:
    twins = a_candidate(), a_candidate(candidate_id="2026-11-20-ABCD-other")

    decision = decide(a_round(*twins), some_parameters(), {})

    assert decision.entries == ()
    assert {record.primary_id for record in decision.records} == {"S12"}


def test_the_beta_is_taken_over_the_buckets_of_the_burst() -> None:
    record = record_of(case("C1", True, "", round={"index": an_index()}, facts={"beta": 9.0}))

    assert gate_of(record, "C1").text.startswith("Only -0.122 % of the burst of 0.958 %")
