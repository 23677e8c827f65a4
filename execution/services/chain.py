"""Decision records as a chain: each names the digest before it, so none is changed or lost unseen.

The digest is the SHA-256 of the record in canonical JSON (`domain.sealing`), which a record read
back from the database gives again. Writers of one run take turns on its chain's row.
"""

import hashlib
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
from django.db import connection

from execution.domain.rounds import DecisionRecord
from execution.domain.sealing import Sealed, canonical, seal
from execution.models import Decision, DecisionChain, Round, Run

REASON_MAX = 200
BATCH = 500
ROOT = Path(__file__).parents[2]
#: The sources that decide; another version of them may decide the same inputs otherwise.
RULES = ("execution/domain", "signals/confidence")
#: What the chain adds to a record: a replay does not know it.
ADDED = ("inputs_ref", "code_version", "prev_record")


def append(run: Run, sealed: Iterable[Sealed]) -> None:
    """Write records behind the run's others; call inside the transaction of their cause."""
    chain, _ = DecisionChain.objects.select_for_update().get_or_create(run=run)
    made = []
    for record in sealed:
        text = record.head + chain.head.encode() + record.tail
        chain.head = hashlib.sha256(text).hexdigest()
        made.append(_row(run, record, text, chain.head))
    _insert(made)
    chain.length += len(made)
    chain.save(update_fields=["head", "length"])


def sealed(records: Iterable[DecisionRecord], inputs: bytes) -> list[Sealed]:
    """Return records written as they are kept.

    Args: inputs: the packed inputs that they were made from, as they are stored.
    """
    return seal(records, inputs_ref=ref_of(inputs), code=rules_version())


def ref_of(inputs: bytes) -> str:
    """Return what a record names its stored inputs by."""
    return f"sha256:{hashlib.sha256(inputs).hexdigest()}"


def plain(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return a record as the database gives it back."""
    return dict(msgspec.json.decode(canonical(record)))


COLUMNS = (
    "run_id", "k", "symbol", "candidate_id", "outcome", "primary_reason", "shadow", "streak",
    "rank", "score", "record", "digest",
)  # fmt: skip


def _row(run: Run, record: Sealed, text: bytes, digest: str) -> tuple[Any, ...]:
    """Return the values of `COLUMNS`; the record is stored as the very text that was hashed."""
    score = record.score if record.score is not None and math.isfinite(record.score) else None
    return (
        run.pk, record.k, record.symbol, record.candidate_id, record.outcome,
        record.primary_reason[:REASON_MAX], record.shadow, record.streak, record.rank, score,
        text.decode(), digest,
    )  # fmt: skip


def _insert(rows: Sequence[tuple[Any, ...]]) -> None:
    """Insert decisions in their order, thousands at a time: a model each would cost more."""
    if not rows:
        return
    quoted = connection.ops.quote_name
    names = ", ".join(quoted(name) for name in COLUMNS)
    values = ", ".join(["%s"] * len(COLUMNS))
    table = quoted(Decision._meta.db_table)
    with connection.cursor() as cursor:
        cursor.executemany(f"INSERT INTO {table} ({names}) VALUES ({values})", rows)  # noqa: S608


@cache
def rules_version() -> str:
    """Return a short fingerprint of the code that decides."""
    sha = hashlib.sha256()
    for folder in RULES:
        for path in sorted((ROOT / folder).rglob("*.py")):
            sha.update(path.name.encode() + path.read_bytes())
    return f"rules:{sha.hexdigest()[:12]}"


def problems(run: Run) -> Iterator[str]:
    """Yield what is wrong with the run's records: changed, missing, or not where they belong."""
    chain = DecisionChain.objects.filter(run=run).first()
    head, count = (chain.pruned_head, chain.pruned) if chain else ("", 0)
    inputs = _InputsOf(run)
    for row in Decision.objects.filter(run=run).order_by("pk").iterator(chunk_size=BATCH):
        count += 1
        name = f"record {row.pk} ({row.symbol}, bucket {row.k})"
        if row.record.get("prev_record") != head:
            yield f"{name} does not follow the record before it"
        if hashlib.sha256(canonical(row.record)).hexdigest() != row.digest:
            yield f"{name} was changed"
        if _columns(row) != _of_record(row.record):
            yield f"{name}: its columns say something else than its record"
        if not inputs.known(row.k, row.record.get("inputs_ref", "")):
            yield f"{name}: the inputs it was made from are gone or changed"
        head = row.digest
    if (chain.head, chain.length) != (head, count) if chain else count:
        yield f"{chain.length if chain else 0} records were written, {count} are here"


def _columns(row: Decision) -> tuple[Any, ...]:
    return row.k, row.symbol, row.candidate_id, row.outcome, row.shadow, row.primary_reason


def _of_record(record: Mapping[str, Any]) -> tuple[Any, ...]:
    names = ("round", "symbol", "candidate_id", "outcome", "shadow")
    reason = str(record.get("primary_reason", ""))[:REASON_MAX]
    return *(record.get(name) for name in names), reason


class _InputsOf:
    """The digests of a run's stored inputs, read round by round as the records name them."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._k: int | None = None
        self._digests: set[str] = set()

    def known(self, k: int, ref: str) -> bool:
        if k != self._k:
            self._k, self._digests = k, self._read(k)
        return ref in self._digests

    def _read(self, k: int) -> set[str]:
        row = Round.objects.filter(run=self._run, k=k).values_list("inputs", "late_inputs").first()
        found = {f"sha256:{hashlib.sha256(bytes(each)).hexdigest()}" for each in row or () if each}
        late = msgspec.msgpack.decode(bytes(row[1])) if row and row[1] else []
        return found | {f"sha256:{hashlib.sha256(each).hexdigest()}" for each in late}
