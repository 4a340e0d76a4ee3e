"""values.yaml, the schema and the README generated from it, and whether each value does anything."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import reduce
from typing import Any

import jsonschema
import pytest
import yaml
from cellserve_gateway.settings import PREFIX, Settings, refuse_unknown_settings

from deploy.helm import generate

from .conftest import CHART, CI, RenderError

SCHEMA = json.loads((CHART / "values.schema.json").read_text())
VALUES = yaml.safe_load((CHART / "values.yaml").read_text())


def nested(path: str, value: object) -> dict[str, Any]:
    """{"a": {"b": value}} for "a.b"."""
    return reduce(lambda inner, key: {key: inner}, reversed(path.split(".")), value)  # type: ignore[return-value]


def leaves(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    for name, entry in schema["properties"].items():
        if "properties" in entry:
            yield from leaves(entry, f"{path}{name}.")
        elif f"{path}{name}" != "global":
            yield f"{path}{name}", entry


LEAVES = dict(leaves(SCHEMA))


def candidates(entry: dict[str, Any]) -> list[object]:
    """Values that the schema allows: its examples, or what the type suggests, and the default."""
    for reference in entry.get("allOf", []):
        entry = SCHEMA["definitions"][reference["$ref"].rpartition("/")[2]] | entry
    default = entry["default"]
    if "examples" in entry:
        found = entry["examples"]
    elif "enum" in entry:
        found = entry["enum"]
    elif isinstance(default, bool):
        found = [not default]
    elif isinstance(default, int):
        found = [default + 1]
    else:
        found = [f"{default}x" if "pattern" not in entry else "0" * 64]
    return [*found, default]


def test_generated_files_are_fresh():
    for path, content in generate.outputs().items():
        assert path.read_text() == content, f"{path.name}: run deploy/helm/generate.py"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\n", "a: no comment"),
        ("# About a.\n\na: 1\n", "a: no comment"),
        ("# About a.\na:\n  b: 1\n", "a.b: no comment"),
        ("# @ {minimum: 0}\na: 1\n", "a: no comment"),
        ("# About a.\n# @ {ref: nonsense}\na: 1\n", "a: no shape is called"),
    ],
)
def test_a_value_without_comment_is_an_error(text, message):
    with pytest.raises(generate.ValuesError, match=message):
        generate.values_schema(text)


def test_comments_become_schema():
    schema = generate.values_schema("# First\n# second.\n# @ {minimum: 2}\na: 3\n# G.\ng:\n  # B.\n  b: true\n")
    assert schema["properties"]["a"] == {"description": "First second.", "default": 3, "type": "integer", "minimum": 2}
    assert schema["properties"]["g"]["properties"]["b"]["type"] == "boolean"
    assert schema["additionalProperties"] is schema["properties"]["g"]["additionalProperties"] is False
    assert schema["required"] == ["a", "g"]


def test_schema_is_one_and_defaults_meet_it():
    jsonschema.Draft7Validator.check_schema(SCHEMA)
    jsonschema.Draft7Validator(SCHEMA).validate(VALUES)
    assert len(LEAVES) > 100


@pytest.mark.parametrize("ci", CI)
def test_ready_made_values_change_something_each(ci):
    """A file of values that repeats a default would stop to say what it does when the default changes."""
    text = yaml.safe_load((CHART / "ci" / f"{ci}-values.yaml").read_text())
    defaults = {path: entry["default"] for path, entry in LEAVES.items()}

    def stated(node: dict[str, Any], path: str = "") -> Iterator[tuple[str, object]]:
        for name, value in node.items():
            if f"{path}{name}" in defaults:
                yield f"{path}{name}", value
            else:
                yield from stated(value, f"{path}{name}.")

    assert not [path for path, value in stated(text) if value == defaults[path]]


@pytest.fixture(scope="session")
def effects(render) -> dict[str, str]:
    """For each value, the first file of values whose objects change with it; "" if there is none."""

    def first(path: str) -> str:
        for ci in ["everything", *(name for name in CI if name != "everything")]:
            for value in candidates(LEAVES[path]):
                try:
                    if render(ci, nested(path, value)).text != render(ci).text:
                        return ci
                except RenderError as error:
                    if "don't meet the specifications of the schema" in str(error):
                        return f"{value!r} is refused: {error}"
        return ""

    with ThreadPoolExecutor() as threads:
        return dict(zip(LEAVES, threads.map(first, LEAVES), strict=True))


@pytest.mark.parametrize("path", LEAVES)
def test_every_value_does_something(effects, path):
    assert effects[path] in CI, f"{path} changes nothing, or {effects[path]}"


@pytest.mark.parametrize(
    "path",
    [
        "gatway",
        "topolgy",
        "gateway.replica",
        "gateway.image.tagg",
        "gateway.autoscaling.minReplica",
        "gateway.settings.max_request_in_flight",
        "gateway.settings.MAX_REQUESTS_IN_FLIGHT",
        "gateway.resources.limit",
        "triton.gpu.image.digests",
        "triton.cpu.engineCache",
        "triton.resources",
        "models.objectStorage.sha",
        "tls.clientCA.secret",
        "tls.certManager.issuerRef",
        "networkPolicy.enable",
        "metrics.serviceMonitor.label",
    ],
)
def test_misspelt_values_are_refused(render, path):
    with pytest.raises(RenderError, match=f"'{path.rpartition('.')[2]}' not allowed"):
        render(values=nested(path, 1))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("topology", "pod"),
        ("gateway.replicas", -1),
        ("gateway.replicas", "2"),
        ("gateway.replicas", 1.5),
        ("gateway.replicas", None),
        ("gateway.image.digest", "sha256:12"),
        ("gateway.image.tag", "a b"),
        ("gateway.settings.log_level", "loud"),
        ("gateway.settings.max_requests_in_flight", 0),
        ("gateway.settings.max_requests_in_flight", "many"),
        ("gateway.resources.limits.memory", "much"),
        ("gateway.rollingUpdate.maxSurge", "half"),
        ("gateway.podLabels", {"app.kubernetes.io/name": "mine"}),
        ("gateway.podLabels", {"a": 1}),
        ("gateway.extraEnv", [{"value": "x"}]),
        ("gateway.externalService.port", 70000),
        ("triton.profile", "tpu"),
        ("triton.extraArgs", "--log-verbose=1"),
        ("triton.exitTimeoutSeconds", -5),
        ("models.objectStorage.sha256", "abc"),
        ("models.objectStorage.remote", "bucket"),
        ("models.persistentVolumeClaim.subPath", "/absolute"),
        ("tracing.endpoint", "collector:4317"),
        ("tls.secretName", "Upper_Case"),
        ("fullnameOverride", "1st"),
        ("metrics.serviceMonitor.interval", "often"),
        ("networkPolicy.dnsPorts", []),
    ],
)
def test_wrong_values_are_refused(render, path, value):
    with pytest.raises(RenderError, match="don't meet the specifications of the schema"):
        render(values=nested(path, value))


def test_a_parent_chart_may_have_globals(render):
    render(values={"global": {"imageRegistry": "r.example.com"}})


def test_settings_are_the_gateways_own():
    offered = set(SCHEMA["definitions"]["gatewaySettings"]["properties"])
    assert offered < set(Settings.model_fields)
    assert {"max_requests_in_flight", "default_model", "log_level", "worker_threads"} <= offered


def test_chart_sets_the_settings_that_it_does_not_offer(render):
    offered = set(SCHEMA["definitions"]["gatewaySettings"]["properties"])
    given = {name.removeprefix(PREFIX).lower() for name in render("everything").settings() if name.startswith(PREFIX)}
    kept = set(Settings.model_fields) - offered
    assert given - offered == kept - {"ready_file"}, "that file is for launchers on the same machine"


@pytest.mark.parametrize("ci", CI)
def test_the_gateway_takes_what_its_pods_are_given(render, monkeypatch, ci):
    given = {name: "4" if isinstance(value, dict) else value for name, value in render(ci).settings().items()}
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    settings = Settings()
    refuse_unknown_settings()
    assert (settings.host, settings.port, settings.monitoring_port) == ("0.0.0.0", 50051, 9464)
    assert settings.triton_address == given["CELLSERVE_TRITON_ADDRESS"]


def test_every_setting_arrives(render):
    values = {"integer": 123456789, "number": 0.25, "boolean": True}
    given = {
        name: field["enum"][-1] if "enum" in field else values.get(field["type"], "other")
        for name, field in SCHEMA["definitions"]["gatewaySettings"]["properties"].items()
    }
    arrived = render(values={"gateway": {"settings": given}}).settings()
    texts = {name: arrived[f"{PREFIX}{name.upper()}"] for name in given}
    settings = Settings.model_validate_strings(texts)
    assert {name: getattr(settings, name) for name in given} == given


def test_readme_has_every_value():
    readme = (CHART / "README.md").read_text()
    assert all(f"| `{path}` |" in readme for path in LEAVES)
