"""`cellserve segment`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from cellserve_contract.help import RESULTS, SERVER
from cellserve_formats import Image

from cellserve.channel import DEFAULT_ADDRESS
from cellserve.errors import CellServeError, one_image
from cellserve.files import read_image
from cellserve.many import in_parallel
from cellserve.params import Compression, Priority, SegmentOptions
from cellserve.results import Segmentation

from . import report, terminal
from .connection import connect
from .inputs import find_images
from .options import (
    Address,
    Axes,
    Concurrency,
    DeadlineS,
    Files,
    Json,
    Recursive,
    Series,
    parameter_options,
    params_of,
)
from .outputs import Outputs, Wanted, check_outputs, is_complete, plan_outputs, prepare_folder, write_outputs
from .run import Run
from .server import Server

EXAMPLES = """\b
Examples:
  cellserve segment cells.tif                    results beside the image
  cellserve segment cells.tif --diameter 30      objects of about 30 pixels
  cellserve segment plate --out results          all images of a folder
  cellserve segment stack.tif --volume           objects in three dimensions
  cellserve segment plate --out results --skip-existing
                                                 go on after a stop
"""


@dataclass(frozen=True)
class _InputFile:
    """One image on its way through `segment`."""

    path: Path
    image: Image
    planes: int


@parameter_options()
def segment(
    context: typer.Context,
    files: Files,
    recursive: Recursive = False,
    axes: Axes = None,
    series: Series = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Where the results go. With --recursive, results keep the folders of their images.",
            show_default="beside each image",
            rich_help_panel=RESULTS,
        ),
    ] = None,
    skip_existing: Annotated[
        bool,
        typer.Option(
            "--skip-existing",
            help="Leave out images whose results are complete: each file that this run would write exists and is not "
            "older than the image. The parameters of the earlier run are not compared.",
            rich_help_panel=RESULTS,
        ),
    ] = False,
    csv: Annotated[bool, typer.Option(help="Write the table of objects.", rich_help_panel=RESULTS)] = True,
    overlay: Annotated[
        bool,
        typer.Option(help="Write a picture of the image with the outlines of the objects.", rich_help_panel=RESULTS),
    ] = True,
    numbers: Annotated[
        bool,
        typer.Option(
            "--numbers",
            help="Write the label of each object into the overlay; a row of the table has the same label.",
            rich_help_panel=RESULTS,
        ),
    ] = False,
    fill: Annotated[
        bool, typer.Option("--fill", help="Fill the objects in the overlay with a colour.", rich_help_panel=RESULTS)
    ] = False,
    flows: Annotated[
        bool,
        typer.Option(
            "--flows",
            help="Write the flows: IMAGE_flows.tif (along y, along x) and IMAGE_flows.png (hue: direction).",
            rich_help_panel=RESULTS,
        ),
    ] = False,
    probability: Annotated[
        bool,
        typer.Option(
            "--probability",
            help="Write the cell probability: IMAGE_probability.tif (logits) and IMAGE_probability.png (black: 0, "
            "white: 1).",
            rich_help_panel=RESULTS,
        ),
    ] = False,
    as_json: Json = False,
    address: Address = [DEFAULT_ADDRESS],  # noqa: B006  # typer reads it, nothing changes it
    concurrency: Concurrency = 8,
    deadline_s: DeadlineS = 300.0,
    priority: Annotated[
        Priority,
        typer.Option(
            help="acquisition: a microscope waits, and this run overtakes batch runs.",
            metavar="batch|acquisition",
            rich_help_panel=SERVER,
        ),
    ] = "batch",
    compression: Annotated[
        Compression,
        typer.Option(
            help="zlib: pixels travel packed, for slow networks. auto: the server packs large label images only.",
            metavar="auto|none|zlib",
            rich_help_panel=SERVER,
        ),
    ] = "auto",
    **values: Any,
) -> None:
    """Find the cells or nuclei in images.

    Three files are written for each image. IMAGE_cp_masks.tif is the label image: 0 is background, n is object n.
    IMAGE_objects.csv has one row per object. IMAGE_overlay.png shows the outlines.
    """
    params = params_of(values)
    if (numbers or fill) and not overlay:
        raise typer.BadParameter("--numbers and --fill change the overlay, which --no-overlay leaves out")
    wanted = Wanted(table=csv, overlay=overlay, numbers=numbers, filled=fill, flows=flows, cell_probability=probability)
    found = find_images(files, recursive=recursive)
    plan = plan_outputs(found.images, out, wanted)
    if out is not None:
        prepare_folder(out)
    todo = {path: outputs for path, outputs in plan.items() if not (skip_existing and is_complete(path, outputs))}
    run = Run(
        todo,
        "segmented",
        context.obj,
        as_json=as_json,
        skipped=len(plan) - len(todo),
        advice=lambda waiting: _advice({path: plan[path] for path in waiting}),
    )
    for note in _notes(found.results, len(found.images) - len(plan)):
        terminal.say(run.errors, note)
    options = SegmentOptions(outputs=wanted.outputs, priority=priority, compression=compression)
    with run(), connect(context.obj, address, deadline_s, run.errors) as client:
        if not todo:
            return
        server = Server.ask(client, params)  # no server at all: one error instead of one for every file
        if late := server.deadline_note(deadline_s):
            terminal.say(run.errors, late)
        sendable = _read(todo, run, server, axes, series, packed=compression == "zlib")
        with contextlib.closing(
            in_parallel(lambda image: client.segment(image, params, **options), sendable, concurrency, client.close)
        ) as results:
            for file, result in results:
                _write(file, result, todo[file.path], wanted, run, alone=len(plan) == 1)


def _read(
    plan: dict[Path, Outputs], run: Run, server: Server, axes: str | None, series: int | None, *, packed: bool
) -> Iterator[tuple[_InputFile, Image]]:
    """Yields the images that can be sent, each with its file. The others have failed."""
    for path, outputs in plan.items():
        try:
            with one_image():
                check_outputs(outputs)
                image = read_image(path, axes, series, stacks=server.params.stack_mode is not None)
                file = _InputFile(path, image, server.check(path, image, packed=packed))
        except CellServeError as error:
            run.fail(path, error)
        else:
            yield file, image


def _write(
    file: _InputFile,
    result: Segmentation | CellServeError,
    outputs: Outputs,
    wanted: Wanted,
    run: Run,
    *,
    alone: bool,
) -> None:
    """Writes what came of an image, and prints it: at length if the image is alone."""
    try:
        if isinstance(result, CellServeError):
            raise result
        with one_image():
            write_outputs(outputs, file.image, result, wanted)
            record = report.record(file.path, result, file.planes, outputs)
            text = (
                report.totals(result, file.planes, outputs) if alone else report.summary(file.path, result, file.planes)
            )
            table = report.object_table(result) if alone and result.objects else None
    except CellServeError as error:
        run.fail(file.path, error)
    else:
        run.succeed(file.path, record, text, table)


def _notes(results: int, repeated: int) -> Iterator[str]:
    """Yields what to know of the files that were given."""
    if results:
        yield f"left out {results} file{'s' * (results > 1)} that an earlier run wrote"
    if repeated:
        yield f"{repeated} file{' was' if repeated == 1 else 's were'} given twice; each file is segmented once"


def _advice(waiting: dict[Path, Outputs]) -> str:
    """Says how to go on after Ctrl-C."""
    kept = sum(is_complete(path, outputs) for path, outputs in waiting.items())
    advice = "The results of the images that are done are complete. The same command with --skip-existing goes on."
    if kept:
        advice += (
            f" {kept} of the images that are not done have results of an earlier run, which --skip-existing keeps; "
            "delete these results if they are to be made again."
        )
    return advice
