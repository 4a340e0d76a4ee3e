"""The gRPC front: the servers of the gRPC port and of the health port."""

from __future__ import annotations

import asyncio

import grpc

from cellserve_gateway.access.certificates import CertificateFiles
from cellserve_gateway.access.tokens import Tokens
from cellserve_gateway.app.admission import Admission
from cellserve_gateway.app.calls import CallObserver
from cellserve_gateway.app.segmenter import Segmenter
from cellserve_gateway.app.threads import WorkerThreads
from cellserve_gateway.ops.instruments import Instruments
from cellserve_gateway.settings import Settings

from .credentials import server_credentials
from .door import Door
from .health import HEALTH, Health
from .options import MAX_HEALTH_MESSAGE_BYTES, service_options
from .reflection import V1, V1ALPHA, Reflection
from .service import SERVICE, SegmentationService


class GrpcFront:
    """Serves the core over gRPC."""

    def __init__(
        self,
        settings: Settings,
        segmenter: Segmenter,
        admission: Admission,
        instruments: Instruments,
        tokens: Tokens,
        certificates: CertificateFiles | None,
        workers: WorkerThreads,
    ) -> None:
        self.health = Health(SERVICE.full_name, settings.max_watchers)
        self._credentials = server_credentials(certificates) if certificates else None
        observer = CallObserver(instruments, tokens, SERVICE.full_name, "grpc")
        self._door = Door(settings, admission, observer, workers)
        self._health_door = Door(settings, admission, observer, workers)
        self._probe_door = Door(settings, admission, observer, workers, MAX_HEALTH_MESSAGE_BYTES)
        self._server = grpc.aio.server(options=service_options(settings))
        reflection = Reflection(service.full_name for service in (SERVICE, HEALTH, V1, V1ALPHA))
        self._server.add_generic_rpc_handlers(
            (
                self._door.handlers(SERVICE, SegmentationService(settings, segmenter, admission)),
                self._health_door.handlers(HEALTH, self.health, open_to_all=True),
                self._door.handlers(V1, reflection),
                self._door.handlers(V1ALPHA, reflection),
            )
        )

    async def start(self, address: str, health_address: str) -> tuple[int, int]:
        """Serves at an address, and health alone, without TLS and tokens, at another; returns their ports.

        Raises:
            RuntimeError: A port cannot be bound.
        """
        handlers = self._probe_door.handlers(HEALTH, self.health, open_to_all=True)
        health_port = await self.health.start(health_address, handlers)
        if self._credentials:
            port = self._server.add_secure_port(address, self._credentials)
        else:
            port = self._server.add_insecure_port(address)
        await self._server.start()
        return int(port), health_port

    async def stop(self, grace_s: float) -> None:
        """Refuses new calls, and ends the calls in flight after `grace_s` seconds. Health is answered meanwhile."""
        self.health.end_watches()
        stopping = asyncio.create_task(self._server.stop(grace_s))
        await self._door.wait_idle(grace_s)
        await self._server.stop(STOP_S)
        await stopping


STOP_S = 0.5
"""Time for the last bytes of answers that are complete."""
