"""Edge cases 14 to 22, 63: quotes that are none, halts of one and of all."""

from decimal import Decimal
from typing import Any

import pytest

from execution import selectors
from execution.hub.software import SoftwareExits
from execution.models import ExitSignalRecord
from execution.services.moves import OrderStatus as Status
from execution.services.moves import TradeState as T
from execution.services.trades import active
from signals.candidates import State
from signals.messages import Mark
from tests.edge_cases.judging import gate, judged
from tests.fakes.desk import MS, Bench
from tests.integration.test_hub_exits import a_mark_of, a_signal, withdrawn
from tests.integration.test_hub_exits import judged as answered
from tests.integration.test_hub_round_inputs import a_hub, frozen, with_candidate
from tests.integration.test_hub_software_exits import Watched, a_report
from tests.shard_builders import an_engine, at, status
from tests.unit.domain_builders import END_NS
from tests.unit.test_shards_engine import START, a_burst, lives

pytestmark = [pytest.mark.django_db]


def closed_by_spread(**quote: Any) -> str:
    """What C3 says, also when the check itself is switched off."""
    record = judged(quote=quote, use_spread_liquidity=False)
    assert not gate(record, "C3").open
    assert gate(judged(quote=quote), "C3").open is False
    return gate(record, "C3").text


def test_case_14_a_locked_market_is_not_the_best_spread() -> None:
    assert "locked" in closed_by_spread(bid=20.06, ask=20.06)


def test_case_15_a_crossed_market_waits_for_the_next_round() -> None:
    assert "crossed" in closed_by_spread(bid=20.07, ask=20.06)
    assert gate(judged(), "C3").open


@pytest.mark.parametrize("side", [{"bid": 0.0}, {"ask": 0.0}, {"bid_size": 0}, {"ask_size": 0}])
def test_case_16_one_side_is_no_quote(side: dict[str, Any]) -> None:
    assert "no two-sided quote" in closed_by_spread(**side)


def test_case_17_an_old_quote_gives_no_spread_though_trades_go_on() -> None:
    old = {"ts_ns": END_NS - 10_000 * MS}
    record = judged(quote=old, candidate={"last_ts_ns": END_NS})
    spread = next(check for check in record.checks if check["name"] == "spread")

    assert "ms old" in closed_by_spread(**old)
    assert "spread_bps" not in spread["inputs"]


def test_case_18_a_halt_ends_the_candidacy() -> None:
    engine = an_engine()
    halted = 5 * (START + 3) + 2
    tape = [t for t in a_burst() if t.ts_ns < at(halted)]

    parts = lives(engine, [*tape, status(halted, "H")], last=START + 6)

    assert [w.reason for each in parts.values() for w in each["withdrawn"]] == ["halt"]
    assert State(engine.table["state"][0]) is State.SUSPENDED
    assert judged(candidate={"halted": True}).primary_id == "S3"


def test_case_19_a_halt_between_decision_and_fill_takes_the_entry_back() -> None:
    unsent = Bench.make()
    (order_id,) = unsent.decide()
    unsent.trader.withdraw([withdrawn(unsent, "halt")])
    unsent.send(order_id)
    assert unsent.venue.posts() == 0


def test_case_19_an_accepted_entry_is_canceled_and_its_slot_kept_until_then() -> None:
    bench = Bench.make()
    bench.venue.quote("20.60", "20.62")
    bench.fire()

    bench.trader.withdraw([withdrawn(bench, "halt")])
    assert active(bench.run).count() == 1, "reserved until the venue says so"
    bench.step(150)
    bench.step(150)

    assert bench.entry().status == Status.CANCELED
    assert active(bench.run).count() == 0


def test_case_20_a_halt_over_a_position_touches_nothing_and_holds_the_signal() -> None:
    one = Watched()
    before = one.stops_at_venue()

    one.at("20.80", "20.10", halted=True)
    outcome = answered(one.bench, a_signal(one.bench), marks=a_mark_of(one.bench, halted=True))

    assert outcome == ("deferred", "halted")
    assert ExitSignalRecord.objects.get().retry_at_ns is not None, "looked at again"
    assert one.stops_at_venue() == before
    assert one.bench.trade().state == T.OPEN_PROTECTED


def test_case_21_after_two_pauses_a_symbol_is_left_alone_for_the_day() -> None:
    resumed = END_NS - 301 * 10**9

    assert judged(facts={"pauses_today": 1, "last_resume_ns": resumed}).outcome == "fired"
    again = judged(facts={"pauses_today": 1, "last_resume_ns": END_NS - 299 * 10**9})
    assert again.primary_id == "S3", "the cool-down starts again"
    assert judged(facts={"pauses_today": 2, "last_resume_ns": resumed}).primary_id == "S3"


def test_case_22_a_market_wide_halt_pauses_entries_and_leaves_brackets() -> None:
    bench = Bench.make()
    bench.open()
    report = with_candidate(bench)
    fields = {name: getattr(report, name) for name in report.__struct_fields__}

    inputs = frozen(a_hub(bench), type(report)(**{**fields, "flags": ["market_halt"]}))

    assert inputs.market_halted
    assert judged(round={"market_halted": True}).primary_id == "G13"
    assert selectors.kill_level() == "pause"
    assert bench.trade().state == T.OPEN_PROTECTED
    assert len(bench.desk.live_orders(bench.trade(), "tp", "sl")) == 2


def test_case_63_the_spike_after_a_news_halt_waits_for_its_cool_down() -> None:
    def after(seconds: float) -> str:
        return judged(facts={"last_resume_ns": END_NS - round(seconds * 10**9)}).primary_id

    assert after(299.9) == "S3"
    assert after(300) == ""


def test_case_67_a_signal_for_a_partly_filled_entry_sells_what_is_there() -> None:
    bench = Bench.make()
    bench.venue.engine._partial_rate = 1.0
    bench.fire()
    bench.venue.advance(150)
    bench.venue.engine._partial_rate = 0.0
    bench.venue.quote("20.60", "20.62")
    bench.news()
    assert bench.trade().state == T.PARTIAL
    held = bench.trade().held
    bench.venue.quote("19.60", "19.62")

    outcome = answered(bench, a_signal(bench, bid=19.6, ask=19.62))
    for _ in range(6):
        bench.step(1000)

    assert outcome[0] == "acted"
    assert 0 < held < 298
    assert bench.held_at_venue() == 0
    assert bench.trade().state == T.CLOSED
    assert bench.entry().status in (Status.CANCELED, Status.FILLED)


def test_case_67_the_hub_itself_watches_shares_without_a_stop() -> None:
    bench = Bench.make()
    bench.venue.engine._partial_rate = 1.0
    bench.fire()
    bench.venue.advance(150)
    bench.venue.engine._partial_rate = 0.0
    bench.venue.quote("20.60", "20.62")
    bench.news()
    software = SoftwareExits(trader=bench.trader)
    low = float(bench.trade().stop_loss) - 0.02
    bench.venue.quote(f"{low:.2f}", f"{low + 0.02:.2f}")
    mark = Mark(symbol="ABCD", k=bench.venue.now_ns // 5_000_000_000, high=low, low=low, close=low)

    assert software.see([a_report(bench, mark)])
    software.act()
    for _ in range(6):
        bench.step(1000)

    assert bench.held_at_venue() == 0
    assert bench.trade().exit_reason == "stop"


def test_case_68_a_stop_elected_while_it_is_replaced_sells_once() -> None:
    one = Watched()
    old = one.bench.trade().stop_loss
    one.at("20.50")  # the replace is on its way, 150 ms long

    low = old - Decimal("0.01")
    one.bench.venue.quote(str(low - Decimal("0.01")), str(low + Decimal("0.01")))
    one.bench.venue.trade(str(low))
    for _ in range(4):
        one.bench.step(150)

    trade = one.bench.trade()
    assert trade.state == T.CLOSED
    assert one.bench.held_at_venue() == 0
    assert (trade.exit_quantity, trade.filled_quantity) == (298, 298)
    assert "DELETE" not in {method for method, _ in one.bench.venue.requests}
