"""The container images, run under the restrictions of a strict cluster. `make images` builds them, then runs this."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import tifffile

from .pod import Container, Image, Pod, mounted

if "TEST_IMAGES" not in os.environ:
    pytest.skip("`make images` builds the images and runs these", allow_module_level=True)

pytestmark = pytest.mark.timeout(600)

ROOT = Path(__file__).resolve().parents[2]
PICTURE = ROOT / "examples" / "images" / "nuclei_fluorescence.png"
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
NAMES = ("gateway", "triton-cpu")
BUILD_TOOLS = ("gcc", "g++", "cc", "ld", "as", "make", "pip", "pip3", "git", "curl", "wget")
LARGEST_MB = {"gateway": 850, "triton-cpu": 700}
LIBPNG_WITHOUT_CVE_2026_33416 = 10656  # the first such release is 1.6.56
LIBPNG_VERSIONS = """
import ctypes, pathlib
for path in pathlib.Path("/opt/cellserve/venv").rglob("libpng*.so*"):
    print(path.parent.name, ctypes.CDLL(path).png_access_version_number())
"""


@dataclass(frozen=True)
class Running:
    """Both images in one pod, under the names of their images."""

    pod: Pod
    containers: dict[str, Container]
    unready: int  # exit status of the gateway's health check while there was no Triton


@pytest.fixture(scope="module")
def images() -> Iterator[dict[str, Image]]:
    with mounted(f"cellserve/gateway:{VERSION}") as gateway, mounted(f"cellserve/triton-cpu:{VERSION}") as triton:
        yield {"gateway": gateway, "triton-cpu": triton}


@pytest.fixture(scope="module")
def running(images, tmp_path_factory) -> Iterator[Running]:
    """The gateway first, so that it can be seen waiting; then Triton; both healthy."""
    pod = Pod(tmp_path_factory.mktemp("pod"))
    containers: dict[str, Container] = {}
    try:
        gateway = containers["gateway"] = Container(pod, "gateway", images["gateway"])
        wait(lambda: "kernels ready" in gateway.log.read_text(), gateway)
        unready = gateway.run(images["gateway"].health_command).returncode
        triton = containers["triton-cpu"] = Container(pod, "triton-cpu", images["triton-cpu"])
        for name, container in ("triton-cpu", triton), ("gateway", gateway):
            command = images[name].health_command
            wait(lambda container=container, command=command: container.run(command).returncode == 0, container)
        yield Running(pod, containers, unready)
    finally:
        for container in containers.values():
            container.stop()
        pod.close()


def wait(done: Callable[[], bool], container: Container, timeout_s: float = 240.0) -> None:
    """Waits until something is so; fails with the container's log when the container ends or the time is up."""
    end = time.monotonic() + timeout_s
    while not done():
        assert container.alive(), container.log.read_text()
        assert time.monotonic() < end, container.log.read_text()
        time.sleep(0.5)


@pytest.mark.parametrize("name", NAMES)
def test_configuration(images, name):
    config = images[name].config
    assert config["User"] == "10001:10001"  # by number: a cluster can tell that it is not root
    assert config["Labels"]["org.opencontainers.image.version"] == VERSION
    assert config["Labels"]["org.opencontainers.image.licenses"] == "BSD-3-Clause"
    known = re.compile(r"PATH=|CELLSERVE_HOST=|CELLSERVE_MODEL_REPOSITORY=|NUMBA_CACHE_DIR=")
    assert all(known.match(variable) for variable in config["Env"])  # nothing of the machine that built it


@pytest.mark.parametrize("name", NAMES)
def test_licences_are_inside(images, name):
    for file, original in (("LICENSE", "LICENSE"), ("licences.md", "docs/licences.md")):
        assert (images[name].root / "opt/cellserve" / file).read_text() == (ROOT / original).read_text()


@pytest.mark.parametrize("name", NAMES)
def test_no_build_tools(images, name):
    root = images[name].root
    folders = ("usr/bin", "usr/sbin", "usr/local/bin", "opt/cellserve/venv/bin")
    assert [tool for tool in BUILD_TOOLS for folder in folders if (root / folder / tool).exists()] == []
    assert list(root.glob("**/site-packages/pip")) + list(root.glob("**/dist-packages/pip")) == []


@pytest.mark.parametrize("name", NAMES)
def test_nothing_of_the_building_machine(images, name):
    root = images[name].root
    assert not any((root / path).exists() for path in ("build", "etc/pip.conf", "etc/pip-ca.pem"))
    assert list((root / "var/lib/apt/lists").iterdir()) == []
    assert (root / "etc/hostname").read_text() == (root / "etc/resolv.conf").read_text() == ""


@pytest.mark.parametrize("name", NAMES)
def test_what_is_installed_cannot_be_altered(images, name):
    """Not even where the root file system is writable: all of it belongs to root."""
    root = images[name].root
    for path in [root / "models", root / "opt", *(root / "models").rglob("*"), *(root / "opt").rglob("*")]:
        status = path.lstat()
        assert status.st_uid == 0, path
        assert path.is_symlink() or not status.st_mode & 0o022, path


@pytest.mark.parametrize("name", NAMES)
def test_size(images, name):
    root = images[name].root
    size = sum(path.lstat().st_blocks * 512 for path in root.rglob("*"))
    print(f"{name}: {size / 1e6:.0f} MB")
    assert size < LARGEST_MB[name] * 1e6


def test_the_gateway_has_no_weights(images):
    models = images["gateway"].root / "models"
    families = {
        path.relative_to(ROOT / "model_repository") for path in (ROOT / "model_repository").glob("*/model.json")
    }
    assert {path.relative_to(models) for path in models.rglob("*") if path.is_file()} == families


def test_the_gateway_is_unhealthy_without_triton(running):
    assert running.unready != 0


@pytest.mark.parametrize("name", NAMES)
def test_restrictions_hold(running, name):
    """So that the other tests prove what they seem to."""
    container = running.containers[name]
    status = dict(line.split(":\t", 1) for line in container.run(["cat", "/proc/1/status"]).stdout.splitlines())
    assert set(status["Uid"].split()) == set(status["Gid"].split()) == {"10001"}
    assert {status[f"Cap{kind}"] for kind in ("Bnd", "Eff", "Inh", "Prm", "Amb")} == {"0" * 16}
    assert status["NoNewPrivs"] == "1"
    for folder in ("/", "/etc", "/models", "/opt/cellserve", "/var/tmp", "/run", "/dev"):
        written = container.run(["sh", "-c", f": > {folder.rstrip('/')}/probe"])
        assert written.returncode != 0, folder
    for folder in ("/tmp", "/dev/shm"):
        assert container.run(["sh", "-c", f": > {folder}/probe && rm {folder}/probe"]).returncode == 0, folder


def test_no_libpng_has_cve_2026_33416(running):
    """The libpng of imagecodecs decodes the callers' files. OpenCV brings another, which reads no file here."""
    result = running.containers["gateway"].run(["python3", "-c", LIBPNG_VERSIONS])
    assert result.returncode == 0, result.stderr
    found = [line.split() for line in result.stdout.splitlines()]
    assert "imagecodecs.libs" in [owner for owner, _ in found]
    assert [entry for entry in found if int(entry[1]) < LIBPNG_WITHOUT_CVE_2026_33416] == []


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("gateway", ["python3", "/opt/cellserve/verify_models.py", "/models", "--partial"]),
        ("triton-cpu", ["python3", "/opt/cellserve/triton/verify_models.py", "/models"]),
    ],
)
def test_models_are_verified_inside(running, name, command):
    result = running.containers[name].run(command)
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("sha256") == 3


def test_a_client_gets_what_it_gets_without_containers(running, tmp_path):
    client = [sys.executable, "-m", "cellserve", "segment", str(PICTURE), "--out"]
    inside = running.pod.inside(*client, str(tmp_path / "inside"), "--address", "127.0.0.1:50051")
    outside = [sys.executable, str(ROOT / "devtools" / "stack.py"), "run", "--", *client, str(tmp_path / "outside")]
    for command in (inside, outside):
        subprocess.run(command, check=True, timeout=240)
    name = f"{PICTURE.stem}_cp_masks.tif"
    ours, theirs = (tifffile.imread(tmp_path / where / name) for where in ("inside", "outside"))
    print(f"{ours.max()} objects in containers, {theirs.max()} without; {np.sum(ours != theirs)} pixels differ")
    assert ours.max() == theirs.max() > 50
    assert np.mean(ours != theirs) < 0.001  # other releases of OpenCV or OpenVINO may round a border pixel differently


def test_the_gateway_image_brings_a_client_and_an_image(running):
    """What `helm test` runs, here at a diameter that leaves few tiles."""
    gateway = running.containers["gateway"]
    command = ["cellserve", "segment", "/opt/cellserve/examples/nuclei_fluorescence.png", "--out", "/tmp/masks"]
    result = gateway.run([*command, "--diameter", "90"])
    assert result.returncode == 0, result.stdout + result.stderr
    assert gateway.run(["test", "-s", "/tmp/masks/nuclei_fluorescence_cp_masks.tif"]).returncode == 0


def test_sigterm_ends_them_cleanly(running):
    """Comes last. As in a pod that ends: the gateway drains while Triton still answers."""
    for name in NAMES:
        assert running.containers[name].stop() == 0, running.containers[name].log.read_text()
