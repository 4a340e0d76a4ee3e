"""Words and parameters in messages, for client and server alike."""

from __future__ import annotations

import re
from typing import Any

from cellserve_proto import v1 as pb

from .params import PARAMETERS, Normalization, SegmentParams

_ENUMS: dict[str, Any] = {
    "interpolation": pb.Interpolation,
    "mask_rules": pb.MaskRules,
    "stack_mode": pb.StackMode,
    "tile_margin": pb.TileMargin,
}


class UnknownWordError(ValueError):
    """An enumeration has no such value.

    Attributes:
        field: Name of the field.
        value: The word or the number.
    """

    def __init__(self, field: str, value: object, allowed: str) -> None:
        super().__init__(f"{field} has the unknown value {value!r}; allowed: {allowed}")
        self.field = field
        self.value = value


def words(enum: Any) -> dict[str, int]:
    """Returns the numbers of a generated enumeration by word: the name of a value in lower case, without its prefix."""
    prefix = re.sub(r"(?<!^)(?=[A-Z])", "_", enum.DESCRIPTOR.name).upper() + "_"
    return {name.removeprefix(prefix).lower(): number for name, number in enum.items() if number}


def number_of(enum: Any, word: str, field: str) -> Any:
    """Returns the number of a word.

    Raises:
        UnknownWordError: There is no such word.
    """
    known = words(enum)
    if word not in known:
        raise UnknownWordError(field, word, ", ".join(known))
    return known[word]


def word_of(enum: Any, number: int, field: str) -> str:
    """Returns the word of a number; the reverse of `number_of`.

    Raises:
        UnknownWordError: There is no such number, or it stands for "not set".
    """
    known = {value: word for word, value in words(enum).items()}
    if number not in known:
        raise UnknownWordError(field, number, ", ".join(known.values()))
    return known[number]


def write_params(message: pb.SegmentParams, params: SegmentParams, *, defaults: bool = True) -> None:
    """Puts parameters into an empty message; what is None stays unset.

    Args:
        message: Empty.
        params: The parameters.
        defaults: False: what has its default stays unset, too. A server that is older than a parameter then takes the
            request, because it sees the parameter only if the caller needs it.
    """
    for name, parameter in PARAMETERS.items():
        value = getattr(params, name)
        if not defaults and value == parameter.default:
            continue
        if name == "normalization":
            _write_normalization(message.normalization, value)
        elif value is not None:
            setattr(message, name, number_of(_ENUMS[name], value, name) if name in _ENUMS else value)


def read_params(message: pb.SegmentParams) -> SegmentParams:
    """Returns the parameters of a message; what is unset has its default.

    Raises:
        ParameterError: A value is out of range.
        UnknownWordError: An enumeration has an unknown value.
    """
    values: dict[str, Any] = {}
    for field, value in message.ListFields():
        if field.name == "normalization":
            values[field.name] = _read_normalization(value)
        elif field.name in _ENUMS:
            values[field.name] = word_of(_ENUMS[field.name], value, field.name)
        else:
            values[field.name] = value
    return SegmentParams(**values)


def _write_normalization(message: pb.Normalization, normalization: Normalization) -> None:
    message.invert = normalization.invert
    if normalization.rule == "off":
        message.off = True
    elif normalization.rule == "range":
        for low, high in normalization.ranges:
            message.ranges.ranges.add(low=low, high=high)
    else:
        percentiles = message.cellpose3 if normalization.rule == "cellpose3" else message.percentiles
        percentiles.low, percentiles.high = normalization.bounds(0)


def _read_normalization(message: pb.Normalization) -> Normalization:
    match message.WhichOneof("rule"):
        case "percentiles":
            return Normalization("percentiles", message.percentiles.low, message.percentiles.high, message.invert)
        case "cellpose3":
            return Normalization("cellpose3", message.cellpose3.low, message.cellpose3.high, message.invert)
        case "ranges":
            ranges = message.ranges.ranges[:3]  # more than two are refused: no need to read them all
            lows, highs = tuple(range_.low for range_ in ranges), tuple(range_.high for range_ in ranges)
            return Normalization("range", lows or None, highs or None, message.invert)
        case "off" if message.off:
            return Normalization("off", invert=message.invert)
        case _:
            return Normalization(invert=message.invert)
