"""Builds what a release consists of: wheel and source archive, chart package, list of container images. All have one
version, whose home is pyproject.toml.

    .venv-dist/bin/python deploy/dist.py            builds everything into dist/ (make dist)
    .venv/bin/python deploy/dist.py --check         fails if a file states another version
    .venv/bin/python deploy/dist.py --set-version   writes the version of pyproject.toml into every file that states it

Building needs the packages `build` and `twine`, and helm at build/tools/helm. The images themselves are built by
deploy/docker/build.sh.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / "dist"
CHART = ROOT / "deploy" / "helm" / "cellserve"
HELM = ROOT / "build" / "tools" / "helm"

_OF_IMAGES = r"((?:cellserve/[\w-]+:|VERSION[=:] ?))\d[\w.+-]*"
STATED = {
    CHART / "Chart.yaml": r"^((?:v|appV)ersion: ).*$",
    ROOT / "deploy" / "compose.yaml": _OF_IMAGES,
    ROOT / "deploy" / "docker" / "README.md": _OF_IMAGES,
    ROOT / "CITATION.cff": r"^(version: ).*$",
    ROOT / "examples" / "kubernetes" / "batch-job.yaml": _OF_IMAGES,
    ROOT / "examples" / "kubernetes" / "batch-status.yaml": _OF_IMAGES,
    ROOT / "docs" / "install.md": r"(cellserve-)\d[\w.+]*(?=-py3-none-any\.whl)",
}
"""Files that state the version, and the pattern of the statements: group 1 stands before the version."""

FOREIGN = re.compile(r"\.(onnx|pt|npy|npz|tiff?)$|(^|/)(tests|model_repository|benchmarks)/")
"""Files that neither wheel nor source archive may hold: weights, data, tests."""


class ReleaseError(Exception):
    """The release cannot be built; the message says why."""


def project_version() -> str:
    """Returns the version of pyproject.toml."""
    version: str = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    return version


def with_version(path: Path, version: str) -> str:
    """Returns the text of a file of `STATED` with this version in every statement.

    Raises:
        ReleaseError: The file states no version.
    """
    text, count = re.subn(STATED[path], rf"\g<1>{version}", path.read_text(), flags=re.M)
    if not count:
        raise ReleaseError(f"{path.relative_to(ROOT)} states no version where one is expected")
    return text


def stale(version: str) -> list[Path]:
    """Returns the files that state another version."""
    return [path for path in STATED if with_version(path, version) != path.read_text()]


def images(version: str) -> list[str]:
    """Returns the container images of a version: one for each Dockerfile."""
    names = sorted(path.name.removesuffix(".Dockerfile") for path in (ROOT / "deploy" / "docker").glob("*.Dockerfile"))
    return [f"cellserve/{name}:{version}" for name in names]


def check_contents(names: list[str]) -> None:
    """Checks the names of the files in a wheel or source archive.

    Raises:
        ReleaseError: A file does not belong there, or the licence is missing.
    """
    if foreign := [name for name in names if FOREIGN.search(name)]:
        raise ReleaseError(f"does not belong into a release: {', '.join(foreign)}")
    if not any(name.endswith("/LICENSE") for name in names):
        raise ReleaseError("the licence is missing")


def build(version: str) -> None:
    """Writes everything into `OUT`, which is emptied first.

    Raises:
        ReleaseError: A part holds what it should not, or a file states another version.
        subprocess.CalledProcessError: A tool failed; its output says why.
    """
    if paths := stale(version):
        raise ReleaseError(f"another version than {version} in {_names(paths)}; run deploy/dist.py --set-version")
    shutil.rmtree(OUT, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "build", "--outdir", OUT, ROOT], check=True, stdout=subprocess.DEVNULL)
    (wheel,), (archive,) = OUT.glob("*.whl"), OUT.glob("*.tar.gz")
    with zipfile.ZipFile(wheel) as packed:
        check_contents(packed.namelist())
    with tarfile.open(archive) as packed_source:
        check_contents(packed_source.getnames())
    subprocess.run([sys.executable, "-m", "twine", "check", "--strict", wheel, archive], check=True)
    subprocess.run([HELM, "package", CHART, "--destination", OUT / "chart"], check=True, stdout=subprocess.DEVNULL)
    (OUT / "images.json").write_text(json.dumps({"version": version, "images": images(version)}, indent=2) + "\n")
    for path in sorted(path for path in OUT.rglob("*") if path.is_file()):
        print(f"{path.relative_to(ROOT)}  {path.stat().st_size / 1000:,.0f} kB")
    print("\n".join(images(version)))


def _names(paths: list[Path]) -> str:
    return ", ".join(str(path.relative_to(ROOT)) for path in paths)


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument("--check", action="store_true", help="build nothing, fail if a file states another version")
    choice.add_argument("--set-version", action="store_true", help="build nothing, write the version into every file")
    options, version = parser.parse_args(), project_version()
    try:
        if options.check:
            if paths := stale(version):
                raise ReleaseError(f"pyproject.toml has version {version}, another is in {_names(paths)}")
        elif options.set_version:
            for path in STATED:
                path.write_text(with_version(path, version))
        else:
            build(version)
    except (ReleaseError, subprocess.CalledProcessError) as error:
        print(f"dist.py: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
