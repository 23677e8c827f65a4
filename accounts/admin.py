"""The books in the admin: to look at. Only services write them."""

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.http import HttpRequest

from accounts.models import Account, DayClose, Fill, JournalEntry, Posting

if TYPE_CHECKING:
    _ModelAdmin = admin.ModelAdmin[Any]
    _TabularInline = admin.TabularInline[Any, Any]
else:
    _ModelAdmin, _TabularInline = admin.ModelAdmin, admin.TabularInline


class _LookOnly:
    """Add, change, delete: never."""

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class ReadOnlyAdmin(_LookOnly, _ModelAdmin):
    """Base of every admin over records that only services write."""

    actions: Any = None
    list_per_page = 100
    show_full_result_count = False


class ReadOnlyInline(_LookOnly, _TabularInline):
    """Rows of a record, below it."""

    extra = 0
    can_delete = False

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return self.fields or ()  # also those that no form may hold, like a time of change


class PostingInline(ReadOnlyInline):
    model = Posting
    fields = ("ledger", "symbol", "session_date", "amount_usd", "quantity")


@admin.register(Account)
class AccountAdmin(ReadOnlyAdmin):
    list_display = ("number", "run_id", "mode", "opened_on", "closed_through")
    list_filter = ("mode",)
    search_fields = ("number", "run_id")


@admin.register(JournalEntry)
class JournalEntryAdmin(ReadOnlyAdmin):
    list_display = ("source_key", "kind", "account", "session_date", "order_ref", "reason")
    list_filter = ("kind", "session_date")
    list_select_related = ("account",)
    search_fields = ("source_key", "order_ref")
    inlines = (PostingInline,)


@admin.register(Posting)
class PostingAdmin(ReadOnlyAdmin):
    list_display = ("entry", "ledger", "symbol", "session_date", "amount_usd", "quantity")
    list_filter = ("ledger", "session_date")
    list_select_related = ("entry",)
    search_fields = ("symbol",)


@admin.register(Fill)
class FillAdmin(ReadOnlyAdmin):
    list_display = ("execution_id", "symbol", "quantity", "price_usd", "session_date", "order_ref")
    list_filter = ("session_date", "symbol")
    search_fields = ("execution_id", "symbol", "order_ref")


@admin.register(DayClose)
class DayCloseAdmin(ReadOnlyAdmin):
    list_display = ("session_date", "account", "realized_usd", "fees_usd", "cash_usd")
    list_filter = ("session_date",)
    list_select_related = ("account",)
