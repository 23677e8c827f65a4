"""A crowd decided by two: each judges one part of the candidates, the first puts them together.

What comes out does not depend on whether there was a second: the same records, to the byte.
"""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from execution.domain.decide import Drafted, drafted, in_order, places
from execution.domain.records import funnel_of
from execution.domain.rounds import EntryPlan, Replacement, RoundInput, Streak
from execution.domain.sealing import Sealed, seal

#: Fewer candidates than this are decided before a second could have read them.
CROWD = 1_000
#: The first has the candidates in memory, the second must unpack them first.
SECONDS_SHARE = 0.46


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """A round, and from which of its candidates on the second is asked."""

    inputs: bytes
    parameters: dict[str, Any]
    previous: dict[str, Streak]
    first: int
    inputs_ref: str
    code: str


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """The second's part; of the ready ones only the ids: they compete with the first's."""

    sealed: list[Sealed]
    ready: list[str]
    streaks: dict[str, Streak]


class SealedDecision(msgspec.Struct, frozen=True, kw_only=True):
    """A round's decision, its records written."""

    sealed: list[Sealed]
    entries: list[EntryPlan]
    streaks: dict[str, Streak]
    funnel: dict[str, Any]
    replacement: Replacement | None
    now_ns: int  # of the decision, market clock


#: Sends the question; what it returns waits for the answer, None when there is none to be had.
Second = Callable[[Ask], Callable[[], Answer | None]]
_inputs = msgspec.msgpack.Decoder(RoundInput)


def answer(ask: Ask) -> Answer:
    """Return the second's part of the round."""
    part = slice(ask.first, None)
    found = drafted(_inputs.decode(ask.inputs), ask.parameters, ask.previous, part)
    return Answer(
        sealed=seal(found.records, inputs_ref=ask.inputs_ref, code=ask.code),
        ready=[draft.setup.candidate.candidate_id for draft in found.ready],
        streaks=found.streaks,
    )


def decide_sealed(
    packed: bytes,
    parameters: Mapping[str, Any],
    previous: Mapping[str, Streak],
    *,
    inputs_ref: str,
    code: str,
    second: Second | None = None,
) -> SealedDecision:
    """Return the decision of a packed `RoundInput`, with the second's help when it is a crowd."""
    round = _inputs.decode(packed)
    count = len(round.candidates)
    first = count if second is None or count < CROWD else count - int(SECONDS_SHARE * count)
    names = {"inputs_ref": inputs_ref, "code": code}
    wait = None
    if second is not None and first < count:
        ask = Ask(
            inputs=packed,
            parameters=dict(parameters),
            previous=dict(previous),
            first=first,
            **names,
        )
        wait = second(ask)
    try:
        found = drafted(round, parameters, previous, slice(first))
        sealed = seal(found.records, **names)
    except BaseException:
        if wait is not None:
            wait()  # its answer must not be there for the next round's question
        raise
    if wait is not None:
        rest, theirs = _rest(wait(), round, parameters, previous, first)
        sealed += theirs + seal(rest.records, **names)
        found.ready += rest.ready
        found.streaks |= rest.streaks
    placed, entries, replaced = places(found.ready, round, parameters)
    sealed = sorted(sealed + seal(placed, **names), key=in_order)
    return SealedDecision(
        sealed=sealed, entries=entries, streaks=found.streaks, funnel=funnel_of(sealed),
        replacement=replaced, now_ns=round.now_ns,
    )  # fmt: skip


def _rest(
    theirs: Answer | None,
    round: RoundInput,
    parameters: Mapping[str, Any],
    previous: Mapping[str, Streak],
    first: int,
) -> tuple[Drafted, list[Sealed]]:
    """Return the second's part as drafts and what is written of it; without an answer, do it."""
    part = slice(first, None)
    if theirs is None:
        return drafted(round, parameters, previous, part), []
    rest = Drafted(streaks=theirs.streaks)
    if theirs.ready:
        again = drafted(round, parameters, previous, part, only=frozenset(theirs.ready))
        rest.ready = again.ready
    return rest, theirs.sealed
