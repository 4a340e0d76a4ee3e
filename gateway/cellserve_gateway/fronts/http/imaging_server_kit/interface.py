"""The routes that the kit's clients call."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from cellserve_gateway.app.results import Wanted
from cellserve_gateway.app.segmenter import Segmenter
from cellserve_gateway.errors import InvalidRequest
from cellserve_gateway.fronts.http.answers import Answer
from cellserve_gateway.fronts.http.door import Call, Door
from cellserve_gateway.fronts.http.query import heed
from cellserve_gateway.fronts.http.sending import PiecewiseResponse
from cellserve_gateway.fronts.http.uploads import Upload
from cellserve_gateway.settings import Settings

from .failures import failure
from .layers import MEDIA_TYPE, answer_bytes, read_request
from .parameters import NAMES, read, schema

PREFIX = "/imaging-server-kit"
"""Path below which the routes lie: users give the client the address with this path."""
INFO_PATH = f"{PREFIX}/{{algorithm}}/info"
"""Path that clients open in a browser, without a token."""
VERSION = "0.3.1"
"""Version of the kit whose routes these are."""


class KitInterface:
    """The routes below `PREFIX`. They are another project's, and so not part of the OpenAPI description.

    Args:
        settings: Limits on images and deadlines.
        segmenter: The core.
        door: Lets calls in.
    """

    def __init__(self, settings: Settings, segmenter: Segmenter, door: Door) -> None:
        self._settings = settings
        self._segmenter = segmenter
        self.router = APIRouter(prefix=PREFIX, route_class=door.route_class(failure), include_in_schema=False)
        for path, endpoint in (
            ("/algorithms", self.list_algorithms),
            ("/version", self.get_version),
            ("/{algorithm}/parameters", self.get_parameters),
            ("/{algorithm}/signature", self.get_signature),
            ("/{algorithm}/tileable", self.is_tileable),
            ("/{algorithm}/n_samples", self.count_samples),
        ):
            self._add("GET", path, endpoint)
        self._add("POST", "/{algorithm}/process", self.process)

    async def list_algorithms(self, request: Request) -> Response:
        """Lists the model families, the default first: a client that names no algorithm takes the first."""
        families = self._segmenter.families
        return _json({"algorithms": sorted(families, key=lambda name: name != families.default)})

    async def get_version(self, request: Request) -> Response:
        """Tells whose routes these are."""
        return _json(VERSION)

    async def get_parameters(self, request: Request) -> Response:
        """Describes the parameters."""
        return _json(schema(self._segmenter.families[_algorithm(request)]))

    async def get_signature(self, request: Request) -> Response:
        """Lists the names of the parameters."""
        self._segmenter.families[_algorithm(request)]
        return _json(NAMES)

    async def is_tileable(self, request: Request) -> Response:
        """Tells that images are sent whole: tiles that the client cuts would be normalised apart, and show seams."""
        self._segmenter.families[_algorithm(request)]
        return _json({"tileable": False})

    async def count_samples(self, request: Request) -> Response:
        """Tells that there are no samples."""
        self._segmenter.families[_algorithm(request)]
        return _json({"n_samples": 0})

    async def process(self, request: Request) -> Response:
        """Segments one image."""
        call, begin = Call.of(request), asyncio.get_running_loop().time()
        context, reservation = call.context, call.reservation
        family = self._segmenter.families[_algorithm(request)]
        if reservation is None:
            raise InvalidRequest("the request has no body", reason="MESSAGE_MALFORMED")
        body = await call.body()
        reservation.resize(bytes=2 * body.size)
        sent = await self._segmenter.unpack(context, read_request, body, context.cancellation)
        body.close()
        reservation.resize(bytes=sent.image.size)
        params, chosen = read(sent.values, family.name)
        heed(chosen, context, begin, self._settings.max_deadline_s)
        upload = Upload(sent.image, chosen.axes or None, None, self._segmenter.files, context.cancellation)
        result = await self._segmenter.segment(upload.decode, params, Wanted(), context, reservation)
        answer = Answer(context.request_id, upload.image, family, result, context.timing)
        content = await self._segmenter.encode(context, answer_bytes, answer)
        reservation.hold(bytes=len(content), pixels=0)  # the answer is there: no limit may lose it
        headers = {"X-Request-Id": context.request_id}
        return PiecewiseResponse(content, MEDIA_TYPE, headers, self._settings.max_deadline_s)

    def _add(self, method: str, path: str, endpoint: Any) -> None:
        self.router.add_api_route(path, endpoint, methods=[method], response_class=Response, response_model=None)


async def info(request: Request) -> Response:
    """Leads a browser to the page that explains all parameters."""
    return RedirectResponse(f"{request.scope.get('root_path', '')}/docs")


def _algorithm(request: Request) -> str:
    name: str = request.path_params["algorithm"]
    return name


def _json(content: object) -> Response:
    return Response(json.dumps(content), media_type="application/json")
