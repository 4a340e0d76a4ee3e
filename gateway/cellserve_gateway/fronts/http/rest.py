"""The REST interface: routes, and their OpenAPI description."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from cellserve_contract.params import PARAMETERS, SegmentParams
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from cellserve_gateway import __version__
from cellserve_gateway.app.admission import Reservation
from cellserve_gateway.app.context import RequestContext
from cellserve_gateway.app.networks import Network
from cellserve_gateway.app.results import Wanted
from cellserve_gateway.app.segmenter import FamilyStatus, Segmenter
from cellserve_gateway.errors import InvalidImage
from cellserve_gateway.settings import Settings

from . import following
from .answers import REPRESENTATIONS, Answer, Representation, described, model_of, stage_seconds
from .door import Call, Door
from .following import FollowedResponse, answer_line
from .negotiation import follows, negotiate
from .problems import MEDIA_TYPE as PROBLEM
from .query import (
    DIAMETER_OPTIONS,
    DIAMETER_PARAMETERS,
    SEGMENT_OPTIONS,
    RequestOptions,
    SegmentOptions,
    heed,
    openapi_parameters,
    options,
    parse,
    segment_params,
)
from .sending import PiecewiseResponse
from .uploads import Upload

IMAGE_BODY = {
    "required": True,
    "description": "The file itself, not a form: TIFF (OME and ImageJ files too), PNG or JPEG, with a whole image.",
    "content": {
        kind: {"schema": {"type": "string", "format": "binary"}}
        for kind in ("application/octet-stream", "image/tiff", "image/png", "image/jpeg")
    },
}
PROBLEMS = {"description": "A problem (RFC 9457); `reason` tells programs what happened.", "content": {PROBLEM: {}}}


class RestInterface:
    """The routes of the REST interface.

    Args:
        settings: Limits on images and deadlines.
        segmenter: The core.
        door: Lets calls in.
    """

    def __init__(self, settings: Settings, segmenter: Segmenter, door: Door) -> None:
        self._settings = settings
        self._segmenter = segmenter
        self.router = APIRouter(prefix="/v1", route_class=door.route_class())
        self._add("POST", "/segment", self.segment, _segment_docs())
        self._add("POST", "/diameter", self.estimate_diameter, _diameter_docs())
        self._add("GET", "/models", self.list_models, {})
        self._add("GET", "/models/{name}", self.get_model, {})
        self._add("GET", "/limits", self.get_limits, {})

    async def segment(self, request: Request) -> Response:
        """Segments one image.

        The Accept header chooses the form of the answer. Every answer has the header X-CellServe-Provenance (JSON):
        parameters as used, model and versions. The header Server-Timing has the time of each stage. If Accept names
        application/x-ndjson, too, the progress of the work comes before the answer. A body that was broken off has to
        be sent again from its beginning.
        """
        call, accept = Call.of(request), request.headers.get("accept", "")
        given, asked = parse(request.query_params, PARAMETERS, SEGMENT_OPTIONS)
        chosen = options(SegmentOptions, asked)
        representation = negotiate(accept, overlay=chosen.view == "overlay")
        params = segment_params(given, chosen, self._segmenter.families.default)
        upload, reservation = await self._upload(call, chosen)
        if not follows(accept):
            content, provenance = await self._segmented(upload, params, chosen, representation, call, reservation)
            headers = {
                "X-CellServe-Provenance": json.dumps(provenance),
                "Content-Disposition": f'inline; filename="{representation.file_name}"',
                "Vary": "Accept",
            }
            return self._answer(call.context, content, representation.media_type, headers)

        async def work() -> bytes:
            content, provenance = await self._segmented(upload, params, chosen, representation, call, reservation)
            context = call.context
            line = await self._segmenter.encode(
                context, answer_line, representation, content, provenance, context.timing
            )
            reservation.hold(bytes=len(line))
            return line

        return FollowedResponse(work, call.context, self._settings.max_deadline_s)

    async def _segmented(
        self,
        upload: Upload,
        params: SegmentParams,
        chosen: SegmentOptions,
        representation: Representation,
        call: Call,
        reservation: Reservation,
    ) -> tuple[bytes, dict[str, Any]]:
        """Segments an upload; returns the answer in a form, and how it was made."""
        family = self._segmenter.families[params.model]
        wanted = Wanted(frozenset(["outlines"] if chosen.outlines else []))
        # Every representation is compressed, or a table: no limit.
        result = await self._segmenter.segment(upload.decode, params, wanted, call.context, reservation)
        answer = Answer(call.context.request_id, upload.image, family, result, call.context.timing)
        content = await self._segmenter.encode(call.context, representation.render, answer)
        reservation.hold(bytes=len(content), pixels=0)  # the answer is there: no limit may lose it
        return content, answer.provenance

    async def estimate_diameter(self, request: Request) -> Response:
        """Estimates the median diameter of the objects in one image, in pixels."""
        call = Call.of(request)
        given, asked = parse(request.query_params, DIAMETER_PARAMETERS, DIAMETER_OPTIONS)
        chosen = options(RequestOptions, asked)
        params = segment_params(given, chosen, self._segmenter.families.default)
        upload, reservation = await self._upload(call, chosen)
        estimate = await self._segmenter.estimate_diameter(upload.decode, params, call.context, reservation)
        content = {
            "request_id": call.context.request_id,
            "diameter": estimate.diameter,
            "diameter_source": estimate.source.value,
            "model": model_of(estimate.family, estimate.network),
            "timing": stage_seconds(call.context.timing),
            "tiles": call.context.timing.tiles,
            "warnings": described(estimate.warnings),
        }
        return self._json(call.context, content)

    async def list_models(self, request: Request) -> Response:
        """Lists the model families, and names the family of requests that name none."""
        families = self._segmenter.families
        models = [_model(self._segmenter.status(name)) for name in families]
        return self._json(Call.of(request).context, {"models": models, "default_model": families.default})

    async def get_model(self, request: Request) -> Response:
        """Describes one model family."""
        return self._json(Call.of(request).context, _model(self._segmenter.status(request.path_params["name"])))

    async def get_limits(self, request: Request) -> Response:
        """Tells the limits of this server, in pixels, bytes, planes, tiles and seconds."""
        content = dataclasses.asdict(self._segmenter.limits) | {"server_version": __version__}
        return self._json(Call.of(request).context, content)

    async def _upload(self, call: Call, chosen: RequestOptions) -> tuple[Upload, Reservation]:
        """Applies the options to a call, then receives the body."""
        context = call.context
        if call.reservation is None:
            raise InvalidImage("the request has no body: send the image file as the body", reason="IMAGE_EMPTY")
        heed(chosen, context, asyncio.get_running_loop().time(), self._settings.max_deadline_s)
        data, files = await call.body(), self._segmenter.files
        return Upload(data, chosen.axes or None, chosen.series, files, context.cancellation), call.reservation

    def _json(self, context: RequestContext, content: Mapping[str, Any]) -> Response:
        return self._answer(context, json.dumps(content).encode(), "application/json", {})

    def _answer(self, context: RequestContext, content: bytes, media_type: str, headers: Mapping[str, str]) -> Response:
        stages = stage_seconds(context.timing).items()
        timing = ", ".join(f"{name.removesuffix('_s')};dur={seconds * 1000:.1f}" for name, seconds in stages)
        headers = {**headers, "X-Request-Id": context.request_id} | ({"Server-Timing": timing} if timing else {})
        return PiecewiseResponse(content, media_type, headers, self._settings.max_deadline_s)

    def _add(self, method: str, path: str, endpoint: Any, docs: dict[str, Any]) -> None:
        self.router.add_api_route(
            path,
            endpoint,
            methods=[method],
            summary=(endpoint.__doc__ or "").partition("\n")[0],
            response_class=Response,
            responses={"4XX": PROBLEMS, "5XX": PROBLEMS} | docs.pop("responses", {}),
            openapi_extra=docs,
            response_model=None,
        )


def _segment_docs() -> dict[str, Any]:
    content: dict[str, Any] = {}
    for one in REPRESENTATIONS:
        about = content.setdefault(one.media_type, {"schema": {"type": "string", "description": ""}})["schema"]
        about["description"] = f"{about['description']} {one.about}".strip()
    content[following.MEDIA_TYPE] = {"schema": {"type": "string", "description": following.ABOUT}}
    return {
        "parameters": openapi_parameters(PARAMETERS, SEGMENT_OPTIONS),
        "requestBody": IMAGE_BODY,
        "responses": {200: {"description": "The segmentation, in the form that Accept names.", "content": content}},
    }


def _diameter_docs() -> dict[str, Any]:
    return {"parameters": openapi_parameters(DIAMETER_PARAMETERS, DIAMETER_OPTIONS), "requestBody": IMAGE_BODY}


def _model(status: FamilyStatus) -> dict[str, Any]:
    family = status.family
    files = [Network(name, "", family.networks[name].sha256, 0) for name in status.networks]
    return {
        "name": family.name,
        "description": family.description,
        "networks": [model_of(family, network) for network in status.served or files],
        "working_diameter": family.diam_mean,
        "training_diameter": family.diam_labels,
        "channels": list(family.channels),
        "license": family.license,
        "provenance": family.provenance,
        "has_size_model": family.size_model is not None,
        "ready": bool(status.served),
        "tile_size": family.tile_size,
    }
