"""The array search over a tape against the slow, obvious version: every message, one by one."""

import random
from datetime import date
from decimal import Decimal

import msgspec
import numpy as np
import pytest

from execution.venue.cursor import TapeCursor
from execution.venue.engine import MS, VenueEngine
from execution.venue.orders import OrderRequest
from execution.venue.rejections import Rejection
from execution.venue.replay import Replay, tape_books
from relay import frames
from relay.tape import Block
from signals.session import regular_session

SESSION = regular_session(date(2013, 10, 7))
SYMBOLS = ("AIG", "BAC", "SPY", "LONGER.NAME")
START = SESSION.open_ns


def a_message(rng: random.Random, ts_ns: int, number: int) -> dict:
    symbol = rng.choice(SYMBOLS)
    middle = 50 + rng.randint(-8, 8) / 100
    base = {"S": symbol, "t": ts_ns, "z": "A"}
    if symbol != "SPY" and rng.random() < 0.6:
        bid, ask = middle - rng.randint(0, 2) / 100, middle + rng.randint(-1, 2) / 100
        if rng.random() < 0.1:
            bid = 0.0
        return base | {"T": "q", "bp": bid, "bs": 1, "ap": ask, "as": 1, "bx": "N", "ax": "N"}
    conditions = [rng.choice(["@", " ", "I", "F", "T", "L", "?"])]
    size, price = rng.choice([100, 100, 0]), rng.choice([middle, middle, -1.0, float("nan")])
    return base | {"T": "t", "i": number, "x": "N", "p": price, "s": size, "c": conditions}


def random_frames(rng: random.Random, count: int) -> list[tuple[int, bytes]]:
    made, now = [], START - 2000 * MS
    for number in range(count):
        now += rng.choice([0, 0, 1, 7, 30]) * MS
        messages = [a_message(rng, now, number) for _ in range(rng.choice([1, 1, 2, 5]))]
        body = [frames.encode_message(message) for message in messages]
        made.append((now, frames.encode_array(body)))
    return made


def blocks(made: list[tuple[int, bytes]], size: int) -> list[Block]:
    found = []
    for at in range(0, len(made), size):
        part = made[at : at + size]
        ends = np.cumsum([len(frame) for _, frame in part])
        found.append(
            Block(
                recv_ns=np.array([recv for recv, _ in part]),
                starts=ends - np.array([len(frame) for _, frame in part]),
                ends=ends,
                data=b"".join(frame for _, frame in part),
            )
        )
    return found


def a_request(rng: random.Random, number: int) -> OrderRequest:
    cents = lambda low, high: Decimal(5000 + rng.randint(low, high)) / 100  # noqa: E731
    symbol, name = rng.choice(SYMBOLS), f"order-{number}"
    common = {"symbol": symbol, "quantity": rng.randint(1, 40), "client_order_id": name}
    kind = rng.choice(["bracket", "limit", "market", "stop"])
    if kind == "bracket":
        return OrderRequest(
            side="buy",
            type="limit",
            limit=cents(-3, 3),
            order_class="bracket",
            take_profit=cents(4, 8),
            stop_loss=cents(-8, -4),
            **common,
        )
    side = rng.choice(["buy", "sell"])
    if kind == "limit":
        return OrderRequest(side=side, type="limit", limit=cents(-9, 9), **common)
    if kind == "stop":
        return OrderRequest(side=side, type="stop", stop=cents(-9, 9), **common)
    return OrderRequest(side=side, **common)


def schedule(rng: random.Random, span_ms: int) -> list[tuple[int, int, int]]:
    """Return (time, what, seed of the request) in time order."""
    times = sorted(rng.randint(0, span_ms) for _ in range(40))
    return [(START + ms * MS, rng.randint(0, 9), number) for number, ms in enumerate(times)]


def an_engine(books=None) -> VenueEngine:
    return VenueEngine(
        session=SESSION, symbols=SYMBOLS, partial_rate=0.3, books=books, seed="replay"
    )


def act(engine: VenueEngine, what: int, number: int, now_ns: int) -> None:
    rng = random.Random(number)
    try:
        if what < 7 or not engine.open_orders:
            engine.submit(a_request(rng, number), now_ns)
        else:
            engine.cancel(rng.choice(engine.open_orders).id, now_ns)
    except Rejection:
        pass


def run_in_arrays(made, plan, block_size: int, steps_ns: int) -> list:
    cursor = TapeCursor(blocks(made, block_size))
    engine = an_engine(tape_books(cursor))
    replay = Replay(cursor, engine, START)
    seen = 0
    for at, what, number in plan:
        while replay.now_ns < at:
            step = replay.next_event_ns(min(at, replay.now_ns + steps_ns))
            seen += sum(piece.stop - piece.first for piece in replay.run_until(step))
        act(engine, what, number, at)
    replay.run_until(made[-1][0] + 1000 * MS)
    return engine.take_updates(), engine.truth()


def run_one_by_one(made, plan) -> list:
    engine = an_engine()
    feed = iter([(recv, message) for recv, frame in made for message in decoded(frame)])
    state = {"next": next(feed, None)}

    def run_until(until: int) -> None:
        while True:
            due = engine.due_ns()
            limit = until if due is None else min(due, until)
            while state["next"] and state["next"][0] <= limit:
                give(engine, state["next"][1], state["next"][0])
                state["next"] = next(feed, None)
            if due is None or due > until:
                return
            engine.advance(due)

    for at, what, number in plan:
        run_until(at)
        act(engine, what, number, at)
    run_until(made[-1][0] + 1000 * MS)
    return engine.take_updates(), engine.truth()


def decoded(frame: bytes) -> list[dict]:
    return msgspec.msgpack.decode(frame)


def give(engine: VenueEngine, message: dict, recv_ns: int) -> None:
    if message["T"] == "q":
        prices = [Decimal(str(round(message[name], 6))) for name in ("bp", "ap")]
        engine.on_quote(message["S"], *prices, recv_ns)
    elif message["p"] == message["p"]:
        eligible = message["c"][0] in ("@", " ", "F", "?")
        price = Decimal(str(round(message["p"], 6)))
        engine.on_trade(message["S"], price, message["s"], eligible, recv_ns)


@pytest.mark.parametrize("seed", range(12))
def test_the_search_in_arrays_equals_giving_every_message(seed):
    rng = random.Random(seed)
    made = random_frames(rng, 1500)
    plan = schedule(rng, 9000)

    expected = run_one_by_one(made, plan)

    assert len(expected[0]) > 20
    assert run_in_arrays(made, plan, block_size=97, steps_ns=500 * MS) == expected
    assert run_in_arrays(made, plan, block_size=4000, steps_ns=10**12) == expected


def test_every_message_of_the_session_is_passed_once_and_in_order():
    made = random_frames(random.Random(1), 400)
    cursor = TapeCursor(blocks(made, 50))
    replay = Replay(cursor, an_engine(tape_books(cursor)), START)

    passed = []
    for ms in range(0, 20_000, 333):
        for piece in replay.run_until(START + ms * MS):
            rows = piece.columns.spans[piece.first : piece.stop]
            passed += [piece.columns.data[row["start"] : row["end"]] for row in rows]

    expected = [
        frames.encode_message(message)
        for recv, frame in made
        if recv >= START
        for message in decoded(frame)
    ]
    assert len(passed) == len(expected)
    assert replay.next_message_ns is None
