"""The parameters of an algorithm, as clients of the kit show and send them.

A client makes an input of each property of the schema and sends all of them, changed or not. A spin box cannot be
empty. A number that the server chooses if it is left out is therefore a text field, empty by default.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cellserve_contract.declarations import Parameter
from cellserve_contract.model_card import Family
from cellserve_contract.params import PARAMETERS, SegmentParams
from starlette.datastructures import QueryParams

from cellserve_gateway.fronts.http.query import (
    DIAMETER_OPTIONS,
    RequestOptions,
    openapi_parameters,
    options,
    parse,
    segment_params,
)

IMAGE, MORE = "image", "more"
SHOWN = (
    "diameter",
    "ensemble",
    "cytoplasm_channel",
    "nucleus_channel",
    "cellprob_threshold",
    "flow_threshold",
    "min_size",
    "stack_mode",
    "invert",
    "axes",
    "preset",
)
"""Parameters with an input of their own: a panel of all of them would not fit a screen. `more` takes the others."""
NAMES = (IMAGE, *SHOWN, MORE)
"""The parameters in the order in which a client takes them by position."""

Value = str | int | float | bool | None

_PARAMETERS = {name: one for name, one in PARAMETERS.items() if name != "model"}  # the algorithm is the model
_OPTIONS = {
    name: one for name, one in DIAMETER_OPTIONS.items() if name != "series"
}  # a file of the kit holds one image
_WIDGETS: dict[type, str] = {bool: "bool", int: "int", float: "float"}
_IMAGE = {
    "title": "Image",
    "description": "Grey [Y, X], colour [Y, X, 3], channels [C, Y, X] or a stack [Z, Y, X]; `axes` tells them apart.",
    "param_type": "image",
    "required": True,
    "dimensionality": [2, 3, 4],
    "rgb": False,
    "channel_axis": None,
}
_MORE = {
    "title": "More",
    "description": "Any further parameters as in a URL, such as niter=300&augment=true. They win over the others.",
    "param_type": "str",
    "required": True,
    "type": "string",
    "default": "",
}


def schema(family: Family) -> dict[str, Any]:
    """Returns the parameters of a family's algorithm as the kit describes them: a JSON schema with more members."""
    known = _PARAMETERS | _OPTIONS
    properties = {IMAGE: _IMAGE, **{name: _property(known[name]) for name in SHOWN}, MORE: _MORE}
    return {"title": family.name, "type": "object", "properties": properties, "required": [IMAGE]}


def read(values: Mapping[str, Value], family: str) -> tuple[SegmentParams, RequestOptions]:
    """Returns what a client asks for.

    Args:
        values: By name, without the image. None and "" leave the choice to the server.
        family: Name of the model family.

    Raises:
        InvalidRequest: A parameter is unknown, or its value is not allowed.
    """
    more = QueryParams(str(values.get(MORE) or ""))
    shown = [(name, str(value)) for name, value in values.items() if name != MORE and value not in (None, "")]
    query = QueryParams([(name, text) for name, text in shown if name not in more] + more.multi_items())
    given, asked = parse(query, _PARAMETERS, _OPTIONS)
    chosen = options(RequestOptions, asked)
    return segment_params(given | {"model": family}, chosen, family), chosen


def _property(parameter: Parameter) -> dict[str, Any]:
    (described,) = openapi_parameters({parameter.name: parameter})
    about: dict[str, Any] = {
        "title": parameter.name.replace("_", " ").capitalize(),
        "description": described["description"],
        "required": True,
    }
    is_open = parameter.default in (None, "")
    if parameter.words:
        words = ["", *parameter.words] if is_open else list(parameter.words)
        return about | {"param_type": "choice", "type": "string", "enum": words, "default": words[0]}
    if is_open or parameter.kind not in _WIDGETS:
        default = "" if is_open else str(parameter.default)
        return about | {"param_type": "str", "type": "string", "default": default}
    about |= {"param_type": _WIDGETS[parameter.kind], "default": parameter.default}
    about |= {"type": parameter.schema["type"]}
    if parameter.kind is bool:
        return about
    return about | {
        "min": parameter.about.low,
        "max": parameter.about.high,
        "step": 1 if parameter.kind is int else 0.05,
    }
