"""A shard lives as long as its heart-beat changes within the lease, by the hub's clock."""

from execution.hub.roster import Roster


class Watch:
    def __init__(self) -> None:
        self.now = 100.0
        self.roster = Roster(mono=lambda: self.now, lease_s=2.0)

    def sees(self, seconds: float, **beats: int | None) -> set[int]:
        """Let time pass, then look: shard s1 beats with this number, None is gone."""
        self.now += seconds
        self.roster.look(
            {
                int(name[1:]): {"epoch": "7", "at": str(at)}
                for name, at in beats.items()
                if at is not None
            }
        )
        return self.roster.alive


def test_a_heart_beat_that_stands_still_is_a_death_after_the_lease() -> None:
    watch = Watch()
    assert watch.sees(0, s1=1, s2=1) == {1, 2}
    assert watch.sees(1.5, s1=2, s2=1) == {1, 2}

    assert watch.sees(1.0, s1=3, s2=1) == {1}
    assert watch.sees(5.0, s1=4, s2=None) == {1}


def test_a_host_with_another_clock_lives_all_the_same() -> None:
    watch = Watch()
    watch.sees(0, s1=9_000)

    assert watch.sees(1.9, s1=1) == {1}
    assert watch.sees(1.9, s1=0) == {1}


def test_nobody_dies_while_no_heart_beat_can_be_read() -> None:
    watch = Watch()
    watch.sees(0, s1=1, s2=1)

    assert watch.sees(60.0) == {1, 2}
    assert watch.sees(0.1, s1=1, s2=1) == {1, 2}
    assert watch.sees(1.9, s1=2, s2=1) == {1, 2}
    assert watch.sees(0.2, s1=3, s2=1) == {1}


def test_steady_is_who_lived_without_a_pause() -> None:
    watch = Watch()
    watch.sees(0, s1=1, s2=1)
    for n in range(2, 5):
        watch.sees(1.5, s1=n, s2=None if n < 4 else 5)

    assert watch.roster.alive == {1, 2}
    assert watch.roster.steady(4.0) == {1}


def test_a_busy_shard_that_says_nothing_new_lives() -> None:
    watch = Watch()
    for alive in range(1, 9):
        watch.now += 1.5
        watch.roster.look({1: {"epoch": "7", "at": "1", "alive": str(alive)}})
        assert watch.roster.alive == {1}
