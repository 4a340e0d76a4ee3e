"""How a client reaches its servers: addresses, load balancing, limits."""

from __future__ import annotations

import ipaddress
import json
import re
import socket
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

from cellserve_contract.arrays import Detached
from google.protobuf.message import Message

DEFAULT_ADDRESS = "localhost:50051"
_DEFAULT_PORT = "50051"
_HOST_PORT = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\[\]:/\s]+)(?::([0-9]{1,5}))?")
_DECLARED_SIZE = "cellserve-message-bytes"
_SCHEMES = ("dns:", "ipv4:", "ipv6:", "unix:", "unix-abstract:", "xds:")

_SERVICE_CONFIG = json.dumps({"loadBalancingConfig": [{"round_robin": {}}]})  # `retry` repeats calls, not gRPC


def with_size(metadata: Sequence[tuple[str, str]], request: Message | Detached[Any]) -> tuple[tuple[str, str], ...]:
    """Returns the metadata of a unary call with the size of its request.

    The server reserves that much memory, instead of the largest size that a message can have.
    """
    size = request.byte_size() if isinstance(request, Detached) else request.ByteSize()
    return (*metadata, (_DECLARED_SIZE, str(size)))


def channel_options() -> list[tuple[str, Any]]:
    """Returns the gRPC channel options of both clients."""
    return [
        ("grpc.service_config", _SERVICE_CONFIG),
        # The server's limits decide, and its error names them.
        ("grpc.max_send_message_length", -1),
        ("grpc.max_receive_message_length", -1),
        # A server that vanished without a word is noticed after half a minute, however long a call waits for it.
        ("grpc.keepalive_time_ms", 20_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.initial_reconnect_backoff_ms", 200),
        ("grpc.min_reconnect_backoff_ms", 10_000),  # which is the time a connection may take to be made
        ("grpc.max_reconnect_backoff_ms", 5_000),
        # A name is looked up again when a server closes its connection, as it does now and then for this purpose.
        ("grpc.dns_min_time_between_resolutions_ms", 5_000),
        ("grpc.primary_user_agent", f"cellserve/{version('cellserve')}"),
    ]


def target(address: str | Sequence[str]) -> str:
    """Makes the gRPC target of one or several addresses.

    Args:
        address: "host:port" (a name may stand for many servers, as a headless service does), a gRPC URI
            ("unix:/path", "dns:///..."), or several "host:port". Without a port it is 50051.

    Returns:
        `dns:///host:port`, which gRPC resolves again whenever a connection is lost; or, of several addresses, one
        `ipv4:` or `ipv6:` target of all, their names resolved now.

    Raises:
        ValueError: No address, or one that makes no sense, or no common address family.
        OSError: A name among several cannot be resolved.
    """
    addresses = [address] if isinstance(address, str) else list(address)
    if not addresses:
        raise ValueError("no address given")
    if len(addresses) == 1:
        return addresses[0] if addresses[0].startswith(_SCHEMES) else "dns:///" + ":".join(_host_port(addresses[0]))
    servers = [_resolve(*_host_port(entry)) for entry in addresses]
    for scheme, family in (("ipv4", socket.AF_INET), ("ipv6", socket.AF_INET6)):
        chosen = [[place for kind, place in server if kind == family] for server in servers]
        if all(chosen):
            return f"{scheme}:" + ",".join(dict.fromkeys(place for places in chosen for place in places))
    raise ValueError(f"{', '.join(addresses)}: some have IPv4 addresses only, some IPv6 only")


def authority(address: str | Sequence[str]) -> list[tuple[str, Any]]:
    """Names the server whose certificate is expected where several addresses are given: the first."""
    if isinstance(address, str) or len(address) < 2:
        return []
    host, _ = _host_port(address[0])
    return [("grpc.default_authority", host), ("grpc.ssl_target_name_override", host.strip("[]"))]


def _host_port(address: str) -> tuple[str, str]:
    """Splits "host", "host:port", "[v6]", "[v6]:port" or a bare IPv6 address; the host of IPv6 stays in brackets."""
    if address.count(":") > 1 and not address.startswith("["):
        address = f"[{ipaddress.IPv6Address(address)}]"
    parts = _HOST_PORT.fullmatch(address)
    host, port = parts.groups(_DEFAULT_PORT) if parts else ("", "0")
    if not 0 < int(port) < 65536:
        raise ValueError(f"{address!r} is not an address; give HOST:PORT")
    return host, port


def _resolve(host: str, port: str) -> list[tuple[socket.AddressFamily, str]]:
    """Returns the family and "address:port" of everything a host name stands for."""
    found = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)
    return [
        (family, f"[{place[0]}]:{port}" if family == socket.AF_INET6 else f"{place[0]}:{port}")
        for family, _, _, _, place in found
    ]
