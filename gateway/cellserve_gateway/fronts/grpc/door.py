"""The door of the gRPC port: request context, observation, and errors as status with details, for every call."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any, NoReturn

import grpc
from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

from cellserve_gateway.app.calls import CallObserver, translated
from cellserve_gateway.app.context import RequestContext
from cellserve_gateway.errors import InvalidRequest, ServiceError
from cellserve_gateway.settings import Settings

from .status import to_status

DEADLINE_MARGIN = 0.05
"""Fraction of the caller's time that is kept for the way of an error back to the caller."""


@dataclass(frozen=True, slots=True)
class Call:
    """A call as it came through the door.

    Attributes:
        method: Name of the method.
        metadata: Metadata of the call.
        deadline: Event loop time after which an answer is of no use.
    """

    method: str
    metadata: dict[str, str | bytes]
    deadline: float
    observer: CallObserver

    @contextlib.asynccontextmanager
    async def request(self, request_id: str) -> AsyncIterator[RequestContext]:
        """Authenticates, measures and logs one request of the call; yields its context."""
        context = RequestContext(request_id, deadline=self.deadline)
        async with self.observer.call(self.method, context, self.metadata):
            yield context


class Door:
    """Makes the handlers of a service.

    Args:
        settings: Limits on deadlines.
        observer: Authenticates, measures and logs each request.
    """

    def __init__(self, settings: Settings, observer: CallObserver) -> None:
        self._settings = settings
        self._observer = observer

    def handlers(self, service: ServiceDescriptor, implementation: object) -> grpc.GenericRpcHandler:
        """Returns the handlers of a service.

        Args:
            service: Descriptor of the service.
            implementation: Has a method of each RPC's name. A unary RPC takes the request and its `RequestContext`, and
                returns the response. A bidirectional RPC takes an iterator of requests and the `Call`, and yields
                responses.
        """
        handlers = {}
        for method in service.methods:
            function = getattr(implementation, method.name)
            kinds = {
                "request_deserializer": _parser(GetMessageClass(method.input_type)),
                "response_serializer": GetMessageClass(method.output_type).SerializeToString,
            }
            if method.client_streaming:
                handler = grpc.stream_stream_rpc_method_handler(self._stream(method.name, function), **kinds)
            else:
                handler = grpc.unary_unary_rpc_method_handler(self._unary(method.name, function), **kinds)
            handlers[method.name] = handler
        return grpc.method_handlers_generic_handler(service.full_name, handlers)

    def _unary(self, method: str, function: Callable[..., Any]) -> Callable[..., Any]:
        async def serve(request: Any, context: grpc.aio.ServicerContext) -> Any:
            call = self._call(method, context)
            request_id = getattr(request, "request_id", "") or str(call.metadata.get("x-request-id", ""))
            try:
                async with call.request(request_id) as ours:
                    _check(request)
                    return await function(request, ours)
            except ServiceError as error:
                await _abort(context, error)

        return serve

    def _stream(self, method: str, function: Callable[..., Any]) -> Callable[..., Any]:
        async def serve(requests: AsyncIterator[Any], context: grpc.aio.ServicerContext) -> AsyncIterator[Any]:
            call = self._call(method, context)
            try:
                with translated():
                    self._observer.authenticate(RequestContext(), call.metadata)
                    async for response in function(_checked(requests), call):
                        yield response
            except ServiceError as error:
                self._observer.failed(method, error)
                await _abort(context, error)

        return serve

    def _call(self, method: str, context: grpc.aio.ServicerContext) -> Call:
        remaining = context.time_remaining()
        allowed = self._settings.default_deadline_s if remaining is None else remaining * (1 - DEADLINE_MARGIN)
        deadline = asyncio.get_running_loop().time() + min(allowed, self._settings.max_deadline_s)
        return Call(method, dict(context.invocation_metadata() or ()), deadline, self._observer)


class _Malformed:
    """Stands for a request whose bytes are not a message."""


def _parser(message: type[Message]) -> Callable[[bytes], Any]:
    """Returns a deserializer that leaves the answer to bad bytes to us: the framework's has no reason and no log."""

    def parse(data: bytes) -> Any:
        try:
            return message.FromString(data)
        except DecodeError:
            return _Malformed()

    return parse


def _check(request: Any) -> None:
    if isinstance(request, _Malformed):
        raise InvalidRequest("the bytes sent are not a message of this call", reason="MESSAGE_MALFORMED")


async def _checked(requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
    async for request in requests:
        _check(request)
        yield request


async def _abort(context: grpc.aio.ServicerContext, error: ServiceError) -> NoReturn:
    code = grpc.StatusCode[error.code.name]
    details = ("grpc-status-details-bin", to_status(error).SerializeToString())
    await context.abort(code, error.message, trailing_metadata=(details,))
    raise AssertionError("abort always raises")
