"""Around every call of our service: observation, and errors as status with details."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, NoReturn

import grpc
from google.protobuf.message import DecodeError

from .errors import InvalidRequest, ServiceError
from .observe import SERVICE, Observer, translated


class ObservingInterceptor(grpc.aio.ServerInterceptor):  # type: ignore[misc]
    """Observes unary calls whole and streams frame by frame (the service does the latter), and answers errors."""

    def __init__(self, observer: Observer) -> None:
        self._observer = observer

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler]],
        details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler:
        """Returns the handler of the call, wrapped."""
        handler = await continuation(details)
        if handler is None or not details.method.startswith(f"/{SERVICE}/"):
            return handler
        method = details.method.rpartition("/")[2]

        async def unary(request: Any, context: grpc.aio.ServicerContext) -> Any:
            metadata = metadata_of(context)
            request_id = getattr(request, "request_id", "") or str(metadata.get("x-request-id", ""))
            try:
                async with self._observer.call(method, request_id, metadata):
                    _check(request)
                    return await handler.unary_unary(request, context)
            except ServiceError as error:
                await _abort(context, error)

        async def stream(requests: AsyncIterator[Any], context: grpc.aio.ServicerContext) -> AsyncIterator[Any]:
            try:
                with translated():
                    self._observer.admit(metadata_of(context))
                    async for response in handler.stream_stream(_checked(requests), context):
                        yield response
            except ServiceError as error:
                self._observer.failed(method, error)
                await _abort(context, error)

        kinds = {
            "request_deserializer": _tolerant(handler.request_deserializer),
            "response_serializer": handler.response_serializer,
        }
        if handler.request_streaming:
            return grpc.stream_stream_rpc_method_handler(stream, **kinds)
        return grpc.unary_unary_rpc_method_handler(unary, **kinds)


def metadata_of(context: grpc.aio.ServicerContext) -> dict[str, str | bytes]:
    """Returns what a caller sent beside its request."""
    return dict(context.invocation_metadata() or ())


class _Malformed:
    """Stands for a request whose bytes are not a message."""


def _tolerant(deserialize: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    """Returns a deserializer that leaves the answer to bad bytes to us: the framework's has no reason and no log."""

    def parse(data: bytes) -> Any:
        try:
            return deserialize(data)
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
    details = ("grpc-status-details-bin", error.to_status().SerializeToString())
    await context.abort(error.code, error.message, trailing_metadata=(details,))
    raise AssertionError("abort always raises")
