"""Builders with defaults for rounds and candidates; every gate is open unless told otherwise."""

from dataclasses import replace
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import msgspec

from execution.brokers.port import AccountSnapshot
from execution.domain.rounds import IndexState, RoundInput, SymbolFacts
from signals.messages import Candidate, Gravity, Quote, SessionState
from signals.parameters.catalogue import defaults, validate
from signals.session import BUCKET_NS

DAY = date(2026, 11, 20)
OPEN_NS = (
    int(datetime(2026, 11, 20, 9, 30, tzinfo=ZoneInfo("America/New_York")).timestamp()) * 10**9
)
CLOSE_NS = OPEN_NS + 390 * 60 * 10**9
K = (OPEN_NS + 3600 * 10**9) // BUCKET_NS  # 10:30
END_NS = (K + 1) * BUCKET_NS
GRACE_NS = 750_000_000


def some_parameters(**changes: object) -> dict[str, Any]:
    """The defaults in paper mode with one confirming round, and the changes."""
    base = {"alpaca_trading_mode": "paper", "confirm_buckets": 1}
    return validate({**defaults(), **base, **changes})


def a_quote(**changes: Any) -> Quote:
    base = {
        "bid": 20.04,
        "ask": 20.06,
        "bid_size": 900,
        "ask_size": 1200,
        "ts_ns": END_NS + GRACE_NS - 140_000_000,
        "median_spread_bps_60s": 9.0,
    }
    return Quote(**{**base, **changes})


def a_session(**changes: Any) -> SessionState:
    base = {
        "vwap": 19.9,
        "vwap_sd": 0.1,
        "cum_volume": 900_000,
        "trades": 4000,
        "open": 19.5,
        "high": 20.1,
        "low": 19.4,
        "vwap_5min_ago": 19.88,
    }
    return SessionState(**{**base, **changes})


def a_candidate(symbol: str = "ABCD", **changes: Any) -> Candidate:
    """The worked example of trigger 2 to 5: score 52.8 with all checks as in the examples."""
    k = changes.get("k", K)
    base: dict[str, Any] = {
        "candidate_id": f"{DAY}-{symbol}-{k - 2}",
        "symbol": symbol,
        "k": k,
        "state": "CANDIDATE",
        "shadow": False,
        "born_k": k,
        "b": k - 2,
        "flat_len": 12,
        "x": 12.0,
        "z": 4.51074,
        "accel": 4.1333,
        "ao": 0.05,
        "ac": 0.024,
        "slow_mean": 19.95,
        "surge": 8.9,
        "cum_volume": 8700,
        "cum_dollars": 174_600.0,
        "jump_share": 0.4,
        "burst_trades": 60,
        "sigma5_bps": 3.65,
        "sigma1m_bps": 25.0,
        "noise_gain": 0.728854,
        "close": 20.02,
        "base_close": 19.83,
        "volume_1m": 60_000,
        "volume_5m": 90_000,
        "dollar_volume_1m": 1_200_000.0,
        "synthetic_share": 0.1,
        "returns_1m_bps": [],
        "window": {},
        "session": a_session(),
        "quote": a_quote(),
    }
    return Candidate(**{**base, **changes})


def an_account(**changes: Any) -> AccountSnapshot:
    base: dict[str, Any] = {
        "number": "PA12345678",
        "status": "ACTIVE",
        "cash": Decimal(60_000),
        "equity": Decimal(30_000),
        "last_equity": Decimal(30_000),
        "buying_power": Decimal(60_000),
        "trading_blocked": False,
        "account_blocked": False,
        "suspended_by_user": False,
    }
    return AccountSnapshot(**{**base, **changes})


def an_index(k: int = K) -> dict[str, IndexState]:
    """The index of the worked example of trigger 4.1; SPY rose .12 % over the burst."""
    moves = {"SPY": (0.12, 0.20), "QQQ": (0.18, 0.26), "IWM": (-0.05, 0.24)}
    return {
        symbol: IndexState(
            symbol=symbol,
            as_of_ns=(k + 1) * BUCKET_NS,
            last_k=k,
            return_5m_percent=change,
            sigma_5m_percent=sigma,
            closes=(100.0, 100.0, 100.0, 100.12),
        )
        for symbol, (change, sigma) in moves.items()
    }


def a_round(*candidates: Candidate, **changes: Any) -> RoundInput:
    """A healthy mid-morning round over a universe of a thousand names."""
    k = changes.get("k", K)
    base: dict[str, Any] = {
        "run": "test",
        "k": k,
        "now_ns": (k + 1) * BUCKET_NS + 1_000_000_000,
        "params_version": 1,
        "mode": "paper",
        "day": DAY,
        "open_ns": OPEN_NS,
        "close_ns": CLOSE_NS,
        "candidates": candidates,
        "coverage": 1.0,
        "n_symbols": 2860,
        "n_expected": 2860,
        "universe": frozenset(
            [f"N{n}" for n in range(1000)] + [candidate.symbol for candidate in candidates]
        ),
        "account": an_account(),
        "account_as_of_ns": (k + 1) * BUCKET_NS,
        "api_calls_left": 150,
        "gravity": Gravity(n=2860, n_up2=2 * 1490, w=1400, w_up2=2 * 802),
        "index": an_index(k),
        "symbols": {c.symbol: SymbolFacts() for c in changes.get("candidates", candidates)},
    }
    return RoundInput(**{**base, **changes})


def with_(candidate: Candidate, **changes: Any) -> Candidate:
    """A copy of the candidate with other values."""
    return msgspec.structs.replace(candidate, **changes)


__all__ = [name for name in dir() if name.startswith(("a_", "an_", "some_", "with_"))] + ["replace"]
