"""Runs that are killed, refused or out of room."""

import os
import resource
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from cellserve_large import ArrayMaps, Box, DiskFullError, OtherRunError, recover
from cellserve_large.store import Store
from cellserve_postprocess import RecoveryParams, recover_masks

from .fields import assert_recovered, crowd

SHAPE = (120, 200)
ENVIRONMENT = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}


@pytest.fixture(scope="module")
def maps():
    return crowd(SHAPE, 7)


@pytest.fixture(scope="module")
def expected(maps):
    return recover_masks(maps, RecoveryParams()).labels


def test_a_run_that_was_killed_again_and_again_ends_with_the_same_labels(tmp_path, maps, expected):
    np.save(tmp_path / "maps.npy", maps)
    script = Path(__file__).with_name("killed.py")
    arguments = [tmp_path / "maps.npy", tmp_path / "run", tmp_path / "labels.npy", "5"]
    subprocess.run([sys.executable, script, *arguments], env=ENVIRONMENT, check=True, timeout=120)
    np.testing.assert_array_equal(np.load(tmp_path / "labels.npy"), expected)
    assert not list((tmp_path / "run").rglob(".*"))


def test_threads_give_the_same_and_tell_of_progress(tmp_path, maps):
    told = []
    with ThreadPoolExecutor(3) as pool:
        count = assert_recovered(
            tmp_path, maps, RecoveryParams(), 50, executor=pool, progress=lambda *what: told.append(what)
        )
    assert count > 20
    assert [name for name, done, of in told if done == of] == ["follow", "regions", "label", "measure", "finish"]
    assert {of for name, _, of in told if name != "measure"} == {12}


def test_a_finished_run_is_not_computed_again(tmp_path, maps, expected):
    recover(ArrayMaps(maps), RecoveryParams(), tmp_path, side=64)
    nothing = ArrayMaps(np.full_like(maps, np.nan))
    again = recover(nothing, RecoveryParams(), tmp_path, side=64)
    np.testing.assert_array_equal(again.read(Box.whole(SHAPE)), expected)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image": "b"}, "image is a there and b here"),
        ({"side": 32}, "side is 64 there and 32 here"),
        ({"shape": (60, 100)}, "label_shape is"),
        ({"params": RecoveryParams(min_size=3)}, "min_size is 15 there and 3 here"),
    ],
)
def test_a_folder_of_another_run_is_refused(tmp_path, maps, change, message):
    same = {"params": RecoveryParams(), "image": "a", "side": 64}
    recover(ArrayMaps(maps), folder=tmp_path, **same)
    with pytest.raises(OtherRunError, match=message):
        recover(ArrayMaps(maps), folder=tmp_path, **same | change)


def test_a_full_disk_leaves_nothing_half_written_and_the_run_goes_on(tmp_path, maps, expected):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        with pytest.raises(DiskFullError, match=rf"{tmp_path}.*\d+ bytes.*25 bytes for each pixel.*goes on"):
            recover(ArrayMaps(maps), RecoveryParams(), tmp_path, side=100)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert {path.name for path in tmp_path.rglob("*.*")} == {"run.json", "run.lock"}
    found = recover(ArrayMaps(maps), RecoveryParams(), tmp_path, side=100)
    np.testing.assert_array_equal(found.read(Box.whole(SHAPE)), expected)


def test_arrays_come_back_from_the_store(tmp_path):
    store = Store(tmp_path)
    arrays = {"a": np.arange(7, dtype=np.int16), "b": np.empty((0, 4), np.int32), "c": np.eye(3)}
    store.save("stage", 5, **arrays)
    assert store.has("stage", 5)
    assert not store.has("stage", 6)
    for name, array in arrays.items():
        for found in (store.load("stage", 5, name)[0], store.map("stage", 5, name)):
            assert found.dtype == array.dtype
            np.testing.assert_array_equal(found, array)
