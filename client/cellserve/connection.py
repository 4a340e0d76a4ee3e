"""How servers are reached, in a form that other processes can use."""

from __future__ import annotations

import functools
import threading
import uuid
from dataclasses import dataclass, field

import grpc

from .channel import DEFAULT_ADDRESS
from .client import Client

Tls = tuple[bytes | None, bytes | None, bytes | None]
"""Arguments of `grpc.ssl_channel_credentials`, which workers in other processes need, too: PEM data of the trusted
certificates, of the caller's private key and of the caller's certificate."""

_opening = threading.Lock()


@dataclass(frozen=True, slots=True)
class Connection:
    """How servers are reached. Can be pickled.

    Attributes:
        addresses: "host:port" of each server. gRPC sends the calls round the servers and leaves out those that do not
            answer.
        token: Sent with every call.
        tls: Encrypts the connections; None: no encryption.
        run: Each run has a client of its own, so that a run that ends can close its client.
    """

    addresses: tuple[str, ...] = (DEFAULT_ADDRESS,)
    token: str | None = field(default=None, repr=False)
    tls: Tls | None = field(default=None, repr=False)
    run: str = field(default_factory=lambda: uuid.uuid4().hex)

    def client(self) -> Client:
        """Returns the client of this process."""
        with _opening:  # one for all threads
            return _client(self)

    def close(self) -> None:
        """Closes the client of this process: calls under way fail, and so do later ones."""
        self.client().close()


@functools.lru_cache(maxsize=4)  # of a worker that serves one run after another
def _client(connection: Connection) -> Client:
    return Client(
        list(connection.addresses),
        credentials=None if connection.tls is None else grpc.ssl_channel_credentials(*connection.tls),
        metadata=[("authorization", f"Bearer {connection.token}")] if connection.token else [],
    )
