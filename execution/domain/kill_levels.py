"""The levels of the kill switch: which one counts of two, and which turn a standing one allows."""

#: From weak to strong, for two places that say different things; `freeze` and `flatten` contradict
#: each other, and out is safer than stuck.
STRENGTH = ("none", "pause", "cancel_entries", "freeze", "flatten")
#: What may be turned to while a level stands. What is missing would be weaker: only a reset goes
#: there, with its own right. `flatten` and `freeze` may follow each other, in so many words.
TURNS = {
    "none": ("pause", "cancel_entries", "flatten", "freeze"),
    "pause": ("pause", "cancel_entries", "flatten", "freeze"),
    "cancel_entries": ("cancel_entries", "flatten", "freeze"),
    "flatten": ("flatten", "freeze"),
    "freeze": ("freeze", "flatten"),
}


def stronger(one: str, other: str) -> str:
    """Return the level that counts of two."""
    return max(one, other, key=STRENGTH.index)


def crosses(standing: str, level: str) -> bool:
    """Would this turn end a `flatten` by a `freeze`, or a `freeze` by a `flatten`?"""
    return {standing, level} == {"flatten", "freeze"}
