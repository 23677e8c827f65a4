"""The watchdog of the resident: restart with back-off, then leave."""

from tradeplane.resident import BACKOFF_S, Watchdog


class FakeResident:
    def __init__(self) -> None:
        self.alive = False
        self.begins_anew = False
        self.stops = 0

    def start(self) -> None:
        self.alive = True

    def stop(self) -> None:
        self.alive = False
        self.stops += 1

    def is_alive(self) -> bool:
        return self.alive


class Bench:
    def __init__(self) -> None:
        self.now = 0.0
        self.made: list[FakeResident] = []
        self.given_up = 0
        self.watchdog = Watchdog(self._make, give_up=self._give_up, clock=lambda: self.now)
        self.watchdog.restart()  # without the watching thread: the test looks itself

    def _make(self) -> FakeResident:
        self.made.append(FakeResident())
        return self.made[-1]

    def _give_up(self) -> None:
        self.given_up += 1

    def die(self, at: float) -> float | None:
        self.now = at
        self.made[-1].alive = False
        return self.watchdog.look()


def test_a_living_resident_is_left_alone() -> None:
    bench = Bench()

    assert bench.watchdog.look() is None
    assert len(bench.made) == 1


def test_deaths_wait_longer_each_time_and_the_fourth_in_a_minute_gives_up() -> None:
    bench = Bench()

    waits = []
    for at in (0.0, 5.0, 10.0):
        waits.append(bench.die(at))
        bench.watchdog.restart()
    last = bench.die(15.0)

    assert waits == list(BACKOFF_S)
    assert last is None
    assert bench.given_up == 1


def test_deaths_far_apart_never_give_up() -> None:
    bench = Bench()

    for n in range(10):
        assert bench.die(n * 61.0) == BACKOFF_S[0]
        bench.watchdog.restart()

    assert bench.given_up == 0


def test_one_that_ended_so_that_a_fresh_one_begins_has_not_died() -> None:
    bench = Bench()

    waits = []
    for at in range(9):
        bench.made[-1].begins_anew = True
        waits.append(bench.die(float(at)))
        bench.watchdog.restart()

    assert waits == [0.0] * 9
    assert len(bench.made) == 10
    assert bench.given_up == 0


def test_a_fresh_one_that_does_not_start_is_a_death() -> None:
    bench = Bench()
    bench.made[-1].begins_anew = True

    first, second = bench.die(0.0), bench.die(0.1)

    assert (first, second) == (0.0, BACKOFF_S[0])


def test_stop_is_done_once_and_nothing_restarts_after_it() -> None:
    bench = Bench()

    bench.watchdog.stop()
    bench.watchdog.stop()
    bench.watchdog.restart()

    assert [resident.stops for resident in bench.made] == [1]
