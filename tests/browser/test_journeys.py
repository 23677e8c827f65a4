"""What a person does on the pages, on a market whose decisions are real."""

import os
import re
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests import page_market
from tests.browser.conftest import PHONE, Web, ready, sign_in, watched

PATHS = ("/", "/symbol/NVTX/", "/parameters/", "/system/", "/log/", "/stop/")
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
    expect(page.locator("#gates .gate.fail").first).to_contain_text("0.41 over")
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
        "from tests import page_market as m; from execution.models import Decision, Round\n"
        "Decision.objects.filter(k=m.K + 1).delete(); Round.objects.filter(k=m.K + 1).delete()"
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


def test_read_the_log_and_acknowledge(page: Page) -> None:
    page.get_by_role("link", name="Log", exact=True).click()
    page.get_by_role("link", name=re.compile("^Errors")).click()
    expect(page.locator(".log.long li")).to_have_count(1)
    expect(page.locator(".log.long li")).to_contain_text("Shard 3 silent for 12 s")
    shoot(page, "log-dark")

    page.get_by_role("button", name=re.compile("^Acknowledge: ")).click()

    expect(page.locator(".log.long li .ack")).to_contain_text("✓ owner")


def test_a_viewer_looks_and_cannot_act(browser: Browser, web: Web, problems: list[str]) -> None:
    context = browser.new_context()
    page = watched(context, web.url, problems)
    sign_in(page, web.url, "vic", page_market.PASSWORD)

    page.locator("[data-stop]").click()

    expect(page.locator("#stop .refused")).to_contain_text("You may look, not act")
    expect(page.locator("#stop").get_by_role("button", name="Pause entries")).to_be_disabled()
    page.goto(f"{web.url}/parameters/")
    expect(page.locator("#saveparams")).to_be_disabled()
    context.close()


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("scheme", ["dark", "light"])
def test_axe_finds_nothing(
    browser: Browser, web: Web, problems: list[str], path: str, scheme: str
) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    context = browser.new_context(color_scheme=scheme)  # type: ignore[arg-type]
    page = watched(context, web.url, problems)
    sign_in(page, web.url, "owner", page_market.PASSWORD)
    page.goto(web.url + path)
    expect(page.locator("[data-conn-word]")).to_have_text("Data live")

    found = axe.run(page).response["violations"]

    said = [(v["id"], [node["target"] for node in v["nodes"]][:3]) for v in found]
    assert said == []
    context.close()


@pytest.mark.parametrize("path", PATHS)
def test_a_phone_shows_every_page_without_sideways_scrolling(
    browser: Browser, web: Web, problems: list[str], path: str
) -> None:
    context = browser.new_context(viewport=PHONE, has_touch=True, is_mobile=True)  # type: ignore[arg-type]
    page = watched(context, web.url, problems)
    sign_in(page, web.url, "owner", page_market.PASSWORD)
    page.goto(web.url + path)

    expect(page.locator("[data-stop]")).to_be_in_viewport()
    expect(page.locator(".mode b")).to_be_in_viewport()
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    shoot(page, f"phone-{path.strip('/').replace('/', '-') or 'live'}")
    context.close()


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
