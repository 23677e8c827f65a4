"""The bucket archive: every closed bucket and its revisions, for the laboratory, off the hot path.

While a session runs, a thread appends closed rows to a spool file per assignment and life. When the
session is over, and when a shard stops, `finish` turns the day's spools into `{cell}.parquet`,
sorted by (k, symbol, rev), each moved to its place when it is complete. Spools outlive a crash; a
bucket closed twice, after a take-over, is kept once. Runs of one day share its folder: where they
disagree the newest wins.
"""

import errno
import fcntl
import io
import logging
import queue
import shutil
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

import numpy as np

from shards.letters import cell_of
from shards.records import REVISED_ROW, revised_rows
from signals.session import BUCKET_NS

logger = logging.getLogger(__name__)

SPOOL = "spool"
SUFFIX = ".buckets"
WAITING_MAX = 120  # closes: ten minutes of a disk that does not answer
CHUNK_ROWS = 200_000
STOP_TIMEOUT_S = 5.0
FREE_BYTES_MIN = 1 << 30  # less free on the disk: no more rows
QUIET_S = 10.0  # without a row after the last bucket: the day is over


class Spool:
    """Appends closed rows to a file in a thread of its own; what does not fit is dropped, counted.

    Args: folder: of the day; name: unique per shard and life; last_k: the session's last bucket,
        soon after which the day's files are finished.
    """

    def __init__(self, folder: Path, name: str, last_k: int, *, quiet_s: float = QUIET_S) -> None:
        self._folder = folder
        self._path = folder / SPOOL / f"{name}{SUFFIX}"
        self._last_k, self._quiet_s = last_k, quiet_s
        self._waiting: queue.Queue[np.ndarray | None] = queue.Queue(WAITING_MAX)
        self._thread = threading.Thread(target=self._run, name="archive", daemon=True)
        self._file: BinaryIO | None = None
        self._over = self._left = False
        self._finishes = True
        self.dropped = 0
        self.failing = False

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def add(self, rows: np.ndarray) -> None:
        """Queue BUCKET_ROW records of a close, or REVISED_ROW ones; never waits."""
        try:
            self._waiting.put_nowait(rows)
        except queue.Full:
            self.dropped += 1

    def let_go(self, *, finish: bool) -> None:
        """Take no more rows; the thread writes what waits, and ends. Never waits for it.

        Args: finish: make the day's files, too. While the session goes on that is not wanted: it
            takes seconds, and whoever ends last in the day does it for all.
        """
        self._finishes, self._left = finish, True
        with suppress(queue.Full):  # then it sees that it was left when it has caught up
            self._waiting.put_nowait(None)

    def wait(self) -> None:
        """Let it come to its end, if that is quick."""
        if self._thread.is_alive():
            self._thread.join(STOP_TIMEOUT_S)

    def stop(self) -> None:
        """Write what waits, finish the files if that is quick, and end."""
        self.let_go(finish=True)
        self.wait()

    def _run(self) -> None:
        while not (self._left and self._waiting.empty()):
            try:
                rows = self._waiting.get(timeout=self._quiet_s if self._over else None)
            except queue.Empty:
                self._finish()
                continue
            if rows is not None:
                self._write(rows)
        self._finish()

    def _write(self, rows: np.ndarray) -> None:
        try:
            if self._file is None:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                with _alone(self._folder):  # else `finish` may take the file before it is locked
                    self._file = self._path.open("ab", buffering=0)
                    fcntl.flock(self._file, fcntl.LOCK_SH)  # it leaves a spool in use alone
            if shutil.disk_usage(self._folder).free < FREE_BYTES_MIN:
                raise OSError(errno.ENOSPC, "the disk is nearly full; the rest is for the books")
            self._file.write(revised_rows([rows]).tobytes())
            self.failing = False
        except OSError as exc:
            self._failed(exc)
        self._over = self._over or bool((rows["k"] >= self._last_k).any())

    def _finish(self) -> None:
        """Close the spool and turn the day's spools into Parquet."""
        self._over = False
        file, self._file = self._file, None
        if file is None:
            return
        file.close()
        if not self._finishes:
            return
        try:
            finish(self._folder)
        except (OSError, ValueError) as exc:
            logger.warning("archive is not finished", extra={"error": str(exc)[:200]})

    def _failed(self, exc: OSError) -> None:
        self.dropped += 1
        if not self.failing:
            logger.warning("archive is not written", extra={"error": str(exc)[:200]})
        self.failing = True


def finish(folder: Path) -> list[Path]:
    """Write a day's Parquet files from its spools, which are then removed; return the files.

    Bounded: rows are first dealt to a file per cell, and one cell at a time is sorted. What an
    earlier call wrote for a cell is read again and merged. Safe to repeat after a crash, and for
    several shards at once: one after the other; spools still written to are left for the next call.
    """
    if not (folder / SPOOL).is_dir():
        return []
    with _alone(folder):
        spools = [p for p in sorted((folder / SPOOL).glob(f"*{SUFFIX}")) if not _in_use(p)]
        dealt = _deal(spools, folder / SPOOL)
        made = [_merge(folder / f"{cell}.parquet", part) for cell, part in sorted(dealt.items())]
        for path in [*spools, *dealt.values()]:
            path.unlink()
    return made


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    with (folder / SPOOL / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _merge(target: Path, part: Path) -> Path:
    """Write what a cell has, with what it had, and move it to its place."""
    from fastparquet import write  # noqa: PLC0415 - not small, and not needed while a session runs

    blocks = [_rows_of(part.read_bytes())]
    if target.exists():
        blocks.append(read_parquet(target))
    fresh = target.with_name(target.name + ".part")
    write(
        str(fresh), to_columns(revised_rows(blocks)), compression="GZIP", write_index=False,
        object_encoding="utf8", stats=["k"],
    )  # fmt: skip
    fresh.replace(target)
    return target


def _in_use(spool: Path) -> bool:
    with spool.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _deal(spools: Iterable[Path], place: Path) -> dict[str, Path]:
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
        while block := file.read(CHUNK_ROWS * REVISED_ROW.itemsize):
            rows = _rows_of(block)
            if rows.size:
                yield rows


def _rows_of(block: bytes) -> np.ndarray:
    """Return the rows; an unfinished last one is left out."""
    whole = len(block) // REVISED_ROW.itemsize * REVISED_ROW.itemsize
    return np.frombuffer(block[:whole], REVISED_ROW)


def to_columns(rows: np.ndarray):  # type: ignore[no-untyped-def]
    """Return a data frame with the columns of `lab buckets` and `rev` (0: what was decided on)."""
    import pandas as pd  # noqa: PLC0415 - not small, and not needed while a session runs

    columns = {
        "symbol": [symbol.decode() for symbol in rows["symbol"].tolist()],
        "k": rows["k"],
        "start_ns": rows["k"] * BUCKET_NS,
        **{name: rows[name] for name in REVISED_ROW.names[2:-2]},  # type: ignore[index]
        "synthetic": rows["synthetic"].astype(bool),
        "rev": rows["rev"],
    }
    return pd.DataFrame(columns)


def read_parquet(path: Path) -> np.ndarray:
    """Return the REVISED_ROW records of an archived cell; the inverse of `to_columns`."""
    from fastparquet import ParquetFile  # noqa: PLC0415 - not small

    frame = ParquetFile(io.BytesIO(path.read_bytes())).to_pandas()
    rows = np.empty(len(frame), REVISED_ROW)
    for name in REVISED_ROW.names or ():
        rows[name] = frame[name].to_numpy() if name != "symbol" else frame[name].to_list()
    return rows
