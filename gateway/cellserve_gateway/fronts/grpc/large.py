"""`SegmentLarge`: an image in chunks on its way in, progress and an answer in chunks on their way out."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator

from cellserve_contract import wire
from cellserve_contract.arrays import describe_array
from cellserve_contract.chunks import Assembly, ChunkError, cut
from cellserve_contract.payload import Detached, Payload
from cellserve_formats import check_sent
from cellserve_proto import v1 as pb

from cellserve_gateway.app.admission import Reservation
from cellserve_gateway.app.context import RequestContext
from cellserve_gateway.app.decode import translated_image_errors
from cellserve_gateway.app.parking import Parking, UploadKey
from cellserve_gateway.app.progress import Report, WorkStage
from cellserve_gateway.app.tasks import start_task
from cellserve_gateway.app.threads import WorkerThreads
from cellserve_gateway.errors import InvalidImage, InvalidRequest, Overloaded

from .answers import Result, fill_facts, fill_objects
from .call import forget
from .receiver import CallEndedError, Receiver

BATCH = 128
"""Objects of a message."""
ARRAYS = {
    "labels": pb.RESULT_ARRAY_LABELS,
    "flows": pb.RESULT_ARRAY_FLOWS,
    "cell_probability": pb.RESULT_ARRAY_CELL_PROBABILITY,
    "maps": pb.RESULT_ARRAY_MAPS,
}
STAGES = {stage: wire.number_of(pb.WorkStage, stage.value, "stage") for stage in WorkStage}


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

    If the call breaks, what is there of the image is parked. A refused upload is not.

    Args:
        requests: The messages of the call behind the header.
        reservation: Gets the memory of the image.
        header: What the caller declared.
        caller: Name of the caller.
        workers: Threads that copy the chunks.
        parking: Keeps the bytes of calls that broke.
    """

    def __init__(
        self,
        requests: Receiver[pb.SegmentLargeRequest],
        reservation: Reservation,
        header: pb.SegmentLargeHeader,
        caller: str,
        workers: WorkerThreads,
        parking: Parking[Assembly],
    ) -> None:
        self._requests = requests
        self._reservation = reservation
        self._header = header
        self._key = UploadKey(caller, header.idempotency_key)
        self._workers = workers
        self._parking = parking
        self._resumed_at = 0
        self._continued = False
        self._admitted = asyncio.Event()
        self._receiving = asyncio.create_task(self._receive())

    async def admitted(self) -> int:
        """Waits until the memory of the image is reserved; returns how many bytes an earlier call has sent.

        Raises what `image` raises if there is no memory.
        """
        admitted = asyncio.create_task(self._admitted.wait())
        try:
            await asyncio.wait({admitted, self._receiving}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            admitted.cancel()
        if not self._admitted.is_set():
            await self._receiving
        return self._resumed_at

    async def image(self) -> Payload:
        """Returns the bytes of the image, in the place that they have in the request.

        Raises:
            InvalidRequest: The chunks do not make the image, or a newer call continues the upload.
            Overloaded, UploadTooSlow, Draining: See `Admission.upload`.
        """
        return await self._receiving

    async def end(self) -> None:
        """Ends the upload, complete or not."""
        self._receiving.cancel()
        await asyncio.wait({self._receiving})

    async def _receive(self) -> Payload:
        size, reservation, declared = self._header.image_bytes, self._reservation, _identity(self._header)
        live, earlier = await self._parking.begin(self._key, declared, reservation, self._continue_elsewhere)
        assembly = earlier or Assembly(size)
        try:
            async with self._requests.upload(reservation, size, earlier is not None):
                self._resumed_at = len(assembly.data)
                self._admitted.set()
                while len(assembly.data) < size:
                    await self._add_chunk(assembly)
        except (asyncio.CancelledError, CallEndedError, Overloaded) as error:
            if assembly.data:
                self._parking.park(self._key, live, assembly, reservation, size)
            del assembly, earlier
            forget(error)  # only the parking has the bytes now, so that they are freed when it drops them
            if self._continued:
                raise InvalidRequest(
                    "a newer call with the same idempotency key continues this upload", reason="UPLOAD_CONTINUED"
                ) from None
            raise
        finally:
            self._parking.end(self._key, live)
        encoded = work_of(self._header).image.WhichOneof("content") == "encoded"
        return Payload("image.encoded.data" if encoded else "image.raw.pixels.data", memoryview(assembly.data))

    async def _add_chunk(self, assembly: Assembly) -> None:
        part = await self._requests.receive()
        chunk = part.message.chunk
        try:
            if not part.message.HasField("chunk"):
                raise ChunkError("a message has no chunk")
            adding = start_task(
                self._workers.run(RequestContext(), assembly.add, chunk, part.take().data or chunk.data)
            )
            try:
                await asyncio.shield(adding)
            except asyncio.CancelledError:
                # The thread does not stop, and whoever continues must not meet it. The end of the call, a newer call
                # and a time limit may cancel one after the other.
                while not adding.done():
                    with contextlib.suppress(asyncio.CancelledError):
                        await asyncio.wait({adding})
                raise
        except ChunkError as error:
            raise InvalidRequest(str(error), reason="CHUNK_INVALID") from None

    async def _continue_elsewhere(self) -> None:
        self._continued = True
        await self.end()


def _identity(header: pb.SegmentLargeHeader) -> bytes:
    """Returns the bytes in which headers of different work differ."""
    return header.SerializeToString(deterministic=True)


def work_of(header: pb.SegmentLargeHeader) -> pb.SegmentRequest | pb.EstimateDiameterRequest:
    """Returns the request of a header, without its image's bytes."""
    return header.segment if header.HasField("segment") else header.estimate_diameter


def progress_message(report: Report) -> bytes:
    """Returns the serialized message of how far the work is."""
    work = pb.WorkProgress(
        stage=STAGES[report.stage],
        sections_done=report.sections_done,
        sections_total=report.sections_total,
        tiles_done=report.tiles_done,
        tiles_total=report.tiles_total,
        left_s=report.left_s,
    )
    return pb.SegmentLargeResponse(work=work).SerializeToString()


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
