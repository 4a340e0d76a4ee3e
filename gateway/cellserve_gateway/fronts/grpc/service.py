"""The RPCs of proto/cellserve/v1: decode, call the core, encode."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import time
from collections.abc import AsyncGenerator, Iterator
from typing import Any

from cellserve_contract.chunks import Assembly
from cellserve_contract.params import SegmentParams
from cellserve_contract.payload import Detached
from cellserve_proto import v1 as pb

from cellserve_gateway.app.admission import Admission, Reservation
from cellserve_gateway.app.calls import check_id
from cellserve_gateway.app.context import RequestContext
from cellserve_gateway.app.decode import limits_of
from cellserve_gateway.app.parking import Parking
from cellserve_gateway.app.progress import follow
from cellserve_gateway.app.segmenter import ANSWER_COPIES, Segmenter
from cellserve_gateway.app.tasks import start_task
from cellserve_gateway.errors import InvalidRequest, ServiceError
from cellserve_gateway.settings import Settings

from . import answers, codec, large
from .call import Answer, Call, forget
from .receiver import Received, Receiver
from .status import to_status

FACTS_BYTES = 4096
"""Bytes of an answer of RunNetworks besides the sums, at most."""
SERVICE = pb.segmentation_pb2.DESCRIPTOR.services_by_name["SegmentationService"]


class SegmentationService:
    """The service of proto/cellserve/v1; the contract describes the calls."""

    def __init__(self, settings: Settings, segmenter: Segmenter, admission: Admission) -> None:
        self._limits = limits_of(settings)
        self._message_bytes = settings.max_message_bytes
        self._transfer_bytes = settings.max_transfer_bytes
        self._stream_window = settings.stream_window
        self._segmenter = segmenter
        self._parking: Parking[Assembly] = Parking(admission, settings.upload_resume_s)

    async def Segment(self, request: Received[pb.SegmentRequest], context: RequestContext) -> pb.SegmentResponse:
        response = pb.SegmentResponse()
        await self._segment(request.message, request, context, response)
        return response

    async def SegmentStream(
        self, requests: Receiver[pb.SegmentStreamRequest], call: Call
    ) -> AsyncGenerator[Answer, None]:
        outcomes: asyncio.Queue[Answer | Exception | None] = asyncio.Queue()
        window = asyncio.Semaphore(self._stream_window)
        pending: set[str] = set()
        reservations: set[Reservation] = set()

        async def answer(frame: Received[pb.SegmentStreamRequest], number: int, in_use: bool) -> None:
            try:
                outcomes.put_nowait(Answer(await self._frame(frame, number, call, in_use), frame.reservation))
            finally:
                if not in_use:
                    pending.discard(frame.message.frame_id)

        async def read() -> None:
            failure: Exception | None = None
            number = 0
            try:
                async with asyncio.TaskGroup() as frames:
                    try:
                        await window.acquire()
                        async for frame in requests:
                            reservations.add(frame.reservation)
                            frames.create_task(answer(frame, number, frame.message.frame_id in pending))
                            pending.add(frame.message.frame_id)
                            number += 1
                            await window.acquire()
                    except Exception as error:  # the frames before are answered nevertheless
                        failure = error
            except asyncio.CancelledError as error:
                forget(error)
                raise
            finally:
                del frames  # see app/tasks.py
            outcomes.put_nowait(failure)

        reading = asyncio.create_task(read())
        try:
            while isinstance(following := await outcomes.get(), Answer):
                assert following.reservation
                reservations.discard(following.reservation)
                yield following
                window.release()
            if following:
                raise following
        finally:
            reading.cancel()
            await asyncio.wait({reading})
            for reservation in reservations:
                reservation.release()

    async def SegmentLarge(
        self, requests: Receiver[pb.SegmentLargeRequest], call: Call
    ) -> AsyncGenerator[Answer, None]:
        first = await requests.receive()
        with first.reservation as reservation:
            header = large.header_of(first.message, self._transfer_bytes)
            work = large.work_of(header)
            async with call.request(work.request_id) as context:
                check_id("idempotency_key", header.idempotency_key)
                self._check(work, context)
                upload = large.Upload(requests, reservation, header, context.caller, call.workers, self._parking)
                try:
                    there = pb.UploadProgress(received_bytes=await upload.admitted())
                    yield Answer(pb.SegmentLargeResponse(upload=there).SerializeToString())
                    received = Received(work, await upload.image(), reservation)
                finally:
                    await upload.end()
                    del upload  # has the image, too
                answering = start_task(self._large(received, context))
                del received
                try:
                    async with contextlib.aclosing(follow(answering, context.progress)) as reports:
                        async for report in reports:
                            yield Answer(large.progress_message(report))
                    messages = await answering
                finally:
                    del answering  # see app/tasks.py
                while data := await call.workers.run(context, next, messages, b""):
                    yield Answer(data)

    async def EstimateDiameter(
        self, request: Received[pb.EstimateDiameterRequest], context: RequestContext
    ) -> pb.EstimateDiameterResponse:
        message = request.message
        params = self._params(message, context)
        request.reservation.start()
        decode = self._decoder(message.image, request, context)
        estimate = await self._segmenter.estimate_diameter(decode, params, context, request.reservation)
        return answers.diameter_response(estimate, context.request_id)

    async def RunNetworks(
        self, request: Received[pb.RunNetworksRequest], context: RequestContext
    ) -> Detached[pb.RunNetworksResponse]:
        message = request.message
        self._begin(message, context)
        grid, layout = codec.to_grid(message.grid), codec.check_planes(message.planes, self._limits)
        params = SegmentParams(
            model=message.model or self._segmenter.families.default,
            ensemble=message.ensemble if message.HasField("ensemble") else True,
        )
        request.reservation.start()
        found = await self._segmenter.run_networks(
            lambda: codec.to_planes(message.planes, request.take(), self._limits),
            layout.size,
            grid,
            params,
            context,
            request.reservation,
            most_bytes=self._message_bytes - FACTS_BYTES,
        )
        return await self._segmenter.encode(context, answers.sums_response, found, context.request_id)

    async def ListModels(
        self, request: Received[pb.ListModelsRequest], context: RequestContext
    ) -> pb.ListModelsResponse:
        families = self._segmenter.families
        models = [answers.model(self._segmenter.status(name)) for name in families]
        return pb.ListModelsResponse(models=models, default_model=families.default)

    async def GetModel(self, request: Received[pb.GetModelRequest], context: RequestContext) -> pb.GetModelResponse:
        return pb.GetModelResponse(model=answers.model(self._segmenter.status(request.message.name)))

    async def GetLimits(self, request: Received[pb.GetLimitsRequest], context: RequestContext) -> pb.GetLimitsResponse:
        limits = pb.Limits(**dataclasses.asdict(self._segmenter.limits))
        return pb.GetLimitsResponse(limits=limits, server_version=answers.SERVER_VERSION)

    async def _large(self, received: Received[Any], context: RequestContext) -> Iterator[bytes]:
        """Does the work of a large image; returns the serialized messages of its answer."""
        work, start = received.message, time.perf_counter()
        if isinstance(work, pb.EstimateDiameterRequest):
            estimate = await self.EstimateDiameter(received, context)
            return iter([pb.SegmentLargeResponse(diameter=estimate).SerializeToString()])
        result = await self._result(work, received, context, self._transfer_bytes)
        answer = await self._segmenter.encode(context, large.LargeAnswer, result)
        _complete(answer.response, work, context, start)
        return answer.messages()

    async def _segment(
        self,
        request: pb.SegmentRequest,
        received: Received[Any],
        context: RequestContext,
        response: pb.SegmentResponse,
    ) -> None:
        """Segments the image of a request, which was received alone or in a frame; fills the response in its place."""
        start = time.perf_counter()
        result = await self._result(request, received, context, self._message_bytes)
        await self._segmenter.encode(context, answers.fill_response, response, result)
        _complete(response, request, context, start)

    async def _result(
        self, request: pb.SegmentRequest, received: Received[Any], context: RequestContext, most_bytes: int
    ) -> answers.Result:
        """Segments the image of a request whose answer may have some bytes, unless it is packed."""
        params = self._params(request, context)
        wanted, compression = codec.to_wanted(request), codec.to_compression(request)
        received.reservation.start()
        decode = self._decoder(request.image, received, context)
        found = await self._segmenter.segment(
            decode,
            params,
            wanted,
            context,
            received.reservation,
            most_bytes=None if compression == pb.COMPRESSION_ZLIB else most_bytes,
        )
        family = self._segmenter.families[params.model]
        return answers.Result(found, family, wanted, compression, decode.pixel_size)

    def _check(self, work: codec.Work, context: RequestContext) -> None:
        """Refuses a request for all that it tells without the bytes of its image: a large image is not sent in vain."""
        params = self._params(work, context)
        if isinstance(work, pb.SegmentRequest):
            codec.to_wanted(work)
            codec.to_compression(work)
        layout = codec.check_image(work.image, self._limits)
        self._segmenter.check(params, layout.size if layout else None, codec.to_pixel_size(work.image), context)

    def _params(self, request: codec.Work, context: RequestContext) -> SegmentParams:
        """Returns the parameters of a request, which begins."""
        self._begin(request, context)
        return codec.to_params(request.params, self._segmenter.families.default)

    def _begin(self, request: codec.Work | pb.RunNetworksRequest, context: RequestContext) -> None:
        """Refuses unknown fields; puts the priority class and the work budget of a request into the context."""
        codec.check_known(request)
        context.priority, context.work_budget_s = codec.to_priority(request.priority), codec.to_work_budget(request)

    def _decoder(self, image: pb.Image, received: Received[Any], context: RequestContext) -> codec.ImageDecoder:
        files, cancellation = self._segmenter.files, context.cancellation
        return codec.ImageDecoder(
            image,
            received.take,
            self._limits,
            lambda data, kind, series: files.decode(data, cancellation, kind, series),
        )

    async def _frame(self, frame: Received[pb.SegmentStreamRequest], number: int, call: Call, in_use: bool) -> bytes:
        """Segments one frame of a stream; its failure becomes its answer. `in_use`: its id is not answered yet."""
        message, reservation = frame.message, frame.reservation
        answer = pb.SegmentStreamResponse(frame_number=number, frame_id=message.frame_id)
        try:
            async with call.request(message.request.request_id or message.frame_id) as context:
                check_id("frame_id", message.frame_id)
                if in_use:
                    raise InvalidRequest("a frame of this id is not answered yet", reason="FRAME_ID_IN_USE")
                await self._segment(message.request, frame, context, answer.response)
                data = await call.encode(answer, context)
        except ServiceError as error:
            answer.error.CopyFrom(to_status(error))  # takes the place of the response
            data = answer.SerializeToString()
        frame.take()
        reservation.hold(requests=0, pixels=0, bytes=ANSWER_COPIES * len(data))
        return data


def _complete(response: pb.SegmentResponse, request: pb.SegmentRequest, context: RequestContext, start: float) -> None:
    """Fills what an answer says of its request and of the time since `start`, in seconds of `perf_counter`."""
    response.request_id = context.request_id
    response.timing.CopyFrom(answers.timing(context.timing, time.perf_counter() - start))
