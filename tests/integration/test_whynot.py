"""Why not, for any symbol at any five seconds: from what was kept, or a word that it is gone."""

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import redis
from django.test import Client

from execution.models import Decision, Round, Run
from execution.services import lease
from shards import archive
from shards.records import BUCKET_ROW, REVISED_ROW, revised_rows, rows_of_symbol
from signals.session import BUCKET_NS
from tests import page_market
from tests.integration.api_builders import a_key, a_person, get
from tests.servers import Valkey
from tests.unit.domain_builders import DAY, OPEN_NS, K
from tradeplane.api.scopes import ADMIN
from tradeplane.pages import buckets, candidates, feed, flips, whynot

FIRST_K = K - 220


@pytest.fixture
def run(db: None, valkey: Valkey, settings: Any, tmp_path: Path) -> Iterator[Run]:
    settings.TRADEPLANE_HOME, settings.ARCHIVE_HOME = tmp_path, tmp_path / "archive"
    feed.shared_reader.cache_clear()
    page_market.users()
    p = page_market.some_parameters(ao_min_magnitude_bps=40)
    version = page_market.parameter_services.save_parameters(
        values=p, author="owner", base_version=0
    )
    page_market.parameter_services.activate(version, author="owner")
    run = page_market.a_running_run(p, version)
    page_market.decide(run, K, lease.take("tests"), page_market.stocks(K))
    yield run
    redis.Redis.from_url(settings.REDIS_STATE_URL).flushdb()


@pytest.fixture
def owner(run: Run, client: Client) -> Client:
    client.login(username="owner", password=page_market.PASSWORD)
    return client


def closes() -> list[float]:
    """Quiet to and fro, then four buckets of climbing: about 20 bps of acceleration."""
    quiet = [100.0 + 0.01 * (k % 3) for k in range(FIRST_K, K - 3)]
    return [*quiet, 100.1, 100.25, 100.45, 100.7]


def rows(symbol: str, first_k: int = FIRST_K) -> np.ndarray:
    made = np.zeros(K - FIRST_K + 1, BUCKET_ROW)
    made["symbol"], made["k"], made["trades"] = symbol.encode(), range(FIRST_K, K + 1), 20
    for name in ("open", "high", "low", "close", "vwap"):
        made[name] = closes()
    made["volume"] = np.where(made["k"] > K - 4, 9_000, 300)
    return made[made["k"] >= first_k]


def record(home: Path, *blocks: np.ndarray) -> Path:
    """Write a record file as a shard does: close by close, by symbol."""
    folder = home / "records" / page_market.RUN
    folder.mkdir(parents=True, exist_ok=True)
    all_rows = np.concatenate(blocks)
    path = folder / "buckets-1-1.rows"
    path.write_bytes(all_rows[np.lexsort((all_rows["symbol"], all_rows["k"]))].tobytes())
    return path


def test_a_record_file_is_searched_for_one_symbol(tmp_path: Path) -> None:
    path = record(tmp_path, rows("AAA"), rows("MSFT"), rows("ZZZ", K - 5))

    found = rows_of_symbol(path, "MSFT", K - 10, K + 5)
    assert found["k"].tolist() == list(range(K - 10, K + 1))
    assert set(found["symbol"].tolist()) == {b"MSFT"}
    assert rows_of_symbol(path, "ZZZ", K - 10, K)["k"].tolist() == list(range(K - 5, K + 1))
    assert rows_of_symbol(path, "MSF", K - 10, K).size == 0
    path.write_bytes(b"")
    assert rows_of_symbol(path, "MSFT", K - 10, K).size == 0


def spooled(folder: Path) -> Path:
    """Write the archive's spool of the day, revisions between the rows as they came."""
    made = revised_rows([rows("AAA"), rows("MSFT")])
    late = made[made["k"] == K - 30].copy()
    late["rev"], late["close"] = 1, 1.0
    at = int(np.searchsorted(made["k"], K - 2))
    path = folder / str(DAY) / "spool" / f"{page_market.RUN}-1-1-1.buckets"
    path.parent.mkdir(parents=True)
    path.write_bytes(np.concatenate([made[:at], late, made[at:]]).tobytes())
    return path


def test_a_spool_is_read_as_it_was_decided_on(tmp_path: Path) -> None:
    path = spooled(tmp_path)

    found = rows_of_symbol(path, "MSFT", K - 40, K, REVISED_ROW)

    assert found["k"].tolist() == list(range(K - 40, K + 1))
    assert not found["rev"].any()
    assert (found["close"] > 1.0).all()


def test_the_archive_answers_before_and_after_its_day_is_finished(run: Run, tmp_path: Path) -> None:
    spooled(tmp_path / "archive")
    before = whynot.why_not(run, "MSFT", K)
    archive.finish(tmp_path / "archive" / str(DAY))
    after = whynot.why_not(run, "MSFT", K)

    assert (before.state, before.source) == ("recomputed", "files")
    assert [one.id for one in before.missing] == ["T2"]
    assert not list((tmp_path / "archive" / str(DAY) / "spool").glob("*.buckets"))
    assert after == before


def test_each_threshold_says_by_how_much_it_was_missed(run: Run, tmp_path: Path) -> None:
    record(tmp_path, rows("MSFT"))

    found = whynot.why_not(run, "MSFT", K)

    assert (found.state, found.source) == ("recomputed", "files")
    (missing,) = found.missing
    assert (missing.id, missing.name, missing.limit) == ("T2", "ao_min_magnitude_bps", 40.0)
    assert missing.margin == pytest.approx(missing.value - 40)  # type: ignore[operator]
    assert "no candidate. T2: The accelerator stands at" in found.said
    (change,) = found.changes()
    assert (change["name"], change["from"]) == ("ao_min_magnitude_bps", "40")
    assert 0 < float(change["to"]) <= missing.value  # type: ignore[operator]
    assert found.badge == "at least"


def test_where_several_are_missed_all_of_them_are_told(run: Run, tmp_path: Path) -> None:
    run.parameters = {"1": {**run.parameters["1"], "ao_min_z": 99.0, "min_burst_trades": 900}}
    record(tmp_path, rows("MSFT"))

    found = whynot.why_not(run, "MSFT", K)

    assert [change["name"] for change in found.changes()] == [
        "ao_min_magnitude_bps", "ao_min_z", "min_burst_trades",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("symbol", "k", "state", "said"),
    [
        ("NVTX", K, "decided", "S13"),
        ("GONE", K, "gone", "the shards keep 15 minutes"),
        ("YOUNG", K, "young", "31 buckets are known"),
        ("MSFT", OPEN_NS // BUCKET_NS - 1, "outside", "not open"),
        ("MSFT", K + 100, "outside", "not over yet"),
    ],
)
def test_what_cannot_be_recomputed_is_said(
    run: Run, tmp_path: Path, symbol: str, k: int, state: str, said: str
) -> None:
    record(tmp_path, rows("MSFT"), rows("YOUNG", K - 30))

    found = whynot.why_not(run, symbol, k)

    assert found.state == state
    assert said in found.said
    assert (found.decision_id is not None) == (state == "decided")


def test_one_that_met_everything_was_resting(run: Run, tmp_path: Path) -> None:
    run.parameters = {"1": {**run.parameters["1"], "ao_min_magnitude_bps": 8.0}}
    record(tmp_path, rows("MSFT"))

    assert "halted, its data had a gap" in whynot.why_not(run, "MSFT", K).said
    Decision.objects.create(
        run=run, k=K - 10, symbol="MSFT", candidate_id="c", outcome="not_fired", record={}
    )
    assert "cooling down" in whynot.why_not(run, "MSFT", K).said


def test_the_shards_own_store_answers_while_it_remembers(run: Run, settings: Any) -> None:
    client = redis.Redis.from_url(settings.REDIS_STATE_URL)
    for row in rows("MSFT"):
        one = np.zeros(1, buckets.ROW)
        for name in ("open", "high", "low", "close", "volume", "trades"):
            one[name] = row[name]
        one["name"], one["calm"], one["source"] = b"MSFT", row["volume"], row["close"]
        one["shares"] = row["volume"]
        one["value"] = round(float(row["close"]) * 1e6) * int(row["volume"])
        k, body = int(row["k"]), one.tobytes()
        head = struct.pack("<4sIIqqqqI", b"TPS1", buckets.LAYOUT, zlib.crc32(body), k, 0, 0, 0, 1)
        client.set(f"b:{run.pk}:{DAY}:MS:{k}", head + body)

    found = whynot.why_not(run, "MSFT", K)

    assert (found.state, found.source) == ("recomputed", "store")
    assert [one.id for one in found.missing] == ["T2"]


def test_the_search_leads_to_why_not_and_a_time_to_those_five_seconds(
    owner: Client, run: Run, tmp_path: Path
) -> None:
    record(tmp_path, rows("MSFT"))

    page = owner.get("/symbol/?s=msft", follow=True).content.decode()
    then = owner.get("/symbol/MSFT/?at=10:29:55").content.decode()
    decided = owner.get("/symbol/NVTX/?at=10:30:00")
    wrong = owner.get("/symbol/MSFT/?at=soon", follow=True).content.decode()

    assert "Why not at 10:30:05 ET?" in page
    assert "The accelerator stands at" in page
    assert "change=ao_min_magnitude_bps" in page
    assert "Why not at 10:30:00 ET?" in then
    assert decided["Location"].startswith("/decision/")
    assert "soon is no time" in wrong
    assert 'placeholder="Why not' in owner.get("/").content.decode()


def test_the_interface_answers_too(client: Client, run: Run, tmp_path: Path) -> None:
    record(tmp_path, rows("MSFT"))
    token = a_key(ADMIN, owner=a_person("boss", superuser=True))[1]

    told = get(client, "why-not?symbol=MSFT&at=10:30:00", token).json()

    assert (told["state"], told["k"], told["badge"]) == ("recomputed", K, "at least")
    missing = [one for one in told["tests"] if not one["passed"]]
    assert [one["name"] for one in missing] == ["ao_min_magnitude_bps"]
    assert missing[0]["margin"] < 0
    assert get(client, "why-not?symbol=MSFT", token).status_code == 422
    assert get(client, f"why-not?symbol=NVTX&k={K}", token).json()["state"] == "decided"


def test_the_funnel_of_a_round_and_of_the_day(owner: Client, run: Run) -> None:
    page_market.decide(run, K + 1, lease.take("tests"), page_market.stocks(K + 1)[:2])
    token = a_key(ADMIN, owner=a_person("boss", superuser=True))[1]

    one = get(owner, f"funnel?k={K + 1}", token).json()
    day = get(owner, "funnel", token).json()
    page = owner.get(f"/decision/{Decision.objects.filter(k=K)[0].pk}/").content.decode()

    assert (one["k"], one["stages"]["candidates"]) == (K + 1, 2)
    assert (day["k"], day["stages"]["candidates"]) == (None, 12)
    assert max(day["closed"].values()) == next(iter(day["closed"].values()))
    assert "In the way most often" in page


def test_where_a_candidacy_ended_stands_between_its_decisions(owner: Client, run: Run) -> None:
    page_market.decide(run, K + 1, lease.take("tests"), [])
    Round.objects.filter(k=K + 1).update(
        withdrawn=[["NVTX", "c-1", "magnitude"], ["CRWX", "c-2", "age"]]
    )

    page = owner.get("/symbol/NVTX/")

    assert [line["out"].word for line in page.context["record"]] == ["Withdrawn", "Turned down"]
    assert "It accelerates no more." in page.content.decode()
    assert "grew too old" not in page.content.decode()


def test_a_copy_that_was_ignored_stands_in_the_timeline_of_its_stock(
    owner: Client, run: Run
) -> None:
    Round.objects.filter(k=K).update(duplicates=[["NVTX", "c-1", "copy"], ["CRWX", "c-2", "other"]])

    page = owner.get("/symbol/NVTX/")

    assert "Duplicate" in [line["out"].word for line in page.context["record"]]
    assert "the copy was ignored" in page.content.decode()
    assert "differently" not in page.content.decode()


def test_gates_link_to_the_parameters_that_they_ask_for(owner: Client, run: Run) -> None:
    row = Decision.objects.filter(k=K, symbol="NVTX")[0]

    page = owner.get(f"/decision/{row.pk}/").content.decode()
    card = owner.get(f"/why/{row.pk}/").content.decode()
    words = owner.get("/help/").content.decode()
    form = owner.get("/parameters/").content.decode()

    for name in {name for names in flips.ASKS_FOR.values() for name in names}:
        assert f'id="p-{name}"' in form, name
        assert f'href="/parameters/#p-{name}"' in words, name
    assert 'href="/parameters/#p-max_vwap_stretch_percent"' in page
    assert "/parameters/#p-" not in card  # there the one link is the change that flips it


def test_a_near_miss_says_what_it_missed_before_what_would_have_held_it_back(run: Run) -> None:
    """The account is read when somebody may fire; its age says nothing of a near miss."""
    row = Decision.objects.filter(run=run).order_by("pk").first()
    assert row is not None
    row.shadow, row.outcome = True, "shadow"
    row.record["features"] |= {"x": 33.0}  # the set asks for 40
    row.record["gates"] = [{"id": "G5", "pass": False, "text": "The account data is 120 s old."}]

    seen = candidates.verdict(row)

    assert seen["why"] == "The accelerator stands at 33.00 bps; your minimum is 40.00 bps."
    assert seen["chip"] == ""

    row.record["params_version"] = 999  # of a set that is gone
    assert candidates.verdict(row)["why"] == "The account data is 120 s old."
