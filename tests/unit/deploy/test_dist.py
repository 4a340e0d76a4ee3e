"""A release has one version, and holds what it should."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
import yaml

from deploy import dist

ROOT = Path(__file__).resolve().parents[3]
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]


def test_every_file_states_the_version_of_the_project():
    assert dist.project_version() == VERSION
    assert dist.stale(VERSION) == []


@pytest.mark.parametrize("path", dist.STATED, ids=lambda path: path.name)
def test_another_version_is_found_and_mended(path):
    assert path in dist.stale("9.8.7rc1")
    text = dist.with_version(path, "9.8.7rc1")
    assert "9.8.7rc1" in text
    assert VERSION not in text


def test_the_chart_pulls_the_images_of_the_release():
    chart = yaml.safe_load((dist.CHART / "Chart.yaml").read_text())
    values = yaml.safe_load((dist.CHART / "values.yaml").read_text())
    pulled = [values["gateway"]["image"], values["triton"]["cpu"]["image"], values["triton"]["gpu"]["image"]]
    assert [f"{image['repository']}:{image['tag'] or chart['appVersion']}" for image in pulled] == dist.images(VERSION)


@pytest.mark.parametrize(
    "name", ["model_repository/generalist/1/model.onnx", "cellserve-1/tests/a.py", "cellserve/net.pt", "a/cells.tif"]
)
def test_weights_tests_and_images_do_not_belong_into_a_release(name):
    with pytest.raises(dist.ReleaseError, match=re.escape(name)):
        dist.check_contents(["cellserve-1/LICENSE", "cellserve/client.py", name])


def test_a_release_has_its_licence():
    dist.check_contents(["cellserve-1.dist-info/licenses/LICENSE", "cellserve/client.py"])
    with pytest.raises(dist.ReleaseError, match="licence"):
        dist.check_contents(["cellserve/client.py"])
