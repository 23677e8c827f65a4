"""The tables of orders and trades, walked cell by cell, and the names of orders."""

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from execution.domain.orders import (
    LIVE,
    TERMINAL,
    TRADE_ENDED,
    TRADE_HOLDS,
    TRADE_TRANSITIONS,
    TRANSITIONS,
    IllegalTransition,
    OrderEvent,
    OrderStatus,
    TradeEvent,
    TradeState,
    client_order_id,
    event_of,
    is_late_fill,
    next_status,
    next_trade_state,
    parse_client_order_id,
)

S, E, T, V = OrderStatus, OrderEvent, TradeState, TradeEvent
DAY = date(2013, 10, 7)


@pytest.mark.parametrize("status", list(S))
@pytest.mark.parametrize("event", list(E))
def test_an_order_moves_as_its_table_says_and_never_otherwise(
    status: OrderStatus, event: OrderEvent
) -> None:
    if event in TRANSITIONS[status]:
        assert next_status(status, event) is TRANSITIONS[status][event]
        return
    with pytest.raises(IllegalTransition, match=f"{event} is not possible in {status}"):
        next_status(status, event)


@pytest.mark.parametrize("state", list(T))
@pytest.mark.parametrize("event", list(V))
def test_a_trade_moves_as_its_table_says_and_never_otherwise(
    state: TradeState, event: TradeEvent
) -> None:
    if event in TRADE_TRANSITIONS[state]:
        assert next_trade_state(state, event) is TRADE_TRANSITIONS[state][event]
        return
    with pytest.raises(IllegalTransition):
        next_trade_state(state, event)


def test_the_tables_are_closed() -> None:
    assert set(TRANSITIONS) == set(S)
    assert set(TRADE_TRANSITIONS) == set(T)
    assert TERMINAL | LIVE | {S.INTENT} == set(S)
    assert not TERMINAL & LIVE
    assert not TRADE_ENDED & TRADE_HOLDS
    assert TRADE_ENDED | TRADE_HOLDS | {T.RESERVED, T.SUBMITTED} == set(T)


def test_nothing_terminal_goes_back_to_live_but_a_late_appearance() -> None:
    for status in TERMINAL - {S.ABANDONED}:
        assert not [event for event, to in TRANSITIONS[status].items() if to in LIVE]


def test_a_filled_order_can_only_be_busted() -> None:
    assert set(TRANSITIONS[S.FILLED].values()) == {S.FILLED, S.BUSTED}


def test_an_intent_is_sent_denied_or_expired() -> None:
    assert set(TRANSITIONS[S.INTENT].values()) == {S.SENDING, S.DENIED, S.EXPIRED_LOCAL}


@pytest.mark.parametrize(
    ("events", "end"),
    [
        ("send accept fill", S.FILLED),
        ("send fill accept", S.FILLED),  # the stream was faster than the answer
        ("send lose accept partial_fill fill", S.FILLED),
        ("send lose abandon", S.ABANDONED),
        ("send lose abandon accept fill", S.FILLED),  # a late appearance is adopted
        ("send refuse", S.REFUSED),
        ("send accept reject", S.REJECTED),
        ("send accept request_cancel partial_fill cancel", S.CANCELED),
        ("send accept request_cancel fill", S.FILLED),
        ("send accept request_cancel cancel fill", S.FILLED),  # the fill won the race
        ("send accept request_cancel refuse_request", S.WORKING),
        ("send accept request_replace replace", S.REPLACED),
        ("send accept request_replace accept fill", S.FILLED),
        ("send accept expire", S.EXPIRED),
        ("send accept done_for_day cancel", S.CANCELED),
        ("send accept fill bust", S.BUSTED),
    ],
)
def test_the_lives_of_an_order(events: str, end: OrderStatus) -> None:
    status = S.INTENT
    for event in events.split():
        status = next_status(status, E(event))

    assert status is end


@pytest.mark.parametrize(
    ("events", "end"),
    [
        ("submit fill protect flat", T.CLOSED),
        ("submit protect flat", T.CLOSED),
        ("submit partial_fill fill protect exit flat", T.CLOSED),
        ("submit partial_fill exit flat", T.CLOSED),
        ("submit expire", T.ENTRY_EXPIRED),
        ("submit expire fill protect", T.OPEN_PROTECTED),
        ("reject", T.REJECTED),
        ("expire", T.ENTRY_EXPIRED),
        ("submit lose submit fill protect", T.OPEN_PROTECTED),
        ("submit lose expire", T.ENTRY_EXPIRED),
        ("submit fill protect partial_fill", T.UNPROTECTED),
        ("submit fill protect exit unprotect protect", T.OPEN_PROTECTED),
        ("submit fill protect exit hold exit flat", T.CLOSED),
    ],
)
def test_the_lives_of_a_trade(events: str, end: TradeState) -> None:
    state = T.RESERVED
    for event in events.split():
        state = next_trade_state(state, V(event))

    assert state is end


@pytest.mark.parametrize("word", ["new", "held", "filled", "partial_fill", "canceled", "replaced"])
def test_the_venues_words_have_a_meaning(word: str) -> None:
    assert event_of(word) in E


def test_an_unknown_word_of_the_venue_is_looked_up() -> None:
    assert event_of("teleported") is None


def test_a_fill_after_the_end_is_late() -> None:
    assert is_late_fill(S.CANCELED, E.PARTIAL_FILL)
    assert is_late_fill(S.ABANDONED, E.FILL)
    assert not is_late_fill(S.PENDING_CANCEL, E.FILL)
    assert not is_late_fill(S.CANCELED, E.CANCEL)


# --- names ----------------------------------------------------------------------------------------
def test_a_name_says_account_day_slot_try_and_purpose_and_nothing_else() -> None:
    assert client_order_id("PA3XYZ7B9Q", DAY, 1, 1, "e") == "v1-7b9q-131007-s1-t1-e"
    assert client_order_id("PA3XYZ7B9Q", DAY, 12, 2, "o3") == "v1-7b9q-131007-s12-t2-o3"


@given(
    account=st.text("ABCDEFGHIJ0123456789", min_size=1, max_size=20),
    day=st.dates(date(2000, 1, 1), date(2099, 12, 31)),
    slot=st.integers(1, 999),
    try_no=st.integers(1, 999),
    purpose=st.sampled_from("eoxf"),
    seq=st.none() | st.integers(1, 999),
)
def test_a_name_is_read_back_as_it_was_made(
    account: str, day: date, slot: int, try_no: int, purpose: str, seq: int | None
) -> None:
    name = client_order_id(account, day, slot, try_no, f"{purpose}{seq or ''}")
    read = parse_client_order_id(name)

    assert read is not None
    assert (read.day, read.slot, read.try_no, read.purpose, read.seq) == (
        day, slot, try_no, purpose, seq,
    )  # fmt: skip
    assert len(name) <= 48


@pytest.mark.parametrize(
    "name",
    [
        "",
        "my own order",
        "v2-7b9q-131007-s1-t1-e",
        "v1-7b9q-131307-s1-t1-e",
        "v1-7b9q-131007-s1-t1-z",
        "v1-7b9q-131007-s1-t1-e" + "0" * 40,
        "v1-7b9q-131007-s1-t1-e\n",
    ],
)
def test_a_foreign_name_is_not_ours(name: str) -> None:
    assert parse_client_order_id(name) is None


@pytest.mark.parametrize("purpose", ["", "q", "entry", "e-1"])
def test_a_purpose_outside_the_form_is_refused(purpose: str) -> None:
    with pytest.raises(ValueError, match="not an order name"):
        client_order_id("PA12345678", DAY, 1, 1, purpose)
