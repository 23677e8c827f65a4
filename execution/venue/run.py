"""Start a venue: look at the tape first, take the port, say so in one line, play, keep serving."""

import asyncio
import secrets
import socket as sockets
from collections.abc import Callable
from datetime import date, datetime
from functools import partial
from pathlib import Path

import numpy as np
import uvicorn

from execution.venue import days
from execution.venue.options import Credentials, Listing, VenueError, VenueOptions
from execution.venue.player import GOODBYE_S
from execution.venue.server import Venue, build
from execution.venue.synthetic import SyntheticMarket
from execution.venue.synthetic.market import WARM_UP_S
from relay import frames
from relay.tape import TapeError, TapeReader
from signals.session import NEW_YORK, Session, new_york_ns

#: What a venue without a tape lists as assets.
DEFAULT_SYMBOLS = ("AAPL", "IWM", "MSFT", "QQQ", "SPY", "VIXY")
SYNTHETIC_SYMBOLS = 11_000
BACKLOG = 128
HOST = "127.0.0.1"


def new_credentials(key: str, secret: str) -> Credentials:
    """Return the given keys, or fresh ones when either is missing."""
    if key and secret:
        return Credentials(key=key, secret=secret)
    return Credentials(key=f"PK{secrets.token_hex(9).upper()}", secret=secrets.token_urlsafe(30))


def host_options(credentials: Credentials, now_ns: int, **given: object) -> VenueOptions:
    """Return the options of a venue without a tape: the host's clock, no market data."""
    session = days.next_session(now_ns)
    return VenueOptions(
        credentials=credentials,
        session=session,
        day=session.day,
        start_ns=now_ns,
        symbols=DEFAULT_SYMBOLS,
        **given,  # type: ignore[arg-type]
    )


def tape_options(
    credentials: Credentials, tape: Path, start: str = "", **given: object
) -> VenueOptions:
    """Look through the whole tape and return how to play it.

    Args:
        start: "HH:MM" New York on the tape's day; "" is the open, or the first frame if later.
    Raises:
        TapeError: no tape, or a damaged one.
        VenueError: nothing on it, or nothing after `start`.
    """
    reader = TapeReader(tape)
    first_ns = last_ns = 0
    symbols = set(reader.header.symbols)
    for block in reader.blocks():
        first_ns = first_ns or int(block.recv_ns[0])
        last_ns = int(block.recv_ns[-1])
        if not reader.header.symbols:
            symbols |= _symbols_of(block.packed().data)
    if not first_ns:
        raise VenueError(f"{tape}: nothing on this tape")
    session = days.session_of(reader.header.day)
    start_ns = _start_ns(session, start) if start else max(session.open_ns, first_ns)
    if start_ns > last_ns:
        raise VenueError(f"{tape}: nothing on this tape from {start or 'the open'} on")
    return VenueOptions(
        credentials=credentials,
        session=session,
        day=reader.header.day,
        start_ns=start_ns,
        last_ns=last_ns,
        symbols=tuple(sorted(symbols)),
        tape=tape,
        **given,  # type: ignore[arg-type]
    )


def synthetic_options(
    credentials: Credentials,
    market_seed: int,
    day: date,
    start: str = "",
    planted: Path | None = None,
    symbols: int = SYNTHETIC_SYMBOLS,
    **given: object,
) -> VenueOptions:
    """Return how to play the synthetic market of a day: warm-up first, paced from 09:55.

    Args:
        symbols: how many names it has, the largest first.
        start: "HH:MM" New York, where the paced part begins; "" is 09:55.
        planted: write the list of planted accelerations to this file.
    Raises:
        VenueError: `start` is outside the session, or the list cannot be written.
    """
    session = days.session_of(day)
    close = datetime.fromtimestamp(session.close_ns // 10**9, NEW_YORK).time()
    try:
        market = SyntheticMarket(seed=market_seed, day=day, symbols=symbols, close=close)
    except ValueError as exc:
        raise VenueError(str(exc)) from exc
    live_ns = _start_ns(session, start) if start else market.live_ns
    if not session.open_ns <= live_ns < session.close_ns:
        raise VenueError(f"the synthetic market is not open at {start}")
    start_ns = max(session.open_ns, live_ns - WARM_UP_S * 10**9)
    if planted is not None:
        try:
            market.write_planted(planted)
        except OSError as exc:
            raise VenueError(f"{planted}: {exc.strerror}") from exc
    return VenueOptions(
        credentials=credentials,
        session=session,
        day=day,
        start_ns=start_ns,
        live_ns=live_ns,
        last_ns=session.close_ns,
        symbols=market.header.symbols,
        listings=_listings(market),
        tape=market.path,
        blocks=partial(market.blocks, start_ns),
        **given,  # type: ignore[arg-type]
    )


def _listings(market: SyntheticMarket) -> dict[str, Listing]:
    return {
        str(row["symbol"]): Listing(
            name=str(row["name"]), exchange=str(row["exchange"]), tradable=bool(row["tradable"])
        )
        for row in market.assets()
    }


def _symbols_of(data: bytes) -> set[str]:
    words = np.unique(frames.scan(data)[["key", "key2"]])
    return {frames.key_symbol(int(word["key"]), int(word["key2"])) for word in words} - {""}


def _start_ns(session: Session, text: str) -> int:
    """Return a New York wall-clock time on the session's day. Raises: ValueError."""
    return new_york_ns(session.day, datetime.strptime(text, "%H:%M").time())  # noqa: DTZ007


def listen(port: int) -> sockets.socket:
    """Return a bound socket. Raises: VenueError: the port is taken."""
    listener = sockets.socket(sockets.AF_INET, sockets.SOCK_STREAM)
    listener.setsockopt(sockets.SOL_SOCKET, sockets.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, port))
        listener.listen(BACKLOG)
    except OSError as exc:
        listener.close()
        raise VenueError(f"port {port} is taken: {exc.strerror}") from exc
    return listener


async def serve(
    options: VenueOptions,
    listener: sockets.socket,
    *,
    once: bool = False,
    ready: Callable[[str], None] = print,
    started: Callable[[Venue], None] | None = None,
) -> None:
    """Serve until interrupted; with `once` until the tape has ended.

    Raises:
        TapeError, VenueError: the tape cannot be played to its end.
    """
    frames.warm()
    try:
        venue = build(options)
    except Exception:
        listener.close()
        raise
    server = uvicorn.Server(_config(venue))
    playing = asyncio.create_task(venue.player.run())
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        ready(f"venue ready on http://{HOST}:{listener.getsockname()[1]}")
        if started is not None:
            started(venue)
        await asyncio.wait({playing, serving}, return_when=asyncio.FIRST_COMPLETED)
        if playing.done() and playing.exception() is None and not once:
            await serving
        elif playing.done():
            await asyncio.sleep(GOODBYE_S if playing.exception() is None else 0)
    finally:
        server.should_exit = True
        playing.cancel()
        await asyncio.gather(serving, return_exceptions=True)
        listener.close()
    failure = playing.exception() if playing.done() and not playing.cancelled() else None
    if isinstance(failure, frames.FrameError):
        raise TapeError(f"{options.tape}: damaged: {failure}") from failure
    if failure is not None:
        raise failure


def _config(venue: Venue) -> uvicorn.Config:
    return uvicorn.Config(
        venue,
        ws="websockets-sansio",
        ws_per_message_deflate=False,
        ws_max_size=1 << 20,
        ws_ping_interval=20.0,
        ws_ping_timeout=60.0,
        lifespan="off",
        access_log=False,
        log_level="warning",
        log_config=None,
        timeout_graceful_shutdown=2,
        timeout_keep_alive=75,
    )
