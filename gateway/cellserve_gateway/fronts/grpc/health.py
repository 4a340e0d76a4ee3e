"""Health of the gateway over gRPC: on the port of the service, and on a port without TLS and tokens for kubelet."""

from __future__ import annotations

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health_aio

HEALTH = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name
LIVENESS = "liveness"
"""Health service that is SERVING as long as the process lives."""


class Health:
    """Health of the gateway.

    Readiness is the health of "" and of the service's name: kernels compiled, a Triton serving every network, not
    draining.

    Args:
        service: Full name of the service.
    """

    def __init__(self, service: str) -> None:
        self._names = ("", service)
        self._servicer = health_aio.HealthServicer()
        self._server: grpc.aio.Server | None = None

    def add_to(self, server: grpc.aio.Server) -> None:
        """Serves health on the port of the service, too."""
        health_pb2_grpc.add_HealthServicer_to_server(self._servicer, server)

    async def start(self, address: str) -> int:
        """Serves health without TLS and tokens at an address; returns the port.

        Raises:
            RuntimeError: The port cannot be bound.
        """
        await self.set(ready=False)
        await self._servicer.set(LIVENESS, health_pb2.HealthCheckResponse.SERVING)
        self._server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        self.add_to(self._server)
        port = int(self._server.add_insecure_port(address))
        await self._server.start()
        return port

    async def set(self, ready: bool) -> None:
        """Sets readiness."""
        status = health_pb2.HealthCheckResponse.SERVING if ready else health_pb2.HealthCheckResponse.NOT_SERVING
        for name in self._names:
            await self._servicer.set(name, status)

    async def stop(self) -> None:
        """Stops the port without TLS and tokens."""
        if self._server:
            await self._server.stop(None)
