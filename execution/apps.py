"""Django configuration of the app."""

from django.apps import AppConfig
from django.conf import settings

from execution import failpoints


class ExecutionConfig(AppConfig):
    name = "execution"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Let `check_books` look at the trail behind the books, too."""
        from accounts.check import register  # noqa: PLC0415 - models are loaded by now
        from execution.trail import CHECKS  # noqa: PLC0415

        for name, check in CHECKS.items():
            register(name, check)
        failpoints.arm_from(settings.TRADEPLANE_FAILPOINTS, settings.TRADEPLANE_HOME)
