"""One HTTP port: sockets, TLS, uvicorn, and an end that waits for requests under way."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable, Iterator, Sequence

import uvicorn

from .connections import Application, Connection, Connections, guard

BACKLOG = 1024
"""Connections that may wait to be accepted. The kernel drops further ones without telling their callers."""
DATE_INTERVAL_S = 1.0
KEEP_ALIVE_S = 3600  # uvicorn's own timer, which `Connection` replaces


class HttpListener:
    """Serves an ASGI application on one port, in the running event loop.

    Args:
        app: The application.
        host: Address to bind.
        port: 0 takes a free one.
        connections: Bounds of the port's connections.
        tls: Returns the TLS context of the next connection. None for a port without TLS.

    Raises:
        OSError: The port cannot be bound.
    """

    def __init__(
        self,
        app: Application,
        host: str,
        port: int,
        connections: Connections,
        tls: Callable[[], ssl.SSLContext] | None = None,
    ) -> None:
        self._socket = _bind(host, port)
        self.port: int = self._socket.getsockname()[1]
        config = uvicorn.Config(
            guard(app),
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="error",  # not each malformed request
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=KEEP_ALIVE_S,
        )
        self._server = _Server(config, connections, tls)
        self._serving: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begins to accept connections."""
        self._serving = asyncio.create_task(self._server.serve([self._socket]))

    async def stop(self, grace_s: float) -> None:
        """Accepts no more connections; ends idle ones, waits for requests under way, then cancels these."""
        if self._serving is None:
            self._socket.close()
            return
        self._server.config.timeout_graceful_shutdown = grace_s  # type: ignore[assignment]
        self._server.end()
        await self._serving


class _Server(uvicorn.Server):
    """Uvicorn's server with our connections, and without handlers of signals: the gateway has its own."""

    def __init__(
        self, config: uvicorn.Config, connections: Connections, tls: Callable[[], ssl.SSLContext] | None
    ) -> None:
        super().__init__(config)
        self._connections = connections
        self._tls = tls
        self._ending = asyncio.Event()

    def end(self) -> None:
        """Ends `serve`."""
        self.should_exit = True
        self._ending.set()

    async def main_loop(self) -> None:
        """Renews the Date header every second until the end; uvicorn's own loop looks ten times a second."""
        while not await self.on_tick(0):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._ending.wait(), DATE_INTERVAL_S)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: Sequence[socket.socket] | None = None) -> None:
        """Listens on the sockets; see `uvicorn.Server.startup`."""
        loop = asyncio.get_running_loop()
        assert sockets is not None
        self.servers = [await loop.create_server(self._accept, sock=sock, backlog=BACKLOG) for sock in sockets]
        self.started = True

    def _accept(self) -> asyncio.Protocol:
        connection = Connection(self._connections, self.config, self.server_state)
        return connection if self._tls is None else _Handshake(connection, self._connections, self._tls)


class _Handshake(asyncio.Protocol):
    """A connection before and during its TLS handshake.

    The context is chosen for each connection, so that a renewed certificate counts at once. Handshakes count against
    the limit of connections.
    """

    def __init__(self, connection: Connection, connections: Connections, tls: Callable[[], ssl.SSLContext]) -> None:
        self._connection = connection
        self._connections = connections
        self._tls = tls
        self._task: asyncio.Task[None] | None = None
        self._early: list[bytes] = []
        self._done = self._lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begins the handshake; refuses a connection that exceeds the limit."""
        assert isinstance(transport, asyncio.Transport)
        if not self._connections.take(self._connection):
            transport.abort()
            return
        transport.pause_reading()  # no byte may come before TLS reads them
        self._task = asyncio.get_running_loop().create_task(self._start(transport))

    def data_received(self, data: bytes) -> None:
        """Keeps what comes right behind the handshake, before `_start` goes on."""
        self._early.append(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """Passes on that the caller left right behind the handshake."""
        self._lost = True
        if self._done:
            self._connection.connection_lost(exc)

    async def _start(self, transport: asyncio.Transport) -> None:
        try:
            secured = await asyncio.get_running_loop().start_tls(
                transport, self, self._tls(), server_side=True, ssl_handshake_timeout=self._connections.idle_s
            )
        except OSError:  # the caller spoke no TLS, showed no certificate, took too long, or left
            secured = None
        if secured is None or self._lost:
            self._connections.release(self._connection)
            transport.abort()
            return
        self._done = True
        secured.set_protocol(self._connection)
        self._connection.connection_made(secured)
        for data in self._early:
            self._connection.data_received(data)


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        shown = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        raise OSError(error.errno, f"{shown} cannot be bound: {error.strerror}") from error
