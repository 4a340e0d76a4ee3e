"""Evaluates NetworkPolicies as Kubernetes does: may one pod reach a port of another?"""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network

from .objects import Object, Release, selects


@dataclass(frozen=True)
class Endpoint:
    """A pod, or, without a namespace, an address outside the cluster."""

    labels: dict[str, str] = field(default_factory=dict)
    namespace: str | None = None
    address: str = "203.0.113.7"


PROMETHEUS = Endpoint({"app.kubernetes.io/name": "prometheus"}, "monitoring")
STRANGERS = [
    Endpoint({"app": "anything"}, "cells"),
    Endpoint({"app.kubernetes.io/name": "prometheus"}, "cells"),
    Endpoint({"app": "anything"}, "monitoring"),
    Endpoint({"app": "anything"}, "elsewhere"),
    Endpoint(),
]
DNS = Endpoint({"k8s-app": "kube-dns"}, "kube-system")
COLLECTOR = Endpoint({"app": "collector"}, "observability")
TRITON_PORTS, GATEWAY_PORTS = (8000, 8001, 8002), (50051, 50052, 9464)


def pod(release: Release, suffix: str, namespace: str = "cells") -> Endpoint:
    return Endpoint(release.pod(suffix)["metadata"]["labels"], namespace)


def may_reach(release: Release, source: Endpoint, target: Endpoint, port: int, protocol: str = "TCP") -> bool:
    """Both sides must allow it; a side that no policy selects allows everything."""
    return _allows(release, "Egress", source, target, port, protocol) and _allows(
        release, "Ingress", target, source, port, protocol
    )


def _allows(release: Release, direction: str, subject: Endpoint, peer: Endpoint, port: int, protocol: str) -> bool:
    policies = [
        policy["spec"]
        for policy in release.all("NetworkPolicy")
        if subject.namespace == "cells"  # where every policy of the release is
        and direction in policy["spec"]["policyTypes"]
        and selects(policy["spec"]["podSelector"], subject.labels)
    ]
    rules = [rule for policy in policies for rule in policy.get(direction.lower(), [])]
    peers = "from" if direction == "Ingress" else "to"
    return not policies or any(
        _port_matches(rule.get("ports", []), port, protocol)
        and (not rule.get(peers) or any(_is_peer(entry, peer) for entry in rule[peers]))
        for rule in rules
    )


def _port_matches(ports: list[Object], port: int, protocol: str) -> bool:
    return not ports or any(entry["port"] == port and entry.get("protocol", "TCP") == protocol for entry in ports)


def _is_peer(entry: Object, peer: Endpoint) -> bool:
    if "ipBlock" in entry:
        return peer.namespace is None and ip_address(peer.address) in ip_network(entry["ipBlock"]["cidr"])
    if peer.namespace is None:
        return False
    name = {"kubernetes.io/metadata.name": peer.namespace}
    in_namespace = (
        selects(entry["namespaceSelector"], name) if "namespaceSelector" in entry else peer.namespace == "cells"
    )
    return in_namespace and selects(entry.get("podSelector", {}), peer.labels)
