"""Versions of the parameters, and which one is active from which bucket on."""

from typing import Any

from django.db import models


class AppendOnly(models.Model):
    """Rows that are written once."""

    class Meta:
        abstract = True

    def save(self, *args: Any, **kwargs: Any) -> None:
        if not self._state.adding:
            raise TypeError(f"a {type(self).__name__} is never changed; save a new one")
        super().save(*args, **kwargs)

    def delete(self, *args: Any, **kwargs: Any) -> tuple[int, dict[str, int]]:
        raise TypeError(f"a {type(self).__name__} is never deleted")


class ParameterSet(AppendOnly):
    """A whole, valid set under its version number; version 0 is the catalogue and has no row."""

    version = models.IntegerField(primary_key=True)
    base = models.IntegerField()  # the version its author had before them
    values = models.JSONField()
    sha256 = models.CharField(max_length=64)
    author = models.CharField(max_length=150)
    comment = models.CharField(max_length=300, blank=True)
    saved_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-version"]

    def __str__(self) -> str:
        return f"version {self.version}"


class ActiveParameters(AppendOnly):
    """From bucket `active_from_k` on, this version counts; the newest row wins."""

    version = models.ForeignKey(ParameterSet, on_delete=models.PROTECT, related_name="activations")
    active_from_k = models.BigIntegerField(default=0)
    author = models.CharField(max_length=150, blank=True)
    activated_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        verbose_name_plural = "active parameters"
        ordering = ["-id"]

    def __str__(self) -> str:
        return f"version {self.version_id} from {self.active_from_k}"


class ExpiringChange(models.Model):
    """A version whose change goes back by itself; written once, but for `settled`."""

    version = models.OneToOneField(ParameterSet, on_delete=models.PROTECT, related_name="+")
    due_ns = models.BigIntegerField()  # market clock
    before = models.JSONField()  # name → the value it goes back to
    settled = models.IntegerField(null=True)  # the version that counts since it went back

    def __str__(self) -> str:
        return f"{self.version_id} until {self.due_ns}"


class Trial(AppendOnly):
    """A set that was evaluated on recorded data, once per set: how many were tried is what the
    best of them must be judged by (design: trigger 7.3).
    """

    sha256 = models.CharField(max_length=64, unique=True)
    kind = models.CharField(max_length=12)  # preview, what_if, flip
    actor = models.CharField(max_length=150, blank=True)
    at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-id"]

    def __str__(self) -> str:
        return f"{self.kind} {self.sha256[:12]}"
