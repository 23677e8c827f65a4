"""Fixtures that every part shares: a real Valkey, the real tapes, the test database."""

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from datetime import date, time
from pathlib import Path

import pytest
from hypothesis import settings as hypothesis_settings

from signals.session import new_york_ns
from tests.mariadb_plugin import REDIS_PASSWORD, REDIS_PORT
from tests.servers import Valkey

ROOT = Path(__file__).resolve().parents[1]

# `pytest --hypothesis-profile=ci`; tests that pay for a database take a fixed share of it.
hypothesis_settings.register_profile("quick", max_examples=100, deadline=None)
hypothesis_settings.register_profile("ci", max_examples=2_000, deadline=None)
hypothesis_settings.register_profile("long", max_examples=50_000, deadline=None)
hypothesis_settings.load_profile("quick")


@pytest.fixture(scope="session")
def django_db_modify_db_settings(django_db_modify_db_settings: None) -> None:
    """Put SQLite's test database in a file: WAL and locks as in production, threads included."""
    from django.conf import settings  # noqa: PLC0415 - settings exist only after the plugin ran

    database = settings.DATABASES["default"]
    if database["ENGINE"].endswith("sqlite3"):
        database["TEST"]["NAME"] = str(settings.TRADEPLANE_HOME / "test.sqlite3")


@pytest.fixture(scope="session")
def valkey() -> Iterator[Valkey]:
    """A real server where the settings' REDIS_URL points; `.url`, `.kill()`, `.start()`."""
    server = Valkey(port=int(os.environ[REDIS_PORT]), password=os.environ[REDIS_PASSWORD])
    yield server
    server.stop()


@pytest.fixture(scope="session")
def tapes_dir() -> Path:
    """The folder of real ticks (README there): TRADEPLANE_TAPES, else ../shared/tapes."""
    found = Path(os.environ.get("TRADEPLANE_TAPES") or ROOT.parent / "shared" / "tapes")
    if not (found / "ticks").is_dir():
        pytest.skip(f"no real tapes: {found / 'ticks'} is not there (set TRADEPLANE_TAPES)")
    return found


ImportTape = Callable[..., Path]


@pytest.fixture(scope="session")
def imported_tape(tapes_dir: Path, pytestconfig: pytest.Config) -> ImportTape:
    """`imported_tape(symbols, day, window=None)`: path of a tape made from the real ticks.

    Args: symbols: e.g. ("AIG", "BAC"); day: "20131007"; window: ("10:00", "11:00"), New York, or
    None for the whole day. Tapes are kept in pytest's cache until ticks or importer change.
    """
    from relay import csv_import, tape  # noqa: PLC0415 - numba: only who asks for a tape pays

    kept = pytestconfig.cache.mkdir("tapes")

    def make(symbols: Sequence[str], day: str, window: tuple[str, str] | None = None) -> Path:
        sources = _tick_files(tapes_dir, symbols, day)
        whole = kept / f"{'-'.join(sorted(symbols))}-{day}-{_mark(sources)}.tape"
        if not whole.exists():
            _appear(whole, lambda out: csv_import.import_csv(sources, out))
        if window is None:
            return whole
        part = whole.with_name(f"{whole.stem}-{'-'.join(window)}.tape".replace(":", ""))
        if not part.exists():
            start, end = (
                new_york_ns(date.fromisoformat(day), time.fromisoformat(clock)) for clock in window
            )
            _appear(part, lambda out: tape.cut(whole, out, start, end))
        return part

    return make


def _tick_files(tapes_dir: Path, symbols: Sequence[str], day: str) -> list[Path]:
    found = []
    for symbol in sorted(symbols):
        own = sorted((tapes_dir / "ticks").glob(f"{symbol}_{day}_[tq].csv.gz"))
        if not own:
            pytest.skip(f"no ticks of {symbol} on {day} in {tapes_dir / 'ticks'}")
        found += own
    return found


def _mark(sources: Sequence[Path]) -> str:
    """Return a short name of these ticks and of the code that makes tapes of them."""
    facts = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in sources]
    makers = [*(ROOT / "relay").glob("tape*.py"), *(ROOT / "relay").glob("csv_*.py")]
    code = b"".join(path.read_bytes() for path in sorted(makers))
    return hashlib.sha256(repr(facts).encode() + code).hexdigest()[:12]


def _appear(path: Path, write: Callable[[Path], object]) -> None:
    """Write a tape so that another test process sees all of it or nothing."""
    unfinished = path.with_name(f"{path.name}.{os.getpid()}")
    write(unfinished)
    unfinished.replace(path)
