"""The bucket archive: every closed bucket, for the laboratory, off the hot path.

While a session runs, a thread appends closed rows to a spool file per shard and life, as they are
in memory. `finish` turns a day's spools into `{cell}.parquet`, sorted by (k, symbol), each moved to
its place when it is complete. Spools outlive a crash; a bucket closed twice, after a take-over, is
the same and is kept once. Parquet needs `fastparquet` (requirements-archive.txt); without it the
spools stay, to be finished later.
"""

import fcntl
import io
import logging
import queue
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from shards.letters import cell_of
from shards.records import BUCKET_ROW, read_rows, sorted_rows
from signals.session import BUCKET_NS

logger = logging.getLogger(__name__)

SPOOL = "spool"
WAITING_MAX = 120  # closes: ten minutes of a disk that does not answer
CHUNK_ROWS = 200_000
STOP_TIMEOUT_S = 5.0


class Spool:
    """Appends closed rows to a file in a thread of its own; what does not fit is dropped, counted.

    Args: folder: of the day; name: unique per shard and life.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self._path = folder / SPOOL / f"{name}.rows"
        self._waiting: queue.Queue[np.ndarray | None] = queue.Queue(WAITING_MAX)
        self._thread = threading.Thread(target=self._run, name="archive", daemon=True)
        self.dropped = 0
        self.failing = False

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def add(self, rows: np.ndarray) -> None:
        """Queue one close's BUCKET_ROW records; never waits."""
        try:
            self._waiting.put_nowait(rows)
        except queue.Full:
            self.dropped += 1

    def stop(self) -> None:
        """Write what waits and end."""
        if self._thread.is_alive():
            try:
                self._waiting.put(None, timeout=STOP_TIMEOUT_S)
            except queue.Full:
                return
            self._thread.join(STOP_TIMEOUT_S)

    def _run(self) -> None:
        file: BinaryIO | None = None
        while (rows := self._waiting.get()) is not None:
            try:
                if file is None:
                    self._path.parent.mkdir(parents=True, exist_ok=True)
                    file = self._path.open("ab", buffering=0)
                    fcntl.flock(file, fcntl.LOCK_SH)  # `finish` leaves a spool in use alone
                file.write(rows.tobytes())
                self.failing = False
            except OSError as exc:
                self._failed(exc)
        if file is not None:
            file.close()

    def _failed(self, exc: OSError) -> None:
        self.dropped += 1
        if not self.failing:
            logger.warning("archive is not written", extra={"error": str(exc)[:200]})
        self.failing = True


def finish(folder: Path) -> list[Path]:
    """Write a day's Parquet files from its spools, which are then removed; return the files.

    Bounded: rows are first dealt to a file per cell, and one cell at a time is sorted. What an
    earlier call wrote for a cell is read again and merged. Safe to repeat after a crash; spools of
    shards that still write are left for the next call.
    Raises:
        ImportError: fastparquet is not installed; the spools stay.
    """
    from fastparquet import write  # noqa: PLC0415 - optional and not small

    spools = [path for path in sorted((folder / SPOOL).glob("*.rows")) if not _in_use(path)]
    dealt = _deal(spools, folder / SPOOL)
    made = []
    for cell, part in sorted(dealt.items()):
        target = folder / f"{cell}.parquet"
        blocks = [read_rows(part.read_bytes())]
        if target.exists():
            blocks.append(read_parquet(target))
        fresh = folder / f"{cell}.parquet.part"
        write(
            str(fresh), to_columns(sorted_rows(blocks)), compression="GZIP", write_index=False,
            object_encoding="utf8", stats=["k"],
        )  # fmt: skip
        fresh.replace(target)
        made.append(target)
    for path in [*spools, *dealt.values()]:
        path.unlink()
    return made


def _in_use(spool: Path) -> bool:
    with spool.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _deal(spools: list[Path], place: Path) -> dict[str, Path]:
    """Write each cell's rows to a file of its own."""
    dealt: dict[str, Path] = {}
    for old in place.glob("*.cell"):
        old.unlink()
    for rows in (rows for spool in spools for rows in _chunks(spool)):
        names, which = np.unique(rows["symbol"], return_inverse=True)
        cells = np.array([cell_of(name.decode()) for name in names.tolist()])[which]
        for cell in np.unique(cells).tolist():
            path = dealt.setdefault(cell, place / f"{cell}.cell")
            with path.open("ab") as file:
                file.write(rows[cells == cell].tobytes())
    return dealt


def _chunks(spool: Path) -> Iterator[np.ndarray]:
    with spool.open("rb") as file:
        while block := file.read(CHUNK_ROWS * BUCKET_ROW.itemsize):
            yield read_rows(block)


def to_columns(rows: np.ndarray):  # type: ignore[no-untyped-def]
    """Return a data frame with the columns of `lab buckets` and `rev` (0: what was decided on)."""
    import pandas as pd  # noqa: PLC0415 - not small, and not needed while a session runs

    columns = {
        "symbol": [symbol.decode() for symbol in rows["symbol"].tolist()],
        "k": rows["k"],
        "start_ns": rows["k"] * BUCKET_NS,
        **{name: rows[name] for name in BUCKET_ROW.names[2:-1]},  # type: ignore[index]
        "synthetic": rows["synthetic"].astype(bool),
        "rev": np.zeros(rows.size, np.int32),
    }
    return pd.DataFrame(columns)


def read_parquet(path: Path) -> np.ndarray:
    """Return the BUCKET_ROW records of an archived cell; the inverse of `to_columns`.

    Raises:
        ImportError: fastparquet is not installed.
    """
    from fastparquet import ParquetFile  # noqa: PLC0415 - optional and not small

    frame = ParquetFile(io.BytesIO(path.read_bytes())).to_pandas()
    rows = np.empty(len(frame), BUCKET_ROW)
    for name in BUCKET_ROW.names or ():
        rows[name] = frame[name].to_numpy() if name != "symbol" else frame[name].to_list()
    return rows
