"""Second half of the table: when to fire, the order, its bracket, the risk, the operation."""

from signals.parameters.rows import Group

KILL_SWITCH = ("none", "pause", "cancel_entries", "flatten", "freeze")

_trigger = Group("Trigger")
_order = Group("Order")
_bracket = Group("Bracket and exit")
_risk = Group("Risk and account")
_concurrency = Group("Concurrency")
_operations = Group("Operations")

TRIGGER = (
    _trigger.int(
        "decision_deadline_ms", 1800, 800, 4500, "ms",
        "Latest moment of a decision after the bucket's end.",
    ),
    _trigger.int(
        "max_signal_age_ms", 3500, 1000, 4900, "ms", "Older signals never become orders."
    ),
    _trigger.int(
        "confirm_buckets", 2, 1, 6, "rounds",
        "Consecutive rounds in which a candidate must pass everything.",
    ),
    _trigger.float("min_score", 45, 0, 100, "", "Entry bar of the score."),
    _trigger.float(
        "score_hysteresis", 5, 0, 100, "",
        "A candidate on a streak may dip this much below min_score and keep its streak.",
    ),
    _trigger.float("score_weight_z", 0.25, 0, 1, "", "Weight of the burst in noise units."),
    _trigger.float("score_weight_accel", 0.10, 0, 1, "", "Weight of the acceleration."),
    _trigger.float("score_weight_volume", 0.20, 0, 1, "", "Weight of the volume surge."),
    _trigger.float("score_weight_reach", 0.15, 0, 1, "", "Weight of the chance of the target."),
    _trigger.float("score_weight_confidence", 0.30, 0, 1, "", "Weight of the four checks."),
    _trigger.float(
        "max_chase_percent", 1.5, 0.1, 10, "%", "Ask against the price before the burst."
    ),
    _trigger.float(
        "max_adverse_bps", 30, 0, 200, "bps",
        "Slippage guard: ask against the signal's close, and cap of the limit price.",
    ),
    _trigger.float(
        "min_reach_prob", 0.10, 0, 0.9, "",
        "Chance, without any drift, that the target is touched in the time left.",
    ),
    _trigger.float(
        "luld_min_distance_percent", 1.0, 0, 10, "%", "Distance to keep from the upper halt band."
    ),
    _trigger.int(
        "entry_start_delay_s", 300, 0, 7200, "s", "No entries in the first minutes of the session."
    ),
    _trigger.int(
        "entry_cutoff_min_before_close", 45, 1, 300, "min", "No entries in the last minutes."
    ),
    _trigger.int("reopen_cooldown_s", 300, 0, 3600, "s", "Quiet time after a halt."),
    _trigger.int(
        "max_entries_per_round", 1, 1, 5, "entries",
        "Simultaneous bursts are usually one market event.",
    ),
    _trigger.float(
        "max_crowd_percent", 5, 0.1, 100, "%",
        "If a larger share of the universe bursts at once, nobody fires.",
    ),
)  # fmt: skip

ORDER = (
    _order.choice(
        "entry_style", "marketable_limit", ("marketable_limit", "market"),
        "A market order fills surely, at any price.",
    ),
    _order.float(
        "entry_limit_offset_bps", 15, 0, 100, "bps", "How far above the ask you may pay."
    ),
    _order.int("entry_ttl_ms", 3000, 500, 30_000, "ms", "Then what is unfilled is canceled."),
    _order.choice(
        "bracket_tif", "gtc", ("gtc", "day"),
        "gtc keeps the protection alive overnight if all software dies.",
    ),
    _order.choice(
        "stop_type", "stop", ("stop", "stop_limit"),
        "stop_limit sells at most stop_slip_bps below the stop: after a gap it may never fill.",
    ),
    _order.int(
        "protect_deadline_ms", 2000, 500, 10_000, "ms",
        "Longest a position may be without a live stop.",
    ),
    _order.bool(
        "reanchor_after_fill", True, "Move take-profit and stop-loss to the real fill price."
    ),
)  # fmt: skip

BRACKET = (
    _bracket.choice(
        "bracket_mode", "hybrid", ("fixed", "volatility", "hybrid"),
        "fixed: the two percents. volatility: scaled by the stock's own movement. hybrid: scaled, "
        "with the target kept between tp_min and tp_max.",
    ),
    _bracket.float("take_profit_percent", 4.0, 0.2, 20, "%", "Used in fixed mode."),
    _bracket.float("stop_loss_percent", 2.0, 0.2, 20, "%", "Used in fixed mode."),
    _bracket.float("tp_min", 3, 0.2, 20, "%", "Nearest take-profit in hybrid mode."),
    _bracket.float("tp_max", 5, 0.2, 20, "%", "Farthest take-profit in hybrid mode."),
    _bracket.float("sl_min", 0.8, 0.1, 20, "%", "Nearest stop-loss."),
    _bracket.float("sl_max", 2.5, 0.1, 20, "%", "Farthest stop-loss."),
    _bracket.float(
        "vol_stop_multiple", 2.0, 0.5, 6, "×",
        "Stop distance in units of the movement over vol_horizon_minutes (an ATR multiple).",
    ),
    _bracket.int(
        "vol_horizon_minutes", 15, 1, 120, "min", "Time over which the movement is measured."
    ),
    _bracket.float("reward_risk", 2.0, 0.5, 10, "×", "Target ÷ stop."),
    _bracket.choice(
        "exit_mode", "broker_bracket", ("broker_bracket", "bracket_plus_software"),
        "The second adds the software exits below; the broker's bracket stays in both.",
    ),
    _bracket.float(
        "breakeven_at_r", 1.0, 0, 5, "R",
        "Moves the stop to entry plus costs after this gain in units of risk; 0 is off.",
    ),
    _bracket.bool("trailing_enabled", False, "Ratchet the stop behind the price, up only."),
    _bracket.float("trail_start_r", 1.5, 0, 10, "R", "Gain at which trailing starts."),
    _bracket.float("trail_distance_r", 1.0, 0.1, 10, "R", "Distance of the trailing stop."),
    _bracket.int(
        "max_hold_minutes", 120, 0, 390, "min", "Time stop; 0 holds until the flatten time."
    ),
    _bracket.int(
        "no_progress_minutes", 30, 0, 390, "min",
        "Closes a trade that has gone nowhere for this long; 0 is off.",
    ),
    _bracket.float(
        "no_progress_r", 0.25, 0, 5, "R", "What counts as progress, in units of risk."
    ),
    _bracket.int(
        "flatten_min_before_close", 10, 1, 240, "min", "Out for the day, always: first attempt."
    ),
    _bracket.int(
        "hard_flatten_min", 3, 1, 120, "min", "Out for the day, always: at the market."
    ),
)  # fmt: skip

RISK = (
    _risk.float(
        "risk_per_trade_percent", 0.5, 0.05, 2, "% of equity", "Planned loss at the stop."
    ),
    _risk.float(
        "max_notional_percent", 20, 1, 100, "% of equity", "Size cap independent of the stop."
    ),
    _risk.float(
        "halt_gap_assumption_percent", 50, 1, 100, "%",
        "Assumed gap when a stock halts and reopens lower.",
    ),
    _risk.float(
        "max_gap_loss_percent", 10, 0.1, 100, "% of equity", "Most that such a gap may cost."
    ),
    _risk.float(
        "stop_slip_bps", 20, 0, 200, "bps", "Expected slippage of the stop, added to its distance."
    ),
    _risk.float(
        "max_participation_percent", 2, 0.1, 20, "%", "Of the volume of the last 5 minutes."
    ),
    _risk.float(
        "max_daily_loss_percent", 1.5, 0.1, 10, "% of equity",
        "Realized plus open; latched for the day.",
    ),
    _risk.int("max_trades_per_day", 3, 1, 50, "trades", "Overtrading brake."),
    _risk.int(
        "max_trades_per_symbol_per_day", 1, 1, 50, "trades", "Overtrading brake of one symbol."
    ),
    _risk.int(
        "stop_after_take_profits", 1, 0, 20, "trades",
        "Take profit and be out for the day; 0 is off.",
    ),
    _risk.int(
        "max_consecutive_losses", 2, 1, 50, "trades", "Pauses entries for the day."
    ),
    _risk.int(
        "cooldown_after_trade_s", 120, 0, 7200, "s", "Quiet time of the account after an exit."
    ),
    _risk.int("symbol_cooldown_s", 1800, 0, 23_400, "s", "Quiet time of a symbol after its exit."),
    _risk.bool("use_margin", False, "Off: never buy for more than the cash at hand."),
    _risk.int("account_max_age_s", 10, 1, 600, "s", "Older account data blocks entries."),
    _risk.choice(
        "day_trade_policy", "intraday_margin",
        ("intraday_margin", "legacy_pdt_guard", "cash", "none"),
        "Which regulation to respect.",
    ),
)  # fmt: skip

CONCURRENCY = (
    _concurrency.bool(
        "concurrent_trading", False, "Off: one position at a time (one slot on the same code path)."
    ),
    _concurrency.int(
        "max_concurrent_positions", 3, 2, 10, "positions", "Slots when concurrent trading is on."
    ),
    _concurrency.float(
        "max_total_exposure_percent", 60, 1, 400, "% of equity", "Sum of all positions."
    ),
    _concurrency.float(
        "max_open_risk_percent", 1.5, 0.05, 20, "% of equity", "Sum of all planned losses."
    ),
    _concurrency.int("max_per_letter", 2, 1, 10, "positions", "Positions with one first letter."),
    _concurrency.int("max_per_sector", 1, 1, 10, "positions", "Positions of one sector."),
    _concurrency.float(
        "max_pair_correlation", 0.8, -1, 1, "",
        "Largest correlation of 1-minute returns with an open position.",
    ),
    _concurrency.bool(
        "replace_weaker", False, "May a much better candidate replace the weakest open position?"
    ),
)  # fmt: skip

OPERATIONS = (
    _operations.choice(
        "kill_switch", "none", KILL_SWITCH,
        "none; pause: no entries; cancel_entries: also cancels what is unfilled; flatten: also "
        "sells everything; freeze: touches nothing.",
    ),
    _operations.int(
        "reconcile_interval_s", 15, 2, 300, "s",
        "How often orders and positions are compared with the broker while anything is live.",
    ),
    _operations.int(
        "broker_exit_grace_ms", 1500, 0, 30_000, "ms",
        "How long the broker's own leg may take before the hub acts on an exit signal.",
    ),
    _operations.int(
        "exit_confirm_prints", 2, 1, 10, "prints",
        "Prints through the level that confirm an exit signal without a quote.",
    ),
    _operations.int(
        "api_calls_reserved_for_exits", 60, 10, 150, "calls/min",
        "Requests that entries, and comparing with the broker again, may not use up.",
    ),
    _operations.int(
        "decision_retention_days", 400, 30, 3650, "days", "How long decision records are kept."
    ),
)  # fmt: skip
