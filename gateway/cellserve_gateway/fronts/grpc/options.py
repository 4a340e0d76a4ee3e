"""Options of the gRPC servers: what gRPC itself bounds, before any of our code runs.

docs/decisions/0017 has the measured effect of each.
"""

from __future__ import annotations

from cellserve_gateway.settings import Settings

MAX_HEALTH_CONNECTIONS = 64
MAX_HEALTH_MESSAGE_BYTES = 4096

_SHARED: list[tuple[str, int]] = [
    ("grpc.so_reuseport", 0),  # a second gateway on the port is a mistake, not a partner
    ("grpc.compression_enabled_algorithms_bitset", 1),  # none: gRPC unpacks a message before anybody sees its size
    ("grpc.http2.bdp_probe", 0),  # no more than 64 KiB of a message arrive before the door asks for the message
    ("grpc.http2.lookahead_bytes", 65_536),
    ("grpc.keepalive_time_ms", 30_000),  # finds connections whose other side is gone
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
]


def service_options(settings: Settings) -> list[tuple[str, int]]:
    """Returns the options of the port of the service."""
    return [
        *_SHARED,
        ("grpc.max_receive_message_length", settings.max_message_bytes),
        ("grpc.max_send_message_length", settings.max_message_bytes),
        ("grpc.max_allowed_incoming_connections", settings.max_connections),
        ("grpc.max_concurrent_streams", settings.max_streams_per_connection),
        ("grpc.max_metadata_size", settings.max_metadata_bytes),
        ("grpc.absolute_max_metadata_size", settings.max_metadata_bytes),
        ("grpc.server_handshake_timeout_ms", _ms(settings.handshake_timeout_s)),
        ("grpc.http2.settings_timeout", _ms(settings.handshake_timeout_s)),
        ("grpc.max_connection_idle_ms", _ms(settings.max_connection_idle_s)),
        ("grpc.max_connection_age_ms", _ms(settings.max_connection_age_s)),
        # Calls in flight when a connection reaches its age may last as long as any call.
        ("grpc.max_connection_age_grace_ms", _ms(settings.max_deadline_s)),
    ]


def health_options() -> list[tuple[str, int]]:
    """Returns the options of the port of health alone."""
    return [
        *_SHARED,
        ("grpc.max_receive_message_length", MAX_HEALTH_MESSAGE_BYTES),
        ("grpc.max_allowed_incoming_connections", MAX_HEALTH_CONNECTIONS),
        ("grpc.max_concurrent_streams", 16),
        ("grpc.max_metadata_size", MAX_HEALTH_MESSAGE_BYTES),
        ("grpc.absolute_max_metadata_size", MAX_HEALTH_MESSAGE_BYTES),
        ("grpc.server_handshake_timeout_ms", 5_000),
    ]


def _ms(seconds: float) -> int:
    return round(seconds * 1000)
