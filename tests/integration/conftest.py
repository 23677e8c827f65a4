"""Fixtures of the integration tests."""

import pytest
from pytest_django import Settings


@pytest.fixture(autouse=True)
def _unhurried(settings: Settings) -> None:
    """No test is throttled for what others asked; the tests of the limits set their own."""
    settings.API_RATES = dict.fromkeys(settings.API_RATES, 10**6)
