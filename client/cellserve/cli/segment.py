"""`cellserve segment`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from cellserve_formats import Image

from cellserve.channel import DEFAULT_ADDRESS
from cellserve.errors import CellServeError, one_image
from cellserve.files import read_image
from cellserve.images import ImageLike
from cellserve.params import Compression, Priority

from . import report, terminal
from .connection import connect, say_cause
from .options import Address, Axes, DeadlineS, Files, Series, parameter_options, params_of
from .outputs import check_names, is_output, plan_outputs, write_outputs


@dataclass(frozen=True)
class _InputFile:
    """One image on its way through `segment`."""

    path: Path
    image: Image


@parameter_options()
def segment(
    context: typer.Context,
    files: Files,
    out: Annotated[Path | None, typer.Option(help="Folder of the results.", show_default="beside each file")] = None,
    address: Address = [DEFAULT_ADDRESS],  # noqa: B006  # typer reads it, nothing changes it
    axes: Axes = None,
    series: Series = None,
    csv: Annotated[bool, typer.Option(help="Write the table of objects.")] = True,
    overlay: Annotated[bool, typer.Option(help="Write a picture of the outlines.")] = True,
    concurrency: Annotated[int, typer.Option(help="Images in work at a time.", min=1, max=256)] = 8,
    deadline_s: DeadlineS = 300.0,
    priority: Annotated[Priority, typer.Option(help="acquisition overtakes batch.")] = "batch",
    compression: Annotated[
        Compression,
        typer.Option(help="zlib packs pixels, for slow networks; auto lets the server pack large label images."),
    ] = "auto",
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object per file, in the order they finish.")
    ] = False,
    **values: Any,
) -> None:
    """Segments images: FILE_cp_masks.tif (labels), FILE_objects.csv and FILE_overlay.png for each."""
    params = params_of(values)
    output, errors = terminal.console(), terminal.console(stderr=True)
    inputs = [path for path in files if not is_output(path)]
    if len(inputs) < len(files):
        terminal.say(errors, f"left out {len(files) - len(inputs)} files that an earlier run wrote")
    try:
        plan = plan_outputs(inputs, out)
    except CellServeError as error:
        raise typer.BadParameter(error.message) from error
    if len(plan) < len(inputs):
        twice = len(inputs) - len(plan)
        terminal.say(
            errors, f"{twice} file{' was' if twice == 1 else 's were'} given twice; each file is segmented once"
        )

    failures: list[Path] = []

    def fail(path: Path, error: CellServeError) -> None:
        failures.append(path)
        if as_json:
            terminal.say(output, json.dumps(report.error_record(path, error)))
        else:
            terminal.say(errors, report.error_line(path, error))
        say_cause(context, errors, error)

    def images() -> Iterator[tuple[_InputFile, ImageLike]]:
        for path in plan:
            try:
                with one_image():
                    check_names(plan[path])
                    image = read_image(path, axes, series)
            except CellServeError as error:
                fail(path, error)
                progress.advance(bar)
            else:
                yield _InputFile(path, image), image

    with connect(context, address, deadline_s, errors) as client, terminal.progress(errors) as progress:
        client.health()  # no server at all: one error instead of one for every file
        bar = progress.add_task("segmenting", total=len(plan))
        for file, result in client.segment_many(
            images(), params, concurrency=concurrency, priority=priority, compression=compression
        ):
            progress.advance(bar)
            if isinstance(result, CellServeError):
                fail(file.path, result)
                continue
            outputs = plan[file.path]
            try:
                with one_image():
                    written = write_outputs(outputs, file.image, result, csv=csv, overlay=overlay)
                    record = json.dumps(report.record(file.path, result, outputs, written))
            except CellServeError as error:
                fail(file.path, error)
                continue
            if as_json:
                terminal.say(output, record)
            elif len(plan) == 1:
                if result.objects:
                    output.print(report.object_table(result))
                terminal.say(output, report.totals(result) + "".join(f"\nwrote     {path}" for path in written))
            else:
                terminal.say(output, report.summary(str(file.path), result))
    if len(plan) > 1 or failures:
        terminal.say(errors, f"{len(plan) - len(failures)} of {len(plan)} images segmented, {len(failures)} failed")
    if failures:
        raise typer.Exit(1)
