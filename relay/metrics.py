"""The relay's numbers as Prometheus text; their names are in this one place."""

from collections.abc import Iterable, Iterator, Mapping

from relay.fanout import Fanout
from relay.lines import Line

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
STATES = ("closed", "connecting", "open", "lost", "refused")
COUNTERS = {
    "frames": "upstream data frames routed",
    "messages": "messages in these frames",
    "clocks": "clock frames passed on",
    "malformed": "upstream frames dropped because they were not frames",
    "duplicates": "trades dropped after a reconnect because they were sent before",
    "gaps": "gap markers sent",
    "backfilled": "trades fetched over REST after a gap",
    "backfill_complete": "gaps that were filled",
    "backfill_partial": "gaps that were filled in part",
    "backfill_failed": "gaps that could not be filled",
    "symbols_mute": "times a watched symbol was mute while the venue had newer trades of it",
    "news": "news messages",
    "malformed_news": "frames of the news stream dropped because they were not frames",
    "lagging": "times a consumer began to lag",
    "cut": "consumers put out: too slow, or their key revoked",
    "refused": "connections turned away before they were authenticated",
    "resume_recovered": "replays that were complete",
    "resume_gap": "replays that could not be",
}


def metrics_text(
    fanout: Fanout, *, now_s: float, state: str, age_s: float | None, loop_lag_s: float
) -> str:
    """Return one scrape.

    Args:
        state: of the upstream.
        age_s: since its last frame, None before the first.
        loop_lag_s: how late the relay's own timer came lately, at most.
    """
    rows: list[str] = []
    for name, text in COUNTERS.items():
        rows += _rows(f"relay_{name}_total", "counter", text, {"": fanout.counters[name]})
    states = {f'{{state="{name}"}}': int(name == state) for name in STATES}
    rows += _rows("relay_upstream_state", "gauge", "1 at the present state", states)
    ages = {"": age_s} if age_s is not None else {}
    rows += _rows("relay_upstream_age_seconds", "gauge", "since the last upstream frame", ages)
    rows += _rows("relay_loop_lag_seconds", "gauge", "lateness of our timer", {"": loop_lag_s})
    rows += _rows("relay_ring_bytes", "gauge", "kept for replays", {"": fanout.ring.size_bytes})
    offset = {"": fanout.ring.next_offset - 1}
    rows += _rows("relay_offset", "gauge", "number of the last upstream frame", offset)
    rows += _rows("relay_consumers", "gauge", "connections", {"": len(fanout.lines)})
    known = [line for line in fanout.lines if line.consumer is not None]
    rows += _consumers(known, fanout.ring.next_offset - 1, now_s)
    return "\n".join(rows) + "\n"


def _consumers(lines: Iterable[Line], offset: int, now_s: float) -> Iterator[str]:
    queued, waiting, behind, sent = {}, {}, {}, {}
    for number, line in enumerate(lines):
        label = _label(line, number)
        since_s = line.waiting_since_s()
        queued[label] = line.outbox.size_bytes
        waiting[label] = round(now_s - since_s, 3) if since_s is not None else 0.0
        behind[label] = offset + 1 - line.cursor if line.cursor is not None else 0
        sent[label] = line.outbox.sent_messages
    yield from _rows("relay_consumer_queue_bytes", "gauge", "waiting for it", queued)
    yield from _rows("relay_consumer_wait_seconds", "gauge", "age of the oldest of these", waiting)
    yield from _rows("relay_consumer_replay_frames", "gauge", "left to replay", behind)
    yield from _rows("relay_consumer_messages_total", "counter", "sent to it", sent)


def _label(line: Line, number: int) -> str:
    consumer = line.consumer
    if consumer is None:
        return ""
    name = "".join(c if c.isalnum() or c in " ._-" else "_" for c in consumer.name)
    seat = f'connection="{number}"'  # one key may hold several
    return f'{{consumer="{consumer.id}",role="{consumer.role}",name="{name}",{seat}}}'


def _rows(name: str, kind: str, text: str, values: Mapping[str, float]) -> Iterator[str]:
    yield f"# HELP {name} {text}"
    yield f"# TYPE {name} {kind}"
    for label, value in values.items():
        yield f"{name}{label} {value}"
