"""The day again under other limits: what a simulated trade changes for those that follow it."""

from typing import Any

import pytest

from execution.domain.path import FOLLOWED, UNFOLLOWED, DayPath, PathLost
from execution.domain.rounds import RoundInput
from signals.nearmiss import Bar
from signals.session import BUCKET_NS
from tests.unit.domain_builders import K, a_candidate, a_quote, a_round, some_parameters

UP, DOWN, FLAT, CRASH = (20.1, 20.9), (19.5, 20.0), (20.0, 20.2), (18.0, 19.0)


def a_look(symbol: str, k: int) -> RoundInput:
    """A round in which the worked example bursts."""
    quote = a_quote(ts_ns=(k + 1) * BUCKET_NS + 600_000_000)
    return a_round(a_candidate(symbol, k=k, quote=quote), k=k)


def bars_of(paths: dict[str, tuple[float, float]], turn: int = 10) -> Any:
    """Every stock stands for `turn` buckets, then trades in its (low, high)."""

    def after(symbol: str, k: int, newest: int) -> list[Bar]:
        found = []
        for one in range(k + 1, newest + 1):
            low, high = paths[symbol] if one >= k + turn else FLAT
            found.append(Bar(one, high, low, low, 100, 5, low, synthetic=False))
        return found

    return after


def played(
    *looks: tuple[str, int], paths: dict[str, tuple[float, float]], **limits: Any
) -> list[str]:
    """What became of each look: fired, or the first gate that was closed."""
    until = max(k for _, k in looks)
    day = DayPath(new=some_parameters(**limits), bars_after=bars_of(paths), until_k=until)
    answers = day.play([a_look(symbol, k) for symbol, k in looks])
    return ["fired" if answer.entries else answer.records[0].all_failed[0] for answer in answers]


TWO = (("ABCD", K), ("EFGH", K + 60))
SAME = (("ABCD", K), ("ABCD", K + 60))


@pytest.mark.parametrize(
    ("looks", "first", "limits", "became"),
    [
        (TWO, UP, {"stop_after_take_profits": 1}, "G9"),
        (TWO, UP, {"stop_after_take_profits": 2}, "fired"),
        (TWO, UP, {"stop_after_take_profits": 2, "max_trades_per_day": 1}, "G8"),
        (TWO, UP, {"stop_after_take_profits": 0, "cooldown_after_trade_s": 600}, "G11"),
        (TWO, DOWN, {"max_consecutive_losses": 1}, "G10"),
        (TWO, DOWN, {"max_consecutive_losses": 2}, "fired"),
        (TWO, UP, {"stop_after_take_profits": 0, "max_consecutive_losses": 1}, "fired"),
        (TWO, CRASH, {"max_daily_loss_percent": 1.0}, "G7"),
        (TWO, CRASH, {"max_daily_loss_percent": 1.5}, "fired"),
        (TWO, FLAT, {}, "P1"),
        (TWO, FLAT, {"concurrent_trading": True, "max_concurrent_positions": 3}, "fired"),
        (SAME, UP, {"stop_after_take_profits": 0}, "S6"),
        (SAME, UP, {"stop_after_take_profits": 0, "max_trades_per_symbol_per_day": 2}, "S6"),
        (SAME, UP, {"stop_after_take_profits": 0, "max_trades_per_symbol_per_day": 2,
                    "symbol_cooldown_s": 60}, "fired"),
    ],
)  # fmt: skip
def test_a_trade_of_the_other_day_counts_for_all_that_follow(
    looks: tuple[tuple[str, int], ...],
    first: tuple[float, float],
    limits: dict[str, Any],
    became: str,
) -> None:
    assert played(*looks, paths={"ABCD": first, "EFGH": FLAT}, **limits) == ["fired", became]


def test_what_was_really_open_or_traded_does_not_count() -> None:
    busy = a_look("ABCD", K)
    really = RoundInput(**{
        **{name: getattr(busy, name) for name in busy.__dataclass_fields__},
        "busy_symbols": frozenset({"ABCD"}), "trades_today": 3, "unprotected": True,
    })  # fmt: skip
    day = DayPath(new=some_parameters(), bars_after=bars_of({}), until_k=K)

    (answer,) = day.play([really])

    assert [entry.symbol for entry in answer.entries] == ["ABCD"]


def test_money_is_bound_while_a_trade_is_open_and_comes_back_with_its_gain() -> None:
    looks = [a_look("ABCD", K), a_look("EFGH", K + 5), a_look("EFGH", K + 60)]
    day = DayPath(
        new=some_parameters(), bars_after=bars_of({"ABCD": UP, "EFGH": FLAT}), until_k=K + 60
    )
    list(day.play(looks[:1]))
    (trade,) = day.trades
    start = looks[0].account
    assert start is not None

    bound, back = day._inputs(looks[1]).account, day._inputs(looks[2]).account

    assert bound is not None
    assert back is not None
    assert bound.cash == start.cash - trade.plan.notional
    assert trade.end is not None
    assert (trade.end.ended, trade.end.k) == ("target", K + 10)
    assert back.cash == start.cash + trade.gain(K + 60)
    assert trade.gain(K + 60) > 0
    assert back.equity == start.last_equity + trade.gain(K + 60)


def test_without_the_buckets_behind_a_trade_the_day_is_lost() -> None:
    day = DayPath(new=some_parameters(), bars_after=lambda *_: [], until_k=K + 60)

    with pytest.raises(PathLost, match="ABCD"):
        list(day.play([a_look("ABCD", K), a_look("EFGH", K + 60)]))


def test_how_an_order_is_filled_or_left_is_not_followed() -> None:
    assert "stop_after_take_profits" in FOLLOWED
    assert not FOLLOWED & UNFOLLOWED
    assert "trailing_enabled" in UNFOLLOWED
