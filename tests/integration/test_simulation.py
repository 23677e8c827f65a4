"""The order path under seeded faults; the outside checker; and builds that it must catch.

`TRADEPLANE_SEEDS=50000` runs the long version (docs/orders.md).
"""

import os
from collections.abc import Iterable, Iterator
from decimal import Decimal

import pytest
from django.db import connection

from execution import failpoints, selectors
from execution.hub import waiting
from execution.hub.coordinator import Coordinator
from execution.hub.switches import Switches
from execution.services import entries, journal, lease, venue_state
from execution.simulation import street, tasks
from execution.simulation import world as world_module
from execution.simulation.blows import KINDS, PAUSE, Blow
from execution.simulation.checker import judge
from execution.simulation.database import in_memory
from execution.simulation.plans import FAULTS_MIN
from execution.simulation.runner import forget, run_seeds, strike
from execution.simulation.world import World
from execution.venue.orders import OrderRequest

SEEDS = int(os.environ.get("TRADEPLANE_SEEDS", "2000"))
CHUNK = 50  # seeds of one test, so that two workers share them
TRIES = 12  # days in which a hub must come by a fail point that the days lead to
EVENTFUL = range(8)  # some of them with an entry that is filled
FENCED = (Blow("journal.after_attempt", PAUSE),)


@pytest.fixture(scope="module")
def memory(django_db_setup: None, django_db_blocker) -> Iterator[None]:
    """A database in memory, so that a transaction is one and costs nothing."""
    with django_db_blocker.unblock(), in_memory():
        yield


@pytest.fixture(autouse=True)
def home(settings, tmp_path, memory) -> Iterator[None]:
    settings.TRADEPLANE_HOME = tmp_path
    yield
    forget()


@pytest.mark.parametrize("first", range(0, SEEDS, CHUNK))
def test_no_seed_breaks_an_invariant(first: int) -> None:
    report = run_seeds(range(first, min(first + CHUNK, SEEDS)))

    assert report.failures == {}
    assert report.faults_min >= FAULTS_MIN
    assert report.checks == 12 * report.seeds
    assert report.trades > report.seeds / 2


def test_the_same_seed_is_the_same_day() -> None:
    assert a_day(3) == a_day(3)


@pytest.mark.parametrize("seed", range(6))
def test_a_day_is_the_same_when_nothing_is_taken_to_wait(seed: int, monkeypatch) -> None:
    lazy = a_day(seed)

    monkeypatch.setattr(waiting, "waits", lambda *_: False)

    assert a_day(seed) == lazy


def a_day(seed: int) -> tuple[object, ...]:
    world = World(seed)
    world.run()
    fills = [(f.ts_ns, f.quantity, f.price) for f in world.engine.account.fills]
    forget()
    return fills, dict(world.posts), dict(world.injected), world.now_ns


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("point", failpoints.POINTS)
def test_a_hub_may_be_struck_at_every_fail_point(point: str, kind: str) -> None:
    found = strike((Blow(point, kind),), tries=TRIES)

    assert found.broken == []
    assert found.days, f"no day of {TRIES} comes by {point}"


@pytest.mark.parametrize("first", KINDS)
def test_a_hub_may_be_struck_again_while_it_recovers(first: str) -> None:
    found = strike((Blow("journal.after_answer", first), Blow("lease.after_renew")), tries=TRIES)

    assert found.broken == []
    assert found.days
    assert found.first_struck


def test_what_led_to_the_first_blow_does_not_keep_the_hub_from_the_second() -> None:
    struck = strike((Blow("resolver.after_404"), Blow("exit.after_patch")), tries=30)

    assert struck.days, "an entry is given up, and another one is left early"
    assert struck.broken == []


def test_a_pair_that_does_not_meet_says_how_often_the_first_had_struck() -> None:
    found = strike((Blow("lease.after_renew"), Blow("no.such.place")), tries=2)

    assert (found.days, found.first_struck, found.broken) == (0, 2, [])


def test_what_was_under_way_at_the_venue_is_over_when_hours_have_passed() -> None:
    world = World(4)
    world.begun_ns = world.now_ns
    order = OrderRequest(
        client_order_id="x", symbol="SPY", side="buy", type="limit", quantity=5,
        limit=Decimal(1), time_in_force="day",
    )  # fmt: skip
    world.engine.submit(order, world.now_ns)
    arrives_ns = world.engine.due_ns()

    while not world.street.events["hours pass"]:
        world.street._evening()

    assert world.now_ns > arrives_ns + 3600 * street.SECOND
    assert world.engine.due_ns() is None or world.engine.due_ns() > world.now_ns


def test_a_commit_that_was_not_answered_is_found_in_the_rows(monkeypatch) -> None:
    monkeypatch.setattr(street, "UNANSWERED_COMMITS", 1.0)
    monkeypatch.setitem(street.WHIMS, "database", 40)

    report = run_seeds(range(6))

    assert report.failures == {}
    assert report.injected["commit unanswered"] > 6


@pytest.mark.parametrize("seed", range(4))
def test_a_leader_that_was_paused_and_replaced_sends_nothing(seed: int) -> None:
    world = World(seed, blows=FENCED)

    assert world.run().broken == []


# --- the checker's eyes: each thing that it must see, done to a good day --------------------------

BOOKS = {
    "I1: execution": "DELETE FROM accounts_fill",
    "I2: v1-": "DELETE FROM execution_orderattempt",
    "I5: entry": "UPDATE accounts_posting SET amount_usd=amount_usd+10000 WHERE ledger='cash'",
    "I5: cash": "UPDATE accounts_posting SET amount_usd=amount_usd+10000 WHERE ledger='cash'",
    "in the books": "UPDATE accounts_posting SET quantity=quantity+1 WHERE ledger='position'",
    "in the slots": "UPDATE execution_trade SET filled_quantity=filled_quantity+1",
    "is still unknown": "UPDATE execution_order SET status='unknown'",
}


def blind_nowhere(world: World) -> str:
    audit, posts = world.audit, world.posts
    return " ".join(judge(world.engine, world.run_id, audit, posts, world.now_ns).broken)


@pytest.fixture
def good_day() -> World:
    world = next(one for one in map(World, range(50)) if eventful(one))
    assert blind_nowhere(world) == ""
    return world


def eventful(world: World) -> bool:
    forget()
    world.run()
    return len(world.engine.account.fills) > 1


@pytest.mark.parametrize("sentence", BOOKS)
def test_the_checker_sees_what_is_wrong_in_the_tables(sentence: str, good_day: World) -> None:
    with connection.cursor() as cursor, connection.constraint_checks_disabled():
        cursor.execute(BOOKS[sentence])

    assert sentence in blind_nowhere(good_day)


def test_the_checker_sees_what_went_wrong_at_the_venue(good_day: World) -> None:
    engine, at_ns = good_day.engine, good_day.now_ns
    (name, *_) = good_day.posts
    good_day.posts[name] += 1
    engine.unprotected.append(("ABCD", at_ns - 1_000_000_000_000, at_ns))
    good_day.audit.converged = False

    said = blind_nowhere(good_day)

    assert all(f"{code}: " in said for code in ("I2", "I3", "L"))


# --- canaries: a checker that is always content checks nothing ------------------------------------


def some_day_says(
    *sentences: str, blows: tuple[Blow, ...] | None = None, days: Iterable[int] = EVENTFUL
) -> bool:
    """Does the checker find this in one of a few days?"""
    for seed in days:
        broken = " ".join(World(seed, blows=blows).run().broken)
        forget()
        if all(sentence in broken for sentence in sentences):
            return True
    return False


def test_a_build_that_sends_twice_is_caught(monkeypatch) -> None:
    post = journal._post

    def twice(*args: object) -> object:
        post(*args)
        return post(*args)

    monkeypatch.setattr(journal, "_post", twice)

    assert some_day_says("reached the venue 2 times")


def test_a_build_that_drops_a_fill_is_caught(monkeypatch) -> None:
    book, count = venue_state._book, [0]

    def forgetful(*args: object, **kwargs: object) -> None:
        count[0] += 1
        if count[0] % 5:
            book(*args, **kwargs)

    monkeypatch.setattr(venue_state, "_book", forgetful)
    # it would look for its fill all the time
    for name, seconds in (("HEALING_S", 5), ("DAY_MAX_S", 60), ("ENDLESS_S", 30)):
        monkeypatch.setattr(world_module, name, seconds)

    assert some_day_says("is not in the books", "I5: cash")


def test_a_build_that_enters_in_doubt_is_caught(monkeypatch) -> None:
    monkeypatch.setattr(selectors, "has_unresolved_order", lambda *_, **__: False)
    monkeypatch.setattr(Coordinator, "_doubt", lambda self: "")

    assert some_day_says("the order of somebody else was known", days=range(60))


def test_a_build_that_sends_whatever_became_of_it_while_its_sender_stood_still_is_caught(
    monkeypatch, no_last_look
) -> None:
    monkeypatch.setattr(tasks, "SLOW_SENDERS", 1.0)

    assert some_day_says("was sent for an old signal", days=range(60))


def test_a_build_that_heeds_flatten_only_when_it_is_turned_is_caught(monkeypatch) -> None:
    enforce = Switches.enforce

    def once(self: Switches) -> bool:
        turned, self.heeded = getattr(self, "heeded", "") != self.kill, self.kill
        return turned and enforce(self)

    monkeypatch.setattr(Switches, "enforce", once)
    monkeypatch.setattr(world_module, "FLATTENED_DAYS", 1.0)

    assert some_day_says("L: not settled", days=range(60))


@pytest.fixture
def no_last_look(monkeypatch) -> None:
    """It keeps most of what a replaced hub would send from leaving, whatever the fence says."""
    monkeypatch.setattr(entries, "_last_look", lambda *_: None)


def test_a_build_that_skips_the_fence_is_caught(monkeypatch, no_last_look) -> None:
    monkeypatch.setattr(journal, "_guard_send", lambda *_, **__: None)

    assert some_day_says("past the fence", blows=FENCED)


def test_a_build_that_never_fences_its_writes_is_caught(monkeypatch, no_last_look) -> None:
    monkeypatch.setattr(lease, "may_send", lambda *_, **__: True)
    monkeypatch.setattr(lease, "fence", lambda *_, **__: None)
    monkeypatch.setattr(lease, "renew", lambda *_, **__: None)

    assert some_day_says("past the fence", blows=FENCED)
