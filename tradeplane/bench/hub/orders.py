"""From a round's last report to its order at the venue, through the real processes of `up`.

A small market at four times real-time, with parameters that fire whenever anything moves and that
leave each position soon: shards report through Redis, the hub decides by a task, sends by another,
the official SDK speaks to the venue over its wire. The hub itself takes the times (`stages` in its
heart-beat): from taking in the last report to the venue's answer, so the order's way back is in it.
"""

import json
import sys
import time

from django.db import close_old_connections

from execution.models import Order, Run
from tradeplane.bench.hub.options import Options
from tradeplane.bench.hub.run import live_market
from tradeplane.bench.hub.stack import Stack

SYMBOLS, SHARDS, SPEED = 600, 4, 4
WANTED, SECONDS = 45, 240.0
LOOK_S = 2.0
FIRE = (
    "concurrent_trading=true", "max_concurrent_positions=10", "max_trades_per_day=50",
    "max_trades_per_symbol_per_day=50", "max_consecutive_losses=50", "cooldown_after_trade_s=0",
    "symbol_cooldown_s=0", "candidate_cooldown_s=0", "max_daily_loss_percent=10",
    "risk_per_trade_percent=0.05", "max_notional_percent=4", "max_per_letter=10",
    "max_per_sector=10", "max_pair_correlation=1", "max_open_risk_percent=20",
    "use_market_gravity=false", "use_futures_trend=false", "use_vwap_alignment=false",
)  # fmt: skip


def figures(options: Options) -> dict[str, float]:
    """Return the worst 1 % and the median, ms, and how many orders they are from."""
    wanted, seconds = (5, 60.0) if options.quick else (WANTED, SECONDS)
    sys.stderr.write(f"{wanted} orders through the processes of up, at speed {SPEED}\n")
    more = [word for each in FIRE for word in ("--set", each)]
    symbols, shards = (150, 1) if options.quick else (SYMBOLS, SHARDS)
    with live_market(
        options.seed, symbols, shards, "--speed", str(SPEED), "--profile", "quiet", *more
    ) as (stack, run):
        times = _until(stack, run, wanted, seconds)
    if times is None:
        raise RuntimeError("no order was sent")
    typical, worst, sent = times
    return {
        "report_to_order_ms_p50": typical,
        "report_to_order_ms_p99": worst,
        "orders_sent": int(sent),
    }


def _until(stack: Stack, run: Run, wanted: int, seconds: float) -> list[float] | None:
    """Return the hub's newest times when so many orders are sent, or the time is over."""
    deadline, found = time.monotonic() + seconds, None
    while time.monotonic() < deadline and (found is None or found[2] < wanted):
        time.sleep(LOOK_S)
        told = json.loads(stack.beat().get("stages") or "{}")
        found = told.get("order", found)
    close_old_connections()
    sent = Order.objects.filter(run=run, purpose="e").exclude(sent_ns=None).count()
    sys.stderr.write(f"  {sent} entries sent\n")
    return found
