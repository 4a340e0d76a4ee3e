"""deploy/triton/verify_models.py, run as operators and images run it."""

from __future__ import annotations

import ast
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
VERIFY = ROOT / "deploy" / "triton" / "verify_models.py"
NETWORKS = ("cells", "cells_style")


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def config(sha256: str) -> str:
    return f'backend: "onnxruntime"\nparameters {{ key: "sha256" value {{ string_value: "{sha256}" }} }}\n'


def write(path: Path, content: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)


def describe(repository: Path, family: str = "cells", **networks: str) -> None:
    content = {"family": family, "networks": {name: {"sha256": sha256} for name, sha256 in networks.items()}}
    write(repository / family / "model.json", json.dumps(content))


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A family of two networks, with the configurations of a CPU and of a GPU."""
    for name in NETWORKS:
        write(tmp_path / name / "1" / "model.onnx", f"weights of {name}")
        sha256 = digest(f"weights of {name}".encode())
        write(tmp_path / name / "config.pbtxt", config(sha256))
        write(tmp_path / name / "configs" / "gpu.pbtxt", config(sha256))
    describe(tmp_path, **{name: digest(f"weights of {name}".encode()) for name in NETWORKS})
    write(tmp_path / "README.md", "A repository.")
    return tmp_path


def verify(repository: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(VERIFY), str(repository), *options]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)


def problems(repository: Path, *options: str) -> list[str]:
    """What it complains about; the exit status has to say so, too."""
    result = verify(repository, *options)
    lines = result.stderr.splitlines()
    assert result.returncode == (1 if lines else 0)
    assert all(line.startswith(f"{repository}: ") for line in lines)
    return [line.removeprefix(f"{repository}: ") for line in lines]


def publish(repository: Path) -> str:
    """Writes SHA256SUMS; returns the digest that the operator publishes."""
    result = verify(repository, "--write-sums")
    assert (result.returncode, result.stderr) == (0, "")
    return result.stdout.splitlines()[-1].split()[2]


def test_a_good_repository_is_listed_network_by_network(repository):
    result = verify(repository)
    assert (result.returncode, result.stderr) == (0, "")
    assert [line.split()[0] for line in result.stdout.splitlines()] == list(NETWORKS)
    assert all(digest(f"weights of {name}".encode()) in result.stdout for name in NETWORKS)


def test_the_repository_that_is_served_here():
    assert problems(ROOT / "model_repository") == []


def remove_weights(repository: Path) -> None:
    (repository / "cells" / "1" / "model.onnx").unlink()


def remove_config(repository: Path) -> None:
    (repository / "cells" / "config.pbtxt").unlink()


def alter_weights(repository: Path) -> None:
    write(repository / "cells" / "1" / "model.onnx", "weights of celsl")


def alter_json(repository: Path) -> None:
    describe(repository, **dict.fromkeys(NETWORKS, "0" * 64))


def alter_config(repository: Path) -> None:
    write(repository / "cells" / "config.pbtxt", config("0" * 64))


def alter_gpu_config(repository: Path) -> None:
    write(repository / "cells" / "configs" / "gpu.pbtxt", 'backend: "onnxruntime"\n')


def add_second_version(repository: Path) -> None:
    write(repository / "cells" / "2" / "model.onnx", "weights of somebody else")


def add_stray_network(repository: Path) -> None:
    write(repository / "stray" / "config.pbtxt", config("0" * 64))


def link_weights(repository: Path) -> None:
    weights = repository / "cells" / "1" / "model.onnx"
    outside = repository.with_name("outside.onnx")
    weights.rename(outside)
    weights.symlink_to(outside)


def make_pipe(repository: Path) -> None:
    os.mkfifo(repository / "cells" / "1" / "pipe")  # to read it would take for ever


def claim_network_twice(repository: Path) -> None:
    describe(repository, "cells_style", cells_style="0" * 64)


def remove_families(repository: Path) -> None:
    (repository / "cells" / "model.json").unlink()


def escape(repository: Path) -> None:
    describe(repository, **{"../cells": digest(b"")})


def misplace(repository: Path) -> None:
    (repository / "cells").rename(repository / "kells")


def break_json(repository: Path) -> None:
    write(repository / "cells" / "model.json", '{"family": "cells"')


def describe_nothing(repository: Path) -> None:
    write(repository / "cells" / "model.json", "[]")


def shorten_digest(repository: Path) -> None:
    describe(repository, cells="abc")


@pytest.mark.parametrize(
    ("alter", "expected"),
    [
        (remove_weights, "cells/1/model.onnx is missing"),
        (remove_config, "cells/config.pbtxt is missing"),
        (alter_weights, "cells/1/model.onnx has sha256"),
        (alter_json, "cells_style/1/model.onnx has sha256"),
        (alter_json, "cells/configs/gpu.pbtxt names sha256"),
        (alter_config, f"cells/config.pbtxt names sha256 {'0' * 64}, but"),
        (alter_gpu_config, "cells/configs/gpu.pbtxt names sha256 nowhere, but"),
        (add_second_version, "cells/2/model.onnx is covered by no digest"),
        (add_stray_network, "stray is a network of no family"),
        (link_weights, "cells/1/model.onnx is no plain file"),
        (make_pipe, "cells/1/pipe is no plain file"),
        (claim_network_twice, "cells_style/model.json and another family disagree on the sha256 of cells_style"),
        (remove_families, "there is no <family>/model.json"),
        (escape, "cells/model.json names a network '../cells'"),
        (misplace, "kells/model.json describes 'cells'"),
        (break_json, "cells/model.json does not describe a family"),
        (describe_nothing, "cells/model.json does not describe a family"),
        (shorten_digest, "cells/model.json gives 'abc' as the sha256 of cells"),
    ],
)
def test_disagreements_are_found(repository, alter: Callable[[Path], None], expected):
    alter(repository)
    assert any(problem.startswith(expected) for problem in problems(repository)), problems(repository)


def test_a_folder_that_is_not_there(tmp_path):
    assert len(problems(tmp_path / "nowhere")) == 1


def test_published_sums_hold_and_sha256sum_reads_them(repository):
    published = publish(repository)
    assert published == digest((repository / "SHA256SUMS").read_bytes())
    assert problems(repository, "--sums-sha256", published) == []
    assert problems(repository, "--sums-sha256", published.upper()) == []
    listed = (repository / "SHA256SUMS").read_text().splitlines()
    assert len(listed) == 1 + 1 + 3 * len(NETWORKS)  # README, model.json, weights and configurations
    sha256sum = shutil.which("sha256sum")
    assert sha256sum
    subprocess.run([sha256sum, "--check", "--strict", "--quiet", "SHA256SUMS"], cwd=repository, check=True)


def test_published_sums_are_the_same_every_time(repository):
    assert publish(repository) == publish(repository)


def test_sums_are_not_written_for_a_broken_repository(repository):
    alter_weights(repository)
    assert verify(repository, "--write-sums").returncode == 1
    assert not (repository / "SHA256SUMS").exists()


def test_sums_of_another_publication_are_refused(repository):
    publish(repository)
    (problem,) = problems(repository, "--sums-sha256", "0" * 64)
    assert problem.startswith("SHA256SUMS has sha256 ")


def test_sums_are_demanded_if_pinned(repository):
    assert problems(repository, "--sums-sha256", "0" * 64) == ["SHA256SUMS is missing"]


def test_weights_altered_together_with_all_that_names_them(repository):
    """What model.json alone cannot show: somebody exchanged the model, digests included."""
    published = publish(repository)
    write(repository / "cells" / "1" / "model.onnx", "weights of somebody else")
    sha256 = digest(b"weights of somebody else")
    write(repository / "cells" / "config.pbtxt", config(sha256))
    write(repository / "cells" / "configs" / "gpu.pbtxt", config(sha256))
    describe(repository, cells=sha256, cells_style=digest(b"weights of cells_style"))
    found = problems(repository, "--sums-sha256", published)
    altered = ["cells/1/model.onnx", "cells/config.pbtxt", "cells/configs/gpu.pbtxt", "cells/model.json"]
    assert [problem.partition(" has sha256 ")[0] for problem in found] == altered


def test_files_beyond_the_sums(repository):
    published = publish(repository)
    write(repository / "cells" / "labels.txt", "one")
    assert problems(repository, "--sums-sha256", published) == ["cells/labels.txt is not listed in SHA256SUMS"]
    assert problems(repository) == ["cells/labels.txt is not listed in SHA256SUMS"]  # stale sums are told, too


def test_a_gateway_has_a_part_of_the_files(repository):
    published = publish(repository)
    for name in NETWORKS:
        shutil.rmtree(repository / name / "1")
        shutil.rmtree(repository / name / "configs")
        (repository / name / "config.pbtxt").unlink()
    (repository / "README.md").unlink()
    assert problems(repository, "--sums-sha256", published, "--partial") == []
    assert "README.md is missing, but listed in SHA256SUMS" in problems(repository, "--sums-sha256", published)
    describe(repository, cells="0" * 64)
    (problem,) = problems(repository, "--sums-sha256", published, "--partial")
    assert problem.startswith("cells/model.json has sha256 ")


@pytest.mark.parametrize("outside", ["../secret", "cells/../../secret", "/etc/hostname"])
def test_sums_do_not_reach_outside(repository, outside):
    publish(repository)
    sums = repository / "SHA256SUMS"
    sums.write_text(f"{sums.read_text()}{'0' * 64}  {outside}\n")
    pinned = digest(sums.read_bytes())
    (problem,) = problems(repository, "--sums-sha256", pinned)
    assert problem.endswith(f"{outside} is outside the repository")


@pytest.mark.parametrize("line", ["", "nonsense", f"{'0' * 63}  README.md", f"\\{'0' * 64}  a\\nb"])
def test_malformed_sums(repository, line):
    publish(repository)
    sums = repository / "SHA256SUMS"
    sums.write_text(f"{sums.read_text()}{line}\n")
    (problem,) = problems(repository, "--sums-sha256", digest(sums.read_bytes()))
    assert "neither a digest and a name" in problem


def test_a_file_listed_twice(repository):
    publish(repository)
    sums = repository / "SHA256SUMS"
    sums.write_text(f"{sums.read_text()}{'0' * 64}  README.md\n")
    (problem,) = problems(repository)
    assert "listed once" in problem


def test_a_name_that_sums_cannot_hold(repository):
    write(repository / "cells" / "two\nlines", "")
    assert len(verify(repository, "--write-sums").stderr.splitlines()) == 1
    assert not (repository / "SHA256SUMS").exists()


@pytest.mark.parametrize(
    "options", [["--sums-sha256", "abc"], ["--write-sums", "--partial"], ["--write-sums", "--sums-sha256", "0" * 64]]
)
def test_wrong_usage(repository, options):
    assert verify(repository, *options).returncode == 2


def test_it_runs_on_the_oldest_python_it_promises():
    """Syntax only; what it imports is in every standard library since 3.10."""
    ast.parse(VERIFY.read_text(), feature_version=(3, 10))
