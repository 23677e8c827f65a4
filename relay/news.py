"""News of the venue's own news stream: one message names several symbols, or none. Pure.

They are few, so each is looked at with a decoder; what is passed on are its bytes all the same.
"""

from collections.abc import Iterable, Iterator

import msgspec

NEWS_PATH = "/v1beta1/news"


class _News(msgspec.Struct):
    T: str
    symbols: list[str] | None = None


_elements = msgspec.msgpack.Decoder(list[msgspec.Raw]).decode
_decode = msgspec.msgpack.Decoder(_News).decode


class NewsRoute:
    """What one consumer wants: symbols, or `*` for everything. Empty without entries."""

    def __init__(self, entries: Iterable[str]) -> None:
        self._symbols = frozenset(entries)

    def __bool__(self) -> bool:
        return bool(self._symbols)

    def wants(self, symbols: Iterable[str]) -> bool:
        """Say whether news about these are wanted; those about no symbol need `*`."""
        return "*" in self._symbols or not self._symbols.isdisjoint(symbols)


def news_in(frame: bytes) -> Iterator[tuple[bytes, list[str]]]:
    """Yield each news message of a frame, as its bytes, with the symbols it names.

    Raises:
        ValueError: the bytes are no frame. A message that is no news is left out.
    """
    try:
        elements = _elements(frame)
    except (msgspec.MsgspecError, RecursionError) as exc:
        raise ValueError(f"not a frame: {exc}") from exc
    for raw in elements:
        try:
            found = _decode(raw)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            continue
        if found.T == "n":
            yield bytes(raw), found.symbols or []
