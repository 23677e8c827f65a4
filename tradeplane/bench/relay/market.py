"""The trades that the bench sends: 11,000 symbols, Zipf 0.9, as the venue encodes them."""

from dataclasses import dataclass

import numpy as np

from relay import frames

SYMBOLS = 11_000
ZIPF = 0.9
#: Listings per first letter, per thousand, roughly as on the US exchanges.
LETTERS = dict(
    zip("ABCDEFGHIJKLMNOPQRSTUVWXYZ",
        (88, 66, 92, 48, 46, 56, 50, 42, 54, 19, 22, 46, 62, 40, 26, 68, 14, 42, 96, 52, 20, 32,
         26, 18, 8, 10), strict=True)
)  # fmt: skip


@dataclass(frozen=True)
class Tape:
    """Frames ready for the wire, back to back in `data`; `stamps[i]` are where times lie in it."""

    data: np.ndarray
    bounds: np.ndarray  # (n + 1,) where WebSocket frame i begins
    stamps: np.ndarray  # (n, messages) offsets of the 8-byte times
    messages: int  # per frame
    letters: dict[str, int]  # messages by first letter, in all frames


def a_tape(*, frames_count: int, messages: int, seed: int = 1) -> Tape:
    """Return `frames_count` WebSocket frames of `messages` trades each."""
    rng = np.random.default_rng(seed)
    names = _names(rng)
    weights = np.arange(1, SYMBOLS + 1) ** -ZIPF
    picks = rng.choice(SYMBOLS, (frames_count, messages), p=weights / weights.sum())
    parts, stamps, bounds, at = [], [], [0], 0
    letters = dict.fromkeys(LETTERS, 0)
    for row in picks:
        encoded = [_trade(names[pick], rng) for pick in row]
        for pick in row:
            letters[names[pick][0]] += 1
        payload = frames.encode_array(encoded)
        framed = server_frame(payload)
        begin = at + len(framed) - len(payload) + len(frames.array_header(messages))
        ends = begin + np.cumsum([len(one) for one in encoded])
        stamps.append(ends - 8)  # the time is the last value of a trade
        parts.append(framed)
        at += len(framed)
        bounds.append(at)
    data = np.frombuffer(bytearray(b"".join(parts)), np.uint8)
    return Tape(data, np.array(bounds), np.array(stamps), messages, letters)


def server_frame(payload: bytes) -> bytes:
    """Return a binary WebSocket frame as servers send it."""
    size = len(payload)
    if size < 126:
        return bytes((0x82, size)) + payload
    if size < 1 << 16:
        return b"\x82\x7e" + size.to_bytes(2, "big") + payload
    return b"\x82\x7f" + size.to_bytes(8, "big") + payload


def stamp(tape: Tape, index: int, ts_ns: int) -> None:
    """Write one time into all messages of a frame."""
    seconds, nanoseconds = divmod(ts_ns, 1_000_000_000)
    word = np.frombuffer((nanoseconds << 34 | seconds).to_bytes(8, "big"), np.uint8)
    tape.data[tape.stamps[index][:, None] + np.arange(8)] = word


def _names(rng: np.random.Generator) -> list[str]:
    shares = np.array(list(LETTERS.values()), float)
    first = rng.choice(list(LETTERS), 3 * SYMBOLS, p=shares / shares.sum())
    rest = rng.choice(list(LETTERS), (3 * SYMBOLS, 3))
    found = dict.fromkeys(
        a + "".join(b[: 2 + i % 2]) for i, (a, b) in enumerate(zip(first, rest, strict=True))
    )
    return list(found)[:SYMBOLS]


def _trade(symbol: str, rng: np.random.Generator) -> bytes:
    conditions = (["@"], ["@", "I"], ["@", "F"])[int(rng.integers(3))]
    trade = {"T": "t", "S": symbol, "i": int(rng.integers(1 << 16, 1 << 33)), "x": "V"}
    trade |= {"p": round(float(rng.uniform(5, 500)), 2), "s": int(rng.integers(1, 500))}
    return frames.encode_message(
        {**trade, "c": conditions, "z": "C", "t": 1_700_000_000_000_000_000}
    )
