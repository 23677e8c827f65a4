"""Before a set is applied: what the last minutes would have fired; and a change that goes back."""

from html import unescape
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from execution.models import Activity, Decision, Round, Run
from execution.services import lease
from execution.services.preview import Preview, preview
from signals import selectors, services
from signals.models import ExpiringChange, ParameterSet, Trial
from signals.nearmiss import Bar
from signals.session import BUCKET_NS
from tests import page_market
from tests.integration.test_pages_parameters import a_form, client_of
from tests.servers import Valkey
from tests.unit.domain_builders import K, some_parameters
from tradeplane.pages import feed, flips

C4 = {"max_vwap_stretch_percent": 2.91}


@pytest.fixture
def market(db: None, valkey: Valkey) -> Run:
    feed.shared_reader.cache_clear()
    page_market.users()
    p = some_parameters(confirm_buckets=2)
    version = services.save_parameters(values=p, author="owner", base_version=0)
    services.activate(version, author="owner")
    return page_market.a_running_run(p, version)


@pytest.fixture
def ann(market: Run) -> Client:
    return client_of("ann")


@pytest.fixture
def rounds(market: Run) -> Run:
    """Two free rounds in which only C4 held NVTX back."""
    page_market.held_back(market, lease.take("tests"), K - 1, K)
    return market


def looked(run: Run, minutes: int = 30, **changes: Any) -> Preview:
    _, active = selectors.active_parameters()
    return preview(run, {**active, **changes}, active=active, minutes=minutes)


def the_rounds_stay() -> list[tuple[Any, ...]]:
    return list(Decision.objects.order_by("pk").values_list("pk", "digest", "outcome"))


# --- the preview ----------------------------------------------------------------------------------
def test_the_preview_tells_what_would_have_fired_and_changes_nothing(rounds: Run) -> None:
    before = the_rounds_stay()

    found = looked(rounds, **C4)

    assert (found.rounds, found.candidates, found.fired_before, found.fired) == (2, 2, 0, 1)
    (gained,) = found.gained
    assert (gained.k, gained.symbol, gained.exact) == (K, "NVTX", True)
    assert gained.was.startswith("C4")
    assert Decision.objects.get(pk=gained.decision_id).k == K
    assert found.lost == ()
    assert the_rounds_stay() == before


def test_it_looks_back_as_far_as_it_is_asked(rounds: Run) -> None:
    assert looked(rounds, minutes=1).rounds == 2
    Run.objects.update(market_ns=0)
    assert looked(rounds, minutes=1).last_k == K


def test_a_crowd_is_looked_at_from_the_newest_round_on(
    rounds: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("execution.services.preview.CANDIDATES_MAX", 1)

    found = looked(rounds, **C4)

    assert (found.rounds, found.short) == (1, True)


def test_rounds_of_another_oscillator_are_left_out(rounds: Run) -> None:
    _, active = selectors.active_parameters()
    rounds.parameters = {"1": {**active, "fast_period": 6}, "2": active}
    Round.objects.filter(k=K).update(params_version=2)

    found = looked(rounds, **C4)

    assert (found.rounds, found.short, found.honesty.badge) == (1, True, "exact")


def test_a_change_of_the_oscillator_is_refused_with_the_way_to_know(rounds: Run) -> None:
    found = looked(rounds, fast_period=6)

    assert found.honesty.refused
    assert "lab decisions TAPE --set fast_period=6" in found.honesty.note
    assert (found.rounds, found.fired, found.gained) == (0, 0, ())


def test_where_the_buckets_are_gone_a_change_of_the_oscillator_leaves_the_candidates_out(
    rounds: Run,
) -> None:
    _, active = selectors.active_parameters()

    found = preview(
        rounds, {**active, "fast_period": 6}, active=active, minutes=30,
        bars_of=lambda run, symbol, k, depth: [],
    )  # fmt: skip

    assert (found.honesty.badge, found.rounds, found.unknown) == ("recomputed", 2, 2)
    assert (found.fired, found.gained, found.lost) == (0, (), ())


def test_the_page_previews_a_form(ann: Client, rounds: Run) -> None:
    told = ann.post(
        "/parameters/preview/",
        a_form(max_vwap_stretch_percent="2.91", minutes="60"),
    ).json()

    assert told["badge"] == "exact"
    assert told["headline"] == (
        "1 entry in 2 rounds with candidates, instead of 0: 1 more, 0 fewer."
    )
    assert told["changes"][0]["symbol"] == "NVTX"
    assert told["changes"][0]["word"] == "would fire"
    refused = ann.post("/parameters/preview/", a_form(fast_period="99"))
    assert (refused.status_code, refused.json()) == (422, {"refused": "Some values do not fit."})


def test_a_link_fills_the_form_with_a_change(ann: Client, rounds: Run) -> None:
    page = ann.get("/parameters/?change=max_vwap_stretch_percent:2.91&why=NVTX").content.decode()

    assert "1 change, not saved" in page
    assert 'value="2.91"' in page
    assert 'value="NVTX"' in page
    assert ann.get("/parameters/?change=nothing:1").status_code == 404


# --- one decision ---------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("asked", "badge", "said"),
    [
        ("max_vwap_stretch_percent=2.91, confirm_buckets=1", "exact", "It would have fired."),
        ("max_vwap_stretch_percent=2.91", "exact", "It would not have fired. confirm:"),
        ("min_score=40", "exact", "Nothing would have changed. C4:"),
        ("stop_after_take_profits=2", "simulated day", "Nothing would have changed. C4:"),
        ("trail_start_r=2", "by the day as it was", "Nothing would have changed. C4:"),
        ("ao_min_z=2.5", "at least", "Nothing would have changed. C4:"),
        ("fast_period=6", "recomputed", "Its buckets are not kept any more"),
        ("lateness_grace_ms=900", "refused", "lab decisions TAPE"),
        ("fast_perod=6", "", "fast_period"),
        ("fast_period=50", "", "slow_period"),
        ("nonsense", "", "nonsense"),
    ],
)
def test_what_other_parameters_would_have_made_of_one_decision(
    ann: Client, rounds: Run, asked: str, badge: str, said: str
) -> None:
    row = Decision.objects.get(k=K)

    page = ann.post(f"/decision/{row.pk}/try/", {"with": asked})

    tried = page.context["tried"]
    assert tried["badge"] == badge
    assert said in tried["said"]
    assert tried["said"] in unescape(page.content.decode())


def test_a_limit_of_the_day_plays_the_day_again_with_simulated_trades(
    ann: Client, rounds: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under it NVTX is bought a round earlier: the second one finds the slot busy."""
    monkeypatch.setattr("tradeplane.pages.flips.bars_of", after)
    row = Decision.objects.get(k=K)
    changed = "max_vwap_stretch_percent=2.91, confirm_buckets=1, max_trades_per_day=2"

    tried = ann.post(f"/decision/{row.pk}/try/", {"with": changed}).context["tried"]

    assert tried["badge"] == "simulated day"
    assert tried["said"].startswith("It would not have fired. S5:")
    assert "max_trades_per_day changed: 1 trade by then instead of 0" in tried["note"]
    assert "Fills are simulated" in tried["note"]
    monkeypatch.setattr("tradeplane.pages.flips.bars_of", lambda *_: [])
    again = ann.post(f"/decision/{row.pk}/try/", {"with": changed}).context["tried"]
    assert again["badge"] == "by the day as it was", "without its buckets the day is not played"


# --- what the others would have earned, and how often one looked ----------------------------------
def after(run: Run, symbol: str, k: int, depth: int) -> list[Bar]:
    """Every stock climbs a tenth of a percent in each bucket."""
    rows = range(k - depth + 1, k + 1)
    limit = float(Decision.objects.get(k=K - 1).record["plan"]["limit"])
    prices = {one: limit * 1.001 ** (one - K + 1) for one in rows}
    return [Bar(one, p, p, p, 100, 5, p, synthetic=False) for one, p in prices.items()]


def flip_of(client: Client) -> str:
    row = Decision.objects.get(k=K)
    page = client.post(f"/decision/{row.pk}/try/", {"others": "1"})
    return str(page.context["told"]["flip"]["note"])


def test_the_full_record_tells_what_became_of_others_that_would_flip_too(
    ann: Client, rounds: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    Run.objects.update(market_ns=(K + 200) * BUCKET_NS)
    monkeypatch.setattr("tradeplane.pages.alike.bars_of", after)

    note = flip_of(ann)

    assert "1 more decision of this run would flip too (1 candidate)." in note
    assert "of 1 that are known 1 reached the target, 0 the stop, 0 neither" in note
    assert "on average after cost" in note
    assert "Sets tried so far: 1." in note
    flip_of(ann)
    assert Trial.objects.count() == 1


def test_to_look_at_a_decision_writes_nothing(
    ann: Client, rounds: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    Run.objects.update(market_ns=(K + 200) * BUCKET_NS)
    monkeypatch.setattr("tradeplane.pages.alike.bars_of", after)
    row = Decision.objects.get(k=K)

    with CaptureQueriesContext(connection) as asked:
        page = ann.get(f"/decision/{row.pk}/", {"with": "min_score=40", "others": "1"})

    assert not [q for q in asked if not q["sql"].startswith(("SELECT", "PRAGMA"))]
    assert not Trial.objects.exists()
    flip = page.context["told"]["flip"]
    assert "tells what became of them when it is asked" in flip["note"]
    assert flip["others"]
    assert "How did the others end?" in page.content.decode()
    assert not ann.post(f"/decision/{row.pk}/try/", {"others": "1"}).context["told"]["flip"][
        "others"
    ]


def test_the_flip_is_told_with_how_sure_it_is(ann: Client, rounds: Run) -> None:
    row = Decision.objects.get(k=K)

    page = ann.get(f"/decision/{row.pk}/")

    assert page.context["told"]["flip"]["badge"] == "exact"
    only_s13 = [{"id": "S13", "op": ">=", "limit": 8.0, "value": 7.5, "pass": False, "open": False}]
    p = {**some_parameters(), "ao_min_magnitude_bps": 8.0}
    found = flips.flip(row, only_s13, p)
    assert found is not None
    assert (found["name"], found["badge"], found["tag"]) == (
        "ao_min_magnitude_bps", "at least", "warn",
    )  # fmt: skip


def test_where_no_later_bucket_is_kept_it_says_so_and_counts_no_trial(
    ann: Client, rounds: Run
) -> None:
    assert "what they would have earned or lost is not known" in flip_of(ann)
    assert not Trial.objects.exists()


def test_every_set_that_was_looked_at_is_a_trial_once(ann: Client, rounds: Run) -> None:
    row = Decision.objects.get(k=K)

    first = ann.post("/parameters/preview/", a_form(max_vwap_stretch_percent="2.91")).json()
    ann.post("/parameters/preview/", a_form(max_vwap_stretch_percent="2.91", minutes="60"))
    ann.post(f"/decision/{row.pk}/try/", {"with": "max_vwap_stretch_percent=2.91"})
    page = ann.post(f"/decision/{row.pk}/try/", {"with": "min_score=40"})
    ann.post("/parameters/preview/", a_form(fast_period="99"))
    ann.post(f"/decision/{row.pk}/try/", {"with": "lateness_grace_ms=900"})

    assert "Sets tried so far: 1." in first["note"]
    assert "Sets tried so far: 2." in page.content.decode()
    assert [(one.kind, one.actor) for one in Trial.objects.order_by("pk")] == [
        ("preview", "ann"),
        ("what_if", "ann"),
    ]


# --- a change that goes back by itself ------------------------------------------------------------
def save_for(client: Client, minutes: str, **changes: str) -> Any:
    return client.post("/parameters/save/", a_form(expires_minutes=minutes, **changes))


def expire(run: Run, minutes: float) -> list[str]:
    return services.expire_due(now_ns=run.market_ns + int(minutes * 60 * 10**9))


def test_a_change_goes_back_at_its_time_under_a_new_version(
    ann: Client,
    market: Run,
) -> None:
    save_for(ann, "15", min_score="50")

    assert expire(market, 14.9) == []
    assert selectors.active_parameters()[1]["min_score"] == 50.0
    assert "until 10:45" in ann.get("/parameters/").content.decode()
    assert expire(market, 15) == ["the change of version 2 is over: version 3 counts"]
    assert expire(market, 16) == []
    version, values = selectors.active_parameters()
    assert (version, values["min_score"]) == (3, 45.0)
    assert ParameterSet.objects.get(version=3).author == "expiry"
    assert "until 10:45" not in ann.get("/parameters/").content.decode()
    assert Activity.objects.filter(text__startswith="ann saved version 2 until 10:45").exists()


def test_what_was_changed_again_since_stays(ann: Client, market: Run) -> None:
    save_for(ann, "15", min_score="50", max_chase_percent="2")
    ann.post("/parameters/save/", a_form(min_score="60"))

    expire(market, 15)

    values = selectors.active_parameters()[1]
    assert (values["min_score"], values["max_chase_percent"]) == (60.0, 1.5)


def test_two_changes_of_one_value_go_back_to_what_was_before_both(
    ann: Client,
    market: Run,
) -> None:
    save_for(ann, "15", min_score="50")
    save_for(ann, "5", min_score="60")

    expire(market, 5)
    assert selectors.active_parameters()[1]["min_score"] == 50.0
    expire(market, 15)
    assert selectors.active_parameters()[1]["min_score"] == 45.0


def test_two_changes_that_end_together_go_back_at_once(
    ann: Client,
    market: Run,
) -> None:
    save_for(ann, "5", min_score="50")
    save_for(ann, "5", min_score="60")

    expire(market, 5)

    assert selectors.active_parameters()[1]["min_score"] == 45.0
    assert not ExpiringChange.objects.filter(settled=None).exists()


def test_a_set_that_would_not_fit_any_more_stays_and_says_so(
    ann: Client,
    market: Run,
) -> None:
    save_for(ann, "15", slow_period="60", bucket_ttl="2000")
    ann.post("/parameters/save/", a_form(fast_period="40"))

    (said,) = expire(market, 15)

    assert "do not fit any more" in said
    assert selectors.active_parameters()[1]["slow_period"] == 60


def test_going_live_does_not_come_or_go_by_itself(ann: Client, market: Run) -> None:
    answer = save_for(ann, "15", alpaca_trading_mode="shadow")

    assert answer.status_code == 422
    assert "alpaca_trading_mode cannot go back by itself" in answer.content.decode()
    assert selectors.active_parameters()[0] == 1
    assert save_for(ann, "9999", min_score="50").status_code == 422


def test_the_hub_lets_it_go_back_by_its_market_clock(
    ann: Client,
    market: Run,
) -> None:
    from execution.hub.switches import Switches  # noqa: PLC0415

    save_for(ann, "15", min_score="50")
    hub = FakeHub(market.market_ns + 15 * 60 * 10**9)

    Switches(hub)._let_expire()  # type: ignore[arg-type]

    assert selectors.active_parameters()[1]["min_score"] == 45.0
    assert hub.notes == ["the change of version 2 is over: version 3 counts"]
    newest = selectors.ActiveParameters.objects.first()
    assert newest is not None
    assert newest.active_from_k == hub.clock.now_ns() // BUCKET_NS + 2


class FakeHub:
    """A clock and a note-book."""

    def __init__(self, now_ns: int) -> None:
        self.clock = type("Clock", (), {"known": True, "now_ns": staticmethod(lambda: now_ns)})()
        self.notes: list[str] = []

    def note(self, kind: str, text: str) -> None:
        self.notes.append(text)
