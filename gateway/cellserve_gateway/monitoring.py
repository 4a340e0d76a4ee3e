"""What the machines around the gateway look at, on ports of their own: metrics, liveness, readiness.

Prometheus and balancers ask over HTTP; kubelet's gRPC probes speak neither TLS nor tokens, so health has a plain port
beside the one of the service.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterable
from socketserver import TCPServer, ThreadingMixIn
from typing import TYPE_CHECKING
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import grpc
from grpc_health.v1 import health_pb2_grpc
from prometheus_client import make_wsgi_app

from .metrics import Metrics

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

    from grpc_health.v1.health import aio as health_aio


class HttpServer:
    """Serves /metrics (Prometheus), /livez (200) and /readyz (200, or 503 while requests cannot be served).

    Args:
        host: Address to bind.
        port: 0 takes a free one.
        metrics: What /metrics shows.
        ready: Says whether requests can be served.

    Raises:
        OSError: The port cannot be had.
    """

    def __init__(self, host: str, port: int, metrics: Metrics, ready: Callable[[], bool]) -> None:
        pages = {"/metrics": make_wsgi_app(metrics.registry), "/livez": _page(lambda: True), "/readyz": _page(ready)}

        def app(environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
            if page := pages.get(environ["PATH_INFO"]):
                return page(environ, start)
            start("404 Not Found", [("Content-Type", "text/plain")])
            return [b"/metrics, /livez or /readyz\n"]

        server = _Server6 if ":" in host else _Server
        try:
            self._server = make_server(host, port, app, server, _Handler)
        except OSError as error:
            raise OSError(error.errno, f"{join(host, port)} cannot be had: {error.strerror}") from error
        self.port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, name="http", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stops serving."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


async def start_health_server(host: str, port: int, health: health_aio.HealthServicer) -> tuple[grpc.aio.Server, int]:
    """Serves gRPC health without TLS; returns the server and its port.

    Raises:
        RuntimeError: The port cannot be had.
    """
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    health_pb2_grpc.add_HealthServicer_to_server(health, server)
    port = server.add_insecure_port(join(host, port))
    await server.start()
    return server, port


def join(host: str, port: int) -> str:
    """Returns host:port, the host of IPv6 in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _page(well: Callable[[], bool]) -> Callable[[WSGIEnvironment, StartResponse], Iterable[bytes]]:
    def page(_: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        status, text = ("200 OK", b"ok\n") if well() else ("503 Service Unavailable", b"not ready\n")
        start(status, [("Content-Type", "text/plain")])
        return [text]

    return page


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True

    def server_bind(self) -> None:
        """Binds without looking up the host's name, which can take long and helps nobody."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]
        self.setup_environ()


class _Server6(_Server):
    address_family = socket.AF_INET6


class _Handler(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Says nothing: probes come every few seconds."""
