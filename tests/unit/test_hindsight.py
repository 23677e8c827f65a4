"""What an entry that was not made would have become."""

import pytest

from execution.domain.hindsight import hindsight, last_k
from signals.nearmiss import Bar
from tests.unit.domain_builders import CLOSE_NS, K, some_parameters

PLAN = {"limit": "20.00", "tp": "20.80", "sl": "19.60", "qty": 100}


def bars(*ranges: tuple[float, float]) -> list[Bar]:
    """Buckets after K, each (low, high); they close in the middle."""
    return [
        Bar(K + 1 + n, high, low, (high + low) / 2, 100, 5, (high + low) / 2, synthetic=False)
        for n, (low, high) in enumerate(ranges)
    ]


def ended(*ranges: tuple[float, float], end: int = 9) -> tuple[str, float, float] | None:
    found = hindsight(PLAN, bars(*ranges), end_k=K + end, spread_bps=10.0, slip_bps=20.0)
    return None if found is None else (found.ended, round(found.percent, 3), round(found.r, 3))


def test_the_target_is_reached_less_fees() -> None:
    assert ended((19.9, 20.2), (20.5, 20.8)) == ("target", 3.997, 1.999)


def test_a_stop_slips_and_a_gap_through_it_costs_more() -> None:
    assert ended((19.9, 20.2), (19.5, 20.0)) == ("stop", -2.199, -1.1)
    assert ended((19.9, 20.2), (18.9, 19.0)) == ("stop", -5.193, -2.597)


def test_the_stop_counts_when_one_bucket_touched_both() -> None:
    assert ended((19.9, 20.2), (19.5, 20.9))[0] == "stop"  # type: ignore[index]


def test_a_target_in_the_very_next_bucket_is_not_believed() -> None:
    assert ended((20.0, 20.9), (20.0, 20.2)) is None


def test_what_is_left_over_is_sold_at_the_bid() -> None:
    assert ended((19.9, 20.1), (20.0, 20.2), end=2) == ("time", 0.447, 0.223)


def test_an_entry_that_is_still_open_has_no_result() -> None:
    assert ended((19.9, 20.1)) is None
    assert ended() is None


@pytest.mark.parametrize(
    ("hold", "expected"), [(120, K + 1440), (0, (CLOSE_NS - 600 * 10**9) // 5_000_000_000 - 1)]
)
def test_an_entry_is_left_by_its_time_stop_or_before_the_close(hold: int, expected: int) -> None:
    assert last_k(K, CLOSE_NS, some_parameters(max_hold_minutes=hold)) == expected
