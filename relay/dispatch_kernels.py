"""Compiled kernels of the fan-out: every message of a batch to all who want it, in two passes.

The cost is per message and per copy, not per consumer. The rules of `relay.kernels` hold.
"""
# numba infers the types and mypy cannot see through its decorator:
# mypy: allow-untyped-defs, allow-untyped-calls, allow-untyped-decorators
# mypy: disable-error-code=assignment

import numpy as np
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from relay.kernels import BAD_SPAN, TOO_MANY

#: What each consumer gets in one frame: bytes [start, end) of the output, `told` the number of
#: the last upstream frame that is complete with it.
PIECE = np.dtype(
    [("line", "<i4"), ("count", "<i4"), ("start", "<i8"), ("end", "<i8"), ("told", "<i8")]
)
_kernel = njit(cache=True, nogil=True)
_AT, _PIECE, _COUNT, _MARK, _MARKED, _FRAME, _BYTES = range(7)
STATE_WIDTH = 7


@intrinsic
def _copy(typing_context, out, at, buf, start, size):
    """Copy `size` bytes as C does; a loop over bytes costs five times as much for a message.

    The caller has checked both ranges.
    """
    signature = types.void(out, types.int64, buf, types.int64, types.int64)

    def generate(context, builder, _signature, arguments):
        pointers = [
            builder.gep(context.make_array(kind)(context, builder, array).data, [offset])
            for kind, array, offset in zip(
                (out, buf), (arguments[0], arguments[2]), (arguments[1], arguments[3]), strict=True
            )
        ]
        cgutils.raw_memcpy(builder, *pointers, arguments[4], 1)
        return context.get_dummy_value()

    return signature, generate


@_kernel
def assign(size, spans, slots, jumps, points, points2, member_starts, members, where, state):
    """Set `where[i]` to the interval of span i (-1: nobody's) and sum up bytes per consumer.

    Slot s of a kind: `jumps[s, b]` points lie below symbols that begin with byte b; the interval
    from point j on belongs to members [member_starts[j], member_starts[j + 1]).
    Returns the bytes of all copies, or BAD_SPAN.
    """
    total = 0
    for i in range(spans.size):
        start, end = spans["start"][i], spans["end"][i]
        if start < 0 or end < start or end > size:
            return BAD_SPAN
        where[i] = -1
        slot = slots[spans["kind"][i]]
        if slot < 0:
            continue
        key, key2 = spans["key"][i], spans["key2"][i]
        first = np.int64(key >> np.uint64(56))
        low, high = jumps[slot, first], jumps[slot, first + 1]
        while low < high:  # the first point above the symbol
            middle = (low + high) // 2
            if points[middle] < key or (points[middle] == key and points2[middle] <= key2):
                low = middle + 1
            else:
                high = middle
        at = low - 1
        if at < jumps[slot, 0]:
            continue
        for m in range(member_starts[at], member_starts[at + 1]):
            state[members[m], _BYTES] += end - start
            total += end - start
            where[i] = at
    return total


@_kernel
def _emit(pieces, found, line, state, count, end, told):
    pieces["line"][found] = line
    pieces["count"][found] = count
    pieces["start"][found] = state[line, _PIECE]
    pieces["end"][found] = end
    pieces["told"][found] = told


@_kernel
def deal(
    buf, spans, frame_ends, where, member_starts, members, state, max_count, max_bytes, out, pieces
):
    """Copy each message to all its consumers' parts of `out`; return how many pieces that makes.

    A piece ends where an upstream frame ends; only one frame over the limits is split.
    """
    at = 0
    for line in range(state.shape[0]):
        state[line, _AT] = state[line, _PIECE] = state[line, _MARK] = at
        state[line, _COUNT] = state[line, _MARKED] = 0
        state[line, _FRAME] = -1
        at += state[line, _BYTES]
    if at > out.size:
        return BAD_SPAN
    found, frame = 0, 0
    for i in range(spans.size):
        interval = where[i]
        if interval < 0:
            continue
        start, end = spans["start"][i], spans["end"][i]
        size = end - start
        while frame < frame_ends.size and frame_ends[frame] < end:
            frame += 1
        for m in range(member_starts[interval], member_starts[interval + 1]):
            line = members[m]
            if state[line, _FRAME] != frame:
                state[line, _FRAME] = frame
                state[line, _MARK] = state[line, _AT]
                state[line, _MARKED] = state[line, _COUNT]
            for _ in range(2):  # first without this frame's part, then in the middle of it
                fits = state[line, _AT] + size - state[line, _PIECE] <= max_bytes
                if state[line, _COUNT] == 0 or (fits and state[line, _COUNT] < max_count):
                    break
                if found == pieces.size:
                    return TOO_MANY
                if state[line, _MARKED] > 0:
                    _emit(
                        pieces,
                        found,
                        line,
                        state,
                        state[line, _MARKED],
                        state[line, _MARK],
                        frame - 1,
                    )
                    state[line, _PIECE] = state[line, _MARK]
                    state[line, _COUNT] -= state[line, _MARKED]
                else:
                    _emit(
                        pieces, found, line, state, state[line, _COUNT], state[line, _AT], frame - 1
                    )
                    state[line, _PIECE] = state[line, _MARK] = state[line, _AT]
                    state[line, _COUNT] = 0
                state[line, _MARKED] = 0
                found += 1
            at = state[line, _AT]
            _copy(out, at, buf, start, size)
            state[line, _AT] = at + size
            state[line, _COUNT] += 1
    for line in range(state.shape[0]):
        if state[line, _COUNT] > 0:
            if found == pieces.size:
                return TOO_MANY
            _emit(
                pieces,
                found,
                line,
                state,
                state[line, _COUNT],
                state[line, _AT],
                frame_ends.size - 1,
            )
            found += 1
    return found
