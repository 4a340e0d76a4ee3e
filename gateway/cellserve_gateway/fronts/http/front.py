"""The HTTP front: the REST interface, and the routes of Imaging Server Kit, on a port of their own."""

from __future__ import annotations

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response

from cellserve_gateway import __version__
from cellserve_gateway.access.certificates import CertificateFiles
from cellserve_gateway.access.tokens import Tokens
from cellserve_gateway.app.admission import Admission
from cellserve_gateway.app.calls import CallObserver
from cellserve_gateway.app.segmenter import Segmenter
from cellserve_gateway.errors import NotImplementedYet
from cellserve_gateway.ops.instruments import Instruments
from cellserve_gateway.settings import Settings

from . import imaging_server_kit
from .connections import Application, Connections, Receive, Scope, Send
from .door import Door
from .listener import HttpListener
from .page import POLICY, html_page
from .problems import problem
from .rest import RestInterface
from .tls import TlsContexts

SERVICE = "cellserve.rest.v1"
"""Name of the interface in traces."""
DOCS_PATHS = ("/docs", "/openapi.json")
OPEN_PATHS = (*DOCS_PATHS, imaging_server_kit.INFO_PATH)
"""Paths that need no token: the contract is public, as gRPC's reflection is. The last one leads to the first."""
EXPOSED_HEADERS = ("X-Request-Id", "X-CellServe-Provenance", "Server-Timing", "Retry-After")


class HttpFront:
    """Serves the core over HTTP.

    Raises:
        OSError: The port cannot be bound, or a certificate cannot be read.
    """

    def __init__(
        self,
        settings: Settings,
        segmenter: Segmenter,
        admission: Admission,
        instruments: Instruments,
        tokens: Tokens,
        certificates: CertificateFiles | None,
    ) -> None:
        assert settings.http_port is not None
        door = Door(settings, admission, CallObserver(instruments, tokens, SERVICE, "http"))
        self.app = rest_app(RestInterface(settings, segmenter, door), settings)
        self.app.include_router(imaging_server_kit.KitInterface(settings, segmenter, door).router)
        self.app.add_route(imaging_server_kit.INFO_PATH, imaging_server_kit.info, include_in_schema=False)
        self._listener = HttpListener(
            behind_prefix(self.app, settings.http_root_path),
            settings.host,
            settings.http_port,
            Connections(
                "rest",
                instruments.metrics,
                settings.http_max_connections,
                settings.http_idle_s,
                settings.http_stall_s,
            ),
            TlsContexts(certificates) if certificates else None,
        )
        self.port = self._listener.port

    def start(self) -> None:
        """Begins to accept connections."""
        self._listener.start()

    async def stop(self, grace_s: float) -> None:
        """Accepts no more connections, and waits for calls in flight."""
        await self._listener.stop(grace_s)


def rest_app(interface: RestInterface, settings: Settings) -> FastAPI:
    """Returns the application: the routes, their description, and CORS for the origins that the settings allow."""
    app = FastAPI(
        title="CellServe",
        version=__version__,
        description="Segments images of cells.",
        docs_url=None,  # FastAPI's own pages load scripts from other servers
        redoc_url=None,
        openapi_url=None,
        servers=[{"url": settings.http_root_path or "/"}],
    )
    app.include_router(interface.router)
    app.add_exception_handler(HTTPException, _unknown_path)

    async def docs(_: Request) -> Response:
        """Returns the description for people."""
        page = html_page(app.openapi(), settings.http_root_path)
        return HTMLResponse(page, headers={"Content-Security-Policy": POLICY})

    async def description(_: Request) -> Response:
        """Returns the description for programs."""
        return JSONResponse(app.openapi())

    for path, endpoint in zip(DOCS_PATHS, (docs, description), strict=True):
        app.add_route(path, endpoint)
    if origins := settings.http_allowed_origins.split():
        app.add_middleware(
            CORSMiddleware,
            allow_origins=origins,
            allow_methods=["GET", "POST"],
            allow_headers=["Authorization", "Content-Type", "X-Request-Id"],
            expose_headers=EXPOSED_HEADERS,
        )
    return app


def behind_prefix(app: Application, prefix: str) -> Application:
    """Returns the application as seen behind a proxy, whether or not the proxy removes the prefix from paths."""

    async def prefixed(scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"]
        full = path if f"{path}/".startswith(f"{prefix}/") else prefix + path
        await app({**scope, "root_path": prefix, "path": full}, receive, send)

    return prefixed if prefix else app


async def _unknown_path(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    feature = f"{request.method} {request.url.path}"[:200]
    answer = problem(
        NotImplementedYet(f"there is no {feature}; /docs lists what there is", feature=feature),
        root_path=request.scope.get("root_path", ""),
        status=error.status_code,
    )
    answer.headers.update(error.headers or {})
    return answer
