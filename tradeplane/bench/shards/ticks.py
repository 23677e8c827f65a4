"""The trades that the bench uses: of the synthetic market or of real tapes, in frames of 100."""

from collections.abc import Iterable, Sequence
from datetime import date
from pathlib import Path
from typing import NamedTuple

import numpy as np

from execution.venue.days import session_of
from execution.venue.synthetic import SyntheticMarket
from relay import frames
from relay.tape import TapeReader, import_csv
from shards import letters
from signals.session import Session

PER_FRAME = 100
DAY = date(2024, 3, 5)
MINUTE_NS = 60_000_000_000


class Ticks(NamedTuple):
    """Frames in the order of their last trade's time, and that time of each."""

    session: Session
    frames: list[bytes]
    last_ns: list[int]
    trades: int
    first_ns: int

    def upto(self, trades: int) -> "Ticks":
        """Return the first frames with about so many trades."""
        count = min(len(self.frames), -(-trades // PER_FRAME))
        kept = min(self.trades, count * PER_FRAME)
        return self._replace(frames=self.frames[:count], last_ns=self.last_ns[:count], trades=kept)


def synthetic(symbols: int, minutes: int, *, seed: int = 1, per_hour: float = 12.0) -> Ticks:
    """Return the trades of the market's first minutes."""
    market = SyntheticMarket(seed=seed, day=DAY, symbols=symbols, planted_per_hour=per_hour)
    session = market.session
    end_ns = session.open_ns + minutes * MINUTE_NS
    return _framed(session, (b.packed().data for b in market.blocks(session.open_ns, end_ns)))


def real(folder: Path, work: Path, names: Sequence[str], day: str) -> Ticks:
    """Return the trades of real names of one day, merged by time."""
    paths = [folder / "ticks" / f"{name}_{day}_t.csv.gz" for name in names]
    tape = work / "real.tape"
    import_csv([path for path in paths if path.exists()], tape)
    reader = TapeReader(tape)
    session = session_of(reader.header.day)
    blocks = reader.blocks(start_ns=session.open_ns, end_ns=session.close_ns)
    return _framed(session, (block.packed().data for block in blocks))


def has_real(folder: Path) -> bool:
    """Tell whether the folder holds real ticks."""
    return any((folder / "ticks").glob("*_t.csv.gz"))


def _framed(session: Session, blocks: Iterable[bytes]) -> Ticks:
    messages: list[bytes] = []
    times = []
    for data in blocks:
        spans = frames.scan(data)
        spans = spans[spans["kind"] == frames.TRADE]
        bounds = zip(spans["start"].tolist(), spans["end"].tolist(), strict=True)
        messages += [bytes(data[start:end]) for start, end in bounds]
        times.append(spans["ts_ns"])
    ts_ns = np.concatenate(times)
    order = np.argsort(ts_ns, kind="stable")
    ordered = [messages[at] for at in order.tolist()]
    starts = range(0, len(ordered), PER_FRAME)
    last = [int(ts_ns[order[min(at + PER_FRAME, len(ordered)) - 1]]) for at in starts]
    made = [frames.encode_array(ordered[at : at + PER_FRAME]) for at in starts]
    return Ticks(session, made, last, len(ordered), int(ts_ns[order[0]]))


def split(ticks: Ticks, ranges: Sequence[letters.Range]) -> list[bytes]:
    """Return of each frame what belongs to the ranges, as the relay sends it."""
    found = []
    for frame in ticks.frames:
        spans = frames.scan(frame)
        mask = np.zeros(spans.size, np.bool_)
        for lo, hi in ranges:
            low = np.uint64(frames.symbol_key(lo)[0])
            part = spans["key"] >= low
            if hi:
                part &= spans["key"] < np.uint64(frames.symbol_key(hi)[0])
            mask |= part
        found.append(frames.gather(frame, spans, mask))
    return found


def save(ticks: Ticks, path: Path) -> None:
    """Write the frames and the columns for the rivals."""
    data = b"".join(ticks.frames)
    rows = frames.trades(data, frames.scan(data))
    words = np.stack([rows["key"], rows["key2"]], axis=1)
    unique, symbol = np.unique(words, axis=0, return_inverse=True)
    np.savez(
        path,
        names=np.array([frames.key_symbol(int(a), int(b)) for a, b in unique]),
        symbol=symbol.reshape(-1).astype(np.int32),
        ts_ns=rows["ts_ns"],
        price=rows["price"],
        size=rows["size"],
        frames=np.frombuffer(data, np.uint8),
        ends=np.cumsum([len(frame) for frame in ticks.frames]),
    )
