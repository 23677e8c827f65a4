"""First half of the table: the owner's eighteen, and what makes a candidate and its evidence."""

from signals.parameters.rows import Group

TRADING_MODES = ("off", "shadow", "paper", "live")
EXCLUDABLE = (
    "leveraged_etp",
    "warrants",
    "rights",
    "units",
    "preferreds",
    "otc",
    "ipo",
)

_own = Group("Your 18")
_universe = Group("Universe")
_health = Group("Buckets and health")
_candidate = Group("Candidate")
_confidence = Group("Confidence")

YOUR_18 = (
    _own.choice(
        "alpaca_trading_mode",
        "shadow",
        TRADING_MODES,
        "off: no rounds. shadow: full decisions, orders only to the built-in venue. paper, live: "
        "which Alpaca endpoint and keys the orders go to. Market data is the same in all.",
    ),
    _own.int(
        "ao_accel_lookback", 3, 1, 24, "buckets",
        "How many buckets back its rise is measured: (x now − x then) ÷ lookback.",
    ),
    _own.float(
        "ao_accel_rate", 1.5, 0, 100, "bps/bucket",
        "How fast the oscillator itself must rise. With ao_accel_mode ratio: how many times its "
        "former value it must have reached (no unit).",
    ),
    _own.int(
        "aoHistoryBuckets", 36, 12, 360, "buckets",
        "How much history travels with a candidate (36 is 3 minutes); also the window in which the "
        "quiet base and its volume are looked for.",
    ),
    _own.int(
        "bucket_ttl", 900, 300, 86400, "s",
        "How long a bucket stays in Redis. Long enough for a restarted shard to rebuild from it.",
    ),
    _own.int(
        "fast_period", 5, 2, 60, "buckets",
        "Short average of the oscillator. Must be smaller than slow_period.",
    ),
    _own.float(
        "flatline_ratio", 0.25, 0.05, 0.9, "",
        "A bucket before the burst is flat when its oscillator stays within this share of it: "
        "lower means a stricter quiet base.",
    ),
    _own.int(
        "letters_per_shard", 1, 1, 26, "letters",
        "Consecutive first letters per shard; shards = 26 ÷ this, rounded up. With fewer live "
        "shards than that, each takes more letters, and the page says so.",
    ),
    _own.float(
        "max_vwap_stretch_percent", 2.5, 0.1, 25, "%",
        "How far the ask may stand above the day's average price (VWAP). Guards against chasing.",
    ),
    _own.int(
        "min_5s_flatline_ao_buckets", 12, 0, 120, "buckets",
        "How many flat buckets must lie directly before the burst (12 is one minute); 0 switches "
        "the quiet base off.",
    ),
    _own.int(
        "min_cumulative_ao_volume", 5000, 0, 100_000_000, "shares",
        "Shares traded since the burst began. Its twin in dollars must hold as well.",
    ),
    _own.int(
        "slow_period", 34, 3, 240, "buckets",
        "Long average of the oscillator. Must be larger than fast_period.",
    ),
    _own.int(
        "smooth_period", 5, 1, 60, "buckets",
        "Average that is taken off (fast − slow) to get the Accelerator. At most slow_period.",
    ),
    _own.bool(
        "use_market_gravity", True,
        "Ask whether the whole market pulls with or against the trade over the last 5 minutes. "
        "Off: recorded, never blocks.",
    ),
    _own.bool(
        "use_spread_liquidity", True,
        "Ask whether one can get in and out cheaply. Off: cost and depth no longer block; a sane "
        "two-sided quote is demanded always.",
    ),
    _own.bool(
        "use_vwap_alignment", True,
        "Ask whether the price is on the winning side of the day's average, but not far above it.",
    ),
    _own.int(
        "vol_floor", 200, 0, 1_000_000, "shares/bucket",
        "The least that counts as normal volume, so that a dead stock cannot surge on 300 shares.",
    ),
    _own.float(
        "vol_surge_multiplier", 3.0, 1, 100, "×",
        "Recent volume per bucket ÷ normal volume per bucket must reach this.",
    ),
)  # fmt: skip

UNIVERSE = (
    _universe.float(
        "universe_min_price", 5, 0.5, 5000, "USD",
        "Cheap stocks: one cent is many bps, and halting bands are wide below about $3.",
    ),
    _universe.float(
        "universe_max_price", 500, 0.5, 5000, "USD",
        "Expensive stocks: too few shares fit the risk budget.",
    ),
    _universe.float(
        "universe_min_dollar_volume_20d", 5_000_000, 0, 1e10, "USD",
        "Median daily dollar volume of 20 days; keeps you small relative to the market. A name "
        "without history passes.",
    ),
    _universe.bool(
        "universe_include_etfs", False,
        "ETFs move with the index, not on their own; they stay watched for breadth.",
    ),
    _universe.list(
        "universe_exclude", EXCLUDABLE, EXCLUDABLE,
        "Kinds of security that are never traded, where the asset list tells them apart.",
    ),
    _universe.float(
        "rvol_min", 0, 0, 50, "×",
        "Today's volume ÷ the same-time mean of 14 days; 0 switches it off, 2 is worth a try.",
    ),
)  # fmt: skip

HEALTH = (
    _health.int(
        "lateness_grace_ms", 750, 100, 4000, "ms",
        "How long after its end a bucket waits for stragglers. 99.5 % of volume should make it.",
    ),
    _health.float(
        "max_synthetic_share", 0.7, 0, 1, "",
        "Largest share of buckets without a trade in the history; above it the stock is too thin.",
    ),
    _health.bool(
        "include_odd_lots_in_price", False,
        "The tape's own rule is no: odd lots count in volume, not in price.",
    ),
    _health.choice(
        "quote_size_unit", "auto", ("auto", "shares", "round_lots"),
        "What a quote's size counts. The wrong unit means a depth wrong by a factor of 100.",
    ),
    _health.int(
        "max_relay_lag_ms", 1500, 100, 60_000, "ms",
        "Market data older than this blocks entries, never exits.",
    ),
    _health.int(
        "max_clock_skew_ms", 250, 10, 10_000, "ms",
        "Clocks further apart than this block entries, never exits.",
    ),
    _health.int(
        "shard_heartbeat_timeout_ms", 12_000, 5000, 60_000, "ms",
        "A shard silent for longer is no longer waited for and lowers the coverage.",
    ),
    _health.float(
        "min_shard_coverage", 0.9, 0.5, 1, "",
        "Share of the universe that must have reported in a round; below it nobody fires.",
    ),
)  # fmt: skip

CANDIDATE = (
    _candidate.choice(
        "oscillator_mode", "accelerator", ("accelerator", "awesome", "awesome_smoothed"),
        "Which curve ao means: Williams' Accelerator, his Awesome, or the smoothed one.",
    ),
    _candidate.choice(
        "bar_price_source", "median", ("median", "vwap", "mid"),
        "What feeds the oscillator: middle of high and low (Williams' own), the bucket's VWAP, or "
        "the last quote midpoint. Last prices bounce between bid and ask.",
    ),
    _candidate.choice(
        "ao_accel_mode", "slope", ("slope", "ratio"),
        "How ao_accel_rate is read: a slope in bps per bucket, or a ratio to the former value.",
    ),
    _candidate.float("ao_min_magnitude_bps", 8, 0, 500, "bps", "Smallest burst."),
    _candidate.float(
        "ao_min_z", 3.0, 0, 20, "σ", "Smallest burst in units of the stock's own noise."
    ),
    _candidate.float(
        "ao_exit_magnitude_bps", 0, -50, 100, "bps",
        "A candidate ends when the oscillator is at or below this.",
    ),
    _candidate.int(
        "sigma_window", 120, 60, 720, "buckets",
        "Window of the noise estimate, before the burst.",
    ),
    _candidate.int(
        "max_burst_buckets", 12, 2, 60, "buckets", "Older bursts are chased bursts."
    ),
    _candidate.float(
        "max_jump_share", 0.70, 0.2, 1, "",
        "Largest share of the burst's gain made in one bucket: one print is not a trend.",
    ),
    _candidate.int(
        "min_burst_trades", 10, 1, 1000, "trades", "Eligible trades since the burst began."
    ),
    _candidate.float(
        "min_cumulative_ao_dollars", 100_000, 0, 1e9, "USD",
        "Dollars traded since the burst began; twin of min_cumulative_ao_volume.",
    ),
    _candidate.int(
        "candidate_cooldown_s", 180, 0, 3600, "s",
        "Quiet time of a symbol after its candidacy ends.",
    ),
    _candidate.float(
        "shadow_margin", 0.6, 0.3, 1, "",
        "Near misses that reach this share of every threshold are recorded; they never fire.",
    ),
)  # fmt: skip

_UNKNOWN = ("fail", "neutral")
CONFIDENCE = (
    _confidence.float(
        "market_gravity_min", 0.40, 0, 1, "", "Blocks when the market pulls against the trade."
    ),
    _confidence.float(
        "market_gravity_hard_z", -1.5, -5, 0, "σ",
        "Blocks when the index falls at least this hard over 5 minutes.",
    ),
    _confidence.float(
        "min_idiosyncratic_share", 0.5, 0, 1, "",
        "Part of the burst that must be the stock's own, after beta × SPY; 0 switches it off.",
    ),
    _confidence.bool(
        "use_futures_trend", True,
        "Ask for the 15–60 minute tide. Off: recorded, never blocks.",
    ),
    _confidence.float(
        "futures_trend_min", 0.40, 0, 1, "", "Blocks when the medium-term tide is weaker."
    ),
    _confidence.choice(
        "futures_provider", "etf_proxy", ("etf_proxy", "external_futures", "none"),
        "Where the tide is read; Alpaca has no futures, so index ETFs stand in.",
    ),
    _confidence.float("max_spread_bps", 25, 1, 300, "bps", "Widest spread to cross."),
    _confidence.float(
        "max_cost_to_target", 0.15, 0.01, 0.5, "", "Round-trip cost ÷ take-profit."
    ),
    _confidence.float(
        "min_depth_multiple", 1.0, 0, 20, "×",
        "Shares at the ask ÷ your shares; 0 ignores the depth.",
    ),
    _confidence.int("max_quote_age_ms", 2000, 100, 10_000, "ms", "Older quotes are not quotes."),
    _confidence.bool(
        "vwap_require_above", True, "Buy only above the day's average price."
    ),
    _confidence.float(
        "min_vwap_slope_bps", 0, -500, 500, "bps/5 min", "The day's average must rise this much."
    ),
    _confidence.choice(
        "on_unknown_gravity", "neutral", _UNKNOWN, "What a market gravity without data means."
    ),
    _confidence.choice(
        "on_unknown_futures", "neutral", _UNKNOWN, "What a futures trend without data means."
    ),
    _confidence.choice(
        "on_unknown_spread", "fail", _UNKNOWN, "What a spread without data means."
    ),
    _confidence.choice(
        "on_unknown_vwap", "fail", _UNKNOWN, "What a VWAP without data means."
    ),
    _confidence.float(
        "conf_weight_gravity", 0.25, 0, 1, "", "Weight of market gravity in the confidence."
    ),
    _confidence.float(
        "conf_weight_futures", 0.15, 0, 1, "", "Weight of the futures trend in the confidence."
    ),
    _confidence.float(
        "conf_weight_spread", 0.35, 0, 1, "", "Weight of spread and liquidity in the confidence."
    ),
    _confidence.float(
        "conf_weight_vwap", 0.25, 0, 1, "", "Weight of the VWAP alignment in the confidence."
    ),
)  # fmt: skip
