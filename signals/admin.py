"""Parameter versions in the admin: to look at. They are saved by services only."""

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.http import HttpRequest

from signals.models import ActiveParameters, ExpiringChange, ParameterSet, Trial

if TYPE_CHECKING:
    _ModelAdmin = admin.ModelAdmin[Any]
else:
    _ModelAdmin = admin.ModelAdmin


class _LookOnlyAdmin(_ModelAdmin):
    """Add, change, delete: never."""

    actions = None
    list_per_page = 100

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(ParameterSet)
class ParameterSetAdmin(_LookOnlyAdmin):
    list_display = ["version", "base", "author", "comment", "saved_at", "sha256"]
    search_fields = ["author", "comment"]


@admin.register(ActiveParameters)
class ActiveParametersAdmin(_LookOnlyAdmin):
    list_display = ["version", "active_from_k", "author", "activated_at"]
    list_select_related = ["version"]


@admin.register(ExpiringChange)
class ExpiringChangeAdmin(_LookOnlyAdmin):
    list_display = ["version", "due_ns", "settled"]
    list_select_related = ["version"]


@admin.register(Trial)
class TrialAdmin(_LookOnlyAdmin):
    list_display = ["at", "kind", "actor", "sha256"]
    list_filter = ["kind"]
