"""Which assets may be entered today, and what is known of each: pure rules over the broker's list.

The list is made before the open and frozen for the day. What has no history is let in and said to
be unknown; thresholds on today's price are gates. Source: trigger 1.2, 5.3 S1 and 9.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import accumulate, pairwise
from statistics import fmean, median
from typing import Any

from execution.brokers.port import BrokerAsset

INDEX_SYMBOLS = ("SPY", "QQQ", "IWM", "VIXY")
DOLLAR_DAYS, VOLUME_DAYS, MIN_DAYS = 20, 14, 5
SESSION_MINUTES = 390
GRID_MINUTES = 30
#: Share of the day's volume that is usually done, at minutes after the open (linear between).
DAY_DONE = (
    (0, 0.0), (5, 0.025), (15, 0.065), (30, 0.117), (60, 0.207), (90, 0.287), (120, 0.358),
    (150, 0.42), (180, 0.476), (210, 0.529), (240, 0.582), (270, 0.637), (300, 0.697),
    (330, 0.763), (360, 0.841), (375, 0.895), (390, 1.0),
)  # fmt: skip
#: An opening this far from yesterday's close is a split until somebody says otherwise.
SPLIT_UP, SPLIT_DOWN = 1.9, 0.55

_FUND_WORDS = (" ETF", " ETN", " TRUST, SERIES", "PROSHARES", "ISHARES", "SPDR", "DIREXION",
               "GRANITESHARES", "TRADR")  # fmt: skip
_LEVERED = re.compile(r"\b(ULTRA(PRO|SHORT)?|LEVERAGED|INVERSE|BEAR|-?[1-4](\.\d+)?X)\b")
_WHEN_ISSUED = re.compile(r"[./]W[ID]?$|\bWHEN[- ]ISSUED\b")
#: Kind (as `universe_exclude` names it): how the symbol ends, how the name reads, what we say.
_KINDS = {
    "warrants": (re.compile(r"[./](WS.*|WT)$"), re.compile(r"\bWARRANTS?\b"), "a warrant"),
    "rights": (re.compile(r"[./]RT?$"), re.compile(r"\bRIGHTS?\b"), "a right"),
    "units": (re.compile(r"[./]UN?$"), re.compile(r"(?<!COMMON )\bUNITS?\b"), "a unit"),
    "preferreds": (
        re.compile(r"[./]P(R.*|[A-Z]?)$"),
        re.compile(r"\b(PREFERRED|PREFERENCE|SUBORDINATE NOTES)\b"),
        "a preferred share",
    ),
}


@dataclass(frozen=True, kw_only=True)
class DailyBar:
    """One session of one symbol; price USD (adjusted for splits), volume in shares."""

    day: date
    close: float
    volume: int


@dataclass(frozen=True, kw_only=True)
class IntradayBar:
    """What a symbol traded in a part of a past session; `minute` of its begin after the open."""

    day: date
    minute: int
    volume: int


@dataclass(frozen=True, kw_only=True)
class Note:
    """What the operator adds to a symbol; the broker has neither."""

    sector: str = ""
    beta: float | None = None


@dataclass(frozen=True, kw_only=True)
class Listing:
    """One asset's place in the universe: `reason` says why it is out, or what is not known."""

    symbol: str
    name: str
    included: bool
    reason: str = ""
    prev_close: float | None = None
    dollar_volume_20d: int | None = None  # median, USD
    volume_14d: int | None = None  # mean, shares
    volume_curve: tuple[int, ...] | None = None  # mean shares by each half hour of the session
    sector: str = ""
    beta: float | None = None


def listing(
    asset: BrokerAsset, bars: Sequence[DailyBar], note: Note, parameters: Mapping[str, Any]
) -> Listing:
    """Return an asset's listing.

    Args: bars: its sessions before today, any order; empty when there is no history.
    """
    past = sorted(bars, key=lambda bar: bar.day)
    dollars = usual_dollars(past)
    why = excluded(asset, parameters)
    least = parameters["universe_min_dollar_volume_20d"]
    if not why and dollars is not None and dollars < least:
        why = f"trades {dollars} USD a day; universe_min_dollar_volume_20d is {least:.0f}"
    unknown = "its usual volume is unknown" if dollars is None else ""
    return Listing(
        symbol=asset.symbol,
        name=asset.name,
        included=not why,
        reason=why or unknown,
        prev_close=past[-1].close if past else None,
        dollar_volume_20d=dollars,
        volume_14d=usual_volume(past),
        sector=note.sector,
        beta=note.beta,
    )


def excluded(asset: BrokerAsset, parameters: Mapping[str, Any]) -> str:
    """Return why an asset is never entered, whatever it trades; "" when it may be."""
    if not asset.tradable or asset.status != "active":
        return "not tradable"
    if not asset.symbol[:1].isalpha() or asset.symbol != asset.symbol.upper():
        return "its symbol is no stock's"
    kind, said = kind_of(asset)
    if kind in parameters["universe_exclude"]:
        return f"{said} (universe_exclude)"
    if kind == "when_issued":
        return said
    if kind == "fund" and not parameters["universe_include_etfs"]:
        return f"{said} (universe_include_etfs is off)"
    return ""


def kind_of(asset: BrokerAsset) -> tuple[str, str]:
    """Return what an asset is, as `universe_exclude` names it, and in words; "" is common stock."""
    name = asset.name.upper()
    if "ipo" in asset.attributes:
        return "ipo", "not traded before its first trade of today"
    if asset.exchange.upper() == "OTC":
        return "otc", "traded over the counter"
    if _WHEN_ISSUED.search(asset.symbol) or _WHEN_ISSUED.search(name):
        return "when_issued", "a when-issued share"
    for kind, (suffix, words, said) in _KINDS.items():
        if suffix.search(asset.symbol) or words.search(name):
            return kind, said
    if asset.symbol in INDEX_SYMBOLS or any(word in name for word in _FUND_WORDS):
        if _LEVERED.search(name):
            return "leveraged_etp", "a leveraged or inverse fund"
        return "fund", "a fund"
    return "", "common stock"


def usual_dollars(past: Sequence[DailyBar]) -> int | None:
    """Return the median dollar volume of the last 20 sessions; None with fewer than five."""
    recent = past[-DOLLAR_DAYS:]
    if len(recent) < MIN_DAYS:
        return None
    return round(median(bar.close * bar.volume for bar in recent))


def usual_volume(past: Sequence[DailyBar]) -> int | None:
    """Return the mean volume of the last 14 sessions, shares; None with fewer than five."""
    recent = past[-VOLUME_DAYS:]
    return round(fmean(bar.volume for bar in recent)) if len(recent) >= MIN_DAYS else None


def day_done(minutes: float) -> float:
    """Return the share of a day's volume that is usually done so many minutes after the open."""
    at = min(max(minutes, 0.0), SESSION_MINUTES)
    for (m0, s0), (m1, s1) in pairwise(DAY_DONE):
        if at <= m1:
            return s0 + (s1 - s0) * (at - m0) / (m1 - m0)
    return 1.0


def volume_curve(bars: Iterable[IntradayBar]) -> tuple[int, ...] | None:
    """Return how many shares were usually traded by the end of each half hour of the session.

    The mean of the last 14 sessions that traded; None with fewer than five of them.
    """
    days: dict[date, list[int]] = {}
    for bar in bars:
        if 0 <= bar.minute < SESSION_MINUTES:
            of_day = days.setdefault(bar.day, [0] * (SESSION_MINUTES // GRID_MINUTES))
            of_day[bar.minute // GRID_MINUTES] += bar.volume
    recent = [list(accumulate(days[day])) for day in sorted(days)[-VOLUME_DAYS:]]
    if len(recent) < MIN_DAYS:
        return None
    return tuple(round(fmean(by_then)) for by_then in zip(*recent, strict=True))


def usual_by(curve: Sequence[int], minutes: float) -> float:
    """Return the shares usual by so many minutes after the open.

    Within a half hour the curve follows the usual shape of a day.
    """
    at = min(max(minutes, 0.0), float(SESSION_MINUTES))
    slot = min(int(at // GRID_MINUTES), len(curve) - 1)
    before = curve[slot - 1] if slot else 0
    begun, ended = day_done(slot * GRID_MINUTES), day_done((slot + 1) * GRID_MINUTES)
    return before + (curve[slot] - before) * (day_done(at) - begun) / (ended - begun)


def relative_volume(volume: int, curve: Sequence[int] | None, minutes: float) -> float | None:
    """Return today's volume ÷ the mean of the same time of day; None without such a history.

    A day's total is no stand-in for it: how a stock's day is shaped is what it differs in.
    """
    usual = usual_by(curve, minutes) if curve else 0.0
    return volume / usual if usual > 0 else None


def split_suspected(prev_close: float | None, opened: float | None) -> str:
    """Return why history and price do not fit together today; "" when they do, or are unknown."""
    if not prev_close or not opened or prev_close <= 0:
        return ""
    ratio = opened / prev_close
    if SPLIT_DOWN < ratio < SPLIT_UP:
        return ""
    return f"it opened at {ratio:.2f} times yesterday's close: a split, until verified"


def read_notes(text: str) -> dict[str, Note]:
    """Return the operator's notes from `symbol,sector,beta` lines; a header and # are skipped.

    Raises:
        ValueError: a line that is not one; the message names it.
    """
    notes = {}
    for number, line in enumerate(text.splitlines(), 1):
        fields = [field.strip() for field in line.split(",")]
        if not line.strip() or line.startswith("#") or fields[0].lower() == "symbol":
            continue
        try:
            symbol, sector, beta = (*fields, "", "")[:3]
            notes[symbol] = Note(sector=sector, beta=float(beta) if beta else None)
        except ValueError:
            raise ValueError(f"line {number} is not symbol,sector,beta: {line[:60]}") from None
        if not symbol or len(fields) > 3:
            raise ValueError(f"line {number} is not symbol,sector,beta: {line[:60]}")
    return notes
