"""One symbol that is always worth buying, so that what follows an entry is what is tried."""

from dataclasses import replace
from datetime import date
from decimal import Decimal

from execution.domain.rounds import IndexState, RoundInput
from signals.messages import Candidate, Gravity, Quote, SessionState
from signals.parameters.catalogue import defaults, validate
from signals.selectors import active_parameters
from signals.services import activate, save_parameters
from signals.session import BUCKET_NS, Session, regular_session

DAY = date(2026, 11, 20)
SESSION: Session = regular_session(DAY)
SYMBOL = "ABCD"
BID, ASK = Decimal("20.04"), Decimal("20.06")
MS = 1_000_000
CHANGES: dict[str, object] = {
    "alpaca_trading_mode": "paper",
    "confirm_buckets": 1,
    "max_trades_per_day": 20,
    "max_trades_per_symbol_per_day": 20,
    "stop_after_take_profits": 0,
    "max_consecutive_losses": 50,
    "cooldown_after_trade_s": 0,
    "symbol_cooldown_s": 0,
}


def use_parameters() -> None:
    """Make the simulation's set the active one: one confirming round, many tries a day."""
    version, active = active_parameters()
    wanted = validate({**defaults(), **CHANGES})
    if active != wanted:
        saved = save_parameters(values=wanted, author="simulation", base_version=version)
        activate(saved, author="simulation")


def candidate(k: int, now_ns: int) -> Candidate:
    """Return an accelerator with every gate open, as of `now_ns`."""
    return Candidate(
        candidate_id=f"{DAY}-{SYMBOL}-{k - 2}",
        symbol=SYMBOL,
        k=k,
        state="CANDIDATE",
        shadow=False,
        born_k=k,
        b=k - 2,
        flat_len=12,
        x=12.0,
        z=4.5,
        accel=4.1,
        ao=0.05,
        ac=0.024,
        slow_mean=19.95,
        surge=8.9,
        cum_volume=8700,
        cum_dollars=174_600.0,
        jump_share=0.4,
        burst_trades=60,
        sigma5_bps=3.65,
        sigma1m_bps=25.0,
        noise_gain=0.73,
        close=20.02,
        base_close=19.83,
        volume_1m=60_000,
        volume_5m=90_000,
        dollar_volume_1m=1_200_000.0,
        synthetic_share=0.1,
        returns_1m_bps=[],
        window={},
        last_price=20.05,
        last_ts_ns=now_ns - 200 * MS,
        session=SessionState(
            vwap=19.9,
            vwap_sd=0.1,
            cum_volume=900_000,
            trades=4000,
            open=19.5,
            high=20.1,
            low=19.4,
            vwap_5min_ago=19.88,
        ),
        quote=Quote(
            bid=float(BID),
            ask=float(ASK),
            bid_size=900,
            ask_size=1200,
            ts_ns=now_ns - 140 * MS,
            median_spread_bps_60s=9.0,
        ),
    )


def with_a_market(inputs: RoundInput) -> RoundInput:
    """Return a round's inputs as if a thousand healthy symbols had reported."""
    k = inputs.k
    moves = {"SPY": (0.12, 0.20), "QQQ": (0.18, 0.26), "IWM": (-0.05, 0.24)}
    return replace(
        inputs,
        coverage=1.0,
        n_symbols=2860,
        n_expected=2860,
        universe=frozenset([SYMBOL, *(f"N{n}" for n in range(1000))]),
        gravity=Gravity(n=2860, n_up2=2 * 1490, w=1400, w_up2=2 * 802),
        index={
            symbol: IndexState(
                symbol=symbol,
                as_of_ns=(k + 1) * BUCKET_NS,
                last_k=k,
                return_5m_percent=change,
                sigma_5m_percent=sigma,
                closes=(100.0, 100.0, 100.0, 100.12),
            )
            for symbol, (change, sigma) in moves.items()
        },
    )
