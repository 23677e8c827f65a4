"""Two whole hub processes on one home, and a sentinel that finds shares without protection."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from execution import way_out
from tests.acceptance.desk import Desk, eager_market

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
SENTINEL_WITHIN_S = 30


@pytest.fixture(scope="module")
def desk(tmp_path_factory) -> Iterator[Desk]:
    with eager_market(tmp_path_factory.mktemp("hubs")) as running:
        yield running


def lease(desk: Desk) -> tuple[str, int]:
    return desk.market.one("select holder, epoch from execution_lease where name = 'hub'")


def epochs_of_attempts(desk: Desk) -> set[int]:
    rows = desk.market.rows("select distinct fence_epoch from execution_orderattempt")
    return {epoch for (epoch,) in rows}


def ended(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def test_a_second_hub_stands_by_and_costs_the_first_nothing(desk):
    holder, epoch = lease(desk)
    newest = desk.one("select max(k) from execution_round")
    notes = desk.one("select max(id) from execution_activity")
    second = desk.second("hub")
    try:
        desk.market.until(lambda: "standing by" in desk.said("hub"), 60, "a second hub")
        seen = desk.one("select max(k) from execution_round")
        desk.market.until(
            lambda: desk.one("select max(k) from execution_round") >= seen + 4, 60, "four rounds"
        )
        time.sleep(1)
        missed = desk.market.rows(
            "select k, state, coverage from execution_round where k > ? and"
            " (state != 'decided' or coverage < 0.99) and k < (select max(k) from execution_round)",
            newest,
        )
        said = desk.market.rows(
            "select text from execution_activity where id > ? and kind = 'startup'", notes
        )
    finally:
        ended(second)

    assert lease(desk) == (holder, epoch)
    assert missed == [], "it took reports or rounds from the leader"
    assert said == [], "it wrote in the leader's name"
    assert epochs_of_attempts(desk) <= set(range(1, epoch + 1))


def test_a_take_over_fences_the_old_hub_and_gives_the_lease_back_when_it_ends(desk):
    desk.wait_until_held()
    holder, epoch = lease(desk)
    second = desk.second("hub", "--take-over")
    try:
        desk.market.until(lambda: lease(desk)[1] > epoch, 60, "a take-over")
        taken_by, taken = lease(desk)
        desk.market.until(lambda: "rounds begin" in desk.said("hub"), 90, "the new hub to begin")
        log = (desk.home / "terminal").read_text()
        seen = desk.one("select max(k) from execution_round")
        desk.market.until(
            lambda: desk.one("select max(k) from execution_round") >= seen + 3, 60, "new rounds"
        )
        sound = desk.books_are_sound()
    finally:
        ended(second)

    assert taken_by != holder
    assert str(second.pid) in taken_by
    assert "the lease is lost: leaving" in log
    assert sound
    desk.market.until(lambda: lease(desk)[1] > taken, 60, "the old hub to lead again")
    assert entries_at_venue_are_ours(desk)


def entries_at_venue_are_ours(desk: Desk) -> bool:
    """Every buy that the venue has seen is one intent of one slot here, sent by one epoch."""
    names = [one.client_order_id for one in desk.broker.orders(status="all") if one.side == "buy"]
    ours = desk.market.rows(
        "select o.client_order_id, count(a.id) from execution_order o join execution_orderattempt a"
        " on a.order_id = o.id and a.kind = 'submit' where o.purpose = 'e' group by o.id"
    )
    assert len(names) == len(set(names))
    assert set(names) <= {name for name, _ in ours}
    return all(attempts == 1 for _, attempts in ours)


def test_a_sentinel_closes_what_a_dead_hub_left_naked(desk):
    """The hub is stopped, and somebody cancels the exits of its position."""
    desk.wait_until_held()
    hub = desk.hub()
    broker = desk.broker
    sentinel = desk.second("sentinel", "--every", "1")
    desk.market.until(lambda: "watching" in desk.said("sentinel"), 60, "a sentinel")
    os.kill(hub, signal.SIGSTOP)
    try:
        (bracket,) = broker.orders(status="open")
        broker.cancel(bracket.legs[0].id)  # takes the other along
        desk.market.until(lambda: not broker.orders(status="open"), 20, "naked shares")
        assert broker.positions()
        started = time.monotonic()
        desk.market.until(
            lambda: way_out.what_is_left(broker) == [], SENTINEL_WITHIN_S, "a flat account"
        )
        sys.stdout.write(f"sentinel: flat after {time.monotonic() - started:.1f} s\n")
    finally:
        ended(sentinel)
        os.kill(hub, signal.SIGCONT)

    assert "without a stop" in desk.said("sentinel")
    assert "the hub is silent: closing everything" in desk.said("sentinel")
    desk.market.until(desk.books_are_sound, 60, "sound books")
