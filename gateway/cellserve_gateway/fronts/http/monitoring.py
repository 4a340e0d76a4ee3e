"""The monitoring port: metrics, liveness and readiness for Prometheus and load balancers."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterable
from socketserver import TCPServer, ThreadingMixIn
from typing import TYPE_CHECKING
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import make_wsgi_app

from cellserve_gateway.ops.metrics import Metrics
from cellserve_gateway.settings import Settings

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment


class MonitoringServer:
    """Serves /metrics (Prometheus), /livez (200) and /readyz (200, or 503 while requests cannot be served).

    Args:
        settings: Host and port.
        metrics: Metrics of the gateway.
        ready: Returns whether requests can be served.

    Raises:
        OSError: The port cannot be bound.
    """

    def __init__(self, settings: Settings, metrics: Metrics, ready: Callable[[], bool]) -> None:
        host, port = settings.host, settings.monitoring_port
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
            raise OSError(error.errno, f"{settings.address(port)} cannot be bound: {error.strerror}") from error
        self.port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, name="http", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stops serving."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


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
