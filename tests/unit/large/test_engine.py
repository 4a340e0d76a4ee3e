"""The engine around a run: its folder, and what it refuses."""

import numpy as np
import pytest
import tifffile
from cellserve import CellServeError, connection
from cellserve_large import results, segment_image

from .servers import FakeClient

IMAGE = np.arange(60 * 70, dtype=np.uint16).reshape(60, 70)


@pytest.fixture(autouse=True)
def _without_a_server(monkeypatch):
    monkeypatch.setattr(connection, "Client", lambda *_, **__: FakeClient())


def run(out, **options):
    return segment_image(IMAGE, out, diameter=30, **options)


def test_the_run_folder_is_deleted_at_the_end(tmp_path):
    assert run(tmp_path / "cells").objects == 0
    assert run(tmp_path / "other", run_folder=tmp_path / "run").objects == 0
    assert not [entry.name for entry in tmp_path.iterdir() if entry.name in ("run", ".cells.cellserve")]


def test_a_folder_with_files_of_others_is_no_run_folder(tmp_path):
    folder = tmp_path / "scratch"
    folder.mkdir()
    (folder / "thesis.txt").write_text("ten years of work")
    with pytest.raises(CellServeError, match="has to be new or empty") as refused:
        run(tmp_path / "cells", run_folder=folder)
    assert refused.value.reason == "RUN_STOPPED"
    assert [entry.name for entry in folder.iterdir()] == ["thesis.txt"]


def test_results_in_the_run_folder_would_be_deleted(tmp_path):
    with pytest.raises(CellServeError, match="is to hold the results"):
        run(tmp_path / "run" / "cells", run_folder=tmp_path / "run")


def test_nobody_else_runs_in_the_folder_until_the_results_are_written(tmp_path, monkeypatch):
    told = []

    def write(self, *_):
        with pytest.raises(CellServeError, match="another run works in the run folder") as refused:
            run(tmp_path / "cells")
        told.append(refused.value.reason)
        raise OSError(28, "No space left on device", "cells")

    with monkeypatch.context() as patched:
        patched.setattr(results.Results, "write", write)
        with pytest.raises(CellServeError, match="What was segmented is kept"):
            run(tmp_path / "cells")
    assert told == ["RUN_STOPPED"]
    assert (tmp_path / ".cells.cellserve").is_dir()
    run(tmp_path / "cells")
    assert not (tmp_path / ".cells.cellserve").exists()


def test_a_run_does_not_go_on_with_another_file_of_the_same_name(tmp_path, monkeypatch):
    path = tmp_path / "cells.tif"

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(results.Results, "write", fail)
    for place, value in ((100, 200), (3500, 90)):  # elsewhere all pixels are the same
        pixels = np.zeros((6000, 4000), np.uint8)
        pixels[place : place + 99, 100:199] = value
        tifffile.imwrite(path, pixels, compression="deflate")
        with pytest.raises(CellServeError) as stopped:
            segment_image(path, diameter=400)
    assert stopped.value.reason == "RUN_STOPPED"
    assert "modified_ns is" in stopped.value.message


def test_a_run_that_did_not_begin_leaves_no_folder(tmp_path):
    with pytest.raises(CellServeError, match="nucleus_channel"):
        run(tmp_path / "cells", nucleus_channel=5)
    assert not list(tmp_path.iterdir())


def test_a_run_folder_that_cannot_be_made_is_not_an_image_that_cannot_be_read(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(CellServeError, match="cannot write the run folder") as refused:
        run(tmp_path / "cells", run_folder=tmp_path / "file" / "run")
    assert refused.value.reason == "FILE_UNWRITABLE"


def test_results_that_cannot_be_written_are_refused_before_the_work(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(CellServeError, match=r"cannot write the results, .*Not a directory; choose another") as refused:
        run(tmp_path / "file" / "cells", run_folder=tmp_path / "run")
    assert refused.value.reason == "FILE_UNWRITABLE"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_an_array_in_memory_does_not_go_to_a_cluster(tmp_path):
    with pytest.raises(CellServeError, match="cannot read an array of NumPy"):
        run(tmp_path / "cells", scheduler="tcp://127.0.0.1:9")
