"""`SegmentLarge`: an image in chunks on its way in, an answer in chunks on its way out."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from cellserve_contract.arrays import Detached, describe_array
from cellserve_contract.chunks import Assembly, ChunkError, cut
from cellserve_formats import check_sent
from cellserve_proto import v1 as pb

from cellserve_gateway.app.admission import Reservation
from cellserve_gateway.app.context import RequestContext
from cellserve_gateway.app.decode import translated_image_errors
from cellserve_gateway.app.threads import WorkerThreads
from cellserve_gateway.errors import InvalidImage, InvalidRequest

from .answers import Result, fill_facts, fill_objects
from .receiver import Receiver
from .wire import Payload

BATCH = 128
"""Objects of a message."""
ARRAYS = {
    "labels": pb.RESULT_ARRAY_LABELS,
    "flows": pb.RESULT_ARRAY_FLOWS,
    "cell_probability": pb.RESULT_ARRAY_CELL_PROBABILITY,
    "maps": pb.RESULT_ARRAY_MAPS,
}


def header_of(message: pb.SegmentLargeRequest, limit: int) -> pb.SegmentLargeHeader:
    """Returns the header of a call.

    Args:
        message: The first message of the call.
        limit: Most bytes of an image as sent.

    Raises:
        InvalidRequest: The message is no header, or names no work.
        InvalidImage: The image has no bytes.
        ImageTooLarge: The image exceeds the limit.
    """
    header = message.header
    if not message.HasField("header") or header.WhichOneof("work") is None:
        raise InvalidRequest("the first message is a header that names its work", reason="MESSAGE_MALFORMED")
    if header.image_bytes <= 0:
        raise InvalidImage("image_bytes is not above 0", reason="IMAGE_EMPTY")
    with translated_image_errors():
        check_sent(header.image_bytes, limit)
    return header


class Upload:
    """An image on its way in, received by a task of its own: the time limits of the upload end this task only.

    Args:
        requests: The messages of the call behind the header.
        reservation: Gets the memory of the image.
        header: What the caller declared.
        workers: Threads that copy the chunks.
    """

    def __init__(
        self,
        requests: Receiver[pb.SegmentLargeRequest],
        reservation: Reservation,
        header: pb.SegmentLargeHeader,
        workers: WorkerThreads,
    ) -> None:
        self._requests = requests
        self._reservation = reservation
        self._header = header
        self._workers = workers
        self._admitted = asyncio.Event()
        self._receiving = asyncio.create_task(self._receive())

    async def admitted(self) -> None:
        """Waits until the memory of the image is reserved. Raises what `image` raises if there is no memory."""
        admitted = asyncio.create_task(self._admitted.wait())
        try:
            await asyncio.wait({admitted, self._receiving}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            admitted.cancel()
        if not self._admitted.is_set():
            await self._receiving

    async def image(self) -> Payload:
        """Returns the bytes of the image, in the place that they have in the request.

        Raises:
            InvalidRequest: The chunks do not make the image.
            Overloaded, UploadTooSlow, Draining: See `Admission.upload`.
        """
        return await self._receiving

    async def end(self) -> None:
        """Ends the upload, complete or not."""
        self._receiving.cancel()
        await asyncio.wait({self._receiving})

    async def _receive(self) -> Payload:
        size, context = self._header.image_bytes, RequestContext()
        assembly = Assembly(size)
        async with self._requests.upload(self._reservation, size):
            self._admitted.set()
            while len(assembly.data) < size:
                try:
                    part = await self._requests.receive()
                    if not part.message.HasField("chunk"):
                        raise ChunkError("a message has no chunk")
                    chunk = part.message.chunk
                    await self._workers.run(context, assembly.add, chunk, part.take().data or chunk.data)
                except ChunkError as error:
                    raise InvalidRequest(str(error), reason="CHUNK_INVALID") from None
        encoded = work_of(self._header).image.WhichOneof("content") == "encoded"
        return Payload("image.encoded.data" if encoded else "image.raw.pixels.data", memoryview(assembly.data))


def work_of(header: pb.SegmentLargeHeader) -> pb.SegmentRequest | pb.EstimateDiameterRequest:
    """Returns the request of a header, without its image's bytes."""
    return header.segment if header.HasField("segment") else header.estimate_diameter


class LargeAnswer:
    """The messages of an answer in chunks.

    Args:
        result: What was found. Its arrays are packed here.
    """

    def __init__(self, result: Result) -> None:
        self.response = pb.SegmentResponse()
        fill_facts(self.response, result)
        self._found = result.found
        self._arrays = [
            (ARRAYS[name], describe_array(getattr(self.response, name), array, packing))
            for name, array, packing in result.arrays()
        ]

    def messages(self) -> Iterator[bytes]:
        """Yields the serialized messages. `response` is complete when the first is asked for."""
        yield pb.SegmentLargeResponse(result=self.response).SerializeToString()
        for first in range(0, len(self._found.objects), BATCH):
            part = pb.SegmentLargeResponse()
            fill_objects(part.objects.objects, self._found, slice(first, first + BATCH))
            yield part.SerializeToString()
        for number, data in self._arrays:
            for chunk, piece in cut(data):
                message = pb.SegmentLargeResponse(chunk=pb.ResultChunk(array=number, chunk=chunk))
                yield Detached(message, ("chunk", "chunk", "data"), piece).serialize()
