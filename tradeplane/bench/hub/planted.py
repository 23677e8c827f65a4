"""What is found of what is planted, in one process: the laboratory's hub, shard and venue.

The whole market with ten times the usual accelerations, in lock-step: the same decisions as the
processes would make. The market's own sudden moves (`impulses`) are not planted, so they count as
false here, although some are as real as any.
"""

import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from execution.venue import days
from execution.venue.options import Credentials, VenueOptions
from execution.venue.run import synthetic_options
from execution.venue.synthetic import SyntheticMarket
from signals import services
from signals.parameters import catalogue
from signals.session import BUCKET_NS
from tradeplane.bench.hub import crowd
from tradeplane.bench.hub.options import Options
from tradeplane.bench.hub.run import FOUND_WITHIN_NS, HOUR_NS, found_and_false
from tradeplane.lab.backtest import RUN, LocalHub
from tradeplane.lab.database import own_database

PER_HOUR = 120.0
MINUTES = 10
MINUTE_NS = 60_000_000_000


def figures(options: Options) -> dict[str, float]:
    """Return the share found and the false candidates per hour, from the careful profile."""
    symbols, minutes = (600, 3) if options.quick else (options.symbols, MINUTES)
    sys.stderr.write(f"{symbols:,} symbols, {PER_HOUR:g} planted an hour, {minutes} minutes\n")
    market = SyntheticMarket(
        seed=options.seed, day=crowd.DAY, symbols=symbols, planted_per_hour=PER_HOUR
    )
    venue = _options(market, options.seed, symbols, minutes)
    end_ns = market.live_ns + minutes * MINUTE_NS
    values = dict(catalogue.validate(catalogue.profile("careful")))
    with own_database(), TemporaryDirectory(prefix="bench-planted-") as home:
        version = services.save_parameters(
            values=values, author="bench", comment="", base_version=0
        )
        services.activate(version, author="bench")
        hub = LocalHub(venue, values, 1, Path(home))
        hub.run()
        due = [
            (p.symbol, p.start_ns)
            for p in market.planted
            if market.live_ns <= p.start_ns <= end_ns - FOUND_WITHIN_NS
        ]
        names = {p.symbol for p in market.planted}
        share, false = found_and_false(hub.hub.run, market.live_ns // BUCKET_NS, due, names)
    return {
        "planted": len(due),
        "planted_found_share": round(share, 3),
        "false_per_hour": round(false * HOUR_NS / (minutes * MINUTE_NS), 1),
    }


def _options(market: SyntheticMarket, seed: int, symbols: int, minutes: int) -> VenueOptions:
    usual = synthetic_options(
        Credentials(key=RUN, secret=RUN), seed, crowd.DAY, symbols=symbols, speed=None
    )
    return replace(
        usual,
        session=days.session_of(crowd.DAY),
        last_ns=market.live_ns + minutes * MINUTE_NS,
        blocks=partial(market.blocks, usual.start_ns),
    )
