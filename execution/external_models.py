"""What is at the broker and not as we made it, and what people said of it."""

from django.apps import apps
from django.db import models

from accounts.append_only import AppendOnly
from accounts.fields import MicroDollarField


class Difference(models.Model):
    """Where broker and books differ, and what a person made of it.

    `open_key` is unique while it stands: one per run. `outcome` says how it ended: booked (taken
    over with the reason given), gone (they agree again) or changed (another one took its place: an
    acknowledgement counts for what was looked at only).
    """

    run = models.ForeignKey("execution.Run", on_delete=models.CASCADE, related_name="disagreements")
    open_key = models.CharField(max_length=40, null=True, unique=True)
    digest = models.CharField(max_length=64)
    body = models.JSONField()  # lines, executions, what is left, why it cannot be taken over yet
    found_ns = models.BigIntegerField()
    found_at = models.DateTimeField(auto_now_add=True)
    actor = models.CharField(max_length=150, blank=True)
    reason = models.CharField(max_length=150, blank=True)
    acknowledged_at = models.DateTimeField(null=True)
    outcome = models.CharField(max_length=10, blank=True)
    ended_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["-id"]

    def __str__(self) -> str:
        return f"{self.run_id} {self.outcome or 'open'}"


class ExternalOrderQuerySet(models.QuerySet["ExternalOrder"]):
    def locking(self, run_id: str) -> "ExternalOrderQuerySet":
        """Return those that keep entries locked.

        A leg that was heard of before anybody knew whose it is has turned out to be ours; not so a
        stranger's order that was adopted because we held its stock.
        """
        refs = apps.get_model("execution", "BrokerRef").objects.filter(run_id=run_id)
        ours = refs.exclude(order__purpose="ext").values("broker_id")
        rows = self.filter(run_id=run_id, locks=True, difference=None)
        return rows.exclude(broker_id__in=ours)


class ExternalOrder(models.Model):
    """An order at the broker that belongs to no trade of this run.

    `kind`: theirs (somebody else's), named (it has a name of our form that is unknown here: another
    run's, or from before the database was restored) or shelter (ours, for shares that are not: a
    journal of its own, intent and attempt committed before it is sent). One that `locks` keeps
    entries locked until the `difference` that it is part of was acknowledged.
    """

    run = models.ForeignKey(
        "execution.Run", on_delete=models.CASCADE, related_name="external_orders"
    )
    broker_id = models.CharField(max_length=40, null=True)
    client_order_id = models.CharField(max_length=128)
    kind = models.CharField(max_length=8)
    locks = models.BooleanField(default=False)
    difference = models.ForeignKey(
        Difference, null=True, on_delete=models.PROTECT, related_name="orders"
    )
    symbol = models.CharField(max_length=24)
    side = models.CharField(max_length=4)
    type = models.CharField(max_length=16)
    quantity = models.DecimalField(max_digits=20, decimal_places=9)  # people own fractions
    limit = MicroDollarField(null=True)
    stop = MicroDollarField(null=True)
    status = models.CharField(max_length=24)  # the venue's word; of a shelter an order's status
    reason = models.CharField(max_length=200, blank=True)
    fence_epoch = models.BigIntegerField(default=0)
    created_ns = models.BigIntegerField()  # when it was first seen, or intended
    sent_ns = models.BigIntegerField(null=True)
    absent = models.IntegerField(default=0)  # look-ups that found nothing, some time after the send

    objects = ExternalOrderQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["run", "broker_id"], name="one_external_order")
        ]

    def __str__(self) -> str:
        return f"{self.symbol} {self.client_order_id} ({self.kind})"


class Release(AppendOnly):
    """A person has looked at an order that was set aside (`why`), and says that it is well."""

    order = models.ForeignKey("execution.Order", on_delete=models.PROTECT, related_name="releases")
    why = models.CharField(max_length=200)
    reason = models.CharField(max_length=150)
    actor = models.CharField(max_length=150)
    at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return f"{self.order_id} {self.actor}: {self.reason}"
