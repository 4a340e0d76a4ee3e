"""The images' locks hold what pyproject.toml and Triton's requirements.txt ask for; lock.sh renews them."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[3]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
EXTRAS = PROJECT["project"]["optional-dependencies"]
TRITON = (ROOT / "deploy" / "triton" / "requirements.txt").read_text()
TRIXIE, BOOKWORM = {"python_version": "3.13"}, {"python_version": "3.11"}
IMAGES = {"gateway": TRIXIE, "build": TRIXIE, "triton-cpu": BOOKWORM}
"""Python of the image that each lock is for, as in lock.sh."""
ENTRY = re.compile(r"([\w.-]+)==([^\s;]+) \\\n((?: {4}--hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)")

DEMANDS = {
    "gateway": [*PROJECT["project"]["dependencies"], *EXTRAS["gateway"], *EXTRAS["tracing"]],
    "build": PROJECT["build-system"]["requires"],
    "triton-cpu": re.findall(r"^[\w-]+[<>=].*", TRITON, re.M),
}


@pytest.mark.parametrize("name", DEMANDS)
def test_the_lock_meets_every_demand(name):
    text = (ROOT / "deploy" / "docker" / f"{name}.lock").read_text()
    locked = {canonicalize_name(match[1]): Version(match[2]) for match in ENTRY.finditer(text)}
    demands = [demand for demand in map(Requirement, DEMANDS[name]) if demand.name != "cellserve"]
    demands = [demand for demand in demands if demand.marker is None or demand.marker.evaluate(IMAGES[name])]
    assert demands
    unmet = [str(demand) for demand in demands if locked.get(canonicalize_name(demand.name)) not in demand.specifier]
    assert unmet == []


@pytest.mark.parametrize("name", DEMANDS)
def test_the_lock_holds_nothing_but_pinned_and_hashed_packages(name):
    """No address of an index or of a file; what pip would take without asking for a hash is not there either."""
    text = (ROOT / "deploy" / "docker" / f"{name}.lock").read_text()
    assert re.fullmatch(r"\s*", ENTRY.sub("", re.sub(r"^#.*\n", "", text, flags=re.M)))
