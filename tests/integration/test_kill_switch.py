"""The kill switch: latched in a file and the database, straight to the broker, and measured."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from decimal import Decimal
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.db import OperationalError, connection

from execution import drill, failpoints, kill_file, selectors, way_out
from execution.brokers.alpaca import AlpacaBroker
from execution.errors import SwitchMoved, SwitchStands
from execution.hub.kill_watch import KillWatch
from execution.models import Figure, KillSwitch, Order
from execution.services import activity, runs
from execution.services.moves import OrderStatus as Status
from execution.short_waits import short_waits
from tests.fakes.desk import Bench
from tests.servers import CannotStart, MariaDB
from tests.venue_fixture import KEYS, eventually, quiet_rows, running_venue, write_tape

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def home(settings, tmp_path):
    settings.TRADEPLANE_HOME = tmp_path
    settings.APCA_API_KEY_ID = settings.APCA_API_SECRET_KEY = ""
    return tmp_path


@pytest.mark.django_db
@pytest.mark.db
def test_a_file_alone_denies_the_next_entry() -> None:
    bench = Bench.make()
    (order_id,) = bench.decide()
    kill_file.write(level="pause", reason="a test", actor="test", at="now")

    order = bench.send(order_id)

    assert order.status == Status.DENIED
    assert order.reason.startswith("kill_switch")
    assert bench.venue.posts() == 0


@pytest.mark.django_db
@pytest.mark.db
def test_it_is_latched_in_both_places_until_it_is_reset(capsys) -> None:
    call_command("killswitch", "pause", "--reason", "odd fills")
    assert (kill_file.read()["level"], KillSwitch.objects.first().level) == ("pause", "pause")
    call_command("killswitch")
    assert "odd fills" in capsys.readouterr().out

    call_command("killswitch", "none", "--yes", "--reason", "looked at")

    assert (kill_file.read()["level"], selectors.kill_level()) == ("none", "none")


@pytest.mark.django_db
@pytest.mark.db
def test_turning_it_needs_a_reason_and_selling_needs_a_yes() -> None:
    with pytest.raises(CommandError, match="needs a reason"):
        call_command("killswitch", "pause")
    with pytest.raises(CommandError, match="add --yes"):
        call_command("killswitch", "flatten", "--reason", "x")
    assert kill_file.read()["level"] == "none"


def test_without_a_database_the_file_counts_and_the_broker_is_asked(monkeypatch, capsys) -> None:
    def away(**_: object) -> None:
        raise OperationalError("away")

    asked: list[float] = []

    def leave(broker: object, *, within_s: float, patience_s: float) -> way_out.Outcome:
        asked.append(patience_s)
        return way_out.Outcome(True, 0.5)

    monkeypatch.setattr(runs, "set_kill_switch", away)
    monkeypatch.setattr(way_out, "own_broker", object)
    monkeypatch.setattr(way_out, "leave", leave)

    call_command("killswitch", "flatten", "--yes", "--reason", "all is dead")

    assert kill_file.read()["level"] == "flatten"
    assert asked == [0.0]
    assert "the file counts" in capsys.readouterr().err


@pytest.mark.django_db
@pytest.mark.db
@pytest.mark.parametrize("level", ["pause", "cancel_entries"])
@pytest.mark.parametrize("standing", ["flatten", "freeze"])
def test_a_stop_that_stands_is_not_weakened_wherever_it_was_turned(
    standing: str, level: str
) -> None:
    call_command("killswitch", standing, "--reason", "fire", "--yes")
    with pytest.raises(CommandError, match=rf"at {standing}, .* stronger than {level}; end "):
        call_command("killswitch", level, "--reason", "typo", "--yes")
    by_file = (kill_file.read()["level"], selectors.kill_level())
    kill_file.clear()
    with pytest.raises(CommandError, match="stronger"):
        call_command("killswitch", level, "--reason", "typo")
    with pytest.raises(SwitchStands):
        runs.set_kill_switch(level=level, reason="typo", actor="test")

    assert by_file == (standing, standing)
    assert (kill_file.read()["level"], selectors.kill_level()) == ("none", standing)
    assert not runs.pause_entries(reason="doubt", actor="hub")
    call_command("killswitch", "none", "--yes", "--reason", "out")
    assert selectors.kill_level() == "none"


@pytest.mark.django_db
@pytest.mark.db
def test_a_freeze_ends_a_flatten_only_in_so_many_words() -> None:
    call_command("killswitch", "flatten", "--yes", "--reason", "out")

    with pytest.raises(CommandError, match=r"flatten stands; freeze: .* add --yes"):
        call_command("killswitch", "freeze", "--reason", "odd")
    kept = selectors.kill_level()
    runs.set_kill_switch(level="freeze", reason="odd", actor="somebody on the page")

    assert kept == "flatten"
    assert (kill_file.read()["level"], selectors.kill_level()) == ("freeze", "freeze")


@pytest.mark.django_db
@pytest.mark.db
def test_a_freeze_of_meanwhile_outlives_the_drill(monkeypatch) -> None:
    bench = Bench.make()
    bench.open()
    frozen: list[str] = []

    def freeze(_: float) -> None:
        bench.venue.advance(20)
        if not frozen:
            frozen.append("now")
            runs.set_kill_switch(level="freeze", reason="odd", actor="test")

    monkeypatch.setattr(drill.time, "sleep", freeze)

    with pytest.raises(SwitchMoved, match="at freeze, not at flatten"):
        drill.run(bench.broker, url="http://127.0.0.1:1", direct=True, actor="test")

    assert selectors.kill_level() == "freeze"


@pytest.mark.parametrize("level", ["none", "pause"])
def test_without_a_database_the_level_is_unknown(monkeypatch, level: str) -> None:
    def away() -> None:
        raise OperationalError("away")

    if level != "none":
        kill_file.write(level=level, reason="a test", actor="test", at="now")
    monkeypatch.setattr(selectors, "kill_switch", away)

    with pytest.raises(CommandError, match=f"^unknown: the database.*this host says {level}"):
        call_command("killswitch")


def test_a_reset_without_a_database_resets_nothing(monkeypatch) -> None:
    def away(**_: object) -> None:
        raise OperationalError("away")

    kill_file.write(level="flatten", reason="a test", actor="test", at="now")
    monkeypatch.setattr(selectors, "kill_level", away)

    with pytest.raises(CommandError, match="nothing is reset"):
        call_command("killswitch", "none", "--yes", "--reason", "x")

    assert kill_file.read()["level"] == "flatten"


@pytest.mark.django_db
@pytest.mark.db
def test_the_drill_measures_and_resets_and_keeps_its_figures(monkeypatch) -> None:
    bench = Bench.make()
    bench.open()
    turned = runs.set_kill_switch

    def heard(**turn: str) -> None:
        turned(**turn)
        activity.note(bench.run.pk, "kill", f"kill switch: {turn['level']}")

    monkeypatch.setattr(runs, "set_kill_switch", heard)
    monkeypatch.setattr(drill.time, "sleep", lambda _: bench.venue.advance(20))

    result = drill.run(bench.broker, url="http://127.0.0.1:1", direct=True, actor="test")

    assert result["ok"]
    assert (result["held"], result["path"], bench.held_at_venue()) == (1, "broker", 0)
    assert selectors.kill_level() == "none"
    assert Figure.objects.get(name="drill").body["flat_s"] is not None


@pytest.mark.django_db
@pytest.mark.db
def test_a_drill_without_a_database_goes_to_the_broker_and_keeps_its_figures_later(
    monkeypatch,
) -> None:
    bench = Bench.make()
    bench.open()
    turned = runs.set_kill_switch

    def sometimes_away(*, level: str, **more: str) -> None:
        if level == "flatten":
            raise OperationalError("away")
        turned(level=level, **more)

    watch = KillWatch(lambda: None)
    monkeypatch.setattr(runs, "set_kill_switch", sometimes_away)

    def wait(_: float) -> None:
        watch.look()
        bench.venue.advance(20)

    monkeypatch.setattr(drill.time, "sleep", wait)

    result = drill.run(bench.broker, url="http://127.0.0.1:1", direct=False, actor="test")

    assert (result["ok"], result["path"], result["database"]) == (True, "broker", "away")
    assert result["blocked_ms"] < 250
    assert (kill_file.read()["level"], selectors.kill_level()) == ("none", "none")
    assert Figure.objects.get(name="drill").ok


@pytest.mark.django_db
@pytest.mark.db
def test_a_switch_turned_after_the_look_at_the_limits_still_stops_the_entry() -> None:
    bench = Bench.make()
    (order_id,) = bench.decide()

    def turn(point: str) -> None:
        if point == "journal.after_attempt":
            kill_file.write(level="pause", reason="a test", actor="test", at="now")

    failpoints.arm(turn)
    try:
        order = bench.send(order_id)
    finally:
        failpoints.arm(None)

    assert order.status == Status.DENIED
    assert order.reason == "kill_switch: The kill switch is at pause."
    assert bench.venue.posts() == 0


def test_the_hub_answers_a_turned_file_once_and_hurries() -> None:
    hurried: list[str] = []
    watch = KillWatch(lambda: hurried.append("now"))
    before_ns = time.time_ns()
    watch.look()
    assert kill_file.heard("flatten", since_ns=before_ns) is None

    kill_file.write(level="flatten", reason="a test", actor="test", at="now")
    watch.look()
    watch.look()

    assert hurried == ["now"]
    assert before_ns <= kill_file.heard("flatten", since_ns=before_ns) <= time.time_ns()
    assert kill_file.heard("flatten", since_ns=time.time_ns()) is None


def test_a_terminal_beside_up_reaches_its_paper_venue(settings) -> None:
    way_out.keep_venue(url="http://127.0.0.1:4242", key="PKUP", secret="of-up")
    assert (way_out.own_broker().url) == "http://127.0.0.1:4242"
    assert (settings.TRADEPLANE_HOME / way_out.VENUE).stat().st_mode & 0o777 == 0o600

    settings.APCA_API_KEY_ID = settings.APCA_API_SECRET_KEY = "given"
    settings.APCA_API_BASE_URL = "https://api.alpaca.markets"
    assert way_out.own_broker().url == "https://api.alpaca.markets"

    way_out.forget_venue()
    settings.APCA_API_KEY_ID = ""
    with pytest.raises(ValueError, match="no keys here"):
        way_out.own_broker()


@pytest.mark.django_db(transaction=True)
def test_a_locked_database_is_given_up_after_a_second() -> None:
    path = connection.settings_dict["NAME"]
    if connection.vendor != "sqlite":
        pytest.skip("SQLite's lock")
    connection.close()
    with closing(sqlite3.connect(path, isolation_level=None)) as holder:
        holder.execute("begin immediate")
        started = time.monotonic()
        with short_waits(1), pytest.raises(OperationalError, match="locked"):
            runs.set_kill_switch(level="pause", reason="a test", actor="test")
        assert time.monotonic() - started < 3
        holder.execute("rollback")
    connection.close()


@pytest.mark.django_db
@pytest.mark.db
def test_no_drill_on_real_money() -> None:
    bench = Bench.make()
    url = "https://api.alpaca.markets"

    with pytest.raises(ValueError, match="paper accounts"):
        drill.run(bench.broker, url=url, direct=True, actor="test")

    assert not Order.objects.exists()


@pytest.fixture
def stopped_database() -> Iterator[str]:
    """A MariaDB that has stopped: it takes connections, and never answers."""
    try:
        server = MariaDB()
    except CannotStart as exc:
        pytest.skip(str(exc))
    server.create("tradeplane")
    os.kill(server.server.process.pid, signal.SIGSTOP)
    yield server.url
    os.kill(server.server.process.pid, signal.SIGCONT)
    server.stop()


def manage(tmp_path: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command as a process of its own in a home of its own."""
    own = {"TRADEPLANE_HOME": str(tmp_path / "home"), "SECRET_KEY": "x" * 40}
    return subprocess.run(
        [sys.executable, "manage.py", *words],
        cwd=ROOT,
        env={**os.environ, **own, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_every_role_gives_up_a_database_that_hangs(tmp_path, stopped_database) -> None:
    started = time.monotonic()
    done = manage(tmp_path, "check_books", DATABASE_URL=stopped_database, DATABASE_TIMEOUT_S="2")

    assert done.returncode != 0
    assert "2013" in done.stderr or "2006" in done.stderr or "timed out" in done.stderr
    assert time.monotonic() - started < 40


def test_flat_within_ten_seconds_with_a_database_that_hangs(tmp_path, stopped_database) -> None:
    assert flat_s(tmp_path, stopped_database) < 10


def test_flat_within_ten_seconds_with_database_and_redis_dead(tmp_path) -> None:
    assert flat_s(tmp_path, "sqlite:////proc/no-such-place/db.sqlite3") < 10


def flat_s(tmp_path: Path, database: str) -> float:
    """A process of its own, a database that does not answer, no Redis, the venue over a socket.

    Returns: after how many seconds the command was through, without Python's own start.
    """
    tape = write_tape(tmp_path / "quiet.tape", quiet_rows(60))
    with running_venue(tape, speed=1.0, wait_for=0, latency_ns=50_000_000) as venue:
        broker = AlpacaBroker(key=KEYS.key, secret=KEYS.secret, url=venue.http)
        broker.submit_bracket(
            client_order_id="v1-test-131007-s1-t1-e",
            symbol="AIG",
            quantity=10,
            limit=Decimal("50.02"),
            take_profit=Decimal("51.00"),
            stop_loss=Decimal("49.00"),
            time_in_force="gtc",
        )
        eventually(lambda: bool(broker.positions()), "the entry is filled")

        turned = Path(tmp_path / "home" / "kill.json")
        done = manage(
            tmp_path,
            *("killswitch", "flatten", "--yes", "--reason", "dead"),
            DATABASE_URL=database,
            REDIS_URL="redis://127.0.0.1:1",
            APCA_API_KEY_ID=KEYS.key,
            APCA_API_SECRET_KEY=KEYS.secret,
            APCA_API_BASE_URL=venue.http,
        )
        seconds = time.time() - turned.stat().st_mtime  # the file comes first

        assert done.returncode == 0, done.stderr
        assert "the file counts" in done.stderr
        assert broker.positions() == []
        assert broker.orders(status="open") == []
    assert '"flatten"' in turned.read_text()
    return seconds
