"""Is this tape whole? Asked before anything starts, so that a bad file costs one line."""

from pathlib import Path

from relay.tape_format import TapeReader


def check_tape(path: Path) -> None:
    """Read the tape once, from header to last block.

    Raises:
        TapeError: not a tape, damaged or truncated; the message says where.
        OSError: it cannot be opened.
    """
    for _ in TapeReader(path).blocks():
        pass
