"""A market for the pages: a running run whose rounds were decided by the real decision.

`fill()` writes it to the database that the settings name; `pulse()` keeps its clock and its
heart-beats going until it is ended, as hub and shards would.
"""

import json
import math
import struct
import time
import zlib
from decimal import Decimal
from typing import Any

import msgspec
import numpy as np
import redis
from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission

from accounts import services as books
from execution.domain.rounds import Exposure, RoundInput
from execution.models import Order, Round, Run, StartupStep, Trade
from execution.services import activity, lease, rounds
from signals import services as parameter_services
from signals.messages import Candidate
from signals.session import BUCKET_NS
from tests.unit.domain_builders import (
    CLOSE_NS,
    DAY,
    END_NS,
    OPEN_NS,
    K,
    a_candidate,
    a_quote,
    a_round,
    a_session,
    an_account,
    an_index,
    some_parameters,
)
from tradeplane.pages import access, buckets

RUN = "tape-demo"
PASSWORD = "a long enough word"
ACCOUNT = "PA12345678"
BUSY = Exposure(symbol="ABCD", quantity=298, entry=Decimal("20.08"), stop=Decimal("19.70"))
STEPS = {
    "lease": "epoch 1", "relay": "signed in", "upstream": "sip", "account": f"{ACCOUNT}, 30000 USD",
    "updates": "", "clock": "tape", "reconcile": "books and broker agree",
    "universe": "2860 symbols", "shards": "4 shards", "rounds": "",
}  # fmt: skip
#: As the hub tells them: stage → typical, worst 1 %, how many; and the relay's figures.
STAGES = {"collect": [38.0, 92.0, 180], "decide": [80.0, 410.0, 96], "send": [168.0, 290.0, 3],
          "total": [1040.0, 1550.0, 3]}  # fmt: skip
RELAY = {
    "state": "open", "reason": "", "feed": "sip", "per_s": "48210", "consumers": "5",
    "lagging": "0", "slowest": "shard 3", "slowest_bytes": "6200000", "ring_bytes": "128000000",
    "loop_lag_ms": "2", "frames": "2100000", "gaps": "0", "cut": "0",
}  # fmt: skip
#: symbol, price, change in percent, x, accel, z, surge, spread in bps, more
STOCKS: tuple[tuple[str, float, float, float, float, float, float, float, dict[str, Any]], ...] = (
    ("CRWX", 48.22, 3.41, 31.4, 6.8, 6.9, 8.4, 8, {}),
    ("NVTX", 20.62, 6.12, 27.9, 5.9, 6.1, 8.9, 10, {"stretch": 2.91}),
    ("TIVA", 71.08, 2.20, 24.6, 5.1, 5.4, 6.2, 7, {"b": K - 3}),
    ("ORBN", 12.44, 4.75, 22.3, 4.7, 5.0, 5.5, 40, {}),
    ("HALQ", 33.91, 5.30, 21.0, 4.2, 4.8, 7.1, 9, {"base": 33.27}),
    ("MERQ", 88.40, 1.12, 18.2, 3.9, 3.1, 3.1, 6, {}),
    ("VLTN", 26.07, 2.94, 17.5, 3.3, 4.1, 5.2, 8, {"b": K - 13}),
    ("PLXR", 142.10, 0.84, 14.8, 2.8, 3.8, 3.6, 7, {"sigma": 12.0}),
    ("GRDN", 54.73, 1.40, 12.7, 2.3, 3.5, 3.9, 11, {"quote": None}),
    ("BRVO", 38.15, 7.02, 11.6, 2.0, 3.3, 6.8, 10, {"halted": True}),
)


def fill() -> None:
    """Write users, parameters, the run, three decided rounds, a trade and a log."""
    users()
    p = some_parameters(confirm_buckets=2)
    version = parameter_services.save_parameters(
        values=p, author="owner", comment="dead stocks surge on nothing", base_version=0
    )
    parameter_services.activate(version, author="owner")
    run = a_running_run(p, version)
    epoch = lease.take("tests")
    for k in (K - 2, K - 1, K):
        decide(run, k, epoch, candidates=[] if k < K - 1 else stocks(k))
    a_position(run)
    lines(run)


def users() -> None:
    """owner may do everything, ann is an operator, vic only looks."""
    model = get_user_model()
    model.objects.create_superuser("owner", password=PASSWORD)
    model.objects.create_user("vic", password=PASSWORD)
    ann = model.objects.create_user("ann", password=PASSWORD)
    for right in access.OPERATOR_RIGHTS:
        app, _, name = right.partition(".")
        ann.user_permissions.add(Permission.objects.get(content_type__app_label=app, codename=name))


def a_running_run(p: dict[str, Any], version: int) -> Run:
    run = Run.objects.create(
        id=RUN, state="running", mode="paper", account_number=ACCOUNT, day=DAY, open_ns=OPEN_NS,
        close_ns=CLOSE_NS, parameters_version=version, parameters={str(version): p},
        assignment=1, universe=[row[0] for row in STOCKS], market_ns=END_NS + 10**9,
        opening_cash=Decimal(30_000),
        assignments={"1": [["", "H"]], "2": [["H", "N"]], "3": [["N", "T"]], "4": [["T", ""]]},
    )  # fmt: skip
    books.open_account(
        number=ACCOUNT, run_id=RUN, cash=Decimal(30_000), session_date=DAY, ts_ns=OPEN_NS,
        mode="paper",
    )  # fmt: skip
    for position, (name, reason) in enumerate(STEPS.items(), 1):
        StartupStep.objects.create(
            run=run, position=position, name=name, state="done", reason=reason
        )
    return run


def decide(
    run: Run, k: int, epoch: int, candidates: list[Candidate], *, busy: bool = True
) -> Round:
    """Store a round as the hub does, and let the real decision answer it.

    Args: busy: the one slot is taken by ABCD.
    """
    inputs: RoundInput = a_round(
        *candidates, run=run.pk, k=k, account=an_account(), index=an_index(k),
        exposures=(BUSY,) if busy else (),
        busy_symbols=frozenset({"ABCD"} if busy else ()), trades_today=1,
        n_symbols=2860, n_expected=2881, coverage=0.993,
    )  # fmt: skip
    row = Round.objects.create(
        run=run, k=k, state="closed", closed_ns=(k + 1) * BUCKET_NS + 800_000_000,
        params_version=run.parameters_version, n_symbols=2860, n_candidates=len(candidates),
        births=len(candidates), coverage=0.993, inputs=msgspec.msgpack.encode(inputs),
    )  # fmt: skip
    rounds.decide_round(run_id=run.pk, k=k, epoch=epoch)
    row.refresh_from_db()
    return row


def stocks(k: int) -> list[Candidate]:
    return [_stock(k, *row) for row in STOCKS]


def held_back(run: Run, epoch: int, *ks: int) -> None:
    """Decide rounds with a free slot in which one burst of NVTX is held back by C4 alone."""
    for k in ks:
        (one,) = (c for c in stocks(k) if c.symbol == "NVTX")
        b = ks[0] - 2
        same = msgspec.structs.replace(one, b=b, born_k=b + 1, candidate_id=f"{DAY}-NVTX-{b}")
        decide(run, k, epoch, [same], busy=False)


def _stock(
    k: int, symbol: str, price: float, change: float, x: float, accel: float, z: float,
    surge: float, spread: float, more: dict[str, Any],
) -> Candidate:  # fmt: skip
    half = price * spread / 20_000
    vwap = (price + half) / (1 + more.get("stretch", 0.9) / 100)
    b = more.get("b", K - 4) + (k - K if "b" not in more else 0)
    quote = None
    if "quote" not in more:
        quote = a_quote(bid=round(price - half, 2), ask=round(price + half, 2),
                        ts_ns=(k + 1) * BUCKET_NS + 600_000_000)  # fmt: skip
    session = a_session(vwap=round(vwap, 3), vwap_5min_ago=round(vwap * 0.999, 3),
                        open=round(price / (1 + change / 100), 2),
                        cum_volume=1_284_300)  # fmt: skip
    return a_candidate(
        symbol, k=k, candidate_id=f"{DAY}-{symbol}-{b}", b=b, born_k=b + 1, x=x, accel=accel, z=z,
        surge=surge, close=price, base_close=more.get("base", round(price * 0.995, 2)),
        quote=quote, session=session, halted=more.get("halted", False),
        sigma1m_bps=more.get("sigma", 25.0), window=window(k, price, x, k - b + 1),
        dollar_volume_1m=4_000_000.0, volume_5m=900_000,
    )  # fmt: skip


def window(k: int, price: float, peak: float, age: int, n: int = 36) -> dict[str, list[Any]]:
    """Three quiet minutes and a burst of `age` buckets that ends at `price`."""
    xs = [
        peak * 0.06 * math.sin(2.4 * i) if i < n - age else peak * ((i - n + age + 1) / age) ** 1.25
        for i in range(n)
    ]
    rise = [0.0 if i < n - age else ((i - n + age + 1) / age) ** 1.2 for i in range(n)]
    close = [round(price * (0.97 + 0.03 * r) + 0.004 * math.sin(1.7 * i), 3)
             for i, r in enumerate(rise)]  # fmt: skip
    opens = [close[max(0, i - 1)] for i in range(n)]
    return {
        "k0": [k - n + 1],
        "o": opens,
        "c": close,
        "h": [max(o, c) + 0.01 for o, c in zip(opens, close, strict=True)],
        "l": [min(o, c) - 0.01 for o, c in zip(opens, close, strict=True)],
        "vwap": close,
        "v": [int(300 + 260 * abs(math.sin(i)) + 9_000 * r) for i, r in enumerate(rise)],
        "n": [12] * n,
        "synthetic": [0] * n,
        "x": xs,
        "ao": [x / 1000 for x in xs],
    }


def a_position(run: Run, **changes: Any) -> Trade:
    """298 ABCD, bought at 20.08, stop and target live."""
    values: dict[str, Any] = {
        "run": run, "account_number": ACCOUNT, "day": DAY, "slot": 9, "slot_key": "demo-9",
        "open_key": "demo-ABCD", "symbol": "ABCD", "state": "open_protected", "k": K - 40,
        "candidate_id": "c-abcd", "score": 52.8, "quantity": 298, "limit": Decimal("20.08"),
        "take_profit": Decimal("20.85"), "stop_loss": Decimal("19.70"), "filled_quantity": 298,
        "entry_value": Decimal("5983.84"), "parameters_version": run.parameters_version,
        "reserved_ns": END_NS - 680 * 10**9, "opened_ns": END_NS - 679 * 10**9,
        "protected_ns": END_NS - 678 * 10**9,
    }  # fmt: skip
    trade = Trade.objects.create(**values | changes)
    Order.objects.create(
        run=run, trade=trade, purpose="e", client_order_id=f"v1-demo-{trade.pk}-e", symbol="ABCD",
        side="buy", type="limit", quantity=298, filled_quantity=298, limit=Decimal("20.08"),
        status="filled", fence_epoch=1, created_ns=END_NS - 680 * 10**9,
    )  # fmt: skip
    books.record_fill(
        account=books_account(), execution_id=f"x-{trade.pk}", order_ref="v1-demo-e",
        symbol="ABCD", side="buy", quantity=298, price=Decimal("20.08"),
        ts_ns=END_NS - 679 * 10**9, session_date=DAY,
    )  # fmt: skip
    return trade


def books_account() -> Any:
    from accounts.models import Account  # noqa: PLC0415 - this module is also run before set-up

    return Account.objects.get(run_id=RUN)


def lines(run: Run) -> None:
    said = (
        ("info", "startup", "all steps hold: rounds begin", -3600),
        ("info", "order", "ABCD: 298 shares filled at 20.08", -679),
        ("info", "trade", "Stop and target of ABCD confirmed live", -678),
        ("warning", "reconcile", "no comparison: the broker did not answer in time", -300),
        ("alarm", "round", "Shard 3 silent for 12 s: N to S are dark", -62),
        ("info", "reconcile", "books and broker agree again", -40),
    )
    for level, kind, text, ago in said:
        activity.note(RUN, kind, text, level=level, market_ns=END_NS + ago * 10**9, ago_s=-ago)


def pulse() -> None:
    """Keep the run's clock and its heart-beats going."""
    client = redis.Redis.from_url(settings.REDIS_STATE_URL)
    started, n = time.monotonic(), 0
    while True:
        run = Run.objects.get(pk=RUN)
        market_ns = END_NS + 10**9 + int((time.monotonic() - started) * 10**9) % (4 * 10**9)
        Run.objects.filter(pk=RUN).update(market_ns=market_ns + n)
        n += 1
        beat(client, run, market_ns)
        last_price(client, "ABCD", 20.31 + 0.01 * (n % 7))
        time.sleep(0.3)


def beat(client: redis.Redis, run: Run, market_ns: int, *, dark: str = "") -> None:
    facts: dict[Any, Any] = {
        "run": RUN, "market_ns": market_ns, "at": time.time_ns(), "state": "running",
        "stages": json.dumps(STAGES),
    }  # fmt: skip
    client.hset("hb:hub", mapping=facts)
    client.expire("hb:hub", 5)
    client.hset("hb:relay", mapping=RELAY)  # type: ignore[arg-type]
    client.expire("hb:relay", 5)
    for number, lag in (("1", "140.2"), ("2", "155.9"), ("3", "1310.4"), ("4", "163.0")):
        if number == dark:
            continue
        client.hset(
            f"hb:shard:{number}",
            mapping={
                "state": "live", "lag_ms": lag, "symbols": "715", "run": RUN, "queue": "0",
                "params_version": str(run.parameters_version), "epoch": "1", "store": "ok",
                "load": f"{float(lag) / 15:.1f}",
            },
        )  # fmt: skip
        client.expire(f"hb:shard:{number}", 5)


def last_price(client: redis.Redis, symbol: str, price: float) -> None:
    """Keep one closed bucket of a stock, as its shard's store would."""
    row = np.zeros(1, buckets.ROW)
    row["name"], row["close"] = symbol.encode(), price
    row["open"], row["high"], row["low"], row["x"] = price, price, price, np.nan
    body = row.tobytes()
    head = (b"TPS1", buckets.LAYOUT, zlib.crc32(body), K, 0, 0, 0, 1)
    client.set(f"b:{RUN}:{DAY}:{symbol[:2]}:{K}", struct.pack("<4sIIqqqqI", *head) + body, ex=60)
    client.hset(f"cells:{RUN}:{DAY}", symbol[:2], K)
