"""The bucket archive: nothing lost, nothing doubled, nothing half written."""

import threading
from pathlib import Path

import numpy as np
import pytest

from shards.archive import SPOOL, Spool, finish, read_parquet
from shards.records import BUCKET_ROW, REVISED_ROW, revised_rows


def rows(first_k: int, count: int, symbols: tuple[str, ...]) -> np.ndarray:
    made = np.zeros(count * len(symbols), BUCKET_ROW)
    made["k"] = np.repeat(np.arange(first_k, first_k + count), len(symbols))
    made["symbol"] = list(symbols) * count
    for place, name in enumerate(("open", "high", "low", "close", "vwap")):
        made[name] = made["k"] / 7 + place
    made["volume"], made["trades"] = made["k"] * 3, made["k"] % 5
    made["synthetic"] = made["k"] % 2
    return made


def spooled(folder: Path, name: str, blocks: list[np.ndarray]) -> None:
    spool = Spool(folder, name, 10**9)
    spool.start()
    for block in blocks:
        spool.add(block)
    spool.stop()
    assert spool.dropped == 0


def archived(folder: Path) -> np.ndarray:
    return revised_rows([read_parquet(path) for path in sorted(folder.glob("*.parquet"))])


def test_every_bucket_of_every_life_is_archived_once(tmp_path: Path) -> None:
    first, again = rows(100, 10, ("AAPL", "AA", "B")), rows(105, 9, ("AAPL", "AA", "B"))
    spooled(tmp_path, "1-1", [first[:7], first[7:]])
    spooled(tmp_path, "1-2", [again])

    assert sorted(path.name for path in tmp_path.glob("*.p*")) == ["AA.parquet", "B.parquet"]
    assert archived(tmp_path).tobytes() == revised_rows([first, again]).tobytes()
    assert [path.name for path in (tmp_path / SPOOL).iterdir()] == [".lock"]


def test_a_later_spool_is_merged_into_what_is_there(tmp_path: Path) -> None:
    spooled(tmp_path, "1-1", [rows(100, 5, ("AA",))])
    spooled(tmp_path, "2-1", [rows(103, 5, ("AA", "AB"))])

    expected = revised_rows([rows(100, 5, ("AA",)), rows(103, 5, ("AA", "AB"))])
    assert archived(tmp_path).tobytes() == expected.tobytes()


def test_a_torn_spool_loses_only_its_last_row(tmp_path: Path) -> None:
    (tmp_path / SPOOL).mkdir()
    whole = revised_rows([rows(100, 4, ("AA",))]).tobytes()
    (tmp_path / SPOOL / "1-1.buckets").write_bytes(whole[:-5])
    (tmp_path / "AA.parquet.part").write_bytes(b"half")

    finish(tmp_path)

    assert archived(tmp_path).tobytes() == revised_rows([rows(100, 3, ("AA",))]).tobytes()


def test_a_disk_that_hangs_costs_rows_and_never_time(tmp_path: Path) -> None:
    spool = Spool(tmp_path, "1-1", 10**9)  # not started: nobody writes

    for _ in range(200):
        spool.add(rows(1, 1, ("AA",)))

    assert spool.dropped == 80


def test_a_disk_that_refuses_is_told_and_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / SPOOL).write_text("a file where the folder should be")
    spool = Spool(tmp_path, "1-1", 10**9)
    spool.start()
    spool.add(rows(1, 1, ("AA",)))
    spool.add(rows(2, 1, ("AA",)))
    spool.stop()

    assert spool.dropped == 2
    assert spool.failing
    assert [one.message for one in caplog.records] == ["archive is not written"]


def test_the_day_is_finished_soon_after_its_last_bucket(tmp_path: Path) -> None:
    spool = Spool(tmp_path, "1-1", 102, quiet_s=0.01)
    spool.start()
    spool.add(rows(100, 3, ("AA",)))

    waited = threading.Event()
    while not list(tmp_path.glob("*.parquet")):
        assert not waited.wait(0.01)

    spool.add(rows(100, 1, ("AA",)))  # a revision that came later
    spool.stop()
    assert archived(tmp_path).tobytes() == revised_rows([rows(100, 3, ("AA",))]).tobytes()


def test_revisions_stand_behind_what_was_decided_on(tmp_path: Path) -> None:
    decided = rows(100, 3, ("AA",))
    later = revised_rows([decided[:1]])
    later["rev"], later["volume"] = 1, 77

    spooled(tmp_path, "1-1", [decided, later])

    found = archived(tmp_path)
    assert found.dtype == REVISED_ROW
    assert found[["k", "rev"]].tolist() == [(100, 0), (100, 1), (101, 0), (102, 0)]
    assert found["volume"][1] == 77


def test_shards_of_one_day_finish_one_after_the_other(tmp_path: Path) -> None:
    spools = [Spool(tmp_path, f"{n}-1", 10**9) for n in range(4)]
    for number, spool in enumerate(spools):
        spool.start()
        spool.add(rows(100 + number, 2, ("AA", "B")))
    for spool in spools:
        spool._waiting.put(None)
    for spool in spools:
        spool.stop()

    expected = revised_rows([rows(100 + n, 2, ("AA", "B")) for n in range(4)])
    assert archived(tmp_path).tobytes() == expected.tobytes()


def test_a_disk_that_is_nearly_full_keeps_its_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shards.archive.FREE_BYTES_MIN", 1 << 60)
    spool = Spool(tmp_path, "1-1", 10**9)
    spool.start()
    spool.add(rows(1, 1, ("AA",)))
    spool.stop()

    assert (spool.dropped, spool.failing) == (1, True)
    assert list(tmp_path.glob("*.parquet")) == []


def test_letters_that_move_wait_for_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The shard's loop lets go; it must not miss a heart-beat over the archive."""
    disk = threading.Event()
    written = Spool._write
    monkeypatch.setattr(
        Spool, "_write", lambda spool, block: (disk.wait(10), written(spool, block))
    )
    spool = Spool(tmp_path, "1-1", 10**9)
    spool.start()
    for first in range(130):  # more than it holds
        spool.add(rows(first, 1, ("AA",)))

    spool.let_go(finish=False)  # returns while the disk hangs

    assert not disk.is_set()
    disk.set()
    spool.wait()
    assert list(tmp_path.glob("*.parquet")) == [], "the day goes on"
    spooled(tmp_path, "1-2", [rows(130, 1, ("AA",))])
    assert archived(tmp_path).size == 130 - spool.dropped + 1
