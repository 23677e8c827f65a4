"""What the hub freezes for a round: exposures, facts, halts, policies, and who makes room."""

import math
import statistics
from dataclasses import replace
from datetime import date
from typing import Any

import pytest

from execution.domain.decide import decide
from execution.domain.rounds import RoundInput, SymbolFacts
from execution.domain.universe import DailyBar, Note, listing
from execution.hub.rounds import Rounds, Vitals
from execution.hub.software import SoftwareExits
from execution.hub.trend_history import gap_scales
from execution.models import Round, Run, Trade, UniverseEntry
from execution.selectors import REPLACED, day_trades, trading_day, withdrawals
from execution.services.moves import TradeState as T
from execution.services.trades import ask_to_leave
from execution.services.universe import Known, freeze_universe
from signals.confidence.index import IndexSeries
from signals.confidence.proxy import ema_gap_bps, proxy_legs
from signals.messages import IndexBucket, Mark, Report, Withdrawn
from signals.session import BUCKET_NS
from tests.fakes.desk import MS, Bench
from tests.integration.test_hub_software_exits import a_report
from tests.unit.domain_builders import END_NS, K, a_candidate, a_quote, a_session, with_
from tests.unit.test_domain_universe import an_asset

pytestmark = [pytest.mark.django_db, pytest.mark.db]
MINUTE = 60_000
WAVE = [float((-1) ** n) for n in range(40)]


def a_hub(bench: Bench, **vitals: Any) -> Rounds:
    return Rounds(
        desk=bench.desk,
        parameters=bench.parameters,
        params_version=1,
        kill_level=lambda: "none",
        vitals=lambda: Vitals(**vitals),
    )


def frozen(rounds: Rounds, *reports: Report, k: int = K + 1) -> RoundInput:
    candidates = tuple(c for r in reports for c in r.candidates)
    return rounds._inputs(k, reports, candidates, 1, 1.0)


def with_candidate(bench: Bench, symbol: str = "NEXT", *marks: Mark, **changes: Any) -> Report:
    report = a_report(bench, *marks)
    candidate = with_(a_candidate(symbol), returns_1m_bps=WAVE, **changes)
    return Report(**{**{n: getattr(report, n) for n in report.__struct_fields__},
                     "candidates": [candidate]})  # fmt: skip


def a_mark(close: float = 20.07) -> Mark:
    return Mark(symbol="ABCD", k=K + 1, high=close, low=close, close=close, returns_1m_bps=WAVE)


def test_an_open_position_comes_with_its_returns_its_sector_and_where_it_stands() -> None:
    bench = Bench.make()
    trade = bench.open()
    rounds = a_hub(bench)
    rounds.known.facts["ABCD"] = SymbolFacts(sector="Tech")

    (exposure,) = frozen(rounds, with_candidate(bench, "NEXT", a_mark(19.88))).exposures

    assert (exposure.symbol, exposure.sector) == ("ABCD", "Tech")
    assert exposure.returns_1m_bps == tuple(WAVE)
    assert exposure.position is not None
    assert exposure.position.opened_ns == trade.opened_ns
    assert exposure.position.score == pytest.approx(trade.score)
    assert exposure.position.progress_r == pytest.approx(-0.5)
    assert exposure.position.round_trip_bps == pytest.approx(13.8, abs=0.1)


def test_without_a_mark_where_it_stands_is_unknown() -> None:
    bench = Bench.make()
    bench.open()

    (exposure,) = frozen(a_hub(bench), with_candidate(bench)).exposures

    assert exposure.returns_1m_bps == ()
    assert exposure.position is not None
    assert exposure.position.progress_r is None


def test_a_halted_position_and_one_that_leaves_make_no_room() -> None:
    bench = Bench.make()
    bench.open()
    halted = Mark(symbol="ABCD", k=K + 1, high=20.0, low=20.0, close=20.0, halted=True)

    (exposure,) = frozen(a_hub(bench), with_candidate(bench, "NEXT", halted)).exposures
    assert exposure.position is not None
    assert exposure.position.progress_r is None

    assert ask_to_leave(bench.run, "ABCD", REPLACED)
    assert not ask_to_leave(bench.run, "ABCD", REPLACED)
    (exposure,) = frozen(a_hub(bench), with_candidate(bench, "NEXT", a_mark())).exposures
    assert exposure.position is None


def test_halts_news_and_the_whole_markets_halt_reach_the_round() -> None:
    bench = Bench.make()
    report = with_candidate(bench, pauses_today=2, resumed_ts_ns=END_NS - 1, luld_up=25.0)
    wide = a_report(bench)
    wide = Report(**{**{n: getattr(wide, n) for n in wide.__struct_fields__},
                     "flags": ["market_halt"]})  # fmt: skip

    inputs = frozen(a_hub(bench, news_of=lambda symbol: symbol == "NEXT"), report, wide)

    facts = inputs.symbols["NEXT"]
    assert (facts.pauses_today, facts.last_resume_ns, facts.has_news) == (2, END_NS - 1, True)
    assert inputs.market_halted
    assert inputs.feed_has_luld
    assert frozen(a_hub(bench), with_candidate(bench)).symbols["NEXT"].has_news is None


def test_what_was_sold_today_is_not_settled_and_counts_as_a_day_trade() -> None:
    bench = Bench.make(day_trade_policy="legacy_pdt_guard")
    bench.open()
    bench.venue.quote("20.90", "20.92")
    bench.venue.trade("20.90")
    bench.step(0)
    trade = bench.trade()
    assert trade.state == T.CLOSED

    inputs = frozen(a_hub(bench), with_candidate(bench))

    assert inputs.unsettled_usd == trade.exit_value > 0
    assert inputs.day_trades_5d == day_trades(bench.run.account_number, bench.run.day) == 1


def test_the_weakest_leaves_is_confirmed_flat_and_only_then_the_better_one_enters() -> None:
    two = {"concurrent_trading": True, "max_concurrent_positions": 2, "replace_weaker": True,
           "max_trades_per_day": 9, "cooldown_after_trade_s": 120}  # fmt: skip
    bench = Bench.make(**two)
    bench.open()
    Trade.objects.update(score=20.0)
    software = SoftwareExits(trader=bench.trader)
    bench.step(11 * MINUTE)
    k = bench.venue.now_ns // 5_000_000_000 - 1
    rival = with_(a_candidate("AAPL"), k=k, b=k - 2, candidate_id="r", quote=a_quote(
        ts_ns=bench.venue.now_ns - 100 * MS))  # fmt: skip
    (exposure,) = frozen(a_hub(bench), with_candidate(bench, "X", a_mark())).exposures
    busy = [exposure, *(_other(exposure),)]

    orders = bench.decide(k, candidate=rival, exposures=tuple(busy))
    assert orders == []
    assert bench.trade().leave_why == REPLACED
    assert bench.held_at_venue() > 0

    software.act()
    bench.step(150)
    trade = bench.trade()
    assert (trade.state, trade.exit_reason) == (T.CLOSED, REPLACED)
    assert bench.held_at_venue() == 0
    day = trading_day(bench.run)
    assert day.last_exit_ns is None, "its end starts no cool-down"
    assert day.last_replacement_ns == trade.closed_ns


def _other(exposure: Any) -> Any:
    """A second busy slot that is better than the first."""
    kept = {name: getattr(exposure, name) for name in exposure.__dataclass_fields__}
    return type(exposure)(**{**kept, "symbol": "GOOD", "position": None})


def test_the_universe_is_frozen_in_rows_and_read_back_as_facts() -> None:
    bench = Bench.make()
    past = [DailyBar(day=date(2026, 11, d), close=20.0, volume=4_000_000) for d in range(2, 20)]
    assets = [an_asset("NEXT"), an_asset("OLD"), an_asset("SPY", "SPDR S&P 500 ETF Trust")]
    told = {"NEXT": past, "OLD": [bar for bar in past if bar.day.day > 16]}
    notes = {"NEXT": Note(sector="Tech", beta=1.5)}

    curves = {"NEXT": tuple(400_000 * n for n in range(1, 14))}
    listings = [
        listing(a, told.get(a.symbol, ()), notes.get(a.symbol, Note()), bench.parameters)
        for a in assets
    ]

    count = freeze_universe(
        bench.run, [replace(one, volume_curve=curves.get(one.symbol)) for one in listings]
    )
    rounds = a_hub(bench)
    rounds.known = Known(bench.run)
    session = a_session(cum_volume=1_700_000, open=19.5)
    facts = frozen(rounds, with_candidate(bench, session=session)).symbols["NEXT"]

    assert count == 2
    assert bench.run.universe == ["NEXT", "OLD"]
    reasons = dict(UniverseEntry.objects.values_list("symbol", "reason"))
    assert reasons["OLD"] == "its usual volume is unknown"
    assert reasons["SPY"].startswith("a fund")
    assert (facts.sector, facts.beta, facts.blocked) == ("Tech", 1.5, "")
    assert facts.rvol == pytest.approx(1_700_000 / 805_000, rel=0.01), "an hour and a bucket"


def test_without_half_hours_of_the_past_relative_volume_is_unknown_and_closes_its_gate() -> None:
    bench = Bench.make()
    bench.run.universe = ["NEXT"]

    inputs = frozen(a_hub(bench), with_candidate(bench))

    assert inputs.symbols["NEXT"].rvol is None
    asked = {**bench.parameters, "rvol_min": 2.0}
    record = next(one for one in decide(inputs, asked, {}).records if one.symbol == "NEXT")
    s1 = next(gate for gate in record.gates if gate.id == "S1")
    assert (s1.passed, s1.open) == (None, False)
    assert s1.text == "The usual volume of NEXT by this time of day is unknown."
    assert record.features["rvol"] is None


def test_a_symbol_that_opened_at_half_its_close_is_blocked_today() -> None:
    bench = Bench.make()
    rounds = a_hub(bench)
    rounds.known.prev_close["NEXT"] = 39.0
    rounds.known.volume_curve["NEXT"] = (400_000,) * 13

    facts = frozen(rounds, with_candidate(bench, session=a_session(open=19.5))).symbols["NEXT"]

    assert facts.blocked.startswith("it opened at 0.50 times yesterday's close")
    assert facts.rvol is None, "its history counts other shares"


def test_a_round_keeps_which_candidacies_ended_in_it() -> None:
    bench = Bench.make()
    hub, report = a_hub(bench), a_report(bench)
    over = Withdrawn(candidate_id="c-1", symbol="NEXT", k=K + 1, reason="halt")
    ended = Report(**{**{n: getattr(report, n) for n in report.__struct_fields__},
                      "withdrawn": [over]})  # fmt: skip

    hub.close(K + 1, [ended], 1)
    hub.flush()

    assert Round.objects.get(k=K + 1).withdrawn == [["NEXT", "c-1", "halt"]]
    assert withdrawals(bench.run, "NEXT", K, K + 2) == [(K + 1, "halt")]
    assert withdrawals(bench.run, "ELSE", K, K + 2) == []


# --- the usual gap of the trend -------------------------------------------------------------------
DAY_K = 17_280


def earlier_sessions(bench: Bench, days: int, *, wide: float = 0.001) -> None:
    """A hundred minutes of SPY on each of so many days before, up and down in long waves."""
    open_k = bench.run.open_ns // BUCKET_NS
    Round.objects.bulk_create(
        Round(
            run=bench.run, k=k, state="decided", closed_ns=0, params_version=1,
            index={"SPY": [500 * (1 + wide * math.sin(n / 10)), None, 0]},
        )
        for day in range(1, days + 1)
        for n, k in enumerate(
            range(open_k - day * DAY_K + 11, open_k - day * DAY_K + 1211, 12)
        )
    )  # fmt: skip


def test_five_sessions_of_the_run_give_the_usual_gap_of_the_averages() -> None:
    bench = Bench.make()
    earlier_sessions(bench, 5)
    closes = [500 * (1 + 0.001 * math.sin(n / 10)) for n in range(100)]
    gaps = [ema_gap_bps(closes[max(0, n - 90) : n]) for n in range(21, 101)]

    scales = gap_scales(bench.run)

    assert scales == {"SPY": pytest.approx(statistics.pstdev(gaps))}


def test_with_fewer_sessions_or_on_a_tape_it_is_that_of_a_walk() -> None:
    bench = Bench.make()
    earlier_sessions(bench, 4)

    assert gap_scales(bench.run) == {}
    assert gap_scales(Run.objects.create(id="tape", open_ns=bench.run.open_ns)) == {}


def test_the_trend_is_measured_by_the_usual_gap_where_it_is_known() -> None:
    series = IndexSeries()
    for k in range(12 * 40):
        series.add(IndexBucket(symbol="SPY", k=k, close=500 + k / 100, mid=None, ts_ns=k))

    (walk,), _ = proxy_legs({"SPY": series})
    (usual,), _ = proxy_legs({"SPY": series}, {"SPY": 12.5})

    assert usual.scale_bps == 12.5 != walk.scale_bps
    assert usual._replace(scale_bps=0) == walk._replace(scale_bps=0)
