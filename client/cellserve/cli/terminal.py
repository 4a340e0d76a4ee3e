"""What the command line prints to: consoles, progress, and any text as it is."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn


def print_any_name() -> None:
    """Lets standard output and error print any name of a file: what the locale lacks becomes an escape."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="backslashreplace")


def progress(errors: Console) -> Progress:
    """Returns a progress bar on standard error, if that is a terminal; standard output stays free for pipes."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=errors,
        disable=not errors.is_terminal,
        transient=True,
        redirect_stdout=bool(sys.stdout and sys.stdout.isatty()),  # a daemon can have no standard output
    )


def console(*, stderr: bool = False, wrap: bool = False) -> Console:
    """Returns a console for tables and progress that prints text as it is."""
    return Console(stderr=stderr, markup=False, emoji=False, highlight=False, soft_wrap=not wrap)


def say(console: Console, line: str) -> None:
    """Prints a line to the stream of a console; a console itself would expand tabs."""
    print(line, file=sys.stderr if console.stderr else sys.stdout, flush=True)


def drop_output() -> None:
    """Sends what standard output still holds nowhere: newer Pythons fail at their end if it cannot be written."""
    with Path(os.devnull).open("wb") as nowhere:
        os.dup2(nowhere.fileno(), sys.stdout.fileno())
