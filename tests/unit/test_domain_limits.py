"""The last look before an order leaves: each refusal at its value and one step beyond."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from execution.domain.decide import decide
from execution.domain.limits import DenyCode, LimitContext, denials, recheck
from execution.domain.rounds import EntryPlan
from tests.unit.domain_builders import (
    CLOSE_NS,
    END_NS,
    OPEN_NS,
    a_candidate,
    a_quote,
    a_round,
    an_account,
    some_parameters,
)

MS = 1_000_000
SECOND = 1_000 * MS
NOW = END_NS + 2 * SECOND
D = DenyCode


def a_plan(**changes: Any) -> EntryPlan:
    plan = decide(a_round(a_candidate()), some_parameters(), {}).entries[0]
    return replace(plan, **changes)


def a_context(**changes: Any) -> LimitContext:
    base: dict[str, Any] = {
        "now_ns": NOW,
        "mode": "paper",
        "account_mode": "paper",
        "kill_switch": "none",
        "lease_left_ms": 6000.0,
        "parameters_valid": True,
        "open_ns": OPEN_NS,
        "close_ns": CLOSE_NS,
        "reconciled_ns": NOW - 90 * SECOND,
        "doubt": "",
        "data_flags": (),
        "tradable": True,
        "halted": False,
        "quote": a_quote(ts_ns=NOW - 2 * SECOND),
        "last_price": Decimal("20.05"),
        "last_trade_ns": NOW - 5 * SECOND,
        "luld_up": None,
        "account": an_account(),
        "account_as_of_ns": NOW - 10 * SECOND,
        "reserved_usd": Decimal(0),
        "day_pnl": Decimal("-449.99"),
        "consecutive_losses": 1,
        "open_positions": 0,
        "entries_today": 2,
        "symbol_entries_today": 0,
        "last_same_entry_ns": NOW - 60 * SECOND,
        "entries_last_minute": 4,
        "requests_last_minute": 59,
        "api_calls_left": 61,
        "usual_value": Decimal("1200"),
    }
    return LimitContext(**{**base, **changes})


def test_an_entry_at_every_limit_is_sent() -> None:
    assert recheck(a_plan(), a_context(), some_parameters()) is None


BEYOND = [
    (D.KILL_SWITCH, {"kill_switch": "pause"}),
    (D.MODE, {"mode": "off"}),
    (D.MODE, {"account_mode": "live"}),
    (D.LEASE, {"lease_left_ms": 5999.9}),
    (D.LEASE, {"lease_left_ms": None}),
    (D.PARAMETERS, {"parameters_valid": False}),
    (D.SESSION, {"open_ns": NOW + 1}),
    (D.SESSION, {"close_ns": NOW + 45 * 60 * SECOND - 1}),
    (D.SESSION, {"open_ns": 0, "close_ns": 0}),
    (D.RECONCILE, {"reconciled_ns": NOW - 90 * SECOND - 1}),
    (D.RECONCILE, {"reconciled_ns": None}),
    (D.DOUBT, {"doubt": "books and broker differ"}),
    (D.DATA_FLAGS, {"data_flags": ("gap",)}),
    (D.NOT_TRADABLE, {"tradable": False}),
    (D.NOT_TRADABLE, {"tradable": None}),
    (D.HALTED, {"halted": True}),
    (D.HALTED, {"halted": None}),
    (D.QUOTE, {"quote": None}),
    (D.QUOTE, {"quote": a_quote(ts_ns=NOW - 2 * SECOND - 1)}),
    (D.QUOTE, {"quote": a_quote(ts_ns=NOW, bid=20.06)}),
    (D.SPREAD, {"quote": a_quote(ts_ns=NOW, bid=20.00)}),
    (D.ASK_MOVED, {"quote": a_quote(ts_ns=NOW, bid=20.07, ask=20.09)}),
    (D.TRADE_AGE, {"last_trade_ns": NOW - 5 * SECOND - 1}),
    (D.TRADE_AGE, {"last_trade_ns": None}),
    (D.COLLAR, {"last_price": Decimal("19.88")}),
    (D.COLLAR, {"last_price": None}),
    (D.BAND, {"luld_up": Decimal("20.07")}),
    (D.FAT_FINGER, {"usual_value": Decimal("1196.76")}),
    (D.ORDER_VALUE, {"account": an_account(equity=Decimal("29919.19"))}),
    (D.ACCOUNT, {"account": None}),
    (D.ACCOUNT, {"account_as_of_ns": NOW - 10 * SECOND - 1}),
    (D.ACCOUNT, {"account": an_account(status="ACCOUNT_UPDATED")}),
    (D.ACCOUNT, {"account": an_account(trading_blocked=True)}),
    (D.BUYING_POWER, {"account": an_account(cash=Decimal("6043.67"))}),
    (D.BUYING_POWER, {"account": an_account(buying_power=Decimal("6043.67"))}),
    (D.BUYING_POWER, {"reserved_usd": Decimal("53956.33")}),
    (D.DAILY_LOSS, {"day_pnl": Decimal(-450)}),
    (D.DAILY_LOSS, {"day_pnl": None}),
    (D.LOSSES, {"consecutive_losses": 2}),
    (D.POSITIONS, {"open_positions": 1}),
    (D.ENTRIES, {"entries_today": 3}),
    (D.SYMBOL_ENTRIES, {"symbol_entries_today": 1}),
    (D.DUPLICATE, {"last_same_entry_ns": NOW - 60 * SECOND + 1}),
    (D.ORDER_RATE, {"entries_last_minute": 5}),
    (D.ORDER_RATE, {"requests_last_minute": 60}),
    (D.API_BUDGET, {"api_calls_left": 60}),
]


@pytest.mark.parametrize(
    ("code", "facts"), BEYOND, ids=[f"{code}-{n}" for n, (code, _) in enumerate(BEYOND)]
)
def test_one_step_beyond_a_limit_is_denied_with_its_code(
    code: DenyCode, facts: dict[str, Any]
) -> None:
    found = list(denials(a_plan(), a_context(**facts), some_parameters()))

    assert found[0].code is code, found
    assert found[0].text.endswith(".")


@pytest.mark.parametrize(
    ("code", "plan"),
    [
        (D.SIGNAL_AGE, {"expires_ns": NOW - 1}),
        (D.QUANTITY, {"quantity": 0}),
        (D.GEOMETRY, {"stop_loss": Decimal("20.08")}),
        (D.GEOMETRY, {"take_profit": Decimal("20.085")}),
        (D.ORDER_VALUE, {"quantity": 299}),
    ],
)
def test_a_plan_beyond_a_limit_is_denied(code: DenyCode, plan: dict[str, Any]) -> None:
    denial = recheck(a_plan(**plan), a_context(), some_parameters())

    assert denial is not None
    assert denial.code is code


def test_more_shares_than_a_fat_finger_types_are_denied() -> None:
    rich = an_account(cash=Decimal(10**8), equity=Decimal(10**8), buying_power=Decimal(10**8))
    context = a_context(account=rich, usual_value=None)

    assert recheck(a_plan(quantity=50_000), context, some_parameters()) is None
    denial = recheck(a_plan(quantity=50_001), context, some_parameters())
    assert denial is not None
    assert denial.code is D.QUANTITY


def test_a_price_below_the_floor_is_denied() -> None:
    denial = recheck(a_plan(), a_context(), some_parameters(universe_min_price=20.07))

    assert denial is not None
    assert denial.code is D.PRICE_FLOOR


@pytest.mark.parametrize(
    "facts",
    [{"usual_value": None}, {"api_calls_left": None}, {"last_same_entry_ns": None}],
)
def test_what_has_no_history_is_no_reason(facts: dict[str, Any]) -> None:
    assert recheck(a_plan(), a_context(**facts), some_parameters()) is None


def test_margin_and_a_switched_off_spread_are_the_owners_choice() -> None:
    poor = a_context(account=an_account(cash=Decimal(1)))
    wide = a_context(quote=a_quote(ts_ns=NOW, bid=20.00))

    assert recheck(a_plan(), poor, some_parameters(use_margin=True)) is None
    assert recheck(a_plan(), wide, some_parameters(use_spread_liquidity=False)) is None


@pytest.mark.parametrize(
    ("facts", "value", "limit"),
    [
        ({"lease_left_ms": 5999.9}, "5999.9", "6000"),
        ({"lease_left_ms": None}, None, "6000"),
        ({"reconciled_ns": NOW - 91 * SECOND}, "91", "90"),
        ({"data_flags": ("gap", "warmup")}, "2", "0"),
        ({"quote": a_quote(ts_ns=NOW - 3 * SECOND)}, "3000", "2000"),
        ({"quote": a_quote(ts_ns=NOW, bid=20.00)}, "29.955067", "25"),
        ({"quote": a_quote(ts_ns=NOW, bid=20.07, ask=20.09)}, "20.09", "20.08"),
        ({"last_trade_ns": NOW - 6 * SECOND}, "6", "5"),
        ({"last_price": Decimal("19.88")}, "1.006036", "1"),
        ({"luld_up": Decimal("20.07")}, "20.08", "20.07"),
        ({"usual_value": Decimal(1000)}, "5983.84", "5000"),
        ({"account_as_of_ns": NOW - 11 * SECOND}, "11", "10"),
        ({"reserved_usd": Decimal("53956.33")}, "6043.678400", "6043.67"),
        ({"day_pnl": Decimal(-450)}, "-450", "-450"),
        ({"entries_today": 3}, "3", "3"),
        ({"last_same_entry_ns": NOW - 30 * SECOND}, "30", "60"),
        ({"api_calls_left": 60}, "60", "60"),
        ({"halted": True}, None, None),
    ],
)
def test_a_denial_carries_what_was_measured_and_what_is_allowed(
    facts: dict[str, Any], value: str | None, limit: str | None
) -> None:
    denial = recheck(a_plan(), a_context(**facts), some_parameters())

    assert denial is not None
    assert denial.value == (None if value is None else Decimal(value))
    assert denial.limit == (None if limit is None else Decimal(limit))


def test_every_code_has_its_test() -> None:
    by_plan = {D.SIGNAL_AGE, D.QUANTITY, D.GEOMETRY, D.PRICE_FLOOR}

    assert {code for code, _ in BEYOND} | by_plan == set(D)
