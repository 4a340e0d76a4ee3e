"""One call: who makes it, its requests' contexts, and its answers on their way out."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import grpc
from cellserve_contract.payload import Detached
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message

from cellserve_gateway.app.admission import Reservation
from cellserve_gateway.app.calls import CallObserver
from cellserve_gateway.app.context import RequestContext
from cellserve_gateway.app.threads import WorkerThreads
from cellserve_gateway.errors import AnswerNotTaken, AnswerTooLarge, ServiceError
from cellserve_gateway.settings import Settings

INLINE_BYTES = 1 << 16
"""Smaller messages are parsed and serialized on the event loop: quicker than the way to a thread and back."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A serialized message of a stream, and the reservation to release once the caller has the message."""

    data: bytes
    reservation: Reservation | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """A call as it came through the door.

    Attributes:
        method: Descriptor of the method.
        metadata: Metadata of the call.
        deadline: Event loop time after which an answer is of no use.
        observer: None: the call needs no token, and nobody records it.
    """

    method: MethodDescriptor
    metadata: dict[str, str | bytes]
    deadline: float
    observer: CallObserver | None
    settings: Settings
    workers: WorkerThreads

    @contextlib.asynccontextmanager
    async def request(self, request_id: str) -> AsyncIterator[RequestContext]:
        """Authenticates, measures and logs one request of the call; yields its context.

        Args:
            request_id: Name of the request in its message. Empty: the name in the metadata is used.
        """
        context = RequestContext(request_id or str(self.metadata.get("x-request-id", "")), deadline=self.deadline)
        if self.observer is None:
            yield context
            return
        async with self.observer.call(self.method.name, context, self.metadata):
            yield context

    def authenticate(self) -> None:
        """Raises Unauthenticated unless the caller may make this call."""
        if self.observer:
            self.observer.authenticate(RequestContext(), self.metadata)

    def failed(self, error: ServiceError) -> None:
        """Records the failure of a stream as a whole."""
        if self.observer:
            self.observer.failed(self.method.name, error)

    async def encode(self, message: Message | Detached[Any], context: RequestContext) -> bytes:
        """Returns a serialized answer.

        Raises:
            AnswerTooLarge: The answer exceeds the limit of a message.
        """
        whole = message if isinstance(message, Detached) else Detached(message, (), b"")
        size, limit = whole.byte_size(), self.settings.max_message_bytes
        if size > limit:
            raise AnswerTooLarge(
                f"the answer has {size:,} bytes; the limit is {limit:,}: ask for fewer outputs, or for compression",
                value=size,
                limit=limit,
            )
        if size <= INLINE_BYTES:
            return whole.serialize()
        return await self.workers.run(context, whole.serialize)


class Sender:
    """Sends the answers of a call."""

    def __init__(self, context: grpc.aio.ServicerContext, timeout_s: float) -> None:
        self._context = context
        self._timeout_s = timeout_s
        self._stuck: asyncio.Future[None] | None = None

    async def send(self, data: bytes, reservation: Reservation | None = None) -> None:
        """Sends a message, and releases its reservation when the caller has taken most of the message.

        Raises:
            AnswerNotTaken: The caller did not take the message in time. gRPC still has the message, and the reservation
                remains until gRPC has dropped the message.
        """
        writing = asyncio.ensure_future(self._context.write(data))
        if reservation:
            writing.add_done_callback(lambda _: reservation.release())
        try:
            done, _ = await asyncio.wait({writing}, timeout=self._timeout_s)
        except asyncio.CancelledError:  # the call has ended
            writing.cancel()
            raise
        if not done:
            self._stuck = writing
            raise AnswerNotTaken(f"the caller did not take the answer within {self._timeout_s:g} s")
        writing.result()

    async def wait_stuck(self) -> None:
        """Waits until the caller has taken, or gRPC has dropped, an answer that the caller did not take in time.

        Raises:
            asyncio.CancelledError: gRPC has dropped the answer, because the caller has gone. The call has no status
                then: after a failed first message, gRPC does not take one.
        """
        if self._stuck is None:
            return
        try:
            await asyncio.wait({self._stuck})
        finally:
            self._stuck.cancel()
        if self._stuck.exception():
            raise asyncio.CancelledError


def forget(error: BaseException) -> None:
    """Drops what an exception keeps alive: the messages in the functions that it passed.

    gRPC keeps the exception that ends a call, and all that this exception leads to.
    """
    seen: BaseException | None = error
    while seen is not None:
        seen.__traceback__ = None
        seen = seen.__cause__ or seen.__context__
