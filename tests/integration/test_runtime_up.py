"""`manage.py up`: what it refuses before anything starts, and its small parts."""

import os
import re
import subprocess
import sys
from datetime import date
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from execution.services import runs
from signals import selectors
from signals.parameters import catalogue
from tradeplane.runtime import redis
from tradeplane.runtime.children import Spec
from tradeplane.runtime.environment import SECRET_NAMES, base_environment
from tradeplane.runtime.ports import Ports
from tradeplane.runtime.roles import MANAGE, SyntheticPlan, TapePlan, redis_role
from tradeplane.runtime.run_parameters import activate_first, activate_for_run, chosen_values
from tradeplane.runtime.summary import as_table, verdict
from tradeplane.runtime.supervisor import Supervisor
from tradeplane.runtime.up import Options, Up


def refused(*arguments: str) -> tuple[int, str]:
    """Return (exit code, the one line) of an `up` that must not start."""
    with pytest.raises(CommandError) as caught:
        call_command("up", *arguments)
    message = str(caught.value)
    assert "\n" not in message
    return caught.value.returncode, message


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--speed", "fast", "--tape", "x"], "'fast'"),
        (["--speed", "0", "--tape", "x"], "'0'"),
        (["--from", "25:00", "--tape", "x"], "'25:00'"),
        (["--shards", "27"], "'27'"),
        (["--port", "99999"], "'99999'"),
        (["--until-end"], "--until-end needs --tape or --synthetic"),
        (["--speed", "5"], "--speed needs --tape or --synthetic"),
        (["--symbols", "500"], "--symbols needs --synthetic"),
        (["--synthetic", "7", "--symbols", "3"], "'3'"),
        (["--day", "2026-11-23"], "--day needs --synthetic"),
        (["--synthetic", "7", "--day", "23.11.2026"], "'23.11.2026'"),
        (["--synthetic", "7", "--day", "2026-11-26"], "closed on 2026-11-26"),
        (["--synthetic", "7", "--day", "2029-11-23"], "2029-11-23 is not over yet"),
        (["--synthetic", "7", "--tape", "x"], "one market at a time"),
    ],
)
def test_a_bad_option_is_one_line_that_names_the_value(arguments: list[str], word: str) -> None:
    _, message = refused(*arguments)

    assert word in message


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--profile", "loud"], "loud"),
        (["--set", "fast_perod=3"], "did you mean fast_period"),
        (["--set", "fast_period=x"], "fast_period"),
        (["--set", "fast_period=30", "--set", "slow_period=20"], "slow_period"),
        (["--set", "fast_period"], "name=value"),
    ],
)
def test_a_wrong_parameter_is_wrong_usage(arguments: list[str], word: str) -> None:
    code, message = refused(*arguments)

    assert code == 2
    assert word in message


@pytest.mark.django_db
def test_a_stop_that_stands_is_told_at_the_start(settings, tmp_path: Path, capsys) -> None:
    settings.TRADEPLANE_HOME = tmp_path
    up = Up(Options())
    up._tell_kill_switch()
    quiet = capsys.readouterr().out

    runs.set_kill_switch(level="pause", reason="odd fills", actor="ann")
    up._tell_kill_switch()

    assert quiet == ""
    told = capsys.readouterr().out
    assert "the kill switch is at pause (odd fills; ann): no entries until" in told


@pytest.mark.parametrize("home", ["/proc/x", str(MANAGE)])
@pytest.mark.parametrize("secret", [{}, {"SECRET_KEY": "x" * 40}])
def test_a_home_that_cannot_be_is_one_line(home: str, secret: dict[str, str]) -> None:
    own = {name: value for name, value in os.environ.items() if name != "SECRET_KEY"}
    done = subprocess.run(
        [sys.executable, str(MANAGE), "up"],
        env={**own, **secret, "TRADEPLANE_HOME": home},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 1
    assert done.stderr.startswith(f"TRADEPLANE_HOME={home} cannot be used: ")
    assert done.stderr.count("\n") == 1


def test_a_missing_tape_is_one_line() -> None:
    code, message = refused("--tape", "nowhere.tape")

    assert code == 1
    assert "nowhere.tape" in message


def test_a_file_that_is_no_tape_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("hello, this is not a tape at all")

    code, message = refused("--tape", str(path))

    assert code == 1
    assert "notes.txt" in message


@pytest.mark.django_db
def test_a_profile_and_a_change_of_it_are_saved_once() -> None:
    values = chosen_values("quiet", ["fast_period=4"])
    assert values is not None

    first = activate_for_run(values, "profile quiet, fast_period=4")
    again = activate_for_run(values, "the same")

    assert again == first
    assert selectors.active_parameters() == (first, values)
    assert values["fast_period"] == 4
    assert {**values, "fast_period": catalogue.profile("quiet")["fast_period"]} == (
        catalogue.validate(catalogue.profile("quiet"))
    )


@pytest.mark.django_db
def test_a_first_start_gets_the_careful_profile_and_a_later_one_keeps_what_is_there() -> None:
    assert activate_first("careful")
    version, values = selectors.active_parameters()

    assert not activate_first("quiet")

    assert selectors.active_parameters() == (version, values)
    assert values == catalogue.validate(catalogue.profile("careful"))


@pytest.mark.django_db
def test_without_profile_and_set_the_active_set_stays() -> None:
    assert chosen_values(None, []) is None


def test_a_child_gets_no_secret_but_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in SECRET_NAMES:
        monkeypatch.setenv(name, "hidden")

    environment = base_environment({"TRADEPLANE_RUN": "r"})

    assert "hidden" not in environment.values()
    assert all(environment[name] == "" for name in SECRET_NAMES)  # blank: a .env cannot refill it
    assert environment["TRADEPLANE_RUN"] == "r"


def test_the_synthetic_plan_is_passed_on_to_the_venue() -> None:
    plan = SyntheticPlan(seed=9, symbols=400, day=date(2026, 11, 27), speed="2")

    assert plan.arguments() == [
        "--synthetic", "9", "--symbols", "400", "--day", "2026-11-27", "--speed", "2", "--lockstep",
    ]  # fmt: skip
    assert SyntheticPlan().arguments() == ["--synthetic", "3115", "--speed", "1", "--lockstep"]


def test_the_tape_plan_is_passed_on_to_the_venue() -> None:
    plan = TapePlan(path=Path("d.tape"), speed="max", start="10:00", order_latency_ms=0)

    assert plan.arguments() == [
        "--tape", "d.tape", "--speed", "max", "--lockstep", "--from", "10:00",
        "--order-latency-ms", "0",
    ]  # fmt: skip
    assert MANAGE.is_file()


def test_the_embedded_server_answers_with_its_password_only(tmp_path: Path) -> None:
    ports = Ports()
    server = redis.prepare_server(tmp_path, ports.take(16_390, "redis"))
    supervisor = Supervisor(
        log_dir=tmp_path / "logs", say=lambda _who, _line: None, base=dict(os.environ)
    )
    spec: Spec = redis_role(server)
    try:
        supervisor.start([spec], stopping=lambda: False)

        assert redis.answers(server.url)
        assert not redis.answers(re.sub(r":[^:@]+@", ":wrong@", server.url))
        assert (tmp_path / "redis" / "server.conf").stat().st_mode & 0o777 == 0o600
    finally:
        supervisor.stop()
        ports.close()

    assert not redis.answers(server.url)


def test_a_summary_with_a_broken_invariant_is_a_failure() -> None:
    good = {"books_ok": True, "invariants": {"checked": ["I1"], "broken": []}}

    assert verdict(good) == ""
    assert "I2" in verdict(good | {"invariants": {"checked": ["I2"], "broken": ["I2: two"]}})
    assert "check_books" in verdict(good | {"books_ok": False})


def test_the_table_shows_every_key_and_shortens_hashes() -> None:
    table = as_table({"prints": 12, "hashes": {"buckets": "a" * 64}, "trades": [{"x": 1}]})

    assert table.splitlines() == ["prints  12", "hashes  buckets aaaaaaaaaaaa…", "trades  1"]
