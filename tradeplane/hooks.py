"""Django's own signals, the few there are."""

from typing import Any

from django.contrib.auth.models import Group, Permission

from tradeplane.pages.access import OPERATOR_RIGHTS, OPERATORS, VIEWERS


def make_groups(**kwargs: Any) -> None:
    """After migrating: a new database knows operators, who may act, and viewers, who may look."""
    Group.objects.get_or_create(name=VIEWERS)
    group, made = Group.objects.get_or_create(name=OPERATORS)
    if not made:
        return  # whoever changed its rights meant it
    for right in OPERATOR_RIGHTS:
        app, codename = right.split(".")
        group.permissions.add(
            *Permission.objects.filter(content_type__app_label=app, codename=codename)
        )
