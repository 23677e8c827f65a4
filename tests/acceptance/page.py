"""Somebody who looks at the pages of a running `up`, over HTTP."""

import http.cookiejar
import re
import urllib.parse
import urllib.request
from pathlib import Path


class Page:
    """Somebody who is signed in and looks at the system page."""

    def __init__(self, terminal: Path) -> None:
        said = terminal.read_text()
        self._address = re.search(r"ready: (http://127\.0\.0\.1:\d+)/", said)[1]
        password = re.search(r"with the password (\S+)", said)[1]
        jar = http.cookiejar.CookieJar()
        self._web = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPCookieProcessor(jar)
        )
        form = self._get("/login/")
        token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', form)[1]
        answer = {"csrfmiddlewaretoken": token, "username": "admin", "password": password}
        request = urllib.request.Request(  # noqa: S310 - loopback
            f"{self._address}/login/", urllib.parse.urlencode(answer).encode(),
            {"Referer": f"{self._address}/login/"},
        )  # fmt: skip
        self._web.open(request, timeout=20).close()

    def _get(self, path: str) -> str:
        with self._web.open(f"{self._address}{path}", timeout=20) as answer:
            return answer.read().decode()

    def drill(self) -> str:
        """Return what the system page says of the last drill of the kill switch."""
        return _text(re.search(r"Kill switch drill(.{0,400})", self._get("/system/"), re.S)[1])

    def dark(self) -> list[str]:
        """Return what the map of the alphabet says of letters without entries."""
        return re.findall(r"✕ no entries[^<]*", self._get("/system/"))

    def slow(self) -> int:
        """Return of how many letters the map says that they are slow."""
        return self._get("/system/").count("! slow")


def _text(html: str) -> str:
    return " ".join(re.sub(r"<[^>]*>?", " ", html).split())
