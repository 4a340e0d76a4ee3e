"""Health of the gateway over gRPC: on the port of the service, and on a port without TLS and tokens for kubelet."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import grpc
from grpc_health.v1 import health_pb2

from cellserve_gateway.app.context import RequestContext
from cellserve_gateway.errors import Overloaded, ServiceUnknown

from .call import Answer, Call
from .options import health_options
from .receiver import Received, Receiver

HEALTH = health_pb2.DESCRIPTOR.services_by_name["Health"]
LIVENESS = "liveness"
"""Health service that is SERVING as long as the process lives."""

Request = Received[health_pb2.HealthCheckRequest]
_SERVING, _NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING
_UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN


class Health:
    """The health service.

    Readiness is the health of "" and of the service's name: kernels compiled, a Triton serving every network, not
    draining. A caller that follows the health has a task of its own, so that no caller can delay another one.

    Args:
        service: Full name of the service.
        max_watchers: Most callers of Watch at the same time.
    """

    def __init__(self, service: str, max_watchers: int) -> None:
        self._names = ("", service)
        self._status = dict.fromkeys(self._names, _NOT_SERVING) | {LIVENESS: _SERVING}
        self._changed = asyncio.Event()
        self._watchers = 0
        self._max_watchers = max_watchers
        self._ending = False
        self._server: grpc.aio.Server | None = None

    async def Check(self, request: Request, context: RequestContext) -> health_pb2.HealthCheckResponse:
        """Returns the health of a service now."""
        status = self._status.get(request.message.service)
        if status is None:
            raise ServiceUnknown(f"there is no service '{request.message.service[:64]}'")
        return health_pb2.HealthCheckResponse(status=status)

    async def Watch(
        self, requests: Receiver[health_pb2.HealthCheckRequest], call: Call
    ) -> AsyncGenerator[Answer, None]:
        """Yields the health of a service now, and whenever it changes."""
        if self._watchers >= self._max_watchers:
            raise Overloaded(f"{self._watchers} callers follow the health; no more can", resource="watchers")
        request = await requests.receive()
        request.reservation.release()
        self._watchers += 1
        try:
            sent = None
            while True:
                status, changed = self._status.get(request.message.service, _UNKNOWN), self._changed
                if status != sent:
                    sent = status
                    yield Answer(health_pb2.HealthCheckResponse(status=status).SerializeToString())
                elif self._ending:
                    return
                else:
                    await changed.wait()
        finally:
            self._watchers -= 1

    async def start(self, address: str, handlers: grpc.GenericRpcHandler) -> int:
        """Serves health without TLS and tokens at an address; returns the port.

        Raises:
            RuntimeError: The port cannot be bound.
        """
        self._server = grpc.aio.server(options=health_options())
        self._server.add_generic_rpc_handlers((handlers,))
        port = int(self._server.add_insecure_port(address))
        await self._server.start()
        return port

    def set(self, ready: bool) -> None:
        """Sets readiness, and tells the callers that follow it."""
        self._status |= dict.fromkeys(self._names, _SERVING if ready else _NOT_SERVING)
        self._notify()

    def end_watches(self) -> None:
        """Ends the calls of those who follow the health, once they know the last status."""
        self._ending = True
        self._notify()

    async def stop(self) -> None:
        """Stops the port without TLS and tokens."""
        if self._server:
            await self._server.stop(None)

    def _notify(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
