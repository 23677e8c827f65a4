"""What a caller may do: four scopes, and the Django permission that each asks of a person.

A key never does more than its owner may at that moment.
"""

from collections.abc import Iterable

from django.contrib.auth.models import AnonymousUser, User

READ, PARAMETERS, KILL, ADMIN = "read", "params:write", "kill", "admin"

#: scope → what it allows, in words; the order of the page.
SCOPES = {
    READ: "read everything",
    PARAMETERS: "save a new set of parameters, except going live",
    KILL: "turn the kill switch, but not reset it",
    ADMIN: "everything, also to reset the kill switch and to go live",
}
#: A person needs this permission for the scope; reading needs a sign-in only.
PERMISSIONS = {PARAMETERS: "signals.add_parameterset", KILL: "execution.add_killswitch"}


def scopes_of(user: User | AnonymousUser) -> frozenset[str]:
    """Return what this person may do now."""
    if not (user.is_authenticated and user.is_active):
        return frozenset()
    if user.is_superuser:
        return frozenset(SCOPES)
    allowed = user.get_all_permissions()
    return frozenset({READ, *(s for s, permission in PERMISSIONS.items() if permission in allowed)})


def widened(scopes: Iterable[str]) -> frozenset[str]:
    """Return the scopes with what they include: `admin` is all of them, all of them read."""
    given = frozenset(scopes) & frozenset(SCOPES)
    if ADMIN in given:
        return frozenset(SCOPES)
    return given | {READ} if given else given
