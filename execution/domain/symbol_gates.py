"""May we, in this symbol, now? S1 to S13 and C1 to C4. Source: design, trigger 5.3 and 4."""

from collections.abc import Mapping
from typing import Any

from execution.domain.gates import SECOND_NS, compare, since_exit, state, tightest, unknown
from execution.domain.rounds import GateResult, RoundInput
from execution.domain.setup import CHECKS, NO_FACTS, Setup
from execution.domain.sizing import CAPS
from signals.confidence.check import Check
from signals.confidence.spread import quote_problem

MOST_PAUSES = 2  # a symbol paused this often is left alone for the day


def symbol_gates(s: Setup, r: RoundInput, p: Mapping[str, Any]) -> tuple[GateResult, ...]:
    """Return S1 to S13 of one candidate."""
    return (
        _universe(s, r, p),
        _price(s, p),
        _halt(s, r, p),
        _band(s, r, p),
        _free(s, r),
        _symbol_brakes(s, r, p),
        _age(s, r, p),
        _chase(s, p),
        _adverse(s, p),
        _reach(s, p),
        _quantity(s, r),
        _readable(s, r, p),
        _alive(s, p),
    )


def confidence_gates(s: Setup, r: RoundInput, p: Mapping[str, Any]) -> tuple[GateResult, ...]:
    """Return C1 gravity, C2 futures, C3 spread, C4 VWAP; an unknown one counts by policy."""
    results = []
    for number, name in enumerate(CHECKS, 1):
        check = s.checks[name]
        is_open = _check_open(check, p[f"on_unknown_{name}"])
        if name == "spread":
            is_open = is_open and _tradable_quote(s, r, p)
        results.append(_from_check(f"C{number}", check, is_open))
    return tuple(results)


def _check_open(check: Check, policy: str) -> bool:
    if not check.enabled or check.verdict == "pass":
        return True
    return check.verdict == "unknown" and policy == "neutral"


def _tradable_quote(s: Setup, r: RoundInput, p: Mapping[str, Any]) -> bool:
    """A sane quote is demanded whatever is switched off; without quotes only shadow may go on."""
    check = s.checks["spread"]
    if s.quote is None:
        return r.mode not in ("paper", "live")
    return not quote_problem(s.quote, check.age_ms, p["max_quote_age_ms"])


def _from_check(gate_id: str, check: Check, is_open: bool) -> GateResult:
    text = check.reason
    if not check.enabled and check.verdict != "pass":
        text = f"{text} (This check is switched off.)" if is_open else text
    elif check.verdict == "unknown":
        text = f"{text} {'It counts as neutral.' if is_open else 'That closes the gate.'}"
    return GateResult(
        id=gate_id,
        passed={"pass": True, "fail": False, "unknown": None}[check.verdict],
        open=is_open,
        text=text,
        value=check.value,
        op=check.op,
        limit=check.limit,
        margin=check.margin,
    )


def _universe(s: Setup, r: RoundInput, p: Mapping[str, Any]) -> GateResult:
    symbol = s.candidate.symbol
    if s.facts.blocked:
        return state("S1", False, "", f"{symbol} is blocked: {s.facts.blocked}.")
    inside = state(
        "S1",
        symbol in r.universe,
        f"{symbol} is in today's universe.",
        f"{symbol} is not in today's universe.",
    )
    least = p["rvol_min"]
    if not inside.open or least == 0:
        return inside
    rvol = s.facts.rvol
    return compare(
        "S1",
        rvol,
        ">=",
        least,
        f"Today's volume is {rvol or 0:.2f} times the usual; your minimum is {least:.2f}.",
        unknown=f"The usual volume of {symbol} by this time of day is unknown.",
    )


def _price(s: Setup, p: Mapping[str, Any]) -> GateResult:
    least, most = p["universe_min_price"], p["universe_max_price"]
    text = f"Ask is {s.ask:.2f} USD; your range is {least:.2f} to {most:.2f} USD."
    # the nearer edge: a sentence and an exact margin for one of them are enough
    if s.ask < least or (s.ask <= most and s.ask - least <= most - s.ask):
        return compare("S2", s.ask, ">=", least, text)
    return compare("S2", s.ask, "<=", most, text)


def _halt(s: Setup, r: RoundInput, p: Mapping[str, Any]) -> GateResult:
    if s.candidate.halted:
        return state("S3", False, "", f"{s.candidate.symbol} is halted.", "halted")
    if s.facts is NO_FACTS:
        return unknown("S3", f"Today's halts of {s.candidate.symbol} are unknown.")
    pauses = s.facts.pauses_today
    if pauses >= MOST_PAUSES:
        return compare(
            "S3",
            pauses,
            "<",
            MOST_PAUSES,
            f"{s.candidate.symbol} was paused {pauses} times today; {MOST_PAUSES} are too many.",
        )
    if s.facts.last_resume_ns is None:
        return state("S3", True, f"{s.candidate.symbol} is not halted.", "")
    since_s = (r.bucket_end_ns - s.facts.last_resume_ns) / SECOND_NS
    return compare(
        "S3",
        since_s,
        ">=",
        p["reopen_cooldown_s"],
        f"{s.candidate.symbol} resumed {since_s:.0f} s ago; your cool-down is "
        f"{p['reopen_cooldown_s']} s.",
    )


def _band(s: Setup, r: RoundInput, p: Mapping[str, Any]) -> GateResult:
    least, up = p["luld_min_distance_percent"], s.candidate.luld_up
    if up is None or up == 0:
        if r.feed_has_luld and least > 0:
            return unknown("S4", "The upper halt band is unknown.")
        return unknown("S4", "This feed has no halt bands; that lets it pass.", open=True)
    distance = 100 * (up / s.ask - 1)
    return compare(
        "S4",
        distance,
        ">=",
        least,
        f"The upper halt band is {distance:.2f} % above the ask; your minimum is {least:.2f} %.",
    )


def _free(s: Setup, r: RoundInput) -> GateResult:
    symbol = s.candidate.symbol
    if r.busy_symbols is None:
        return unknown("S5", "What the broker holds and works is unknown.")
    busy = symbol in r.busy_symbols or any(e.symbol == symbol for e in r.exposures or ())
    return state(
        "S5",
        not busy,
        f"No position, order or reservation in {symbol}.",
        f"There is a position, order or reservation in {symbol}.",
    )


def _symbol_brakes(s: Setup, r: RoundInput, p: Mapping[str, Any]) -> GateResult:
    if s.facts is NO_FACTS:
        return unknown("S6", f"Today's trades in {s.candidate.symbol} are unknown.")
    most, today = p["max_trades_per_symbol_per_day"], s.facts.trades_today
    return tightest(
        compare(
            "S6",
            today,
            "<",
            most,
            f"{today} trades in {s.candidate.symbol} today; your limit is {most}.",
        ),
        since_exit("S6", "symbol", s.facts.last_exit_ns, r.bucket_end_ns, p["symbol_cooldown_s"]),
    )


def _age(s: Setup, r: RoundInput, p: Mapping[str, Any]) -> GateResult:
    if s.candidate.k != r.k:
        return state("S7", False, "", f"The signal is of bucket {s.candidate.k}, not {r.k}.")
    age_ms = (r.now_ns - r.bucket_end_ns) / 1e6
    if age_ms < 0:
        return unknown("S7", "The signal's age is unknown: our clock is before its bucket's end.")
    return compare(
        "S7",
        age_ms,
        "<=",
        p["max_signal_age_ms"],
        f"The signal is {age_ms:.0f} ms old; your limit is {p['max_signal_age_ms']} ms.",
    )


def _chase(s: Setup, p: Mapping[str, Any]) -> GateResult:
    chase, most = 100 * (s.ask / s.candidate.base_close - 1), p["max_chase_percent"]
    text = f"Ask is {chase:.2f} % above the price before the burst; your limit is {most:.2f} %."
    return compare("S8", chase, "<=", most, text)


def _adverse(s: Setup, p: Mapping[str, Any]) -> GateResult:
    adverse, most = 1e4 * (s.ask / s.candidate.close - 1), p["max_adverse_bps"]
    text = f"Ask is {adverse:.1f} bps above the signal's close; your limit is {most:.1f} bps."
    return compare("S9", adverse, "<=", most, text)


def _reach(s: Setup, p: Mapping[str, Any]) -> GateResult:
    least = p["min_reach_prob"]
    return compare(
        "S10",
        s.reach,
        ">=",
        least,
        f"Chance to touch the target in {s.minutes:.0f} minutes is {100 * s.reach:.1f} %; "
        f"you ask for {100 * least:.1f} %.",
    )


def _quantity(s: Setup, r: RoundInput) -> GateResult:
    if s.sizing is None:
        return state("S11", False, "", s.geometry)
    if r.account is None:
        return unknown("S11", "The size is unknown: there is no account data.")
    by = CAPS.get(s.sizing.binding, s.sizing.binding)
    text = f"{s.quantity} share{'' if s.quantity == 1 else 's'}, limited by {by}."
    if s.quantity == 0:
        text = f"Less than one share, limited by {by}: the price is too high for it."
    return compare("S11", s.quantity, ">=", 1, text)


def _readable(s: Setup, r: RoundInput, p: Mapping[str, Any]) -> GateResult:
    c, most = s.candidate, p["max_synthetic_share"]
    if c.flags:
        return state("S12", False, "", f"The data is flagged: {', '.join(sorted(c.flags))}.")
    claims = r.claims[c.symbol, c.k]
    if claims > 1:
        return state("S12", False, "", f"{claims} candidates claim {c.symbol} at once.")
    text = (
        f"{100 * c.synthetic_share:.0f} % of the buckets are without a trade; your limit is "
        f"{100 * most:.0f} %."
    )
    return compare("S12", c.synthetic_share, "<=", most, text)


def _alive(s: Setup, p: Mapping[str, Any]) -> GateResult:
    """S13; like `tightest` of its three comparisons, but only the one that counts is worded."""
    c = s.candidate
    least, oldest, age = p["ao_min_magnitude_bps"], p["max_burst_buckets"], c.k - c.b + 1
    left = (c.x - least, c.accel, oldest - age)
    nearest = left.index(min(left))
    if left[0] < 0 or (nearest == 0 and left[1] > 0 and left[2] >= 0):
        text = f"The burst stands at {c.x:.2f} bps; your minimum is {least:.2f} bps."
        return compare("S13", c.x, ">=", least, text)
    if left[1] <= 0 or (nearest == 1 and left[2] >= 0):
        text = f"The burst accelerates by {c.accel:.2f} bps per bucket."
        return compare("S13", c.accel, ">", 0, text)
    text = f"The burst is {age} buckets old; your limit is {oldest} buckets."
    return compare("S13", age, "<=", oldest, text)
