"""What a person does on the pages, on a market whose decisions are real."""

import os
import re
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests import page_market
from tests.browser.conftest import Web
from tests.browser.driving import DESK, PHONE, ready, sign_in, watched
from tradeplane.api.app import api

PATHS = (
    "/", "/symbol/NVTX/", "/parameters/", "/parameters/1/1/", "/system/", "/log/", "/keys/",
    "/help/", "/stop/",
)  # fmt: skip
#: The small words of the day's figures that do not fit where they stand.
CUT = """[...document.querySelectorAll(".kpi dd.more")]
  .filter((node) => node.scrollWidth > node.clientWidth).map((node) => node.textContent)"""
#: How wide the page is with these words behind the mode.
WIDE = """(words) => { document.querySelector(".mode span").textContent = words;
  return document.documentElement.scrollWidth; }"""
#: Where pictures go when somebody wants to look at them.
SHOTS = os.environ.get("TRADEPLANE_SHOTS", "")


def shoot(page: Page, name: str) -> None:
    if SHOTS:
        page.screenshot(path=Path(SHOTS) / f"ui-{name}.png")


def test_first_sight(page: Page, web: Web) -> None:
    expect(page.locator(".mode b")).to_have_text("PAPER")
    expect(page.locator("[data-conn-word]")).to_have_text("Data live")
    expect(page.locator("#headline")).to_contain_text("Your one slot is busy with ABCD.")
    expect(page.locator("#cand-body > .row")).to_have_count(10)
    expect(page.locator("#cand-body > .row").first).to_contain_text("CRWX")
    expect(page.locator(".pnl")).to_have_text(re.compile(r"\+\$\d"))
    expect(page.locator(".safe")).to_contain_text("Stop and target live since")
    first = page.locator("[data-clock]").text_content()
    expect(page.locator("[data-clock]")).not_to_have_text(first or "")
    painted = page.evaluate(
        "[...document.querySelectorAll('.spark canvas')].every((c) => "
        "c.getContext('2d').getImageData(0, 0, c.width, c.height).data.some((v) => v > 0))"
    )
    assert painted
    shoot(page, "live-dark")


def test_why_the_top_candidate_did_not_fire(page: Page) -> None:
    page.locator("#cand-body .row[data-key=NVTX] .why").click()

    expect(page.locator("#decision h2")).to_have_text("Why not NVTX?")
    expect(page.locator("#decision")).to_contain_text("Ask is 2.91 % above VWAP")
    page.keyboard.press("j")
    expect(page.locator("#decision h2")).to_have_text("Why not TIVA?")
    page.locator("#cand-body .row[data-key=NVTX] .sym").click()
    expect(page.locator(".big-why")).to_contain_text("Ask is 2.91 % above VWAP")
    expect(page.locator("details.grp[open]")).to_have_count(2)
    expect(page.locator("#gates .gate.fail").first).to_contain_text("0.41\u202f% over")
    expect(page.get_by_role("table", name="Decision record").locator(".tr")).to_have_count(3)
    shoot(page, "symbol-dark")


def test_the_order_is_held_under_the_pointer_and_follows_the_chosen_figure(page: Page) -> None:
    page.get_by_role("button", name="Score", exact=True).click()
    expect(page.locator("#cand-body > .row").nth(2)).to_contain_text("NVTX")
    expect(page.locator("#cand-body > .row").nth(2).locator(".rank")).to_have_text("3")

    page.locator("#cand-body > .row").first.hover()

    expect(page.locator("[data-held]")).to_be_visible()
    page.mouse.move(5, 5)
    expect(page.locator("[data-held]")).to_be_hidden()


def test_a_new_round_changes_the_table_without_a_reload(page: Page, web: Web) -> None:
    page.evaluate("window.kept = document.querySelector('#cand-body .row[data-key=CRWX]')")

    web.python(
        "from tests import page_market as m; from execution.models import Run\n"
        "m.decide(Run.objects.get(), m.K + 1, m.lease.take('tests'), m.stocks(m.K + 1))"
    )

    expect(page.locator("#headline")).to_contain_text("10:30:10 ET", timeout=10_000)
    assert page.evaluate("window.kept.isConnected")  # patched in place, nothing jumps
    web.python(
        "from django.db.models import QuerySet\n"
        "from tests import page_market as m; from execution.models import Decision, Round\n"
        "QuerySet(Decision).filter(k=m.K + 1).delete(); Round.objects.filter(k=m.K + 1).delete()"
    )


def test_a_parameter_is_checked_while_typing_and_saved_with_a_reason(page: Page, web: Web) -> None:
    page.keyboard.press("3")
    ready(page)
    expect(page.get_by_role("heading", name="Your 18 parameters")).to_be_visible()
    page.get_by_label("Find a parameter").fill("slow_p")
    expect(page.locator("[data-name=slow_period]")).to_be_visible()
    expect(page.locator("[data-name=vol_floor]")).to_be_hidden()
    page.get_by_label("Find a parameter").fill("")

    page.locator("#p-slow_period").fill("4")
    expect(page.locator("[data-name=slow_period]")).to_contain_text(
        "fast_period (5) must be smaller than slow_period (4)"
    )
    expect(page.locator("#p-slow_period")).to_have_attribute("aria-invalid", "true")
    shoot(page, "parameters-refused")
    page.locator("#p-slow_period").fill("34")
    page.locator("#p-ao_accel_rate").fill("1.2")
    expect(page.locator("#diff-t")).to_have_text("1 change, not saved")
    expect(page.locator("[data-name=ao_accel_rate]")).to_contain_text("changed, was 1.5")
    page.locator("#reason").fill("Too few candidates before 11:00")
    shoot(page, "parameters-dark")
    page.get_by_role("button", name="Save as a new version").click()

    expect(page.locator(".toast")).to_contain_text("Version 2 saved.")
    expect(page.locator(".hist li").first).to_contain_text("ao_accel_rate 1.5 → 1.2")
    expect(page.locator(".hist li").first).to_contain_text("owner: “Too few candidates")
    expect(page.locator("[data-role='Shard 4']")).to_have_text("version 1")  # nobody has it yet
    page.get_by_role("link", name="Revert to").first.click()
    expect(page.locator("#diff-t")).to_have_text("1 change, not saved")
    page.get_by_role("button", name="Save as a new version").click()
    expect(page.locator(".hist li").first).to_contain_text("ao_accel_rate 1.2 → 1.5")


def test_stop_with_the_kill_switch_and_go_on(page: Page, web: Web) -> None:
    page.keyboard.press("Shift+K")
    dialog = page.locator("#stop")
    expect(dialog).to_be_visible()
    expect(dialog).to_contain_text("298 ABCD, about $6,0")
    expect(dialog.get_by_role("button", name="Sell everything")).to_be_disabled()
    shoot(page, "stop-dialog")
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()

    page.locator("[data-stop]").click()
    dialog.get_by_label("Type FLATTEN").fill("FLATTEN")
    expect(dialog.get_by_role("button", name="Sell everything")).to_be_enabled()
    dialog.get_by_label("Why").fill("odd news")
    page.keyboard.press("Enter")
    expect(dialog).to_be_visible()  # no key acts by itself
    dialog.get_by_role("button", name="Pause entries").click()

    expect(page.locator(".toast")).to_contain_text("Entries are paused.")
    expect(page.locator(".banner.stopped")).to_contain_text("owner,")
    expect(page.locator(".banner.stopped")).to_contain_text("“odd news”")
    shoot(page, "paused")
    page.get_by_role("button", name="Entries on again…").click()
    page.locator("#resume").get_by_label("Why").fill("it was nothing")
    page.locator("#resume").get_by_role("button", name="Entries on again").click()
    expect(page.locator(".banner.stopped")).to_have_count(0)


def test_the_page_of_the_stop_leads_out_of_a_freeze_that_only_the_file_says(
    page: Page, web: Web
) -> None:
    web.python(
        "from execution import kill_file\n"
        "kill_file.write(level='freeze', reason='by hand', actor='root', at='')"
    )
    page.goto(f"{web.url}/stop/")
    ready(page)
    form = page.locator(".stop-page form")
    expect(page.locator(".banner.stopped")).to_contain_text("Frozen: only the stop and target")
    shoot(page, "frozen")
    form.get_by_label("Type FLATTEN").fill("FLATTEN")
    form.get_by_label("Type FLATTEN").fill("")
    expect(form.get_by_role("button", name="Sell everything")).to_be_disabled()
    form.get_by_label("Why").fill("it was nothing")

    form.get_by_role("button", name="Entries on again").click()

    expect(page.locator(".toast")).to_contain_text("Entries are on again.")
    expect(page.locator(".banner.stopped")).to_have_count(0)


def test_read_the_log_and_acknowledge(page: Page) -> None:
    page.get_by_role("link", name="Log", exact=True).click()
    page.get_by_role("link", name=re.compile("^Errors")).click()
    expect(page.locator(".log.long li")).to_have_count(1)
    expect(page.locator(".log.long li")).to_contain_text("Shard 3 silent for 12 s")
    shoot(page, "log-dark")

    page.get_by_role("button", name=re.compile("^Acknowledge: ")).click()

    expect(page.locator(".log.long li .ack")).to_contain_text("✓ owner")


def test_make_an_api_key_use_it_and_revoke_it(page: Page, web: Web, problems: list[str]) -> None:
    page.get_by_label("Account").click()
    page.get_by_role("link", name="API keys").click()
    ready(page)
    page.get_by_label("What will use it").fill("my notebook")
    page.get_by_role("button", name="Make key").click()

    expect(page.get_by_role("heading", name="Key “my notebook” is made")).to_be_visible()
    token = page.locator("#token").input_value()
    assert ask(f"{web.url}/api/status", token) == 200
    shoot(page, "key-made")
    page.goto(f"{web.url}/keys/")
    expect(page.locator("body")).not_to_contain_text(token)  # shown once
    page.get_by_role("button", name="Revoke my notebook").click()
    expect(page.locator(".keylist")).to_contain_text("✕ revoked")
    assert ask(f"{web.url}/api/status", token) == 401


def test_the_documentation_of_the_interface_needs_nobody_else(page: Page, web: Web) -> None:
    """Its scripts are ours, the policy holds (`problems`), and every route is listed."""
    page.goto(f"{web.url}/api/docs")

    routes = sum(len(methods) for methods in api.get_openapi_schema()["paths"].values())
    expect(page.locator(".opblock")).to_have_count(routes)
    page.locator(".opblock", has_text="/api/status").first.click()
    expect(page.locator(".opblock.is-open")).to_contain_text("What is going on")


def ask(url: str, token: str) -> int:
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"})  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
            return int(answer.status)
    except urllib.error.HTTPError as exc:
        return exc.code


def test_words_are_explained_on_a_key_and_on_a_page(page: Page) -> None:
    page.keyboard.press("?")
    expect(page.locator("#help")).to_contain_text("stop dialog (opens only)")
    expect(page.locator("#help")).to_contain_text("weighted by shares")
    page.get_by_role("link", name="All words and gates").click()
    ready(page)
    for word in ("VWAP", "bps", "R", "σ (sigma)", "Accelerator (AC)", "LULD", "S10 Reach"):
        expect(
            page.locator("#main dt", has_text=re.compile(f"^{re.escape(word)}$"))
        ).to_be_visible()


def test_the_system_page_tells_steps_relay_and_time(page: Page, web: Web) -> None:
    page.keyboard.press("4")
    ready(page)
    expect(page.locator(".steps li")).to_have_count(6)
    expect(page.locator(".steps li.done")).to_have_count(6)
    expect(page.locator(".abc .cell")).to_have_count(26)
    expect(page.locator(".abc .cell.slow")).to_have_count(6)
    expect(page.locator("[data-section=relay]")).to_contain_text("48,210")
    expect(page.locator("[data-section=stages]")).to_contain_text("Waiting for late prints")
    expect(page.locator("[data-section=stages] .tot").last).to_have_text("1.6 s")


def test_a_viewer_looks_and_cannot_act(browser: Browser, web: Web, problems: list[str]) -> None:
    context = browser.new_context()
    page = watched(context, web.url, problems)
    sign_in(page, web.url, "vic", page_market.PASSWORD)
    ready(page)

    page.locator("[data-stop]").click()

    expect(page.locator("#stop .refused")).to_contain_text("You may look, not act")
    expect(page.locator("#stop").get_by_role("button", name="Pause entries")).to_be_disabled()
    page.goto(f"{web.url}/parameters/")
    expect(page.locator("#saveparams")).to_be_disabled()
    context.close()


@pytest.mark.parametrize("variant", ["dark", "light", "phone"])
def test_every_page_is_sound_in(
    browser: Browser, web: Web, problems: list[str], variant: str
) -> None:
    """No violation of axe's rules, nothing sideways, badge and Stop in view."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    phone = variant == "phone"
    context = browser.new_context(
        color_scheme="light" if variant == "light" else "dark",
        viewport=PHONE if phone else DESK,  # type: ignore[arg-type]
        has_touch=phone, is_mobile=phone,
    )  # fmt: skip
    page = watched(context, web.url, problems)
    page.goto(f"{web.url}/login/")
    found = {"/login/": violations(axe, page)}
    sign_in(page, web.url, "owner", page_market.PASSWORD)

    for path in PATHS:
        page.goto(web.url + path)
        expect(page.locator("[data-conn-word]")).to_have_text("Data live")
        expect(page.locator("[data-stop]")).to_be_in_viewport()
        expect(page.locator(".mode b")).to_be_in_viewport()
        width = page.evaluate("document.documentElement.scrollWidth")
        assert width <= (PHONE if phone else DESK)["width"], path
        assert page.evaluate(CUT) == [], path
        found[path] = violations(axe, page)
        shoot(page, f"{variant}-{path.strip('/').replace('/', '-') or 'live'}")

    if not phone:  # a small laptop, and the longest words that a mode has
        page.set_viewport_size({"width": 1280, "height": 720})
        assert page.evaluate(WIDE, "practice money, made-up market") <= 1280
    assert {path: said for path, said in found.items() if said} == {}
    context.close()


def violations(axe: Any, page: Page) -> list[Any]:
    found = axe.run(page).response["violations"]
    return [(v["id"], [node["target"] for node in v["nodes"]][:3]) for v in found]


def test_the_chosen_theme_stays(page: Page) -> None:
    before = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.keyboard.press("t")
    after = page.evaluate("getComputedStyle(document.body).backgroundColor")
    shoot(page, "live-light")
    page.reload()

    assert before != after
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == after


def test_without_scripts_the_page_still_tells_everything(browser: Browser, web: Web) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    sign_in(page, web.url, "owner", page_market.PASSWORD)

    expect(page.locator("#cand-body")).to_contain_text("Ask is 2.91 % above VWAP")
    expect(page.locator("#position")).to_contain_text("Stop and target live")
    page.locator("[data-stop]").click()
    expect(page.get_by_role("heading", name="Stop trading", level=1)).to_be_visible()
    context.close()


def test_from_a_row_to_why_to_another_limit_and_back(page: Page, web: Web) -> None:
    """Live row → why → the parameter that held it back → preview → apply → revert."""
    web.python(
        "from tests import page_market as m; from execution.models import Run\n"
        "m.held_back(Run.objects.get(), m.lease.take('tests'), m.K + 1, m.K + 2)"
    )
    page.goto(web.url)
    ready(page)

    page.locator("#cand-body .row[data-key=NVTX] .why").click()
    why = page.locator("#decision")
    expect(why).to_contain_text("Ask is 2.91 % above VWAP")
    expect(why).to_contain_text("it would then wait. confirm")
    shoot(page, "journey-1-why")
    why.get_by_role("link", name="max_vwap_stretch_percent").click()

    expect(page.locator("#diff-t")).to_have_text("1 change, not saved")
    expect(page.locator("#p-max_vwap_stretch_percent")).to_have_value("2.91")
    page.get_by_role("button", name="Preview").click()
    out = page.locator("[data-preview-out]")
    expect(out).to_contain_text("1 entry in 4 rounds with candidates, instead of 0")
    expect(out).to_contain_text("NVTX 10:30:15 ET")
    expect(out.locator(".tag")).to_have_text("exact")
    shoot(page, "journey-2-preview")
    expect(page.locator("#reason")).to_have_value(re.compile("NVTX: C4: Ask is"))
    page.get_by_label("Goes back by itself").select_option("after 15 minutes")
    page.get_by_role("button", name="Save as a new version").click()

    expect(page.locator(".toast")).to_contain_text("saved.")
    newest = page.locator(".hist li").first
    expect(newest).to_contain_text("max_vwap_stretch_percent 2.5 → 2.91")
    expect(newest).to_contain_text("until 10:45")
    shoot(page, "journey-3-applied")
    page.locator(".hist li").nth(1).get_by_role("link", name="Revert to").click()
    expect(page.locator("#diff-t")).to_have_text("1 change, not saved")
    expect(page.locator("#p-max_vwap_stretch_percent")).to_have_value("2.5")
    page.get_by_role("button", name="Save as a new version").click()

    expect(page.locator(".hist li").first).to_contain_text("max_vwap_stretch_percent 2.91 → 2.5")
    shoot(page, "journey-4-reverted")


def test_a_decision_is_tried_with_other_limits_only_when_it_is_asked_for(
    page: Page, web: Web
) -> None:
    page.locator("#cand-body .row[data-key=NVTX] .sym").click()
    expect(page.locator(".big-why")).to_contain_text("Ask is 2.91 % above VWAP")
    tried = "from signals.models import Trial; n = Trial.objects.filter(kind='what_if').count();"
    web.python(f"{tried} assert n == 0, n")

    page.locator("#with").fill("stop_after_take_profits=3")
    page.get_by_role("button", name="Decide again").click()

    expect(
        page.get_by_role("status").filter(has_text="Nothing would have changed.")
    ).to_be_in_viewport()
    expect(page.locator("#with")).to_have_value("stop_after_take_profits=3")
    shoot(page, "what-if")
    web.python(f"{tried} assert n == 1, n")
    page.goto(web.url)
    page.locator("#cand-body .row[data-key=NVTX] .sym").click()
    expect(page.locator(".big-why")).to_contain_text("Ask is 2.91 % above VWAP")
    web.python(f"{tried} assert n == 1, n")  # to look again is no trial


def test_any_stock_is_found_from_the_live_page_and_says_why_it_was_no_candidate(
    page: Page, web: Web
) -> None:
    web.python(
        "import pathlib; from django.conf import settings\n"
        "from tests.integration.test_whynot import record, rows\n"
        "record(pathlib.Path(settings.TRADEPLANE_HOME), rows('MSFT'))"
    )
    page.keyboard.press("/")
    page.keyboard.type("msft")
    page.keyboard.press("Enter")

    why = page.locator("#why-not")
    expect(why).to_contain_text("Why not at")
    page.get_by_role("textbox", name="Why not at").fill("10:29:50")
    page.get_by_role("button", name="Why not then?").click()
    expect(why).to_contain_text("Why not at 10:29:55 ET?")
    expect(why).to_contain_text("It was no candidate.")
    expect(why.locator(".gate")).to_have_count(12)
    expect(why.get_by_role("link", name="Fill the parameters form")).to_be_visible()
    expect(why).to_contain_text("Recomputed from the archived buckets")
    shoot(page, "why-not-any")
