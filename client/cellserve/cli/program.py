"""The program: its commands, the options before a command, exit statuses."""

from __future__ import annotations

import gc
from importlib import metadata
from pathlib import Path
from typing import Annotated

import typer
from cellserve_contract.help import GroupedCommand, program

from . import batch, diameter, health, models, segment, terminal
from .connection import Access

HELP = """Find cells and nuclei in microscope images, on a CellServe server.

The options below stand before the command: cellserve --tls segment cells.tif
"""
EPILOG = """\b
Exit status:
  0    All is well.
  1    An image failed, or no server answered. Standard error says which.
  2    Wrong usage: no image was sent.
  130  Ctrl-C stopped the run; 143: SIGTERM did.

\b
Start here:
  cellserve health               is the server there?
  cellserve segment cells.tif    segment an image
  cellserve segment --help       all options of a command

Results go to standard output. Progress, notes and errors go to standard error.
"""

app = program(HELP, EPILOG, completion=True)
app.command(cls=GroupedCommand, epilog=segment.EXAMPLES)(segment.segment)
app.command(cls=GroupedCommand, epilog=batch.EXAMPLES)(batch.batch)
app.command(cls=GroupedCommand)(diameter.diameter)
app.command(cls=GroupedCommand)(models.models)
app.command(cls=GroupedCommand)(health.health)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(metadata.version("cellserve"))
        raise typer.Exit


@app.callback(help=HELP, epilog=EPILOG)
def _common(
    context: typer.Context,
    tls: Annotated[
        bool, typer.Option("--tls", help="Encrypt the connection; trust the certificates that this machine trusts.")
    ] = False,
    ca: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Encrypt the connection; trust the certificates in this PEM file."),
    ] = None,
    certificate: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="PEM file: certificate that tells the server who calls; needs --key."),
    ] = None,
    key: Annotated[Path | None, typer.Option(metavar="FILE", help="PEM file: private key of the certificate.")] = None,
    token: Annotated[
        str | None,
        typer.Option(
            metavar="TOKEN",
            envvar="CELLSERVE_TOKEN",
            help="Token that the operator of the server gave; other users of this machine can see the option, but not "
            "the variable.",
        ),
    ] = None,
    traceback: Annotated[
        bool, typer.Option("--traceback", help="Print where an unforeseen error happened, for a report.")
    ] = False,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    """Gathers the options before the command."""
    if (certificate is None) != (key is None):
        raise typer.BadParameter("--certificate and --key belong together")
    terminal.print_any_name()
    context.obj = Access(token=token, traceback=traceback)
    if tls or ca or certificate:
        try:
            of_server, own_key, own = [path.read_bytes() if path else None for path in (ca, key, certificate)]
        except OSError as error:
            raise typer.BadParameter(f"{error.filename}: {error.strerror}") from error
        context.obj = Access((of_server, own_key, own), token, traceback)


def main() -> None:
    """Runs the command line."""
    try:
        app(prog_name="cellserve")
    except OSError as error:  # errors of files and connections are caught where they happen
        terminal.drop_output()
        terminal.say(terminal.console(stderr=True), f"error: cannot print: {error.strerror or error}")
        raise SystemExit(1) from error
    finally:
        gc.freeze()  # the process ends: a last collection of garbage would take .2 s
