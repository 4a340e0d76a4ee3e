"""Images and answers over the message limit: calls of `SegmentLarge`."""

from __future__ import annotations

import asyncio
import contextlib
import math
import threading
import uuid
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any

import grpc
from cellserve_contract.chunks import LARGE_BYTES, Assembly, ChunkError, cut
from cellserve_contract.payload import Detached
from cellserve_proto import v1 as pb

from . import messages
from .calls import CallGroup, ServiceCalls
from .errors import CellServeError, from_rpc_error, invalid_answer
from .messages import ImageRequest
from .progress import Progress, ProgressCallback
from .results import DiameterEstimate, Segmentation
from .retry import Retries

_TOO_LARGE = {"ANSWER_TOO_LARGE", "MESSAGE_TOO_LARGE"}
_SMALL = {"upload", "work"}
"""Messages of the server that a caller may hear of; on the event loop, where the caller is."""
_PLANES = {pb.OUTPUT_FLOWS: 2, pb.OUTPUT_CELL_PROBABILITY: 1, pb.OUTPUT_MAPS: 3}
_FIELDS = {
    pb.RESULT_ARRAY_LABELS: "labels",
    pb.RESULT_ARRAY_FLOWS: "flows",
    pb.RESULT_ARRAY_CELL_PROBABILITY: "cell_probability",
    pb.RESULT_ARRAY_MAPS: "maps",
}


def is_large(request: ImageRequest[Any]) -> bool:
    """Tells whether a request, or the answer that it asks for, has to be sent in chunks."""
    return max(request.byte_size(), _map_bytes(request.message)) > LARGE_BYTES


def takes_large(error: CellServeError) -> bool:
    """Tells whether a call failed because its request or its answer exceeds the limit of a message."""
    return error.reason in _TOO_LARGE


class LargeCall:
    """The messages of one call, without input and output.

    Args:
        request: A SegmentRequest or an EstimateDiameterRequest.
        key: Names the upload: a call that breaks goes on in a call with the same key.
        progress: Is called with each progress of the work. None: nobody wants to know.

    Attributes:
        started: The server has reserved memory for the image.
    """

    def __init__(self, request: ImageRequest[Any], key: str, progress: ProgressCallback | None = None) -> None:
        self.started = False
        self._request = request
        self._key = key
        self._progress = progress
        self._response = pb.SegmentResponse()
        self._diameter: pb.EstimateDiameterResponse | None = None
        self._arrays: defaultdict[pb.ResultArray, Assembly] = defaultdict(Assembly)
        self._received = 0

    def header(self) -> Detached[pb.SegmentLargeRequest]:
        """Returns the first message."""
        message, work = pb.SegmentLargeRequest(), self._request.message
        header = message.header
        header.idempotency_key, header.image_bytes = self._key, len(self._request.data)
        (header.segment if isinstance(work, pb.SegmentRequest) else header.estimate_diameter).CopyFrom(work)
        return Detached(message, (), b"")

    def chunks(self) -> Iterator[Detached[pb.SegmentLargeRequest]]:
        """Yields the messages of the image, from the first byte that the server lacks."""
        for chunk, data in cut(self._request.data, self._received):
            yield Detached(pb.SegmentLargeRequest(chunk=chunk), ("chunk", "data"), data)

    def add(self, response: pb.SegmentLargeResponse) -> None:
        """Takes a message of the server.

        Raises:
            ServerError: The message does not follow the ones before.
        """
        match response.WhichOneof("part"):
            case "upload":
                self.started, self._received = True, response.upload.received_bytes
                self._report(Progress("upload"))
            case "work":
                self._report(messages.decode_progress(response.work))
            case "result":
                self._response.CopyFrom(response.result)
            case "objects":
                self._response.objects.MergeFrom(response.objects.objects)
            case "chunk":
                chunk = response.chunk.chunk
                try:
                    self._arrays[response.chunk.array].add(chunk, chunk.data)
                except ChunkError as error:
                    raise invalid_answer(str(error), self._request.message.request_id) from error
            case "diameter":
                self._diameter = response.diameter

    def _report(self, progress: Progress) -> None:
        if self._progress:
            self._progress(progress)

    def segmentation(self) -> Segmentation:
        """Returns the result of a call that has ended. Raises ServerError for an incomplete answer."""
        arrays = {
            name: memoryview(self._arrays[number].data) for number, name in _FIELDS.items() if number in self._arrays
        }
        return messages.decode_segmentation(self._response, self._request, arrays)

    def diameter(self) -> DiameterEstimate:
        """Returns the estimate of a call that has ended. Raises ServerError for an incomplete answer."""
        if self._diameter is None:
            raise invalid_answer("the answer has no diameter", self._request.message.request_id)
        return messages.decode_diameter(self._diameter, self._request.warnings)

    def translated(self, error: grpc.RpcError, address: str, deadline_s: float) -> CellServeError:
        """Returns the error of a failed call."""
        request_id = self._request.message.request_id
        return from_rpc_error(error, address=address, deadline_s=deadline_s, request_id=request_id)


def call_large(
    stub: ServiceCalls,
    request: ImageRequest[Any],
    deadline_s: float,
    metadata: Sequence[tuple[str, str]],
    address: str,
    calls: CallGroup,
    retries: Retries,
    progress: ProgressCallback | None = None,
) -> LargeCall:
    """Makes a call of `SegmentLarge`. A call that breaks is made again.

    The upload then goes on where it was if the same server still has its bytes.

    Args:
        stub: Calls of a channel of `grpc`.
        request: A SegmentRequest or an EstimateDiameterRequest.
        deadline_s: Seconds for all attempts.
        metadata: Metadata of the call.
        address: The servers asked, for messages.
        calls: Can cancel the call.
        retries: Decide when the call is made again.
        progress: Is called with the progress of the work, on the thread of the caller.

    Returns:
        The call, complete.

    Raises:
        CellServeError: See `cellserve.errors`.
    """

    key = uuid.uuid4().hex

    def attempt(left_s: float) -> LargeCall:
        large = LargeCall(request, key, progress)
        answered = threading.Event()

        def send() -> Iterator[Detached[pb.SegmentLargeRequest]]:
            yield large.header()
            answered.wait()
            if large.started:
                yield from large.chunks()

        call = stub.segment_large(send(), timeout=left_s, metadata=metadata)
        with calls.cancelling(call):
            try:
                for response in call:
                    large.add(response)
                    answered.set()
            except grpc.RpcError as error:
                raise large.translated(error, address, deadline_s) from error
            finally:
                answered.set()
        return large

    return retries.call(attempt, deadline_s, calls.wait)


async def call_large_async(
    stub: ServiceCalls,
    request: ImageRequest[Any],
    deadline_s: float,
    metadata: Sequence[tuple[str, str]],
    address: str,
    wait: Callable[[float], Awaitable[bool]],
    retries: Retries,
    progress: ProgressCallback | None = None,
) -> LargeCall:
    """`call_large` for a channel of `grpc.aio`. `wait` is that of `Retries.call_async`."""
    key = uuid.uuid4().hex

    async def attempt(left_s: float) -> LargeCall:
        large = LargeCall(request, key, progress)
        call = stub.segment_large(timeout=left_s, metadata=metadata)
        try:
            with contextlib.suppress(asyncio.InvalidStateError):  # the call is over: `read` tells why
                await call.write(large.header())
            while (response := await call.read()) is not grpc.aio.EOF:
                begins = not large.started
                if response.WhichOneof("part") in _SMALL:
                    large.add(response)
                else:
                    await asyncio.to_thread(large.add, response)
                if begins and large.started:
                    with contextlib.suppress(asyncio.InvalidStateError):
                        for chunk in large.chunks():
                            await call.write(chunk)
                        await call.done_writing()
        except grpc.RpcError as error:
            raise large.translated(error, address, deadline_s) from error
        finally:
            call.cancel()  # without effect on a finished call
        return large

    return await retries.call_async(attempt, deadline_s, wait)


def _map_bytes(request: Any) -> int:
    """Returns the bytes of the maps in the answer to a request, as far as the request tells the size of its image."""
    if not isinstance(request, pb.SegmentRequest) or request.compression == pb.COMPRESSION_ZLIB:
        return 0
    pixels = request.image.raw
    lengths = [length for axis, length in zip(pixels.axes, pixels.pixels.shape, strict=False) if axis in "ZYX"]
    planes = sum(_PLANES.get(output, 0) for output in request.outputs) + 3 * request.maps_only
    return math.prod(lengths) * planes * (2 if request.map_type == pb.DATA_TYPE_FLOAT16 else 4)
