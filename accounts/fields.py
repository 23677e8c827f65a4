"""Money in the database: integer micro-dollars in the column, exact `Decimal` in Python.

Floats are refused on the way in, so none can hide in the books; SQL sums of the column are exact
on every database (SQLite's DECIMAL is a float in disguise).
"""

from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from django import forms
from django.core import checks, exceptions
from django.db import models

from accounts.domain.money import MICRO_DIGITS, InexactMoney, from_micros, to_micros

_Set = TypeVar("_Set", contravariant=True)
_Get = TypeVar("_Get", covariant=True)

if TYPE_CHECKING:

    class _BigInteger(models.BigIntegerField[_Set, _Get]):
        # What the checker's Django plugin makes of the two type arguments: Decimal, not int.
        _pyi_private_set_type: Decimal | int | models.expressions.Combinable  # type: ignore[assignment]
        _pyi_private_get_type: Decimal  # type: ignore[assignment]
else:

    class _BigInteger(models.BigIntegerField, Generic[_Set, _Get]):
        """BigIntegerField; its type arguments exist for the checker only."""


class MicroDollarField(_BigInteger[_Set, _Get]):
    """US dollars with six decimals, exactly; about ±9.2 trillion dollars."""

    description = "US dollars, exact to the micro-dollar"

    def check(self, **kwargs: Any) -> list[checks.CheckMessage]:
        errors = super().check(**kwargs)
        if isinstance(self.default, float):
            errors.append(checks.Error("a money default must not be a float", obj=self))
        return errors

    def from_db_value(self, value: Any, expression: Any, connection: Any) -> Decimal | None:
        """Return the column as dollars; SUM arrives as Decimal on MariaDB, as int on SQLite."""
        if value is None:
            return None
        if value != int(value):
            raise exceptions.FieldError("an average of money is not money: divide in Python")
        return from_micros(int(value))

    def to_python(self, value: Any) -> Decimal | None:
        if value is None:
            return None
        if isinstance(value, str):  # forms, fixtures
            try:
                value = Decimal(value)
            except InvalidOperation:
                raise exceptions.ValidationError(f"{value!r} is not an amount") from None
        try:
            return from_micros(to_micros(value))
        except (TypeError, InexactMoney) as exc:
            raise exceptions.ValidationError(str(exc)) from exc

    def get_prep_value(self, value: Any) -> Any:
        """Return micro-dollars.

        Raises:
            TypeError: a float.
            InexactMoney: more than six decimals.
        """
        value = models.Field.get_prep_value(self, value)
        if value is None or hasattr(value, "resolve_expression"):
            return value
        return to_micros(Decimal(value) if isinstance(value, str) else value)

    def value_to_string(self, obj: models.Model) -> str:
        value = self.value_from_object(obj)
        return "" if value is None else str(value)

    def get_db_prep_value(self, value: Any, connection: Any, prepared: bool = False) -> Any:
        return value if prepared else self.get_prep_value(value)

    def formfield(self, **kwargs: Any) -> Any:
        options = {"form_class": forms.DecimalField, "decimal_places": MICRO_DIGITS}
        return models.Field.formfield(self, **{**options, **kwargs})
