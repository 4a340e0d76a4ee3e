"""`cellserve batch`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from cellserve_contract.help import INPUT, LARGE, RESULTS, SERVER
from cellserve_formats.contents import PLUGINS

from cellserve.batch.batch import Batch
from cellserve.batch.closing import write_summaries
from cellserve.batch.journal_file import opened
from cellserve.batch.listing import enlist
from cellserve.batch.opening import begin, clear, end, executor, folder_of, networks_of
from cellserve.batch.request import Request
from cellserve.batch.shard import Shard
from cellserve.batch.window import Window
from cellserve.batch.work import Worker
from cellserve.channel import DEFAULT_ADDRESS, addresses
from cellserve.connection import Connection

from . import terminal
from .batch_report import BatchRun, say_status
from .connection import Access, connect
from .dry_run import dry_run as say_plan
from .inputs import ENDINGS, Search
from .options import (
    Address,
    Axes,
    Fill,
    Json,
    Measure,
    Numbers,
    PixelCompression,
    Save,
    channel_names_of,
    parameter_options,
    params_of,
)
from .outputs import Wanted, prepare_folder
from .server import Server

EXAMPLES = """\b
Examples:
  cellserve batch plate --out results              all images of a folder
  cellserve batch plate.ome.zarr --out results --save masks,zarr,csv
                                                   a plate; labels in the plate, too
  cellserve batch images.txt --out results         the images of a list
  cellserve batch plate --out results --dry-run    what would be done
  cellserve batch --status results                 what is done, failed, left

The same command goes on after a stop.
"""
DEFAULT_SAVE = "masks,csv"
MOST = 64
"""Most images in work, unless the caller says otherwise."""


def _shard(text: str | None) -> str | None:
    if text is not None:
        try:
            Shard.parse(text)
        except ValueError as error:
            raise typer.BadParameter(str(error)) from error
    return text


@parameter_options()
def batch(
    context: typer.Context,
    inputs: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="PATH",
            help="Folders (with all folders in them), image files, OME-Zarr images and plates, patterns such as "
            "'data/*/*.tif', and text lists: files that end in .txt, a path in each line.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Where results, journal and report go. Results keep the folders of their images below the innermost "
            "folder that all images are in.",
            show_default=False,
            rich_help_panel=RESULTS,
        ),
    ] = None,
    include: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PATTERN",
            help="Take only images whose name or path matches, such as '*_w1.tif'; repeatable.",
            rich_help_panel=INPUT,
        ),
    ] = None,
    exclude: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PATTERN", help="Leave out images whose name or path matches; repeatable.", rich_help_panel=INPUT
        ),
    ] = None,
    axes: Axes = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Print what would be done, with which channels; send no image and write no file.",
            rich_help_panel=INPUT,
        ),
    ] = False,
    status: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Print what is done, failed and left of the batch with this folder of results, and end.",
            show_default=False,
            rich_help_panel=RESULTS,
        ),
    ] = None,
    save: Save = [DEFAULT_SAVE],  # noqa: B006  # typer reads it, nothing changes it
    measure: Measure = None,
    numbers: Numbers = False,
    fill: Fill = False,
    report: Annotated[
        bool, typer.Option(help="Write the report of the batch, FOLDER/report.html.", rich_help_panel=RESULTS)
    ] = True,
    as_json: Json = False,
    address: Address = [DEFAULT_ADDRESS],  # noqa: B006  # typer reads it, nothing changes it
    concurrency: Annotated[
        int,
        typer.Option(
            metavar="N",
            help="Most images in work at a time. The run begins with few, and takes more until a few wait on the "
            "servers.",
            min=1,
            max=1024,
            rich_help_panel=SERVER,
        ),
    ] = MOST,
    deadline_s: Annotated[
        float,
        typer.Option(
            metavar="SECONDS",
            help="Most time to wait for a server. Then the run stops, and the same command goes on.",
            min=0.001,
            rich_help_panel=SERVER,
        ),
    ] = 3600.0,
    work_budget_s: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS",
            help="Most time of work on one image, counted from when the server starts on it. Waiting does not count.",
            min=0.001,
            show_default="what the server allows",
            rich_help_panel=SERVER,
        ),
    ] = None,
    compression: PixelCompression = "auto",
    scheduler: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="Dask scheduler, such as tcp://host:8786, whose workers read, send and write the images. They must "
            "reach images and results under the same paths.",
            show_default="threads of this process",
            rich_help_panel=LARGE,
        ),
    ] = None,
    shard: Annotated[
        str | None,
        typer.Option(
            metavar="I/N",
            help="Do part I of N, from 0: several processes share a batch. Each has a journal of its own.",
            callback=_shard,
            rich_help_panel=LARGE,
        ),
    ] = None,
    **values: Any,
) -> None:
    """Segment thousands of images, each once.

    A journal in FOLDER tells what is done. The same command goes on after a stop: images whose results are there are
    skipped; images are made again if they, a parameter or the network changed. A failed image is tried again.

    Besides the results, FOLDER gets images.csv, a row for each image, and report.html.
    """
    if status is not None:
        say_status(status, as_json=as_json)
        return
    if not inputs or out is None:
        raise typer.BadParameter("name the images and, with --out, the folder of the results")
    request = Request(
        params=params_of(context, values),
        channels=channel_names_of(values),
        axes=axes,
        save=tuple(save),
        measure=tuple(measure or ()),
        numbers=numbers,
        filled=fill,
        compression=compression,
        work_budget_s=work_budget_s,
        deadline_s=deadline_s,
    )
    Wanted(words=request.save, numbers=numbers, filled=fill).check()
    search = Search(tuple(inputs), tuple(include or ()), tuple(exclude or ()), (*ENDINGS, *PLUGINS))
    part = None if shard is None else Shard.parse(shard)
    access: Access = context.obj
    run = BatchRun(access, as_json=as_json)
    with connect(access, address, deadline_s, run.errors) as client:
        server = Server.ask(client, request.params)  # no server at all: one error instead of one for every file
    worker = Worker(
        Connection(tuple(addresses(address)), access.token, access.tls),
        request,
        out.absolute(),
        networks_of(server.family),
        folder_of(out.absolute(), part) / "parts",
    )
    if dry_run:
        raise typer.Exit(say_plan(search, worker, server, part, run))
    prepare_folder(out)
    with run.errors_told():
        _work(search, worker, part, run, concurrency=concurrency, scheduler=scheduler, report=report)
    raise typer.Exit(run.exit_status)


def _work(
    search: Search,
    worker: Worker,
    part: Shard | None,
    run: BatchRun,
    *,
    concurrency: int,
    scheduler: str | None,
    report: bool,
) -> None:
    folder = folder_of(worker.out, part)
    with opened(folder) as journal, run.listening() as stop:
        base = search.base()
        run.expect(enlist(journal, search.images(base), base, part, stop))
        worker = begin(journal, folder, worker)
        with executor(scheduler, concurrency) as pool, run.working():
            batch = Batch(journal, folder, worker, pool, Window(concurrency), run.ended, run.expect)
            batch.run(stop)
        status = run.close(batch, stop)
        end(journal, batch.seconds)
        files = write_summaries(journal, worker, part, title=str(base), left=status.left, report=report)
        clear(worker)
        status.write(folder)
    for path in files:
        terminal.say(run.errors, f"wrote {path}")
