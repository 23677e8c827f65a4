"""The host's clock against the broker's: known, unknown, and after it was set."""

from types import SimpleNamespace
from typing import Any

import pytest

from execution.brokers.port import OutcomeUnknown
from execution.hub.skew import ClockSkew

SECOND = 1_000_000_000


class Host:
    """A host whose two clocks the test moves, and a broker whose answers take a while."""

    def __init__(self) -> None:
        self.wall_ns, self.mono_s = 1_000 * SECOND, 50.0
        self.ahead_ms, self.takes_s, self.down, self.asked = 0.0, 0.1, False, 0
        self.skew = ClockSkew(
            broker=self,  # type: ignore[arg-type]
            wall_ns=lambda: self.wall_ns,
            mono=lambda: self.mono_s,
        )

    def clock(self) -> Any:
        self.asked += 1
        self.passes(self.takes_s / 2)
        told = self.wall_ns - round(self.ahead_ms * 1e6)
        self.passes(self.takes_s / 2)
        if self.down:
            raise OutcomeUnknown("no answer")
        return SimpleNamespace(ts_ns=told)

    def passes(self, seconds: float) -> None:
        self.wall_ns += round(seconds * SECOND)
        self.mono_s += seconds


@pytest.mark.parametrize("ahead_ms", [0.0, 251.0, -251.0])
def test_the_difference_is_measured_at_the_middle_of_the_request(ahead_ms: float) -> None:
    host = Host()
    host.ahead_ms = ahead_ms

    host.skew.look()

    assert host.skew.value_ms() == pytest.approx(ahead_ms, abs=0.01)


def test_it_is_unknown_before_the_first_answer_and_after_five_minutes_without_one() -> None:
    host = Host()
    assert host.skew.value_ms() is None
    host.skew.look()
    host.down = True
    for _ in range(70):
        host.passes(4.5)
        host.skew.look()

    assert host.skew.value_ms() is None


def test_a_slow_answer_is_no_time_and_is_asked_again_soon() -> None:
    host = Host()
    host.takes_s = 1.5

    host.skew.look()
    assert host.skew.value_ms() is None
    host.takes_s = 0.1
    host.passes(5)
    host.skew.look()

    assert host.skew.value_ms() == pytest.approx(0, abs=0.01)


def test_once_a_minute_is_enough() -> None:
    host = Host()
    for _ in range(59):
        host.skew.look()
        host.passes(1)

    assert host.asked == 1


def test_a_clock_that_was_set_is_measured_at_once() -> None:
    host = Host()
    host.skew.look()
    host.passes(1)

    host.wall_ns += 3600 * SECOND
    host.ahead_ms = 3_600_000.0
    host.skew.look()

    assert host.asked == 2
    assert host.skew.value_ms() == pytest.approx(3_600_000.0, abs=0.1)
