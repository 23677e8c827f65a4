"""`manage.py venue` as a process: what it prints, when it ends, how it fails."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from django.core.management.base import CommandError

from execution.management.commands.venue import Command
from execution.venue.run import listen
from tests.venue_fixture import KEYS, quiet_rows, write_tape

ROOT = Path(__file__).resolve().parents[2]


def environment(tmp_path: Path, *, keys: bool = True) -> dict[str, str]:
    names = {"APCA_API_KEY_ID": KEYS.key, "APCA_API_SECRET_KEY": KEYS.secret}
    kept = {name: value for name, value in os.environ.items() if not name.startswith("APCA_")}
    return kept | {"TRADEPLANE_HOME": str(tmp_path)} | (names if keys else {})


def venue(tmp_path: Path, *arguments: str, keys: bool = True) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "manage.py", "venue", *arguments],
        cwd=ROOT,
        env=environment(tmp_path, keys=keys),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # a suite that runs in a shell's background has its children ignore Ctrl-C
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def ended(process: subprocess.Popen) -> tuple[int, str, str]:
    try:
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    return process.returncode, out, err


@pytest.fixture
def tape(tmp_path):
    return write_tape(tmp_path / "quiet.tape", quiet_rows(3))


def test_it_says_where_it_listens_in_one_line_and_stops_at_once_on_ctrl_c(tmp_path, tape):
    process = venue(tmp_path, "--tape", str(tape), "--port", "0")
    line = process.stdout.readline()

    process.send_signal(signal.SIGINT)
    code, rest, err = ended(process)

    assert line.startswith("venue ready on http://127.0.0.1:")
    assert (code, rest, err) == (0, "", "")


def test_without_keys_in_the_environment_it_makes_and_prints_some(tmp_path, tape):
    process = venue(tmp_path, "--tape", str(tape), "--port", "0", keys=False)
    lines = [process.stdout.readline() for _ in range(3)]
    process.send_signal(signal.SIGTERM)
    ended(process)

    assert [line.split("=")[0] for line in lines[:2]] == ["APCA_API_KEY_ID", "APCA_API_SECRET_KEY"]
    assert lines[2].startswith("venue ready")


def test_a_venue_without_a_tape_serves_on_the_hosts_clock(tmp_path):
    process = venue(tmp_path, "--port", "0")
    line = process.stdout.readline()
    process.send_signal(signal.SIGTERM)

    assert line.startswith("venue ready")
    assert ended(process)[2] == ""


def test_a_tape_that_runs_free_ends_the_process_with_once(tmp_path, tape):
    arguments = ("--tape", str(tape), "--speed", "max", "--wait-for", "0", "--once")

    code, out, _ = ended(venue(tmp_path, *arguments, "--port", "0"))

    assert code == 0
    assert out.count("\n") == 1


def one_clear_line(err: str) -> str:
    lines = err.strip().splitlines()
    assert len(lines) == 1, err
    return lines[0]


def test_a_missing_tape_is_one_clear_line(tmp_path):
    code, _, err = ended(venue(tmp_path, "--tape", "nowhere.tape", "--port", "0"))

    assert code == 1
    assert "nowhere.tape" in one_clear_line(err)


def test_a_damaged_and_a_truncated_tape_are_refused_before_anything_is_served(tmp_path, tape):
    whole = tape.read_bytes()
    middle = len(whole) // 2
    damaged = whole[:middle] + bytes([whole[middle] ^ 0xFF]) + whole[middle + 1 :]
    for name, data in (("damaged", damaged), ("truncated", whole[:-10]), ("text", b"ts_ns,")):
        path = tmp_path / f"{name}.tape"
        path.write_bytes(data)

        code, out, err = ended(venue(tmp_path, "--tape", str(path), "--port", "0"))

        assert (code, out) == (1, "")
        assert str(path) in one_clear_line(err)


def test_a_taken_port_is_one_clear_line(tmp_path, tape):
    with listen(0) as other:
        port = other.getsockname()[1]

        code, _, err = ended(venue(tmp_path, "--tape", str(tape), "--port", str(port)))

    assert code == 1
    assert f"port {port} is taken" in one_clear_line(err)


def test_a_start_after_the_end_of_the_tape_is_refused(tmp_path, tape):
    code, _, err = ended(venue(tmp_path, "--tape", str(tape), "--from", "15:00", "--port", "0"))

    assert code == 1
    assert "nothing on this tape from 15:00" in one_clear_line(err)


@pytest.mark.parametrize(
    "option",
    [
        ("--speed", "fast"),
        ("--speed", "0"),
        ("--port", "70000"),
        ("--from", "25:00"),
        ("--cash", "-1"),
        ("--order-latency-ms", "x"),
        ("--partial-rate", "2"),
        ("--nonsense",),
    ],
)
def test_a_bad_option_is_named(option):
    parser = Command().create_parser("manage.py", "venue")

    with pytest.raises(CommandError, match=option[0]):
        parser.parse_args(option)


def test_wrong_usage_exits_with_2(tmp_path):
    code, _, err = ended(venue(tmp_path, "--speed", "fast"))

    assert code == 2
    assert "argument --speed: must be 'max' or a number" in err.splitlines()[-1]
