"""OME-Zarr images and labels: what is written is valid, is read back, and is whole or not there."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from cellserve_formats import PixelSize
from cellserve_formats.lazy import open_image
from cellserve_formats.pyramid import halved, levels
from hypothesis import given
from hypothesis import strategies as st

zarr = pytest.importorskip("zarr")
ome_zarr = pytest.importorskip("cellserve_formats.ome_zarr")

RNG = np.random.default_rng(3)
LENGTHS = {"T": 2, "C": 2, "Z": 3, "Y": 520, "X": 260}
VERSIONS = ["0.4", "0.5"]
SIZE = PixelSize(0.5, 0.25, 1.0)


def written(path, pixels, axes, **options):
    chunks = tuple(256 if letter in "YX" else 1 for letter in axes)
    writer = ome_zarr.OmeZarrWriter(path, axes, pixels.shape, pixels.dtype, chunks=chunks, pixel_size=SIZE, **options)
    writer.write([slice(0, length) for length in pixels.shape], pixels)
    writer.finish(threads=2)
    return path


def drawn(axes, dtype=np.uint16):
    return RNG.integers(0, 60000, [LENGTHS[letter] for letter in axes], np.uint16).astype(dtype)


def check_rules(path, version):
    """Checks what the specification of OME-Zarr demands of an image, or of labels; returns its metadata."""
    group = zarr.open_group(path, mode="r")
    assert group.metadata.zarr_format == (2 if version == "0.4" else 3)
    attributes = dict(group.attrs)
    ome = attributes["ome"] if version == "0.5" else attributes
    (image,) = ome["multiscales"]
    assert (ome if version == "0.5" else image)["version"] == version
    kinds = [axis["type"] for axis in image["axes"]]
    names = [axis["name"] for axis in image["axes"]]
    assert 2 <= len(names) <= 5
    assert len(set(names)) == len(names)
    assert kinds == sorted(kinds, key=["time", "channel", "space"].index)
    assert kinds.count("space") in (2, 3)
    assert all(axis.get("unit", "micrometer") == "micrometer" for axis in image["axes"])
    arrays = []
    for dataset in image["datasets"]:
        arrays.append(zarr.open_array(path / dataset["path"], mode="r"))
        scale, *moved = dataset["coordinateTransformations"]
        assert scale["type"] == "scale"
        assert all(transformation["type"] == "translation" for transformation in moved)
        assert all(len(step[step["type"]]) == len(names) for step in (scale, *moved))
        assert len(moved) <= 1
    assert {(array.ndim, array.dtype) for array in arrays} == {(len(names), arrays[0].dtype)}
    assert sorted((array.shape for array in arrays), reverse=True) == [array.shape for array in arrays]
    for array in arrays:
        if version == "0.5":
            assert list(array.metadata.dimension_names) == names
        else:
            assert array.metadata.dimension_separator == "/"
    if "image-label" in ome:
        assert arrays[0].dtype.kind in "iu"
        assert ome["image-label"].get("version", version) == version
    return ome


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("axes", ["YX", "CYX", "ZYX", "TYX", "CZYX", "TCZYX"])
def test_images_come_back(tmp_path, axes, version):
    pixels = drawn(axes)
    path = written(tmp_path / "new" / "image.zarr", pixels, axes, version=version)
    with open_image(path) as image:
        assert (image.axes, image.levels) == (axes, ((520, 260), (260, 130)))
        assert image.pixel_size == SIZE._replace(z=1.0 if "Z" in axes else None)
        assert image.warnings == ()
        np.testing.assert_array_equal(image.read([slice(None)] * len(axes)), pixels)
    assert [entry.name for entry in path.parent.iterdir()] == ["image.zarr"]
    smaller = zarr.open_array(path / "1", mode="r")[:]
    assert smaller.shape == tuple(
        -(-length // 2) if letter in "YX" else length for letter, length in LENGTHS.items() if letter in axes
    )
    four = pixels[..., :2, :2].astype(float).mean(axis=(-2, -1))
    np.testing.assert_array_equal(smaller[..., 0, 0], np.rint(four))


@pytest.mark.parametrize("version", VERSIONS)
def test_images_are_valid(tmp_path, version):
    (image,) = check_rules(written(tmp_path / "image.zarr", drawn("CZYX"), "CZYX", version=version), version)[
        "multiscales"
    ]
    scales = [dataset["coordinateTransformations"] for dataset in image["datasets"]]
    assert scales == [
        [{"type": "scale", "scale": [1, 1, 0.5, 0.25]}],
        [{"type": "scale", "scale": [1, 1, 1, 0.5]}, {"type": "translation", "translation": [0, 0, 0.25, 0.125]}],
    ]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("axes", ["YX", "ZYX"])
def test_labels_beside_an_image(tmp_path, axes, version):
    path = written(tmp_path / "image.zarr", drawn("C" + axes), "C" + axes, version=version)
    labels = drawn(axes, np.uint32) * 70
    for name in ("cells", "nuclei", "cells"):
        chunks = (1, 256, 256)[-len(axes) :]
        writer = ome_zarr.labels_beside(path, name, axes, labels.shape, "u4", chunks=chunks, pixel_size=SIZE)
        writer.write([slice(0, length) for length in labels.shape], labels)
        writer.finish()
    with open_image(path / "labels" / "cells", as_stored=True) as image:
        assert (image.axes, image.dtype, image.pixel_size) == (axes, np.uint32, open_image(path).pixel_size)
        np.testing.assert_array_equal(image.read([slice(None)] * len(axes)), labels)
    np.testing.assert_array_equal(zarr.open_array(path / "labels/cells/1", mode="r")[:], labels[..., ::2, ::2])
    listed = dict(zarr.open_group(path / "labels", mode="r").attrs)
    assert (listed["ome"] if version == "0.5" else listed)["labels"] == ["cells", "nuclei"]
    assert sorted(entry.name for entry in (path / "labels").iterdir() if entry.is_dir()) == ["cells", "nuclei"]
    assert check_rules(path / "labels" / "cells", version)["image-label"]["source"] == {"image": "../../"}


@pytest.mark.parametrize("version", VERSIONS)
def test_labels_are_found_by_collected_metadata(tmp_path, version):
    path = written(tmp_path / "image.zarr", drawn("YX"), "YX", version=version)
    with warnings.catch_warnings(action="ignore"):  # format 3 has no rule for them
        zarr.consolidate_metadata(path)
    writer = ome_zarr.labels_beside(path, "cells", "YX", (520, 260), "u2", chunks=(256, 256))
    writer.finish()
    found = zarr.open_group(path, mode="r", use_consolidated=True)
    assert found["labels/cells/0"].shape == (520, 260)


@pytest.mark.parametrize("version", VERSIONS)
def test_labels_without_an_image(tmp_path, version):
    path = written(tmp_path / "labels.zarr", drawn("YX"), "YX", version=version, labels=True)
    assert "source" not in check_rules(path, version)["image-label"]


@pytest.mark.parametrize("version", VERSIONS)
def test_nothing_looks_whole_before_the_end(tmp_path, version):
    path = written(tmp_path / "image.zarr", drawn("YX"), "YX", version=version)
    labels = drawn("YX")

    def started():
        return ome_zarr.labels_beside(path, "cells", "YX", labels.shape, "u2", chunks=(256, 256))

    first = started()
    assert not first.resumed
    first.write((slice(0, 256), slice(0, 260)), labels[:256])
    assert [entry.name for entry in (path / "labels").iterdir()] == [".cells.part"]
    assert "multiscales" not in json.dumps(dict(zarr.open_group(path / "labels" / ".cells.part").attrs))
    again = started()
    assert again.resumed
    again.write((slice(256, 520), slice(0, 260)), labels[256:])
    again.finish()
    assert not (path / "labels" / ".cells.part").exists()
    with open_image(path / "labels" / "cells") as image:
        np.testing.assert_array_equal(image.read([slice(None)] * 2), labels)
    third = started()  # replaces the second when it is done, not before
    assert not third.resumed
    with open_image(path / "labels" / "cells") as image:
        np.testing.assert_array_equal(image.read([slice(None)] * 2), labels)
    third.finish()
    with open_image(path / "labels" / "cells") as image:
        assert not image.read([slice(None)] * 2).any()


@pytest.mark.parametrize(
    "changed",
    [{"shape": (520, 259)}, {"dtype": "u4"}, {"chunks": (128, 256)}, {"version": "0.4"}],
)
def test_blocks_of_another_image_are_not_taken_over(tmp_path, changed):
    options = {"axes": "YX", "shape": (520, 260), "dtype": "u2", "chunks": (256, 256)}
    ome_zarr.OmeZarrWriter(tmp_path / "a.zarr", **options).write((slice(0, 256),) * 2, np.ones((256, 256), "u2"))
    assert ome_zarr.OmeZarrWriter(tmp_path / "a.zarr", **options).resumed
    other = ome_zarr.OmeZarrWriter(tmp_path / "a.zarr", **options | changed)
    assert not other.resumed
    other.finish()
    with open_image(tmp_path / "a.zarr", as_stored=True) as image:
        assert not image.read([slice(None)] * 2).any()


KILLED = """
import sys
from pathlib import Path
import numpy as np
from cellserve_formats.ome_zarr import OmeZarrWriter
labels = np.arange(520 * 260, dtype=np.uint32).reshape(520, 260)
writer = OmeZarrWriter(Path(sys.argv[1]), "YX", labels.shape, "u4", chunks=(64, 64), labels=True)
print(writer.resumed, flush=True)
for start in range(0, 520, 64):
    writer.write((slice(start, min(start + 64, 520)), slice(0, 260)), labels[start : start + 64])
    print(start, flush=True)
writer.finish()
print("done", flush=True)
"""


def test_a_killed_run_leaves_nothing_that_looks_whole(tmp_path):
    path = tmp_path / "labels.zarr"
    for line in ("128", "512"):
        with subprocess.Popen([sys.executable, "-c", KILLED, path], stdout=subprocess.PIPE, text=True) as process:
            for said in process.stdout:
                if said.strip() == line:
                    process.send_signal(signal.SIGKILL)
                    break
        assert process.returncode == -signal.SIGKILL
        assert not path.exists()
    said = subprocess.run([sys.executable, "-c", KILLED, path], capture_output=True, text=True, check=True).stdout
    assert said.startswith("True\n")
    assert said.endswith("done\n")
    with open_image(path, as_stored=True) as image:
        expected = np.arange(520 * 260, dtype=np.uint32).reshape(520, 260)
        np.testing.assert_array_equal(image.read([slice(None)] * 2), expected)


def test_threads_write_blocks(tmp_path):
    pixels = drawn("ZYX")
    writer = ome_zarr.OmeZarrWriter(tmp_path / "a.zarr", "ZYX", pixels.shape, "u2", chunks=(2, 100, 100))
    regions = [
        (slice(z, min(z + 2, 3)), slice(y, min(y + 100, 520)), slice(x, min(x + 200, 260)))
        for z in range(0, 3, 2)
        for y in range(0, 520, 100)
        for x in range(0, 260, 200)
    ]
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda region: writer.write(region, pixels[region]), regions))
    writer.finish(threads=4)
    with open_image(tmp_path / "a.zarr") as image:
        np.testing.assert_array_equal(image.read([slice(None)] * 3), pixels)


@pytest.mark.parametrize(
    ("region", "shape"),
    [
        ((slice(0, 100), slice(0, 256)), (100, 256)),
        ((slice(100, 256), slice(0, 256)), (156, 256)),
        ((slice(0, 256), slice(512, 768)), (256, 256)),
        ((slice(0, 256), slice(0, 256)), (256, 255)),
        ((slice(256, 256), slice(0, 256)), (0, 256)),
    ],
)
def test_blocks_that_do_not_fit(tmp_path, region, shape):
    writer = ome_zarr.OmeZarrWriter(tmp_path / "a.zarr", "YX", (700, 531), "u2", chunks=(256, 256))
    with pytest.raises(ValueError, match=r"whole chunks|has the shape"):
        writer.write(region, np.zeros(shape, "u2"))


@pytest.mark.parametrize(
    ("name", "axes", "shape", "chunks"),
    [
        ("a.zarr", "YXS", (5, 6, 3), (5, 6, 3)),
        ("a.zarr", "YX", (5, 6, 3), (5, 6, 3)),
        ("a.zarr", "YX", (5, 0), (5, 5)),
        ("a.zarr", "YX", (5, 6), (5,)),
        ("a.zarr", "YX", (5, 6), (0, 6)),
        (".hidden", "YX", (5, 6), (5, 6)),
        ("a b", "YX", (5, 6), (5, 6)),
    ],
)
def test_images_that_cannot_be_written(tmp_path, name, axes, shape, chunks):
    with pytest.raises(ValueError, match=r"make no OME-Zarr image|other characters"):
        ome_zarr.OmeZarrWriter(tmp_path / name, axes, shape, "u2", chunks=chunks)
    assert not list(tmp_path.iterdir())


def test_blocks_that_cannot_be_stored(tmp_path):
    writer = ome_zarr.OmeZarrWriter(tmp_path / "a.zarr", "YX", (64, 64), "u2", chunks=(64, 64))
    shutil.rmtree(tmp_path / ".a.zarr.part" / "0")
    (tmp_path / ".a.zarr.part" / "0").write_bytes(b"")  # no folder can be made here
    with pytest.raises(OSError, match=r"."):
        writer.write((slice(0, 64),) * 2, np.ones((64, 64), "u2"))


shapes = st.lists(st.integers(1, 9), min_size=1, max_size=3)


@given(shapes, st.data())
def test_smaller_copies(shape, data):
    steps = tuple(data.draw(st.integers(1, 2)) for _ in shape)
    values = np.random.default_rng(0).integers(0, 255, shape, np.uint8)
    means, firsts = halved(values, steps, mean=True), halved(values, steps, mean=False)
    assert means.shape == firsts.shape == tuple(-(-length // step) for length, step in zip(shape, steps, strict=True))
    assert means.dtype == firsts.dtype == values.dtype
    for place in np.ndindex(means.shape):
        box = tuple(slice(at * step, (at + 1) * step) for at, step in zip(place, steps, strict=True))
        assert firsts[place] == values[box].flat[0]
        assert means[place] == np.rint(values[box].mean())


def test_voxels_become_cubes():
    found = levels("CZYX", (2, 100, 5000, 4000), PixelSize(0.25, 0.25, 1.0))
    assert [level.scale for level in found] == [
        (1, 1, 1, 1), (1, 1, 2, 2), (1, 1, 4, 4), (1, 2, 8, 8), (1, 4, 16, 16)
    ]  # fmt: skip
    assert found[-1].shape == (2, 25, 313, 250)
    assert [level.scale for level in levels("ZYX", (100, 1000, 1000), None)] == [(1, 1, 1), (2, 2, 2)]
    assert levels("ZYX", (1, 1000, 10), None)[-1].shape == (1, 500, 5)
    assert len(levels("YX", (512, 512), None)) == 1
