"""Declarations of parameters with bounds, help and units, and the checks that follow from them."""

from __future__ import annotations

import dataclasses
import numbers
import operator
import types
import typing
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import numpy as np


class ParameterError(ValueError):
    """A parameter has a value that is not allowed.

    Attributes:
        parameter: Name of the parameter, as in the contract.
        value: The value that was refused.
        allowed: The values that would have been accepted, in words.
    """

    def __init__(self, parameter: str, value: object, allowed: str) -> None:
        super().__init__(f"{parameter} is {value}; allowed: {allowed}")
        self.parameter = parameter
        self.value = value
        self.allowed = allowed

    def __reduce__(self) -> tuple[type[ParameterError], tuple[str, object, str]]:
        # Exceptions pickle by their message alone; worker processes need all three parts.
        return type(self), (self.parameter, self.value, self.allowed)


@dataclass(frozen=True, slots=True)
class Param:
    """What a declaration says of a parameter besides its type and its default.

    Attributes:
        help: One sentence.
        low: Smallest value. None if there is no bound.
        high: Largest value. None if there is no bound.
        above_low: True: `low` itself is not allowed.
        unit: Unit of the value.
        unset: Value that the server chooses if the parameter is left out. "" if the default is a value.
        option: Spelling on the command line. "" means the name with dashes.
        flags: What each word of the parameter does, if each is an option of its own on the command line.
        estimate: True: matters for an estimate of the diameter, too.
    """

    help: str
    low: float | None = None
    high: float | None = None
    above_low: bool = False
    unit: str = ""
    unset: str = ""
    option: str = ""
    flags: tuple[str, ...] = ()
    estimate: bool = False

    @property
    def allowed(self) -> str:
        """The range in words; "" where there is none."""
        if self.low is None or self.high is None:
            return ""
        if self.above_low:
            return f"above {plain(self.low)}, at most {plain(self.high)}"
        return f"{plain(self.low)} to {plain(self.high)}" + (f" {self.unit}" if self.unit else "")


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter as declared.

    Attributes:
        name: Name in Python and in the contract.
        kind: bool, int, float, str, or a class with a text form: its `parse` reads what its `__str__` writes.
        words: The allowed words of a str. Empty if any word is allowed.
        optional: True: may be None.
        default: The default. None or "" means that the server decides.
        about: What the declaration says besides.
    """

    name: str
    kind: type
    words: tuple[str, ...]
    optional: bool
    default: Any
    about: Param

    @property
    def allowed(self) -> str:
        """The allowed values in words; "" where the type says all."""
        return ", ".join(self.words) or self.about.allowed

    @property
    def has_text_form(self) -> bool:
        """True: the value may be given as text where the class itself is expected."""
        return hasattr(self.kind, "parse")

    @property
    def annotation(self) -> str:
        """The type, as Python writes it."""
        if self.words:
            return f"Literal[{', '.join(chr(34) + word + chr(34) for word in self.words)}]"
        return self.kind.__name__ + (" | str" if self.has_text_form else "")

    @property
    def schema(self) -> dict[str, Any]:
        """JSON schema of the value, for OpenAPI. A class with a text form is a string."""
        schema: dict[str, Any] = {"type": _JSON_TYPES.get(self.kind, "string"), "description": self.about.help}
        if self.words:
            schema["enum"] = list(self.words)
        if self.about.low is not None:
            schema["exclusiveMinimum" if self.about.above_low else "minimum"] = self.about.low
        if self.about.high is not None:
            schema["maximum"] = self.about.high
        if self.default not in (None, ""):
            schema["default"] = self.default if self.kind in _JSON_TYPES else str(self.default)
        return schema

    def parse(self, text: str) -> Any:
        """Reads the value from text, as in a URL.

        Raises:
            ParameterError: The text is no value of the type. The declaring class checks ranges.
        """
        if self.has_text_form:
            return self.kind.parse(text)  # type: ignore[attr-defined]
        if self.kind is bool:
            if text.lower() not in _TRUTH:
                raise ParameterError(self.name, repr(text), "true or false")
            return _TRUTH[text.lower()]
        try:
            return self.kind(text)
        except ValueError:
            allowed = self.allowed or f"a value of type {self.kind.__name__}"
            raise ParameterError(self.name, repr(text), allowed) from None

    def canonical(self, value: Any) -> Any:
        """Returns a value in the declared type, NumPy's numbers in Python's.

        Raises:
            ParameterError: The value is out of range.
            TypeError: The value has a wrong type.
        """
        if value is None and (self.optional or self.default == ""):
            return self.default
        if self.has_text_form and isinstance(value, str):
            return self.parse(value)
        try:
            value = typed(self.name, self.kind, value)
        except TypeError as error:
            text = f", or text such as {str(self.default)!r}" if self.has_text_form else ""
            unset = f". Left out: {self.about.unset}" if self.about.unset else ""
            raise TypeError(f"{error}{text}{unset}") from None
        if self.words and value not in self.words:
            raise ParameterError(self.name, value, self.allowed)
        low, high = self.about.low, self.about.high
        if low is None or high is None:
            return value
        if not (low <= value <= high) or (self.about.above_low and value == low):
            raise ParameterError(self.name, value, self.allowed)
        return value


_JSON_TYPES: dict[type, str] = {bool: "boolean", int: "integer", float: "number"}
_TRUTH = {"true": True, "1": True, "false": False, "0": False}


@cache
def parameters(declaration: type) -> dict[str, Parameter]:
    """Returns the parameters of a declaration by name, those it inherits last.

    Args:
        declaration: A dataclass whose fields have types `Annotated[type, Param(...)]`.
    """
    bases = [base for base in declaration.__bases__ if dataclasses.is_dataclass(base)]
    inherited = {field.name for base in bases for field in dataclasses.fields(base)}
    hints = typing.get_type_hints(declaration, include_extras=True)
    fields = sorted(dataclasses.fields(declaration), key=lambda field: field.name in inherited)
    return {field.name: _parameter(field.name, hints[field.name], field.default) for field in fields}


def make_canonical(params: Any) -> None:
    """Checks the fields of a new frozen object and brings them into their declared types.

    Raises:
        ParameterError: A value is out of range.
        TypeError: A value has a wrong type.
    """
    for name, parameter in parameters(params.__class__).items():
        object.__setattr__(params, name, parameter.canonical(getattr(params, name)))


def typed(name: str, kind: type, value: Any) -> Any:
    """Returns a value in its type, NumPy's numbers in Python's.

    Args:
        name: Name of the value, for the message.
        kind: bool, int, float, or any class.
        value: The value. A whole number will do where a float is expected, no other type for another.

    Raises:
        TypeError: The value has another type.
    """
    boolean = isinstance(value, bool | np.bool_)
    if kind is bool and boolean:
        return bool(value)
    if kind is int and not boolean and isinstance(value, numbers.Integral):
        return operator.index(value)
    if kind is float and not boolean and isinstance(value, numbers.Real):
        return float(value)
    if kind not in (bool, int, float) and isinstance(value, kind):
        return value
    raise TypeError(f"{name} is {value!r}, of type {type(value).__name__}; expected {kind.__name__}")


def plain(number: float) -> str:
    """Returns a number as text, without a fraction where it has none."""
    return f"{int(number)}" if float(number).is_integer() else f"{number}"


def _parameter(name: str, hint: Any, default: Any) -> Parameter:
    declared, about = typing.get_args(hint)
    # `Literal[...] | None` is a typing.Union, every other `... | None` a types.UnionType.
    union = typing.get_origin(declared) in (types.UnionType, typing.Union)
    optional = union and type(None) in typing.get_args(declared)
    kind = next(arg for arg in typing.get_args(declared) if arg is not type(None)) if optional else declared
    words = typing.get_args(kind) if typing.get_origin(kind) is Literal else ()
    return Parameter(name, str if words else kind, words, optional, default, about)
