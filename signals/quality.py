"""Data-quality flags: one table of who raises each, who acts on it, what it says, what clears it.

A flag on a candidate denies its entry by name (gate S12, and once more before an order is sent); a
flag on a report says what was wrong with a shard's bucket. Other doubts about data are no flags but
gates of their own; they stand here too, so that one page holds all. docs/data-quality.md is made
from this table.
"""

from typing import NamedTuple

CANDIDATE, REPORT, GATE = "candidate", "report", "gate"


class Flag(NamedTuple):
    """One doubt about data."""

    name: str
    carried: str  # CANDIDATE | REPORT | GATE
    label: str
    producer: str
    consumer: str
    cleared: str


FLAGS = (
    Flag(
        "gap", CANDIDATE, "Frames were lost within the last buckets that its evidence reads",
        "shard: the relay tells a gap, or a frame could not be read", "S12: no entry",
        "aoHistoryBuckets after the gap; a gap over 10 s restarts the symbol (WARMUP)",
    ),
    Flag(
        "revised", CANDIDATE, "A print was canceled or corrected after its bucket had closed",
        "shard: cancel or correction of a closed bucket",
        "S12: no entry; a living candidate is withdrawn (`revised`)",
        "aoHistoryBuckets after the bucket in which the word came",
    ),
    Flag(
        "late_rate", CANDIDATE, "Over a thousandth of its prints came too late for their buckets",
        "shard: late over all prints of the symbol, since the minute began", "S12: no entry",
        "one minute without exceeding it",
    ),
    Flag(
        "arrays_dropped", CANDIDATE, "The report was too large: its windows were left out",
        "shard: a report over its size", "S12: no entry", "the next report that fits",
    ),
    Flag(
        "near_misses_dropped", REPORT, "The report was too large: near misses were left out",
        "shard: a report over its size", "round record", "the next report that fits",
    ),
    Flag(
        "candidates_dropped", REPORT, "The report was too large: the weaker half was left out",
        "shard: a report over its size", "round record", "the next report that fits",
    ),
    Flag(
        "bad_frame", REPORT, "A frame could not be read and was left out",
        "shard: malformed bytes", "round record; its candidates carry `gap`", "the next bucket",
    ),
    Flag(
        "gap", REPORT, "Frames were lost in this bucket",
        "shard: the relay tells a gap", "round record; its candidates carry `gap`",
        "the next bucket",
    ),
    Flag(
        "market_halt", REPORT, "The whole market is halted",
        "shard: a market-wide halt, or SPY or QQQ halted", "G13: no entry", "the resumption",
    ),
    Flag(
        "halted", GATE, "The symbol is halted",
        "shard: trading status", "withdrawn (`halt`); S6", "resumption and reopen_cooldown_s",
    ),
    Flag(
        "luld_near", GATE, "The price is near its limit-up limit-down band",
        "shard: price bands", "S7", "a price away from the band",
    ),
    Flag(
        "crossed_quote", GATE, "The quote is one-sided, locked, crossed or old",
        "shard and hub: quotes", "C3", "a sound quote",
    ),
    Flag(
        "warmup", GATE, "There are too few buckets since the rings began",
        "shard: state WARMUP", "no candidate", "fast, slow, smooth and base windows are full",
    ),
    Flag(
        "feed_stale", GATE, "The watermark stands still or trails",
        "shard: feed_lag_ms of the report", "G4", "a lag within max_relay_lag_ms",
    ),
    Flag(
        "clock_skew", GATE, "This host's clock differs from the relay's",
        "hub: clock comparison", "G4", "a difference within max_clock_skew_ms",
    ),
    Flag(
        "dark_letters", GATE, "Too few symbols are reported by living shards",
        "hub: reports that came", "G4", "min_shard_coverage reached",
    ),
    Flag(
        "version_mismatch", GATE, "The shard decided with another set of parameters",
        "shard: params_version of the report", "recorded, cannot fire",
        "the next bucket with one set",
    ),
)  # fmt: skip


def raised() -> dict[str, set[str]]:
    """Return the names that candidates and reports may carry."""
    return {
        where: {flag.name for flag in FLAGS if flag.carried == where}
        for where in (CANDIDATE, REPORT)
    }


def as_markdown() -> str:
    """Return the table as the text of docs/data-quality.md."""
    lines = [
        "# Data quality",
        "",
        "Doubt blocks entries, never exits. A flag on a *candidate* denies its entry by name,",
        "one on a *report* is recorded with the round, the rest are gates of their own. This page",
        "is made from `signals/quality.py`.",
        "",
        "| flag | on | says | raised by | acted on | cleared by |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| `{f.name}` | {f.carried} | {f.label} | {f.producer} | {f.consumer} | {f.cleared} |"
        for f in FLAGS
    ]
    return "\n".join(lines) + "\n"
