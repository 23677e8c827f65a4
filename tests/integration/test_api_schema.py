"""Requests made from the schema by a machine: whatever it sends, the server never breaks."""

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from django.core import signals
from django.core.wsgi import get_wsgi_application
from django.db import close_old_connections
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from tests.integration import accounts_builders as books
from tests.integration.api_builders import a_key, a_run, a_trade, an_order, bearer, decisions
from tradeplane.api.app import api

pytestmark = pytest.mark.django_db

EXAMPLES = 25  # per route and kind of data: some 20 s in all
CHECKS = (
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    unsupported_method,
)
SETTINGS = settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)


def routes() -> list[tuple[str, str, GenerationMode]]:
    """Every route with valid data, and with bad data where it takes any."""
    return [
        (path, method, mode)
        for path, methods in api.get_openapi_schema()["paths"].items()
        for method, operation in methods.items()
        for mode in GenerationMode
        if mode is GenerationMode.POSITIVE or operation["parameters"] or "requestBody" in operation
    ]


@pytest.fixture
def one_connection(db: None) -> Iterator[None]:
    """Requests leave the test's transaction open, as Django's own test client has it."""
    signals.request_started.disconnect(close_old_connections)
    signals.request_finished.disconnect(close_old_connections)
    yield
    signals.request_started.connect(close_old_connections)
    signals.request_finished.connect(close_old_connections)


@pytest.fixture
def schema(one_connection: None) -> Any:
    """The interface over a database with a few rows of everything."""
    run = a_run()
    decisions(run, 3)
    an_order(a_trade(run))
    books.record(books.an_account(run_id=run.pk))
    headers = bearer(a_key()[1])
    found = schemathesis.openapi.from_wsgi("/api/schema", get_wsgi_application(), headers=headers)
    found.config.update(headers=headers)
    return found


@pytest.mark.parametrize(("path", "method", "mode"), routes())
def test_no_request_breaks_the_server(
    schema: Any, path: str, method: str, mode: GenerationMode
) -> None:
    requests = schema[path][method].as_strategy(generation_mode=mode)

    @given(case=requests)
    @SETTINGS
    def ask(case: schemathesis.Case) -> None:
        answer = case.call_and_validate(checks=CHECKS)
        assert answer.status_code not in (401, 403, 429), "the key opens every route"

    ask()
