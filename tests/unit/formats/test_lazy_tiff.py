"""Regions of TIFF files: the same pixels as `read_image` reads, whatever the file is like."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import imagecodecs
import numpy as np
import pytest
import tifffile
from cellserve_contract.warnings import WarningKind
from cellserve_formats import ImageError, PixelSize, read_image
from cellserve_formats.lazy import open_image, tiff_source

from tests.cases.files import without_tile

from .samples import ALPHA, COLOUR, GREY, small_tiff, tiff

RNG = np.random.default_rng(1)
STACK = RNG.integers(0, 60000, (5, 40, 52), np.uint16)
HYPER = RNG.integers(0, 60000, (2, 3, 2, 20, 30), np.uint16)
SMOOTH = np.add.outer(np.arange(40), np.arange(60)).astype(np.uint8)

FILES = {
    "plain": tiff(GREY),
    "big-endian": tiff(GREY.astype(">u2"), byteorder=">"),
    "bigtiff": tiff(STACK, bigtiff=True, metadata={"axes": "ZYX"}, photometric="minisblack"),
    "pages": tiff(STACK, metadata=None, photometric="minisblack"),
    "pages of strips": tiff(STACK, metadata=None, photometric="minisblack", rowsperstrip=7, compression="zlib"),
    "tiles": tiff(STACK, tile=(16, 32), compression="zlib", predictor=True, photometric="minisblack"),
    "uncompressed tiles": tiff(GREY, tile=(16, 16)),
    "lzw": tiff(GREY, compression="lzw", rowsperstrip=3),
    "zstd, float": tiff(GREY.astype(np.float32), compression="zstd"),
    "half": tiff(GREY.astype(np.float16)),
    "int8": tiff((GREY % 200 - 100).astype(np.int8)),
    "bool": tiff(GREY > 2000),
    "imagej": tiff(HYPER, imagej=True, metadata={"axes": "TZCYX"}),
    "imagej, compressed": tiff(HYPER, imagej=True, metadata={"axes": "TZCYX"}, compression="zlib"),
    "ome": tiff(HYPER, ome=True, metadata={"axes": "TZCYX"}),
    "ome, other order": tiff(HYPER, ome=True, metadata={"axes": "CTZYX"}),
    "ome, ones": tiff(HYPER[:1, :, :1], ome=True, metadata={"axes": "TZCYX"}),
    "ome, tiles": tiff(HYPER, ome=True, metadata={"axes": "TZCYX"}, tile=(16, 16), compression="zlib"),
    "rgb": tiff(COLOUR, photometric="rgb"),
    "rgb, tiles": tiff(COLOUR, photometric="rgb", tile=(16, 16), compression="zlib"),
    "rgb, planes": tiff(np.moveaxis(COLOUR, 2, 0), photometric="rgb", planarconfig="separate"),
    "rgb, pages": tiff(np.stack([COLOUR] * 3), photometric="rgb", metadata=None),
    "rgb, alpha": tiff(np.dstack([COLOUR, ALPHA]), photometric="rgb", extrasamples=["unassalpha"]),
    "grey, alpha": tiff(np.dstack([ALPHA, ALPHA]), planarconfig="contig", extrasamples=["unassalpha"]),
    "jpeg": tiff(np.dstack([SMOOTH, SMOOTH, 200 - SMOOTH]), photometric="rgb", compression="jpeg", tile=(16, 16)),
    "palette": tiff(ALPHA, photometric="palette", colormap=RNG.integers(0, 65536, (3, 256), np.uint16)),
    "grey palette": tiff(ALPHA, photometric="palette", colormap=np.tile(np.arange(256, dtype=np.uint16) * 257, (3, 1))),
    "white is 0": tiff(ALPHA, photometric="miniswhite", software="scanner"),
    "4 bits": small_tiff(bytes(range(100, 220)), 12, 20, BitsPerSample=4, PhotometricInterpretation=1),
}


def regions(shape, count=4):
    yield tuple(slice(0, length) for length in shape)
    for _ in range(count):
        ends = [sorted(RNG.choice(length + 1, 2, replace=False).tolist()) for length in shape]
        yield tuple(slice(start, stop) for start, stop in ends)


@pytest.mark.parametrize("as_stored", [False, True])
@pytest.mark.parametrize("name", FILES)
def test_regions_are_those_of_the_whole_image(tmp_path, name, as_stored):
    path = tmp_path / "image.tif"
    path.write_bytes(FILES[name])
    whole = read_image(path, as_stored=as_stored)
    with open_image(path, as_stored=as_stored) as image:
        assert (image.axes, image.shape, image.name) == (whole.axes, whole.pixels.shape, "image.tif")
        assert image.dtype == whole.pixels.dtype
        assert image.dtype.isnative
        assert image.levels == (tuple(image.shape[image.axes.index(letter)] for letter in "YX"),)
        assert len(image.chunks) == len(image.shape)
        for region in regions(image.shape):
            read = image.read(region)
            np.testing.assert_array_equal(read, whole.pixels[region])
            assert read.dtype == image.dtype
            assert read.flags.c_contiguous
            assert read.flags.writeable


def test_the_type_does_not_depend_on_the_values(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", GREY.astype(np.int32))
    assert open_image(tmp_path / "a.tif").dtype == np.float64


@pytest.mark.parametrize("name", ["bigtiff", "pages of strips", "tiles", "ome, tiles", "imagej, compressed"])
def test_threads_read_at_once(tmp_path, name):
    path = tmp_path / "image.tif"
    path.write_bytes(FILES[name])
    whole = read_image(path).pixels
    with open_image(path) as image, ThreadPoolExecutor(8) as threads:
        chosen = list(regions(image.shape, 60))
        for region, read in zip(chosen, threads.map(image.read, chosen), strict=True):
            np.testing.assert_array_equal(read, whole[region])


def test_pixel_size_and_resolutions(tmp_path):
    path = tmp_path / "pyramid.ome.tif"
    sizes = {"PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5, "PhysicalSizeZ": 2.0}
    with tifffile.TiffWriter(path, ome=True) as file:
        file.write(STACK, subifds=1, tile=(16, 16), metadata={"axes": "ZYX", **sizes})
        file.write(STACK[:, ::2, ::2], subfiletype=1, tile=(16, 16))
    with open_image(path) as image:
        assert image.pixel_size == PixelSize(0.5, 0.5, 2.0)
        assert image.pixel_size.anisotropy == 4
        assert image.levels == ((40, 52), (20, 26))
        assert image.chunks == (1, 16, 16)
        np.testing.assert_array_equal(image.read([slice(None)] * 3), STACK)
    assert open_image(path, pixel_size=PixelSize(1, 1)).pixel_size == PixelSize(1, 1)


def test_an_image_in_several_files(tmp_path):
    names = ["a.ome.tif", "b.ome.tif"]
    uuids = [f"urn:uuid:0000000{n}-0000-0000-0000-000000000000" for n in range(2)]
    data = "".join(
        f'<TiffData FirstZ="{n}" IFD="0" PlaneCount="1"><UUID FileName="{names[n]}">{uuids[n]}</UUID></TiffData>'
        for n in range(2)
    )
    for n in range(2):
        xml = (
            '<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" '
            f'UUID="{uuids[n]}"><Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYZCT" Type="uint16" '
            f'SizeX="30" SizeY="20" SizeZ="2" SizeC="1" SizeT="1">{data}</Pixels></Image></OME>'
        )
        (tmp_path / names[n]).write_bytes(tiff(GREY + n, description=xml, metadata=None))
    with open_image(tmp_path / names[0]) as image:
        assert image.axes == "ZYX"
        np.testing.assert_array_equal(image.read([slice(None)] * 3), [GREY, GREY + 1])


def refused(path, **options):
    with pytest.raises(ImageError) as caught, open_image(path, **options) as image:
        image.read([slice(None)] * len(image.shape))
    return caught.value


@pytest.mark.parametrize("name", ["plain", "pages", "tiles", "lzw", "jpeg", "ome, tiles", "imagej"])
@pytest.mark.parametrize("share", [0.02, 0.5, 0.8])
def test_files_that_are_cut_off(tmp_path, name, share):
    path = tmp_path / "image.tif"
    path.write_bytes(FILES[name][: int(len(FILES[name]) * share)])
    assert refused(path).reason == "IMAGE_UNDECODABLE"


def test_a_damaged_tile_is_named(tmp_path):
    path = tmp_path / "image.tif"
    path.write_bytes(FILES["tiles"])
    with tifffile.TiffFile(path) as file:
        offset = file.pages[2].dataoffsets[3]
    data = bytearray(FILES["tiles"])
    data[offset : offset + 40] = bytes(40)
    path.write_bytes(data)
    error = refused(path)
    assert error.reason == "IMAGE_UNDECODABLE"
    assert "strip or tile 2.1.1 of the TIFF file cannot be decoded" in error.message
    with open_image(path) as image:
        np.testing.assert_array_equal(image.read([slice(0, 2), slice(None), slice(None)]), STACK[:2])


def test_tiles_that_are_not_there(tmp_path):
    path = tmp_path / "image.tif"
    path.write_bytes(without_tile(FILES["uncompressed tiles"]))
    with open_image(path) as image:
        assert image.warnings == ((WarningKind.TILES_MISSING, {"missing": "1", "tiles": "4"}),)
        assert not image.read([slice(16), slice(16)]).any()


def test_values_that_are_no_numbers_are_placed(tmp_path):
    pixels = GREY.astype(np.float32)
    pixels[7, 9] = np.nan
    tifffile.imwrite(tmp_path / "a.tif", pixels)
    with open_image(tmp_path / "a.tif") as image:
        image.read([slice(0, 7), slice(None)])
        with pytest.raises(ImageError, match=r"1 pixels are NaN.*: Y 4 to 8, X 0 to 30") as caught:
            image.read([slice(4, 8), slice(None)])
        assert caught.value.reason == "PIXELS_NOT_FINITE"


def test_strips_that_are_too_large_to_unpack(tmp_path, monkeypatch):
    monkeypatch.setattr(tiff_source, "MOST_CHUNK_BYTES", 1000)
    path = tmp_path / "image.tif"
    path.write_bytes(tiff(GREY, compression="zlib", rowsperstrip=20))
    error = refused(path)
    assert (error.reason, error.metadata["value"], error.metadata["limit"]) == ("IMAGE_TOO_LARGE", 1200, 1000)
    path.write_bytes(tiff(GREY, rowsperstrip=20))
    open_image(path).close()


@pytest.mark.parametrize(("name", "options"), [("plain", {"series": 1}), ("pages", {"axes": "YX"})])
def test_choices_that_do_not_fit(tmp_path, name, options):
    path = tmp_path / "image.tif"
    path.write_bytes(FILES[name])
    assert refused(path, **options).reason in ("IMAGE_UNKNOWN", "AXES_UNKNOWN")


def test_files_of_one_piece(tmp_path):
    """PNG and JPEG files are read whole; files of other formats are refused before they are read."""
    path = tmp_path / "image.png"
    path.write_bytes(imagecodecs.png_encode(COLOUR))
    with open_image(path) as image:
        assert (image.axes, image.name) == ("YXS", "image.png")
        np.testing.assert_array_equal(image.read([slice(4, 9), slice(None), slice(None)]), COLOUR[4:9])
    path.write_bytes(b"ZISRAWFILE" + bytes(100))
    error = refused(path)
    assert error.reason == "IMAGE_UNDECODABLE"
    assert "convert it to OME-Zarr or OME-TIFF" in error.message
    with pytest.raises(FileNotFoundError):
        open_image(tmp_path / "nothing.tif")
