"""The reference page of all parameters, written from the table."""

from itertools import groupby

from signals.parameters.parameter import Parameter, Value
from signals.parameters.profiles import profile, profiles
from signals.parameters.table import PARAMETERS, defaults

_HEAD = """# Parameters

Written by `script/manage parameters --write-docs` from `signals/parameters/table.py`; do not edit.
The first group has the eighteen names that the owner asked for, spelled as they wrote them. A set
is checked and saved as a whole, gets a version number, and becomes active at a bucket boundary.
"""


def reference_markdown() -> str:
    """Return the page as Markdown, ending in one newline."""
    parts = [_HEAD]
    for title, rows in groupby(PARAMETERS, key=lambda row: row.group):
        parts.append(f"## {title}\n")
        parts.append("| name | default | range | unit | meaning |\n|---|---|---|---|---|")
        parts.extend(_row(row) for row in rows)
        parts.append("")
    parts.append("## Profiles\n")
    parts.append("A profile is the defaults with these values changed.\n")
    parts.append("| profile | changes |\n|---|---|")
    parts.extend(f"| `{name}` | {_changes(name)} |" for name in profiles())
    return "\n".join(parts) + "\n"


def shown(value: Value | object) -> str:
    """Return a value as one types it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return ",".join(value)
    if isinstance(value, float):
        return f"{value:.10g}"
    return str(value)


def _row(row: Parameter) -> str:
    return (
        f"| `{row.name}` | {shown(row.default)} | {row.range_text} | {row.unit or '–'} "
        f"| {row.help} |"
    )


def _changes(name: str) -> str:
    base = defaults()
    changed = [
        f"`{key}={shown(value)}`" for key, value in profile(name).items() if value != base[key]
    ]
    return " ".join(changed) if changed else "none"
