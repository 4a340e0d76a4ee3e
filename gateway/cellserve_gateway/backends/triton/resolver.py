"""Resolves the name of the Tritons, written as gRPC writes names, to the addresses of all servers."""

from __future__ import annotations

import ipaddress
import re
import socket

import aiodns

_NAME = re.compile(
    r"(?:dns:(?://(?P<authority>[^/]*)/)?)?(?P<host>\[[0-9A-Fa-f:.]+\]|[^\[\]:/,\s]+):(?P<port>[0-9]{1,5})"
)


class Resolver:
    """Resolves the name of the servers repeatedly: behind a headless service, servers come and go.

    Args:
        target: `host:port`, `dns:///host:port` or, with a name server of its own, `dns://server:port/host:port`;
            several, separated by commas. All addresses of each host count.

    Raises:
        ValueError: The target is none of these.
    """

    def __init__(self, target: str) -> None:
        self._names: list[tuple[str, str, int]] = []
        for name in target.split(","):
            match = _NAME.fullmatch(name.strip())
            if match is None or not 0 < int(match["port"]) < 65536:
                raise ValueError(f"{name!r} is not the address of a Triton: HOST:PORT or dns:///HOST:PORT")
            self._names.append((match["authority"] or "", match["host"].strip("[]"), int(match["port"])))
        self._resolvers: dict[str, aiodns.DNSResolver] = {}

    async def resolve(self) -> frozenset[str]:
        """Returns "address:port" of every server there is.

        Hosts with IPv4 and IPv6 addresses are taken by the former alone, lest one server counts as two. A host that
        does not exist has no servers.

        Raises:
            OSError: The name server does not answer, which says nothing of the servers.
        """
        return frozenset([place for name in self._names for place in await self._resolve(*name)])

    async def close(self) -> None:
        """Ends all queries."""
        for resolver in self._resolvers.values():
            await resolver.close()

    async def _resolve(self, authority: str, host: str, port: int) -> list[str]:
        try:
            return [_place(ipaddress.ip_address(host), port)]
        except ValueError:
            pass
        if authority not in self._resolvers:  # made here: it belongs to the running loop
            self._resolvers[authority] = aiodns.DNSResolver([authority] if authority else None)
        try:
            found = await self._resolvers[authority].getaddrinfo(
                host, family=socket.AF_UNSPEC, port=port, type=socket.SOCK_STREAM
            )
        except aiodns.error.DNSError as error:
            if error.args[0] in (aiodns.error.ARES_ENOTFOUND, aiodns.error.ARES_ENODATA):
                return []
            raise OSError(f"{host} cannot be resolved: {error.args[-1]}") from error
        addresses = {ipaddress.ip_address(node.addr[0].decode()) for node in found.nodes}
        version = min((address.version for address in addresses), default=4)
        return [_place(address, port) for address in addresses if address.version == version]


def _place(address: ipaddress.IPv4Address | ipaddress.IPv6Address, port: int) -> str:
    return f"[{address}]:{port}" if address.version == 6 else f"{address}:{port}"
