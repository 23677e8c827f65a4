"""Rows that only grow: no update, no delete, not through the model and not through a query set."""

from typing import Any, NoReturn, TypeVar

from django.db import models

from accounts.errors import AppendOnlyViolation

_Row = TypeVar("_Row", bound=models.Model, covariant=True)


class AppendOnlyQuerySet(models.QuerySet[_Row]):
    """Reads and inserts; everything else raises AppendOnlyViolation."""

    def _refuse(self, what: str) -> NoReturn:
        raise AppendOnlyViolation(
            f"{self.model.__name__} rows are never changed ({what}): write a second one instead"
        )

    def update(self, **kwargs: Any) -> int:
        self._refuse("update")

    def delete(self) -> tuple[int, dict[str, int]]:
        self._refuse("delete")

    def bulk_update(self, *args: Any, **kwargs: Any) -> int:
        self._refuse("bulk_update")

    def update_or_create(self, *args: Any, **kwargs: Any) -> tuple[Any, bool]:
        self._refuse("update_or_create")

    def bulk_create(self, objs: Any, *args: Any, **kwargs: Any) -> list[Any]:
        if kwargs.get("update_conflicts") or kwargs.get("ignore_conflicts"):
            self._refuse("bulk_create over conflicts")
        return super().bulk_create(objs, *args, **kwargs)


AppendOnlyManager = models.Manager.from_queryset(AppendOnlyQuerySet)


class AppendOnly(models.Model):
    """A row that is written once."""

    objects = AppendOnlyManager()

    class Meta:
        abstract = True
        base_manager_name = "objects"

    def save(self, *args: Any, **kwargs: Any) -> None:
        if not self._state.adding:
            raise AppendOnlyViolation(
                f"{type(self).__name__} {self.pk} is written: write a second one instead"
            )
        kwargs["force_insert"] = True  # a caller's primary key must not turn this into an UPDATE
        super().save(*args, **kwargs)

    def delete(self, *args: Any, **kwargs: Any) -> tuple[int, dict[str, int]]:
        raise AppendOnlyViolation(
            f"{type(self).__name__} {self.pk} is never deleted: write a second one instead"
        )
