"""`cellserve models`."""

from __future__ import annotations

import typer

from cellserve.channel import DEFAULT_ADDRESS

from . import report, terminal
from .connection import connect
from .options import Address, AnswerS


def models(
    context: typer.Context,
    address: Address = [DEFAULT_ADDRESS],  # noqa: B006  # typer reads it, nothing changes it
    deadline_s: AnswerS = 10.0,
) -> None:
    """List the model families of the server.

    An asterisk marks the family that is used if --model is left out.
    """
    with connect(context.obj, address, deadline_s, terminal.console(stderr=True)) as client:
        listed = client.models()
    output = terminal.console(wrap=True)
    output.print(report.model_table(listed))
    terminal.say(output, report.model_notes(listed))
