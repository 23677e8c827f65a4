"""Which prints count for what: the sale-condition table, by tape, the strictest code winning.

The table is the SIP column of the CTS and UTP processing rules (design: alpaca.md 2.1). Where that
column is conditional ("only if it is the first of the day"), the print does not set a price.
"""

from collections.abc import Iterable

import numpy as np

from shards import kernels

PRICE = kernels.PRICE  # may set open, high, low, close
VOLUME = kernels.VOLUME  # counts in volume and trades
VWAP = kernels.VWAP  # counts in the volume-weighted price
SOLD_LAST = kernels.SOLD_LAST  # sets a price only as the newest print of its bucket
UNKNOWN = kernels.UNKNOWN  # carries a code that the table does not know: regular, counted
ODD_LOT = kernels.ODD_LOT

TAPES = "ABCNO"
_OTHER_TAPE = len(TAPES)  # no tape given: only the codes that every tape shares are known

# codes | tapes | last, high-low, volume
_TABLE = """
@+    ABCNO  Y Y Y
A     C      Y Y Y
B     AB     N N Y
B     C      Y Y Y
C     ABCNO  N N Y
D     C      Y Y Y
E     AB     Y Y Y
F     ABC    Y Y Y
G     C      a Y Y
H     ABC    N N Y
I     ABCNO  N N Y
K     ABC    Y Y Y
L     ABC    b Y Y
M     ABC    N N N
N     ABCNO  N N Y
O     ABC    Y Y Y
P     ABCNO  a Y Y
Q     ABC    N N N
R     ABCNO  N N Y
S1    C      Y Y Y
T     ABCNO  N N Y
U     ABCNO  N N Y
V     ABC    N N Y
W     CO     N N Y
X     ABC    Y Y Y
Y     C      Y Y Y
Z     ABC    a Y Y
4     ABC    a Y Y
5     ABC    Y Y Y
6     ABC    Y Y Y
7     ABC    N N Y
9     ABC    N N N
"""  # 9 is Y Y N on the SIP; DESIGN 12 says it sets no price either


def _allowed(code: str, last: str, high_low: str, volume: str) -> int:
    """Return what a print with this one code may count for, and what the code marks."""
    allowed = VOLUME if volume == "Y" else 0
    if last in "Yb" and high_low == "Y":
        allowed |= PRICE
    if last == "b":
        allowed |= SOLD_LAST
    if code == "I":
        allowed |= ODD_LOT
    return allowed


def _lookup() -> np.ndarray:
    """Return (tapes + 1, 256) uint8: what each code allows; UNKNOWN where it is not listed."""
    table = np.full((len(TAPES) + 1, 256), PRICE | VOLUME | UNKNOWN, np.uint8)
    table[:, 0] = PRICE | VOLUME  # no more codes
    for line in _TABLE.strip().splitlines():
        codes, tapes, *rule = line.split()
        for code in codes.replace("+", " "):
            rows = [TAPES.index(tape) for tape in tapes]
            rows += [_OTHER_TAPE] if tapes == TAPES else []
            table[rows, ord(code)] = _allowed(code, *rule)
    return table


LOOKUP = _lookup()
TAPE_ROW = np.full(256, _OTHER_TAPE, np.uint8)
TAPE_ROW[[ord(tape) for tape in TAPES]] = np.arange(len(TAPES))


def eligibility(
    tape: np.ndarray, conditions: np.ndarray, *, odd_lots_in_price: bool = False
) -> np.ndarray:
    """Return one flag byte per print (PRICE, VOLUME, VWAP, SOLD_LAST, ODD_LOT, UNKNOWN).

    Args:
        tape: (n,) uint8, ord of the tape letter, 0 when not given.
        conditions: (n,) uint64, up to eight codes, low byte first, 0 = none.
        odd_lots_in_price: parameter include_odd_lots_in_price.
    Source: DESIGN 12. VWAP takes what sets a price, and odd lots that count as volume.
    """
    flags = np.empty(tape.size, np.uint8)
    kernels.eligibility(tape, conditions, LOOKUP, TAPE_ROW, odd_lots_in_price, flags)
    return flags


def pack(codes: Iterable[str]) -> int:
    """Return the codes as the stream's columns hold them: one byte each, low byte first."""
    listed = list(codes)
    if len(listed) > 8 or any(len(code) != 1 or ord(code) > 255 for code in listed):
        kept = [ord(code) for code in listed if len(code) == 1 and ord(code) < 256][:7]
        return int.from_bytes(bytes(kept).ljust(7, b"\0") + b"\xff", "little")
    return int.from_bytes("".join(listed).encode("latin-1"), "little")


def unpack(conditions: int) -> list[str]:
    """Return the codes of a packed column value; the inverse of `pack`."""
    raw = int(conditions).to_bytes(8, "little").rstrip(b"\0")
    return [chr(code) for code in raw if code]


def warm() -> None:
    """Compile the kernel, or load it from the cache."""
    eligibility(np.zeros(1, np.uint8), np.zeros(1, np.uint64))
