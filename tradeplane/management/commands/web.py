"""`manage.py web`: pages, admin and live updates in the foreground."""

import warnings
from typing import Any

import uvicorn
from django.core.management.base import BaseCommand, CommandParser

STOP_WITHIN_S = 3


class Command(BaseCommand):
    help = "Run the web role (ASGI)."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--host", default="127.0.0.1")
        parser.add_argument("--port", type=int, default=8000)

    def handle(self, *args: Any, **options: Any) -> None:
        # WhiteNoise's files are small; that it iterates them plainly costs nothing here.
        warnings.filterwarnings("ignore", message="StreamingHttpResponse must consume")
        uvicorn.run(
            "tradeplane.asgi:application",
            host=options["host"],
            port=options["port"],
            ws="websockets-sansio",
            ws_max_size=64 * 1024,
            log_config=None,  # Django's LOGGING stands
            log_level="warning",
            access_log=False,
            lifespan="off",
            server_header=False,
            timeout_graceful_shutdown=STOP_WITHIN_S,
        )
