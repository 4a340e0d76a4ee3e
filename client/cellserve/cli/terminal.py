"""What the command line prints to: consoles, and any text as it is."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path

from rich.console import Console


def print_any_name() -> None:
    """Lets standard output and error print any name of a file: what the locale lacks becomes an escape."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="backslashreplace")


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
