"""The command line: `cellserve segment`, `diameter`, `models` and `health`.

Results go to standard output, progress and errors to standard error. Exit status: 0 all is well, 1 something failed,
2 wrong usage.
"""

from __future__ import annotations

import contextlib
import json
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any

import grpc
import typer
from cellserve_formats import Image
from rich.console import Console

from . import report, terminal
from .channel import DEFAULT_ADDRESS
from .client import Client
from .errors import CellServeError, one_image
from .files import check_names, is_output, plan_outputs, read_image, write_outputs
from .images import ImageLike
from .options import parameter_options, params_of
from .params import Compression, Priority

app = typer.Typer(
    help="Finds cells and nuclei in microscope images, on a CellServe server.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

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


@dataclass(frozen=True)
class _Access:
    """What a server may ask for before it lets a caller in, and what to print of unforeseen errors."""

    credentials: grpc.ChannelCredentials | None = None
    token: str | None = None
    traceback: bool = False

    @property
    def metadata(self) -> list[tuple[str, str]]:
        return [("authorization", f"Bearer {self.token}")] if self.token else []


@dataclass(frozen=True)
class _InputFile:
    """One image on its way through `segment`."""

    path: Path
    image: Image


@app.command()
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
        _say_cause(context, errors, error)

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

    with _client(context, address, deadline_s, errors) as client, terminal.progress(errors) as progress:
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


@app.command()
@parameter_options(estimate=True)
def diameter(
    context: typer.Context,
    files: Files,
    address: Address = [DEFAULT_ADDRESS],  # noqa: B006  # typer reads it, nothing changes it
    axes: Axes = None,
    series: Series = None,
    deadline_s: DeadlineS = 300.0,
    **values: Any,
) -> None:
    """Estimates the median diameter of the objects in each image, and tells where the number comes from."""
    params = params_of(values)
    output, errors = terminal.console(), terminal.console(stderr=True)
    failed = False
    with _client(context, address, deadline_s, errors) as client:
        client.health()
        for path in files:
            try:
                with one_image():
                    estimate = client.estimate_diameter(read_image(path, axes, series), params)
            except CellServeError as error:
                failed = True
                terminal.say(errors, report.error_line(path, error))
                _say_cause(context, errors, error)
            else:
                line = f"{path}: {estimate.diameter:.1f} px ({report.diameter_source(estimate.source)})"
                terminal.say(output, "\n".join([line, *report.warning_lines(estimate.warnings)]))
    if failed:
        raise typer.Exit(1)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(metadata.version("cellserve"))
        raise typer.Exit


@app.callback()
def _common(
    context: typer.Context,
    tls: Annotated[
        bool, typer.Option("--tls", help="Encrypt; trust the certificates that this machine trusts.")
    ] = False,
    ca: Annotated[Path | None, typer.Option(help="Encrypt; trust the certificates in this file, PEM.")] = None,
    certificate: Annotated[Path | None, typer.Option(help="Certificate to show to the server, PEM.")] = None,
    key: Annotated[Path | None, typer.Option(help="Its private key, PEM.")] = None,
    token: Annotated[
        str | None,
        typer.Option(
            envvar="CELLSERVE_TOKEN", help="Token to send; better in the environment, where others do not see it."
        ),
    ] = None,
    traceback: Annotated[bool, typer.Option("--traceback", help="Print where an unforeseen error happened.")] = False,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    """Finds cells and nuclei in microscope images, on a CellServe server."""
    if (certificate is None) != (key is None):
        raise typer.BadParameter("--certificate and --key belong together")
    terminal.print_any_name()
    context.obj = _Access(token=token, traceback=traceback)
    if tls or ca or certificate:
        try:
            files = [path.read_bytes() if path else None for path in (ca, key, certificate)]
        except OSError as error:
            raise typer.BadParameter(f"{error.filename}: {error.strerror}") from error
        context.obj = _Access(grpc.ssl_channel_credentials(*files), token, traceback)


@app.command()
def models(
    context: typer.Context,
    address: Address = [DEFAULT_ADDRESS],  # noqa: B006  # typer reads it, nothing changes it
    deadline_s: AnswerS = 10.0,
) -> None:
    """Lists the model families of the server; an asterisk marks the one used when none is named."""
    with _client(context, address, deadline_s, terminal.console(stderr=True)) as client:
        listed = client.models()
    output = terminal.console(wrap=True)
    output.print(report.model_table(listed))
    terminal.say(output, report.model_notes(listed))


@app.command()
def health(
    context: typer.Context,
    address: Address = [DEFAULT_ADDRESS],  # noqa: B006  # typer reads it, nothing changes it
    deadline_s: AnswerS = 10.0,
) -> None:
    """Asks each server whether it is ready: prints SERVING (exit status 0) or what else it is (1)."""
    output, errors = terminal.console(), terminal.console(stderr=True)
    failed = False
    for server in address:
        with contextlib.suppress(typer.Exit), _client(context, [server], deadline_s, errors) as client:
            state = client.health()
            terminal.say(output, f"{server}: {state}" if len(address) > 1 else state)
            failed |= state != "SERVING"
            continue
        failed = True
    if failed:
        raise typer.Exit(1)


@contextlib.contextmanager
def _client(context: typer.Context, address: list[str], deadline_s: float, errors: Console) -> Iterator[Client]:
    """Connects; what the server or the connection does wrong becomes one line and exit status 1."""
    try:
        access: _Access = context.obj
        client = Client(address, deadline_s=deadline_s, credentials=access.credentials, metadata=access.metadata)
    except (OSError, ValueError) as error:
        terminal.say(errors, f"error: {error}")
        raise typer.Exit(1) from error
    try:
        with client:
            yield client
    except CellServeError as error:
        terminal.say(errors, f"error: {error}")
        raise typer.Exit(1) from error


def _say_cause(context: typer.Context, errors: Console, error: CellServeError) -> None:
    """Prints where an unforeseen error happened, if the caller asked."""
    access: _Access = context.obj
    if access.traceback and error.reason == "CLIENT_FAILED" and error.__cause__ is not None:
        terminal.say(errors, "".join(traceback.format_exception(error.__cause__)).rstrip())


def main() -> None:
    """Runs the command line."""
    try:
        app(prog_name="cellserve")
    except OSError as error:  # errors of files and connections are caught where they happen
        terminal.drop_output()
        terminal.say(terminal.console(stderr=True), f"error: cannot print: {error.strerror or error}")
        raise SystemExit(1) from error
