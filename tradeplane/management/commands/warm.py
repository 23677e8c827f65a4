"""`manage.py warm`: compile the kernels once, at set-up, so that no role waits for it later."""

import importlib
import importlib.util
from typing import Any

from django.core.management.base import BaseCommand

#: Modules with a `warm()`: each compiles, or loads from its cache, every kernel it has.
KERNEL_MODULES = ("relay.dispatch", "shards.kernels")


class Command(BaseCommand):
    help = "Compile the numba kernels into their cache."
    requires_system_checks: list[str] = []

    def handle(self, *args: Any, **options: Any) -> None:
        for name in KERNEL_MODULES:
            if importlib.util.find_spec(name) is not None:
                getattr(importlib.import_module(name), "warm", _nothing)()


def _nothing() -> None:
    """A module without kernels to warm."""
