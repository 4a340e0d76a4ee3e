"""Renders the chart with the real helm."""

from __future__ import annotations

import functools
import json
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest

from .objects import Release

ROOT = Path(__file__).parents[2]
CHART = ROOT / "deploy" / "helm" / "cellserve"
VERSIONS = sorted(
    {
        f"{major}.{minor}"
        for major, minor, *_ in (version.split(".") for version in kubernetes_validate.utils.all_versions())
        if int(minor) >= 30
    }
)
"""Versions of Kubernetes whose schemas are there."""
CI = sorted(path.name.removesuffix("-values.yaml") for path in (CHART / "ci").iterdir())


class RenderError(Exception):
    """Helm refuses to render; the message is its own."""


@pytest.fixture(scope="session")
def helm() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs helm: `helm(*arguments, stdin="")`."""
    subprocess.run([ROOT / "deploy" / "helm" / "get-helm.sh"], check=True)
    binary = ROOT / "build" / "tools" / "helm"

    def run(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run([binary, *arguments], input=stdin, capture_output=True, text=True, check=False)

    return run


@pytest.fixture(scope="session")
def render(helm) -> Callable[..., Release]:
    """Renders a release: `render(ci="gpu", values={...}, release=..., namespace=..., kube_version=...)`.

    `ci` names a file of deploy/helm/cellserve/ci; `values` go on top of it. Raises RenderError.
    """

    @functools.cache
    def template(ci: str, values: str, release: str, namespace: str, kube_version: str) -> Release:
        result = helm(
            *("template", release, str(CHART), "--namespace", namespace),
            *("--values", str(CHART / "ci" / f"{ci}-values.yaml"), "--values", "-"),
            *(("--kube-version", kube_version) if kube_version else ()),
            stdin=values,
        )
        if result.returncode:
            raise RenderError(result.stderr)
        return Release(result.stdout)

    def render(
        ci: str = "minimal",
        values: Mapping[str, Any] | None = None,
        release: str = "cellserve",
        namespace: str = "cells",
        kube_version: str = "",
    ) -> Release:
        return template(ci, json.dumps(values or {}), release, namespace, kube_version)

    return render


@pytest.fixture
def validate(monkeypatch) -> Callable[..., str]:
    """Checks an object against the schemas of Kubernetes: `validate(thing, version)` returns the version."""
    # The package reads its schemas from disk for each object; the definitions alone are megabytes.
    monkeypatch.setattr(
        kubernetes_validate.utils, "schema_contents", functools.cache(kubernetes_validate.utils.schema_contents)
    )
    return functools.partial(kubernetes_validate.validate, strict=True)
