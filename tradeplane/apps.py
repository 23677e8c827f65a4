"""Django configuration of the project itself, for its management commands."""

from django.apps import AppConfig
from django.conf import settings


class TradeplaneConfig(AppConfig):
    name = "tradeplane"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        settings.STATIC_ROOT.mkdir(parents=True, exist_ok=True)  # WhiteNoise warns without it
