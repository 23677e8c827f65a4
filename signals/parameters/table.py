"""THE table: every parameter of the system, the owner's eighteen first and spelled as written.

Defaults and ranges are priors (design: trigger 1.1 and 1.2), not findings; the laboratory is the
judge. A row is (name, default, low, high, unit, help); the method says its type.
"""

from signals.parameters.parameter import Parameter
from signals.parameters.signal_rows import CANDIDATE, CONFIDENCE, HEALTH, UNIVERSE, YOUR_18
from signals.parameters.trading_rows import (
    BRACKET,
    CONCURRENCY,
    OPERATIONS,
    ORDER,
    RISK,
    TRIGGER,
)

PARAMETERS: tuple[Parameter, ...] = (
    *YOUR_18,
    *UNIVERSE,
    *HEALTH,
    *CANDIDATE,
    *CONFIDENCE,
    *TRIGGER,
    *ORDER,
    *BRACKET,
    *RISK,
    *CONCURRENCY,
    *OPERATIONS,
)
BY_NAME: dict[str, Parameter] = {parameter.name: parameter for parameter in PARAMETERS}


def defaults() -> dict[str, object]:
    """Return name → default of every parameter, in catalogue order."""
    return {
        row.name: [*row.default] if isinstance(row.default, list) else row.default
        for row in PARAMETERS
    }
