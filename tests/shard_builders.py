"""Builders for the shards' tests: prints as frames, parameters, engines."""

from collections.abc import Iterable, Sequence
from datetime import date
from typing import Any

from relay import frames
from shards.engine import ClosedBucket, Engine
from signals.parameters.catalogue import defaults, profile
from signals.session import BUCKET_NS, Session, regular_session
from tests.twins.buckets import Tick

SESSION = regular_session(date(2024, 3, 5))
K0 = SESSION.first_k
SECOND = 1_000_000_000
EVERYTHING = [("", "")]
QUIET = profile("quiet")


def at(seconds: float) -> int:
    """Return the time so many seconds after the open."""
    return SESSION.open_ns + round(seconds * SECOND)


def a_tick(
    seconds: float,
    price: float = 10.0,
    size: int = 100,
    *,
    symbol: str = "ACME",
    id: int | None = None,
    exchange: str = "V",
    conditions: Sequence[str] = ("@",),
    tape: str = "C",
) -> Tick:
    ts_ns = at(seconds)
    number = ts_ns // 1_000_000 % 1_000_000_000 if id is None else id
    return Tick(symbol, ts_ns, number, exchange, price, size, tuple(conditions), tape)


def ticks(text: str, **fields: Any) -> list[Tick]:
    """Read "0 10x100, 61 10.5x50": seconds after the open, price x size."""
    made = []
    for number, each in enumerate(filter(None, (part.strip() for part in text.split(",")))):
        seconds, what = each.split()
        price, size = what.split("x")
        made.append(a_tick(float(seconds), float(price), int(size), id=number + 1, **fields))
    return made


def trade(tick: Tick) -> bytes:
    return frames.encode_message(
        {
            "T": "t", "S": tick.symbol, "i": tick.id, "x": tick.exchange, "p": tick.price,
            "s": tick.size, "c": list(tick.conditions), "z": tick.tape, "t": tick.ts_ns,
        }
    )  # fmt: skip


def quote(seconds: float, bid: float, ask: float, *, symbol: str = "ACME", size: int = 5) -> bytes:
    return frames.encode_message(
        {
            "T": "q", "S": symbol, "bx": "V", "bp": bid, "bs": size, "ax": "V", "ap": ask,
            "as": size, "c": ["R"], "z": "C", "t": at(seconds),
        }
    )  # fmt: skip


def status(seconds: float, code: str, *, symbol: str = "ACME", reason: str = "") -> bytes:
    return frames.encode_message(
        {"T": "s", "S": symbol, "sc": code, "rc": reason, "z": "C", "t": at(seconds)}
    )


def frame_of(each: Iterable[Tick | bytes]) -> bytes:
    return frames.encode_array([one if isinstance(one, bytes) else trade(one) for one in each])


def an_engine(session: Session = SESSION, *, begin: bool = True, **fields: Any) -> Engine:
    parameters = {**defaults(), **fields.pop("parameters", {})}
    given = {
        "session": session, "parameters_version": 1, "ranges": EVERYTHING, "shard": 1, "epoch": 1,
        "run": "test", "assignment": 1, **fields,
    }  # fmt: skip
    engine = Engine(parameters=parameters, **given)
    if begin:
        engine.begin(session.first_k)
    return engine


def close(engine: Engine, k: int) -> list[ClosedBucket]:
    """Close every bucket up to k."""
    return engine.close_due((k + 1) * BUCKET_NS + engine.grace_ns)


def rows_of(closed: Iterable[ClosedBucket]) -> list[tuple]:
    """Return (symbol, k - K0, open, high, low, close, volume, trades, vwap, synthetic)."""
    found = []
    for bucket in closed:
        for k, symbol, *rest in bucket.rows.tolist():
            found.append((symbol.decode(), k - K0, *rest[:-1], bool(rest[-1])))
    return found
