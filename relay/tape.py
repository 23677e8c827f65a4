"""Tapes: read, write, import, look at, cut. The format is in `relay.tape_format`."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import msgspec
import numpy as np

from relay import frames
from relay.csv_import import BadRow, import_csv, write_frames
from relay.tape_format import (
    Block,
    NotATape,
    TapeDamaged,
    TapeError,
    TapeHeader,
    TapeReader,
    TapeTruncated,
    TapeWriter,
)

__all__ = [
    "BadRow",
    "Block",
    "NotATape",
    "TapeDamaged",
    "TapeError",
    "TapeHeader",
    "TapeInfo",
    "TapeReader",
    "TapeTruncated",
    "TapeWriter",
    "cut",
    "import_csv",
    "info",
]


class TapeInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What is on a tape; `damaged` says what is wrong with it, None when it is whole."""

    path: str
    header: TapeHeader
    size_bytes: int
    frames: int
    messages: dict[str, int]  # by `T`
    first_ns: int | None
    last_ns: int | None
    symbols: int
    damaged: str | None


def info(path: Path | str) -> TapeInfo:
    """Read the whole tape and count what is on it.

    Raises:
        TapeError: there is no readable tape at all.
    """
    reader = TapeReader(path)
    kinds: Counter[int] = Counter()
    count, first_ns, last_ns, damaged = 0, None, None, None
    try:
        for block in reader.blocks():
            spans = frames.scan(block.packed().data)
            for kind, number in zip(*np.unique(spans["kind"], return_counts=True), strict=True):
                kinds[int(kind)] += int(number)
            count += block.recv_ns.size
            first_ns = int(block.recv_ns[0]) if first_ns is None else first_ns
            last_ns = int(block.recv_ns[-1])
    except (TapeError, frames.FrameError) as exc:
        damaged = str(exc)
    return TapeInfo(
        path=str(path),
        header=reader.header,
        size_bytes=Path(path).stat().st_size,
        frames=count,
        messages={_kind_name(kind): number for kind, number in sorted(kinds.items())},
        first_ns=first_ns,
        last_ns=last_ns,
        symbols=len(reader.header.symbols),
        damaged=damaged,
    )


def _kind_name(kind: int) -> str:
    return chr(kind) if kind > frames.EXTENSION else "control"


def cut(
    path: Path | str,
    out: Path | str,
    start_ns: int,
    end_ns: int,
    symbols: Iterable[str] | None = None,
    *,
    created: str = "",
) -> TapeHeader:
    """Write the frames received in [start_ns, end_ns) to a new tape and return its header.

    Args:
        symbols: keep only these; messages without a symbol stay.
    Raises:
        TapeError: a damaged source, an unknown symbol, or nothing in the range; `out` is untouched.
    """
    reader = TapeReader(path)
    kept = tuple(sorted(set(symbols))) if symbols is not None else reader.header.symbols
    if unknown := set(kept) - set(reader.header.symbols):
        raise TapeError(f"{path}: no {', '.join(sorted(unknown))} on this tape")
    header = msgspec.structs.replace(
        reader.header, symbols=kept, source="cut", created=created, crc32=0
    )
    part = Path(out).with_name(Path(out).name + ".part")
    try:
        with TapeWriter(part, header) as writer:
            _copy_frames(reader, writer, start_ns, end_ns, kept if symbols is not None else None)
        part.replace(out)
    except OSError as exc:
        raise TapeError(f"{exc.filename or out}: {exc.strerror or exc}") from exc
    finally:
        part.unlink(missing_ok=True)
    return header


def _copy_frames(
    reader: TapeReader,
    writer: TapeWriter,
    start_ns: int,
    end_ns: int,
    symbols: tuple[str, ...] | None,
) -> None:
    words = np.array(
        [frames.symbol_key(name) for name in symbols or ()] + [(0, 0)],
        [("key", "<u8"), ("key2", "<u8")],
    )
    written = False
    for block in map(Block.packed, reader.blocks(start_ns, end_ns)):
        written = True
        if symbols is None:
            writer.extend(block.recv_ns, block.ends - block.starts, block.data)
            continue
        spans = frames.scan(block.data)
        frame_of = np.searchsorted(block.starts, spans["start"], "right") - 1
        keep = np.isin(spans[["key", "key2"]], words)
        recv_ns = block.recv_ns[frame_of]
        write_frames(writer.blocks, block.data, spans[keep], frame_of[keep], recv_ns[keep])
    if not written:
        raise TapeError(f"{reader.path}: nothing in the given time range")
