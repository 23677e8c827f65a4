"""The decision of a round: order, streaks, records, rows, and that it can be repeated."""

import json
import random
from dataclasses import replace
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from execution.domain.decide import decide
from execution.domain.records import candidate_rows, decision_rows
from execution.domain.rounds import RoundDecision, RoundInput, Streak
from signals.digest import digest
from signals.messages import Candidate
from signals.parameters.catalogue import BY_NAME, ParameterError, profile, validate
from signals.session import BUCKET_NS
from tests.unit.domain_builders import (
    END_NS,
    K,
    a_candidate,
    a_quote,
    a_round,
    an_account,
    some_parameters,
    with_,
)


def reasons(decision: RoundDecision) -> dict[str, str]:
    return {record.symbol: record.primary_id for record in decision.records}


def fired(decision: RoundDecision) -> list[str]:
    return [entry.symbol for entry in decision.entries]


def candidate_of(k: int, symbol: str = "ABCD", **changes: Any) -> Candidate:
    """The same candidate as seen in round k."""
    moved = a_candidate(symbol, **changes)
    return with_(moved, k=k)


# --- one candidate --------------------------------------------------------------------------------
def test_a_candidate_that_passes_everything_fires_one_bracket_entry() -> None:
    decision = decide(a_round(a_candidate()), some_parameters(), {})
    entry, record = decision.entries[0], decision.records[0]

    assert (entry.symbol, entry.quantity, entry.rank) == ("ABCD", 298, 1)
    assert (entry.limit, entry.take_profit, entry.stop_loss) == (
        Decimal("20.08"), Decimal("20.85"), Decimal("19.70"),
    )  # fmt: skip
    assert round(entry.planned_loss, 2) == Decimal("125.21")
    assert entry.notional == Decimal("5983.84")
    assert entry.expires_ns == END_NS + 3_500_000_000
    assert (record.outcome, record.primary_id, record.would_be_action) == ("fired", "", "enter")
    assert record.primary_reason == "Fired: every gate is open, score 52.1, rank 1."


def test_no_candidate_no_decision() -> None:
    decision = decide(a_round(), some_parameters(), {})

    assert decision == RoundDecision(records=(), entries=(), streaks={}, funnel=decision.funnel)
    assert decision.funnel["candidates"] == 0


def test_every_gate_is_evaluated_in_the_fixed_order() -> None:
    record = decide(a_round(a_candidate(), kill_switch="pause"), some_parameters(), {}).records[0]
    ids = [gate.id for gate in record.gates]

    assert ids == [
        *(f"G{n}" for n in range(1, 16)),
        *(f"S{n}" for n in range(1, 14)),
        *(f"C{n}" for n in range(1, 5)),
        "score",
        "confirm",
        *(f"P{n}" for n in range(1, 8)),
    ]


def test_the_primary_reason_is_the_first_failed_gate_of_the_fixed_order() -> None:
    broken = a_candidate(x=1.0, quote=a_quote(bid=19.0))
    record = decide(a_round(broken, trades_today=3), some_parameters(min_score=90.0), {}).records[0]

    assert record.primary_id == "G8"
    assert record.primary_reason == "G8: 3 trades today; your limit is 3."
    assert record.all_failed == ("G8", "S13", "C3", "score")


@pytest.mark.parametrize("account", [an_account(), None])
def test_where_only_near_misses_are_judged_the_account_that_nobody_asked_for_says_nothing(
    account: Any,
) -> None:
    facts = {"account": account, "day_pnl": None if account is None else Decimal(0)}
    old = {**facts, "account_as_of_ns": END_NS - 420_000_000_000}
    miss = a_candidate("MISS", shadow=True)
    alone = decide(a_round(miss, **old), some_parameters(), {})
    beside = decide(a_round(a_candidate(), miss, **old), some_parameters(), {})

    (record,) = alone.records
    said = {gate.id: (gate.passed, gate.open) for gate in record.gates}
    assert (said["G5"], "G5" in record.primary_reason) == ((None, True), False)
    assert said["G7"] == ((True, True) if account else (None, True))
    assert all("G5" in one.all_failed for one in beside.records)
    assert not beside.entries


def test_a_shadow_is_recorded_and_never_fires_nor_counts_in_the_funnel() -> None:
    decision = decide(a_round(a_candidate(shadow=True)), some_parameters(), {})
    record = decision.records[0]

    assert decision.entries == ()
    assert decision.streaks == {}
    assert (record.outcome, record.primary_id) == ("shadow", "shadow")
    assert (decision.funnel["candidates"], decision.funnel["shadow"]) == (0, 1)


# --- streaks --------------------------------------------------------------------------------------
def run_rounds(passing: list[bool | None]) -> list[int]:
    """Streaks over rounds: True passes, False fails a gate, None is a round without it."""
    p = some_parameters(confirm_buckets=6)
    streaks: dict[str, Streak] = {}
    counts = []
    for offset, passes in enumerate(passing):
        k = K + offset
        quote = a_quote(ts_ns=(k + 1) * BUCKET_NS)
        seen = () if passes is None else (candidate_of(k, quote=quote, halted=not passes),)
        decision = decide(a_round(*seen, k=k), p, streaks)
        streaks = decision.streaks
        counts.append(decision.records[0].streak if decision.records else 0)
    return counts


@pytest.mark.parametrize(
    ("rounds", "expected"),
    [
        ([True, True, True], [1, 2, 3]),
        ([True, False, True], [1, 0, 1]),
        ([True, None, True], [1, 0, 1]),
        ([False, True, True], [0, 1, 2]),
    ],
)
def test_a_streak_counts_rounds_in_a_row(rounds: list[bool | None], expected: list[int]) -> None:
    assert run_rounds(rounds) == expected


def test_a_candidate_fires_when_its_streak_is_long_enough() -> None:
    p = some_parameters(confirm_buckets=2)
    first = decide(a_round(a_candidate()), p, {})
    late_quote = a_quote(ts_ns=END_NS + 5_000_000_000)
    second = decide(a_round(candidate_of(K + 1, quote=late_quote), k=K + 1), p, first.streaks)

    assert reasons(first) == {"ABCD": "confirm"}
    assert fired(second) == ["ABCD"]


@pytest.mark.parametrize(
    ("old", "expected"),
    [
        (Streak(k=K - 1, count=1, params_version=1), 2),
        (Streak(k=K - 2, count=1, params_version=1), 1),
        (Streak(k=K, count=1, params_version=1), 1),
        (Streak(k=K - 1, count=0, params_version=1), 1),
        (Streak(k=K - 1, count=1, params_version=2), 1),
    ],
)
def test_a_gap_or_other_parameters_start_the_streak_again(old: Streak, expected: int) -> None:
    c = a_candidate()

    assert (
        decide(a_round(c), some_parameters(), {c.candidate_id: old}).records[0].streak == expected
    )


def test_a_streak_survives_a_dip_within_the_hysteresis_but_does_not_fire_in_it() -> None:
    c = a_candidate()
    old = {c.candidate_id: Streak(k=K - 1, count=3, params_version=1)}

    dip = decide(a_round(c), some_parameters(min_score=56.0), old)
    fall = decide(a_round(c), some_parameters(min_score=58.0), old)
    fresh = decide(a_round(c), some_parameters(min_score=56.0), {})

    assert (dip.records[0].streak, reasons(dip), fired(dip)) == (4, {"ABCD": "score"}, [])
    assert fall.records[0].streak == 0
    assert fresh.records[0].streak == 0


def test_the_worked_round_prefers_the_confirmed_to_the_better() -> None:
    """Trigger 5.2b: ABCD is confirmed, CRWX scores higher but comes for the first time."""
    p = some_parameters(confirm_buckets=2)
    abcd, crwx = a_candidate("ABCD"), a_candidate("CRWX", z=6.0)
    defg = a_candidate("DEFG", quote=a_quote(bid=19.9777))
    old = {abcd.candidate_id: Streak(k=K - 1, count=1, params_version=1)}

    decision = decide(a_round(abcd, crwx, abcd, defg, coverage=0.96), p, old)

    assert fired(decision) == ["ABCD"]
    assert reasons(decision) == {"ABCD": "", "CRWX": "confirm", "DEFG": "C3"}
    assert decision.streaks[crwx.candidate_id].count == 1
    assert len(decision.records) == 3


# --- several candidates ---------------------------------------------------------------------------
def test_the_best_score_fires_and_its_record_lists_whom_it_beat() -> None:
    decision = decide(
        a_round(a_candidate("AAAA"), a_candidate("ZZZZ", z=6.0)), some_parameters(), {}
    )
    loser, winner = decision.records

    assert fired(decision) == ["ZZZZ"]
    assert [(d["symbol"], round(d["final"], 1)) for d in winner.beat] == [("AAAA", 52.1)]
    assert (loser.rank, loser.primary_id) == (2, "P1")
    assert loser.primary_reason == "P1: Your only slot is busy with ZZZZ."
    assert loser.all_failed == ("P1", "rank")


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        ({"dollar_volume_1m": 2e6}, {}),
        ({}, {"quote": a_quote(bid=20.039, median_spread_bps_60s=None)}),
        ({}, {}),
    ],
)
def test_a_tie_is_broken_by_volume_then_spread_then_symbol(
    better: dict[str, Any], worse: dict[str, Any]
) -> None:
    p = some_parameters(score_weight_confidence=0.0, score_weight_z=0.55, max_cost_to_target=0.5)
    symbols = ("AAAA", "BBBB") if not better else ("BBBB", "AAAA")
    pair = a_candidate(symbols[0], **better), a_candidate(symbols[1], **worse)

    assert fired(decide(a_round(*pair), p, {})) == [symbols[0]]


def test_several_entries_share_slots_money_and_the_days_number() -> None:
    p = some_parameters(
        concurrent_trading=True, max_entries_per_round=5, max_total_exposure_percent=100.0,
        max_per_letter=10,
    )  # fmt: skip
    names = ["AA", "BB", "CC", "DD"]
    crowd = [a_candidate(name) for name in names]

    assert fired(decide(a_round(*crowd), p, {})) == ["AA", "BB", "CC"]
    fewer = decide(a_round(*crowd, trades_today=2), p, {})
    assert fired(fewer) == ["AA"]
    assert reasons(fewer)["BB"] == "rank"
    assert "Beaten by AA 52.1" in fewer.records[1].primary_reason


def test_a_second_entry_is_cut_to_the_risk_that_is_left() -> None:
    p = some_parameters(concurrent_trading=True, max_entries_per_round=2, max_open_risk_percent=0.6)

    decision = decide(a_round(a_candidate("AA"), a_candidate("BB")), p, {})

    assert [entry.quantity for entry in decision.entries] == [298, 175]
    plan = decision.records[1].plan
    assert plan is not None
    assert plan["qty"] == 175


def test_the_funnel_counts_who_is_left_after_each_stage() -> None:
    crowd = [
        a_candidate("AA"),
        a_candidate("BB"),
        a_candidate("CC", halted=True),
        a_candidate("DD", quote=None),
        a_candidate("EE", shadow=True),
    ]

    funnel = decide(a_round(*crowd), some_parameters(), {}).funnel

    stages = ("candidates", "G", "S", "C", "score", "confirm")
    assert [funnel[stage] for stage in stages] == [4, 4, 3, 2, 2, 2]
    assert (funnel["P"], funnel["fired"], funnel["shadow"]) == (1, 1, 1)
    assert funnel["closed"]["S3"] == 1
    assert funnel["closed"]["C3"] == 1


# --- it can be repeated ---------------------------------------------------------------------------
def a_crowd() -> list[Candidate]:
    return [
        a_candidate("AA", z=5.0),
        a_candidate("BB", quote=None),
        a_candidate("CC", shadow=True),
        a_candidate("DD", x=float("nan")),
        a_candidate("EE", surge=20.0),
        a_candidate("FF"),
        a_candidate("FF", candidate_id="2026-11-20-FF-1"),
    ]


@given(seed=st.integers(0, 10**6), doubled=st.sets(st.integers(0, 6)))
def test_order_and_duplicates_of_candidates_change_nothing(seed: int, doubled: set[int]) -> None:
    p = some_parameters(max_crowd_percent=100)
    crowd = a_crowd()
    shuffled = crowd + [crowd[n] for n in doubled]
    random.Random(seed).shuffle(shuffled)

    plain = decide(a_round(*crowd), p, {})
    other = decide(a_round(*shuffled), p, {})

    assert json.dumps([r.as_dict() for r in plain.records]) == json.dumps(
        [r.as_dict() for r in other.records]
    )
    assert plain.entries == other.entries
    assert plain.streaks == other.streaks
    assert plain.funnel == other.funnel


def test_two_different_messages_of_one_candidate_give_one_answer_in_any_order() -> None:
    one, two = a_candidate(z=5.0), a_candidate(z=6.0)
    p = some_parameters()

    assert decide(a_round(one, two), p, {}) == decide(a_round(two, one), p, {})
    assert len(decide(a_round(one, two), p, {}).records) == 1


def test_an_older_message_of_a_candidate_gives_way_to_the_newer() -> None:
    older, newer = candidate_of(K - 1), a_candidate()

    assert fired(decide(a_round(older, newer), some_parameters(), {})) == ["ABCD"]


def test_a_stored_round_is_decided_the_same_again() -> None:
    p = some_parameters()
    given_round = a_round(*(c for c in a_crowd() if c.symbol != "DD"))
    stored = msgspec.msgpack.decode(msgspec.msgpack.encode(given_round), type=RoundInput)

    assert stored == given_round
    assert decide(stored, p, {}) == decide(given_round, p, {})


def test_parameters_that_came_back_from_json_decide_the_same() -> None:
    p = some_parameters()
    back = validate(json.loads(json.dumps(p)))
    r = a_round(a_candidate("AA"), a_candidate("BB", z=5.0))

    assert decide(r, back, {}) == decide(r, p, {})


def test_a_record_is_json_whatever_the_numbers() -> None:
    for record in decide(a_round(*a_crowd()), some_parameters(), {}).records:
        text = json.dumps(record.as_dict(), allow_nan=False)
        assert len(record.primary_reason) <= 200
        assert json.loads(text)["symbol"] == record.symbol


# --- hashes ---------------------------------------------------------------------------------------
def rows_hash(round_: RoundInput) -> str:
    return digest(decision_rows(decide(round_, some_parameters(), {}).records))


def test_the_rows_do_not_know_wall_clock_run_or_the_state_of_our_machines() -> None:
    r = a_round(a_candidate("AA"), a_candidate("BB", quote=None))
    later = replace(
        r, run="another", now_ns=r.now_ns + 10**9, account_as_of_ns=r.account_as_of_ns - 10**9,
        relay_lag_ms=900.0, clock_skew_ms=3.0, api_calls_left=None, params_version=1,
    )  # fmt: skip
    later_known = replace(later, api_calls_left=77)

    assert rows_hash(later_known) == rows_hash(r)


@pytest.mark.parametrize(
    "change",
    [
        {"z": 4.6},
        {"close": 20.021},
        {"session": msgspec.structs.replace(a_candidate().session, vwap=19.91)},
        {"quote": a_quote(bid=20.041)},
    ],
)
def test_the_rows_know_every_market_number(change: dict[str, Any]) -> None:
    assert rows_hash(a_round(a_candidate(**change))) != rows_hash(a_round(a_candidate()))


def test_the_rows_are_sorted_and_take_any_order_of_records() -> None:
    records = decide(a_round(*a_crowd()), some_parameters(), {}).records

    assert decision_rows(reversed(records)) == decision_rows(records)
    assert [row[1] for row in decision_rows(records)] == sorted(r.symbol for r in records)


def test_candidate_rows_hold_every_field_and_their_order_does_not_matter() -> None:
    crowd = [c for c in a_crowd() if c.symbol != "DD"]

    assert digest(candidate_rows(crowd)) == digest(candidate_rows(reversed(crowd)))
    assert digest(candidate_rows([a_candidate()])) != digest(
        candidate_rows([a_candidate(window={"x": [1.0]})])
    )
    assert len(candidate_rows([a_candidate()])[0]) == len(Candidate.__struct_fields__)


# --- properties -----------------------------------------------------------------------------------
MINIMA = (
    "min_score", "min_reach_prob", "market_gravity_min", "universe_min_price",
    "ao_min_magnitude_bps", "min_depth_multiple", "luld_min_distance_percent", "futures_trend_min",
    "min_idiosyncratic_share", "min_shard_coverage", "rvol_min", "ao_min_z", "vol_surge_multiplier",
)  # fmt: skip
MAXIMA = (
    "max_spread_bps", "max_cost_to_target", "max_vwap_stretch_percent", "max_chase_percent",
    "max_synthetic_share", "max_crowd_percent", "max_burst_buckets", "max_quote_age_ms",
    "max_relay_lag_ms", "max_clock_skew_ms", "universe_max_price",
)  # fmt: skip


@given(name=st.sampled_from(MINIMA), share=st.floats(0, 1))
def test_raising_a_minimum_never_opens_a_gate(name: str, share: float) -> None:
    row, low = BY_NAME[name], some_parameters()
    assert row.high is not None
    raised = low[name] + share * (row.high - low[name])
    try:
        high = validate({**low, name: raised})
    except ParameterError:
        return
    c = a_candidate(luld_up=20.5)

    before = decide(a_round(c), low, {}).records[0]
    after = decide(a_round(c), high, {}).records[0]

    pairs = zip(before.gates, after.gates, strict=False)
    # the depth is also a cap of the size, and a smaller size may pass other gates
    watched = [(b, a) for b, a in pairs if b.id not in ("S11", "C3", "P7", "rank")]
    assert not [(b.id, a.text) for b, a in watched if a.open and not b.open]


@given(name=st.sampled_from(MAXIMA), share=st.floats(0, 1))
def test_lowering_a_maximum_never_opens_a_gate(name: str, share: float) -> None:
    row, high = BY_NAME[name], some_parameters(vwap_require_above=False)
    assert row.low is not None
    lowered = row.typed(type(high[name])(max(row.low, high[name] - share * (high[name] - row.low))))
    try:
        low = validate({**high, name: lowered})
    except ParameterError:
        return
    c = a_candidate(luld_up=21.5, synthetic_share=0.4, quote=a_quote(bid=20.03))
    inputs = a_round(c, relay_lag_ms=900.0, clock_skew_ms=120.0)

    before, after = (decide(inputs, p, {}).records[0] for p in (high, low))

    pairs = zip(before.gates, after.gates, strict=False)
    assert not [(b.id, a.text) for b, a in pairs if a.open and not b.open and b.id != "rank"]


@given(
    z=st.floats(0, 30),
    ask=st.floats(1.5, 400),
    sigma=st.floats(0.5, 300),
    volume=st.integers(0, 10**7),
    equity=st.integers(100, 10**7),
)
def test_whatever_fires_has_a_bracket_in_order_and_fits_the_account(
    z: float, ask: float, sigma: float, volume: int, equity: int
) -> None:
    ask = round(ask, 2)
    c = a_candidate(
        z=z, close=ask, base_close=ask, sigma1m_bps=sigma, volume_5m=volume,
        quote=a_quote(bid=round(ask - 0.01, 2), ask=ask, median_spread_bps_60s=None),
    )  # fmt: skip
    account = an_account(equity=Decimal(equity), last_equity=Decimal(equity))
    p = some_parameters(
        min_score=0.0, min_reach_prob=0.0, use_vwap_alignment=False, universe_min_price=1.0,
        use_market_gravity=False, max_spread_bps=300.0, max_cost_to_target=0.5,
    )  # fmt: skip

    for entry in decide(a_round(c, account=account), p, {}).entries:
        assert entry.stop_loss < entry.limit < entry.take_profit
        assert entry.quantity >= 1
        assert entry.notional <= Decimal(equity) * Decimal("0.2")
        assert entry.planned_loss <= Decimal(equity) * Decimal("0.005")
        assert entry.notional * Decimal("1.01") <= account.cash


def test_the_quiet_profile_lets_a_small_burst_of_a_large_name_through() -> None:
    """A large name on a tape of four symbols: 14 USD, one cent of spread, x of 2 bps."""
    c = a_candidate(
        "BAC", x=2.0, z=1.8, accel=0.3, surge=1.5, sigma5_bps=1.5, sigma1m_bps=5.0,
        close=14.05, base_close=14.04, volume_1m=80_000, volume_5m=400_000,
        quote=a_quote(bid=14.05, ask=14.06, ask_size=40_000, median_spread_bps_60s=7.1),
    )  # fmt: skip
    r = a_round(
        c, universe=frozenset({"AIG", "BAC", "IBM", "SPY"}), index={}, n_symbols=4, n_expected=4,
        account=an_account(
            equity=Decimal(100_000), last_equity=Decimal(100_000), cash=Decimal(100_000),
            buying_power=Decimal(200_000),
        ),
    )  # fmt: skip

    decision = decide(r, profile("quiet"), {})

    assert fired(decision) == ["BAC"], decision.records[0].primary_reason
    entry = decision.entries[0]
    assert (entry.limit, entry.take_profit, entry.stop_loss) == (
        Decimal("14.06"), Decimal("14.09"), Decimal("14.03"),
    )  # fmt: skip
