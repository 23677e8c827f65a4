"""The venue's trading API without a socket: what answers the official SDK inside one process."""

from io import BytesIO
from typing import Any

import requests
from requests.adapters import BaseAdapter

from execution.venue.rest import TradingApi, parse_request

URL = "http://127.0.0.1"  # never dialed: the transport answers
_CALLS_LEFT = "199"


class LocalTransport(BaseAdapter):
    """Hands a request of the SDK's session to the API and its answer back, in the same thread."""

    def __init__(self, api: TradingApi) -> None:
        super().__init__()
        self._api = api

    def send(self, request: requests.PreparedRequest, *_: Any, **__: Any) -> requests.Response:
        url: Any = request.path_url
        path, _, query = url.partition("?")
        body: Any = request.body or b""
        content = body.encode() if isinstance(body, str) else bytes(body)
        asked = parse_request(str(request.method), path, query.encode(), content)
        answer = self._api.answer(asked)
        response = requests.Response()
        response.status_code = answer.status
        response.raw = BytesIO(answer.body)
        response.url = str(request.url)
        response.request = request
        response.headers["X-RateLimit-Remaining"] = _CALLS_LEFT
        return response

    def close(self) -> None:
        """Nothing is open."""
