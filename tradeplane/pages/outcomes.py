"""What a decision amounts to in one word, and the two words of each gate."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

GATES = {
    "G1": "Mode", "G2": "Kill switch", "G3": "Session", "G4": "Health", "G5": "Account",
    "G6": "Updates", "G7": "Day loss", "G8": "Trades", "G9": "Targets", "G10": "Losses",
    "G11": "Cool-down", "G12": "Open question", "G13": "Market halt", "G14": "API budget",
    "G15": "Crowd", "S1": "Universe", "S2": "Price", "S3": "Halt", "S4": "Halt band",
    "S5": "Busy", "S6": "Repeat", "S7": "Signal age", "S8": "Chase", "S9": "Slip",
    "S10": "Reach", "S11": "Size", "S12": "Data", "S13": "Burst", "C1": "Gravity",
    "C2": "Futures", "C3": "Spread", "C4": "VWAP", "P1": "Slot", "P2": "Exposure",
    "P3": "Open risk", "P4": "Letter", "P5": "Sector", "P6": "Correlation", "P7": "Cash",
    "score": "Score", "confirm": "Confirm", "rank": "Rank",
}  # fmt: skip
GROUPS = (
    ("Whole system", "G"),
    ("This stock", "S"),
    ("Confidence", "C"),
    ("Score and confirmation", "sc"),
    ("Portfolio", "P"),
)


@dataclass(frozen=True)
class Outcome:
    """key: the class on the page; icon: of the sprite; word: what people read."""

    key: str
    icon: str
    word: str


FIRED = Outcome("fired", "i-check", "Fired")
WAITING = Outcome("wait", "i-clock", "Waiting")
BLOCKED = Outcome("slot", "i-lock", "Blocked")
UNKNOWN = Outcome("unk", "i-q", "Unknown, so no")
TURNED_DOWN = Outcome("no", "i-x", "Turned down")
WITHDRAWN = Outcome("off", "i-dash", "Withdrawn")
DUPLICATE = Outcome("off", "i-dash", "Duplicate")
NEAR_MISS = Outcome("unk", "i-eye", "Near miss")


def group_of(gate_id: str) -> str:
    """Return the name of the group that shows this gate."""
    if gate_id in ("score", "confirm"):
        return "Score and confirmation"
    if gate_id == "rank":
        return "Portfolio"
    return {"G": "Whole system", "S": "This stock", "C": "Confidence"}.get(gate_id[0], "Portfolio")


def label_of(gate_id: str) -> str:
    """`C4 VWAP`; the last ones of the chain have a name only."""
    name = GATES.get(gate_id, gate_id)
    return name if gate_id in ("score", "confirm", "rank") else f"{gate_id} {name}"


def short_of(gate_id: str) -> str:
    """Return `C4`; the ones without a number go by their name."""
    return GATES[gate_id] if gate_id in ("score", "confirm", "rank") else gate_id


def primary_id(primary_reason: str) -> str:
    """Return the gate that `primary_reason` begins with, "" when it names none."""
    head = primary_reason.partition(":")[0]
    return head if head in GATES else ""


def outcome_of(outcome: str, gate_id: str, *, unknown: bool = False) -> Outcome:
    """Return the word for a stored outcome and the gate that was first to be closed.

    Args: unknown: that gate could not be judged.
    """
    if outcome == "fired":
        return FIRED
    if outcome == "shadow":
        return NEAR_MISS
    if gate_id == "confirm":
        return WAITING
    if gate_id.startswith(("P", "G")) or gate_id == "rank":
        return BLOCKED
    return UNKNOWN if unknown else TURNED_DOWN


def is_open(gate: Mapping[str, Any]) -> bool:
    return bool(gate.get("open", gate.get("pass")))


def failing_gates(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the closed gates, the one that counted first in front."""
    closed = [gate for gate in record.get("gates") or [] if not is_open(gate)]
    first = record.get("primary_id") or ""
    return sorted(closed, key=lambda gate: gate.get("id") != first)
