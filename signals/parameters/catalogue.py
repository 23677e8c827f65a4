"""Front door of the parameters: the table, its defaults and profiles, and what makes a set valid.

Everything here is pure; versions of a set are rows (`signals.services`, `signals.selectors`).
"""

from signals.parameters.parameter import (
    BadValue,
    InvalidParameters,
    Kind,
    Parameter,
    ParameterError,
    UnknownParameter,
    Value,
)
from signals.parameters.profiles import profile, profiles
from signals.parameters.reference import reference_markdown, shown
from signals.parameters.signal_rows import YOUR_18
from signals.parameters.table import BY_NAME, PARAMETERS, defaults
from signals.parameters.validation import advice, parse_assignment, unknown, validate

__all__ = [
    "BY_NAME",
    "PARAMETERS",
    "YOUR_18",
    "BadValue",
    "InvalidParameters",
    "Kind",
    "Parameter",
    "ParameterError",
    "UnknownParameter",
    "Value",
    "advice",
    "defaults",
    "parse_assignment",
    "profile",
    "profiles",
    "reference_markdown",
    "shown",
    "unknown",
    "validate",
]
