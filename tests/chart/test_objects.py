"""Every object is one that Kubernetes takes, and they fit together."""

from __future__ import annotations

from itertools import pairwise

import pytest

from .conftest import CHART, CI, ROOT, VERSIONS, RenderError
from .objects import containers, selects

# Kinds that other people's operators bring; their shape is checked in test_routes.py and test_monitoring.py.
FOREIGN = {"ServiceMonitor", "PrometheusRule", "GRPCRoute", "HTTPRoute", "Certificate"}


@pytest.mark.parametrize("ci", CI)
def test_lint(helm, ci):
    result = helm("lint", "--strict", str(CHART), "--values", str(CHART / "ci" / f"{ci}-values.yaml"))
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("version", VERSIONS)
def test_kubernetes_takes_every_object(render, validate, version):
    kinds = set()
    for ci in CI:
        for thing in render(ci).objects:
            kinds.add(thing["kind"])
            if thing["kind"] not in FOREIGN:
                assert validate(thing, version) == version
    assert kinds >= FOREIGN | {
        "Deployment",
        "Service",
        "HorizontalPodAutoscaler",
        "NetworkPolicy",
        "Ingress",
        "Pod",
        "Job",
    }


def test_versions_are_those_from_the_chart_on():
    assert VERSIONS[0] == "1.30"
    assert all(int(b.split(".")[1]) == int(a.split(".")[1]) + 1 for a, b in pairwise(VERSIONS))


@pytest.mark.parametrize("ci", CI)
def test_all_versions_get_the_same_objects(render, ci):
    assert render(ci, kube_version=f"v{VERSIONS[0]}.0").text == render(ci).text


def test_older_kubernetes_is_refused(render):
    render(kube_version="v1.30.0")
    render(kube_version="v1.30.4-gke.1")
    with pytest.raises(RenderError, match=r"1\.29"):
        render(kube_version="v1.29.9")


@pytest.mark.parametrize("ci", CI)
def test_objects_are_in_the_release_and_labelled(render, ci):
    for thing in render(ci, release="lab").objects:
        assert thing["metadata"].get("namespace", "cells") in ("cells", "monitoring")
        assert thing["metadata"]["labels"]["app.kubernetes.io/instance"] == "lab"
        assert thing["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "Helm"


@pytest.mark.parametrize("ci", CI)
def test_selectors_select_pods(render, ci):
    release = render(ci)
    pods = [pod["metadata"]["labels"] for _, pod in release.pods()]

    def selected(selector: dict) -> int:
        return sum(selects(selector, labels) for labels in pods)

    for deployment in release.all("Deployment"):
        template = deployment["spec"]["template"]
        assert selects(deployment["spec"]["selector"], template["metadata"]["labels"])
        assert selected(deployment["spec"]["selector"]) == 1, "a Deployment would take another's pods for its own"
        for constraint in template["spec"]["topologySpreadConstraints"]:
            assert selects(constraint["labelSelector"], template["metadata"]["labels"])
    for service in release.all("Service"):
        assert selected({"matchLabels": service["spec"]["selector"]}) == 1
    for budget in release.all("PodDisruptionBudget"):
        assert selected(budget["spec"]["selector"]) == 1
    for policy in release.all("NetworkPolicy"):
        assert selected(policy["spec"]["podSelector"]) == 1
    for monitor in release.all("ServiceMonitor"):
        labels = [service["metadata"]["labels"] for service in release.all("Service")]
        assert sum(selects(monitor["spec"]["selector"], entry) for entry in labels) == 1
    for scaler in release.all("HorizontalPodAutoscaler"):
        assert scaler["spec"]["scaleTargetRef"]["name"] in [d["metadata"]["name"] for d in release.all("Deployment")]


@pytest.mark.parametrize("ci", CI)
def test_ports_exist_where_services_point(render, ci):
    release = render(ci)
    for service in release.all("Service"):
        (pod,) = (
            pod
            for _, pod in release.pods()
            if selects({"matchLabels": service["spec"]["selector"]}, pod["metadata"]["labels"])
        )
        ports = {port["containerPort"] for container in containers(pod) for port in container.get("ports", [])}
        for port in service["spec"]["ports"]:
            # Numbers: before 1.33 Kubernetes does not find named ports of native sidecars.
            assert port["targetPort"] in ports
    for policy in release.all("NetworkPolicy"):
        for rule in [*policy["spec"].get("ingress", []), *policy["spec"].get("egress", [])]:
            assert all(isinstance(port["port"], int) for port in rule["ports"])


@pytest.mark.parametrize("ci", CI)
def test_ports_of_a_pod_differ(render, ci):
    for _, pod in render(ci).pods():
        ports = [port for container in containers(pod) for port in container.get("ports", [])]
        for key in ("name", "containerPort"):
            assert len({port[key] for port in ports}) == len(ports)
        assert all(len(port["name"]) <= 15 for port in ports)


@pytest.mark.parametrize("release", ["a", "cellserve", "x" * 53, f"{'y' * 43}-{'z' * 9}"])
@pytest.mark.parametrize("ci", ["everything", "gpu", "sidecar"])
def test_names_fit(render, ci, release):
    rendered = render(ci, release=release)
    for thing in rendered.objects:
        assert len(thing["metadata"]["name"]) <= 63
        assert not thing["metadata"]["name"].endswith("-")
        assert all(len(value) <= 63 for value in thing["metadata"]["labels"].values())


@pytest.mark.parametrize(
    ("one", "other"), [("blue", "green"), ("cellserve", "cellserve-2"), (f"{'x' * 50}-a", f"{'x' * 50}-b")]
)
@pytest.mark.parametrize("ci", ["everything", "gpu", "sidecar"])
def test_releases_of_one_namespace_do_not_meet(render, ci, one, other):
    def names(release: str) -> set[tuple[str, str]]:
        return {(thing["kind"], thing["metadata"]["name"]) for thing in render(ci, release=release).objects}

    assert names(one)
    assert not names(one) & names(other)


def test_dashboards_of_two_namespaces_do_not_meet(render):
    names = {render("everything", namespace=ns).one("ConfigMap", "-dashboard")["metadata"]["name"] for ns in "ab"}
    assert len(names) == 2


def test_names_can_be_chosen(render):
    assert render(release="lab").one("Deployment", "-triton")["metadata"]["name"] == "lab-cellserve-triton"
    assert render(release="cellserve-lab").one("Deployment", "-triton")["metadata"]["name"] == "cellserve-lab-triton"
    chosen = render(values={"fullnameOverride": "cells"})
    assert chosen.one("Deployment", "-gateway")["metadata"]["name"] == "cells-gateway"
    assert "dns:///cells-triton.cells.svc" in chosen.settings()["CELLSERVE_TRITON_ADDRESS"]


def test_names_of_digits_stay_text(render, validate):
    secrets = {"secretName": "1", "clientCA": {"secretName": "2"}}
    release = render(
        "everything",
        {
            "tls": secrets,
            "auth": {"tokensSecretName": "3"},
            "serviceAccount": {"name": "4"},
            "gateway": {"priorityClassName": "5"},
            "models": {"objectStorage": {"secretName": "6"}},
        },
        release="7",
        kube_version="v1.30.0",
    )
    for thing in release.objects:
        if thing["kind"] not in FOREIGN:
            validate(thing, "1.30")


def test_licence_travels_with_the_chart():
    assert (CHART / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()
