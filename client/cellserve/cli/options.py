"""Options that several commands share; those of the parameters are made from their declarations."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import typer
from cellserve_contract.axes import axes_problem
from cellserve_contract.declarations import Parameter
from cellserve_contract.help import INPUT, LARGE, RESULTS, SERVER
from cellserve_contract.help import PARAMETERS as PARAMETERS_HEADING
from cellserve_contract.objects import GROUPS
from cellserve_contract.params import (
    PARAMETERS,
    PRESETS,
    Normalization,
    ParameterError,
    SegmentParams,
    preset_values,
)

from cellserve.channel_names import CHANNELS, ChannelNames, number_or_name
from cellserve.params import Compression
from cellserve.saving import DEFAULT_WORDS, SAVED

from .inputs import ENDINGS

_OR_NAME = " Or the name of the channel in the file, such as DAPI."
F = TypeVar("F", bound=Callable[..., Any])


def _checked_axes(axes: str | None) -> str | None:
    if axes is None:
        return None
    if problem := axes_problem(axes, len(axes)):
        raise typer.BadParameter(f"axes are {problem}")
    return axes


def _words(values: list[str]) -> list[str]:
    """Returns the words of comma lists, each once, in the order of `SAVED`."""
    given = {word.strip() for value in values for word in value.split(",")} - {""}
    for word in sorted(given - SAVED.keys()):
        near = "".join(f"; did you mean '{known}'?" for known in difflib.get_close_matches(word, SAVED, 1))
        raise typer.BadParameter(f"there is no result file '{word}'{near} Known: {', '.join(SAVED)}")
    if not given:
        raise typer.BadParameter(f"name at least one of {', '.join(SAVED)}")
    return [word for word in SAVED if word in given]


DEFAULT_SAVE = ",".join(DEFAULT_WORDS)
"""Default of `Save`."""
Save = Annotated[
    list[str],
    typer.Option(
        metavar="WORDS",
        help=f"What is written for each image, separated by commas; the option can be repeated. "
        f"{'; '.join(f'{file.word}: {file.holds}' for file in SAVED.values())}.",
        callback=_words,
        rich_help_panel=RESULTS,
    ),
]


def _groups(values: list[str] | None) -> list[str]:
    """Returns the groups of comma lists, each once."""
    given = {word.strip() for value in values or () for word in value.split(",")} - {""}
    if unknown := sorted(given - set(GROUPS)):
        raise typer.BadParameter(f"there is no group '{unknown[0]}'; known: {', '.join(GROUPS)}")
    return [group for group in GROUPS if group in given]


Measure = Annotated[
    list[str] | None,
    typer.Option(
        metavar="GROUPS",
        help="Measure the objects, separated by commas: shape (eccentricity, axes, orientation, solidity, perimeter), "
        "intensity (mean, largest, median and sum of each channel). The tables get the columns.",
        show_default="no measurements",
        callback=_groups,
        rich_help_panel=RESULTS,
    ),
]
Files = Annotated[
    list[Path],
    typer.Argument(
        metavar="PATH",
        help=f"Image files (TIFF, PNG, JPEG), folders, or patterns such as 'plate/*.tif'. Of a folder, the files that "
        f"end in {', '.join(ENDINGS)} are taken. Results of earlier runs are left out.",
        show_default=False,
    ),
]
Recursive = Annotated[
    bool, typer.Option("--recursive", "-r", help="Look into the folders in a folder, too.", rich_help_panel=INPUT)
]
Axes = Annotated[
    str | None,
    typer.Option(
        metavar="AXES",
        help="CYX (channels first), YXC (channels last), ZYX or ZCYX (stacks), TYX or TZYX (time series), for TIFF "
        "files that do not name their axes.",
        show_default=False,
        callback=_checked_axes,
        rich_help_panel=INPUT,
    ),
]
Series = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        help="Which image of a TIFF file that holds several, from 0.",
        min=0,
        show_default="the only one",
        rich_help_panel=INPUT,
    ),
]
Scheduler = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS",
        help="Dask scheduler, such as tcp://host:8786, whose workers segment large images.",
        show_default="threads of this process",
        rich_help_panel=LARGE,
    ),
]
RunFolder = Annotated[
    Path | None,
    typer.Option(
        metavar="FOLDER",
        help="Where a large image keeps what is half done. The workers of a cluster must reach the folder under the "
        "same path.",
        show_default=".IMAGE.cellserve beside the results",
        rich_help_panel=LARGE,
    ),
]
BlockSize = Annotated[
    int | None,
    typer.Option(
        metavar="PIXELS",
        help="Side of the blocks of a large image. Smaller blocks take less memory; the result is the same.",
        min=32,
        show_default="1024, in volumes 128",
        rich_help_panel=LARGE,
    ),
]
Numbers = Annotated[
    bool,
    typer.Option(
        "--numbers",
        help="Write the label of each object into the overlay; a row of the table has the same label.",
        rich_help_panel=RESULTS,
    ),
]
Fill = Annotated[
    bool, typer.Option("--fill", help="Fill the objects in the overlay with a colour.", rich_help_panel=RESULTS)
]
PixelCompression = Annotated[
    Compression,
    typer.Option(
        "--compression",
        help="zlib: pixels travel packed, for slow networks. auto: the server packs large label images only.",
        metavar="auto|none|zlib",
        rich_help_panel=SERVER,
    ),
]
Json = Annotated[
    bool,
    typer.Option("--json", help="Print one JSON object per image, in the order they finish.", rich_help_panel=RESULTS),
]
Address = Annotated[
    list[str],
    typer.Option(
        "--address",
        "-a",
        metavar="HOST:PORT",
        envvar="CELLSERVE_ADDRESS",
        help="The server; repeat the option for several servers.",
        rich_help_panel=SERVER,
    ),
]
Concurrency = Annotated[
    int,
    typer.Option(
        metavar="N", help="Images in work at a time; of a large image, blocks.", min=1, max=256, rich_help_panel=SERVER
    ),
]
DeadlineS = Annotated[
    float,
    typer.Option(
        metavar="SECONDS",
        help="Most time for one image, from sending it to its result.",
        min=0.001,
        rich_help_panel=SERVER,
    ),
]
AnswerS = Annotated[
    float,
    typer.Option(
        "--deadline-s",
        metavar="SECONDS",
        help="Most time to wait for an answer.",
        min=0.001,
        rich_help_panel=SERVER,
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
        made = [_preset(), *(option for entry in wanted for option in _options(entry))]
        command.__signature__ = signature.replace(parameters=[*own, *made])  # type: ignore[attr-defined]
        return command

    return decorate


def params_of(context: typer.Context, values: dict[str, Any]) -> SegmentParams:
    """Returns the parameters that the options say. Options that are given win over the preset.

    Raises:
        typer.BadParameter: A value is out of range.
    """
    fields = {name: value for name, value in values.items() if name in PARAMETERS and _is_given(context, name)}
    for name in CHANNELS & fields.keys():
        fields[name] = number_or_name(fields[name])
        if isinstance(fields[name], str):  # each image has a number of its own: `channel_names_of`
            del fields[name]
    fields |= {parameter.name: _word(parameter, values) for parameter in PARAMETERS.values() if parameter.about.flags}
    try:
        fields = {**preset_values(values["preset"]), **fields}
        rule = fields.get("normalization", PARAMETERS["normalization"].default)
        fields["normalization"] = Normalization.parse(str(rule), values["invert"])
        return SegmentParams(**fields)
    except ParameterError as error:
        raise wrong_parameter(error) from error


def channel_names_of(values: dict[str, Any]) -> ChannelNames:
    """Returns the channels that the options name instead of numbering them."""
    given = {name: number_or_name(values[name]) for name in CHANNELS if values.get(name) is not None}
    return ChannelNames(**{name: value for name, value in given.items() if isinstance(value, str)})


def _is_given(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name != "DEFAULT"


def _word(parameter: Parameter, values: dict[str, Any]) -> str | None:
    """Returns the word of a parameter whose words are options of their own; None if there is none.

    Raises:
        typer.BadParameter: There are several.
    """
    given = [word for word in parameter.words if values.get(word)]
    if len(given) > 1:
        raise typer.BadParameter(f"{' and '.join(f'--{word}' for word in given)} exclude each other; choose one")
    return given[0] if given else None


def wrong_parameter(error: ParameterError) -> typer.BadParameter:
    """Returns the usage error for a parameter out of range, by the name of its option."""
    return typer.BadParameter(f"{error.value}; allowed: {error.allowed}", param_hint=f"'{option_of(error.parameter)}'")


def option_of(parameter: str) -> str:
    """Returns the option for a parameter, such as "--cytoplasm-channel"."""
    declared = PARAMETERS[parameter].about.option if parameter in PARAMETERS else ""
    return declared.partition("/")[0] or f"--{parameter.replace('_', '-')}"


def _options(parameter: Parameter) -> Iterator[inspect.Parameter]:
    about = parameter.about
    if about.flags:
        for word, text in zip(parameter.words, about.flags, strict=True):
            flag = typer.Option(f"--{word}", help=text, rich_help_panel=PARAMETERS_HEADING)
            yield _keyword(word, bool, False, flag)
        return
    kind: Any = str if parameter.has_text_form or parameter.name in CHANNELS else parameter.kind
    if parameter.words:
        kind = Literal[parameter.words]
    default = str(parameter.default) if parameter.has_text_form else parameter.default
    limits = f" Allowed: {about.allowed}." if about.allowed else ""
    option = typer.Option(
        *([about.option] if about.option else []),
        metavar=_metavar(parameter),
        help=about.help + (_OR_NAME if parameter.name in CHANNELS else "") + limits,
        show_default=about.unset or True,
        rich_help_panel=PARAMETERS_HEADING,
    )
    optional = parameter.optional or default == ""
    yield _keyword(parameter.name, kind | None if optional else kind, None if optional else default, option)
    if parameter.kind is Normalization:
        invert = typer.Option("--invert", help="Dark objects on a bright ground.", rich_help_panel=PARAMETERS_HEADING)
        yield _keyword("invert", bool, False, invert)


def _preset() -> inspect.Parameter:
    option = typer.Option(
        metavar="|".join(PRESETS),
        help="Set of values of the parameters below; options that are given win. cellpose3: results of Cellpose 3.1.",
        show_default="the defaults",
        rich_help_panel=PARAMETERS_HEADING,
    )
    return _keyword("preset", Literal[tuple(PRESETS)] | None, None, option)


def _metavar(parameter: Parameter) -> str | None:
    if parameter.kind is bool:
        return None
    if parameter.words:
        return "|".join(parameter.words)
    words = {"model": "NAME", "normalization": "RULE", **dict.fromkeys(CHANNELS, "N|NAME")}
    return words.get(parameter.name) or parameter.about.unit.upper() or ("N" if parameter.kind is int else "NUMBER")


def _keyword(name: str, kind: Any, default: Any, option: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, option])
