"""Slides: drawn in the way of Aperio's scanners, with JPEG tiles, smaller copies and a picture of the label."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tifffile
from cellserve_contract.warnings import WarningKind
from cellserve_formats import ImageError, PixelSize
from cellserve_formats.lazy import open_image

from tests.cases.files import without_tile

pytest.importorskip("tiffslide")

RNG = np.random.default_rng(4)
ROWS, COLUMNS = np.mgrid[:300, :400]
PIXELS = np.stack([ROWS // 2, COLUMNS // 2, (ROWS + COLUMNS) // 4], axis=-1).astype(np.uint8)
WORDS = "Aperio Image Library v12.0.15\r\n400x300 [0,0 400x300] (128x128) JPEG/RGB Q=90|AppMag = 20"
MPP = "|MPP = 0.4990"


@pytest.fixture
def slide(tmp_path):
    def draw(words=WORDS + MPP, compression="jpeg"):
        path = tmp_path / "slide.svs"
        options = {"photometric": "rgb", "metadata": None, "compression": compression}
        with tifffile.TiffWriter(path) as file:
            file.write(PIXELS, tile=(128, 128), description=words, **options)
            file.write(PIXELS[::4, ::4], description=words, **options)  # the thumbnail
            file.write(PIXELS[::2, ::2], tile=(128, 128), description=words, **options)
            file.write(PIXELS[:50, :50], description=WORDS + "\r\nlabel 50x50", subfiletype=1, **options)
        return path

    return draw


def test_the_full_resolution_is_read(slide):
    path = slide()
    with open_image(path) as image, tifffile.TiffFile(path) as file:
        whole = file.series[0].asarray()
        assert (image.axes, image.shape, image.dtype, image.name) == ("YXS", (300, 400, 3), np.uint8, "slide.svs")
        assert image.chunks == (128, 128, 3)
        assert image.levels == ((300, 400), (150, 200))
        assert image.pixel_size == PixelSize(0.499, 0.499)
        np.testing.assert_array_equal(image.read([slice(None)] * 3), whole)
        assert np.abs(whole.astype(int) - PIXELS).mean() < 3
        for _ in range(10):
            region = tuple(slice(*sorted(RNG.choice(length + 1, 2, replace=False).tolist())) for length in image.shape)
            np.testing.assert_array_equal(image.read(region), whole[region])


def test_threads_read_at_once(slide):
    with open_image(slide()) as image, ThreadPoolExecutor(4) as threads:
        whole = image.read([slice(None)] * 3)
        regions = [
            (slice(y, y + 90), slice(x, x + 90), slice(None)) for y in range(0, 200, 20) for x in range(0, 300, 50)
        ]
        for region, read in zip(regions, threads.map(image.read, regions), strict=True):
            np.testing.assert_array_equal(read, whole[region])


def test_pixel_sizes(slide):
    assert open_image(slide(WORDS)).pixel_size is None
    assert open_image(slide(), pixel_size=PixelSize(1, 1)).pixel_size == PixelSize(1, 1)


def test_a_slide_is_one_image(slide):
    open_image(slide(), series=0).close()
    with pytest.raises(ImageError, match="a slide holds one image, number 0") as caught:
        open_image(slide(), series=1)
    assert caught.value.reason == "IMAGE_UNKNOWN"


def test_a_slide_that_is_cut_off(slide):
    path = slide()
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(ImageError) as caught:
        open_image(path)
    assert caught.value.reason == "IMAGE_UNDECODABLE"


def test_a_damaged_tile(slide):
    path = slide(compression="zlib")
    with tifffile.TiffFile(path) as file:
        offset = file.pages[0].dataoffsets[5]
    data = bytearray(path.read_bytes())
    data[offset : offset + 30] = bytes(30)
    path.write_bytes(data)
    with open_image(path) as image:
        image.read((slice(0, 128), slice(None), slice(None)))
        with pytest.raises(ImageError, match="rows 120 to 140, columns 0 to 400 are damaged") as caught:
            image.read((slice(120, 140), slice(None), slice(None)))
    assert caught.value.reason == "IMAGE_UNDECODABLE"


def test_tiles_that_were_not_scanned(slide):
    path = slide(compression=None)
    path.write_bytes(without_tile(path.read_bytes()))
    with open_image(path) as image:
        assert image.warnings == ((WarningKind.TILES_MISSING, {"missing": "1", "tiles": "12"}),)
        assert not image.read((slice(0, 128), slice(0, 128), slice(None))).any()
