"""Django configuration of the project itself, for its management commands."""

from django.apps import AppConfig
from django.conf import settings
from django.db.models.signals import post_migrate


class TradeplaneConfig(AppConfig):
    name = "tradeplane"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        settings.STATIC_ROOT.mkdir(parents=True, exist_ok=True)  # WhiteNoise warns without it
        from tradeplane import hooks  # noqa: PLC0415 - models are there only now

        # This app migrates last, so everybody's permissions exist then.
        post_migrate.connect(hooks.make_groups, sender=self)
