"""`cellserve segment`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import typer
from cellserve_contract.help import RESULTS, SERVER
from cellserve_formats import Image, time_points

from cellserve.channel import DEFAULT_ADDRESS
from cellserve.channel_names import ChannelNames
from cellserve.client import Client
from cellserve.engines import EngineOptions
from cellserve.errors import CellServeError, one_image
from cellserve.files import read_image
from cellserve.many import in_parallel
from cellserve.params import Priority, SegmentOptions, SegmentParams
from cellserve.progress import ProgressCallback
from cellserve.results import Segmentation
from cellserve.saving import check_axes
from cellserve.saving import run_folder as run_folder_of

from . import report, terminal
from . import series as time_series
from .connection import Access, connect
from .inputs import find_images, is_read_in_parts
from .large import is_segmented, is_too_large, segment_large, without_effect
from .options import (
    DEFAULT_SAVE,
    Address,
    Axes,
    BlockSize,
    Concurrency,
    DeadlineS,
    Files,
    Fill,
    Json,
    Measure,
    Numbers,
    PixelCompression,
    Recursive,
    RunFolder,
    Save,
    Scheduler,
    Series,
    channel_names_of,
    parameter_options,
    params_of,
)
from .outputs import (
    Outputs,
    Wanted,
    check_outputs,
    contents_of,
    is_complete,
    plan_outputs,
    prepare_folder,
    write_outputs,
)
from .run import Run
from .series import SeriesResult, TimePoints
from .server import Server

Large = dict[Path, CellServeError | None]
"""Images that no call can hold, and why; None for those that are only read part by part."""
MANY = 200
"""Images above which the command points to `cellserve batch`."""
EXAMPLES = """\b
Examples:
  cellserve segment cells.tif                    results beside the image
  cellserve segment cells.tif --diameter 30      objects of about 30 pixels
  cellserve segment plate --out results          all images of a folder
  cellserve segment cells.tif --save masks,rois  label image, ROIs of ImageJ
  cellserve segment stack.tif --volume           objects in three dimensions
  cellserve segment movie.tif                    each time point of a series
  cellserve segment slide.svs                    an image of any size
  cellserve segment plate --out results --skip-existing
                                                 go on after a stop

For thousands of images see cellserve batch --help.
"""


@dataclass(frozen=True)
class _InputFile:
    """One image on its way through `segment`."""

    path: Path
    image: Image
    planes: int
    points: TimePoints


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
    save: Save = [DEFAULT_SAVE],  # noqa: B006  # typer reads it, nothing changes it
    measure: Measure = None,
    numbers: Numbers = False,
    fill: Fill = False,
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
    compression: PixelCompression = "auto",
    scheduler: Scheduler = None,
    run_folder: RunFolder = None,
    block_size: BlockSize = None,
    **values: Any,
) -> None:
    """Find the cells or nuclei in images.

    Three files are written for each image, unless --save names others. IMAGE_cp_masks.tif is the label image: 0 is
    background, n is object n. IMAGE_objects.csv has one row per object. IMAGE_overlay.png shows the outlines. The label
    image and the table of a time series hold all time points; the picture shows some.

    Zarr stores, slides, and images that exceed the limits of the server are segmented part by part. The result is that
    of one request. Such images need pip install 'cellserve[large]'. Their label image is OME-Zarr, their table Parquet.
    """
    params, names = params_of(context, values), channel_names_of(values)
    wanted = Wanted(words=tuple(save), measure=tuple(measure or ()), numbers=numbers, filled=fill)
    wanted.check()
    found = find_images(files, recursive=recursive)
    plan = plan_outputs(found.images, out, wanted)
    if out is not None:
        prepare_folder(out)
    todo = {
        path: outputs
        for path, outputs in plan.items()
        if not skip_existing
        or not (is_complete(path, outputs.paths) or is_segmented(path, outputs, wanted, beside=out is None))
    }
    run = Run(
        todo,
        "segmented",
        context.obj,
        as_json=as_json,
        skipped=len(plan) - len(todo),
        advice=lambda waiting: _advice({path: plan[path] for path in waiting}),
    )
    for note in _notes(found.results, len(found.images) - len(plan), len(plan)):
        terminal.say(run.errors, note)
    options = SegmentOptions(outputs=wanted.outputs, priority=priority, compression=compression)
    access: Access = context.obj
    engine = EngineOptions(
        address=address,
        token=access.token,
        tls=access.tls,
        priority=priority,
        deadline_s=deadline_s,
        axes=axes,
        series=series,
        csv="csv" in save,
        overlay="overlay" in save,
        concurrency=concurrency,
        scheduler=scheduler,
        run_folder=run_folder,
        block_size=block_size,
        note=lambda line: terminal.say(run.errors, line),
        progress=run.blocks,
    )
    with run(), connect(context.obj, address, deadline_s, run.errors) as client:
        if not todo:
            return
        server = Server.ask(client, params)  # no server at all: one error instead of one for every file
        if late := server.deadline_note(deadline_s):
            terminal.say(run.errors, late)
        large: Large = {path: None for path in todo if is_read_in_parts(path)}
        ordinary = {path: outputs for path, outputs in todo.items() if path not in large}
        sendable = _read(ordinary, run, server, names, axes, series, wanted, large, packed=compression == "zlib")
        with contextlib.closing(
            in_parallel(
                lambda item: _segmented(client, *item, wanted, options),
                sendable,
                concurrency,
                client.close,
            )
        ) as results:
            for (file, number), result in results:
                if isinstance(result, CellServeError) and is_too_large(result) and not file.points.is_series:
                    large[file.path] = result
                elif (outcome := file.points.add(number, result)) is not None:
                    _write(file, outcome, todo[file.path], wanted, run, alone=len(plan) == 1)
        if large and (ignored := without_effect(wanted)):
            terminal.say(run.errors, ignored)
        for path, refused in large.items():
            stem = todo[path].stem
            if run_folder is not None and len(plan) > 1:  # a run that stops keeps its folder from the next image
                engine["run_folder"] = run_folder_of(run_folder / stem.name)
            place = None if out is None else stem
            segment_large(path, place, params, names, engine, run, refused=refused, alone=len(plan) == 1)


def _read(
    plan: dict[Path, Outputs],
    run: Run,
    server: Server,
    names: ChannelNames,
    axes: str | None,
    series: int | None,
    wanted: Wanted,
    large: Large,
    *,
    packed: bool,
) -> Iterator[tuple[tuple[_InputFile, int], tuple[Image, SegmentParams, ProgressCallback | None]]]:
    """Yields file and number of each time point that can be sent, then image, parameters and what follows the progress.

    A file without time axis has one time point. Images that are not yielded are too large, or have failed.
    """
    for path, outputs in plan.items():
        try:
            with one_image():
                check_outputs(outputs)
                image = read_image(path, axes, series, stacks=server.params.stack_mode is not None, time_series=True)
                check_axes(wanted.words, image.axes)
                used = names.resolved(server.params, image.channels)
                planes = replace(server, params=used).check(path, next(time_points(image)), packed=packed)
                file = _InputFile(path, image, planes, TimePoints(image))
        except CellServeError as error:
            if is_too_large(error):
                large[path] = error
            else:
                run.fail(path, error)
        else:
            for number, point in file.points:
                yield (file, number), (point, used, None if file.points.is_series else run.follow)


def _segmented(
    client: Client,
    image: Image,
    params: SegmentParams,
    progress: ProgressCallback | None,
    wanted: Wanted,
    options: SegmentOptions,
) -> Segmentation:
    result = client.segment(image, params, progress=progress, **options)
    with one_image():
        return result.measure(image, wanted.measure) if wanted.measure else result


def _write(
    file: _InputFile,
    result: Segmentation | SeriesResult | CellServeError,
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
            if isinstance(result, SeriesResult):
                write_outputs(result.contents(outputs))
                said = time_series.said(file.path, result, file.planes, outputs, alone=alone)
            else:
                write_outputs(contents_of(outputs, file.path, file.image, result, wanted))
                said = report.said(file.path, result, file.planes, outputs, alone=alone)
    except CellServeError as error:
        run.fail(file.path, error)
    else:
        run.succeed(file.path, *said)


def _notes(results: int, repeated: int, images: int) -> Iterator[str]:
    """Yields what to know of the files that were given."""
    if images > MANY:
        yield f"{images:,} images: cellserve batch keeps a journal of them, and goes on after a stop where it was"
    if results:
        yield f"left out {results} file{'s' * (results > 1)} that an earlier run wrote"
    if repeated:
        yield f"{repeated} file{' was' if repeated == 1 else 's were'} given twice; each file is segmented once"


def _advice(waiting: dict[Path, Outputs]) -> str:
    """Says how to go on after Ctrl-C."""
    kept = sum(is_complete(path, outputs.paths) for path, outputs in waiting.items())
    advice = "The results of the images that are done are complete. The same command with --skip-existing goes on."
    begun = [path for path, outputs in waiting.items() if run_folder_of(outputs.stem).is_dir()]
    if begun:
        advice += f" {', '.join(map(str, begun))} then goes on where the run was."
    if kept:
        advice += (
            f" {kept} of the images that are not done have results of an earlier run, which --skip-existing keeps; "
            "delete these results if they are to be made again."
        )
    return advice
