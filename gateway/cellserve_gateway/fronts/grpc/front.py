"""The gRPC front: the server of the gRPC port."""

from __future__ import annotations

import grpc
from grpc_reflection.v1alpha import reflection

from cellserve_gateway.access.certificates import CertificateFiles
from cellserve_gateway.access.tokens import Tokens
from cellserve_gateway.app.admission import Admission
from cellserve_gateway.app.calls import CallObserver
from cellserve_gateway.app.segmenter import Segmenter
from cellserve_gateway.ops.instruments import Instruments
from cellserve_gateway.settings import Settings

from .credentials import server_credentials
from .door import Door
from .health import HEALTH, Health
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
    ) -> None:
        self.health = Health(SERVICE.full_name)
        self._credentials = server_credentials(certificates) if certificates else None
        self._server = grpc.aio.server(
            options=[
                ("grpc.max_receive_message_length", settings.max_message_bytes),
                ("grpc.max_send_message_length", settings.max_message_bytes),
                ("grpc.max_connection_age_ms", round(settings.max_connection_age_s * 1000)),
                # Calls in flight when a connection reaches its age may last as long as any call.
                ("grpc.max_connection_age_grace_ms", round(settings.max_deadline_s * 1000)),
                ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
                ("grpc.keepalive_permit_without_calls", 1),
                ("grpc.so_reuseport", 0),  # a second gateway on the port is a mistake, not a partner
            ],
        )
        door = Door(settings, CallObserver(instruments, tokens, SERVICE.full_name, "grpc"))
        service = SegmentationService(settings, segmenter, admission)
        self._server.add_generic_rpc_handlers((door.handlers(SERVICE, service),))
        self.health.add_to(self._server)
        names = (SERVICE.full_name, HEALTH, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, self._server)

    async def start(self, address: str) -> int:
        """Serves at an address; returns the port.

        Raises:
            RuntimeError: The port cannot be bound.
        """
        if self._credentials:
            port = self._server.add_secure_port(address, self._credentials)
        else:
            port = self._server.add_insecure_port(address)
        await self._server.start()
        return int(port)

    async def stop(self, grace_s: float) -> None:
        """Refuses new calls, and ends the calls in flight after `grace_s` seconds."""
        await self._server.stop(grace_s)
