"""Errors as the interface tells them: a status, and one line under `error`.

HttpError (ninja)            status and line as raised
├── AuthenticationError      401, no caller
├── Throttled                429, with Retry-After
ValidationError (ninja)      422, every field that is wrong, joined
ParameterError               422; StaleParameters 409
SuspiciousOperation          400, refused by Django itself (size, number of fields)
OperationalError             503, the database does not answer
"""

from typing import Any

from django.core.exceptions import SuspiciousOperation
from django.db import OperationalError
from django.http import Http404, HttpRequest, HttpResponse
from ninja import NinjaAPI, Schema
from ninja.errors import HttpError, ValidationError

from signals.errors import StaleParameters
from signals.parameters.catalogue import ParameterError

LINE_MAX = 600


class Problem(Schema):
    """Why nothing was done."""

    error: str


#: What every route may answer besides its own.
REFUSALS: dict[int, type[Problem]] = dict.fromkeys((400, 401, 403, 422, 429), Problem)
NOT_FOUND: dict[int, type[Problem]] = {404: Problem}
CONFLICT: dict[int, type[Problem]] = {409: Problem}


def install(api: NinjaAPI) -> None:
    """Teach the interface to tell every error the same way."""

    def answer(request: HttpRequest, status: int, line: str) -> HttpResponse:
        one_line = " ".join(line.split())[:LINE_MAX]
        response = api.create_response(request, {"error": one_line}, status=status)
        if status == 401:
            response["WWW-Authenticate"] = 'Bearer realm="tradeplane"'
        return response

    def http_error(request: HttpRequest, exc: Any) -> HttpResponse:
        return answer(request, exc.status_code, str(exc))

    def invalid(request: HttpRequest, exc: Any) -> HttpResponse:
        return answer(request, 422, "; ".join(_sentence(error) for error in exc.errors))

    def bad_parameter(request: HttpRequest, exc: Any) -> HttpResponse:
        return answer(request, 409 if isinstance(exc, StaleParameters) else 422, str(exc))

    def missing(request: HttpRequest, exc: Any) -> HttpResponse:
        return answer(request, 404, str(exc) or "there is no such thing here")

    def suspicious(request: HttpRequest, exc: Any) -> HttpResponse:
        return answer(request, 400, "the request is too large or malformed")

    def no_database(request: HttpRequest, exc: Any) -> HttpResponse:
        return answer(request, 503, "the database does not answer; try again")

    for kind, handler in (
        (HttpError, http_error),
        (ValidationError, invalid),
        (ParameterError, bad_parameter),
        (Http404, missing),
        (SuspiciousOperation, suspicious),
        (OperationalError, no_database),
    ):
        api.add_exception_handler(kind, handler)


def _sentence(error: dict[str, Any]) -> str:
    """`limit: Input should be less than or equal to 500`; never the input itself."""
    where = [str(part) for part in error.get("loc", ())][1:]
    where = [part for part in where if part not in ("body", "filters")]
    place = ".".join(where)[:80]
    return f"{place}: {error.get('msg', 'is wrong')}" if place else str(error.get("msg"))
