"""Certificates of gateways, and the wait for a gateway that has them."""

from __future__ import annotations

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc


def write_certificate(folder, authority) -> None:
    certificate = authority.issue_cert("127.0.0.1", "localhost")
    certificate.cert_chain_pems[0].write_to_path(folder / "tls.crt")
    certificate.private_key_pem.write_to_path(folder / "tls.key")


def wait_ready(gateway) -> None:
    """Health is asked without certificate or token, as kubelet does."""
    with grpc.insecure_channel(gateway.health) as channel:
        watched = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(), timeout=120)
        assert any(answer.status == health_pb2.HealthCheckResponse.SERVING for answer in watched)
