"""From the options of a command to a connected client."""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Iterator
from dataclasses import dataclass

import grpc
import typer
from rich.console import Console

from cellserve.client import Client
from cellserve.errors import CellServeError

from . import terminal


@dataclass(frozen=True)
class Access:
    """What a server may ask for before it lets a caller in, and what to print of unforeseen errors."""

    credentials: grpc.ChannelCredentials | None = None
    token: str | None = None
    traceback: bool = False

    @property
    def metadata(self) -> list[tuple[str, str]]:
        """What every call carries."""
        return [("authorization", f"Bearer {self.token}")] if self.token else []


@contextlib.contextmanager
def connect(context: typer.Context, address: list[str], deadline_s: float, errors: Console) -> Iterator[Client]:
    """Connects; what the server or the connection does wrong becomes one line and exit status 1."""
    try:
        access: Access = context.obj
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


def say_cause(context: typer.Context, errors: Console, error: CellServeError) -> None:
    """Prints where an unforeseen error happened, if the caller asked."""
    access: Access = context.obj
    if access.traceback and error.reason == "CLIENT_FAILED" and error.__cause__ is not None:
        terminal.say(errors, "".join(traceback.format_exception(error.__cause__)).rstrip())
