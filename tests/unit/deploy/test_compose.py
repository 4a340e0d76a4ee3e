"""deploy/compose.yaml follows the Compose specification, and is as closed as the chart."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from compose_spec import PyCompose

DEPLOY = Path(__file__).resolve().parents[3] / "deploy"
TEXT = (DEPLOY / "compose.yaml").read_text()
SERVICES = yaml.safe_load(TEXT)["services"]
VALUES = yaml.safe_load((DEPLOY / "helm" / "cellserve" / "values.yaml").read_text())


def test_it_follows_the_specification():
    PyCompose.from_yaml(yaml.safe_dump(yaml.safe_load(TEXT))).validate()


def test_the_specification_is_checked():
    broken = yaml.safe_load(TEXT)
    broken["services"]["gateway"]["port"] = broken["services"]["gateway"].pop("ports")
    with pytest.raises(ValueError, match="port"):
        PyCompose.from_yaml(yaml.safe_dump(broken))


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_closed(name):
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))


def test_only_the_gateway_has_ports():
    assert [name for name in SERVICES if "ports" in SERVICES[name]] == ["gateway"]


@pytest.mark.parametrize("name", SERVICES)
def test_an_image_is_built_of_a_dockerfile_with_a_health_check(name):
    build = SERVICES[name]["build"]
    dockerfile = (DEPLOY / build["context"] / build["dockerfile"]).read_text()
    assert "\nHEALTHCHECK " in dockerfile
    assert SERVICES[name]["image"] == f"cellserve/{Path(build['dockerfile']).stem}:{build['args']['VERSION']}"


def test_the_memory_is_that_of_the_chart():
    limits = {name: service["deploy"]["resources"]["limits"]["memory"] for name, service in SERVICES.items()}
    resources = {"gateway": VALUES["gateway"]["resources"], "triton": VALUES["triton"]["cpu"]["resources"]}
    assert {name: f"{limit}i" for name, limit in limits.items()} == {
        name: value["limits"]["memory"] for name, value in resources.items()
    }
