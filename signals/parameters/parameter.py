"""One parameter: its type, unit, range and help, and how a raw value becomes a typed one."""

import math
from dataclasses import dataclass
from typing import Literal

Kind = Literal["bool", "int", "float", "choice", "list"]
Value = bool | int | float | str | list[str]


class ParameterError(ValueError):
    """A single value or name is wrong; the text is one line that names it.

    ParameterError
    ├── UnknownParameter     no such name; tells the nearest one
    ├── BadValue             wrong type, out of range, not one of the choices
    └── InvalidParameters    a whole set, with every reason (`errors`)
    """


class UnknownParameter(ParameterError):
    pass


class BadValue(ParameterError):
    pass


class InvalidParameters(ParameterError):
    """A set that must not be saved; `errors` are sentences, each naming the fields involved."""

    def __init__(self, errors: list[str]) -> None:
        super().__init__("; ".join(errors))
        self.errors = errors


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """A row of the catalogue.

    `low` and `high` are inclusive and in `unit`; `choices` is for choice and list only.
    """

    name: str
    kind: Kind
    default: Value
    group: str
    help: str
    unit: str = ""
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()

    def typed(self, raw: object) -> Value:
        """Return `raw` (from JSON or a form) as this parameter's type.

        Raises:
            BadValue: wrong type, not finite, outside the range or the choices.
        """
        if self.kind == "bool":
            return self._typed_bool(raw)
        if self.kind == "choice":
            return self._typed_choice(raw)
        if self.kind == "list":
            return self._typed_list(raw)
        return self._typed_number(raw)

    def parsed(self, text: str) -> Value:
        """Return the value written as `text` on a command line; lists are separated by commas."""
        text = text.strip()
        if self.kind == "bool":
            words = {"true": True, "false": False, "1": True, "0": False, "on": True, "off": False}
            return self.typed(words.get(text.lower(), text))
        if self.kind == "list":
            return self.typed([part.strip() for part in text.split(",") if part.strip()])
        if self.kind == "choice":
            return self.typed(text)
        return self.typed(_number(text))

    @property
    def range_text(self) -> str:
        """What may be entered, for people: `0.5 – 20`, `fixed, hybrid`."""
        if self.kind == "bool":
            return "true, false"
        if self.choices:
            return ", ".join(self.choices)
        return f"{self.low:,.10g} – {self.high:,.10g}" if self.low is not None else ""

    def _typed_bool(self, raw: object) -> bool:
        if not isinstance(raw, bool):
            raise BadValue(f"{self.name} must be true or false, not {raw!r}")
        return raw

    def _typed_choice(self, raw: object) -> str:
        if not isinstance(raw, str) or raw not in self.choices:
            raise BadValue(f"{self.name} must be one of {', '.join(self.choices)}, not {raw!r}")
        return raw

    def _typed_list(self, raw: object) -> list[str]:
        if not isinstance(raw, list | tuple) or not all(isinstance(part, str) for part in raw):
            raise BadValue(f"{self.name} must be a list of words, not {raw!r}")
        for part in raw:
            if part not in self.choices:
                raise BadValue(f"{self.name} knows {', '.join(self.choices)}, not {part!r}")
        return [choice for choice in self.choices if choice in raw]

    def _typed_number(self, raw: object) -> int | float:
        if isinstance(raw, bool) or not isinstance(raw, int | float) or not math.isfinite(raw):
            raise BadValue(f"{self.name} must be a number, not {raw!r}")
        if self.kind == "int" and raw != int(raw):
            raise BadValue(f"{self.name} must be a whole number, not {raw!r}")
        if (self.low is not None and raw < self.low) or (self.high is not None and raw > self.high):
            unit = f" {self.unit}" if self.unit else ""
            raise BadValue(
                f"{self.name} must be between {self.low:g} and {self.high:g}{unit}, not {raw:g}"
            )
        return int(raw) if self.kind == "int" else float(raw)


def _number(text: str) -> object:
    """Return an int or a float, or the text itself for `typed` to refuse by name."""
    try:
        return int(text)
    except ValueError:
        pass
    try:
        return float(text)
    except ValueError:
        return text
