"""What a shard tells the hub: typed messages and their packed form.

One `Report` per shard and bucket, also when it holds no candidates: it is the watermark and the
heartbeat (design: trigger section 3). Messages travel as msgpack, deflated, base64 — a Celery
argument must be JSON — and are bounded by `MAX_PACKED_BYTES`.
"""

import base64
import zlib
from collections.abc import Mapping

import msgspec

from signals import window

MAX_PACKED_BYTES = 1_000_000


class MessageError(ValueError):
    """A packed message is too large, damaged, or not of the expected shape."""


class Quote(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """NBBO as of the bucket's end plus grace. Prices USD, sizes shares, ts_ns venue time."""

    bid: float
    ask: float
    bid_size: int
    ask_size: int
    ts_ns: int
    median_spread_bps_60s: float | None = None


class SessionState(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Session accumulators of one symbol since the open (USD, shares)."""

    vwap: float | None
    vwap_sd: float | None
    cum_volume: int
    trades: int
    open: float | None
    high: float | None
    low: float | None
    vwap_5min_ago: float | None
    prev_close: float | None = None


class Candidate(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One candidate in one bucket, with its window of evidence (oldest first)."""

    candidate_id: str  # f"{day}-{symbol}-{b}"
    symbol: str
    k: int
    state: str  # "CANDIDATE"
    shadow: bool  # near miss: recorded only, never fires
    born_k: int
    b: int  # first bucket of the burst
    flat_len: int
    x: float  # bps
    z: float
    accel: float  # bps per bucket
    ao: float  # USD
    ac: float  # USD
    slow_mean: float  # S_k, USD
    surge: float
    cum_volume: int  # CV, shares since b
    cum_dollars: float  # CD, USD since b
    jump_share: float | None
    burst_trades: int
    sigma5_bps: float
    sigma1m_bps: float
    noise_gain: float  # C
    close: float  # c_k
    base_close: float  # c_{b-1}
    volume_1m: int  # shares, last 12 buckets
    volume_5m: int  # shares, last 60 buckets
    dollar_volume_1m: float
    synthetic_share: float  # of the history window
    returns_1m_bps: list[float]  # last 60 one-minute returns, oldest first, fewer when young
    window: Mapping[
        str, list
    ]  # k0 (one int), o,h,l,c,vwap: floats; v,n: ints; synthetic: 0/1; x, ao
    session: SessionState
    quote: Quote | None = None
    luld_up: float | None = None
    luld_down: float | None = None
    halted: bool = False
    pauses_today: int = 0  # halts and pauses of the symbol that this session has seen
    resumed_ts_ns: int | None = None  # end of the newest one
    last_price: float | None = None  # newest eligible print
    last_ts_ns: int | None = None
    flags: list[str] = []  # data-quality flags; any of them denies an entry


def without_arrays(candidate: Candidate) -> Candidate:
    """Return a candidate as it travels in a crowd: recorded, but not complete enough to fire."""
    flags = [*candidate.flags, "arrays_dropped"]
    return msgspec.structs.replace(candidate, window={}, returns_1m_bps=[], flags=flags)


class Withdrawn(msgspec.Struct, frozen=True, kw_only=True):
    """A candidacy ended in bucket k."""

    candidate_id: str
    symbol: str
    k: int
    reason: str  # magnitude | age | halt | gap | revised


class IndexBucket(msgspec.Struct, frozen=True, kw_only=True):
    """A closed bucket of an always-watched index symbol (SPY, QQQ, IWM, VIXY)."""

    symbol: str
    k: int
    close: float
    mid: float | None
    ts_ns: int


class Mark(msgspec.Struct, frozen=True, kw_only=True):
    """A closed bucket of a watched position's symbol: what software exits and caps are judged by.

    High, low and close from price-eligible prints, USD (a bucket without one repeats the close
    before it); the quote is the NBBO as of the bucket's end plus grace.
    """

    symbol: str
    k: int
    high: float
    low: float
    close: float
    quote: Quote | None = None
    halted: bool = False
    revised: list[int] = []  # ids of prints that were canceled or corrected, the newest of them
    returns_1m_bps: list[float] = []  # last 60 one-minute returns, oldest first


class Gravity(msgspec.Struct, frozen=True, kw_only=True):
    """Partial sums of the market breadth; integers, so any sharding adds up exactly."""

    n: int = 0
    n_up2: int = 0  # 2 for up, 1 for unchanged
    w: int = 0  # whole dollars
    w_up2: int = 0


class Report(msgspec.Struct, frozen=True, kw_only=True, tag="bucket_done"):
    """Bucket k of one shard is closed."""

    run: str
    shard: int
    epoch: int
    seq: int
    k: int
    stop: int | None  # lock-step: this report also acknowledges that stop
    params_version: int
    assignment: int
    n_symbols: int
    n_fresh: int
    prints: int  # trade prints seen so far in this run by this shard's engine
    late_prints: int
    feed_lag_ms: float
    gravity: Gravity
    candidates: list[Candidate]
    withdrawn: list[Withdrawn] = []
    births: int = 0
    index: list[IndexBucket] = []
    marks: list[Mark] = []  # of the positions that this shard watches
    flags: list[str] = []


class StopDone(msgspec.Struct, frozen=True, kw_only=True, tag="stop_done"):
    """Lock-step: everything up to the stop is processed and no bucket closed."""

    run: str
    shard: int
    epoch: int
    seq: int
    stop: int
    t_ns: int
    assignment: int = 0


class ShardReady(msgspec.Struct, frozen=True, kw_only=True, tag="shard_ready"):
    """The shard holds this assignment and is subscribed; answer to `shards.assign`."""

    run: str
    shard: int
    epoch: int
    assignment: int
    params_version: int
    last_k: int | None  # newest bucket already closed (rebuilt from the store), None when fresh
    resumed: bool


class Ack(msgspec.Struct, frozen=True, kw_only=True, tag="ack"):
    """Answer to watch, release and parameters; the hub re-sends until it has it."""

    run: str
    shard: int
    what: str  # "watch" | "release" | "parameters"
    ref: str  # position id or version
    version: int


class ExitSignal(msgspec.Struct, frozen=True, kw_only=True, tag="exit_signal"):
    """A threshold of a watched position was crossed: a hint, never an order (trigger 6.1)."""

    run: str
    signal_id: str
    position_id: str
    position_version: int
    symbol: str
    shard: int
    epoch: int
    k: int
    kind: str  # "stop" | "target"
    threshold: float
    price: float
    size: int
    ts_ns: int
    trade_id: int
    exchange: str
    conditions: list[str]
    prior_price: float | None
    prior_ts_ns: int | None
    prints_through: int  # consecutive eligible prints at or through the level
    sigma5_bps: float | None
    bid: float | None
    ask: float | None
    quote_ts_ns: int | None


class WatchedPosition(msgspec.Struct, frozen=True, kw_only=True):
    """What a shard needs to watch an active trade (`shards.watch`)."""

    position_id: str
    version: int
    symbol: str
    quantity: int
    stop: float
    target: float
    opened_ts_ns: int


Message = Report | StopDone | ShardReady | Ack | ExitSignal
_encoder = msgspec.msgpack.Encoder(enc_hook=window.as_it_is)
_decoder: msgspec.msgpack.Decoder[Message] = msgspec.msgpack.Decoder(Message)


def pack(message: Message) -> str:
    """Return the message as a Celery argument.

    Raises:
        MessageError: the packed form exceeds `MAX_PACKED_BYTES`.
    """
    packed = base64.b64encode(zlib.compress(_encoder.encode(message), 1)).decode()
    if len(packed) > MAX_PACKED_BYTES:
        raise MessageError(f"{type(message).__name__} packs to {len(packed)} bytes")
    return packed


def as_received(message: Message) -> Message:
    """Return the message as its reader has it, when both are in one process."""
    return _decoder.decode(_encoder.encode(message))


def unpack(packed: str) -> Message:
    """Return the message; never trusts its size or shape.

    Raises:
        MessageError: anything but a well-formed message of bounded size.
    """
    if len(packed) > MAX_PACKED_BYTES:
        raise MessageError(f"a message of {len(packed)} bytes is over the limit")
    try:
        inflater = zlib.decompressobj()
        body = inflater.decompress(base64.b64decode(packed, validate=True), 16 * MAX_PACKED_BYTES)
        if inflater.unconsumed_tail:
            raise MessageError("a message inflates beyond the limit")
        if not inflater.eof or inflater.unused_data:
            raise MessageError("a message is cut short, or something follows it")
        return _decoder.decode(body)
    except RecursionError:  # nested deeper than the stack, on purpose
        raise MessageError("a message is nested too deeply") from None
    except (ValueError, zlib.error, msgspec.MsgspecError) as exc:
        raise MessageError(f"not a message: {exc}") from exc
