"""Messages that are few: trading statuses, price bands, cancels, corrections. Made one by one."""

from collections.abc import Iterator

import numpy as np

from execution.venue.synthetic import facts
from execution.venue.synthetic.plan import Halt
from execution.venue.synthetic.prints import TRADE_ROW
from execution.venue.synthetic.universe import POINTS, Universe
from relay import frames

SECOND_NS = 1_000_000_000
BAND_EVERY_S = 300
MAX_BAND_SHARE = 0.75  # under 0.75 USD a band is 0.15 USD or 75 %, whichever is less
TIER_1_DOLLARS = 3e8
_WIDE_FIRST_S, _WIDE_LAST_S = 900, 1500  # bands are doubled near the open and the close
_STATUS_WORDS = {
    "P": "Volatility Trading Pause", "H": "Trading Halt", "Q": "Quotation Resumption",
    "T": "Trading Resumption", "2": "Trading Halt", "3": "Resume",
}  # fmt: skip
_REASON_WORDS = {
    "LUDP": "Volatility Trading Pause", "T1": "Halt News Pending",
    "T3": "News and Resumption Times", "M": "Volatility Trading Pause", "P": "News Pending",
    "D": "News Released",
}  # fmt: skip
Timed = tuple[int, bytes]  # arrival, encoded message


def statuses(halt: Halt, tape: str) -> Iterator[Timed]:
    """Yield the status messages of one stop of trading."""
    if tape == "C":
        why, back = ("LUDP", "LUDP") if halt.pause else ("T1", "T3")
        steps = [("P" if halt.pause else "H", why, halt.start_ns)]
        steps += [("Q", back, halt.end_ns - 30 * SECOND_NS), ("T", back, halt.end_ns)]
    else:
        why, back = ("M", "M") if halt.pause else ("P", "D")
        steps = [("2", why, halt.start_ns), ("3", back, halt.end_ns)]
    for code, reason, at in steps:
        yield (
            at,
            frames.encode_message(
                {"T": "s", "S": halt.symbol, "sc": code, "sm": _STATUS_WORDS[code], "rc": reason,
                 "rm": _REASON_WORDS[reason], "z": tape, "t": at}
            ),
        )  # fmt: skip


class Bands:
    """LULD price bands, each name's every five minutes, spread over the seconds."""

    def __init__(self, universe: Universe, session_s: int) -> None:
        self._universe = universe
        self._session_s = session_s
        self._phase = (np.arange(len(universe.symbols)) * 7919) % BAND_EVERY_S

    def due(self, second: int) -> np.ndarray:
        """Return the names whose band is due in this second of the session."""
        return np.flatnonzero((second + self._phase) % BAND_EVERY_S == 0)

    def message(self, i: int, reference: float, at: int, second: int, indicator: str) -> Timed:
        """Return the band of name `i` around its mean price of five minutes, USD."""
        width = self._width(i, reference, second)
        u = self._universe
        message = {
            "T": "l",
            "S": u.symbols[i],
            "u": round(reference * (1 + width), 2),
            "d": round(max(0.0, reference * (1 - width)), 2),
            "i": indicator,
            "z": chr(u.tape[i]),
            "t": at,
        }
        return at, frames.encode_message(message)

    def _width(self, i: int, reference: float, second: int) -> float:
        if reference < 0.75:
            width = min(MAX_BAND_SHARE, 0.15 / reference)
        elif reference <= 3.0:
            width = 0.20
        else:
            u = self._universe
            width = 0.05 if u.etf[i] or u.dollars[i] > TIER_1_DOLLARS else 0.10
        doubled = second < _WIDE_FIRST_S or second >= self._session_s - _WIDE_LAST_S
        return min(0.99, width * 2) if doubled else width


def afterthoughts(
    rng: np.random.Generator,
    rows: np.ndarray,
    symbols: tuple[str, ...],
    tapes: np.ndarray,
    conditions: list[list[str]],
    lists_per_tape: int,
) -> Iterator[Timed]:
    """Yield the cancels and corrections that prints of one second get seconds later."""
    chances = (facts.CANCELS_PER_HOUR / 3600, facts.CORRECTIONS_PER_HOUR / 3600)
    hits = rng.random(2) < chances
    if not hits.any():
        return
    trades = rows[rows["kind"] == TRADE_ROW]
    if not trades.size:
        return
    for corrected in np.flatnonzero(hits):
        row = trades[rng.integers(trades.size)]
        at = int(row["at"]) + int(rng.uniform(2, 20) * SECOND_NS)
        tape = int(tapes[row["name"]])
        codes = conditions[tape * lists_per_tape + int(row["y"])]
        price, size = int(row["a"]) / POINTS, int(row["b"])
        where = {"S": symbols[row["name"]], "x": chr(row["x"])}
        tail = {"z": "ABC"[tape], "t": at}
        if corrected:
            better = round(price * (1 + rng.normal(0, 3e-4)), 2 if price >= 1 else 4)
            yield at, frames.encode_message(
                {"T": "c", **where, "oi": int(row["c"]), "op": price, "os": size, "oc": codes,
                 "ci": int(row["c"]) + 9_000_000_000, "cp": max(better, 0.0001), "cs": size,
                 "cc": codes, **tail}
            )  # fmt: skip
        else:
            action = "C" if rng.random() < 0.8 else "E"
            yield (
                at,
                frames.encode_message(
                    {
                        "T": "x",
                        **where,
                        "i": int(row["c"]),
                        "p": price,
                        "s": size,
                        "a": action,
                        **tail,
                    }
                ),
            )
