"""Files for Cellpose, opened by Cellpose 3.1 itself in the environment of the comparisons."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
import tifffile
from cellserve_formats.cellpose_outlines import write_cellpose_outlines
from cellserve_formats.cellpose_seg import write_cellpose_seg
from cellserve_postprocess import trace_outlines

CELLPOSE = Path(__file__).parents[3] / ".venv-peers" / "bin" / "python"

pytestmark = pytest.mark.skipif(
    not CELLPOSE.exists(), reason="Cellpose is not installed: `make .venv-peers/done` installs it"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("cellpose")
    labels = np.zeros((40, 50), np.uint16)
    labels[2:5, 5:10] = 1
    y, x = np.indices(labels.shape)
    labels[(y - 25) ** 2 + (x - 20) ** 2 < 100] = 2
    labels[10:30, 30:34] = labels[26:30, 30:45] = 3
    maps = np.random.default_rng(5).normal(0, 3, (3, *labels.shape)).astype(np.float32)
    tifffile.imwrite(folder / "x.tif", labels * 100)
    write_cellpose_seg(folder / "x_seg.npy", labels, filename=str(folder / "x.tif"), diameter=12.0, maps=maps)
    write_cellpose_outlines(folder / "x_cp_outlines.txt", trace_outlines(labels))
    np.savez(folder / "result.npz", labels=labels, maps=maps)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment["CELLPOSE_LOCAL_MODELS_PATH"] = str(folder / "models")
    done = subprocess.run(
        [str(CELLPOSE), str(Path(__file__).with_name("cellpose_opens.py")), str(folder)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def labels(folder) -> np.ndarray:
    return np.load(folder / "result.npz")["labels"]


@pytest.fixture
def opened(folder):
    return np.load(folder / "opened.npz")


def test_the_window_of_cellpose_shows_the_objects(opened, labels, folder):
    np.testing.assert_array_equal(opened["imread"], labels)
    np.testing.assert_array_equal(opened["masks"], labels[np.newaxis])
    assert opened["loaded"]
    assert opened["ismanual"].tolist() == [False] * 3
    assert (opened["diameter"], str(opened["filename"])) == (12.0, str(folder / "x.tif"))
    assert opened["recompute"], "the window can recompute the objects with other thresholds"
    assert opened["seen_image"].shape == (1, 40, 50, 1)
    np.testing.assert_array_equal(opened["planes"], np.load(folder / "result.npz")["maps"])


def test_the_file_is_that_of_cellpose(opened, labels):
    assert opened["missing"].tolist() == []
    ours, theirs = opened["types"].tolist()
    assert ours == theirs
    for ours, theirs in (
        (opened["masks"][0], opened["their_masks"]),
        (opened["outlines"][0], opened["their_outlines"]),
        (opened["probability"], opened["their_probability"]),
        (opened["planes"], opened["their_planes"]),
        (opened["their_channels"], [0, 0]),
        (opened["our_shapes"], opened["their_shapes"]),
    ):
        np.testing.assert_array_equal(ours, theirs)


def test_outlines_are_those_of_cellpose(folder):
    assert (folder / "x_cp_outlines.txt").read_bytes() == (folder / "theirs" / "x_cp_outlines.txt").read_bytes()
