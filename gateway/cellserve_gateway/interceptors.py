"""Around every call of our service: observation, and errors as status with details."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, NoReturn

import grpc
from cellserve_proto.v1 import segmentation_pb2

from .errors import ServiceError
from .observe import Observer, translated

SERVICE = segmentation_pb2.DESCRIPTOR.services_by_name["SegmentationService"].full_name


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
        _, service, method = details.method.split("/")
        if handler is None or service != SERVICE:
            return handler

        async def unary(request: Any, context: grpc.aio.ServicerContext) -> Any:
            metadata = dict(context.invocation_metadata() or ())
            request_id = getattr(request, "request_id", "") or str(metadata.get("x-request-id", ""))
            try:
                async with self._observer.call(method, request_id):
                    return await handler.unary_unary(request, context)
            except ServiceError as error:
                await _abort(context, error)

        async def stream(requests: AsyncIterator[Any], context: grpc.aio.ServicerContext) -> AsyncIterator[Any]:
            try:
                with translated():
                    async for response in handler.stream_stream(requests, context):
                        yield response
            except ServiceError as error:
                await _abort(context, error)

        kinds = {
            "request_deserializer": handler.request_deserializer,
            "response_serializer": handler.response_serializer,
        }
        if handler.request_streaming:
            return grpc.stream_stream_rpc_method_handler(stream, **kinds)
        return grpc.unary_unary_rpc_method_handler(unary, **kinds)


async def _abort(context: grpc.aio.ServicerContext, error: ServiceError) -> NoReturn:
    details = ("grpc-status-details-bin", error.to_status().SerializeToString())
    await context.abort(error.code, error.message, trailing_metadata=(details,))
    raise AssertionError("abort always raises")
