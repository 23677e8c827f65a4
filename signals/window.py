"""A candidate's window of evidence as it travels: msgpack that was made once, read when asked.

A shard tells some hundred windows of thousands of numbers in the few milliseconds of a close. It
writes them down as they go over the wire; as Python lists they would cost more than all the rest.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

_decoder = msgspec.msgpack.Decoder(dict[str, list[Any]])


class Window(Mapping[str, list[Any]]):
    """The columns of a window by name, from their msgpack.

    Args: packed: a map of arrays.
    """

    __slots__ = ("_lists", "packed")

    def __init__(self, packed: bytes) -> None:
        self.packed = packed
        self._lists: dict[str, list[Any]] | None = None

    @property
    def lists(self) -> dict[str, list[Any]]:
        if self._lists is None:
            self._lists = _decoder.decode(self.packed)
        return self._lists

    def __getitem__(self, name: str) -> list[Any]:
        return self.lists[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.lists)

    def __len__(self) -> int:
        return len(self.lists)

    def __repr__(self) -> str:
        return repr(self.lists)


def as_it_is(value: object) -> msgspec.Raw:
    """Put a window into a message (an `enc_hook` of msgspec).

    Raises:
        NotImplementedError: anything else.
    """
    if isinstance(value, Window):
        return msgspec.Raw(value.packed)
    raise NotImplementedError(f"a {type(value).__name__} in a message")
