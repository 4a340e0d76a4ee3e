"""`cellserve diameter`."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import typer

from cellserve.channel import DEFAULT_ADDRESS
from cellserve.errors import CellServeError, one_image
from cellserve.files import read_image
from cellserve.many import in_parallel
from cellserve.results import DiameterEstimate

from . import report, terminal
from .connection import Access, connect
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
    channel_names_of,
    parameter_options,
    params_of,
)
from .run import Run
from .server import Server


@parameter_options(estimate=True)
def diameter(
    context: typer.Context,
    files: Files,
    recursive: Recursive = False,
    axes: Axes = None,
    series: Series = None,
    as_json: Json = False,
    address: Address = [DEFAULT_ADDRESS],  # noqa: B006  # typer reads it, nothing changes it
    concurrency: Concurrency = 8,
    deadline_s: DeadlineS = 300.0,
    **values: Any,
) -> None:
    """Estimate the diameter of the objects in each image.

    Prints the median diameter in pixels, and where the number comes from. `cellserve segment` makes the same estimate
    if --diameter is left out.
    """
    access: Access = context.obj
    params, names = params_of(context, values), channel_names_of(values)
    paths = dict.fromkeys(image.path for image in find_images(files, recursive=recursive).images)
    run = Run(paths, "measured", access, as_json=as_json)
    with run(), connect(access, address, deadline_s, run.errors) as client:
        server = Server.ask(client, params)
        if note := server.deadline_note(deadline_s):
            terminal.say(run.errors, note)

        def measure(path: Path) -> DiameterEstimate:
            with one_image():
                image = read_image(path, axes, series)
                used = names.resolved(params, image.channels)
                replace(server, params=used).check(path, image)
                return client.estimate_diameter(image, used)

        with contextlib.closing(
            in_parallel(measure, zip(paths, paths, strict=True), concurrency, client.close)
        ) as results:
            for path, estimate in results:
                if isinstance(estimate, CellServeError):
                    run.fail(path, estimate)
                else:
                    run.succeed(path, report.diameter_record(path, estimate), report.diameter_line(path, estimate))
