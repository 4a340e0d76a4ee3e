"""The RPCs of proto/cellserve/v1: decode, call the core, encode."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from functools import partial

from cellserve_proto import v1 as pb

from cellserve_gateway.app.admission import Admission
from cellserve_gateway.app.calls import check_id
from cellserve_gateway.app.context import RequestContext
from cellserve_gateway.app.decode import limits_of
from cellserve_gateway.app.segmenter import Segmenter
from cellserve_gateway.errors import InvalidRequest, NotImplementedYet, ServiceError
from cellserve_gateway.settings import Settings

from . import codec
from .door import Call
from .status import to_status

SERVICE = pb.segmentation_pb2.DESCRIPTOR.services_by_name["SegmentationService"]


class SegmentationService:
    """The service of proto/cellserve/v1; the contract describes the calls."""

    def __init__(self, settings: Settings, segmenter: Segmenter, admission: Admission) -> None:
        self._limits = limits_of(settings)
        self._stream_window = settings.stream_window
        self._segmenter = segmenter
        self._admission = admission

    async def Segment(self, request: pb.SegmentRequest, context: RequestContext) -> pb.SegmentResponse:
        response = pb.SegmentResponse()
        await self._segment(request, context, response)
        return response

    async def SegmentStream(
        self, requests: AsyncIterator[pb.SegmentStreamRequest], call: Call
    ) -> AsyncIterator[pb.SegmentStreamResponse]:
        answers: asyncio.Queue[pb.SegmentStreamResponse | None] = asyncio.Queue()
        window = asyncio.Semaphore(self._stream_window)
        pending: set[str] = set()

        async def answer(frame: pb.SegmentStreamRequest, number: int, in_use: bool) -> None:
            try:
                answers.put_nowait(await self._frame(frame, number, call, in_use))
            finally:
                if not in_use:
                    pending.discard(frame.frame_id)

        async def read() -> None:
            number = 0
            async with asyncio.TaskGroup() as frames:
                async for frame in requests:
                    await window.acquire()
                    frames.create_task(answer(frame, number, frame.frame_id in pending))
                    pending.add(frame.frame_id)
                    number += 1
            answers.put_nowait(None)

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(read())
            while (response := await answers.get()) is not None:
                yield response
                window.release()

    async def SegmentLarge(
        self, requests: AsyncIterator[pb.SegmentLargeRequest], call: Call
    ) -> AsyncIterator[pb.SegmentLargeResponse]:
        raise NotImplementedYet("this gateway does not take images over the message limit yet", feature="SegmentLarge")
        yield  # makes this a generator, as the framework expects of a streaming answer

    async def EstimateDiameter(
        self, request: pb.EstimateDiameterRequest, context: RequestContext
    ) -> pb.EstimateDiameterResponse:
        params = codec.to_params(request.params, self._segmenter.families.default)
        context.priority, context.work_budget_s = codec.to_priority(request.priority), codec.to_work_budget(request)
        with self._admission.admit(requests=1, bytes=codec.image_bytes(request.image)) as reservation:
            decode = partial(codec.to_pixels, request.image, self._limits)
            estimate = await self._segmenter.estimate_diameter(decode, params, context, reservation)
        return codec.diameter_response(estimate, context.request_id)

    async def ListModels(self, request: pb.ListModelsRequest, context: RequestContext) -> pb.ListModelsResponse:
        families = self._segmenter.families
        models = [codec.model(self._segmenter.status(name)) for name in families]
        return pb.ListModelsResponse(models=models, default_model=families.default)

    async def GetModel(self, request: pb.GetModelRequest, context: RequestContext) -> pb.GetModelResponse:
        return pb.GetModelResponse(model=codec.model(self._segmenter.status(request.name)))

    async def _segment(self, request: pb.SegmentRequest, context: RequestContext, response: pb.SegmentResponse) -> None:
        """Segments an image; fills the response, which is already in its place."""
        start = time.perf_counter()
        params = codec.to_params(request.params, self._segmenter.families.default)
        wanted, packing = codec.to_wanted(request), codec.to_packing(request)
        context.priority, context.work_budget_s = codec.to_priority(request.priority), codec.to_work_budget(request)
        with self._admission.admit(requests=1, bytes=codec.image_bytes(request.image)) as reservation:
            decode = partial(codec.to_pixels, request.image, self._limits)
            result = await self._segmenter.segment(decode, params, wanted, context, reservation)
            family = self._segmenter.families[params.model]
            await self._segmenter.encode(context, codec.fill_response, response, result, family, packing)
        response.request_id = context.request_id
        if request.image.HasField("pixel_size"):
            response.pixel_size.CopyFrom(request.image.pixel_size)
        response.timing.CopyFrom(codec.timing(context.timing, time.perf_counter() - start))

    async def _frame(
        self, frame: pb.SegmentStreamRequest, number: int, call: Call, in_use: bool
    ) -> pb.SegmentStreamResponse:
        """Segments one frame of a stream; its failure becomes its answer. `in_use`: its id is not answered yet."""
        answer = pb.SegmentStreamResponse(frame_number=number, frame_id=frame.frame_id)
        try:
            async with call.request(frame.request.request_id or frame.frame_id) as context:
                check_id("frame_id", frame.frame_id)
                if in_use:
                    raise InvalidRequest("a frame of this id is not answered yet", reason="FRAME_ID_IN_USE")
                await self._segment(frame.request, context, answer.response)
        except ServiceError as error:
            answer.error.CopyFrom(to_status(error))
        return answer
