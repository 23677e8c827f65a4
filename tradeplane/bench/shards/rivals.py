"""What the shard is measured against: NautilusTrader, polars and pandas on the same ticks.

Runs alone in an environment of its own (requirements-bench.txt) and imports nothing of ours. Each
makes 5-second bars and the Accelerator (5, 34, 5) in basis points of every symbol. polars and
pandas begin with the same frames as the shard, decoded by msgspec, and once more with columns that
are ready; NautilusTrader begins with its own objects, ready before its clock starts. polars and
pandas take the whole stretch at once, which the shard may not. Costs are CPU seconds of the
process, over all its threads. Told `rivals.py NAME ticks.npz RUNS`; answers one JSON line.
"""
# ruff: noqa: PLC0415 - a rival's process loads that rival only

import json
import statistics
import sys
import time
from collections import deque
from collections.abc import Callable

import msgspec
import numpy as np

FAST, SLOW, SMOOTH = 5, 34, 5
WIDTH_NS = 5_000_000_000
Run = Callable[[], int]  # makes bars and oscillator, returns how many values it has


def main() -> None:
    name, path, runs = sys.argv[1:]
    ticks = dict(np.load(path))
    prepare = {"nautilus": nautilus, "polars": with_polars, "pandas": with_pandas}[name]
    rate, values = _rate(lambda: prepare(ticks), ticks, int(runs))
    found = {"from_columns": rate, "values": values}
    if name != "nautilus":
        found["from_frames"], _ = _rate(lambda: lambda: prepare(decoded(ticks))(), ticks, int(runs))
    sys.stdout.write(json.dumps(found) + "\n")


def _rate(prepare: Callable[[], Run], ticks: dict[str, np.ndarray], runs: int) -> tuple[int, int]:
    """Return trades per CPU second, the median, and how many values the oscillator had."""
    costs, values = [], 0
    for _ in range(runs):
        run = prepare()
        before = time.process_time()
        values = run()
        costs.append(time.process_time() - before)
    return round(ticks["ts_ns"].size / statistics.median(costs)), values


class Trade(msgspec.Struct, gc=False):
    """The fields of a trade that a bar needs."""

    S: str
    p: float
    s: int
    t: msgspec.msgpack.Ext


def decoded(ticks: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return columns from the frames, as a program has them that was written with care."""
    decode, data = msgspec.msgpack.Decoder(list[Trade]).decode, ticks["frames"].tobytes()
    trades, start = [], 0
    for end in ticks["ends"].tolist():
        trades += decode(data[start:end])
        start = end
    number = {str(name): at for at, name in enumerate(ticks["names"])}
    raw = np.frombuffer(b"".join([one.t.data for one in trades]), ">u8").astype(np.int64)
    return {
        "symbol": np.array([number[one.S] for one in trades], np.int32),
        "ts_ns": (raw & 0x3FFFFFFFF) * 1_000_000_000 + (raw >> 34),
        "price": np.array([one.p for one in trades]),
        "size": np.array([one.s for one in trades]),
    }


class Accelerator:
    """One symbol's AO and AC, bar by bar, with running sums."""

    def __init__(self) -> None:
        self._medians: deque[float] = deque(maxlen=SLOW)
        self._ao: deque[float] = deque(maxlen=SMOOTH)
        self._fast = self._slow = self._smooth = 0.0

    def update(self, high: float, low: float) -> float | None:
        """Return x in bps, None before warm-up."""
        median, medians = (high + low) / 2, self._medians
        if len(medians) >= FAST:
            self._fast -= medians[-FAST]
        if len(medians) == SLOW:
            self._slow -= medians[0]
        medians.append(median)
        self._fast += median
        self._slow += median
        if len(medians) < SLOW:
            return None
        slow = self._slow / SLOW
        ao = self._fast / FAST - slow
        if len(self._ao) == SMOOTH:
            self._smooth -= self._ao[0]
        self._ao.append(ao)
        self._smooth += ao
        return 1e4 * (ao - self._smooth / SMOOTH) / slow if len(self._ao) == SMOOTH else None


def nautilus(ticks: dict[str, np.ndarray]) -> Run:
    """NautilusTrader's backtest engine: internal time bars and a strategy with the oscillator."""
    from nautilus_trader.backtest.config import BacktestEngineConfig
    from nautilus_trader.backtest.engine import BacktestEngine
    from nautilus_trader.config import LoggingConfig
    from nautilus_trader.model.currencies import USD
    from nautilus_trader.model.data import BarType, TradeTick
    from nautilus_trader.model.enums import AccountType, AggressorSide, OmsType
    from nautilus_trader.model.identifiers import InstrumentId, Symbol, TradeId, Venue
    from nautilus_trader.model.instruments import Equity
    from nautilus_trader.model.objects import Money, Price, Quantity
    from nautilus_trader.trading.strategy import Strategy

    venue = Venue("SIM")
    ids = [InstrumentId(Symbol(str(name)), venue) for name in ticks["names"]]

    class Oscillator(Strategy):
        def on_start(self) -> None:
            self.values = 0
            self.each = {}
            for one in ids:
                bars = BarType.from_str(f"{one}-5-SECOND-LAST-INTERNAL")
                self.each[bars] = Accelerator()
                self.subscribe_bars(bars)

        def on_bar(self, bar) -> None:
            x = self.each[bar.bar_type].update(bar.high.as_double(), bar.low.as_double())
            self.values += x is not None

    engine = BacktestEngine(
        config=BacktestEngineConfig(logging=LoggingConfig(bypass_logging=True), run_analysis=False)
    )
    engine.add_venue(
        venue=venue,
        oms_type=OmsType.NETTING,
        account_type=AccountType.CASH,
        base_currency=USD,
        starting_balances=[Money(100_000, USD)],
    )
    for one in ids:
        engine.add_instrument(
            Equity(
                instrument_id=one, raw_symbol=one.symbol, currency=USD, price_precision=4,
                price_increment=Price(0.0001, 4), lot_size=Quantity.from_int(1), ts_event=0,
                ts_init=0,
            )
        )  # fmt: skip
    columns = (ticks[name].tolist() for name in ("symbol", "price", "size", "ts_ns"))
    data = [
        TradeTick(
            ids[symbol], Price(price, 4), Quantity(size, 0), AggressorSide.NO_AGGRESSOR,
            TradeId(str(number)), ts_ns, ts_ns,
        )
        for number, (symbol, price, size, ts_ns) in enumerate(zip(*columns, strict=True))
    ]  # fmt: skip
    engine.add_data(data, sort=False)
    strategy = Oscillator()
    engine.add_strategy(strategy)

    def run() -> int:
        engine.run()
        return int(strategy.values)

    return run


def with_polars(ticks: dict[str, np.ndarray]) -> Run:
    """Polars: one group_by over the whole day, filled up, then rolling means over symbols."""
    import polars as pl

    frame = pl.DataFrame({name: ticks[name] for name in ("symbol", "ts_ns", "price", "size")})

    def run() -> int:
        bars = (
            frame.lazy()
            .group_by("symbol", (pl.col("ts_ns") // WIDTH_NS).alias("k"), maintain_order=True)
            .agg(
                pl.col("price").first().alias("open"),
                pl.col("price").max().alias("high"),
                pl.col("price").min().alias("low"),
                pl.col("price").last().alias("close"),
                pl.col("size").sum().alias("volume"),
            )
        )
        first = bars.group_by("symbol").agg(pl.col("k").min())
        grid = first.with_columns(pl.int_ranges("k", last + 1)).explode("k")
        full = grid.join(bars, on=["symbol", "k"], how="left").sort("symbol", "k")
        full = full.with_columns(pl.col("close").forward_fill().over("symbol"))
        median = (pl.col("high") + pl.col("low")).truediv(2).fill_null(pl.col("close"))
        slow = median.rolling_mean(SLOW).over("symbol")
        full = full.with_columns(median.alias("m"), slow.alias("slow"))
        full = full.with_columns(
            (pl.col("m").rolling_mean(FAST).over("symbol") - pl.col("slow")).alias("ao")
        )
        ac = pl.col("ao") - pl.col("ao").rolling_mean(SMOOTH).over("symbol")
        return int(full.select((1e4 * ac / pl.col("slow")).count()).collect().item())

    last = int(ticks["ts_ns"].max()) // WIDTH_NS
    return run


def with_pandas(ticks: dict[str, np.ndarray]) -> Run:
    """Pandas: groupby over (symbol, bucket), a wide table filled up, then rolling means."""
    import pandas as pd

    frame = pd.DataFrame({name: ticks[name] for name in ("symbol", "ts_ns", "price", "size")})

    def run() -> int:
        by = frame.groupby(["symbol", frame["ts_ns"] // WIDTH_NS], sort=False)
        bars = by.agg(
            open=("price", "first"), high=("price", "max"), low=("price", "min"),
            close=("price", "last"), volume=("size", "sum"),
        )  # fmt: skip
        wide = bars.unstack("symbol").sort_index()
        wide = wide.reindex(range(wide.index[0], wide.index[-1] + 1))
        close = wide["close"].ffill()
        median = ((wide["high"] + wide["low"]) / 2).fillna(close)
        slow = median.rolling(SLOW).mean()
        ao = median.rolling(FAST).mean() - slow
        return int((1e4 * (ao - ao.rolling(SMOOTH).mean()) / slow).count().sum())

    return run


if __name__ == "__main__":
    main()
