"""Decision records as they are kept: canonical JSON, all but the digest that each hangs on.

Canonical is sorted keys and shortest floats; what JSON cannot say (NaN, infinities) is null. A
record read back from a database gives the same bytes again.
"""

from collections.abc import Iterable
from itertools import takewhile
from operator import is_
from typing import Any

import msgspec

from execution.domain.records import decision_row
from execution.domain.rounds import DecisionRecord, GateResult

LINK = b'"prev_record":"'  # no text holds this: inside of one, JSON escapes the quotes


class Sealed(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One record, written but for `prev_record`: its text is `head`, that digest, `tail`.

    `row` is its packed row of the decisions' hash.
    """

    k: int
    symbol: str
    candidate_id: str
    shadow: bool
    outcome: str
    primary_reason: str
    all_failed: tuple[str, ...]
    streak: int
    rank: int | None
    score: float | None
    row: bytes
    head: bytes
    tail: bytes


def canonical(record: Any) -> bytes:
    """Return plain JSON with sorted keys."""
    return _encoder.encode(record)


def seal(records: Iterable[DecisionRecord], *, inputs_ref: str, code: str) -> list[Sealed]:
    """Return the records written, in their order.

    Args:
        inputs_ref: what names the stored inputs that they were made from.
        code: the version of the rules that made them.
    """
    gates = _Gates()
    return [_sealed(record, gates, inputs_ref, code) for record in records]


def _sealed(record: DecisionRecord, gates: "_Gates", inputs_ref: str, code: str) -> Sealed:
    fields = record.fields()
    fields["gates"] = gates.encoded(record.gates)
    fields["inputs_ref"], fields["code_version"], fields["prev_record"] = inputs_ref, code, ""
    text = canonical(fields)
    cut = text.index(LINK) + len(LINK)
    return Sealed(
        k=record.k,
        symbol=record.symbol,
        candidate_id=record.candidate_id,
        shadow=record.shadow,
        outcome=record.outcome,
        primary_reason=record.primary_reason,
        all_failed=record.all_failed,
        streak=record.streak,
        rank=record.rank,
        score=record.score.get("final"),
        row=_packer.encode(decision_row(record)),
        head=text[:cut],
        tail=text[cut:],
    )


def packed_rows(sealed: Iterable[Sealed]) -> bytes:
    """Return the packed rows of the decisions' hash, sorted as `records.decision_rows` are."""
    ordered = sorted(sealed, key=lambda d: (d.k, d.symbol, d.candidate_id))
    return _packer.encode([msgspec.Raw(one.row) for one in ordered])


def _plain(value: Any) -> Any:
    return float(value) if isinstance(value, float) else str(value)


_encoder = msgspec.json.Encoder(enc_hook=_plain, order="sorted")
_packer = msgspec.msgpack.Encoder()


class _Gates:
    """Encodes the gates of a round's records; those that begin and end them all, only once."""

    def __init__(self) -> None:
        self._last: tuple[GateResult, ...] | None = None
        self._head: tuple[GateResult, ...] = ()
        self._tail: tuple[GateResult, ...] = ()
        self._texts = (b"", b"")

    def encoded(self, gates: tuple[GateResult, ...]) -> msgspec.Raw:
        """Return the JSON list of them, to the byte what `canonical` makes of them."""
        first, last = len(self._head), len(gates) - len(self._tail)
        known = 0 < first < last and all(map(is_, gates, self._head))
        if known and all(map(is_, gates[last:], self._tail)):
            head, tail = self._texts
            return msgspec.Raw(b"[%b,%b%b]" % (head, canonical(gates[first:last])[1:-1], tail))
        if self._last is not None:
            self._learn(self._last, gates)
        self._last = gates
        return msgspec.Raw(canonical(gates))

    def _learn(self, before: tuple[GateResult, ...], now: tuple[GateResult, ...]) -> None:
        """What two records have in common, the others have mostly, too."""
        first = _same(before, now)
        last = min(_same(before[::-1], now[::-1]), len(now) - first - 1)
        self._head, self._tail = now[:first], now[len(now) - last :] if last > 0 else ()
        self._texts = (
            canonical(self._head)[1:-1],
            b"," + canonical(self._tail)[1:-1] if self._tail else b"",
        )


def _same(a: Iterable[GateResult], b: Iterable[GateResult]) -> int:
    """Return how many gates at the beginning are the very same."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] is pair[1], zip(a, b, strict=False)))
