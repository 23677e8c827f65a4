"""Tape import: CSV files of trades and quotes, merged by time into one tape.

One message has one row; all messages with one time make one frame (split at 500). Receive time is
the event's own. Equal times are ordered: trades before quotes (a print belongs to the quote it
met), then symbol, then file, then row. A file is read in pieces, so memory stays bounded.
"""

import datetime as dt
import gzip
import shutil
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np

from relay import csv_kernels, frames
from relay.tape_format import BlockWriter, TapeError, TapeHeader, preamble

CHUNK_BYTES = 4 << 20
FRAME_MESSAGES = 500
NEW_YORK = ZoneInfo("America/New_York")
_FIELD_NAMES = csv_kernels.COLUMNS.split(",")


class BadRow(TapeError):
    """A line of a CSV file is not what the format says; the message names file and line."""


def import_csv(
    paths: Sequence[Path | str], out: Path | str, *, feed: str = "sip", created: str = ""
) -> TapeHeader:
    """Make the tape `out` from CSV files (also gzipped) and return its header.

    Raises:
        BadRow: a line is malformed, out of order, or of another day; `out` is not touched.
        TapeError: a file cannot be read, or there is nothing in it.
    """
    out = Path(out)
    body, part = out.with_name(out.name + ".body"), out.with_name(out.name + ".part")
    try:
        with body.open("wb") as file:
            contents = _write_blocks([_Source(Path(path)) for path in paths], BlockWriter(file))
        header = contents.header(feed=feed, created=created)
        with part.open("wb") as target, body.open("rb") as blocks:
            target.write(preamble(header))
            shutil.copyfileobj(blocks, target, 1 << 20)
        part.replace(out)
    except OSError as exc:
        raise TapeError(f"{exc.filename or out}: {exc.strerror or exc}") from exc
    finally:
        body.unlink(missing_ok=True)
        part.unlink(missing_ok=True)
    return header


class _Contents:
    """What has been written so far: symbols, kinds, the day."""

    def __init__(self) -> None:
        self.keys: set[tuple[int, int]] = set()
        self.kinds: set[int] = set()
        self.day: dt.date | None = None

    def note(self, spans: np.ndarray) -> None:
        pairs = np.unique(spans[["key", "key2"]])
        self.keys.update((int(key), int(key2)) for key, key2 in pairs)
        self.kinds.update(np.unique(spans["kind"]).tolist())

    def header(self, *, feed: str, created: str) -> TapeHeader:
        if self.day is None:
            raise TapeError("no rows: nothing to put on a tape")
        names = {frames.TRADE: "trades", frames.QUOTE: "quotes"}
        return TapeHeader(
            feed=feed,
            day=self.day,
            channels=tuple(name for kind, name in names.items() if kind in self.kinds),
            symbols=tuple(sorted(frames.key_symbol(*pair) for pair in self.keys)),
            source="import",
            created=created,
        )


class _Source:
    """One CSV file as messages in time order, piece by piece."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._row = 1  # 1-based number of the next data row; its line is one more
        self._last_ts_ns = 0
        self._pieces = self._read()
        self.data, self.spans = b"", np.empty(0, frames.SPAN)
        self.done = False
        self.more()

    def more(self) -> None:
        """Put the next piece behind what is left."""
        piece = next(self._pieces, None)
        if piece is None:
            self.done = True
            return
        count, encoded = piece
        head = frames.array_header(count)
        spans = frames.scan(head + encoded)
        for column in ("start", "end"):
            spans[column] += len(self.data) - len(head)
        self.spans = np.concatenate([self.spans, spans])
        self.data += encoded

    def take(self, before_ns: int | None) -> tuple[bytes, np.ndarray]:
        """Remove and return the messages earlier than `before_ns` (None: all)."""
        times = self.spans["ts_ns"]
        count = times.size if before_ns is None else int(np.searchsorted(times, before_ns))
        taken, left = self.spans[:count], self.spans[count:].copy()
        cut = int(taken["end"][-1]) if count else 0
        data, self.data = self.data[:cut], self.data[cut:]
        left["start"] -= cut
        left["end"] -= cut
        self.spans = left
        return data, taken

    def _read(self) -> Iterator[tuple[int, bytes]]:
        opener = gzip.open if self.path.suffix == ".gz" else open
        try:
            with opener(self.path, "rb") as file:
                title = file.readline(4096).decode("utf-8", "replace").strip()
                if title != csv_kernels.COLUMNS:
                    raise BadRow(f"{self.path}: line 1: the columns are not {csv_kernels.COLUMNS}")
                rest = b""
                while chunk := file.read(CHUNK_BYTES):
                    lines, newline, rest = (rest + chunk).rpartition(b"\n")
                    if newline:
                        yield self._encode(lines + newline)
                if rest:
                    yield self._encode(rest)
        except (EOFError, zlib.error, gzip.BadGzipFile) as exc:
            where = f"{self.path}: after line {self._row}"
            raise TapeError(f"{where}: not intact gzip: {exc}") from exc
        except OSError as exc:
            raise TapeError(f"{self.path}: {exc.strerror or exc}") from exc

    def _encode(self, lines: bytes) -> tuple[int, bytes]:
        """Return (messages, their bytes back to back) of whole lines."""
        octets = np.frombuffer(lines, np.uint8)
        room = (lines.count(b"\n") + 1) * csv_kernels.ROW_BYTES + 2 * len(lines)
        out = np.empty(room, np.uint8)
        count, size, newest, code, at = csv_kernels.encode_rows(
            octets, self._row, self._last_ts_ns, out
        )
        if code >= 0:
            raise self._complaint(code, self._row + count, lines[at:].partition(b"\n")[0])
        self._row += count
        self._last_ts_ns = newest
        return count, out[:size].tobytes()

    def _complaint(self, code: int, row: int, line: bytes) -> BadRow:
        where = f"{self.path}: line {row + 1}"
        if code == csv_kernels.TOO_FEW_FIELDS:
            return BadRow(f"{where}: {line.count(b',') + 1} fields, not {csv_kernels.FIELDS}")
        if code == csv_kernels.OUT_OF_ORDER:
            return BadRow(f"{where}: ts_ns goes backwards")
        value = line.strip().split(b",")[code].decode("utf-8", "replace")
        return BadRow(f"{where}: bad {_FIELD_NAMES[code]} {value[:40]!r}")


def _write_blocks(sources: Sequence[_Source], writer: BlockWriter) -> _Contents:
    """Merge the sources into blocks; each round takes what no source can still undercut."""
    contents = _Contents()
    while any(source.spans.size or not source.done for source in sources):
        for source in sources:
            while not source.done and not source.spans.size:
                source.more()
        open_ends = [int(s.spans["ts_ns"][-1]) for s in sources if not s.done]
        limit = min(open_ends) if open_ends else None
        data, spans = _merged([source.take(limit) for source in sources])
        if spans.size:
            contents.note(spans)
            _note_day(contents, spans["ts_ns"], sources)
            write_frames(writer, data, spans, spans["ts_ns"], spans["ts_ns"])
        for source in sources:  # whoever set the limit still holds its last stamp
            if not source.done and (limit is None or source.spans["ts_ns"][-1] <= limit):
                source.more()
    writer.flush()
    return contents


def _merged(taken: Sequence[tuple[bytes, np.ndarray]]) -> tuple[bytes, np.ndarray]:
    """Return the joined bytes and the spans in tape order."""
    offset = 0
    for data, spans in taken:
        spans["start"] += offset
        spans["end"] += offset
        offset += len(data)
    spans = np.concatenate([spans for _, spans in taken])
    quotes = spans["kind"] == frames.QUOTE
    order = np.lexsort((spans["key2"], spans["key"], quotes, spans["ts_ns"]))
    return b"".join(data for data, _ in taken), spans[order]


def _note_day(contents: _Contents, ts_ns: np.ndarray, sources: Sequence[_Source]) -> None:
    for stamp in (int(ts_ns[0]), int(ts_ns[-1])):
        day = dt.datetime.fromtimestamp(stamp // 1_000_000_000, NEW_YORK).date()
        contents.day = contents.day or day
        if day != contents.day:
            names = ", ".join(source.path.name for source in sources)
            raise TapeError(f"rows of {contents.day} and {day} in one tape: {names}")


def write_frames(
    writer: BlockWriter, data: bytes, spans: np.ndarray, group: np.ndarray, recv_ns: np.ndarray
) -> None:
    """Write the messages to the tape, one frame per run of equal `group`; recv_ns per message."""
    if not spans.size:
        return
    octets = np.frombuffer(data, np.uint8)
    size = int((spans["end"] - spans["start"]).sum()) + 3 * spans.size
    out = np.empty(size, np.uint8)
    lengths, firsts = np.empty(spans.size, np.int64), np.empty(spans.size, np.int64)
    group = np.ascontiguousarray(group, np.int64)
    spans = np.ascontiguousarray(spans)
    count, used = csv_kernels.join_frames(
        octets, spans, group, FRAME_MESSAGES, out, lengths, firsts
    )
    writer.extend(recv_ns[firsts[:count]], lengths[:count], out[:used].tobytes())
