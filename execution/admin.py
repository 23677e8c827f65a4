"""The hub's rows in the admin: to look at. Only services write them."""

from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest

from accounts.admin import ReadOnlyAdmin, ReadOnlyInline
from execution import selectors
from execution.domain.kill_levels import crosses
from execution.errors import SwitchStands
from execution.models import (
    Acknowledgement,
    Activity,
    BrokerEvent,
    BrokerRef,
    Decision,
    DecisionChain,
    Difference,
    ExitSignalRecord,
    ExternalOrder,
    Figure,
    KillSwitch,
    Lease,
    Order,
    OrderAttempt,
    OvernightReview,
    Release,
    Round,
    Run,
    ShardChange,
    StartupStep,
    Trade,
    UniverseEntry,
)
from execution.services import runs


class StepInline(ReadOnlyInline):
    model = StartupStep
    fields = ("position", "name", "state", "reason", "at")


class OrderInline(ReadOnlyInline):
    model = Order
    fields = ("client_order_id", "purpose", "side", "quantity", "limit", "stop", "status", "reason")


class ReleaseInline(ReadOnlyInline):
    model = Release
    fields = ("why", "reason", "actor", "at")


class AttemptInline(ReadOnlyInline):
    model = OrderAttempt
    fields = ("kind", "n", "sent_at", "outcome", "message", "answered_at")


@admin.register(Run)
class RunAdmin(ReadOnlyAdmin):
    list_display = ("id", "state", "mode", "day", "account_number", "started_at", "ended_at")
    list_filter = ("state", "mode")
    inlines = (StepInline,)


@admin.register(ShardChange)
class ShardChangeAdmin(ReadOnlyAdmin):
    list_display = ("at", "action", "shard", "plan", "actor")
    list_filter = ("action",)


@admin.register(Round)
class RoundAdmin(ReadOnlyAdmin):
    list_display = ("run", "k", "state", "n_candidates", "n_shadow", "coverage", "params_version")
    list_filter = ("state", "run")
    exclude = ("inputs", "late_inputs", "decision_rows")


@admin.register(Decision)
class DecisionAdmin(ReadOnlyAdmin):
    list_display = ("run", "k", "symbol", "outcome", "primary_reason", "score", "streak", "rank")
    list_filter = ("outcome", "shadow", "run")
    search_fields = ("symbol", "candidate_id")


@admin.register(UniverseEntry)
class UniverseAdmin(ReadOnlyAdmin):
    """The universe of each day: search a symbol to see why it is out, or what is not known."""

    list_display = (
        "run", "symbol", "included", "reason", "dollar_volume_20d", "volume_14d", "sector",
    )  # fmt: skip
    list_filter = ("included", "run")
    search_fields = ("symbol", "name")


@admin.register(DecisionChain)
class DecisionChainAdmin(ReadOnlyAdmin):
    list_display = ("run", "length", "head")


@admin.register(Trade)
class TradeAdmin(ReadOnlyAdmin):
    list_display = (
        "run", "day", "slot", "symbol", "state", "quantity", "filled_quantity", "exit_reason",
        "realized_pnl",
    )  # fmt: skip
    list_filter = ("state", "exit_reason", "run")
    search_fields = ("symbol",)
    inlines = (OrderInline,)


@admin.register(Order)
class OrderAdmin(ReadOnlyAdmin):
    list_display = (
        "client_order_id", "symbol", "purpose", "side", "quantity", "filled_quantity", "limit",
        "stop", "status", "reason", "denied_code", "denied_value", "denied_limit",
    )  # fmt: skip
    list_filter = ("quarantined", "status", "purpose", "denied_code", "run")
    search_fields = ("client_order_id", "broker_id", "symbol")
    inlines = (AttemptInline, ReleaseInline)


@admin.register(Release)
class ReleaseAdmin(ReadOnlyAdmin):
    list_display = ("at", "order", "why", "reason", "actor")
    search_fields = ("order__client_order_id", "order__symbol", "actor")


@admin.register(BrokerEvent)
class BrokerEventAdmin(ReadOnlyAdmin):
    list_display = ("run", "key", "source", "event", "order", "received_at")
    list_filter = ("source", "event", "run")
    search_fields = ("key",)
    list_select_related = ("order",)


@admin.register(ExitSignalRecord)
class ExitSignalAdmin(ReadOnlyAdmin):
    list_display = ("run", "symbol", "kind", "outcome", "reason", "tries", "retry_at_ns")
    list_filter = ("outcome", "kind", "run")


@admin.register(Difference)
class DifferenceAdmin(ReadOnlyAdmin):
    list_display = ("found_at", "run", "actor", "reason", "acknowledged_at", "outcome")
    list_filter = ("outcome",)


@admin.register(ExternalOrder)
class ExternalOrderAdmin(ReadOnlyAdmin):
    list_display = ("client_order_id", "kind", "symbol", "side", "quantity", "status", "locks")
    list_filter = ("kind", "locks")


@admin.register(Figure)
class FigureAdmin(ReadOnlyAdmin):
    list_display = ("at", "name", "ok")
    list_filter = ("name", "ok")


@admin.register(Activity)
class ActivityAdmin(ReadOnlyAdmin):
    list_display = ("at", "run", "level", "kind", "text")
    list_filter = ("level", "kind", "run")


@admin.register(Acknowledgement)
class AcknowledgementAdmin(ReadOnlyAdmin):
    list_display = ("activity", "actor", "at")
    list_select_related = ("activity",)


@admin.register(StartupStep)
class StartupStepAdmin(ReadOnlyAdmin):
    list_display = ("run", "position", "name", "state", "reason", "at")
    list_filter = ("state", "run")


@admin.register(OrderAttempt)
class OrderAttemptAdmin(ReadOnlyAdmin):
    list_display = ("order", "kind", "n", "sent_at", "outcome", "message")
    list_filter = ("kind", "outcome")
    list_select_related = ("order",)


@admin.register(OvernightReview)
class OvernightReviewAdmin(ReadOnlyAdmin):
    list_display = ("trade", "decision", "reason", "actor", "at")
    list_select_related = ("trade",)


@admin.register(BrokerRef)
class BrokerRefAdmin(ReadOnlyAdmin):
    list_display = ("broker_id", "order", "run")
    list_select_related = ("order",)
    search_fields = ("broker_id",)


@admin.register(Lease)
class LeaseAdmin(ReadOnlyAdmin):
    list_display = ("name", "epoch", "holder", "expires_at")


@admin.register(KillSwitch)
class KillSwitchAdmin(ReadOnlyAdmin):
    """Turning it needs a reason: `manage.py killswitch`; the actions here only tighten."""

    list_display = ("level", "reason", "actor", "at")
    actions = ("pause", "flatten")

    @admin.action(description="Pause: no new entries", permissions=["turn"])
    def pause(self, request: HttpRequest, queryset: QuerySet[KillSwitch]) -> None:
        self._turn(request, "pause")

    @admin.action(description="Flatten: leave every position now", permissions=["turn"])
    def flatten(self, request: HttpRequest, queryset: QuerySet[KillSwitch]) -> None:
        self._turn(request, "flatten")

    def has_turn_permission(self, request: HttpRequest) -> bool:
        return bool(request.user.is_superuser)

    def _turn(self, request: HttpRequest, level: str) -> None:
        actor: Any = request.user
        if crosses(selectors.kill_level(), level):
            said = "The kill switch is frozen: the stop page asks for the word that it takes."
            self.message_user(request, said, messages.ERROR)
            return
        try:
            runs.set_kill_switch(level=level, reason="from the admin", actor=actor.get_username())
        except SwitchStands as exc:
            self.message_user(request, f"Nothing was changed: {exc}.", messages.ERROR)
        else:
            self.message_user(request, f"The kill switch is at {level}.", messages.WARNING)
