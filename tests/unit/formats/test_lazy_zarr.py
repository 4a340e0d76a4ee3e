"""Regions of Zarr stores, of both formats: OME-Zarr images and plain arrays, whole and damaged."""

from __future__ import annotations

import json
import pickle
import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tifffile
from cellserve_contract.warnings import WarningKind
from cellserve_formats import ImageError, PixelSize
from cellserve_formats.lazy import open_image

numcodecs = pytest.importorskip("numcodecs")
zarr = pytest.importorskip("zarr")

RNG = np.random.default_rng(2)
LENGTHS = {"T": 2, "C": 2, "Z": 3, "Y": 12, "X": 18}
SIZES = {"T": 1.0, "C": 1.0, "Z": 2.0, "Y": 0.5, "X": 0.25}
AXES = ["YX", "CYX", "ZYX", "TYX", "CZYX", "ZCYX", "TZYX", "TCYX", "TCZYX", "XY"]


def pixels_of(axes, dtype=np.uint16):
    return RNG.integers(0, 60000, [LENGTHS[letter] for letter in axes], np.uint16).astype(dtype)


def multiscales(axes, version="0.4", unit="micrometer", **more):
    described = {
        "version": version,
        "axes": [
            {"name": letter.lower(), "type": "space", **({"unit": unit} if letter in "ZYX" else {})} for letter in axes
        ],
        "datasets": [
            {
                "path": f"level{n}",
                "coordinateTransformations": [{"type": "scale", "scale": [SIZES[a] * 2**n for a in axes]}],
            }
            for n in range(2)
        ],
        **more,
    }
    return (
        {"ome": {"version": version, "multiscales": [described]}} if version == "0.5" else {"multiscales": [described]}
    )


def ome_zarr(path, pixels, axes, version="0.4", **options):
    """Written by hand, not by the writer of this package."""
    group = zarr.open_group(path, mode="w", zarr_format=2 if version == "0.4" else 3)
    chunks = tuple(min(length, 8) if letter in "YX" else 1 for letter, length in zip(axes, pixels.shape, strict=True))
    for n in range(2):
        data = pixels[tuple(slice(None, None, 2**n) if letter in "YX" else slice(None) for letter in axes)]
        group.create_array(f"level{n}", data=data, chunks=chunks, **options)
    group.attrs.update(multiscales(axes, version))
    return path


@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize("axes", AXES)
def test_images_of_all_axes(tmp_path, axes, version):
    pixels = pixels_of(axes)
    with open_image(ome_zarr(tmp_path / "image.zarr", pixels, axes, version)) as image:
        assert (image.axes, image.shape, image.dtype, image.name) == (axes, pixels.shape, pixels.dtype, "image.zarr")
        assert image.pixel_size == PixelSize(0.5, 0.25, 2.0 if "Z" in axes else None)
        assert image.levels == ((12, 18), (6, 9))
        assert image.chunks[axes.index("Y")] == image.chunks[axes.index("X")] == 8
        assert image.folder == tmp_path / "image.zarr"
        assert image.warnings == ()
        np.testing.assert_array_equal(image.read([slice(None)] * len(axes)), pixels)
        region = tuple(slice(length // 3, length // 3 + max(1, length // 2)) for length in pixels.shape)
        np.testing.assert_array_equal(image.read(region), pixels[region])


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_axes_of_length_one_are_dropped(tmp_path, version):
    pixels = pixels_of("TCZYX")[:1, :1]
    with open_image(ome_zarr(tmp_path / "image.zarr", pixels, "TCZYX", version)) as image:
        assert (image.axes, image.shape, len(image.chunks)) == ("ZYX", (3, 12, 18), 3)
        np.testing.assert_array_equal(image.read([slice(1, 3), slice(4, 9), slice(18)]), pixels[0, 0, 1:3, 4:9])


@pytest.mark.parametrize(
    ("stored", "read"), [("bool", "u1"), ("i1", "i2"), (">u2", "u2"), ("i4", "f8"), ("f2", "f4"), ("u8", "f8")]
)
def test_types(tmp_path, stored, read):
    pixels = (pixels_of("YX") % 100).astype(stored)
    path = ome_zarr(tmp_path / "image.zarr", pixels, "YX")
    for as_stored, dtype in ((False, read), (True, np.dtype(stored).newbyteorder("="))):
        with open_image(path, as_stored=as_stored) as image:
            values = image.read([slice(None)] * 2)
            assert image.dtype == values.dtype == dtype
            np.testing.assert_array_equal(values, pixels)


@pytest.mark.parametrize(
    ("unit", "common", "size"),
    [
        ("nanometer", None, PixelSize(0.0005, 0.00025, 0.002)),
        ("micrometer", [10, 10, 10], PixelSize(5, 2.5, 20)),
        ("parsec", None, None),
        ("", None, None),
        ("meter", None, None),
    ],
)
def test_pixel_sizes(tmp_path, unit, common, size):
    path = ome_zarr(tmp_path / "image.zarr", pixels_of("ZYX"), "ZYX")
    more = {"coordinateTransformations": [{"type": "scale", "scale": common}]} if common else {}
    zarr.open_group(path, mode="r+").attrs.update(multiscales("ZYX", unit=unit, **more))
    found = open_image(path).pixel_size
    assert found == (size and pytest.approx(size))
    assert open_image(path, pixel_size=PixelSize(1, 1)).pixel_size == PixelSize(1, 1)


def plain_array(path, format_, names):
    pixels = pixels_of("ZYX")
    named = {"dimension_names": names} if format_ == 3 and names else {}
    array = zarr.create_array(path, data=pixels, chunks=(1, 8, 8), zarr_format=format_, **named)
    if format_ == 2 and names:
        array.attrs["_ARRAY_DIMENSIONS"] = names
    return pixels


@pytest.mark.parametrize("format_", [2, 3])
def test_plain_arrays(tmp_path, format_):
    for names, axes in ((["z", "y", "x"], "ZYX"), (["time", "Y", "X"], "TYX"), (["channel", "y", "x"], "CYX")):
        path = tmp_path / f"{axes}.zarr"
        pixels = plain_array(path, format_, names)
        for given in (None, "CYX"):
            with open_image(path, axes=given) as image:
                assert (image.axes, image.folder, image.levels) == (axes, None, ((12, 18),))
                np.testing.assert_array_equal(image.read([slice(None)] * 3), pixels)
    for names in (None, ["lat", "lon", "height"]):
        path = tmp_path / f"{names}.zarr"
        plain_array(path, format_, names)
        assert open_image(path, axes="CYX").axes == "CYX"
        with pytest.raises(ImageError, match=r"does not name its axes; name them, such as axes='ZYX'") as caught:
            open_image(path)
        assert caught.value.reason == "AXES_UNKNOWN"


def test_arrays_hold_one_image(tmp_path):
    plain_array(tmp_path / "a.zarr", 3, ["z", "y", "x"])
    for source in (tmp_path / "a.zarr", pixels_of("YX")):
        assert open_image(source, series=0).axes in ("ZYX", "YX")
        assert (refused(source, series=1).reason, refused(source, series=1).metadata) == (
            "IMAGE_UNKNOWN", {"available": 1}
        )  # fmt: skip


def test_an_array_inside_of_a_store(tmp_path):
    path = ome_zarr(tmp_path / "image.zarr", pixels_of("ZYX"), "ZYX")
    assert open_image(path / "level1", axes="ZYX").shape == (3, 6, 9)


def test_arrays_in_memory_of_the_program(tmp_path):
    dask = pytest.importorskip("dask.array")
    pixels = pixels_of("ZYX")
    arrays = {
        "numpy": (pixels, (1, 1, 18)),
        "dask": (dask.from_array(pixels, chunks=((2, 1), 8, 16)), (2, 8, 16)),
        "zarr": (zarr.create_array({}, data=pixels, chunks=(1, 8, 8)), (1, 8, 8)),
    }
    for array, chunks in arrays.values():
        with open_image(array, axes="ZYX", pixel_size=PixelSize(1, 1, 3)) as image:
            assert (image.axes, image.chunks, image.pixel_size) == ("ZYX", chunks, PixelSize(1, 1, 3))
            region = (slice(1, 3), slice(3, 12), slice(None))
            read = image.read(region)
            np.testing.assert_array_equal(read, pixels[region])
            read[...] = 0  # belongs to the caller
            np.testing.assert_array_equal(image.read(region), pixels[region])
        with pytest.raises(ImageError, match="does not name its axes"):
            open_image(array)
    assert open_image(pixels[0]).axes == "YX"
    with pytest.raises(ImageError, match="such as axes='CZYX'"):
        open_image(pixels[None])
    for wrong in ([[1]], 7, None):
        with pytest.raises(TypeError, match="an image is a path, or an array"):
            open_image(wrong)


@pytest.mark.parametrize(("version", "options"), [("0.4", {}), ("0.5", {}), ("0.5", {"shards": (2, 16, 16)})])
def test_threads_read_at_once(tmp_path, version, options):
    pixels = pixels_of("ZYX")
    path = ome_zarr(tmp_path / "image.zarr", pixels, "ZYX", version, **options)
    with open_image(path) as image, ThreadPoolExecutor(8) as threads:
        assert image.chunks == (1, 8, 8)
        assert image.warnings == ()
        regions = []
        for _ in range(60):
            ends = [sorted(RNG.choice(length + 1, 2, replace=False).tolist()) for length in pixels.shape]
            regions.append(tuple(slice(start, stop) for start, stop in ends))
        for region, read in zip(regions, threads.map(image.read, regions), strict=True):
            np.testing.assert_array_equal(read, pixels[region])


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_chunks_that_are_not_there_are_zero_and_warned_of(tmp_path, version):
    pixels = pixels_of("ZYX")
    path = ome_zarr(tmp_path / "image.zarr", pixels, "ZYX", version)
    lost = path / "level0" / ("1.0.2" if version == "0.4" else "c/1/0/2")
    lost.unlink()
    with open_image(path) as image:
        assert image.warnings == ((WarningKind.TILES_MISSING, {"missing": "1", "tiles": "18"}),)
        expected = pixels.copy()
        expected[1, :8, 16:] = 0
        np.testing.assert_array_equal(image.read([slice(None)] * 3), expected)


CODECS = {
    "0.4": [None, numcodecs.Blosc("lz4"), numcodecs.Blosc("zstd"), numcodecs.Zstd(), numcodecs.Zlib(), numcodecs.LZ4()],
    "0.5": [None, zarr.codecs.BloscCodec(cname="lz4"), zarr.codecs.ZstdCodec(), zarr.codecs.GzipCodec()],
}


@pytest.mark.parametrize(("version", "codec"), [(version, codec) for version in CODECS for codec in CODECS[version]])
@pytest.mark.parametrize("damage", ["half", "empty", "noise"])
def test_a_damaged_chunk_is_named(tmp_path, version, codec, damage):
    pixels, key = pixels_of("ZYX"), "1.0.2" if version == "0.4" else "c/1/0/2"
    path = ome_zarr(tmp_path / "image.zarr", pixels, "ZYX", version, compressors=codec)
    if codec is None and damage == "noise":
        return  # nothing tells them from pixels
    chunk = path / "level0" / key
    data = chunk.read_bytes()
    chunk.write_bytes({"half": data[: len(data) // 2], "empty": b"", "noise": bytes(len(data))}[damage])
    with open_image(path) as image:
        with pytest.raises(ImageError, match=rf"the chunk level0/{key} of the Zarr store cannot be decoded") as caught:
            image.read([slice(None)] * 3)
        assert caught.value.reason == "IMAGE_UNDECODABLE"
        np.testing.assert_array_equal(image.read([slice(2, 3), slice(None), slice(None)]), pixels[2:3])


def test_a_damaged_shard_is_named(tmp_path):
    path = ome_zarr(tmp_path / "image.zarr", pixels_of("ZYX"), "ZYX", "0.5", shards=(2, 16, 16))
    (path / "level0" / "c/1/0/1").write_bytes(b"not a shard")
    with open_image(path) as image, pytest.raises(ImageError, match="the chunk level0/c/1/0/1 of the Zarr store"):
        image.read([slice(None)] * 3)


def refused(path, **options):
    with pytest.raises(ImageError) as caught:
        open_image(path, **options)
    return caught.value


@pytest.mark.parametrize("version", ["0.1", "0.3", "0.6", "latest"])
def test_other_versions_of_ome_zarr(tmp_path, version):
    path = ome_zarr(tmp_path / "image.zarr", pixels_of("YX"), "YX")
    zarr.open_group(path, mode="r+").attrs.update(multiscales("YX", version))
    error = refused(path)
    assert error.reason == "IMAGE_UNDECODABLE"
    assert f"OME-Zarr {version}; versions 0.4 and 0.5 are read" in error.message


@pytest.mark.parametrize("content", [{"zarr_format": 4, "node_type": "array"}, {}, [], None])
def test_other_formats_of_zarr(tmp_path, content):
    (tmp_path / "zarr.json").write_text("{" if content is None else json.dumps(content))
    error = refused(tmp_path)
    assert error.reason == "IMAGE_UNDECODABLE"
    assert "formats 2 and 3 are read" in error.message


@pytest.mark.parametrize(
    "metadata",
    [
        {"axes": ["y", "x"]},
        {"axes": [{"name": "lat"}, {"name": "lon"}]},
        {"axes": [{"name": "z"}, {"name": "y"}, {"name": "x"}]},
        {"axes": [{"name": "y"}, {"name": "y"}]},
        {"axes": []},
        {"datasets": []},
        {"datasets": [{"path": "level0"}]},
        {"datasets": [{"path": "level7", "coordinateTransformations": []}]},
        {"datasets": None},
        {"datasets": [{"path": "level0", "coordinateTransformations": [{"type": "scale", "scale": [1]}]}]},
        {"datasets": [{"path": "level0", "coordinateTransformations": [{"type": "scale", "scale": ["a", "b"]}]}]},
    ],
)
def test_metadata_that_break_the_rules(tmp_path, metadata):
    path = ome_zarr(tmp_path / "image.zarr", pixels_of("YX"), "YX")
    described = multiscales("YX")["multiscales"][0] | metadata
    zarr.open_group(path, mode="r+").attrs.update({"multiscales": [described]})
    assert refused(path).reason in ("IMAGE_UNDECODABLE", "AXES_UNKNOWN")


def test_folders_that_are_no_image(tmp_path):
    (tmp_path / "empty.zarr").mkdir()
    assert "is no Zarr store of format 2 or 3" in refused(tmp_path / "empty.zarr").message
    group = zarr.open_group(tmp_path / "group.zarr", mode="w")
    assert "describes no OME-Zarr image; it holds no array" in refused(tmp_path / "group.zarr").message
    for name in "ab":
        group.create_array(name, data=np.zeros((4, 5)))
    assert "its arrays are a, b: give the path of one of them" in refused(tmp_path / "group.zarr").message
    for kind in ("plate", "well"):
        zarr.open_group(tmp_path / f"{kind}.zarr", mode="w", attributes={"ome": {"version": "0.5", kind: {}}})
        assert "is a plate of wells; give the path of one image" in refused(tmp_path / f"{kind}.zarr").message
    with pytest.raises(FileNotFoundError):
        open_image(tmp_path / "nothing.zarr")


def test_several_images_in_a_store(tmp_path):
    zarr.open_group(tmp_path, mode="w", zarr_format=2, attributes={"bioformats2raw.layout": 3})
    images = [pixels_of("YX"), pixels_of("YX")]
    for number, pixels in enumerate(images):
        ome_zarr(tmp_path / str(number), pixels, "YX")
    error = refused(tmp_path)
    assert (error.reason, error.metadata) == ("IMAGE_UNKNOWN", {"available": 2})
    assert "no image 2; choose one" in refused(tmp_path, series=2).message
    for number, pixels in enumerate(images):
        with open_image(tmp_path, series=number) as image:
            assert image.folder == tmp_path / str(number)
            np.testing.assert_array_equal(image.read([slice(None)] * 2), pixels)
    shutil.rmtree(tmp_path / "1")
    assert open_image(tmp_path).folder == tmp_path / "0"


@pytest.mark.parametrize(("dtype", "shape"), [("c8", (4, 5)), ("S3", (4, 5)), ("u1", (0, 5))])
def test_values_that_are_no_image(tmp_path, dtype, shape):
    zarr.create_array(tmp_path / "a.zarr", shape=shape, dtype=dtype, chunks=(1, 1), zarr_format=2)
    assert refused(tmp_path / "a.zarr", axes="YX").reason in ("DATA_TYPE_UNSUPPORTED", "IMAGE_EMPTY")


@pytest.mark.parametrize(
    "region",
    [
        [slice(None)],
        [slice(None)] * 3,
        [slice(0, 13), slice(None)],
        [slice(-3, None), slice(None)],
        [slice(5, 5), slice(None)],
        [slice(0, 12, 2), slice(None)],
    ],
)
def test_regions_that_are_not_within_the_image(tmp_path, region):
    image = open_image(pixels_of("YX"))
    with pytest.raises(ValueError, match="the region"):
        image.read(region)


def test_a_missing_library_names_the_extra(tmp_path, monkeypatch):
    import sys

    from cellserve_contract import extras

    path = ome_zarr(tmp_path / "image.zarr", pixels_of("YX"), "YX")
    monkeypatch.setattr(extras, "missing_packages", lambda extra: ["zarr"] if extra == "large" else [])
    monkeypatch.setitem(sys.modules, "zarr", None)
    monkeypatch.delitem(sys.modules, "cellserve_formats.lazy.zarr_source", raising=False)
    with pytest.raises(extras.MissingExtraError, match=r"image\.zarr needs zarr.*\n.*pip install 'cellserve\[large\]'"):
        open_image(path)


def test_another_file_of_the_same_path_is_opened_again(tmp_path):
    """A worker of a cluster serves one run after another."""
    for value in (1, 2):
        path = tmp_path / f"{value}.tif"
        tifffile.imwrite(path, np.full((20, 30), value, np.uint16))
        path.replace(tmp_path / "image.tif")
        with open_image(tmp_path / "image.tif") as image:
            copy = pickle.loads(pickle.dumps(image))
        assert copy.read([slice(0, 1), slice(0, 1)]) == value


def test_an_array_of_dask_has_no_name_that_changes():
    dask = pytest.importorskip("dask.array")
    assert open_image(dask.random.random((20, 30))).name == ""
