"""What may still be written in a row of the journal: the one thing that is not known at first."""

from typing import Any, ClassVar, TypeVar

from django.db import models

from accounts.append_only import AppendOnly, AppendOnlyQuerySet

_Row = TypeVar("_Row", bound=models.Model, covariant=True)


class AttemptQuerySet(AppendOnlyQuerySet[_Row]):
    """What was sent, and when, never changes; how it ended is written until it is certain."""

    def answer(self, **ended: Any) -> int:
        """Write how attempts ended, but for those whose end is certain; returns how many."""
        uncertain = models.Q(outcome=None) | models.Q(outcome__in=("unknown", "abandoned"))
        return models.QuerySet.update(self.filter(uncertain), **ended)


class EventQuerySet(AppendOnlyQuerySet[_Row]):
    def give_to(self, order: models.Model) -> int:
        """Name the order of events that came before anybody knew it; returns how many."""
        return models.QuerySet.update(self.filter(order=None), order=order)


class Attempt(AppendOnly):
    """A request that is answered once."""

    objects: ClassVar = models.Manager.from_queryset(AttemptQuerySet)()

    class Meta(AppendOnly.Meta):
        abstract = True


class Event(AppendOnly):
    """News that are given to their order once."""

    objects: ClassVar = models.Manager.from_queryset(EventQuerySet)()

    class Meta(AppendOnly.Meta):
        abstract = True
