"""Query parameters of the REST interface: those of a segmentation, and options of a request."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal, TypeVar

from cellserve_contract.cellpose_names import CELLPOSE_NAMES
from cellserve_contract.declarations import Param, Parameter, make_canonical, parameters
from cellserve_contract.params import PARAMETERS, ParameterError, Preset, SegmentParams, preset_values
from starlette.datastructures import QueryParams

from cellserve_gateway.app.context import Priority, RequestContext
from cellserve_gateway.errors import InvalidRequest

PriorityName = Literal["batch", "acquisition"]
View = Literal["labels", "overlay"]
PRIORITIES: dict[str, Priority] = {"batch": Priority.BATCH, "acquisition": Priority.ACQUISITION}
LONGEST_S = 86_400
MOST_SERIES = 65_535


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestOptions:
    """Options of every request with an image. Each field says what it does.

    Raises:
        ParameterError: On construction, when a value is out of range.
    """

    preset: Annotated[
        Preset | None,
        Param(
            "Set of values of parameters; parameters that are given win. cellpose3: results of Cellpose 3.1.",
            unset="the defaults",
        ),
    ] = None
    axes: Annotated[
        str,
        Param("Axes of a TIFF file that does not name them itself, such as CYX or YXC.", unset="read from the file"),
    ] = ""
    series: Annotated[
        int | None,
        Param("Number of the image in a TIFF file that holds several, from 0.", 0, MOST_SERIES, unset="the only one"),
    ] = None
    invert: Annotated[bool, Param("True for dark objects on a bright ground.")] = False
    priority: Annotated[PriorityName, Param("Priority class: images of an acquisition overtake images of a batch.")] = (
        "batch"
    )
    deadline_s: Annotated[
        float | None,
        Param(
            "Time after which an answer is of no use, counted from the header of the request.",
            0,
            LONGEST_S,
            above_low=True,
            unit="seconds",
            unset="the server's default; the server's maximum shortens it",
        ),
    ] = None
    work_budget_s: Annotated[
        float | None,
        Param(
            "Time that the work on the image may take, counted from its start.",
            0,
            LONGEST_S,
            above_low=True,
            unit="seconds",
            unset="no budget",
        ),
    ] = None

    def __post_init__(self) -> None:
        make_canonical(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentOptions(RequestOptions):
    """Options of a segmentation. Each field says what it does."""

    outlines: Annotated[bool, Param("JSON only: the outline of each object, as (y, x) of its border pixels.")] = False
    view: Annotated[
        View, Param("PNG only: the label image (16 bit), or the image with the outlines of its objects.")
    ] = "labels"


Options = TypeVar("Options", bound=RequestOptions)
SEGMENT_OPTIONS = parameters(SegmentOptions)
DIAMETER_OPTIONS = parameters(RequestOptions)
DIAMETER_PARAMETERS = {name: PARAMETERS[name] for name, one in PARAMETERS.items() if one.about.estimate} | {
    name: PARAMETERS[name] for name in ("ensemble", "diameter", "tile_overlap")
}


def parse(query: QueryParams, *known: Mapping[str, Parameter]) -> list[dict[str, Any]]:
    """Reads query parameters.

    Args:
        query: The query.
        *known: Groups of parameters that the route takes.

    Returns:
        The given values of each group, by name.

    Raises:
        InvalidRequest: A parameter is unknown, is given twice, or has a value that is not allowed.
    """
    names = [name for group in known for name in group]
    given: set[str] = set()
    for name, _ in query.multi_items():
        if name not in names:
            raise _unknown(name, names)
        if name in given:
            raise InvalidRequest(f"the query parameter '{name}' is given twice", field=name)
        given.add(name)
    try:
        return [{name: one.parse(query[name]) for name, one in group.items() if name in given} for group in known]
    except ParameterError as error:
        raise out_of_range(error) from error


def options(kind: type[Options], given: Mapping[str, Any]) -> Options:
    """Returns the options of a request.

    Raises:
        InvalidRequest: A value is out of range.
    """
    try:
        return kind(**given)
    except ParameterError as error:
        raise out_of_range(error) from error


def heed(chosen: RequestOptions, context: RequestContext, begin: float, max_deadline_s: float) -> None:
    """Applies the options of a request to its context.

    Args:
        chosen: The options.
        context: Gets priority class, work budget and deadline.
        begin: Event loop time at which the header of the request came.
        max_deadline_s: Longest time of a request.
    """
    context.priority = PRIORITIES[chosen.priority]
    context.work_budget_s = chosen.work_budget_s
    if chosen.deadline_s is not None:
        context.deadline = begin + min(chosen.deadline_s, max_deadline_s)


def segment_params(given: Mapping[str, Any], chosen: RequestOptions, default_model: str) -> SegmentParams:
    """Returns the parameters of a segmentation.

    Args:
        given: Values by name.
        chosen: Options of the request.
        default_model: Family of requests that name none.

    Raises:
        InvalidRequest: A value is out of range.
    """
    try:
        params = SegmentParams(**{**preset_values(chosen.preset), **given})
    except ParameterError as error:
        raise out_of_range(error) from error
    normalization = replace(params.normalization, invert=chosen.invert)
    return replace(params, model=params.model or default_model, normalization=normalization)


def out_of_range(error: ParameterError) -> InvalidRequest:
    """Returns the error of a parameter whose value is not allowed."""
    return InvalidRequest(str(error), reason="PARAMETER_OUT_OF_RANGE", parameter=error.parameter, allowed=error.allowed)


def openapi_parameters(*groups: Mapping[str, Parameter]) -> list[dict[str, Any]]:
    """Returns the OpenAPI description of query parameters."""
    return [_openapi(one) for group in groups for one in group.values()]


def _openapi(parameter: Parameter) -> dict[str, Any]:
    schema = {key: value for key, value in parameter.schema.items() if key != "description"}
    about = [parameter.about.help]
    if parameter.about.unit:
        about.append(f"Unit: {parameter.about.unit}.")
    if parameter.about.unset:
        about.append(f"Left out: {parameter.about.unset}.")
    return {
        "name": parameter.name,
        "in": "query",
        "required": False,
        "description": " ".join(about),
        "schema": schema,
    }


def _unknown(name: str, names: Iterable[str]) -> InvalidRequest:
    nearest = difflib.get_close_matches(name, names, 1, 0)[0]
    translation = CELLPOSE_NAMES.get(name, f"the nearest known name is '{nearest}'")
    return InvalidRequest(
        f"the query parameter '{name[:64]}' is unknown; {translation}", field=name[:64], nearest=nearest
    )
