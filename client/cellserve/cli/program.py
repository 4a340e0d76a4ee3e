"""The program: its commands, the options before a command, exit statuses."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path
from typing import Annotated

import grpc
import typer

from . import diameter, health, models, segment, terminal
from .connection import Access

app = typer.Typer(
    help="Finds cells and nuclei in microscope images, on a CellServe server.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(segment.segment)
app.command()(diameter.diameter)
app.command()(models.models)
app.command()(health.health)


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
    context.obj = Access(token=token, traceback=traceback)
    if tls or ca or certificate:
        try:
            files = [path.read_bytes() if path else None for path in (ca, key, certificate)]
        except OSError as error:
            raise typer.BadParameter(f"{error.filename}: {error.strerror}") from error
        context.obj = Access(grpc.ssl_channel_credentials(*files), token, traceback)


def main() -> None:
    """Runs the command line."""
    try:
        app(prog_name="cellserve")
    except OSError as error:  # errors of files and connections are caught where they happen
        terminal.drop_output()
        terminal.say(terminal.console(stderr=True), f"error: cannot print: {error.strerror or error}")
        raise SystemExit(1) from error
