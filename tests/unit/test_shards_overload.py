"""A shard with ten times its load lags in sight, stays bounded, and recovers by itself."""

from collections.abc import Iterator

from relay import frames
from relay.extension import pack_extension
from shards.assignment import Assignment
from shards.duty import Duty
from shards.intake import MAX_BUFFERED_BYTES
from shards.lag import WINDOW_NS, Lag
from signals.messages import Report
from tests.shard_builders import EVERYTHING, QUIET, SECOND, SESSION, a_tick, an_engine, at, trade

MS = 1_000_000
EACH_MS = 50  # a frame comes so often
USUAL_MS, HEAVY_MS = 10, 100  # what one costs; the second is twice what the shard can do
LIMIT_MS = 1500
TAPE_AGO_NS = 9 * 365 * 24 * 3600 * SECOND


def an_assignment(**fields: object) -> Assignment:
    given = {
        "run": "r", "day": SESSION.day, "open_ns": SESSION.open_ns, "close_ns": SESSION.close_ns,
        "assignment": 1, "shard": 1, "ranges": EVERYTHING, "parameters_version": 1,
        "parameters": QUIET, **fields,
    }  # fmt: skip
    return Assignment(**given)  # type: ignore[arg-type]


class Slow:
    """A duty whose frames cost time: the host's clock is the test's."""

    def __init__(self, host_ahead_ns: int) -> None:
        self.now_ns = SESSION.open_ns + host_ahead_ns
        self.ahead_ns = host_ahead_ns
        self.reports: list[Report] = []
        self.waiting = 0
        self.duty = Duty(
            an_assignment(), an_engine(parameters=QUIET), send=self._send, seq=lambda: 1,
            keep=None, now_ns=lambda: self.now_ns,
        )  # fmt: skip

    def _send(self, message: object) -> None:
        if isinstance(message, Report):
            self.reports.append(message)

    def plays(self, arrivals: Iterator[tuple[int, int]]) -> None:
        """Take frames (arrival ms after the open, cost ms) one after the other, late if need be."""
        for number, (ms, cost_ms) in enumerate(arrivals, 1):
            arrived_ns = SESSION.open_ns + ms * MS
            self.now_ns = max(self.now_ns, arrived_ns + self.ahead_ns)
            head = pack_extension(7, number, number - 1, arrived_ns)
            prints = [trade(a_tick(ms / 1000, 10.0, 100, id=number))]
            self.duty.take(frames.encode_array([head, *prints]))
            self.now_ns += cost_ms * MS

    def lag_of(self, first_s: int, last_s: int) -> list[float]:
        """Return the lags told with the buckets that ended in this time."""
        ends = [(r, (r.k + 1) * 5 * SECOND) for r in self.reports]
        return [r.feed_lag_ms for r, end in ends if at(first_s) < end <= at(last_s)]


def a_burst() -> Iterator[tuple[int, int]]:
    """Twenty usual seconds, ten of overload, then the usual again."""
    for ms in range(0, 70_000, EACH_MS):
        yield ms, HEAVY_MS if 20_000 <= ms < 30_000 else USUAL_MS


def agrees(slow: Slow) -> None:
    slow.plays(a_burst())

    assert max(slow.lag_of(0, 15)) < 200
    assert max(slow.lag_of(20, 40)) > LIMIT_MS, "in sight, and above what blocks entries"
    assert max(slow.lag_of(50, 70)) < 200, "it caught up by itself"
    assert [r.k for r in slow.reports] == list(range(SESSION.first_k, slow.reports[-1].k + 1))
    slow.duty.engine.take_exit_signals()  # decodes what waits
    assert slow.duty.engine.prints == 70_000 // EACH_MS


def test_against_the_hosts_clock_an_overloaded_shard_lags_and_recovers() -> None:
    agrees(Slow(host_ahead_ns=0))


def test_on_a_tape_in_real_time_too() -> None:
    agrees(Slow(host_ahead_ns=TAPE_AGO_NS))


def test_what_waits_to_be_decoded_is_bounded() -> None:
    engine = an_engine(parameters=QUIET)
    frame = frames.encode_array([trade(a_tick(1, id=n)) for n in range(100)])
    most = 0
    for number in range(2000):
        engine.feed(frame, number)
        most = max(most, engine.intake._buffered)

    assert most <= MAX_BUFFERED_BYTES + len(frame)


def test_a_tape_that_jumps_ahead_is_no_lag_and_one_that_paused_is_forgiven() -> None:
    lag = Lag(silent=False, speed=1.0)
    host = TAPE_AGO_NS
    lag.note(host, 1_000 * SECOND)
    lag.note(host + SECOND, 5_000 * SECOND)
    assert lag.ms(host + SECOND) == 0

    host += 31 * SECOND
    lag.note(host, 5_000 * SECOND + 1)
    assert lag.ms(host) > 29_000
    for n in range(1, 140):
        lag.note(host + n * SECOND, (5_000 + n) * SECOND)

    assert 140 * SECOND > 2 * WINDOW_NS
    assert lag.ms(host + 139 * SECOND) == 0


def test_lock_step_and_another_speed_tell_no_lag() -> None:
    for lag in (Lag(silent=True, speed=1.0), Lag(silent=False, speed=30.0)):
        lag.note(TAPE_AGO_NS, SECOND)

        assert lag.ms(TAPE_AGO_NS + 50 * SECOND) == 0
