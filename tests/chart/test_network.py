"""Who may talk to whom, and the ways in from outside."""

from __future__ import annotations

import pytest

from .network import COLLECTOR, DNS, GATEWAY_PORTS, PROMETHEUS, STRANGERS, TRITON_PORTS, Endpoint, may_reach, pod
from .objects import GATEWAY


@pytest.mark.parametrize("ci", ["minimal", "cpu", "gpu", "everything"])
def test_triton_is_private(render, ci):
    release = render(ci)
    gateway, triton = pod(release, "-gateway"), pod(release, "-triton")
    assert [port for port in TRITON_PORTS if may_reach(release, gateway, triton, port)] == [8001]
    assert [port for port in TRITON_PORTS if may_reach(release, PROMETHEUS, triton, port)] == [8002]
    for stranger in [*STRANGERS, pod(release, "-test-segment")]:
        assert not any(may_reach(release, stranger, triton, port) for port in TRITON_PORTS)


def test_gateways_of_another_release_are_strangers(render):
    release, other = render("minimal"), render("minimal", release="cellserve-2")
    assert not may_reach(release, pod(other, "-gateway"), pod(release, "-triton"), 8001)


def test_triton_calls_nobody(render):
    release = render()
    triton = pod(release, "-triton")
    for target in [*STRANGERS, DNS, pod(release, "-gateway")]:
        assert not any(may_reach(release, triton, target, port, "UDP") for port in (53, 443, 50051))
        assert not any(may_reach(release, triton, target, port) for port in (53, 80, 443, 50051))


@pytest.mark.parametrize("ci", ["minimal", "gpu", "sidecar"])
def test_gateway_serves_everyone_and_tells_prometheus_alone(render, ci):
    release = render(ci)
    gateway = pod(release, "-gateway")
    ports = GATEWAY_PORTS + TRITON_PORTS
    for stranger in STRANGERS:
        assert [port for port in ports if may_reach(release, stranger, gateway, port)] == [50051]
    seen = [port for port in ports if may_reach(release, PROMETHEUS, gateway, port)]
    assert seen == ([50051, 9464, 8002] if ci == "sidecar" else [50051, 9464])


def test_clients_can_be_narrowed(render):
    release = render("everything")
    gateway = pod(release, "-gateway")
    assert may_reach(release, Endpoint({}, "ingress"), gateway, 50051)
    assert may_reach(release, pod(release, "-test-segment"), gateway, 50051), "helm test"
    for stranger in STRANGERS:
        assert not any(may_reach(release, stranger, gateway, port) for port in GATEWAY_PORTS)


def test_helm_test_reaches_gateway_and_names_only(render):
    release = render("everything")
    tester = pod(release, "-test-segment")
    assert may_reach(release, tester, DNS, 53, "UDP")
    assert [port for port in GATEWAY_PORTS if may_reach(release, tester, pod(release, "-gateway"), port)] == [50051]
    assert not any(may_reach(release, tester, Endpoint(), port) for port in (80, 443))
    assert not any(may_reach(release, stranger, tester, 50051) for stranger in STRANGERS)


def test_gateway_calls_names_triton_and_nobody_else(render):
    release = render()
    gateway = pod(release, "-gateway")
    assert may_reach(release, gateway, DNS, 53, "UDP")
    assert may_reach(release, gateway, DNS, 53)
    for target in [*STRANGERS, COLLECTOR]:
        assert not any(may_reach(release, gateway, target, port) for port in (80, 443, 4317, 8001))


def test_gateway_reaches_the_collector_that_it_is_told(render):
    release = render("everything", {"tracing": {"endpoint": "https://collector.observability:14317"}})
    gateway = pod(release, "-gateway")
    assert release.settings()["CELLSERVE_OTLP_ENDPOINT"] == "https://collector.observability:14317"
    assert may_reach(release, gateway, COLLECTOR, 14317)
    assert not may_reach(release, gateway, COLLECTOR, 4317)
    assert not may_reach(release, gateway, STRANGERS[0], 14317)


@pytest.mark.parametrize(
    ("ci", "suffix"), [("everything", "-gateway"), ("everything", "-triton"), ("sidecar", "-gateway")]
)
def test_models_are_fetched_from_where_they_are(render, ci, suffix):
    release = render(ci)
    source = pod(release, suffix)
    inside, outside = Endpoint(address="10.20.1.1"), Endpoint(address="10.21.0.1")
    assert may_reach(release, source, DNS, 53, "UDP")
    assert may_reach(release, source, inside, 443)
    assert may_reach(release, source, outside, 443) == (ci == "sidecar")
    assert not may_reach(release, source, inside, 80)


def test_ports_of_name_servers_and_storage_can_be_chosen(render):
    release = render("everything", {"networkPolicy": {"dnsPorts": [5353], "objectStoragePorts": [9000]}})
    triton = pod(release, "-triton")
    assert may_reach(release, triton, DNS, 5353, "UDP")
    assert not may_reach(release, triton, DNS, 53, "UDP")
    assert may_reach(release, triton, Endpoint(address="10.20.1.1"), 9000)


def test_policies_can_be_left_out(render):
    assert not render("everything", {"networkPolicy": {"enabled": False}}).all("NetworkPolicy")


@pytest.mark.parametrize("ci", ["minimal", "cpu"])
def test_services(render, ci):
    release = render(ci)
    gateway = release.one("Service", "-gateway")["spec"]
    assert gateway["clusterIP"] == "None", "clients balance themselves"
    assert gateway["publishNotReadyAddresses"] is False
    assert {port["name"]: port["port"] for port in gateway["ports"]} == {"grpc": 50051, "metrics": 9464}
    assert ("appProtocol" in gateway["ports"][0]) == (ci == "minimal"), "h2c is HTTP/2 without TLS"
    triton = release.one("Service", "-triton")["spec"]
    assert {port["name"]: port["port"] for port in triton["ports"]} == {"grpc": 8001, "metrics": 8002}
    assert not [service for service in release.all("Service") if service["spec"].get("type")]


def test_triton_of_a_sidecar_is_no_service_but_for_metrics(render):
    ports = render("sidecar").one("Service", "-triton")["spec"]["ports"]
    assert [port["port"] for port in ports] == [8002]


HTTP = {"http": {"enabled": True}}


@pytest.mark.parametrize("ci", ["minimal", "cpu", "gpu", "sidecar"])
def test_the_rest_interface_is_closed_unless_told(render, ci):
    release = render(ci)
    assert "CELLSERVE_HTTP_PORT" not in release.settings()
    assert 8080 not in [port["containerPort"] for port in release.container("-gateway", GATEWAY)["ports"]]
    assert 8080 not in [port["port"] for port in release.one("Service", "-gateway")["spec"]["ports"]]
    assert not any(may_reach(release, stranger, pod(release, "-gateway"), 8080) for stranger in STRANGERS)
    assert not release.all("HTTPRoute")


@pytest.mark.parametrize("ci", ["minimal", "cpu", "gpu", "sidecar"])
def test_the_rest_interface_can_be_opened(render, ci):
    release = render(ci, HTTP)
    assert release.settings()["CELLSERVE_HTTP_PORT"] == "8080"
    assert 8080 in [port["containerPort"] for port in release.container("-gateway", GATEWAY)["ports"]]
    assert 8080 in [port["port"] for port in release.one("Service", "-gateway")["spec"]["ports"]]
    assert all(may_reach(release, stranger, pod(release, "-gateway"), 8080) for stranger in STRANGERS)
    assert not release.all("HTTPRoute") + release.all("Ingress")


def test_callers_of_the_rest_interface_can_be_narrowed(render):
    release = render("everything")
    gateway = pod(release, "-gateway")
    assert may_reach(release, Endpoint({"app": "proxy"}, "ingress"), gateway, 8080)
    for stranger in [*STRANGERS, PROMETHEUS, Endpoint({}, "ingress")]:
        assert not may_reach(release, stranger, gateway, 8080)


def test_ways_to_the_rest_interface(render):
    release = render("everything")
    settings = release.settings()
    assert settings["CELLSERVE_HTTP_ROOT_PATH"] == "/cells"
    assert settings["CELLSERVE_HTTP_ALLOWED_ORIGINS"] == "https://lab.example.com https://viewer.example.com"
    service = release.one("Service", "-gateway")
    ingress, route = release.one("Ingress", "-http"), release.one("HTTPRoute")
    ((path,),) = (rule["http"]["paths"] for rule in ingress["spec"]["rules"])
    assert (path["path"], path["backend"]["service"]["name"]) == ("/cells", service["metadata"]["name"])
    assert path["backend"]["service"]["port"]["name"] in [port["name"] for port in service["spec"]["ports"]]
    assert ingress["metadata"]["annotations"]["nginx.ingress.kubernetes.io/backend-protocol"] == "HTTPS"
    (rule,) = route["spec"]["rules"]
    assert rule["matches"] == [{"path": {"type": "PathPrefix", "value": "/cells"}}]
    assert rule["backendRefs"] == [{"name": service["metadata"]["name"], "port": 8080}]
    plain = render("everything", {"http": {"rootPath": ""}}).one("Ingress", "-http")
    assert plain["spec"]["rules"][0]["http"]["paths"][0]["path"] == "/"


@pytest.mark.parametrize("kind", ["LoadBalancer", "NodePort", "ClusterIP"])
def test_external_service(render, kind):
    release = render("everything", {"gateway": {"externalService": {"type": kind, "port": 443}}})
    spec = release.one("Service", "-external")["spec"]
    assert spec["type"] == kind
    ports = [(port["port"], port["targetPort"]) for port in spec["ports"]]
    assert ports == [(443, 50051), (8080, 8080)], "metrics stay inside"
    closed = render(
        "everything", {"http": {"enabled": False, "ingress": {"enabled": False}, "route": {"enabled": False}}}
    )
    assert [port["targetPort"] for port in closed.one("Service", "-external")["spec"]["ports"]] == [50051]
    assert ("loadBalancerSourceRanges" in spec) == (kind == "LoadBalancer")


def test_ingress(render):
    release = render("everything")
    ingress = release.one("Ingress", "-gateway")
    (rule,) = ingress["spec"]["rules"]
    assert rule["host"] == "cells.example.com"
    (path,) = rule["http"]["paths"]
    target = path["backend"]["service"]
    service = release.one("Service", target["name"])
    assert target["port"]["name"] in [port["name"] for port in service["spec"]["ports"]]
    assert ingress["spec"]["tls"] == [{"secretName": "cells-example-com", "hosts": ["cells.example.com"]}]
    # The file of values that people copy from: gRPC to the pods, and our messages fit through.
    assert ingress["metadata"]["annotations"]["nginx.ingress.kubernetes.io/backend-protocol"] == "GRPCS"
    assert ingress["metadata"]["annotations"]["nginx.ingress.kubernetes.io/proxy-body-size"] == "0"
    anonymous = render("everything", {"ingress": {"host": "", "tlsSecretName": "", "className": ""}}).one(
        "Ingress", "-gateway"
    )
    assert set(anonymous["spec"]) == {"rules"}
    assert set(anonymous["spec"]["rules"][0]) == {"http"}


def test_grpc_route(render):
    release = render("everything")
    route = release.one("GRPCRoute")
    assert route["apiVersion"] == "gateway.networking.k8s.io/v1"
    assert set(route["spec"]) == {"parentRefs", "hostnames", "rules"}
    assert route["spec"]["parentRefs"] == [{"name": "shared", "namespace": "ingress"}]
    assert route["spec"]["hostnames"] == ["cells.example.com"]
    ((target,),) = (rule["backendRefs"] for rule in route["spec"]["rules"])
    assert target["port"] in [port["port"] for port in release.one("Service", target["name"])["spec"]["ports"]]


@pytest.mark.parametrize("ci", ["minimal", "cpu", "gpu", "sidecar"])
def test_no_way_in_from_outside_unless_told(render, ci):
    release = render(ci)
    assert not release.all("Ingress") + release.all("GRPCRoute")
    assert release.container("-gateway", GATEWAY)
