"""Rows of the control plane itself: who may use the REST interface, and what it answered."""

from django.conf import settings
from django.db import models


class ApiKey(models.Model):
    """A program's key. The secret is not here, only its SHA-256: 32 random bytes need no salt."""

    name = models.CharField(max_length=60)
    prefix = models.CharField(max_length=8, unique=True, editable=False)
    secret_sha256 = models.CharField(max_length=64, editable=False)
    scopes = models.JSONField(default=list)
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="api_keys"
    )
    made_at = models.DateTimeField()
    expires_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)
    revoked_by = models.CharField(max_length=150, blank=True)

    class Meta:
        ordering = ["-id"]
        verbose_name = "API key"

    def __str__(self) -> str:
        return f"{self.name} (tp_{self.prefix}_…)"


class IdempotentAnswer(models.Model):
    """The answer to a POST with an Idempotency-Key, written in the transaction of its effect."""

    caller = models.CharField(max_length=40)
    key = models.CharField(max_length=64)
    request_sha256 = models.CharField(max_length=64)
    answer = models.JSONField(null=True)
    at = models.DateTimeField(db_index=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["caller", "key"], name="one_answer_per_idempotency_key")
        ]

    def __str__(self) -> str:
        return f"{self.caller} {self.key}"
