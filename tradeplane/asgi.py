"""ASGI: pages and admin over HTTP, live updates over WebSockets of our own hosts only."""

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tradeplane.settings")

from django.core.asgi import get_asgi_application

_http = get_asgi_application()  # sets the apps up, so it comes before what needs them

from channels.auth import AuthMiddlewareStack  # noqa: E402
from channels.routing import ProtocolTypeRouter, URLRouter  # noqa: E402
from channels.security.websocket import AllowedHostsOriginValidator  # noqa: E402
from django.urls import path  # noqa: E402

from tradeplane.pages.consumers import LiveConsumer  # noqa: E402

application = ProtocolTypeRouter(
    {
        "http": _http,
        "websocket": AllowedHostsOriginValidator(
            AuthMiddlewareStack(URLRouter([path("live/board", LiveConsumer.as_asgi())]))
        ),
    }
)
