"""The same pages on the whole system: a real tape, a real hub, real shards."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.driving import DESK, ROOT, Process, ready, sign_in, wait_for, watched
from tests.conftest import ImportTape
from tests.mariadb_plugin import NEUTRAL
from tests.page_market import PASSWORD
from tests.servers import free_port

pytestmark = [pytest.mark.tape, pytest.mark.slow]
START_S = 240  # the first start of all compiles the kernels
ROUNDS_MS = 60_000


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, imported_tape: ImportTape) -> Iterator[str]:
    tape = imported_tape(("AIG", "BAC", "IBM", "SPY"), "20131008", ("10:00", "11:00"))
    home: Path = tmp_path_factory.mktemp("home")
    kept = {k: v for k, v in os.environ.items() if k in ("PATH", "HOME", "LANG", "NUMBA_CACHE_DIR")}
    environment = kept | NEUTRAL | {
        "TRADEPLANE_HOME": str(home), "DJANGO_SETTINGS_MODULE": "tradeplane.settings",
    }  # fmt: skip
    code = (
        "import django; django.setup()\n"
        "from django.core.management import call_command; call_command('migrate', verbosity=0)\n"
        "from django.contrib.auth import get_user_model\n"
        f"get_user_model().objects.create_superuser('owner', password={PASSWORD!r})"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, check=True, timeout=90)
    port = free_port()
    up = Process(
        environment, "manage.py", "up", "--tape", str(tape), "--speed", "1", "--shards", "2",
        "--profile", "quiet", "--port", str(port),
    )  # fmt: skip
    try:
        wait_for(f"http://127.0.0.1:{port}/login/", up, START_S)
        yield f"http://127.0.0.1:{port}"
    finally:
        up.end()


@pytest.fixture
def page(browser: Browser, stack: str, problems: list[str]) -> Iterator[Page]:
    context = browser.new_context(viewport=DESK, color_scheme="dark")
    page = watched(context, stack, problems)
    sign_in(page, stack, "owner", PASSWORD)
    ready(page)
    yield page
    context.close()


def test_rounds_run_and_every_role_shows_itself(page: Page, stack: str) -> None:
    expect(page.locator("html")).to_have_attribute(
        "data-conn", re.compile("live|empty"), timeout=ROUNDS_MS
    )
    expect(page.locator("#headline")).to_contain_text(" ET.", timeout=ROUNDS_MS)
    expect(page.locator(".funnel b").first).to_have_text(re.compile("[1-4]"), timeout=ROUNDS_MS)
    first = page.locator("#headline").text_content() or ""
    expect(page.locator("#headline")).not_to_have_text(first, timeout=30_000)

    page.goto(f"{stack}/system/")

    expect(page.locator(".abc .cell.ok")).to_have_count(26)
    expect(page.locator(".shards .tr .up")).to_have_count(2)


def test_a_changed_parameter_arrives_on_hub_and_every_shard(page: Page, stack: str) -> None:
    page.goto(f"{stack}/parameters/")
    ready(page)
    expect(page.locator("[data-role='Shard 2']")).to_have_text("version 1", timeout=ROUNDS_MS)
    page.locator("#p-ao_min_magnitude_bps").fill("1.4")
    page.locator("#reason").fill("a little more to see")
    expect(page.locator("#diff-t")).to_have_text("1 change, not saved")
    page.get_by_role("button", name="Save as a new version").click()

    expect(page.locator(".toast")).to_contain_text("Version 2 saved. It counts from 10:")
    for role in ("Hub", "Shard 1", "Shard 2"):
        expect(page.locator(f"[data-role='{role}']")).to_have_text("version 2", timeout=40_000)


def test_the_hub_hears_the_kill_switch(page: Page, stack: str) -> None:
    page.keyboard.press("Shift+K")
    page.locator("#stop").get_by_label("Why").fill("a drill")
    page.locator("#stop").get_by_role("button", name="Pause entries").click()

    expect(page.locator(".banner.stopped")).to_contain_text("“a drill”")
    expect(page.locator("#log")).to_contain_text("Kill switch: pause", timeout=20_000)  # its words
    page.goto(f"{stack}/log/?level=errors")
    expect(page.locator(".log.long")).to_contain_text("Kill switch: pause")
