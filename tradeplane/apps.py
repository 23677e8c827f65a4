"""Django configuration of the project itself, for its management commands."""

from django.apps import AppConfig


class TradeplaneConfig(AppConfig):
    name = "tradeplane"
    default_auto_field = "django.db.models.BigAutoField"
