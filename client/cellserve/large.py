"""Images and answers over the message limit: the messages of one call of `SegmentLarge`, without input and output."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import grpc
from cellserve_contract.arrays import Detached
from cellserve_contract.chunks import LARGE_BYTES, Assembly, ChunkError, cut
from cellserve_proto import v1 as pb

from . import messages
from .errors import CellServeError, UnavailableError, invalid_answer
from .results import DiameterEstimate, Segmentation

RETRY_PAUSES_S = (0.2, 0.4, 0.8, 1.6)
"""Waits before a call that broke during its transfer is made again. gRPC repeats no call that has begun to answer."""
_TOO_LARGE = {"ANSWER_TOO_LARGE", "MESSAGE_TOO_LARGE"}
_PLANES = {pb.OUTPUT_FLOWS: 2, pb.OUTPUT_CELL_PROBABILITY: 1, pb.OUTPUT_MAPS: 3}
_FIELDS = {
    pb.RESULT_ARRAY_LABELS: "labels",
    pb.RESULT_ARRAY_FLOWS: "flows",
    pb.RESULT_ARRAY_CELL_PROBABILITY: "cell_probability",
    pb.RESULT_ARRAY_MAPS: "maps",
}


def is_large(request: Detached[Any]) -> bool:
    """Tells whether a request, or the answer that it asks for, has to be sent in chunks."""
    return max(request.byte_size(), _map_bytes(request.message)) > LARGE_BYTES


def takes_large(error: CellServeError) -> bool:
    """Tells whether a call failed because its request or its answer exceeds the limit of a message."""
    return error.reason in _TOO_LARGE


class LargeCall:
    """One call.

    Args:
        request: A SegmentRequest or an EstimateDiameterRequest.

    Attributes:
        started: The server has reserved memory for the image.
    """

    def __init__(self, request: Detached[Any]) -> None:
        self.started = False
        self._request = request
        self._response = pb.SegmentResponse()
        self._diameter: pb.EstimateDiameterResponse | None = None
        self._arrays: defaultdict[pb.ResultArray, Assembly] = defaultdict(Assembly)
        self._received = 0

    def header(self) -> Detached[pb.SegmentLargeRequest]:
        """Returns the first message."""
        message, work = pb.SegmentLargeRequest(), self._request.message
        header = message.header
        header.idempotency_key, header.image_bytes = work.request_id, len(self._request.data)
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

    def segmentation(self) -> Segmentation:
        """Returns the result of a call that has ended. Raises ServerError for an incomplete answer."""
        arrays = {
            name: memoryview(self._arrays[number].data) for number, name in _FIELDS.items() if number in self._arrays
        }
        return messages.decode_segmentation(self._response, arrays)

    def diameter(self) -> DiameterEstimate:
        """Returns the estimate of a call that has ended. Raises ServerError for an incomplete answer."""
        if self._diameter is None:
            raise invalid_answer("the answer has no diameter", self._request.message.request_id)
        return messages.decode_diameter(self._diameter)

    def is_repeatable(self, error: CellServeError) -> bool:
        """Tells whether a new call makes sense after this one has failed.

        `AsyncClient` cannot see why a server ends an upload, and repeats the call then.
        """
        broken = isinstance(error, UnavailableError) and error.code is not grpc.StatusCode.CANCELLED
        return self.started and broken


def _map_bytes(request: Any) -> int:
    """Returns the bytes of the maps in the answer to a request, as far as the request tells the size of its image."""
    if not isinstance(request, pb.SegmentRequest) or request.compression == pb.COMPRESSION_ZLIB:
        return 0
    pixels = request.image.raw
    lengths = [length for axis, length in zip(pixels.axes, pixels.pixels.shape, strict=False) if axis in "ZYX"]
    planes = sum(_PLANES.get(output, 0) for output in request.outputs) + 3 * request.maps_only
    return math.prod(lengths) * planes * (2 if request.map_type == pb.DATA_TYPE_FLOAT16 else 4)
