"""Pictures of the running product: `script/shots --out FOLDER`.

Starts everything as `script/up` does, on a made-up market in a throw-away home, or looks at pages
that already run (`--url`). Waits until there is something to see, then looks at every page.
"""

import argparse
import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

from tests.browser.driving import CHROMIUM, DESK, FLAGS, PHONE, ROOT, Process, sign_in, wait_for
from tests.servers import free_port

PAGES = {
    "live": "/", "symbol": "/symbol/", "parameters": "/parameters/", "system": "/system/",
    "log": "/log/", "keys": "/keys/", "help": "/help/", "stop": "/stop/",
}  # fmt: skip
#: variant → (color scheme, on a phone)
VARIANTS = {"dark": ("dark", False), "light": ("light", False), "phone": ("dark", True)}
START_S, LOOK_S = 240, 0.5


def main() -> int:
    asked = options()
    if CHROMIUM is None:
        say("error: no Chromium (set CHROMIUM=/path)")
        return 1
    asked.out.mkdir(parents=True, exist_ok=True)
    with site(asked) as (url, name, word), sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        try:
            look(browser, asked, url, name, word)
        finally:
            browser.close()
    return 0


def say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="script/shots", description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "pictures")
    parser.add_argument("--url", help="pages that already run; else a market is started")
    parser.add_argument("--name", default="admin")
    parser.add_argument("--password", default=os.environ.get("TRADEPLANE_PASSWORD", ""))
    parser.add_argument("--symbols", default="2000", help="size of the market, default 2000")
    parser.add_argument("--seed", default="3115")
    parser.add_argument("--wait", type=float, default=240, help="seconds for a trade to be open")
    parser.add_argument("--pages", nargs="*", choices=PAGES, default=list(PAGES))
    parser.add_argument("--variants", nargs="*", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--whole", action="store_true", help="whole pages, not what a screen shows")
    return parser.parse_args()


@contextmanager
def site(asked: argparse.Namespace) -> Iterator[tuple[str, str, str]]:
    """Give address, name and password of pages that run."""
    if asked.url:
        yield asked.url.rstrip("/"), asked.name, asked.password
        return
    with tempfile.TemporaryDirectory(prefix="tradeplane-shots-") as home:
        word, port = secrets.token_urlsafe(12), free_port()
        environment = {k: v for k, v in os.environ.items() if k in ("PATH", "HOME", "LANG")}
        environment |= {"TRADEPLANE_HOME": home, "DJANGO_SETTINGS_MODULE": "tradeplane.settings"}
        owner(environment, asked.name, word)
        up = Process(
            environment, "manage.py", "up", "--synthetic", asked.seed, "--symbols", asked.symbols,
            "--port", str(port),
        )  # fmt: skip
        try:
            wait_for(f"http://127.0.0.1:{port}/login/", up, START_S)
            yield f"http://127.0.0.1:{port}", asked.name, word
        finally:
            up.end()


def owner(environment: dict[str, str], name: str, word: str) -> None:
    code = (
        "import django; django.setup()\n"
        "from django.core.management import call_command; call_command('migrate', verbosity=0)\n"
        "from django.contrib.auth import get_user_model\n"
        f"get_user_model().objects.create_superuser({name!r}, password={word!r})"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, check=True, timeout=90)


def look(browser: Browser, asked: argparse.Namespace, url: str, name: str, word: str) -> None:
    first = visit(browser, "dark", url, name, word)
    interesting(first, asked.wait)
    for variant in asked.variants:
        page = first if variant == "dark" else visit(browser, variant, url, name, word)
        for one in asked.pages:
            page.goto(url + PAGES[one])
            page.locator("html[data-ready]").wait_for(state="attached")
            page.wait_for_timeout(1_500)  # a picture has no event to wait for: let the feed arrive
            take(page, asked, f"{one}-{variant}")
        if variant == "dark" and "stop" in asked.pages:
            page.goto(url)
            page.locator("html[data-ready]").wait_for(state="attached")
            page.keyboard.press("Shift+K")
            take(page, asked, "stop-dialog")


def visit(browser: Browser, variant: str, url: str, name: str, word: str) -> Page:
    scheme, phone = VARIANTS[variant]
    context = browser.new_context(
        viewport=PHONE if phone else DESK,  # type: ignore[arg-type]
        color_scheme=scheme,  # type: ignore[arg-type]
        is_mobile=phone, has_touch=phone, device_scale_factor=2 if phone else 1,
    )  # fmt: skip
    page = context.new_page()
    sign_in(page, url, name, word)
    return page


def interesting(page: Page, seconds: float) -> None:
    """Wait for an open position beside candidates; when none comes, take what is there."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if page.locator("#position .pnl").count() and page.locator("#cand-body > .row").count() > 2:
            return
        page.wait_for_timeout(1_000 * LOOK_S)
    say("no position was opened in time; the pictures show what there is")


def take(page: Page, asked: argparse.Namespace, name: str) -> None:
    path = asked.out / f"{name}.png"
    page.screenshot(path=path, full_page=asked.whole)
    say(f"{path} {path.stat().st_size // 1024} KB")


if __name__ == "__main__":
    sys.exit(main())
