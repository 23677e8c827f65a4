"""URLs of the interface and of the page of its keys."""

from django.urls import path
from django.views.decorators.csrf import csrf_exempt

from tradeplane.api import pages
from tradeplane.api.app import api, home, no_route

urlpatterns = [
    path("api/", home, name="api-home"),
    path("api/", api.urls),
    path("api/<path:rest>", csrf_exempt(no_route)),
    path("keys/", pages.key_list, name="api-keys"),
    path("keys/make", pages.make_key, name="api-key-make"),
    path("keys/<int:key_id>/revoke", pages.revoke_key, name="api-key-revoke"),
]
