"""The bucket archive: nothing lost, nothing doubled, nothing half written."""

from pathlib import Path

import numpy as np
import pytest

from shards.archive import SPOOL, Spool, finish, read_parquet
from shards.records import BUCKET_ROW, sorted_rows


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
    spool = Spool(folder, name)
    spool.start()
    for block in blocks:
        spool.add(block)
    spool.stop()
    assert spool.dropped == 0


def archived(folder: Path) -> np.ndarray:
    return sorted_rows([read_parquet(path) for path in sorted(folder.glob("*.parquet"))])


def test_every_bucket_of_every_life_is_archived_once(tmp_path: Path) -> None:
    pytest.importorskip("fastparquet", reason="requirements-archive.txt")
    first, again = rows(100, 10, ("AAPL", "AA", "B")), rows(105, 9, ("AAPL", "AA", "B"))
    spooled(tmp_path, "1-1", [first[:7], first[7:]])
    spooled(tmp_path, "1-2", [again])

    made = finish(tmp_path)

    assert [path.name for path in made] == ["AA.parquet", "B.parquet"]
    assert archived(tmp_path).tobytes() == sorted_rows([first, again]).tobytes()
    assert list((tmp_path / SPOOL).iterdir()) == []


def test_a_later_spool_is_merged_into_what_is_there(tmp_path: Path) -> None:
    pytest.importorskip("fastparquet", reason="requirements-archive.txt")
    spooled(tmp_path, "1-1", [rows(100, 5, ("AA",))])
    finish(tmp_path)
    spooled(tmp_path, "2-1", [rows(103, 5, ("AA", "AB"))])

    finish(tmp_path)

    expected = sorted_rows([rows(100, 5, ("AA",)), rows(103, 5, ("AA", "AB"))])
    assert archived(tmp_path).tobytes() == expected.tobytes()


def test_a_torn_spool_loses_only_its_last_row(tmp_path: Path) -> None:
    pytest.importorskip("fastparquet", reason="requirements-archive.txt")
    spooled(tmp_path, "1-1", [rows(100, 4, ("AA",))])
    path = tmp_path / SPOOL / "1-1.rows"
    path.write_bytes(path.read_bytes()[:-5])
    (tmp_path / "AA.parquet.part").write_bytes(b"half")

    finish(tmp_path)

    assert archived(tmp_path).tobytes() == rows(100, 3, ("AA",)).tobytes()


def test_a_disk_that_hangs_costs_rows_and_never_time(tmp_path: Path) -> None:
    spool = Spool(tmp_path, "1-1")  # not started: nobody writes

    for _ in range(200):
        spool.add(rows(1, 1, ("AA",)))

    assert spool.dropped == 80


def test_a_disk_that_refuses_is_told_and_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / SPOOL).write_text("a file where the folder should be")
    spool = Spool(tmp_path, "1-1")
    spool.start()
    spool.add(rows(1, 1, ("AA",)))
    spool.add(rows(2, 1, ("AA",)))
    spool.stop()

    assert spool.dropped == 2
    assert spool.failing
    assert [one.message for one in caplog.records] == ["archive is not written"]
