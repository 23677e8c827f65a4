"""The states of a page: loading, empty, stale, disconnected, error. Stop stays in all of them."""

import os
import re
from pathlib import Path

from playwright.sync_api import Page, WebSocketRoute, expect

from tests.browser.conftest import Web

SHOTS = os.environ.get("TRADEPLANE_SHOTS", "")


def shoot(page: Page, name: str) -> None:
    if SHOTS:
        page.screenshot(path=Path(SHOTS) / f"ui-state-{name}.png")


def state_of(page: Page, name: str, timeout: float = 20_000) -> None:
    expect(page.locator("html")).to_have_attribute("data-conn", name, timeout=timeout)
    expect(page.locator("[data-stop]")).to_be_visible()
    shoot(page, name)


def test_loading_shows_the_steps_and_no_numbers(page: Page, web: Web) -> None:
    web.python(
        "from execution.models import Run, StartupStep\nRun.objects.update(state='starting')\n"
        "StartupStep.objects.filter(name='shards').update(state='running', reason='2 of 4 warm')\n"
        "StartupStep.objects.filter(name='rounds').update(state='pending')"
    )

    state_of(page, "loading")
    expect(page.locator("#headline")).to_contain_text("Starting: 4 of 6 steps done")
    expect(page.locator(".starting-only")).to_contain_text("2 of 4 warm")
    expect(page.locator(".skel .row").first).to_be_visible()
    expect(page.locator("#cand-body")).to_be_hidden()
    web.python(
        "from execution.models import Run, StartupStep\nRun.objects.update(state='running')\n"
        "StartupStep.objects.update(state='done')"
    )
    state_of(page, "live")


def test_empty_says_that_it_is_normal(page: Page, web: Web) -> None:
    web.python(
        "from tests import page_market as m; from execution.models import Round, Run\n"
        "Round.objects.create(run=Run.objects.get(), k=m.K + 20, state='decided',"
        " closed_ns=0, params_version=1, n_symbols=2860)"
    )

    state_of(page, "empty")
    expect(page.locator("#headline")).to_contain_text("Quiet. No stock accelerates enough")
    expect(page.locator(".cand .empty")).to_contain_text("2,860 stocks were read")
    web.python("from tests import page_market as m; from execution.models import Round\n"
               "Round.objects.filter(k=m.K + 20).delete()")  # fmt: skip
    state_of(page, "live")


def test_a_silent_hub_is_stale_and_comes_back(page: Page, web: Web) -> None:
    web.pulse.end()

    state_of(page, "stale")
    expect(page.locator(".banner[data-for=stale]")).to_contain_text("The hub is silent since 10:30")
    expect(page.locator("[data-left]")).to_have_text("–")
    expect(page.locator(".when-old")).to_contain_text("Seen live at the broker at 10:30")
    expect(page.locator(".when-live")).to_be_hidden()
    web.beat()
    state_of(page, "live")


def test_a_lost_server_is_said_and_found_again(page: Page, web: Web, problems: list[str]) -> None:
    web.web.end()

    state_of(page, "disconnected")
    expect(page.locator("[data-retry]")).to_contain_text("Trying again in")
    expect(page.locator("#cand-body > .row").first).to_be_visible()  # the last known state
    web.start()
    state_of(page, "live", timeout=40_000)
    problems[:] = [p for p in problems if "ERR_CONNECTION" not in p and "WebSocket" not in p]


def newer_server(socket: WebSocketRoute) -> None:
    """The server after an update, while the page is the one from before."""
    server = socket.connect_to_server()
    server.on_message(
        lambda text: socket.send(re.sub(r'"build": "\w+"', '"build": "newer"', str(text)))
    )


def test_a_page_of_another_version_removes_its_data(page: Page, web: Web) -> None:
    page.route_web_socket(re.compile("/live/board"), newer_server)
    page.reload()

    state_of(page, "error")
    expect(page.locator("[data-error]")).to_have_text("This page is older than the server.")
    expect(page.locator(".live-grid")).to_be_hidden()
