"""Edge cases 23 to 35, 60, 62, 64: messages, shards that die, gaps, clocks, calendars."""

import random
from datetime import date, time
from typing import Any

import numpy as np
import pytest

from execution.domain.decide import decide
from execution.domain.exits import ladder
from execution.domain.rounds import Streak
from execution.hub import exits
from execution.hub.intake import Intake
from execution.hub.shard_desk import ShardDesk
from execution.models import Decision, Order, Round, RoundState
from execution.services import rounds
from execution.services.moves import TradeState as T
from shards.detector import settings_of
from signals.candidates import State
from signals.parameters.catalogue import ParameterError, defaults, validate
from signals.session import BUCKET_NS, day_of, new_york_ns, regular_session
from tests.edge_cases.judging import gate, judged
from tests.fakes.desk import Bench
from tests.integration.test_hub_late import a_report
from tests.shard_builders import K0, a_tick, an_engine, close, frame_of, ticks
from tests.unit.domain_builders import (
    END_NS,
    OPEN_NS,
    K,
    a_candidate,
    a_round,
    some_parameters,
    with_,
)
from tests.unit.test_shards_engine import START, a_burst, the_candidates
from tests.unit.test_shards_restart import comparable, play, restored, the_tape, the_whole_run

pytestmark = [pytest.mark.django_db]
MINUTE = 60 * 10**9


def fired(*candidates: Any, streaks: dict[str, Streak] | None = None, **p: Any) -> list[str]:
    decision = decide(a_round(*candidates), some_parameters(**p), streaks or {})
    return [entry.symbol for entry in decision.entries]


def test_case_23_a_copy_of_a_message_is_counted_and_changes_nothing() -> None:
    intake, one = Intake(), a_report(a_candidate())

    assert intake.add(one, closed_k=None)
    assert not intake.add(one, closed_k=None)

    assert intake.duplicates == 1
    assert len(intake.take(K)) == 1
    twice = decide(a_round(a_candidate(), a_candidate()), some_parameters(), {})
    assert twice.records == decide(a_round(a_candidate()), some_parameters(), {}).records


def test_case_24_an_older_bucket_in_a_round_cannot_fire() -> None:
    older = with_(a_candidate(), k=K - 1)

    assert fired(older) == []
    assert fired(older, a_candidate()) == ["ABCD"], "the newest of one candidacy counts"


@pytest.mark.parametrize(
    "window",
    [
        {"k0": [K - 35], "c": [20.0] * 36, "v": [1] * 35},
        {"k0": [K - 36], "c": [20.0] * 36, "v": [1] * 36},
        {"k0": [], "c": [20.0] * 36, "v": [1] * 36},
    ],
)
def test_case_25_a_window_with_a_gap_is_no_evidence(window: dict[str, list]) -> None:
    whole = {"k0": [K - 35], "c": [20.0] * 36, "v": [1] * 36}

    assert fired(a_candidate(window=whole)) == ["ABCD"]
    record = judged(candidate={"window": window})
    assert (record.outcome, record.primary_id) == ("not_fired", "S12")
    assert "window of buckets has a gap" in record.primary_reason


def test_case_25_the_hub_asks_the_shard_to_begin_such_a_window_anew() -> None:
    bench, sent = Bench.make(), []
    desk = ShardDesk(
        run=bench.run, mono=lambda: 0.0, record_dir=None,
        send=lambda task, told, queue: sent.append((task, told, queue)) or True,
    )  # fmt: skip
    broken = a_candidate(window={"k0": [K - 36], "c": [20.0] * 36})
    whole = a_candidate(symbol="EFGH", window={"k0": [K - 35], "c": [20.0] * 36})

    assert desk.resync([a_report(broken, whole)]) == {1: ["ABCD"]}

    told = {"run": bench.run.pk, "symbols": ["ABCD"]}
    assert sent == [("shards.resync", told, "shard.1")]
    assert desk.resync([a_report(whole), a_report()]) == {}


def test_case_25_a_window_begun_anew_is_no_candidate_until_it_is_whole() -> None:
    warm = settings_of(defaults()).warm
    engine = an_engine()
    engine.feed(frame_of([a_tick(5 * n, 10.0, id=n + 1) for n in range(2 * warm + 5)]))
    close(engine, K0 + warm)
    assert State(engine.table["state"][0]) is not State.WARMUP

    assert engine.resync(["ACME", "NOPE"]) == ["ACME"]

    close(engine, K0 + warm + 1)
    assert State(engine.table["state"][0]) is State.WARMUP
    close(engine, K0 + 2 * warm - 1)
    assert State(engine.table["state"][0]) is State.WARMUP
    close(engine, K0 + 2 * warm + 2)
    assert State(engine.table["state"][0]) is not State.WARMUP


def test_case_26_a_shard_that_restarts_goes_on_with_the_same_candidates() -> None:
    whole, kept = the_whole_run()
    k = K0 + 120

    engine, joined = restored(kept, k)
    rest = [one for one in the_tape() if one.offset >= joined.newest.first_later_offset]
    after = comparable(play(engine, rest))

    assert after == whole[-len(after) :]
    cold = an_engine()
    cold.feed(frame_of(ticks("0 10x100")))
    close(cold, K0)
    assert State(cold.table["state"][0]) is State.WARMUP, "without the store it warms up"


def test_case_26_a_round_without_the_candidate_resets_its_streak() -> None:
    c = a_candidate()
    gone = {c.candidate_id: Streak(k=K - 2, count=5, params_version=1)}

    record = decide(a_round(c), some_parameters(confirm_buckets=2), gone).records[0]

    assert (record.streak, record.primary_id) == (1, "confirm")


def test_case_27_two_shards_claim_one_symbol() -> None:
    other = a_candidate(candidate_id="2026-11-20-ABCD-other")

    assert fired(a_candidate(), other) == []
    old_life, new_life = a_report(a_candidate(), epoch=1), a_report(epoch=2)
    intake = Intake()
    assert intake.add(new_life, closed_k=None)
    assert not intake.add(old_life, closed_k=None), "the older claim is ignored"


def test_case_28_a_dead_shards_positions_go_with_its_letters_to_the_next() -> None:
    bench = Bench.make()
    trade = bench.open()
    desk = ShardDesk(run=bench.run, send=lambda *_, **__: True, mono=lambda: 0.0, record_dir=None)
    desk.give({1: [("", "")]}, lambda held: K)
    (moved,) = desk.give({2: [("", "")]}, lambda held: K)

    told = desk.assignment_of(moved)["watch"]

    assert [one["position_id"] for one in told] == [trade.position_id]
    assert len(bench.desk.live_orders(trade, "tp", "sl")) == 2, "the venue protects meanwhile"


@pytest.mark.parametrize(("lost_s", "restarts"), [(10, False), (10.001, True)])
def test_case_29_a_gap_of_more_than_ten_seconds_is_never_bridged(
    lost_s: float, restarts: bool
) -> None:
    engine = an_engine()
    engine.feed(frame_of(ticks("0 10x100")))
    close(engine, K0)

    engine.gap(OPEN_NS, OPEN_NS + round(lost_s * 10**9))

    assert bool(engine.table["restart"][0]) is restarts
    parts = close(engine, K0 + 1)[0].report_parts
    assert "gap" in parts["flags"]


def test_case_30_rounds_of_a_backlog_are_recorded_and_not_decided() -> None:
    bench = Bench.make()
    row = bench.close_round()

    assert rounds.skip_round(row)
    assert rounds.decide_round(run_id=bench.run.pk, k=K, epoch=bench.epoch) == []

    assert Decision.objects.get().outcome == "skipped_stale"
    assert Round.objects.get().state == RoundState.SKIPPED
    assert Order.objects.count() == 0
    late = {"now_ns": END_NS + 3_500_000_001}
    assert judged(round=late).primary_id == "S7"


def test_case_31_a_clock_that_is_off_blocks_entries_and_no_exit() -> None:
    for skew in (251.0, -251.0):
        assert judged(round={"clock_skew_ms": skew}).primary_id == "G4"
    bench = Bench.make()
    exits.begin(bench.desk, bench.open(), "manual")
    bench.step(150)
    assert bench.trade().state == T.CLOSED


def test_case_32_time_that_steps_back_closes_no_bucket_twice() -> None:
    engine = an_engine()
    engine.feed(frame_of(ticks("0 10x100, 6 10x100")))

    first = [one.k for one in close(engine, K0 + 1)]
    back = [one.k for one in close(engine, K0)]
    again = [one.k for one in close(engine, K0 + 2)]

    assert (first, back, again) == ([K0, K0 + 1], [], [K0 + 2])


@pytest.mark.parametrize(
    ("day", "utc_hour"),
    [(date(2026, 3, 6), 14), (date(2026, 3, 9), 13), (date(2026, 10, 30), 13),
     (date(2026, 11, 2), 14)],
)  # fmt: skip
def test_case_33_the_session_is_new_yorks_on_both_sides_of_a_clock_change(
    day: date, utc_hour: int
) -> None:
    session = regular_session(day)

    assert session.open_ns // 10**9 % 86_400 == utc_hour * 3600 + 1800
    assert day_of(session.open_ns) == day
    assert session.close_ns - session.open_ns == 390 * MINUTE


def test_case_34_minutes_before_the_close_are_the_calendars() -> None:
    close_ns = new_york_ns(date(2026, 11, 27), time(13))
    times = ladder(close_ns, some_parameters())

    assert times.entry_cutoff_ns == close_ns - 45 * MINUTE
    assert times.flatten_ns == close_ns - 10 * MINUTE
    half = {"open_ns": END_NS - 150 * MINUTE, "close_ns": END_NS + 44 * MINUTE}
    assert judged(round=half).primary_id == "G3"
    unknown = judged(round={"open_ns": 0, "close_ns": 0})
    assert gate(unknown, "G3").passed is None
    assert unknown.outcome == "not_fired"


def test_case_35_old_account_data_blocks_entries_and_no_exit() -> None:
    old = {"account_as_of_ns": END_NS - 10 * 10**9}
    assert judged(round=old).primary_id == "G5"
    assert judged(round={"account": None}).primary_id == "G5"
    bench = Bench.make()
    exits.begin(bench.desk, bench.open(), "manual")
    bench.step(150)
    assert bench.trade().state == T.CLOSED


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf"), -1.0])
@pytest.mark.parametrize("name", ["close", "base_close", "sigma5_bps", "sigma1m_bps", "slow_mean"])
def test_case_60_a_number_that_cannot_be_is_never_traded(name: str, value: float) -> None:
    record = judged(candidate={name: value})

    assert (record.outcome, record.primary_id) == ("not_fired", "S12")
    assert f"Bad input: {name} is" in record.primary_reason


def test_case_62_equal_scores_have_one_order_whoever_came_first() -> None:
    base = {"z": 6.0}
    dear = a_candidate("DDDD", dollar_volume_1m=2_000_000.0, **base)
    names = [a_candidate(symbol, **base) for symbol in ("CCCC", "BBBB", "AAAA")]
    for seed in range(5):
        shuffled = [dear, *names]
        random.Random(seed).shuffle(shuffled)

        decision = decide(
            a_round(*shuffled),
            some_parameters(
                concurrent_trading=True, max_concurrent_positions=4, max_entries_per_round=4,
                max_trades_per_day=9, max_total_exposure_percent=400.0, max_open_risk_percent=20.0,
            ),
            {},
        )  # fmt: skip

        assert [e.symbol for e in decision.entries] == ["DDDD", "AAAA", "BBBB", "CCCC"]


def test_case_64_buckets_that_redis_lost_mean_a_new_warm_up() -> None:
    engine = an_engine()
    engine.begin(K0 + START)
    engine.feed(frame_of([tick for tick in a_burst() if tick.ts_ns // BUCKET_NS >= K0 + START]))
    parts = {one.k - K0: one.report_parts for one in close(engine, K0 + START + 20)}

    assert the_candidates(parts) == {}
    assert State(engine.table["state"][0]) is State.WARMUP
    assert np.isfinite(engine.table["close"][0])
    with pytest.raises((ParameterError, ValueError), match="bucket_ttl"):
        validate({**defaults(), "bucket_ttl": 300})
