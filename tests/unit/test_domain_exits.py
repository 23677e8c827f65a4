"""Exit signals: every check of the walk, the end of the day, the rising stop."""

from dataclasses import replace
from datetime import date, time
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from execution.domain.exits import (
    ExitContext,
    ExitOutcome,
    ladder,
    validate_exit,
)
from execution.domain.orders import TradeState
from execution.domain.software_exits import ratcheted_stop, time_stop_ns
from signals.messages import ExitSignal
from signals.session import BUCKET_NS, new_york_ns, regular_session
from tests.unit.domain_builders import END_NS, K, a_quote, some_parameters

MS = 1_000_000
T = END_NS
ACTED, CONFIRMED = ExitOutcome.ACTED, ExitOutcome.CONFIRMED_BY_BROKER
DEFERRED, REJECTED = ExitOutcome.DEFERRED, ExitOutcome.REJECTED


def a_signal(**changes: Any) -> ExitSignal:
    base: dict[str, Any] = {
        "run": "test",
        "signal_id": "1-7-19",
        "position_id": "test:1",
        "position_version": 2,
        "symbol": "ABCD",
        "shard": 0,
        "epoch": 1,
        "k": K,
        "kind": "stop",
        "threshold": 19.70,
        "price": 19.69,
        "size": 100,
        "ts_ns": T,
        "trade_id": 19,
        "exchange": "N",
        "conditions": ["@"],
        "prior_price": 19.71,
        "prior_ts_ns": T - MS,
        "prints_through": 2,
        "sigma5_bps": 3.65,
        "bid": 19.69,
        "ask": 19.70,
        "quote_ts_ns": T,
    }
    return ExitSignal(**{**base, **changes})


def a_context(**changes: Any) -> ExitContext:
    base: dict[str, Any] = {
        "now_ns": T + 1500 * MS,
        "seen": False,
        "newest": True,
        "position_version": 2,
        "state": TradeState.OPEN_PROTECTED,
        "broker_quantity": 298,
        "broker_as_of_ns": T + 1400 * MS,
        "leg_filled": False,
        "leg_partially_filled": False,
        "entry_fill_ns": T - 60_000 * MS,
        "print_eligible": True,
        "print_canceled": False,
        "quote": a_quote(bid=19.69, ask=19.70, ts_ns=T + 1400 * MS),
        "halted": False,
        "exit_mode": "broker_bracket",
    }
    return ExitContext(**{**base, **changes})


WALK = [
    ("E1", REJECTED, "duplicate", {"seen": True}, {}),
    ("E1", REJECTED, "unknown_position", {"position_version": None}, {}),
    ("E1", REJECTED, "stale_version", {"position_version": 3}, {}),
    ("E1", REJECTED, "stale_version", {"newest": False}, {}),
    ("E2", REJECTED, "already_exiting", {"state": TradeState.EXITING}, {}),
    ("E2", REJECTED, "state_closed", {"state": TradeState.CLOSED}, {}),
    ("E2", REJECTED, "state_submitted", {"state": TradeState.SUBMITTED}, {}),
    (
        "E2",
        CONFIRMED,
        "leg_already_filled",
        {"state": TradeState.CLOSED, "leg_filled": True},
        {},
    ),
    ("E3", REJECTED, "no_position", {"broker_quantity": 0}, {}),
    ("E3", REJECTED, "no_position", {"broker_quantity": -5}, {}),
    ("E3", DEFERRED, "position_not_fresh", {"broker_quantity": None}, {}),
    ("E3", DEFERRED, "position_not_fresh", {"broker_as_of_ns": T - 500 * MS}, {}),
    ("E4", CONFIRMED, "leg_already_filled", {"leg_filled": True, "broker_quantity": 0}, {}),
    ("E5", REJECTED, "ineligible_print", {"print_eligible": False}, {}),
    ("E5", REJECTED, "ineligible_print", {"print_canceled": True}, {}),
    ("E5", REJECTED, "late_print", {}, {"ts_ns": T - 3501 * MS}),
    ("E5", REJECTED, "late_print", {"entry_fill_ns": T + 1}, {}),
    (
        "E6",
        DEFERRED,
        "lone_print",
        {"quote": a_quote(bid=19.71, ask=19.72, ts_ns=T + 1400 * MS)},
        {"prints_through": 1},
    ),
    ("E6", DEFERRED, "lone_print", {}, {"price": 19.64, "prior_price": 19.71}),
    ("E6", REJECTED, "lone_print", {"quote": None, "tries": 3}, {"prints_through": 1}),
    ("E7", DEFERRED, "no_sane_quote", {"quote": None}, {}),
    (
        "E7",
        DEFERRED,
        "no_sane_quote",
        {"quote": a_quote(bid=19.70, ask=19.69, ts_ns=T)},
        {},
    ),
    (
        "E7",
        REJECTED,
        "no_sane_quote",
        {"quote": None, "now_ns": T + 2000 * MS, "broker_as_of_ns": T + 2000 * MS},
        {"kind": "target", "prints_through": 2},
    ),
    ("E8", DEFERRED, "halted", {"halted": True}, {}),
    ("E9", DEFERRED, "broker_grace", {"now_ns": T + 1499 * MS}, {}),
    ("E10", REJECTED, "not_permitted", {}, {"kind": "fade"}),
]


@pytest.mark.parametrize(
    ("check", "outcome", "reason", "facts", "signal"),
    WALK,
    ids=[f"{check}-{reason}" for check, _, reason, _, _ in WALK],
)
def test_the_walk_ends_at_the_first_check_that_says_no(
    check: str,
    outcome: ExitOutcome,
    reason: str,
    facts: dict[str, Any],
    signal: dict[str, Any],
) -> None:
    given = a_context(**facts)

    verdict = validate_exit(a_signal(**signal), given, some_parameters())

    assert (verdict.outcome, verdict.reason) == (outcome, reason)
    assert verdict.checks[-1] == {"id": check, "pass": False, "text": reason}
    assert [c["id"] for c in verdict.checks] == [f"E{n}" for n in range(1, int(check[1:]) + 1)]
    assert (verdict.retry_at_ns is not None) == (outcome is DEFERRED)
    if verdict.retry_at_ns is not None:
        assert verdict.retry_at_ns > given.now_ns


def test_a_stop_that_the_broker_did_not_act_on_is_acted_on() -> None:
    verdict = validate_exit(a_signal(), a_context(), some_parameters())

    assert (verdict.outcome, verdict.quantity_left) == (ACTED, False)
    assert len(verdict.checks) == 10


@pytest.mark.parametrize(
    ("facts", "signal"),
    [
        ({"state": TradeState.UNPROTECTED}, {}),
        ({"now_ns": T + 1500 * MS}, {"ts_ns": T}),
        ({}, {"prints_through": 1}),  # the bid is at the level
        ({}, {"prior_price": None}),
        ({}, {"sigma5_bps": None, "price": 18.0}),
        (
            {"quote": None, "now_ns": T + 2000 * MS, "broker_as_of_ns": T + 2000 * MS},
            {},
        ),  # a stop is believed without a quote in the end
        ({"exit_mode": "bracket_plus_software"}, {"kind": "trail", "prints_through": 2}),
        ({"tries": 1, "now_ns": T + 7000 * MS, "broker_as_of_ns": T + 7000 * MS}, {}),
    ],
)
def test_what_is_true_is_acted_on(facts: dict[str, Any], signal: dict[str, Any]) -> None:
    verdict = validate_exit(a_signal(**signal), a_context(**facts), some_parameters())

    assert verdict.outcome is ACTED, verdict.reason


def test_a_target_is_confirmed_by_a_bid_at_it() -> None:
    signal = a_signal(kind="target", threshold=20.85, price=20.86, prior_price=20.85,
                      prints_through=1)  # fmt: skip
    at = a_context(quote=a_quote(bid=20.85, ask=20.86, ts_ns=T + 1400 * MS))
    below = a_context(quote=a_quote(bid=20.84, ask=20.86, ts_ns=T + 1400 * MS))

    assert validate_exit(signal, at, some_parameters()).outcome is ACTED
    assert validate_exit(signal, below, some_parameters()).reason == "lone_print"


def test_a_partly_filled_target_leaves_the_rest_to_sell() -> None:
    context = a_context(leg_partially_filled=True)

    assert validate_exit(a_signal(), context, some_parameters()).quantity_left


@pytest.mark.parametrize("price", [19.648, 19.772])
def test_a_print_within_the_noise_is_no_outlier(price: float) -> None:
    inside = a_signal(price=price, prior_price=19.71)
    beyond = msgspec.structs.replace(inside, price=19.646)

    assert validate_exit(inside, a_context(), some_parameters()).outcome is ACTED
    assert validate_exit(beyond, a_context(), some_parameters()).reason == "lone_print"


def test_a_deferred_print_is_looked_at_one_bucket_later() -> None:
    context = replace(a_context(), quote=None)
    verdict = validate_exit(a_signal(prints_through=1), context, some_parameters())

    assert verdict.retry_at_ns == context.now_ns + BUCKET_NS


# --- the end of the day ---------------------------------------------------------------------------
@pytest.mark.parametrize("close", [time(16), time(13)])
def test_the_ladder_hangs_on_the_calendars_close(close: time) -> None:
    day = date(2013, 11, 29)
    session = regular_session(day, close=close)

    steps = ladder(session.close_ns, some_parameters())

    minutes = [
        (at - new_york_ns(day, close)) / 60e9
        for at in (
            steps.entry_cutoff_ns,
            steps.flatten_ns,
            steps.close_all_ns,
            steps.hard_flatten_ns,
            steps.verify_ns,
        )
    ]
    assert minutes == [-45, -10, -5, -3, 2]


@pytest.mark.parametrize(("flatten", "hard", "expected"), [(4, 3, 4), (30, 8, 8), (10, 3, 5)])
def test_the_venues_close_all_stays_between_the_two_flattens(
    flatten: int, hard: int, expected: int
) -> None:
    p = some_parameters(flatten_min_before_close=flatten, hard_flatten_min=hard)

    assert ladder(0, p).close_all_ns == -expected * 60 * 10**9


def test_the_time_stop_is_a_software_exit() -> None:
    software = {"exit_mode": "bracket_plus_software"}

    assert time_stop_ns(T, some_parameters()) is None
    assert time_stop_ns(T, some_parameters(**software)) == T + 120 * 60 * 10**9
    assert time_stop_ns(T, some_parameters(**software, max_hold_minutes=0)) is None


# --- the rising stop ------------------------------------------------------------------------------
def stop_after(high: str, current: str = "19.70", **parameters: Any) -> Decimal:
    p = some_parameters(
        **{"exit_mode": "bracket_plus_software", "trailing_enabled": True, **parameters}
    )
    return ratcheted_stop(
        entry=Decimal("20.08"),
        risk=Decimal("0.38"),
        high=Decimal(high),
        current=Decimal(current),
        cost=Decimal("20.08") * Decimal("0.00138106"),
        parameters=p,
    )


@pytest.mark.parametrize(
    ("high", "expected"),
    [("20.20", "19.70"), ("20.45", "19.70"), ("20.46", "20.11"), ("20.70", "20.32")],
)
def test_the_stop_rises_as_in_the_worked_example(high: str, expected: str) -> None:
    assert stop_after(high) == Decimal(expected)


def test_the_stop_never_falls_and_never_moves_without_software_exits() -> None:
    assert stop_after("20.46", current="20.30") == Decimal("20.30")
    assert stop_after("20.70", exit_mode="broker_bracket") == Decimal("19.70")
    assert stop_after("20.70", trailing_enabled=False) == Decimal("20.11")
    assert stop_after("20.46", breakeven_at_r=0.0) == Decimal("19.70")
