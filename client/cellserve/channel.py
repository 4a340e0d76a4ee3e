"""How a client reaches its servers: addresses, load balancing, limits."""

from __future__ import annotations

import contextlib
import ipaddress
import json
import re
import socket
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from typing import Any

from cellserve_contract.payload import Detached
from google.protobuf.message import Message

DEFAULT_ADDRESS = "localhost:50051"
_DEFAULT_PORT = "50051"
_HOST_PORT = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\[\]:/\s]+)(?::([0-9]{1,5}))?")
_URL = re.compile(r"([a-z][a-z0-9+.-]*)://(\[[0-9a-f:.]+\]|[^\[\]:/\s]*)(?::([0-9]+))?", re.IGNORECASE)
_ENCRYPTED = ("https", "grpcs")
_HTTP_PORTS = ("80", "443", "8080")  # of the HTTP interface: gRPC is on another port
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
        TypeError: An address is no text.
        ValueError: No address, or one that makes no sense, or no common address family.
        OSError: A name among several cannot be resolved.
    """
    several = addresses(address)
    if len(several) == 1:
        return several[0] if several[0].startswith(_SCHEMES) else "dns:///" + ":".join(_host_port(several[0]))
    servers = [_resolve(*_host_port(entry)) for entry in several]
    for scheme, family in (("ipv4", socket.AF_INET), ("ipv6", socket.AF_INET6)):
        chosen = [[place for kind, place in server if kind == family] for server in servers]
        if all(chosen):
            return f"{scheme}:" + ",".join(dict.fromkeys(place for places in chosen for place in places))
    raise ValueError(f"{', '.join(several)}: some have IPv4 addresses only, some IPv6 only")


def authority(address: str | Sequence[str]) -> list[tuple[str, Any]]:
    """Names the server whose certificate is expected where several addresses are given: the first."""
    several = addresses(address)
    if len(several) < 2:
        return []
    host, _ = _host_port(several[0])
    return [("grpc.default_authority", host), ("grpc.ssl_target_name_override", host.strip("[]"))]


def addresses(address: Any) -> list[str]:
    """Returns one or several addresses as a list.

    Raises:
        TypeError: Something else is given.
        ValueError: No address is given.
    """
    several = [address] if isinstance(address, str) else address
    if not isinstance(several, Iterable):
        raise TypeError(
            f"address is {address!r}, of type {type(address).__name__}; expected '{DEFAULT_ADDRESS}', or a list"
        )
    several = list(several)
    if wrong := [entry for entry in several if not isinstance(entry, str)]:
        raise TypeError(f"{wrong[0]!r} is no address; expected text such as '{DEFAULT_ADDRESS}'")
    if not several:
        raise ValueError(f"no address given; give HOST:PORT, such as '{DEFAULT_ADDRESS}'")
    return several


def _host_port(address: str) -> tuple[str, str]:
    """Splits "host", "host:port", "[v6]", "[v6]:port" or a bare IPv6 address; the host of IPv6 stays in brackets."""
    if url := _URL.match(address):
        raise ValueError(_url_advice(address, *url.groups()))
    bare = address
    if address.count(":") > 1 and not address.startswith("["):
        with contextlib.suppress(ValueError):
            bare = f"[{ipaddress.IPv6Address(address)}]"
    parts = _HOST_PORT.fullmatch(bare)
    host, port = parts.groups(_DEFAULT_PORT) if parts else ("", "0")
    if not 0 < int(port) < 65536:
        several = "; several addresses are a list" if re.search(r"[,\s]", address.strip()) else ""
        raise ValueError(f"{address!r} is not an address; give HOST:PORT, such as {DEFAULT_ADDRESS!r}{several}")
    return host, port


def _url_advice(url: str, scheme: str, host: str, port: str | None) -> str:
    """Returns the message for a URL in place of an address."""
    if port is None or (scheme.lower().startswith("http") and port in _HTTP_PORTS):
        port = _DEFAULT_PORT
    place = f"{host or 'HOST'}:{port}"
    if scheme.lower() in _ENCRYPTED:
        advice = f"Client({place!r}, credentials=grpc.ssl_channel_credentials()), --address {place} --tls"
    else:
        advice = f"{place!r}; TLS needs credentials=grpc.ssl_channel_credentials(), --tls on the command line"
    return f"{url!r} is a URL; this client speaks gRPC and takes HOST:PORT: give {advice}"


def _resolve(host: str, port: str) -> list[tuple[socket.AddressFamily, str]]:
    """Returns the family and "address:port" of everything a host name stands for."""
    found = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)
    return [
        (family, f"[{place[0]}]:{port}" if family == socket.AF_INET6 else f"{place[0]}:{port}")
        for family, _, _, _, place in found
    ]
