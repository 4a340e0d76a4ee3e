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
from cellserve.connection import Tls
from cellserve.errors import CellServeError

from . import terminal


@dataclass(frozen=True)
class Access:
    """What a server may ask for before it lets a caller in, and what to print of unforeseen errors."""

    tls: Tls | None = None
    token: str | None = None
    traceback: bool = False

    @property
    def credentials(self) -> grpc.ChannelCredentials | None:
        """What encrypts the connection; None connects without encryption."""
        return None if self.tls is None else grpc.ssl_channel_credentials(*self.tls)

    @property
    def metadata(self) -> list[tuple[str, str]]:
        """What every call carries."""
        return [("authorization", f"Bearer {self.token}")] if self.token else []

    def cause(self, error: CellServeError) -> str | None:
        """Returns where an unforeseen error happened, if the caller asked."""
        if self.traceback and error.reason == "CLIENT_FAILED" and error.__cause__ is not None:
            return "".join(traceback.format_exception(error.__cause__)).rstrip()
        return None


@contextlib.contextmanager
def connect(access: Access, address: list[str], deadline_s: float, errors: Console) -> Iterator[Client]:
    """Connects; what the server or the connection does wrong becomes one line and exit status 1."""
    try:
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
