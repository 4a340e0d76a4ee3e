"""Metrics, rules, dashboard, and scaling on them."""

from __future__ import annotations

import json

import pytest
import yaml

from .conftest import CHART
from .objects import containers


@pytest.mark.parametrize("ci", ["cpu", "gpu", "sidecar", "everything"])
def test_service_monitors(render, ci):
    release = render(ci, release="lab")
    monitors = release.all("ServiceMonitor")
    assert len(monitors) == 2
    for monitor in monitors:
        assert monitor["apiVersion"] == "monitoring.coreos.com/v1"
        assert set(monitor["spec"]) == {"selector", "endpoints"}
        (endpoint,) = monitor["spec"]["endpoints"]
        assert endpoint["path"] == "/metrics"
        assert endpoint["relabelings"] == [{"targetLabel": "release", "replacement": "lab"}]
        (service,) = (
            service
            for service in release.all("Service")
            if monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
        )
        assert endpoint["port"] in [port["name"] for port in service["spec"]["ports"]]
        # `job` is the Service's name.
        assert service["metadata"]["name"] == monitor["metadata"]["name"]
    names = {monitor["metadata"]["name"] for monitor in monitors}
    assert {name.rpartition("-")[2] for name in names} == {"gateway", "triton"}


def test_rules_are_those_of_the_release(render):
    rule = render("everything", release="lab", namespace="imaging").one("PrometheusRule")
    assert rule["apiVersion"] == "monitoring.coreos.com/v1"
    assert rule["metadata"]["labels"]["release"] == "kube-prometheus-stack"
    source = (CHART / "files" / "rules.yaml").read_text()
    own = 'namespace="cellserve",release="cellserve"'
    assert own in source
    assert "RUNBOOK_BASE" in source
    text = yaml.safe_dump(rule)
    assert own not in text
    assert "RUNBOOK_BASE" not in text
    replaced = source.replace(own, 'namespace="imaging",release="lab"')
    replaced = replaced.replace("RUNBOOK_BASE", "https://wiki.example.com/cellserve")
    assert rule["spec"]["groups"] == yaml.safe_load(replaced)["groups"]
    assert any("{{" in str(entry) for group in rule["spec"]["groups"] for entry in group["rules"])


def test_alerts_have_no_link_to_runbooks_that_are_nowhere(render):
    source = yaml.safe_load((CHART / "files" / "rules.yaml").read_text())
    groups = render("gpu").one("PrometheusRule")["spec"]["groups"]
    alerts = [rule for group in groups for rule in group["rules"] if "alert" in rule]
    assert alerts
    assert not [alert for alert in alerts if "runbook_url" in alert.get("annotations", {})]
    assert [rule.get("expr") is not None for group in groups for rule in group["rules"]]
    assert [len(group["rules"]) for group in groups] == [len(group["rules"]) for group in source["groups"]]


def test_dashboard(render):
    dashboard = render("everything").one("ConfigMap", "-dashboard")
    assert dashboard["metadata"]["namespace"] == "monitoring"
    assert dashboard["metadata"]["labels"]["grafana_dashboard"] == "1"
    ((name, text),) = dashboard["data"].items()
    assert name.endswith(".json")
    assert json.loads(text) == json.loads((CHART / "files" / "dashboard.json").read_text())
    assert json.loads(text)["title"]


def test_prometheus_adapter(render):
    config = yaml.safe_load(render("everything").one("ConfigMap", "-prometheus-adapter")["data"]["config.yaml"])
    text = json.dumps(config)
    assert config == yaml.safe_load((CHART / "files" / "prometheus-adapter.yaml").read_text())
    for scaler in render("sidecar").all("HorizontalPodAutoscaler"):
        for metric in scaler["spec"]["metrics"]:
            for kind in ("pods", "external"):
                if kind in metric:
                    assert metric[kind]["metric"]["name"] in text, "the adapter must know what the scaler asks for"


@pytest.mark.parametrize("ci", ["minimal", "cpu", "gpu", "sidecar", "everything"])
def test_scaler_or_replicas_never_both(render, ci):
    release = render(ci)
    scaled = {scaler["spec"]["scaleTargetRef"]["name"] for scaler in release.all("HorizontalPodAutoscaler")}
    for deployment in release.all("Deployment"):
        assert ("replicas" in deployment["spec"]) != (deployment["metadata"]["name"] in scaled)
    assert bool(scaled) == (ci in ("gpu", "sidecar"))


def test_scalers(render):
    release = render("gpu", release="lab")
    gateway = release.one("HorizontalPodAutoscaler", "-gateway")["spec"]
    cpu, saturation = gateway["metrics"]
    assert cpu["containerResource"]["container"] in [entry["name"] for entry in containers(release.pod("-gateway"))]
    assert cpu["containerResource"]["target"] == {"type": "Utilization", "averageUtilization": 70}
    assert saturation["pods"]["metric"]["name"] == "cellserve_gateway_saturation"
    assert saturation["pods"]["target"] == {"type": "AverageValue", "averageValue": "500m"}
    triton = release.one("HorizontalPodAutoscaler", "-triton")["spec"]
    (wait,) = triton["metrics"]
    assert wait["external"]["metric"]["selector"] == {"matchLabels": {"release": "lab"}}
    assert wait["external"]["target"] == {"type": "Value", "value": "4"}
    for spec in (gateway, triton):
        assert spec["behavior"]["scaleDown"]["stabilizationWindowSeconds"] == 600
        assert spec["behavior"]["scaleUp"]["stabilizationWindowSeconds"] == 0


def test_sidecars_scale_on_everything(render):
    release = render("sidecar")
    metrics = release.one("HorizontalPodAutoscaler")["spec"]["metrics"]
    assert [metric["type"] for metric in metrics] == ["ContainerResource", "Pods", "External"]
    assert len(release.all("PodDisruptionBudget")) == len(release.all("Deployment")) == 1


@pytest.mark.parametrize("tier", ["gateway", "triton"])
def test_disruption_budgets(render, tier):
    spec = render().one("PodDisruptionBudget", tier)["spec"]
    assert spec["maxUnavailable"] == 1
    assert spec["unhealthyPodEvictionPolicy"] == "AlwaysAllow", "a pod that builds engines must not hold up a node"
    release = render(values={tier: {"podDisruptionBudget": {"enabled": False}}})
    assert [budget["metadata"]["name"].rpartition("-")[2] for budget in release.all("PodDisruptionBudget")] != [tier]
    assert len(release.all("PodDisruptionBudget")) == 1


def test_updates(render):
    release = render("gpu")
    strategies = {d["metadata"]["name"].rpartition("-")[2]: d["spec"]["strategy"] for d in release.all("Deployment")}
    assert strategies["gateway"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}
    assert strategies["triton"]["rollingUpdate"] == {"maxUnavailable": 1, "maxSurge": 0}
