"""The pages in a real Chromium against the real web role, under the strict policy."""

import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers import free_port

pytest.importorskip("playwright")
from playwright.sync_api import Browser, Page, expect, sync_playwright

ROOT = Path(__file__).parents[2]
CANDIDATES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, CANDIDATES)), None)
FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip
PHONE = {"width": 390, "height": 844}
PASSWORD = "a long enough word"

SEED = """
import datetime, django
django.setup()
from django.contrib.auth import get_user_model
from django.core.management import call_command
call_command("migrate", verbosity=0)
call_command("collectstatic", interactive=False, verbosity=0)
get_user_model().objects.create_superuser("admin", password={password!r})
from execution.models import Activity, Decision, Round, Run, StartupStep
opened = 1_381_152_600_000_000_000
run = Run.objects.create(id="tape-1", state="running", lockstep=True, market_ns=opened + 10**9)
for n, name in enumerate(["relay", "upstream", "account", "letters", "shards", "rounds"]):
    StartupStep.objects.create(run=run, position=n, name=name, state="done")
Round.objects.create(run=run, k=opened // 5_000_000_000, state="decided", closed_ns=opened,
    params_version=1)
Decision.objects.create(run=run, k=1, symbol="AIG", candidate_id="c", outcome="not_fired", rank=1,
    record={{"features": {{"x": 3.2}}, "gates": [
        {{"id": "C4", "open": False, "text": "Ask is 2.91 % above VWAP; your limit is 2.50 %."}}]}})
Activity.objects.create(run=run, kind="startup", text="All shards report.")
"""
SAY = """
import django, sys
django.setup()
from execution.models import Activity, Run
Activity.objects.create(run=Run.objects.get(), kind="trade", text=sys.argv[1])
"""

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium (set CHROMIUM=/path)"),
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One Chromium for this module; no longer, its loop must not meet the asyncio tests."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context()
    yield context.new_page()
    context.close()


class Web:
    """A home with a seeded database and the web role on it."""

    def __init__(self, home: Path) -> None:
        inherited = {k: v for k, v in os.environ.items() if k in ("PATH", "HOME", "LANG")}
        self.environment = inherited | {
            "TRADEPLANE_HOME": str(home),
            "DJANGO_SETTINGS_MODULE": "tradeplane.settings",
        }
        self.python("-c", SEED.format(password=PASSWORD))
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "manage.py", "web", "--port", str(self.port)],
            cwd=ROOT,
            env=self.environment,
        )

    def python(self, *arguments: str) -> None:
        subprocess.run(
            [sys.executable, *arguments], cwd=ROOT, env=self.environment, check=True, timeout=60
        )

    def wait(self) -> None:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            assert self.process.poll() is None, "web ended"
            try:
                with urllib.request.urlopen(f"{self.url}/login/", timeout=2):  # noqa: S310
                    return
            except (urllib.error.URLError, OSError):
                time.sleep(0.05)
        raise AssertionError("web is not ready in time")

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(15)


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    web = Web(tmp_path_factory.mktemp("home"))
    try:
        web.wait()
        yield web
    finally:
        web.stop()


@pytest.fixture
def watched(page: Page, web: Web) -> Iterator[Page]:
    """A page that must not break the policy, complain, or ask anyone but us."""
    problems: list[str] = []
    page.on("console", lambda m: problems.append(m.text) if m.type == "error" else None)
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on(
        "request",
        lambda r: None if r.url.startswith((web.url, "data:")) else problems.append(r.url),
    )
    yield page
    assert problems == []


def sign_in(page: Page, web: Web) -> None:
    page.goto(web.url)
    page.get_by_label("Name").fill("admin")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    expect(page.locator("h1")).to_contain_text("in the last round")


def test_the_page_shows_the_run_and_stays_new_without_reload(watched: Page, web: Web) -> None:
    sign_in(watched, web)

    expect(watched.locator(".mode")).to_contain_text("SIMULATED")
    expect(watched.locator("[data-section=candidates]")).to_contain_text("Ask is 2.91 % above VWAP")
    expect(watched.locator("#conn-word")).to_have_text("Page live")

    web.python("-c", SAY, "Stop of <AIG> confirmed & live.")

    log = watched.locator("[data-section=activity] li").first
    expect(log).to_contain_text("Stop of <AIG> confirmed & live.", timeout=15_000)


def test_dark_and_light_and_a_phone(watched: Page, web: Web) -> None:
    watched.set_viewport_size(PHONE)  # type: ignore[arg-type]
    sign_in(watched, web)

    width = watched.evaluate("document.documentElement.scrollWidth")
    before = watched.evaluate("getComputedStyle(document.body).backgroundColor")
    watched.get_by_role("button", name="Switch between dark and light").click()
    after = watched.evaluate("getComputedStyle(document.body).backgroundColor")
    watched.reload()

    assert width <= PHONE["width"]
    assert before != after
    assert watched.evaluate("getComputedStyle(document.body).backgroundColor") == after


def test_without_scripts_the_page_still_tells_everything(browser: Browser, web: Web) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()

    sign_in(page, web)

    expect(page.locator("[data-section=candidates]")).to_contain_text("C4 Ask is 2.91 %")
    context.close()


def test_a_lost_server_is_said_and_found_again(page: Page, web: Web) -> None:
    sign_in(page, web)

    web.stop()
    expect(page.locator("#conn-word")).to_have_text("Disconnected", timeout=15_000)
    expect(page.locator(".banner[data-for=disconnected]")).to_be_visible()
    web.start()

    expect(page.locator("#conn-word")).to_have_text("Page live", timeout=30_000)
