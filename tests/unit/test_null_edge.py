"""On noise the whole decision earns minus its cost; a drift that was put in is found.

Random walks of a stock that moves 6 % a day, volumes that know nothing of prices: what the gates
let through is entered at the ask, left at bracket or close. If the mean were better than minus the
cost, something would look ahead.
"""

import math
from typing import NamedTuple

import numpy as np
import pytest

from execution.domain.decide import decide
from execution.domain.rounds import EntryPlan
from signals import candidates as life
from signals.candidates import Evidence
from signals.oscillator import noise_gain
from tests.twins import closing
from tests.unit.domain_builders import CLOSE_NS, OPEN_NS, a_candidate, a_quote, a_round, a_session
from tests.unit.domain_builders import some_parameters as parameters_of
from tests.unit.test_monte_carlo import BUCKETS, CURVE, LIMITS, MANY, x_of

SIGMA = 600 / math.sqrt(BUCKETS) / 1e4  # per bucket
HALF_SPREAD = 4e-4
DAYS = 360 * MANY
FIVE_MINUTES, DRIFT = 60, 20e-4
P = parameters_of(min_score=0.0, ao_min_z=2.8, min_idiosyncratic_share=0.0)
FIRST_K = OPEN_NS // 5_000_000_000
LAST_ENTRY = (CLOSE_NS - OPEN_NS) // 5_000_000_000 - 45 * 12 - 1


class Event(NamedTuple):
    """A candidate that the gates let through."""

    day: int
    k: int  # bucket of the day
    plan: EntryPlan


def a_market(seed: int) -> np.ndarray:
    """(buckets, days) mid prices: a martingale, so that nothing is earned by waiting."""
    rng = np.random.default_rng(seed)
    steps = rng.normal(0, SIGMA, (BUCKETS, DAYS)) - SIGMA**2 / 2
    return 50 * np.exp(np.cumsum(steps, axis=0))


def accepted(mids: np.ndarray) -> list[Event]:
    """What detection and decision make of the market, bucket by bucket, from the past alone."""
    x, first, events = x_of(mids), CURVE.warm_up - 1, []
    scale = noise_gain(CURVE) * SIGMA * 1e4
    for day in range(mids.shape[1]):
        rests_until = -1
        for at in np.flatnonzero(x[:, day] >= 2.8 * scale):
            k = int(at) + first
            if at < LIMITS.history or at <= rests_until or k > LAST_ENTRY:
                continue
            event = _judged(mids[: k + 1, day], x[: at + 1, day], day, k, scale)
            if event is not None:
                events.append(event)
                rests_until = at + 36 * 12
    return events


def _judged(mids: np.ndarray, x: np.ndarray, day: int, k: int, scale: float) -> Event | None:
    walked = closing.burst(x[-LIMITS.history :, None], LIMITS.ratio)
    length = int(walked.length[0])
    window = mids[-length - 1 :]
    gain = window[-1] - window[0]
    jump = np.diff(window).max() / gain if gain > 0 else math.nan
    seen = Evidence(
        x=x[-1], z=x[-1] / scale * 1.1, accel=(x[-1] - x[-4]) / 3, flat_length=20, volume=1e9,
        dollars=1e9, surge=99.0, trades=999, synthetic_share=0.0, burst_length=length,
        jump_share=jump,
    )  # fmt: skip
    if not life.passes(seen, LIMITS):
        return None
    mid, bucket = float(mids[-1]), FIRST_K + k
    candidate = a_candidate(
        k=bucket, b=bucket - length + 1, x=float(x[-1]), z=float(seen.z), accel=float(seen.accel),
        close=mid, base_close=float(window[0]), sigma5_bps=SIGMA * 1e4,
        sigma1m_bps=SIGMA * 1e4 * math.sqrt(12),
        quote=a_quote(
            bid=mid * (1 - HALF_SPREAD), ask=mid * (1 + HALF_SPREAD),
            ts_ns=(bucket + 1) * 5_000_000_000, median_spread_bps_60s=8.0,
        ),
        session=a_session(vwap=mid * 0.995, vwap_5min_ago=mid * 0.994),
    )  # fmt: skip
    entries = decide(a_round(candidate, k=bucket), P, {}).entries
    return Event(day, k, entries[0]) if entries else None


def earned(event: Event, mids: np.ndarray) -> float:
    """The trade's return: in at the ask, out at the bid where a leg is touched, or at the close."""
    path = mids[event.k + 1 :, event.day] * (1 - HALF_SPREAD)
    target, stop = float(event.plan.take_profit), float(event.plan.stop_loss)
    touched = np.flatnonzero((path >= target) | (path <= stop))
    out = path[touched[0]] if touched.size else path[-1]
    return float(out / (mids[event.k, event.day] * (1 + HALF_SPREAD)) - 1)


def forward(events: list[Event], mids: np.ndarray) -> np.ndarray:
    """The mid's return over the five minutes after each event."""
    return np.array([mids[e.k + FIVE_MINUTES, e.day] / mids[e.k, e.day] - 1 for e in events])


def with_drift(events: list[Event], mids: np.ndarray) -> np.ndarray:
    """The same market, lifted by 20 bps over the five minutes after each event."""
    lifted = mids.copy()
    for e in events:
        share = np.minimum(np.arange(1, BUCKETS - e.k) / FIVE_MINUTES, 1)
        lifted[e.k + 1 :, e.day] *= 1 + DRIFT * share
    return lifted


def by_day(events: list[Event], values: np.ndarray) -> tuple[float, float]:
    """The mean, and its standard error from a bootstrap over whole days."""
    rng, days = np.random.default_rng(9), np.array([e.day for e in events])
    sums, counts = np.bincount(days, values, DAYS), np.bincount(days, minlength=DAYS)
    drawn = rng.integers(0, DAYS, (2000, DAYS))
    means = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    return float(values.mean()), float(means.std())


@pytest.fixture(scope="module")
def mids() -> np.ndarray:
    return a_market(11)


@pytest.fixture(scope="module")
def events(mids: np.ndarray) -> list[Event]:
    found = accepted(mids)
    assert len(found) >= 300, f"{len(found)} events prove nothing"
    return found


def test_on_noise_the_expectancy_is_minus_the_cost(events: list[Event], mids: np.ndarray) -> None:
    cost = 1 - (1 - HALF_SPREAD) / (1 + HALF_SPREAD)

    mean, error = by_day(events, np.array([earned(e, mids) for e in events]))

    assert abs(mean + cost) < 3 * error


def test_on_noise_nothing_follows_a_burst(events: list[Event], mids: np.ndarray) -> None:
    mean, error = by_day(events, forward(events, mids))

    assert abs(mean) < 3 * error


def test_a_drift_after_bursts_is_found(events: list[Event], mids: np.ndarray) -> None:
    lifted = with_drift(events, mids)

    mean, error = by_day(events, forward(events, lifted))

    assert mean > 3 * error
    assert abs(mean - DRIFT) < 3 * error


def test_what_comes_after_an_event_does_not_change_it(
    events: list[Event], mids: np.ndarray
) -> None:
    """The plain proof: the decision of k is the same in a market that ends at k."""
    for event in events[:: max(1, len(events) // 20)]:
        cut = mids[: event.k + 1, event.day : event.day + 1]
        again = [e for e in accepted(cut) if e.k == event.k]

        assert [e.plan for e in again] == [event.plan]
