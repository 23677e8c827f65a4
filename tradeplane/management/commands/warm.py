"""`manage.py warm`: compile the kernels once, at set-up, so that no role waits for it later."""

import importlib
from typing import Any

from django.core.management.base import BaseCommand

#: Each has a `warm()` that compiles, or loads from its cache, every kernel of its app.
KERNEL_MODULES = ("relay.dispatch", "shards")


class Command(BaseCommand):
    help = "Compile the numba kernels into their cache."
    requires_system_checks: list[str] = []

    def handle(self, *args: Any, **options: Any) -> None:
        for name in KERNEL_MODULES:
            importlib.import_module(name).warm()
