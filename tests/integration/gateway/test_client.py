"""What users run, against the real service: the examples and the command line."""

from __future__ import annotations

import csv
import os
import subprocess
import sys

import pytest
import tifffile


@pytest.fixture
def run(gateway, request):
    def call(*command: object) -> subprocess.CompletedProcess[str]:
        env = os.environ | {"CELLSERVE_ADDRESS": gateway.address}
        root = request.config.rootpath
        return subprocess.run(
            [sys.executable, *map(str, command)],
            env=env,
            cwd=root,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    return call


def test_one_image_example(run):
    result = run("examples/one_image.py")
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert int(lines[0].split()[0]) > 100
    assert len(lines) == 6


def test_many_images_example_goes_on_past_a_bad_file(run, request, tmp_path):
    for image in (request.config.rootpath / "examples" / "images").iterdir():
        (tmp_path / image.name).symlink_to(image)
    (tmp_path / "broken.tif").write_bytes(b"II*\0 this is no image")
    result = run("examples/many_images.py", tmp_path)
    assert result.returncode == 0, result.stderr
    answers = dict(line.split(": ", 1) for line in result.stdout.splitlines())
    assert answers.pop("broken.tif").startswith("IMAGE_UNDECODABLE")
    assert {name: answer.split()[1] for name, answer in answers.items()} == {
        "cells_phase_contrast.png": "objects",
        "nuclei_fluorescence.png": "objects",
        "nuclei_histology.png": "objects",
    }


def test_command_line_writes_labels_table_and_overlay(run, tmp_path):
    image = "examples/images/nuclei_fluorescence.png"
    result = run("-m", "cellserve", "segment", image, "--out", tmp_path, "--diameter", "29")
    assert result.returncode == 0, result.stderr
    labels = tifffile.imread(tmp_path / "nuclei_fluorescence_cp_masks.tif")
    with (tmp_path / "nuclei_fluorescence_objects.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert labels.shape == (520, 696)
    assert len(rows) == labels.max() > 100
    assert sum(int(row["area"]) for row in rows) == (labels > 0).sum()
    assert (tmp_path / "nuclei_fluorescence_overlay.png").stat().st_size > 50_000


def test_command_line_tells_health_and_models(run):
    assert "SERVING" in run("-m", "cellserve", "health").stdout
    assert "generalist" in run("-m", "cellserve", "models").stdout
