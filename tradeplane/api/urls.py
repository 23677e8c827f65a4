"""URLs under `/api/`."""

from django.urls import path
from django.views.decorators.csrf import csrf_exempt

from tradeplane.api.app import api, home, no_route

urlpatterns = [
    path("", home, name="api-home"),
    path("", api.urls),
    path("<path:rest>", csrf_exempt(no_route)),
]
