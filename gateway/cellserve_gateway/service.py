"""The RPCs: decode, call the pipeline, encode."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

import grpc
import structlog
from cellserve_proto.v1 import segmentation_pb2 as pb
from cellserve_proto.v1 import segmentation_pb2_grpc

from . import codec
from .admission import Admission, Share
from .decode import Limits, Pixels
from .diameter import Diameters
from .errors import InvalidRequest, NotImplementedYet, ServiceError
from .interceptors import metadata_of
from .job import Job
from .observe import Observer, check_id
from .params import DiameterSource
from .pipeline import Pipeline
from .settings import Settings

DEADLINE_MARGIN = 0.05  # share of the caller's time kept for the way back of an error


class SegmentationService(segmentation_pb2_grpc.SegmentationServiceServicer):
    """The service of proto/cellserve/v1; see there for what each call does."""

    def __init__(
        self, settings: Settings, pipeline: Pipeline, diameters: Diameters, admission: Admission, observer: Observer
    ) -> None:
        self._settings = settings
        self._diameters = diameters
        self._limits = Limits.of(settings)
        self._pipeline = pipeline
        self._admission = admission
        self._observer = observer

    async def Segment(self, request: pb.SegmentRequest, context: grpc.aio.ServicerContext) -> pb.SegmentResponse:
        return await self._segment(request, self._deadline(context))

    async def SegmentStream(
        self, request_iterator: AsyncIterator[pb.SegmentStreamRequest], context: grpc.aio.ServicerContext
    ) -> AsyncIterator[pb.SegmentStreamResponse]:
        answers: asyncio.Queue[pb.SegmentStreamResponse | None] = asyncio.Queue()
        window = asyncio.Semaphore(self._settings.stream_window)
        pending: set[str] = set()

        async def answer(frame: pb.SegmentStreamRequest, in_use: bool) -> None:
            try:
                answers.put_nowait(await self._frame(frame, context, in_use))
            finally:
                if not in_use:
                    pending.discard(frame.frame_id)

        async def read() -> None:
            async with asyncio.TaskGroup() as frames:
                async for frame in request_iterator:
                    await window.acquire()
                    frames.create_task(answer(frame, frame.frame_id in pending))
                    pending.add(frame.frame_id)
            answers.put_nowait(None)

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(read())
            while (response := await answers.get()) is not None:
                yield response
                window.release()

    async def SegmentLarge(
        self, request_iterator: AsyncIterator[pb.SegmentLargeRequest], context: grpc.aio.ServicerContext
    ) -> AsyncIterator[pb.SegmentLargeResponse]:
        raise NotImplementedYet("this gateway does not take images over the message limit yet")
        yield  # makes this a generator, as the framework expects of a streaming answer

    async def EstimateDiameter(
        self, request: pb.EstimateDiameterRequest, context: grpc.aio.ServicerContext
    ) -> pb.EstimateDiameterResponse:
        params = codec.to_params(request.params, self._settings.default_model)
        family = self._pipeline.family(params.model)
        self._pipeline.triton.network(family.network(params.ensemble))  # fail before work is spent
        job = Job(self._deadline(context))
        async with self._image(request.image, job) as (image, share):
            params, source = await self._diameters.resolve(image, params, job, share)
        measured = source is DiameterSource.SIZE_MODEL
        network = self._pipeline.triton.network(family.network(params.ensemble and not measured))
        structlog.contextvars.bind_contextvars(model=network.name, shape=list(image.shape), tiles=job.timing.tiles)
        return pb.EstimateDiameterResponse(
            request_id=structlog.contextvars.get_contextvars()["request_id"],
            diameter=params.diameter,
            source=codec.SOURCES[source],
            model=codec.model_version(family.name, network),
        )

    async def ListModels(
        self, request: pb.ListModelsRequest, context: grpc.aio.ServicerContext
    ) -> pb.ListModelsResponse:
        return pb.ListModelsResponse(
            models=[codec.model(family, self._pipeline.triton) for family in self._pipeline.families.values()],
            default_model=self._settings.default_model,
        )

    async def GetModel(self, request: pb.GetModelRequest, context: grpc.aio.ServicerContext) -> pb.GetModelResponse:
        return pb.GetModelResponse(model=codec.model(self._pipeline.family(request.name), self._pipeline.triton))

    async def _segment(self, request: pb.SegmentRequest, deadline: float) -> pb.SegmentResponse:
        start = time.perf_counter()
        pipeline = self._pipeline
        params = codec.to_params(request.params, self._settings.default_model)
        pipeline.triton.network(pipeline.family(params.model).network(params.ensemble))  # fail before work is spent
        job = Job(deadline, codec.to_priority(request.priority), codec.to_outputs(request.outputs))
        codec.check_compression(request.compression)
        async with self._image(request.image, job) as (image, share):
            params, source = await self._diameters.resolve(image, params, job, share)
            plan = pipeline.plan(image.shape[1:], params, source)
            share.change(pixels=plan.pixels)
            result = await pipeline.segment(image, plan, job)
            with pipeline.stage(job, "encode"):
                response = await pipeline.run(
                    job,
                    codec.segment_response,
                    result,
                    structlog.contextvars.get_contextvars()["request_id"],
                    request.compression,
                )
        response.timing.CopyFrom(codec.timing(job.timing, time.perf_counter() - start))
        structlog.contextvars.bind_contextvars(
            model=result.network.name, shape=list(image.shape), tiles=job.timing.tiles, objects=len(result.objects)
        )
        return response

    @contextlib.asynccontextmanager
    async def _image(self, message: pb.Image, job: Job) -> AsyncIterator[tuple[Pixels, Share]]:
        """Decodes an image; yields it and its share of the limits, held while the body runs."""
        sent = codec.image_bytes(message)
        with self._admission.admit(requests=1, bytes=sent):
            with self._pipeline.stage(job, "decode"):
                image = await self._pipeline.run(job, codec.to_pixels, message, self._limits)
            with self._admission.admit(pixels=image[0].size, bytes=max(0, image.nbytes - sent)) as share:
                yield image, share

    async def _frame(
        self, frame: pb.SegmentStreamRequest, context: grpc.aio.ServicerContext, in_use: bool
    ) -> pb.SegmentStreamResponse:
        """Segments one frame of a stream; its failure becomes its answer. `in_use`: its id is not answered yet."""
        try:
            request_id = frame.request.request_id or frame.frame_id
            async with self._observer.call("SegmentStream", request_id, metadata_of(context)):
                check_id("frame_id", frame.frame_id)
                if in_use:
                    raise InvalidRequest("a frame of this id is not answered yet", reason="FRAME_ID_IN_USE")
                response = await self._segment(frame.request, self._deadline(context))
        except ServiceError as error:
            return pb.SegmentStreamResponse(frame_id=frame.frame_id, error=_frame_error(error))
        return pb.SegmentStreamResponse(frame_id=frame.frame_id, response=response)

    def _deadline(self, context: grpc.aio.ServicerContext) -> float:
        """Returns the loop time at which work on a call must have ended."""
        remaining = context.time_remaining()
        allowed = self._settings.default_deadline_s if remaining is None else remaining * (1 - DEADLINE_MARGIN)
        return asyncio.get_running_loop().time() + min(allowed, self._settings.max_deadline_s)


def _frame_error(error: ServiceError) -> pb.FrameError:
    return pb.FrameError(
        code=error.code.value[0],
        message=error.message,
        reason=error.reason,
        metadata=error.metadata,
        retry_after_s=error.retry_after_s,
    )
