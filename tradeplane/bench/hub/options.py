"""What `script/bench hub` is told."""

import argparse
from dataclasses import dataclass

PARTS = ("run", "orders", "planted", "round")


@dataclass(frozen=True)
class Options:
    """Args: minutes, shards, symbols, seed: of the whole market's run."""

    as_json: bool
    quick: bool
    parts: tuple[str, ...]
    minutes: float
    shards: int
    symbols: int
    seed: int
    database: str


def told(arguments: list[str]) -> Options:
    """Return the checked options; leaves with one clear line (exit code 2) on a wrong one."""
    parser = argparse.ArgumentParser(prog="script/bench hub")
    parser.add_argument("--json", action="store_true", dest="as_json")
    parser.add_argument("--quick", action="store_true", help="few rounds, small markets")
    parser.add_argument("--only", choices=PARTS, action="append", help="this part; repeatable")
    parser.add_argument(
        "--minutes", type=float, default=2.0, help="length of the whole market's run, default 2"
    )
    parser.add_argument("--shards", type=int, default=4, help="of that run, default 4")
    parser.add_argument("--symbols", type=int, default=11_000, help="of that run, default 11,000")
    parser.add_argument("--seed", type=int, default=7, help="of the made-up markets")
    parser.add_argument("--database", default="", help="an empty database to fill; else SQLite")
    found = parser.parse_args(arguments)
    if not 0 < found.minutes <= 390 or not 1 <= found.shards <= 26:
        parser.error("--minutes must be above 0 and at most 390, --shards 1 to 26")
    if not 8 <= found.symbols <= 40_000 or found.seed < 0:
        parser.error("--symbols must be from 8 to 40,000, --seed from 0")
    return Options(
        as_json=found.as_json, quick=found.quick, parts=tuple(found.only or PARTS),
        minutes=found.minutes, shards=found.shards, symbols=found.symbols, seed=found.seed,
        database=found.database,
    )  # fmt: skip
