"""The requests of a call on their way in, and the memory that they hold."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Generic, TypeVar, cast

import grpc
from cellserve_contract.chunks import CHUNK_BYTES
from cellserve_contract.payload import (
    MAX_DEPTH,
    NO_PAYLOAD,
    ComplexMessageError,
    MalformedMessageError,
    Payload,
    take_payload,
)
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

from cellserve_gateway.app.admission import Admission, Reservation
from cellserve_gateway.app.context import RequestContext
from cellserve_gateway.errors import InvalidRequest, UploadTooSlow

from .call import INLINE_BYTES, Call, forget

M = TypeVar("M", bound=Message)
DECLARED_SIZE = "cellserve-message-bytes"
"""Metadata in which a caller declares the size of its largest message."""
UPLOAD_GRACE_S, IDLE_GRACE_S = 10.0, 30.0
"""Time that an upload, or a stream without a frame, keeps its memory although another upload waits."""
SLOWEST_BYTES_PER_S = 2 << 20
"""Speed that a declared size always gets time for."""
UPLOAD_PATIENCE_S = 30.0
"""Time that a unary call waits for memory before its upload. Frames of a stream wait as long as it takes."""
SMALL_UPLOAD_S = 1.0
"""Time to receive a message of a method that takes no image."""
MAX_DIGITS = 16


class CallEndedError(InvalidRequest):
    """The caller sent no further message, or the connection broke."""


@dataclass(slots=True)
class Received(Generic[M]):
    """A request.

    Attributes:
        message: The request, without the payload.
        payload: The large value of the message, a view of the bytes that were received.
        reservation: Holds the bytes of the message. Released when the caller has the answer.
    """

    message: M
    payload: Payload
    reservation: Reservation

    def take(self) -> Payload:
        """Returns the payload and keeps nothing: whoever still has the request then holds no pixels."""
        payload, self.payload = self.payload, NO_PAYLOAD
        return payload


class Receiver(Generic[M]):
    """Receives the requests of a call, one after the other.

    Args:
        small: Permit for a message of a method that takes no image. Such methods work however full the gateway is.
        small_bytes: Most bytes of such a message.
    """

    def __init__(
        self,
        call: Call,
        context: grpc.aio.ServicerContext,
        admission: Admission,
        small: asyncio.Semaphore,
        small_bytes: int,
    ) -> None:
        self._call = call
        self._context = context
        self._settings = call.settings
        self._admission = admission
        self._small = small
        self._small_bytes = small_bytes
        self._type = call.method.input_type
        self._message = cast(type[M], GetMessageClass(self._type))
        self._streams = call.method.client_streaming
        self._largest = 0
        self._reserved = False

    def __aiter__(self) -> Receiver[M]:
        return self

    async def __anext__(self) -> Received[M]:
        received = await self._next()
        if received is None:
            raise StopAsyncIteration
        return received

    async def receive(self) -> Received[M]:
        """Returns the only request of a unary call, or the next of a stream that has to go on.

        Raises:
            CallEndedError: The caller sent none.
            InvalidRequest: Its bytes are not a message of this call.
            Overloaded, UploadTooSlow, Draining: See `Admission.upload`.
        """
        if not self._type.fields:  # nothing to receive
            return Received(self._message(), NO_PAYLOAD, self._admission.reservation())
        received = await self._next()
        if received is None:
            raise CallEndedError("the call ended without a message", reason="MESSAGE_MALFORMED")
        return received

    @contextlib.asynccontextmanager
    async def upload(self, reservation: Reservation, size: int, resumed: bool) -> AsyncIterator[None]:
        """Reserves memory for an image that comes in chunks; the body receives the messages.

        Args:
            reservation: Gets `size` bytes, and during the upload the bytes of a message.
            size: Bytes of the image.
            resumed: The reservation has these bytes already.

        Raises:
            Overloaded, UploadTooSlow, Draining: See `Admission.upload`.
        """
        needed_s = size / SLOWEST_BYTES_PER_S
        async with self._admission.upload(
            reservation,
            size + self._settings.max_message_bytes,
            message=CHUNK_BYTES,
            grace_s=UPLOAD_GRACE_S + needed_s,
            time_limit_s=self._settings.upload_timeout_s + needed_s,
            patience_s=UPLOAD_PATIENCE_S,
            resumed=resumed,
        ):
            self._reserved = True
            try:
                yield
            finally:
                self._reserved = False
        reservation.hold(bytes=size)

    async def _next(self) -> Received[M] | None:
        reservation, data = self._admission.reservation(), b""
        try:
            async with self._memory(reservation):
                data = await self._context.read()
            if data is grpc.aio.EOF:
                reservation.release()
                return None
            self._check_declared(len(data))
            self._largest = max(self._largest, len(data))
            reservation.hold(bytes=0 if self._reserved else len(data))
            if len(data) <= INLINE_BYTES:
                return self._received(data, reservation)
            if not _takes_images(self._type):
                raise InvalidRequest("the message is larger than any of this call", reason="MESSAGE_TOO_COMPLEX")
            return await self._call.workers.run(RequestContext(), self._received, data, reservation)
        except BaseException as error:
            del data
            forget(error)
            reservation.release()
            raise

    def _memory(self, reservation: Reservation) -> contextlib.AbstractAsyncContextManager[None]:
        """Holds memory for the next message while the body receives it."""
        limit = self._settings.max_message_bytes
        if self._reserved:
            return contextlib.nullcontext()
        if not _takes_images(self._type):
            return self._small_message(reservation)
        declared = self._declared() or (self._largest if self._streams else 0)
        size = min(max(declared, INLINE_BYTES), limit) if declared else limit
        if self._streams:  # the caller may take its time for the next frame
            grace_s = IDLE_GRACE_S if self._largest else UPLOAD_GRACE_S
            return self._admission.upload(reservation, size, grace_s=grace_s, trusted=bool(declared))
        return self._admission.upload(
            reservation,
            size,
            grace_s=UPLOAD_GRACE_S + declared / SLOWEST_BYTES_PER_S,
            time_limit_s=self._settings.upload_timeout_s,
            patience_s=UPLOAD_PATIENCE_S,
            trusted=bool(declared),
        )

    @contextlib.asynccontextmanager
    async def _small_message(self, reservation: Reservation) -> AsyncIterator[None]:
        async with self._small:
            reservation.hold(bytes=self._small_bytes)
            try:
                async with asyncio.timeout(SMALL_UPLOAD_S):
                    yield
            except TimeoutError:
                raise UploadTooSlow("the message did not arrive in time") from None

    def _declared(self) -> int:
        value = str(self._call.metadata.get(DECLARED_SIZE, ""))
        return int(value) if value.isascii() and value.isdigit() and len(value) < MAX_DIGITS else 0

    def _check_declared(self, size: int) -> None:
        declared = self._declared()
        if declared and size > max(declared, INLINE_BYTES):
            raise InvalidRequest(
                f"the message has {size:,} bytes; the caller declared {declared:,}",
                reason="MESSAGE_SIZE_MISMATCH",
                declared_bytes=declared,
            )

    def _received(self, data: bytes, reservation: Reservation) -> Received[M]:
        try:
            rest, payload = take_payload(data, self._type)
            return Received(self._message.FromString(rest), payload, reservation)
        except (MalformedMessageError, DecodeError) as error:
            raise InvalidRequest("the bytes sent are not a message of this call", reason="MESSAGE_MALFORMED") from error
        except ComplexMessageError as error:
            raise InvalidRequest(str(error), reason="MESSAGE_TOO_COMPLEX") from None


def _takes_images(message: Descriptor, depth: int = MAX_DEPTH) -> bool:
    """Returns whether messages of a type can have a large value."""
    return depth > 0 and any(
        field.type == FieldDescriptor.TYPE_BYTES
        or (field.message_type is not None and _takes_images(field.message_type, depth - 1))
        for field in message.fields
    )
