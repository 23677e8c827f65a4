"""The tape file: what the venue sent, with receive times, compressed and self-describing.

    b"TPTAPE1\\n" | u32 length | JSON header | block | block | …
    block = u32 magic, u32 crc32 of body, u32 compressed, u32 raw, u32 frames,
            i64 first and i64 last receive time, then the zlib body
    raw body = frames × i64 receive time (UTC ns), frames × u32 length, the frames back to back

All numbers are little-endian. A file only grows, block by block, so it can be read while it is
written; a reader gives everything up to a damage and then says where it is.
"""

import datetime as dt
import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

import msgspec
import numpy as np

MAGIC = b"TPTAPE1\n"
BLOCK_MAGIC = 0x4B4C4254  # "TBLK"
BLOCK_BYTES = 1 << 20  # raw bytes at which a block is closed
MAX_RAW_BYTES = 8 << 20  # a reader's limit: one oversized frame still fits
MAX_HEADER_BYTES = 4 << 20
COMPRESSION = 3
_BLOCK = struct.Struct("<IIIIIqq")
_PER_FRAME = 12  # receive time and length


class TapeError(ValueError):
    """A tape cannot be read or made. TapeError ← NotATape, TapeDamaged, TapeTruncated, BadRow."""


class NotATape(TapeError):
    """The file does not start as a tape does."""


class TapeDamaged(TapeError):
    """Bytes on the tape are not what was written."""


class TapeTruncated(TapeError):
    """The tape ends inside a block: cut off, or still being written."""


class TapeHeader(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a tape says about itself; `day` is the session date in New York."""

    format: int = 1
    feed: str = "sip"
    day: dt.date
    channels: tuple[str, ...] = ("trades", "quotes")
    symbols: tuple[str, ...] = ()
    source: str = "import"  # import | record | cut
    created: str = ""
    crc32: int = 0  # of this header with crc32 = 0


@dataclass(frozen=True, kw_only=True)
class Block:
    """Frames `data[starts[i]:ends[i]]`, received at `recv_ns[i]` (int64 arrays of one length)."""

    recv_ns: np.ndarray
    starts: np.ndarray
    ends: np.ndarray
    data: bytes

    def frame(self, i: int) -> bytes:
        return self.data[self.starts[i] : self.ends[i]]

    def packed(self) -> "Block":
        """Return the same frames laid back to back in data that holds nothing else."""
        first, last = int(self.starts[0]), int(self.ends[-1])
        lengths = self.ends - self.starts
        if last - first == int(lengths.sum()):
            data = self.data[first:last]
        else:  # receive times went backwards and left holes
            data = b"".join(self.frame(i) for i in range(self.recv_ns.size))
        ends = np.cumsum(lengths)
        return Block(recv_ns=self.recv_ns, starts=ends - lengths, ends=ends, data=data)

    def within(self, start_ns: int | None, end_ns: int | None) -> "Block":
        """Return the frames received in [start_ns, end_ns)."""
        keep = np.ones(self.recv_ns.size, np.bool_)
        if start_ns is not None:
            keep &= self.recv_ns >= start_ns
        if end_ns is not None:
            keep &= self.recv_ns < end_ns
        if keep.all():
            return self
        return Block(
            recv_ns=self.recv_ns[keep],
            starts=self.starts[keep],
            ends=self.ends[keep],
            data=self.data,
        )


def preamble(header: TapeHeader) -> bytes:
    """Return the bytes before the first block."""
    plain = msgspec.structs.replace(header, crc32=0)
    crc = zlib.crc32(msgspec.json.encode(plain))
    encoded = msgspec.json.encode(msgspec.structs.replace(plain, crc32=crc))
    return MAGIC + struct.pack("<I", len(encoded)) + encoded


def encode_block(recv_ns: np.ndarray, lengths: np.ndarray, frames: bytes) -> bytes:
    """Return one block of `len(recv_ns)` frames laid back to back in `frames`."""
    raw = recv_ns.astype("<i8").tobytes() + lengths.astype("<u4").tobytes() + frames
    body = zlib.compress(raw, COMPRESSION)
    first, last = int(recv_ns[0]), int(recv_ns[-1])
    counts = (len(body), len(raw), recv_ns.size)
    return _BLOCK.pack(BLOCK_MAGIC, zlib.crc32(body), *counts, first, last) + body


class BlockWriter:
    """Collects frames and writes a block when it is full."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._recv: list[np.ndarray] = []
        self._lengths: list[np.ndarray] = []
        self._frames: list[bytes] = []
        self._size = 0

    def append(self, recv_ns: int, frame: bytes) -> None:
        self.extend(np.array([recv_ns], np.int64), np.array([len(frame)], np.int64), frame)

    def extend(self, recv_ns: np.ndarray, lengths: np.ndarray, frames: bytes) -> None:
        """Add many frames, laid back to back in `frames`."""
        ends = np.cumsum(lengths)
        first, taken = 0, 0
        while first < lengths.size:
            room = BLOCK_BYTES - self._size + taken
            costs = ends[first:] + _PER_FRAME * np.arange(1, lengths.size - first + 1)
            last = first + int(np.searchsorted(costs, room, side="right"))
            if last == first and self._size == 0:
                last = first + 1  # a frame larger than a block gets one of its own
            end = int(ends[last - 1]) if last > first else taken
            self._add(recv_ns[first:last], lengths[first:last], frames[taken:end])
            if last < lengths.size:
                self.flush()
            first, taken = last, end

    def _add(self, recv_ns: np.ndarray, lengths: np.ndarray, frames: bytes) -> None:
        if not recv_ns.size:
            return
        if len(frames) + _PER_FRAME * recv_ns.size > MAX_RAW_BYTES:
            raise TapeError(f"a frame of {len(frames)} bytes does not fit a tape")
        self._recv.append(recv_ns)
        self._lengths.append(lengths)
        self._frames.append(frames)
        self._size += len(frames) + _PER_FRAME * recv_ns.size

    def flush(self) -> None:
        """Write what is collected as a block."""
        if not self._size:
            return
        recv_ns, lengths = np.concatenate(self._recv), np.concatenate(self._lengths)
        self._file.write(encode_block(recv_ns, lengths, b"".join(self._frames)))
        self._file.flush()
        self._recv, self._lengths, self._frames, self._size = [], [], [], 0


class TapeWriter:
    """Writes a tape to `path` as it comes; a reader may follow it.

    Raises:
        OSError: the file cannot be made or written.
    """

    def __init__(self, path: Path | str, header: TapeHeader) -> None:
        self._file = Path(path).open("wb")  # noqa: SIM115 - `close` ends it
        self._file.write(preamble(header))
        self._file.flush()
        self.blocks = BlockWriter(self._file)
        self.append = self.blocks.append
        self.extend = self.blocks.extend
        self.flush = self.blocks.flush

    def close(self) -> None:
        if not self._file.closed:
            self.blocks.flush()
            self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()


class TapeReader:
    """Reads a tape; the header at once, blocks as they are asked for.

    Args:
        allow_truncated: an incomplete last block ends the tape quietly (it is being written).
    Raises:
        TapeError: no such file, not a tape, or a damaged header.
    """

    def __init__(self, path: Path | str, *, allow_truncated: bool = False) -> None:
        self.path = Path(path)
        self._allow_truncated = allow_truncated
        try:
            with self.path.open("rb") as file:
                self.header = self._read_header(file)
                self._first_block = file.tell()
        except OSError as exc:
            raise TapeError(f"{self.path}: {exc.strerror or exc}") from exc

    def _read_header(self, file: BinaryIO) -> TapeHeader:
        if file.read(len(MAGIC)) != MAGIC:
            raise NotATape(f"{self.path}: not a tape")
        size = file.read(4)
        length = struct.unpack("<I", size)[0] if len(size) == 4 else 0
        encoded = file.read(min(length, MAX_HEADER_BYTES))
        if len(size) < 4 or len(encoded) < length <= MAX_HEADER_BYTES:
            raise TapeTruncated(f"{self.path}: cut off in its header")
        try:
            header = msgspec.json.decode(encoded, type=TapeHeader)
        except (msgspec.MsgspecError, UnicodeDecodeError) as exc:
            raise TapeDamaged(f"{self.path}: damaged header: {exc}") from exc
        plain = msgspec.structs.replace(header, crc32=0)
        if header.crc32 != zlib.crc32(msgspec.json.encode(plain)):
            raise TapeDamaged(f"{self.path}: damaged header: checksum differs")
        if header.format != 1:
            raise NotATape(f"{self.path}: tape format {header.format} is not known here")
        return header

    def blocks(self, start_ns: int | None = None, end_ns: int | None = None) -> Iterator[Block]:
        """Yield the blocks with frames received in [start_ns, end_ns), in tape order.

        Raises:
            TapeDamaged, TapeTruncated: after everything before the damage was given.
        """
        with self.path.open("rb") as file:
            file.seek(self._first_block)
            size = os.fstat(file.fileno()).st_size
            while (at := file.tell()) < size:
                block = self._next_block(file, at, start_ns, end_ns)
                if block is None:
                    return
                if block.recv_ns.size:
                    yield block
                size = os.fstat(file.fileno()).st_size

    def _next_block(
        self, file: BinaryIO, at: int, start_ns: int | None, end_ns: int | None
    ) -> Block | None:
        """Read the block at `at`; an empty one when it lies outside, None at a quiet end."""
        head = file.read(_BLOCK.size)
        if len(head) < _BLOCK.size:
            self._cut_off(at)
            return None
        magic, crc, packed, raw_size, frames, first_ns, last_ns = _BLOCK.unpack(head)
        if magic != BLOCK_MAGIC or raw_size > MAX_RAW_BYTES or packed > MAX_RAW_BYTES + 1024:
            raise TapeDamaged(f"{self.path}: damaged at byte {at}: not a block")
        left = os.fstat(file.fileno()).st_size - file.tell()
        if left < packed:
            self._cut_off(at)
            return None
        before = start_ns is not None and last_ns < start_ns
        if before or (end_ns is not None and first_ns >= end_ns):
            file.seek(packed, os.SEEK_CUR)
            return Block(recv_ns=_NONE, starts=_NONE, ends=_NONE, data=b"")
        body = file.read(packed)
        if zlib.crc32(body) != crc:
            raise TapeDamaged(f"{self.path}: damaged at byte {at}: checksum differs")
        try:
            block = _decode_block(body, raw_size, frames, first_ns, last_ns)
        except (ValueError, zlib.error) as exc:
            raise TapeDamaged(f"{self.path}: damaged at byte {at}: {exc}") from exc
        return block.within(start_ns, end_ns)

    def _cut_off(self, at: int) -> None:
        if not self._allow_truncated:
            raise TapeTruncated(f"{self.path}: cut off at byte {at}")


_NONE = np.empty(0, np.int64)


def _decode_block(body: bytes, raw_size: int, frames: int, first_ns: int, last_ns: int) -> Block:
    inflater = zlib.decompressobj()
    raw = inflater.decompress(body, raw_size + 1)
    if len(raw) != raw_size or frames < 1 or frames * _PER_FRAME > raw_size:
        raise ValueError("sizes do not fit")
    recv_ns = np.frombuffer(raw, "<i8", frames)
    lengths = np.frombuffer(raw, "<u4", frames, 8 * frames).astype(np.int64)
    ends = np.cumsum(lengths) + frames * _PER_FRAME
    if ends[-1] != raw_size or recv_ns[0] != first_ns or recv_ns[-1] != last_ns:
        raise ValueError("frames do not fit")
    return Block(recv_ns=recv_ns, starts=ends - lengths, ends=ends, data=raw)
