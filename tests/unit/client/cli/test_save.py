"""`--save`: what a run writes, what it asks the server for, and what it refuses before any work."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
import tifffile
from cellserve.saving import SAVED
from cellserve_proto import v1 as pb

LIBRARIES = ("anndata", "pyarrow", "roifile", "zarr")


@pytest.fixture
def path(tmp_path, image):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, image)
    return path


def test_each_word_is_written_and_told(run, service, path, tmp_path):
    for library in LIBRARIES:
        pytest.importorskip(library)
    words = [",".join(list(SAVED)[:5]), " csv , parquet", *list(SAVED)[5:]]
    result = run("segment", path, "--json", *[part for word in words for part in ("--save", word)])
    assert result.exit_code == 0, result.output
    record = json.loads(result.stdout)
    assert list(record["files"]) == list(SAVED), "label images first"
    written = [file for files in record["files"].values() for file in files]
    assert sorted(written) == sorted(str(file) for file in tmp_path.iterdir() if file != path)
    assert set(service.requests[0].segment.outputs) == {
        pb.OUTPUT_MAPS,
        pb.OUTPUT_OUTLINES,
        pb.OUTPUT_FLOWS,
        pb.OUTPUT_CELL_PROBABILITY,
    }
    seg = np.load(tmp_path / "a_seg.npy", allow_pickle=True).item()
    assert seg["filename"] == str(path)
    again = run("segment", path, "--skip-existing", *[part for word in words for part in ("--save", word)])
    assert "0 segmented, 1 skipped, 0 failed" in again.stderr
    assert run("segment", tmp_path).stderr.startswith("left out "), "results are no images"


def test_only_what_is_named_is_written_and_asked_for(run, service, path, tmp_path):
    result = run("segment", path, "--save", "geojson")
    assert result.exit_code == 0, result.output
    assert {file.name for file in tmp_path.iterdir()} == {"a.tif", "a_objects.geojson"}
    assert not service.requests[0].segment.outputs
    assert result.stdout.splitlines()[-1] == f"wrote     {tmp_path / 'a_objects.geojson'}"


def test_a_missing_library_is_wrong_usage(run, service, path, monkeypatch):
    monkeypatch.setitem(sys.modules, "roifile", None)
    monkeypatch.setattr("cellserve_contract.extras.missing_packages", lambda extra: ["roifile"])
    result = run("segment", path, "--save", "masks,rois")
    assert result.exit_code == 2
    assert "Invalid value for '--save': The result file 'rois' needs roifile, which is not installed." in result.stderr
    assert "pip install 'cellserve[formats]' [EXTRA_MISSING]" in result.stderr
    assert not service.requests
    assert run("segment", path, "--save", "masks,csv").exit_code == 0


def test_files_that_stacks_do_not_have_are_refused_before_the_upload(run, service, tmp_path):
    path = tmp_path / "stack.tif"
    tifffile.imwrite(path, np.zeros((3, 40, 40), np.uint8), imagej=True, metadata={"axes": "ZYX"})
    result = run("segment", path, "--volume", "--save", "masks,geojson,flows")
    assert result.exit_code == 1
    assert (
        f"{path}: the image is a stack, for which --save flows,geojson writes no files: leave out flows, geojson "
        "[FIELD_INVALID]" in result.stderr
    )
    assert not service.requests
