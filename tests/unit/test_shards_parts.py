"""A frame too long for one goes out in parts; those before the last complete no number."""

from collections.abc import Iterable
from itertools import pairwise

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from relay import frames
from relay.extension import pack_extension
from shards.duty import Duty
from signals.messages import Report
from tests.shard_builders import QUIET, SESSION, a_tick, an_engine, trade
from tests.unit.test_shards_overload import an_assignment

EPOCH, MS = 7, 1_000_000
EVERY_MS, PER_FRAME, LONG = 400, 5, 60
Part = tuple[int, int, bytes]  # complete with it, sent before it, the frame


class Shard:
    """A duty with what it has reported."""

    def __init__(self) -> None:
        self.reports: list[Report] = []
        self.duty = Duty(
            an_assignment(), an_engine(parameters=QUIET), send=self._send, seq=lambda: 0,
            keep=None, now_ns=lambda: 0,
        )  # fmt: skip

    def _send(self, message: object) -> None:
        assert isinstance(message, Report)
        self.reports.append(msgspec.structs.replace(message, feed_lag_ms=0.0))

    def takes(self, parts: Iterable[Part]) -> None:
        for _, _, frame in parts:
            self.duty.take(frame)

    def told(self) -> list[bytes]:
        return [msgspec.msgpack.encode(one) for one in self.reports]


def in_parts(number: int, previous: int, cuts: Iterable[int]) -> list[Part]:
    """Return frame `number` as the relay sends it, cut before these of its messages."""
    now_ms = number * EVERY_MS
    prints = [
        trade(a_tick(now_ms / 1000 + n / 1e4, 10 + n / 100, 100, id=number * LONG + n))
        for n in range(PER_FRAME)
    ]
    bounds = [0, *sorted({cut for cut in cuts if 0 < cut < PER_FRAME}), PER_FRAME]
    made = []
    for first, last in pairwise(bounds):
        told = number if last == PER_FRAME else number - 1
        head = pack_extension(EPOCH, told, previous, SESSION.open_ns + now_ms * MS)
        made.append((told, previous, frames.encode_array([head, *prints[first:last]])))
        previous = told
    return made


def a_stream(cuts: dict[int, list[int]], count: int = LONG) -> list[Part]:
    return [part for n in range(1, count) for part in in_parts(n, n - 1, cuts.get(n, ()))]


CUTS = st.dictionaries(st.integers(1, LONG - 1), st.lists(st.integers(1, PER_FRAME - 1)))


@given(CUTS)
@settings(max_examples=50)
def test_what_comes_in_parts_is_told_as_if_it_came_whole(cuts: dict[int, list[int]]) -> None:
    whole, cut = Shard(), Shard()

    whole.takes(a_stream({}))
    cut.takes(a_stream(cuts))

    assert len(whole.reports) == (LONG - 1) * EVERY_MS // 5000
    assert whole.reports[-1].prints > 200
    assert cut.told() == whole.told()


@given(CUTS, st.integers(1, 2 * LONG))
@settings(max_examples=50)
def test_a_line_lost_between_two_parts_loses_and_doubles_no_bucket(
    cuts: dict[int, list[int]], kept: int
) -> None:
    whole, cut, stream = Shard(), Shard(), a_stream(cuts)
    whole.takes(a_stream({}))

    cut.takes(stream[:kept])
    asked_from = max(cut.duty.expected, 1)
    assert asked_from <= (stream[:kept][-1][0]) + 1, "a part alone completes nothing"
    cut.takes(part for n in range(asked_from, LONG) for part in in_parts(n, n - 1, ()))

    assert [one.k for one in cut.reports] == [one.k for one in whole.reports]
    for ours, theirs in zip(cut.reports, whole.reports, strict=True):
        assert (ours.n_symbols, ours.late_prints) == (theirs.n_symbols, theirs.late_prints)
        assert ours.gravity == theirs.gravity
    assert cut.duty.engine.table["volume"].tolist() == whole.duty.engine.table["volume"].tolist()


def test_parts_of_what_was_taken_are_not_taken_again() -> None:
    shard = Shard()
    shard.takes(a_stream({3: [2]}, 4))
    seen = prints_of(shard)

    shard.takes(in_parts(3, 2, [1, 2]))

    assert seen == 3 * PER_FRAME
    assert prints_of(shard) == seen


def test_a_part_is_taken_before_the_rest_of_its_frame_is_there() -> None:
    shard = Shard()

    shard.takes(in_parts(1, 0, [2])[:1])

    assert prints_of(shard) == 2
    assert shard.duty.expected == 1


def prints_of(shard: Shard) -> int:
    shard.duty.engine.take_exit_signals()  # decodes what waits
    return shard.duty.engine.prints
