"""News that the relay brings: which symbol had some, and when."""

from types import SimpleNamespace
from typing import Any

import msgpack
import pytest

from execution.hub.coordinator import NEWS_NS, Coordinator
from execution.hub.relay_link import RelayLink

AT_NS = 1_795_188_000_000_000_000


def a_link(**options: Any) -> RelayLink:
    return RelayLink(url="ws://relay.test/v2/sip", key="k", secret="s", post=print, **options)


def an_article(symbols: list[str] | None, created_at: Any) -> bytes:
    return msgpack.packb([{"T": "n", "id": 1, "symbols": symbols, "created_at": created_at}])


@pytest.mark.parametrize(
    "created_at",
    [
        msgpack.Timestamp.from_unix_nano(AT_NS),
        "2026-11-20T15:20:00Z",
        "2026-11-20T15:20:00.000000000+00:00",
        AT_NS,
    ],
)
def test_an_article_is_kept_by_symbol(created_at: Any) -> None:
    link = a_link(news=True)

    link._on_frame(an_article(["AAPL", "MSFT"], created_at))

    assert link.news == {"": AT_NS, "AAPL": AT_NS, "MSFT": AT_NS}


def test_an_older_article_and_one_of_no_symbol_change_nothing() -> None:
    link = a_link(news=True)
    link._on_frame(an_article(["AAPL"], AT_NS))

    link._on_frame(an_article(["AAPL"], AT_NS - 1))
    link._on_frame(an_article(None, "no time"))

    assert link.news == {"": AT_NS, "AAPL": AT_NS}


def test_the_relay_is_asked_for_news_only_when_there_are_some() -> None:
    asks, quiet = a_link(news=True), a_link()

    assert asks.client.wanted == {"news": frozenset({"*"})}
    assert not quiet.client.wanted


def test_news_are_of_the_last_half_hour_and_unknown_without_a_channel() -> None:
    def said(symbol: str, news: dict[str, int], now_ns: int) -> bool | None:
        hub = SimpleNamespace(
            relay=SimpleNamespace(news=news), clock=SimpleNamespace(now_ns=lambda: now_ns)
        )
        return Coordinator.news_of(hub, symbol)  # type: ignore[arg-type]

    news = {"": AT_NS, "AAPL": AT_NS}
    assert said("AAPL", news, AT_NS + NEWS_NS) is True
    assert said("AAPL", news, AT_NS + NEWS_NS + 1) is False
    assert said("MSFT", news, AT_NS) is False
    assert said("AAPL", {}, AT_NS) is None
