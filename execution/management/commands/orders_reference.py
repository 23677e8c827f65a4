"""`manage.py orders_reference`: write the generated parts of docs/orders.md."""

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

from execution import reference


class Command(BaseCommand):
    help = "Write the tables and diagrams of docs/orders.md from the code that they describe."
    requires_system_checks = []

    def handle(self, *args: Any, **options: Any) -> None:
        page = settings.BASE_DIR / "docs" / "orders.md"
        page.write_text(reference.filled(page.read_text()))
        self.stdout.write(f"{page.name} is up to date")
