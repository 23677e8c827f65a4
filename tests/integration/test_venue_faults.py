"""The fault plan over real sockets: what the hub's own adapter makes of a venue that misbehaves."""

import json
from decimal import Decimal

import pytest
from django.core.management import CommandError, call_command

from execution.brokers import alpaca
from execution.brokers.alpaca import AlpacaBroker
from execution.brokers.port import OutcomeUnknown, Refused
from execution.venue.faults import FaultPlan, Rule, plan_json
from tests.venue_fixture import KEYS, eventually, quiet_rows, running_venue, write_tape


@pytest.fixture(scope="module")
def tape(tmp_path_factory):
    return write_tape(tmp_path_factory.mktemp("tape") / "quiet.tape", quiet_rows(30))


def plan_file(folder, *rules: Rule):
    path = folder / "plan.json"
    path.write_text(plan_json(FaultPlan(rules=rules)))
    return path


def buy(broker: AlpacaBroker, name: str) -> object:
    return broker.submit_bracket(
        client_order_id=name,
        symbol="AIG",
        quantity=10,
        limit=Decimal("50.02"),
        take_profit=Decimal("51.00"),
        stop_loss=Decimal("49.00"),
        time_in_force="gtc",
    )


@pytest.mark.parametrize(
    ("fault", "raised", "placed"),
    [
        ("lose_request", OutcomeUnknown, False),
        ("execute_then_time_out", OutcomeUnknown, True),
        ("execute_then_504", OutcomeUnknown, True),
        ("bad_json", OutcomeUnknown, True),
        ("http_504", OutcomeUnknown, False),
        ("http_503", OutcomeUnknown, False),
        ("http_500", OutcomeUnknown, False),
        ("http_429", Refused, False),
    ],
)
def test_an_order_that_meets_a_fault_is_refused_only_when_it_certainly_was(
    tape, tmp_path, monkeypatch, fault: str, raised: type[Exception], placed: bool
) -> None:
    monkeypatch.setattr(alpaca, "TOTAL_TIMEOUT_S", 0.4)
    rule = Rule(do=fault, on="POST /v2/orders", nth=1, seconds=0.8)
    options = {"faults": plan_file(tmp_path, rule), "speed": None, "lockstep": True}
    with running_venue(tape, **options) as venue:
        broker = AlpacaBroker(key=KEYS.key, secret=KEYS.secret, url=venue.http)

        with pytest.raises(raised):
            buy(broker, "v1-test-131007-s1-t1-e")

        assert (broker.order_by_client_id("v1-test-131007-s1-t1-e") is not None) == placed
        assert venue.venue.status()["faults"] == {fault: 1}


def test_an_order_may_reach_the_venue_after_its_sender_gave_up(tape, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(alpaca, "TOTAL_TIMEOUT_S", 0.4)
    rule = Rule(do="execute_late", on="POST /v2/orders", nth=1, seconds=1.5)
    options = {"faults": plan_file(tmp_path, rule), "speed": None, "lockstep": True}
    with running_venue(tape, **options) as venue:
        broker = AlpacaBroker(key=KEYS.key, secret=KEYS.secret, url=venue.http)

        with pytest.raises(OutcomeUnknown):
            buy(broker, "v1-test-131007-s1-t1-e")

        assert broker.order_by_client_id("v1-test-131007-s1-t1-e") is None
        eventually(
            lambda: broker.order_by_client_id("v1-test-131007-s1-t1-e") is not None, "it arrives"
        )


def test_a_plan_with_a_mistake_stops_the_venue_with_one_line(tape, tmp_path) -> None:
    path = tmp_path / "plan.json"
    path.write_text(json.dumps({"rules": [{"do": "explode", "nth": 1}]}))

    with pytest.raises(CommandError, match="no such fault: explode"):
        call_command("venue", "--tape", str(tape), "--faults", str(path), "--port", "0")
