"""`cellserve-train evaluate` as its users run it: labelled images, a real service, figures and pictures."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from cellserve_evaluation.scores import THRESHOLDS

COMMAND = str(Path(sys.executable).parent / "cellserve-train")


@pytest.fixture(scope="module")
def labelled(tmp_path_factory, copy_labelled) -> Path:
    """The example images with their masks, as one data set."""
    folder = tmp_path_factory.mktemp("sets") / "examples" / "test"
    folder.mkdir(parents=True)
    copy_labelled(folder)
    return folder.parents[1]


def evaluate(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [COMMAND, "evaluate", *map(str, arguments)]
    env = os.environ | {"COLUMNS": "120"}
    return subprocess.run(command, capture_output=True, text=True, timeout=240, check=False, env=env)


def test_every_image_is_scored_in_every_way(gateway, labelled, tmp_path):
    figures, sheet = tmp_path / "figures.json", tmp_path / "sheet.png"
    done = evaluate(
        labelled, "--address", gateway.address, "--diameter", "true", "--single", "--otsu", "--json", figures,
        "--sheet", sheet,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    passes = {entry["name"]: entry for entry in json.loads(figures.read_text())["passes"]}
    assert list(passes) == ["ensemble, true diameter", "single network, true diameter", "Otsu + watershed"]
    for name, entry in passes.items():
        assert name in done.stdout
        assert entry["failed"] == []
        assert [image["name"] for image in entry["images"]] == [
            "cells_phase_contrast", "nuclei_fluorescence", "nuclei_histology",
        ]  # fmt: skip
    _, nuclei, _ = passes["ensemble, true diameter"]["images"]
    assert nuclei["kind"] == "fluorescence"
    assert nuclei["average_precision"][THRESHOLDS.index(0.5)] > 0.7
    assert nuclei["boundary_f"] > 0.7
    assert nuclei["true_objects"] == pytest.approx(nuclei["found_objects"], rel=0.1)
    assert passes["ensemble, true diameter"]["models"][0]["name"] == "generalist"
    assert passes["single network, true diameter"]["models"][0]["name"] == "generalist_single"
    picture = imagecodecs.imread(sheet)
    assert min(picture.shape[:2]) > 500
    assert np.ptp(picture) == 255


def test_the_service_is_asked_with_other_parameters(gateway, labelled, tmp_path):
    figures, folder = tmp_path / "figures.json", tmp_path / "set" / "test"
    folder.mkdir(parents=True)
    for path in labelled.rglob("nuclei_histology*"):
        shutil.copy(path, folder)
    arguments = [folder.parent, "--address", gateway.address, "--diameter", "true", "--sheet", tmp_path / "sheet.png"]
    done = evaluate(*arguments, "--set", "flow_threshold=0.05", "--set", "interpolation=nearest", "--json", figures)
    assert done.returncode == 0, done.stdout + done.stderr
    (only,) = json.loads(figures.read_text())["passes"]
    assert {(used["flow_threshold"], used["interpolation"]) for used in only["parameters"]} == {(0.05, "nearest")}
    assert any(image["found_objects"] < image["true_objects"] / 2 for image in only["images"]), "few flows are so good"
    done = evaluate(*arguments, "--set", "flow_treshold=1")
    assert done.returncode == 2
    assert "flow_treshold" in done.stderr
    assert "flow_threshold" in done.stderr
    done = evaluate(*arguments, "--set", "flow_threshold=low")
    assert done.returncode == 2
    assert "allowed: 0 to 100" in " ".join(done.stderr.replace("│", " ").split())


def test_an_image_that_the_service_refuses_fails_alone(gateway, labelled, tmp_path):
    folder = tmp_path / "set"
    folder.mkdir()
    for path in (labelled / "examples" / "test").glob("nuclei_fluorescence_*"):
        shutil.copy(path, folder)
    wide = np.zeros((1500, 3000), np.uint8)  # 4.5 megapixels, the gateway takes 4
    wide[:20, :20] = 200
    (folder / "wide_img.png").write_bytes(imagecodecs.png_encode(wide))
    (folder / "wide_masks.png").write_bytes(imagecodecs.png_encode((wide > 0).astype(np.uint8)))
    done = evaluate(folder, "--address", gateway.address, "--diameter", "true", "--sheet", tmp_path / "sheet.png")
    assert done.returncode == 1
    assert "FAILED set/wide" in done.stdout
    assert "4,000,000" in done.stdout or "4000000" in done.stdout


def test_no_service_is_said(labelled, tmp_path):
    done = evaluate(labelled, "--address", "127.0.0.1:9", "--sheet", tmp_path / "sheet.png")
    assert done.returncode == 1
    assert "127.0.0.1:9" in done.stderr
    assert "--address" in done.stderr
