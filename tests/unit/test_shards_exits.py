"""The exit watch: which print crosses, how often the hub hears of it."""

import pytest

from shards.exits import Crossing, ExitWatch, Print
from signals.messages import WatchedPosition

STOP, TARGET = 9.5, 10.5


def a_position(**fields: object) -> WatchedPosition:
    given = {
        "position_id": "p1", "version": 1, "symbol": "ACME", "quantity": 10, "stop": STOP,
        "target": TARGET, "opened_ts_ns": 0, **fields,
    }  # fmt: skip
    return WatchedPosition(**given)


def a_print(number: int, price: float, *, k: int = 1, sold_last: bool = False) -> Print:
    return Print(
        k=k, ts_ns=number, id=number, exchange=ord("V"), price=price, size=100, conditions=0,
        sold_last=sold_last,
    )  # fmt: skip


def seen(*prices: float, k: int = 1, **fields: object) -> list[Crossing]:
    watch = ExitWatch(confirm_prints=2)
    watch.watch(a_position(**fields))
    return [
        each
        for number, price in enumerate(prices, start=1)
        for each in watch.see("ACME", a_print(number, price, k=k))
    ]


def test_prints_between_the_levels_say_nothing() -> None:
    assert seen(10.0, 9.51, 10.49) == []


@pytest.mark.parametrize(
    ("price", "kind"), [(9.5, "stop"), (9.0, "stop"), (10.5, "target"), (11.0, "target")]
)
def test_a_print_at_or_through_a_level_is_told(price: float, kind: str) -> None:
    (one,) = seen(10.0, price)

    assert (one.kind, one.prints_through, one.trigger.price) == (kind, 1, price)
    assert one.prior.price == 10.0


def test_the_confirming_print_is_told_then_silence_in_the_bucket() -> None:
    assert [one.prints_through for one in seen(9.4, 9.3, 9.2, 9.1)] == [1, 2]


def test_a_print_back_inside_starts_the_count_again() -> None:
    assert [one.prints_through for one in seen(9.4, 10.0, 9.4, 9.4)] == [1, 2]


def test_flapping_around_the_level_is_told_twice_a_bucket_at_most() -> None:
    assert len(seen(*[9.4, 9.4, 10.0] * 20)) == 2


def test_it_goes_on_once_per_bucket() -> None:
    watch = ExitWatch(confirm_prints=2)
    watch.watch(a_position())
    told = [len(watch.see("ACME", a_print(n, 9.4, k=n // 4))) for n in range(1, 13)]

    assert told == [1, 1, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1]


def test_prints_from_before_the_position_do_not_count() -> None:
    assert seen(9.4, opened_ts_ns=2) == []
    assert len(seen(9.4, 9.4, opened_ts_ns=2)) == 1


def test_a_print_delivered_twice_and_an_old_sold_last_do_not_count() -> None:
    watch = ExitWatch(confirm_prints=2)
    watch.watch(a_position())
    watch.see("ACME", a_print(5, 9.4))

    assert watch.see("ACME", a_print(5, 9.4)) == []
    assert watch.see("ACME", a_print(4, 9.0, k=2, sold_last=True)) == []


def test_a_newer_version_replaces_an_older_one_and_not_the_other_way() -> None:
    watch = ExitWatch(confirm_prints=2)
    watch.watch(a_position(version=2, stop=9.0))
    watch.watch(a_position(version=1, stop=9.9))

    assert watch.see("ACME", a_print(1, 9.4)) == []
    assert [p.version for p in watch.positions] == [2]


def test_a_released_position_is_silent() -> None:
    watch = ExitWatch(confirm_prints=2)
    watch.watch(a_position())
    watch.release("p1")
    watch.release("never known")

    assert watch.symbols == frozenset()
    assert watch.see("ACME", a_print(1, 9.0)) == []


def test_the_same_print_has_the_same_signal_id() -> None:
    assert seen(9.4)[0].signal_id == seen(9.4)[0].signal_id
    assert seen(9.4)[0].signal_id != seen(10.0, 9.4)[0].signal_id
