"""`cellserve health`."""

from __future__ import annotations

import contextlib

import typer

from cellserve.channel import DEFAULT_ADDRESS

from . import terminal
from .connection import connect
from .options import Address, AnswerS


def health(
    context: typer.Context,
    address: Address = [DEFAULT_ADDRESS],  # noqa: B006  # typer reads it, nothing changes it
    deadline_s: AnswerS = 10.0,
) -> None:
    """Ask each server whether it is ready.

    Prints SERVING if the server takes images. NOT_SERVING means that the server starts, ends, or waits for its models.
    The exit status is 0 if all servers are ready, else 1.
    """
    output, errors = terminal.console(), terminal.console(stderr=True)
    failed = False
    for server in address:
        with contextlib.suppress(typer.Exit), connect(context.obj, [server], deadline_s, errors) as client:
            state = client.health()
            terminal.say(output, f"{server}: {state}" if len(address) > 1 else state)
            failed |= state != "SERVING"
            continue
        failed = True
    if failed:
        raise typer.Exit(1)
