"""Real Chromium against the real web role; what it must not do is watched on every page."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import page_market
from tests.servers import Valkey, free_port

pytest.importorskip("playwright")
from playwright.sync_api import Browser, Page, sync_playwright

from tests.browser.driving import (
    CHROMIUM,
    DESK,
    FLAGS,
    ROOT,
    Process,
    ready,
    sign_in,
    wait_for,
    watched,
)


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


@pytest.fixture
def page(browser: Browser, web: Web, problems: list[str]) -> Iterator[Page]:
    context = browser.new_context(viewport=DESK, color_scheme="dark")
    page = watched(context, web.url, problems)
    sign_in(page, web.url, "owner", page_market.PASSWORD)
    ready(page)
    yield page
    context.close()
