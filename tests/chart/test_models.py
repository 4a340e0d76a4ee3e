"""Where models come from, and who may read the secrets of the release."""

from __future__ import annotations

import subprocess
import sys

import pytest
import typer
from cellserve.cli import app

from .conftest import ROOT
from .objects import GATEWAY, TRITON, containers, environment, mounts, volume

SHA256 = "0123456789abcdef" * 4


def test_models_of_the_images(render):
    for name, pod in render().pods():
        assert "initContainers" not in pod["spec"], name
        assert all("/models" not in mounts(container) for container in containers(pod))


def test_models_of_a_claim(render):
    release = render("cpu")
    for suffix, name in (("-gateway", GATEWAY), ("-triton", TRITON)):
        mount = mounts(release.container(suffix, name))["/models"]
        assert mount == {"name": "models", "mountPath": "/models", "readOnly": True, "subPath": "2026"}
        claim = {"claimName": "cellserve-models", "readOnly": True}
        assert volume(release.pod(suffix), "models")["persistentVolumeClaim"] == claim


@pytest.mark.parametrize(
    ("ci", "suffix", "script", "partial"),
    [
        ("everything", "-gateway", "/opt/cellserve/verify_models.py", True),
        ("everything", "-triton", "/opt/cellserve/triton/verify_models.py", False),
        ("sidecar", "-gateway", "/opt/cellserve/triton/verify_models.py", False),
    ],
)
def test_models_of_object_storage(render, ci, suffix, script, partial):
    release = render(ci)
    pod = release.pod(suffix)
    copy, verify = pod["spec"]["initContainers"][:2]
    assert (copy["name"], verify["name"]) == ("copy-models", "verify-models"), "verified before anything reads them"
    assert copy["args"][:3] == ["copy", "s3:imaging/cellserve/models", "/models"]
    assert copy["envFrom"] == [{"secretRef": {"name": "cellserve-models"}}]
    includes = [argument for argument in copy["args"] if argument.startswith("--include")]
    assert includes == (["--include=/SHA256SUMS", "--include=/*/model.json"] if partial else [])
    assert verify["command"][:4] == ["python3", script, "/models", f"--sums-sha256={SHA256}"]
    assert verify["command"][4:] == (["--partial"] if partial else [])
    main = release.container(suffix, TRITON if ci == "sidecar" or suffix == "-triton" else GATEWAY)
    assert verify["image"] == main["image"]
    readers = [mounts(container)["/models"] for container in containers(pod) if container is not copy]
    assert not mounts(copy)["/models"].get("readOnly")
    assert all(mount["readOnly"] for mount in readers)
    assert volume(pod, "models")["emptyDir"] == {"sizeLimit": "4Gi"}


@pytest.mark.parametrize("suffix", ["-gateway", "-triton"])
def test_verifier_takes_its_arguments(render, tmp_path, suffix):
    verify = render("everything").container(suffix, "verify-models")
    command = [str(tmp_path) if entry == "/models" else entry for entry in verify["command"][2:]]
    script = ROOT / "deploy" / "triton" / "verify_models.py"
    result = subprocess.run([sys.executable, script, *command], capture_output=True, text=True, check=False)
    assert result.returncode == 1, "an empty repository is not the one that was published; 2 would be wrong usage"
    assert result.stderr


def test_object_storage_without_a_secret(render):
    release = render("sidecar", {"models": {"objectStorage": {"secretName": ""}}})
    assert "envFrom" not in release.container("-gateway", "copy-models")


def test_secrets_are_mounted_whole_so_that_they_can_be_renewed(render):
    release = render("everything")
    pod, gateway, settings = release.pod("-gateway"), release.container("-gateway", GATEWAY), release.settings()
    for variable, secret in {
        "TLS_CERTIFICATE": "cellserve-tls",
        "TLS_KEY": "cellserve-tls",
        "TLS_CLIENT_CA": "cellserve-clients",
        "TOKENS_FILE": "cellserve-tokens",
    }.items():
        folder, _, _ = settings[f"CELLSERVE_{variable}"].rpartition("/")
        mount = mounts(gateway)[folder]
        assert mount["readOnly"] is True
        assert "subPath" not in mount
        assert volume(pod, mount["name"])["secret"] == {"secretName": secret, "defaultMode": 0o440}
    assert [settings[f"CELLSERVE_{name}"].rpartition("/")[2] for name in ("TLS_CERTIFICATE", "TLS_KEY")] == [
        "tls.crt",
        "tls.key",
    ]


def test_keys_of_secrets_can_be_chosen(render):
    values = {"tls": {"clientCA": {"key": "clients.pem"}}, "auth": {"tokensKey": "callers"}}
    settings = render("everything", values).settings()
    assert settings["CELLSERVE_TLS_CLIENT_CA"].endswith("/clients.pem")
    assert settings["CELLSERVE_TOKENS_FILE"].endswith("/callers")


@pytest.mark.parametrize("ci", ["minimal", "gpu"])
def test_nothing_is_asked_for_by_default(render, ci):
    assert not [name for name in render(ci).settings() if "TLS" in name or "TOKEN" in name or "OTLP" in name]
    assert not [entry for entry in render(ci).pod("-gateway")["spec"]["volumes"] if "secret" in entry]


def test_the_chart_makes_no_secret(render):
    assert not render("everything").all("Secret")


def test_helm_test_shows_what_is_asked_for(render):
    release = render("everything")
    pod, container = release.pod("-test-segment"), release.container("-test-segment", "segment")
    assert "/opt/cellserve/examples/nuclei_fluorescence.png" in container["command"]
    before = container["command"][: container["command"].index("segment")]
    assert before == [
        "cellserve",
        "--ca=/etc/cellserve/ca/ca.crt",
        "--certificate=/etc/cellserve/certificate/tls.crt",
        "--key=/etc/cellserve/certificate/tls.key",
    ]
    token = {"secretKeyRef": {"name": "cellserve-test", "key": "token"}}
    assert environment(container)["CELLSERVE_TOKEN"] == token
    # Of the server's secret the certificate of the authority and nothing else.
    assert volume(pod, "ca")["secret"]["items"] == [{"key": "ca.crt", "path": "ca.crt"}]
    service = release.one("Service", "-gateway")["metadata"]["name"]
    assert f"--address=dns:///{service}.cells.svc.cluster.example.com:50051" in container["command"]
    assert pod["metadata"]["annotations"]["helm.sh/hook"] == "test"
    assert pod["metadata"]["annotations"]["helm.sh/hook-delete-policy"] == "before-hook-creation"


def test_helm_test_trusts_public_authorities_when_told(render):
    command = render("cpu", {"test": {"caKey": ""}}).container("-test-segment", "segment")["command"]
    assert command[:3] == ["cellserve", "--tls", "segment"]
    assert "cellserve segment" in " ".join(render().container("-test-segment", "segment")["command"])


@pytest.mark.parametrize("ci", ["minimal", "cpu", "everything"])
def test_command_line_takes_what_helm_test_says(render, ci):
    command = render(ci).container("-test-segment", "segment")["command"]
    at = command.index("segment")
    group = typer.main.get_command(app)
    assert isinstance(group, typer.core.TyperGroup)
    access = group.make_context(command[0], command[1 : at + 1])  # parses, and runs nothing
    segment = group.commands["segment"].make_context("segment", command[at + 1 :], parent=access)
    assert bool(access.params["ca"]) == (ci != "minimal")
    assert bool(access.params["certificate"]) == bool(access.params["key"]) == (ci == "everything")
    assert segment.params["address"][0].startswith("dns:///")
    assert segment.params["diameter"] == 30


@pytest.mark.parametrize("missing", ["tokenSecretName", "certificateSecretName"])
def test_no_helm_test_that_could_not_pass(render, missing):
    release = render("everything", {"test": {missing: ""}})
    assert not release.all("Pod")
    assert "test" not in [policy["metadata"]["name"] for policy in release.all("NetworkPolicy")]


def test_certificate(render):
    release = render("everything", release="lab")
    spec = release.one("Certificate")["spec"]
    assert volume(release.pod("-gateway"), "tls")["secret"]["secretName"] == spec["secretName"] == "cellserve-tls"
    assert spec["issuerRef"] == {"name": "lab-ca", "kind": "Issuer", "group": "cert-manager.io"}
    assert spec["privateKey"]["rotationPolicy"] == "Always"
    names = set(spec["dnsNames"])
    assert {"lab-cells-gateway.cells", "lab-cells-gateway.cells.svc.cluster.example.com", "cells.example.com"} <= names
    assert "lab-cells-gateway-external.cells.svc" in names
    command = " ".join(release.container("-test-segment", "segment")["command"])
    assert any(f"dns:///{name}:50051" in command for name in names), "the test trusts the name it calls"
    assert not render("minimal").all("Certificate")
