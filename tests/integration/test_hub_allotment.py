"""Letters keep an owner that lives: take-over, joining, draining, plans; what is dark meanwhile."""

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from msgspec import structs

from execution.hub.allotment import JOIN_AFTER_S, Allotment
from execution.hub.barrier import Barrier
from execution.hub.coordinator import Coordinator
from execution.hub.intake import Intake
from execution.hub.shard_desk import FENCE_AGAIN_S, RESEND_S, ShardDesk
from execution.hub.startup import Startup
from execution.models import Activity, Run, ShardChange
from execution.services import shards
from shards.letters import holds
from signals.build import build
from signals.messages import ShardReady
from tests.fakes.desk import Bench
from tests.integration.test_hub_late import a_report
from tests.integration.test_hub_round_inputs import a_hub, frozen, with_candidate
from tests.unit.domain_builders import a_candidate

pytestmark = [pytest.mark.django_db, pytest.mark.db]
K = 1000


@dataclass
class House:
    """A hub with its desk and allotment; shards answer, beat and die as the test says."""

    run: Run
    now: float = 50.0
    alive: dict[int, int] = field(default_factory=dict)  # shard -> its life
    held: dict[int, set[int]] = field(default_factory=dict)
    sent: list[tuple[str, dict[str, Any], str]] = field(default_factory=list)
    fences: list[set[int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.desk = ShardDesk(
            run=self.run, send=self.send, mono=lambda: self.now, record_dir=None,
            fence=lambda run, numbers: self.fences.append(numbers),
            parameters={"letters_per_shard": 1, "bucket_ttl": 900},
        )  # fmt: skip
        self.hub = SimpleNamespace(
            run=self.run, mono=lambda: self.now, beats=self.beats, shard_desk=self.desk,
            state="running",
            intake=Intake(), barrier=Barrier(), note=self.note,
            rounds=SimpleNamespace(last_k=None), clock=SimpleNamespace(now_ns=lambda: 7),
        )  # fmt: skip
        self.allotment = Allotment(self.hub)  # type: ignore[arg-type]

    def note(self, kind: str, text: str, *, level: str = "info", **facts: Any) -> None:
        Activity.objects.create(run=self.run, kind=kind, text=text, level=level, facts=facts)

    def send(self, task: str, kwargs: dict[str, Any], queue: str) -> bool:
        self.sent.append((task, kwargs, queue))
        return True

    def beats(self) -> dict[int, dict[str, str]]:
        return {
            shard: {
                "epoch": str(life), "at": str(self.now), "run": self.run.pk,
                "assignment": " ".join(map(str, self.held.get(shard, ()))),
            }
            for shard, life in self.alive.items()
        }  # fmt: skip

    def passes(self, seconds: float) -> None:
        """Let time pass, a look each half second."""
        for _ in range(round(seconds * 2)):
            self.now += 0.5
            self.allotment.look()

    def answer(self) -> None:
        """Every living shard takes up what it was given."""
        for grant in self.desk.grants.values():
            if grant.shard in self.alive:
                self.held.setdefault(grant.shard, set()).add(grant.number)
                self.desk.on_ready(
                    ShardReady(
                        run=self.run.pk, shard=grant.shard, epoch=self.alive[grant.shard],
                        assignment=grant.number, params_version=1, last_k=None, resumed=False,
                    )
                )  # fmt: skip
        for shard, held in self.held.items():
            held &= {n for n, grant in self.desk.grants.items() if grant.shard == shard}

    def report(self, k: int) -> None:
        """Every living shard reports bucket k."""
        for grant in self.desk.grants.values():
            if grant.number in self.held.get(grant.shard, ()) and grant.shard in self.alive:
                report = a_report(
                    shard=grant.shard, k=k, epoch=self.alive[grant.shard], assignment=grant.number
                )
                self.hub.intake.add(report, closed_k=self.hub.rounds.last_k)

    def closes(self, k: int) -> None:
        self.hub.intake.take(k)
        self.hub.rounds.last_k = k

    def owner(self, symbol: str) -> int | None:
        return self.desk.owner(symbol)

    def said(self) -> list[str]:
        return list(Activity.objects.order_by("pk").values_list("text", flat=True))


@pytest.fixture
def house() -> House:
    """Three shards that have reported bucket K, and a round that is closed."""
    made = House(Run.objects.create(id="run-1", state="running", day="2024-03-05"))
    made.alive = {1: 100, 2: 100, 3: 100}
    made.allotment.look()
    made.allotment.begin()
    made.desk.assign_where_owed()
    made.answer()
    made.report(K)
    made.closes(K)
    made.passes(1)
    return made


def test_the_first_grants_follow_letters_per_shard(house: House) -> None:
    assert [house.owner(symbol) for symbol in ("AAPL", "IBM", "JPM", "TSLA", "1X")] == [
        1,
        1,
        2,
        3,
        1,
    ]
    assert house.hub.barrier.grants == {1: 1, 2: 2, 3: 3}
    assert house.run.plan == [0, 1]
    assert house.run.dark == []


def test_a_dead_shards_letters_are_dark_at_the_lease_and_taken_over_at_once(house: House) -> None:
    del house.alive[2]
    house.sent.clear()

    house.passes(2.5)

    fresh = [g for g in house.desk.grants.values() if g.number > 3]
    assert {g.shard for g in fresh} == {1, 3}
    assert {g.from_k for g in fresh} == {K}
    assert set(house.desk.grants) == {1, 3, *(g.number for g in fresh)}, "who lives goes on"
    assert [queue for task, _, queue in house.sent if task == "shards.assign"] == [
        f"shard.{g.shard}" for g in fresh
    ]
    assert house.fences[-1] == set(house.desk.grants)
    house.run.refresh_from_db()
    assert {row["why"] for row in house.run.dark} == {"taking over"}
    assert all(row["since_ns"] == 7 for row in house.run.dark)
    assert house.allotment.reporting == {1, 3}


def test_the_fence_is_written_again_as_redis_may_fall_back_to_an_older_one(house: House) -> None:
    house.fences.clear()

    house.passes(3 * FENCE_AGAIN_S)

    assert house.fences == [{1, 2, 3}] * 3


def test_letters_are_dark_until_their_new_owner_reports_the_newest_round(house: House) -> None:
    del house.alive[2]
    house.passes(2.5)
    house.answer()
    house.passes(0.5)
    assert len(house.run.dark) == 2, "an answer is not a report"

    house.report(K + 1)
    house.passes(0.5)

    assert house.run.dark == []
    assert sum("reports" in text for text in house.said()) == 2
    assert house.allotment.reporting == set(house.desk.grants)


def test_an_heirs_report_is_heard_of_at_once_not_at_the_next_look(house: House) -> None:
    del house.alive[2]
    house.passes(2.5)
    house.answer()
    house.passes(0.5)
    house.report(K + 1)

    house.now += 0.01
    house.allotment.look()

    assert house.run.dark == []
    assert house.allotment.reporting == set(house.desk.grants)


def test_an_heir_tells_the_newest_rounds_bucket_again_and_is_awaited_from_then_on(
    house: House,
) -> None:
    del house.alive[2]
    house.passes(2.5)
    house.answer()
    house.passes(0.5)
    fresh = {one.number: one.from_k for one in house.desk.grants.values() if one.number > 3}
    assert set(fresh.values()) == {K}
    assert house.allotment.reporting == {1, 3}

    house.report(K)
    house.now += 0.01
    house.allotment.look()

    assert house.run.dark == []
    assert house.allotment.reporting == {1, 3, *fresh}
    assert house.hub.intake.reports == {}, "its round is over"


def test_in_lock_step_only_what_nobody_told_is_owed(house: House) -> None:
    house.desk.lockstep = True
    del house.alive[2]

    house.passes(2.5)

    assert {one.from_k for one in house.desk.grants.values() if one.number > 3} == {K + 1}


def test_what_the_old_owner_says_is_ignored_from_then_on(house: House) -> None:
    del house.alive[2]
    house.passes(2.5)

    assert not house.desk.counts(2, 2)
    assert house.desk.refused == 1
    assert house.desk.disputed == set()


def test_candidates_under_a_number_that_is_over_or_anothers_do_not_get_into_a_round(
    house: House,
) -> None:
    hub = a_coordinator(house)
    del house.alive[2]
    house.passes(2.5)
    heirs = {one.shard: one.number for one in house.desk.grants.values() if one.number > 3}

    hub._on_told(a_report(a_candidate("JPM"), shard=2, k=K + 1, assignment=2, epoch=100))
    hub._on_told(a_report(a_candidate("JPM"), shard=2, k=K + 1, assignment=heirs[1], epoch=100))
    assert house.hub.intake.reports == {}
    assert house.hub.intake.behind == []

    hub._on_told(a_report(shard=1, k=K + 1, assignment=heirs[1], epoch=100))
    assert set(house.hub.intake.reports[K + 1]) == {heirs[1]}
    assert house.desk.refused == 2
    assert house.desk.disputed == {heirs[1]}


def test_candidates_of_letters_that_a_shard_was_not_given_are_left_out_and_told(
    house: House,
) -> None:
    hub = a_coordinator(house)

    hub._on_told(a_report(a_candidate("AAPL"), a_candidate("JPM"), shard=1, k=K + 1, epoch=100))

    (kept,) = house.hub.intake.reports[K + 1].values()
    assert [one.symbol for one in kept.candidates] == ["AAPL"]
    assert kept.n_symbols == 10, "the rest of the report counts"
    note = Activity.objects.get(kind="shard")
    assert (note.level, note.facts["left_out"]) == ("alarm", 1)


def a_coordinator(house: House) -> Coordinator:
    """Return what takes the shards' messages for this house."""
    hub = Coordinator.__new__(Coordinator)
    hub.__dict__.update(vars(house.hub), config=SimpleNamespace(run_id=house.run.pk))
    return hub


def test_two_shards_that_claim_one_number_are_a_dispute(house: House) -> None:
    assert not house.desk.counts(2, 3)
    assert house.desk.disputed == {2}
    assert house.desk.counts(2, 2), "the rightful owner is heard; its stocks are blocked"


def test_an_open_round_waits_for_the_heirs_not_for_the_dead(house: House) -> None:
    house.report(K + 1)
    del house.alive[2]

    house.passes(2.5)

    assert set(house.hub.intake.reports[K + 1]) == {1, 3}
    fresh = [g for g in house.desk.grants.values() if g.number > 3]
    assert {g.from_k for g in fresh} == {K}, "its report of the open round is owed again, too"


def test_a_restart_within_the_lease_moves_nothing(house: House) -> None:
    house.alive[2] = 200
    house.held[2] = set()
    house.sent.clear()

    house.passes(RESEND_S)

    assert set(house.desk.grants) == {1, 2, 3}
    (task, kwargs, queue) = house.sent[0]
    assert (task, queue) == ("shards.assign", "shard.2")
    assert (kwargs["assignment"]["assignment"], kwargs["assignment"]["from_k"]) == (2, K)
    assert [row["why"] for row in house.run.dark] == ["a new life"]
    said = Activity.objects.get(kind="shard")
    assert (said.level, said.text) == ("warning", "shard 2 begins anew: no entries in [J,S)")


def test_a_shard_that_comes_back_gets_its_share_when_it_is_steady(house: House) -> None:
    del house.alive[2]
    house.passes(2.5)
    house.answer()
    house.report(K + 1)
    house.closes(K + 1)
    house.passes(0.5)
    house.alive[2] = 300
    house.held[2] = set()

    house.passes(JOIN_AFTER_S - 1)
    assert house.owner("JPM") != 2
    house.passes(1.5)

    assert house.owner("JPM") == 2
    assert sorted(house.desk.grants)[:2] == [1, 3], "the others only give back"
    assert {g.number for g in house.desk.grants.values() if g.shard == 2} == {6}


def test_letters_that_moved_are_dropped_by_who_has_them_still(house: House) -> None:
    house.held[1] = {1, 99}
    house.sent.clear()

    house.passes(1)

    assert ("shards.drop", {"run": "run-1", "as_of": 3, "keep": [1]}, "shard.1") in house.sent


def test_a_drained_shard_hands_over_while_it_lives_and_comes_back(house: House) -> None:
    assert shards.drain_shard(shard=3, actor="ann")
    assert not shards.drain_shard(shard=3, actor="ann")

    house.passes(1.5)
    assert house.desk.shards == {1, 2}
    house.answer()
    house.report(K + 1)
    house.closes(K + 1)
    shards.enroll_shard(shard=3, actor="ann")
    house.passes(3)

    assert house.owner("TSLA") == 3
    assert house.said()[0] == "ann takes shard 3 out"


def test_a_new_plan_gives_the_letters_out_anew(house: House) -> None:
    shards.set_plan(plan="A | [B,BM) Y-Z | [BM,C) C-X", actor="ann")

    house.passes(1.5)

    assert [house.owner(s) for s in ("AAPL", "BAC", "BRK.B", "TSLA", "ZM")] == [1, 2, 3, 3, 2]


def test_letters_follow_the_measured_load_below_a_letter(house: House) -> None:
    house.allotment._load = lambda: {"AA": 50, "AM": 50, "AZ": 50, "M": 1}
    shards.set_plan(plan="load", actor="ann")

    house.passes(1.5)

    owners = {house.owner(symbol) for symbol in ("AAPL", "AMD", "AZO")}
    assert owners == {1, 2, 3}
    house.run.refresh_from_db()
    assert house.run.load["AM"] == 50


def test_the_heir_of_a_position_knows_it_before_it_reports() -> None:
    bench = Bench.make()
    trade = bench.open()
    house = House(bench.run)
    house.alive = {1: 100, 2: 100}
    house.allotment.look()
    house.allotment.begin()
    house.desk.assign_where_owed()
    house.answer()
    assert house.owner(trade.symbol) == 1
    del house.alive[1]
    house.sent.clear()

    house.passes(2.5)

    (assignment,) = [kwargs["assignment"] for _, kwargs, queue in house.sent if queue == "shard.2"]
    (watched,) = assignment["watch"]
    assert (watched["symbol"], watched["version"]) == (trade.symbol, trade.version)
    assert (watched["stop"], watched["quantity"]) == (float(trade.stop_loss), trade.held)


def test_the_life_of_a_shard_is_its_newest_answer(house: House) -> None:
    house.alive[2] = 250
    house.answer()

    assert (house.desk.life_of(2), house.desk.life_of(1), house.desk.life_of(9)) == (250, 100, None)


def test_a_shard_that_lags_blocks_its_own_stocks_only() -> None:
    bench = Bench.make()
    bench.run.lockstep = False
    late = structs.replace(with_candidate(bench, "LATE"), shard=1, feed_lag_ms=2_000.0)
    fine = structs.replace(with_candidate(bench, "FINE"), shard=2, assignment=2)

    facts = frozen(a_hub(bench), late, fine).symbols

    assert facts["LATE"].blocked == "shard 1 is 2000 ms behind the market"
    assert facts["FINE"].blocked == ""


def test_stocks_that_two_shards_claim_are_blocked() -> None:
    bench = Bench.make()
    one = structs.replace(with_candidate(bench, "ONE"), assignment=1)
    two = structs.replace(with_candidate(bench, "TWO"), shard=2, assignment=2)

    facts = frozen(a_hub(bench, disputed=frozenset({2})), one, two).symbols

    assert (facts["ONE"].blocked, facts["TWO"].blocked) == ("", "two shards claim its letters")


def test_without_heart_beats_nobody_is_declared_dead(house: House) -> None:
    house.alive.clear()

    house.passes(30)

    assert set(house.desk.grants) == {1, 2, 3}


def test_before_rounds_begin_a_shard_may_be_busy_for_long(house: House) -> None:
    house.hub.state = "starting"
    del house.alive[2]

    house.passes(15)
    assert set(house.desk.grants) == {1, 2, 3}
    house.passes(10)

    assert house.desk.shards == {1, 3}


def test_the_last_one_living_keeps_everything(house: House) -> None:
    del house.alive[2], house.alive[3]
    house.passes(2.5)

    assert house.desk.assigned == {1: [("", "")]}
    assert all(holds(house.desk.assigned[1], symbol) for symbol in ("AAPL", "ZZ", "a"))


def test_a_hub_that_restarts_goes_on_with_the_same_grants(house: House) -> None:
    again = ShardDesk(
        run=Run.objects.get(pk="run-1"), send=house.send, mono=lambda: 0.0, record_dir=None
    )

    assert again.grants == house.desk.grants


def test_the_command_shows_and_changes(house: House, capsys: pytest.CaptureFixture[str]) -> None:
    call_command("shards")
    assert "shard  2  [J,S)" in capsys.readouterr().out
    with pytest.raises(CommandError, match="add --yes"):
        call_command("shards", "drain", "2")
    with pytest.raises(CommandError, match="two owners"):
        call_command("shards", "plan", "A-M | M-Z", "--yes")
    with pytest.raises(CommandError, match="numbered 1 to 26"):
        call_command("shards", "drain", "27", "--yes")
    with pytest.raises(CommandError, match="number of a shard"):
        call_command("shards", "enroll", "x", "--yes")

    call_command("shards", "drain", "2", "--yes")
    call_command("shards", "plan", "load", "--yes")

    changes = ShardChange.objects.order_by("pk")
    assert list(changes.values_list("action", "shard", "plan")) == [
        ("drain", 2, ""),
        ("plan", None, "load"),
    ]


def test_a_shard_of_another_build_locks_entries(house: House) -> None:
    told = house.beats
    house.hub.beats = lambda: {
        shard: {**beat, "build": "old" if shard == 2 else build()} for shard, beat in told().items()
    }

    house.passes(1)

    assert house.allotment.other_builds == {2: "old"}
    hub = SimpleNamespace(
        clock=SimpleNamespace(known=True), warming=False, allotment=house.allotment,
        agreement=SimpleNamespace(doubt=""),
    )  # fmt: skip
    assert Coordinator._doubt(hub) == "another build than the hub's: shard 2"  # type: ignore[arg-type]
    house.alive.pop(2)
    house.passes(5)
    assert Coordinator._doubt(hub) == ""  # type: ignore[arg-type]


def test_every_start_keeps_the_build_of_the_hub() -> None:
    run = Run.objects.create(id="run-1", build="before")
    said: list[str] = []
    hub = SimpleNamespace(
        run=run, mono=lambda: 0.0, note=lambda kind, text, **facts: said.append(text)
    )

    Startup(hub)._say_build()  # type: ignore[arg-type]
    Startup(hub)._say_build()  # type: ignore[arg-type]

    assert Run.objects.get().build == build()
    assert said == [f"another build: before before, {build()} now"]
