"""The same processes on MariaDB and a Redis of the user's, by URL: the same hashes as embedded."""

import pytest

from tests.acceptance.stack import replay, run
from tests.servers import CannotStart, MariaDB

pytestmark = [pytest.mark.tape, pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def tape(imported_tape):
    return imported_tape(("AIG", "BAC", "IBM", "SPY"), "20131009", ("10:00", "10:20"))


@pytest.fixture(scope="module")
def mariadb():
    try:
        server = MariaDB()
    except CannotStart as exc:
        pytest.skip(str(exc))
    server.create("tradeplane")
    yield server
    server.stop()


def test_mariadb_and_redis_by_url_give_what_the_embedded_defaults_give(
    tape, mariadb, valkey, tmp_path
):
    embedded = replay(tmp_path / "embedded", tape)
    by_url = run(
        tmp_path / "by_url", "--tape", str(tape), "--profile", "quiet", "--speed", "max",
        "--until-end", "--json", DATABASE_URL=mariadb.url, REDIS_URL=valkey.url,
    )  # fmt: skip

    assert embedded.code == by_url.code == 0, by_url.stderr[-3000:]
    assert by_url.summary["hashes"] == embedded.summary["hashes"]
    assert by_url.summary["trades"] == embedded.summary["trades"]
    assert by_url.summary["books_ok"] is True
    assert by_url.summary["invariants"]["broken"] == []
    assert not (tmp_path / "by_url" / "tradeplane.sqlite3").exists()
