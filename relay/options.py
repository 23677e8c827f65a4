"""What the relay's commands take on their command line; each refuses with one line."""

import math
from argparse import ArgumentTypeError
from pathlib import Path
from urllib.parse import urlsplit

from relay.recorder import Recorder
from relay.symbols import CHANNELS, NEWS_CHANNELS

RECORDABLE = (*CHANNELS, *NEWS_CHANNELS)


def stream_url(text: str) -> str:
    """Return the address of a stream."""
    try:
        parts = urlsplit(text)
        good = parts.scheme in ("ws", "wss") and parts.hostname and parts.port != 0
    except ValueError:
        good = False
    if not good:
        raise ArgumentTypeError(f"{text!r} is no address like wss://HOST[:PORT]/v2/FEED")
    return text


def data_url(text: str) -> str:
    """Return the address of a data API, or "" for none."""
    parts = urlsplit(text)
    if text and not (parts.scheme in ("http", "https") and parts.hostname):
        raise ArgumentTypeError(f"{text!r} is no address like https://HOST[:PORT]")
    return text


def channels(text: str) -> list[str]:
    """Return channel names of a comma-separated list."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    unknown = [name for name in names if name not in RECORDABLE]
    if unknown or not names:
        found = ",".join(unknown) or "nothing"
        raise ArgumentTypeError(f"{found} is not of {','.join(RECORDABLE)}")
    return names


def positive(text: str) -> float:
    """Return a number above zero."""
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not math.isfinite(number) or number <= 0:
        raise ArgumentTypeError(f"{text!r} is not a number above zero")
    return number


def feed_of(url: str) -> str:
    """Return the feed that a stream's address names."""
    return urlsplit(url).path.rstrip("/").rpartition("/")[2] or "sip"


def recorder(directory: str, url: str, *, keep_gb: float) -> Recorder:
    """Return a recorder of this stream.

    Raises:
        ValueError: the directory cannot be used; one line.
    """
    try:
        Path(directory).mkdir(parents=True, exist_ok=True)
        return Recorder(directory, feed=feed_of(url), keep_bytes=int(keep_gb * (1 << 30)))
    except OSError as exc:
        raise ValueError(f"cannot record to {directory}: {exc.strerror or exc}") from exc
