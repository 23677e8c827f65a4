"""Real Chromium against the real web role; what it must not do is watched on every page."""

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

from tests import page_market
from tests.servers import Valkey, free_port

pytest.importorskip("playwright")
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

ROOT = Path(__file__).parents[2]
NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip
DESK, PHONE = {"width": 1440, "height": 900}, {"width": 390, "height": 844}
WATCH = """
document.addEventListener("securitypolicyviolation", (event) =>
  console.error(`policy: ${event.violatedDirective} ${event.blockedURI}`));
"""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "tests/browser" in item.nodeid:
            item.add_marker(pytest.mark.browser)
            if CHROMIUM is None:
                item.add_marker(pytest.mark.skip(reason="no Chromium (set CHROMIUM=/path)"))


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One Chromium for a module; no longer, its loop must not meet the asyncio tests."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        yield browser
        browser.close()


class Process:
    """A child in its own session that ends with the test."""

    def __init__(self, environment: dict[str, str], *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, *arguments], cwd=ROOT, env=environment, start_new_session=True
        )

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        self.process.wait(30)


class Web:
    """A home with the demo market, its pulse, and the web role on it."""

    def __init__(self, home: Path, redis: Valkey) -> None:
        inherited = {k: v for k, v in os.environ.items() if k in ("PATH", "HOME", "LANG")}
        self.environment = inherited | {
            "TRADEPLANE_HOME": str(home),
            "DJANGO_SETTINGS_MODULE": "tradeplane.settings",
            "REDIS_URL": redis.url.rsplit("/", 1)[0] if redis.url.count("/") > 2 else redis.url,
            "TRADEPLANE_SHARDS": "4",
            "PYTHONPATH": str(ROOT),
        }
        self.python(
            "from django.core.management import call_command as c\n"
            "c('migrate', verbosity=0); c('collectstatic', interactive=False, verbosity=0)\n"
            "from tests import page_market; page_market.fill()"
        )
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.start()
        self.beat()

    def python(self, code: str) -> None:
        subprocess.run(
            [sys.executable, "-c", f"import django; django.setup()\n{code}"],
            cwd=ROOT, env=self.environment, check=True, timeout=90,
        )  # fmt: skip

    def start(self) -> None:
        self.web = Process(self.environment, "manage.py", "web", "--port", str(self.port))
        wait_for(f"{self.url}/login/", self.web)

    def beat(self) -> None:
        self.pulse = Process(
            self.environment, "-c",
            "import django; django.setup()\nfrom tests import page_market; page_market.pulse()",
        )  # fmt: skip

    def stop(self) -> None:
        self.pulse.end()
        self.web.end()


def wait_for(url: str, child: Process, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert child.process.poll() is None, "it ended"
        try:
            with urllib.request.urlopen(url, timeout=2):  # noqa: S310
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.05)  # the end of the process is watched, readiness is polled
    raise AssertionError(f"{url} is not ready in time")


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory, valkey: Valkey) -> Iterator[Web]:
    web = Web(tmp_path_factory.mktemp("home"), valkey)
    yield web
    web.stop()


@pytest.fixture
def problems() -> Iterator[list[str]]:
    """What went wrong in the browser; a test that expects something takes it out."""
    found: list[str] = []
    yield found
    assert found == []


def watched(context: BrowserContext, base: str, problems: list[str]) -> Page:
    """A page that must not break the policy, complain, or ask anyone but us."""
    context.add_init_script(WATCH)
    page = context.new_page()
    page.on("console", lambda m: problems.append(m.text) if m.type == "error" else None)
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on(
        "request",
        lambda r: None if r.url.startswith((base, "data:")) else problems.append(r.url),
    )
    return page


@pytest.fixture
def page(browser: Browser, web: Web, problems: list[str]) -> Iterator[Page]:
    context = browser.new_context(viewport=DESK, color_scheme="dark")
    page = watched(context, web.url, problems)
    sign_in(page, web.url, "owner", page_market.PASSWORD)
    ready(page)
    yield page
    context.close()


def ready(page: Page) -> None:
    """Wait until the page's scripts have begun."""
    expect(page.locator("html[data-ready]")).to_have_count(1)


def sign_in(page: Page, url: str, name: str, password: str) -> None:
    page.goto(url)
    page.get_by_label("Name").fill(name)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Sign in").click()
    expect(page.locator("#headline")).to_be_visible()
