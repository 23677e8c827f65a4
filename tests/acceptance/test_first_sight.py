"""What a newcomer sees without keys: soon a page that moves, and candidates with their reasons.

The same processes as at a real start, a smaller market: `script/bench hub` runs the whole one.
"""

import http.cookiejar
import json
import re
import signal
import threading
import time
import urllib.parse
import urllib.request
from pathlib import Path

import pytest
from websockets.sync.client import connect

from tests.acceptance.stack import start
from tests.acceptance.test_synthetic import wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(420)]
#: Of one day: a half day moves more, and is another market.
MARKET = ("--synthetic", "7", "--symbols", "800", "--day", "2026-11-23", "--port", "18200")
MOVES_WITHIN_S, CANDIDATE_WITHIN_S = 120.0, 60.0
BUCKET_NS = 5_000_000_000
LIVE_AFTER_NS = 25 * 60 * 1_000_000_000  # 09:55 New York, from the open
LOADED = 2.0  # other tests may run beside this one
#: By the clock from 09:55 on, fast-forwarded before.
PACED = "select open_ns from execution_run where market_ns >= open_ns + 1500000000000"
JUDGED = (
    "select d.k, d.record from execution_decision d join execution_run r on d.run_id = r.id "
    "where d.shadow = 0 and d.k * 5000000000 >= r.open_ns + 1500000000000 order by d.k"
)


class Terminal:
    """What `up` says, read as it comes."""

    def __init__(self, process) -> None:
        self.text = ""
        self._process = process
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        for line in self._process.stdout:
            self.text += line

    def close(self) -> None:
        self._thread.join(10)
        self._process.stdout.close()
        self._process.stderr.close()

    def find(self, pattern: str, seconds: float) -> str:
        deadline = time.monotonic() + seconds
        while (found := re.search(pattern, self.text)) is None:
            assert time.monotonic() < deadline, f"up did not say {pattern}:\n{self.text[-2000:]}"
            time.sleep(0.1)
        return found[1]


class Browser:
    """A signed-in visitor without a screen."""

    def __init__(self, address: str, password: str) -> None:
        self._address = address
        self._jar = http.cookiejar.CookieJar()
        self._opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPCookieProcessor(self._jar)
        )
        page = self.get("/login/")
        token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page)[1]
        form = {"username": "admin", "password": password, "csrfmiddlewaretoken": token}
        body = urllib.parse.urlencode(form).encode()
        self._opener.open(f"{address}/login/", body, timeout=20).read()

    def get(self, path: str) -> str:
        with self._opener.open(self._address + path, timeout=20) as answer:
            return answer.read().decode()

    def updates(self, count: int, seconds: float) -> list[dict]:
        """Return the first messages of the live page."""
        cookie = "; ".join(f"{c.name}={c.value}" for c in self._jar)
        address = self._address.replace("http:", "ws:")
        with connect(
            f"{address}/live/board", additional_headers={"Cookie": cookie}, origin=self._address,
            proxy=None,
        ) as page:  # fmt: skip
            return [json.loads(page.recv(seconds)) for _ in range(count)]


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    """One start, watched until its first candidate of the paced market was judged."""
    home: Path = tmp_path_factory.mktemp("first-sight")
    began = time.monotonic()
    process = start(home, *MARKET)
    terminal = Terminal(process)
    found: dict = {"home": home}
    try:
        password = terminal.find(r"with the password (\S+)", 120)
        browser = Browser(terminal.find(r"ready: (http://\S+?)/ ", 200), password)
        ((open_ns,),) = wait_for(home, PACED, 1, 200)
        found["updates"] = browser.updates(4, 30)
        found["moves_s"] = time.monotonic() - began
        found["live_ns"] = open_ns + LIVE_AFTER_NS
        found["first"] = wait_for(home, JUDGED, 1, LOADED * CANDIDATE_WITHIN_S)[0]
    finally:
        process.send_signal(signal.SIGINT)
        found["code"] = process.wait(60)
        terminal.close()
    found["terminal"] = terminal.text
    return found


def test_the_live_page_moves_within_two_minutes(seen):
    kinds = [update["type"] for update in seen["updates"]]

    assert seen["moves_s"] < LOADED * MOVES_WITHIN_S
    assert kinds[0] == "snapshot"
    assert "delta" in kinds[1:]


def test_a_candidate_is_judged_within_a_minute_of_the_paced_market(seen):
    k, record = seen["first"]

    assert (k + 1) * BUCKET_NS - seen["live_ns"] <= CANDIDATE_WITHIN_S * 1e9
    assert json.loads(record)["primary_reason"]


def test_what_was_planted_is_listed_in_a_file(seen):
    lines = (seen["home"] / "planted.csv").read_text().splitlines()

    assert lines[0].startswith("symbol,start_ns,start_new_york")
    assert len(lines) > 50
    assert "planted.csv" in seen["terminal"]


def test_it_stops_clean(seen):
    assert seen["code"] == 0
