"""Options that several commands share; those of the parameters are made from their declarations."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import typer
from cellserve_contract.declarations import Parameter
from cellserve_contract.params import PARAMETERS, Normalization, ParameterError, SegmentParams

F = TypeVar("F", bound=Callable[..., Any])
_PANEL = "Parameters"

Files = Annotated[list[Path], typer.Argument(metavar="FILE...", help="TIFF, PNG or JPEG files.", show_default=False)]
Address = Annotated[
    list[str],
    typer.Option("--address", "-a", envvar="CELLSERVE_ADDRESS", help="Server as HOST:PORT; repeat for several."),
]
DeadlineS = Annotated[float, typer.Option(help="Seconds one image may take.", min=0.001)]
AnswerS = Annotated[float, typer.Option("--deadline-s", help="Seconds to wait for an answer.", min=0.001)]
Axes = Annotated[
    str | None,
    typer.Option(
        help="CYX or YXC, for TIFF files of several planes that do not say what these are.", show_default=False
    ),
]
Series = Annotated[
    int | None,
    typer.Option(
        help="Number of the image in a TIFF file that holds several, from 0.", min=0, show_default="the only one"
    ),
]


def parameter_options(*, estimate: bool = False) -> Callable[[F], F]:
    """Gives a command an option for each parameter; the command takes the values as `**values`.

    Args:
        estimate: True: only parameters that matter for an estimate of the diameter.
    """

    def decorate(command: F) -> F:
        signature = inspect.signature(command, eval_str=True)
        own = [entry for entry in signature.parameters.values() if entry.kind is not entry.VAR_KEYWORD]
        wanted = [entry for entry in PARAMETERS.values() if entry.about.estimate or not estimate]
        made = [option for entry in wanted for option in _options(entry)]
        command.__signature__ = signature.replace(parameters=[*own, *made])  # type: ignore[attr-defined]
        return command

    return decorate


def params_of(values: dict[str, Any]) -> SegmentParams:
    """Returns the parameters that the options say.

    Raises:
        typer.BadParameter: A value is out of range.
    """
    fields = {name: value for name, value in values.items() if name in PARAMETERS}
    try:
        normalization = Normalization.parse(fields.pop("normalization"), values["invert"])
        return SegmentParams(normalization=normalization, **fields)
    except ParameterError as error:
        raise typer.BadParameter(str(error)) from error


def _options(parameter: Parameter) -> Iterator[inspect.Parameter]:
    about = parameter.about
    kind: Any = str if parameter.has_text_form else parameter.kind
    if parameter.words:
        kind = Literal[parameter.words]
    default = str(parameter.default) if parameter.has_text_form else parameter.default
    limits = f" Allowed: {about.allowed}." if about.allowed else ""
    option = typer.Option(
        *([about.option] if about.option else []),
        help=about.help + limits,
        show_default=about.unset or True,
        rich_help_panel=_PANEL,
    )
    optional = parameter.optional or default == ""
    yield _keyword(parameter.name, kind | None if optional else kind, None if optional else default, option)
    if parameter.kind is Normalization:
        invert = typer.Option("--invert", help="Dark objects on a bright ground.", rich_help_panel=_PANEL)
        yield _keyword("invert", bool, False, invert)


def _keyword(name: str, kind: Any, default: Any, option: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, option])
