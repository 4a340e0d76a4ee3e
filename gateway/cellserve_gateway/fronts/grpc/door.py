"""The door of the gRPC ports: every call of every service passes it.

The door checks the token and the number of open calls, and reserves memory, before it receives a message. It counts the
bytes of the message and of the answer until the caller has the answer.

Every RPC is served by a handler of bidirectional streams. On the wire a unary call is the same. Such a handler receives
no message until it asks for one, and it gets the bytes of the message.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Iterator
from typing import Any, NoReturn

import grpc
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor

from cellserve_gateway.app.admission import Admission
from cellserve_gateway.app.calls import CallObserver, translated
from cellserve_gateway.app.segmenter import ANSWER_COPIES
from cellserve_gateway.app.threads import WorkerThreads
from cellserve_gateway.errors import Overloaded, ServiceError
from cellserve_gateway.settings import Settings

from .call import Answer, Call, Sender, forget
from .receiver import Receiver
from .status import to_status

DEADLINE_MARGIN = 0.05
"""Fraction of the caller's time that is kept for the way of an error back to the caller."""


class Door:
    """Makes the handlers of services.

    Args:
        settings: Limits.
        admission: Reserves memory for messages.
        observer: Authenticates, measures and logs each request.
        workers: Threads that parse and serialize large messages.
        small_bytes: Most bytes of a message of a method that takes no image. Default: the limit of all messages.
    """

    def __init__(
        self,
        settings: Settings,
        admission: Admission,
        observer: CallObserver,
        workers: WorkerThreads,
        small_bytes: int | None = None,
    ) -> None:
        self._settings = settings
        self._admission = admission
        self._observer = observer
        self._workers = workers
        self._small = asyncio.Semaphore()
        self._small_bytes = settings.max_message_bytes if small_bytes is None else small_bytes
        self._open = 0
        self._idle = asyncio.Event()
        self._idle.set()

    def handlers(
        self, service: ServiceDescriptor, implementation: object, *, open_to_all: bool = False, name: str = ""
    ) -> grpc.GenericRpcHandler:
        """Returns the handlers of a service.

        Args:
            service: Descriptor of the service.
            implementation: Has a method of each RPC's name. The method of a unary RPC takes a `Received` request and a
                `RequestContext`, and returns the response. Any other takes an iterator of `Received` requests and the
                `Call`, and yields `Answer` objects.
            open_to_all: Callers need no token, and their calls are neither counted nor logged. For health.
            name: Full name of the service. Default: the name in the descriptor.
        """
        name = name or service.full_name
        handlers = {
            method.name: grpc.stream_stream_rpc_method_handler(
                self._serve(method, getattr(implementation, method.name), open_to_all)
            )
            for method in service.methods
        }
        return grpc.method_handlers_generic_handler(name, handlers)

    async def wait_idle(self, timeout_s: float) -> None:
        """Waits until no call is open, `timeout_s` seconds at most."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._idle.wait(), timeout_s)

    def _serve(self, method: MethodDescriptor, function: Callable[..., Any], open_to_all: bool) -> Callable[..., Any]:
        streams = method.client_streaming or method.server_streaming

        async def serve(_: object, context: grpc.aio.ServicerContext) -> None:
            call, sender = self._call(method, context, open_to_all), Sender(context, self._settings.write_timeout_s)
            failure: ServiceError | None = None
            try:
                with self._count():
                    await (self._stream if streams else self._unary)(function, call, context, sender)
            except ServiceError as error:
                failure = error
            if failure is None:
                return
            forget(failure)
            await sender.wait_stuck()
            await _abort(context, failure)

        return serve

    async def _unary(
        self, function: Callable[..., Any], call: Call, context: grpc.aio.ServicerContext, sender: Sender
    ) -> None:
        try:
            with translated():
                call.authenticate()
                if call.observer:
                    self._admission.check_draining()
                received = await self._receiver(call, context).receive()
        except ServiceError as error:
            async with call.request(""):
                raise error
        reservation = received.reservation
        try:
            async with call.request(getattr(received.message, "request_id", "")) as ours:
                answer = await call.encode(await function(received, ours), ours)
        except BaseException as error:
            received.take()
            forget(error)
            reservation.release()
            raise
        received.take()
        reservation.hold(requests=0, pixels=0, bytes=ANSWER_COPIES * len(answer))
        try:
            await sender.send(answer, reservation)
        except ServiceError as error:
            call.failed(error)
            raise

    async def _stream(
        self, function: Callable[..., Any], call: Call, context: grpc.aio.ServicerContext, sender: Sender
    ) -> None:
        try:
            with translated():
                call.authenticate()
                receiver = self._receiver(call, context)
                answers: AsyncGenerator[Answer, None] = function(receiver, call)
                async with contextlib.aclosing(answers):
                    async for answer in answers:
                        await sender.send(answer.data, answer.reservation)
        except ServiceError as error:
            call.failed(error)
            raise

    def _receiver(self, call: Call, context: grpc.aio.ServicerContext) -> Receiver[Any]:
        return Receiver(call, context, self._admission, self._small, self._small_bytes)

    @contextlib.contextmanager
    def _count(self) -> Iterator[None]:
        if self._open >= self._settings.max_calls:
            raise Overloaded(
                f"{self._open:,} calls are open, which is the limit; try again later",
                resource="calls",
                limit=self._settings.max_calls,
            )
        self._open += 1
        self._idle.clear()
        try:
            yield
        finally:
            self._open -= 1
            if not self._open:
                self._idle.set()

    def _call(self, method: MethodDescriptor, context: grpc.aio.ServicerContext, open_to_all: bool) -> Call:
        remaining = context.time_remaining()
        allowed = self._settings.default_deadline_s if remaining is None else remaining * (1 - DEADLINE_MARGIN)
        deadline = asyncio.get_running_loop().time() + min(allowed, self._settings.max_deadline_s)
        metadata = dict(context.invocation_metadata() or ())
        return Call(method, metadata, deadline, None if open_to_all else self._observer, self._settings, self._workers)


async def _abort(context: grpc.aio.ServicerContext, error: ServiceError) -> NoReturn:
    code = grpc.StatusCode[error.code.name]
    details = ("grpc-status-details-bin", to_status(error).SerializeToString())
    await context.abort(code, error.message, trailing_metadata=(details,))
    raise AssertionError("abort always raises")
