"""The monitoring port: metrics, liveness and readiness for Prometheus and load balancers."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import make_asgi_app
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from cellserve_gateway.ops.metrics import Metrics
from cellserve_gateway.settings import Settings

from .connections import Application, Connections, Receive, Scope, Send
from .listener import HttpListener

MAX_CONNECTIONS = 64
IDLE_S = 10.0
"""Prometheus opens a new connection for each scrape if the connection before has ended."""
STALL_S = 10.0


def monitoring_app(metrics: Metrics, ready: Callable[[], bool]) -> Starlette:
    """Returns an application with /metrics (Prometheus), /livez (200) and /readyz.

    Args:
        metrics: Metrics of the gateway.
        ready: Returns whether requests can be served; /readyz answers 503 if not.
    """

    async def livez(_: Request) -> PlainTextResponse:
        return PlainTextResponse("ok\n")

    async def readyz(_: Request) -> PlainTextResponse:
        return PlainTextResponse("ok\n") if ready() else PlainTextResponse("not ready\n", 503)

    async def unknown(_: Request, error: Exception) -> PlainTextResponse:
        return PlainTextResponse("/metrics, /livez or /readyz\n", getattr(error, "status_code", 404))

    metrics_page: Application = make_asgi_app(metrics.registry, disable_compression=True)
    return Starlette(
        routes=[
            Route("/livez", livez),
            Route("/readyz", readyz),
            Route("/metrics", _Page(metrics_page), methods=["GET"]),
        ],
        exception_handlers={404: unknown, 405: unknown},
    )


def monitoring_listener(settings: Settings, metrics: Metrics, ready: Callable[[], bool]) -> HttpListener:
    """Returns the listener of the monitoring port, without TLS and tokens; arguments as in `monitoring_app`.

    Raises:
        OSError: The port cannot be bound.
    """
    connections = Connections("monitoring", metrics, MAX_CONNECTIONS, IDLE_S, STALL_S)
    return HttpListener(monitoring_app(metrics, ready), settings.host, settings.monitoring_port, connections)


class _Page:
    """An ASGI application as the endpoint of a route. Starlette would take a function for a request handler."""

    def __init__(self, app: Application) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)
