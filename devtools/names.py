"""A name server on loopback, in place of Kubernetes' headless Services: for tests and `make cluster-demo`."""

from __future__ import annotations

import ipaddress

from dnslib import AAAA, QTYPE, RCODE, RR, A, DNSRecord
from dnslib.server import BaseResolver, DNSLogger, DNSServer

TTL_S = 1


class NameServer:
    """Answers for the names it was told, and that others do not exist.

    Attributes:
        address: "127.0.0.1:port", as in the target `dns://127.0.0.1:port/name:port`.
    """

    def __init__(self) -> None:
        self._names: dict[str, tuple[str, ...]] = {}
        quiet = DNSLogger("-request,-reply,-truncated,-error")
        self._server = DNSServer(_Resolver(self._names), address="127.0.0.1", port=0, logger=quiet)
        host, port = self._server.server.server_address[:2]
        self.address = f"{host}:{port}"
        self._server.start_thread()

    def set(self, name: str, *addresses: str) -> None:
        """Makes a name stand for addresses; for none of them, it ceases to exist."""
        self._names[f"{name}."] = addresses

    def close(self) -> None:
        """Stops answering."""
        self._server.stop()
        self._server.server.server_close()


class _Resolver(BaseResolver):  # type: ignore[misc]
    def __init__(self, names: dict[str, tuple[str, ...]]) -> None:
        self._names = names

    def resolve(self, request: DNSRecord, handler: object) -> DNSRecord:
        reply = request.reply()
        addresses = self._names.get(str(request.q.qname).lower(), ())
        for address in addresses:
            kind, record = (A, QTYPE.A) if ipaddress.ip_address(address).version == 4 else (AAAA, QTYPE.AAAA)
            if request.q.qtype == record:
                reply.add_answer(RR(request.q.qname, record, rdata=kind(address), ttl=TTL_S))
        if not addresses:
            reply.header.rcode = RCODE.NXDOMAIN
        return reply
