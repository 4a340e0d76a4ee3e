"""Commands whose extra is not installed say which line installs it."""

from __future__ import annotations

import importlib
import sys
import tomllib
from pathlib import Path

import pytest
from cellserve_contract import extras
from cellserve_contract.extras import missing_packages, needs_extra
from packaging.requirements import Requirement

COMMANDS = [
    ("cellserve_gateway", "pydantic", "cellserve-gateway", "gateway"),
    ("cellserve_export", "torch", "cellserve-export", "export"),
    ("cellserve_training", "torch", "cellserve-train", "training"),
]
INSTALLED = {"numpy", "fastapi", "torch", "matplotlib"}
REQUIREMENTS = [
    "numpy>=1.26",
    "fastapi>=0.118; extra == 'gateway'",
    "tritonclient[grpc]>=2.73; extra == 'gateway'",
    'cellserve[gateway]; extra == "export"',
    "onnx>=1.17; (python_version < '3.20') and extra == 'export'",
    "torch>=2.6; extra == 'export'",
]


@pytest.fixture
def without(monkeypatch):
    """Takes a package and its module away."""

    def take(package: str, module: str) -> None:
        there = extras._is_installed
        monkeypatch.setattr(extras, "_is_installed", lambda name: name != package and there(name))
        monkeypatch.setitem(sys.modules, module, None)

    return take


@pytest.mark.parametrize(("package", "needed", "command", "extra"), COMMANDS)
def test_a_command_names_its_extra(without, monkeypatch, package, needed, command, extra):
    without(needed, needed)
    for name in [name for name in sys.modules if name.startswith(f"{package}.")]:
        monkeypatch.delitem(sys.modules, name)  # as in a process that has imported none of it
    with pytest.raises(SystemExit) as end:
        importlib.import_module(f"{package}.__main__").main()
    assert str(end.value) == (
        f"{command} needs {needed}, which is not installed. Install the part '{extra}' of CellServe:\n"
        f"    pip install 'cellserve[{extra}]'"
    )


def test_a_missing_module_of_no_extra_shows(without):
    """A fault of an installation that is complete is not hidden behind advice that would not help."""
    without("no-such-package", "json.tool")
    with pytest.raises(ModuleNotFoundError, match=r"json\.tool"), needs_extra("cellserve-gateway", "gateway"):
        importlib.import_module("json.tool")


def test_a_missing_module_of_our_own_shows(without):
    without("onnx", "onnx")
    with pytest.raises(ModuleNotFoundError, match="nothing"), needs_extra("cellserve-export", "export"):
        importlib.import_module("cellserve_export.nothing")


def test_an_extra_includes_others(monkeypatch):
    monkeypatch.setattr(extras.metadata, "requires", lambda _: REQUIREMENTS)
    monkeypatch.setattr(extras, "_is_installed", INSTALLED.__contains__)
    assert missing_packages("gateway") == ["tritonclient"]
    assert missing_packages("export") == ["onnx", "tritonclient"]
    assert missing_packages("training") == []


def test_formats_and_large_ask_for_the_same_versions():
    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())["project"]
    formats, large = (
        {
            requirement.name: requirement.specifier
            for requirement in map(Requirement, project["optional-dependencies"][name])
        }
        for name in ("formats", "large")
    )
    shared = formats.keys() & large.keys()
    assert shared == {"pyarrow", "zarr"}
    assert {name: formats[name] for name in shared} == {name: large[name] for name in shared}
