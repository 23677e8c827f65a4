"""API keys in the admin: to look at. They are made and revoked on their own page."""

from django.contrib import admin

from accounts.admin import ReadOnlyAdmin
from tradeplane.models import ApiKey, IdempotentAnswer


@admin.register(ApiKey)
class ApiKeyAdmin(ReadOnlyAdmin):
    list_display = (
        "name", "prefix", "owner", "scopes", "made_at", "expires_at", "last_used_at", "revoked_at",
    )  # fmt: skip
    list_select_related = ("owner",)
    search_fields = ("name", "prefix")
    exclude = ("secret_sha256",)


@admin.register(IdempotentAnswer)
class IdempotentAnswerAdmin(ReadOnlyAdmin):
    list_display = ("at", "caller", "key")
