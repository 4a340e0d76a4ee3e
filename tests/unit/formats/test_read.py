"""Files of the field are read as what they are, and refused where that is not clear."""

from __future__ import annotations

import contextlib
import os
import re
import threading

import imagecodecs
import numpy as np
import pytest
import tifffile
from cellserve_contract.warnings import WarningKind
from cellserve_formats import ImageError, Limits, read_image

from tests.cases.files import without_tile

from .samples import ALPHA, COLOUR, GREY, palette_png, tiff

LZW = {"compression": "lzw", "predictor": True}
JPEG = {"photometric": "rgb", "compression": "jpeg", "compressionargs": {"level": 100}}


def refused(data: bytes, **options: object) -> ImageError:
    with pytest.raises(ImageError) as caught:
        read_image(data, **options)
    return caught.value


@pytest.mark.parametrize(
    ("pixels", "options", "axes"),
    [
        (GREY, {}, "YX"),
        (GREY.astype(">u2"), {"byteorder": ">"}, "YX"),
        (GREY, LZW, "YX"),
        (GREY, {"compression": "zstd"}, "YX"),
        (GREY, {"compression": "packbits"}, "YX"),
        (GREY, {"compression": "lzma"}, "YX"),
        (GREY.astype(np.float32), {"compression": "zlib"}, "YX"),
        (GREY.astype(np.int16) - 2000, {}, "YX"),
        (GREY.astype(np.float64), {}, "YX"),
        (GREY, {"bigtiff": True}, "YX"),
        (GREY, {"bigtiff": True, "byteorder": ">", "compression": "zlib", "rowsperstrip": 3}, "YX"),
        (GREY, {"tile": (16, 16)}, "YX"),
        (COLOUR, {"photometric": "rgb"}, "YXS"),
        (COLOUR, {"photometric": "rgb", "tile": (16, 16), "compression": "zlib"}, "YXS"),
        (np.moveaxis(COLOUR, 2, 0), {"photometric": "rgb", "planarconfig": "separate"}, "SYX"),
        (np.stack([GREY] * 3), {"imagej": True, "metadata": {"axes": "CYX"}}, "CYX"),
        (np.stack([GREY] * 2), {"ome": True, "metadata": {"axes": "CYX"}}, "CYX"),
        (GREY[None, None], {"ome": True, "metadata": {"axes": "TZYX"}}, "YX"),
        (np.stack([GREY] * 2)[None, None], {"imagej": True, "metadata": {"axes": "TZCYX"}}, "CYX"),
        (np.stack([GREY] * 6).reshape(3, 2, 20, 30), {"imagej": True, "metadata": {"axes": "ZCYX"}}, "ZCYX"),
        (np.stack([GREY] * 6).reshape(3, 2, 20, 30), {"ome": True, "metadata": {"axes": "TZYX"}}, "TZYX"),
        (GREY[:1], {}, "YX"),
        (np.stack([GREY[:1, :1]] * 2), {"ome": True, "metadata": {"axes": "CYX"}}, "CYX"),
    ],
)
def test_tiff(pixels, options, axes):
    image = read_image(tiff(pixels, **options))
    assert image.axes == axes
    assert image.pixels.dtype == pixels.dtype.newbyteorder("=")
    assert image.pixels.dtype.isnative
    np.testing.assert_array_equal(image.pixels, pixels.reshape(image.pixels.shape))


@pytest.mark.parametrize(
    ("pixels", "dtype"),
    [
        (GREY > 2000, np.uint8),
        (GREY.astype(np.int8), np.int16),
        (GREY.astype(np.int32), np.uint16),
        (GREY.astype(np.int32) - 2000, np.int16),
        (GREY.astype(np.int64) * 100_000, np.uint32),
        (GREY.astype(np.uint64) * 10_000_000, np.float64),
        (GREY.astype(np.float16), np.float32),
    ],
)
def test_types_that_the_service_does_not_take_become_one_that_holds_the_values(pixels, dtype):
    data = tiff(pixels)
    image = read_image(data)
    assert image.pixels.dtype == dtype
    np.testing.assert_array_equal(image.pixels, pixels)
    stored = read_image(data, as_stored=True).pixels
    assert stored.dtype == pixels.dtype
    np.testing.assert_array_equal(stored, pixels)


@pytest.mark.parametrize("layout", [{}, {"tile": (16, 16)}, {"rowsperstrip": 8}])
def test_tiff_with_jpeg_inside(layout):
    smooth = np.add.outer(np.arange(40), np.arange(60)).astype(np.uint8)
    pixels = np.dstack([smooth, smooth, 200 - smooth])
    image = read_image(tiff(pixels, **JPEG, **layout))
    assert image.axes == "YXS"
    assert np.abs(image.pixels.astype(int) - pixels).mean() < 2


@pytest.mark.parametrize("axes", ["ZYX", "TZYX"])
def test_stacks_are_refused_where_they_are_not_wanted(axes):
    data = tiff(np.zeros((2, 5, 20, 30)[-len(axes) :], np.uint16), imagej=True, metadata={"axes": axes})
    assert read_image(data).axes == axes
    error = refused(data, stacks=False)
    assert error.reason == "AXES_UNKNOWN"
    choices = [word.strip("()") for word in re.findall(r"\(--\w+\)", error.message)]
    assert choices == ["--volume", "--stitch", "--planes"]


@pytest.mark.parametrize("axes", ["TYX", "TZYX"])
def test_time_series_are_refused_where_they_are_not_wanted(axes, monkeypatch):
    data = tiff(np.zeros((2, 5, 20, 30)[-len(axes) :], np.uint16), imagej=True, metadata={"axes": axes})
    assert read_image(data).axes == axes
    monkeypatch.setattr(tifffile.TiffPageSeries, "asarray", None)  # before the pixels are read
    error = refused(data, time_series=False)
    assert error.reason == "AXES_UNKNOWN"
    assert "segment_series" in error.message


@pytest.mark.parametrize("options", [{}, {"metadata": None}])
def test_pages_without_names_are_a_z_stack(options):
    data = tiff(np.stack([GREY, GREY]), photometric="minisblack", **options)
    assert read_image(data).axes == "ZYX"
    assert read_image(data, axes="CYX").axes == "CYX"
    assert read_image(data, axes="CYX", stacks=False).axes == "CYX"
    error = refused(data, stacks=False)
    assert error.reason == "AXES_UNKNOWN"
    assert all(
        choice in error.message
        for choice in ("--volume", "--stitch", "--planes", "channels (--axes CYX)", "time points (--axes TYX)")
    )
    assert refused(data, axes="YX").reason == "AXES_UNKNOWN"
    assert refused(data, axes="QYX").reason == "AXES_UNKNOWN"


@pytest.mark.parametrize("options", [{}, {"metadata": None}])
@pytest.mark.parametrize("channels", [2, 4])
def test_channels_last_are_no_stack(channels, options):
    data = tiff(np.dstack([GREY] * channels), photometric="minisblack", **options)
    error = refused(data)
    assert error.reason == "AXES_UNKNOWN"
    assert "YXC" in error.message
    assert read_image(data, axes="YXC").axes == "YXC"


def test_two_axes_without_names_need_the_callers_word():
    data = tiff(np.stack([GREY] * 6).reshape(3, 2, 20, 30), photometric="minisblack")
    error = refused(data)
    assert error.reason == "AXES_UNKNOWN"
    assert "channels, z or time" in error.message
    assert "CZYX: --axes" in error.message
    assert read_image(data, axes="TZYX").axes == "TZYX"


def test_what_the_file_says_wins():
    assert read_image(tiff(GREY), axes="CYX").axes == "YX"


def test_several_images_in_a_file(tmp_path):
    with tifffile.TiffWriter(tmp_path / "two.tif") as file:
        file.write(GREY, metadata=None)
        file.write(COLOUR, metadata=None)
    with pytest.raises(
        ImageError, match=r"holds 2 images \(0: 20 Y x 30 X uint16; 1: 20 Y x 30 X x 3 S uint8\)"
    ) as caught:
        read_image(tmp_path / "two.tif")
    assert (caught.value.reason, caught.value.metadata) == ("IMAGE_UNKNOWN", {"available": 2})
    for series, pixels in enumerate((GREY, COLOUR)):
        np.testing.assert_array_equal(read_image(tmp_path / "two.tif", series=series).pixels, pixels)
    with pytest.raises(ImageError, match="there is no image 2") as caught:
        read_image(tmp_path / "two.tif", series=2)
    assert caught.value.reason == "IMAGE_UNKNOWN"


def test_files_of_one_image_have_no_second_one():
    for data in (tiff(GREY), imagecodecs.png_encode(GREY), imagecodecs.jpeg8_encode(ALPHA)):
        assert read_image(data, series=0).axes == "YX"
        assert refused(data, series=1).reason == "IMAGE_UNKNOWN"


@pytest.mark.parametrize("inside", [True, False])
def test_pyramids_are_their_largest_image(tmp_path, inside):
    with tifffile.TiffWriter(tmp_path / "pyramid.tif") as file:
        file.write(GREY, subifds=1 if inside else 0, metadata=None)
        file.write(GREY[::2, ::2], subfiletype=1, metadata=None)
    np.testing.assert_array_equal(read_image(tmp_path / "pyramid.tif").pixels, GREY)


@pytest.mark.parametrize(
    ("pixels", "options", "expected"),
    [
        (np.dstack([COLOUR, ALPHA]), {"photometric": "rgb", "extrasamples": ["unassalpha"]}, COLOUR),
        (np.dstack([COLOUR, ALPHA]), {"photometric": "rgb", "extrasamples": ["assocalpha"]}, COLOUR),
        (np.dstack([COLOUR, ALPHA]), {"photometric": "rgb", "extrasamples": ["unspecified"]}, COLOUR),
        (np.dstack([COLOUR, COLOUR]), {"photometric": "rgb"}, np.dstack([COLOUR, COLOUR])),
        (
            np.stack([*np.moveaxis(COLOUR, 2, 0), ALPHA]),
            {"photometric": "rgb", "planarconfig": "separate", "extrasamples": ["unassalpha"]},
            np.moveaxis(COLOUR, 2, 0),
        ),
        (
            np.dstack([ALPHA, ALPHA]),
            {"photometric": "minisblack", "planarconfig": "contig", "extrasamples": ["unassalpha"]},
            ALPHA,
        ),
    ],
)
def test_alpha_of_a_tiff_is_dropped(pixels, options, expected):
    image = read_image(tiff(pixels, **options))
    np.testing.assert_array_equal(image.pixels, expected)
    assert len(image.axes) == expected.ndim


@pytest.mark.parametrize(
    ("pixels", "options", "word"),
    [
        (np.dstack([COLOUR, ALPHA]), {"photometric": "separated"}, "SEPARATED"),
        (COLOUR, {"photometric": "cielab"}, "CIELAB"),
        (ALPHA, {"compression": "jpeg2000"}, "JPEG2000"),
        (ALPHA, {"compression": "png"}, "PNG"),
    ],
)
def test_tiff_in_other_colours_or_codecs(pixels, options, word):
    error = refused(tiff(pixels, **options))
    assert error.reason == "IMAGE_UNDECODABLE"
    assert word in error.message
    assert "save it" in error.message


def test_tiff_of_complex_numbers():
    assert refused(tiff(np.zeros((9, 11), np.complex64))).reason == "DATA_TYPE_UNSUPPORTED"


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_tiff_with_values_that_are_no_numbers(dtype, value):
    error = refused(tiff(np.full((9, 11), value, dtype)))
    assert (error.reason, error.metadata) == ("PIXELS_NOT_FINITE", {"pixels": 99})


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("samples", [1, 2, 3, 4])
def test_png(dtype, samples):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, np.iinfo(dtype).max, (9, 11, samples), dtype=dtype, endpoint=True)
    image = read_image(imagecodecs.png_encode(pixels[..., 0] if samples == 1 else pixels))
    expected = pixels[..., 0] if samples < 3 else pixels[..., :3]
    np.testing.assert_array_equal(image.pixels, expected)
    assert image.pixels.dtype == dtype
    assert image.axes == ("YX" if samples < 3 else "YXS")


@pytest.mark.parametrize("transparent", [b"", b"\0\x80"])
def test_png_with_a_palette(transparent):
    indices = np.random.default_rng(0).integers(0, 4, (9, 11))
    colours = np.array([(0, 0, 0), (255, 0, 0), (0, 255, 0), (7, 8, 9)])
    image = read_image(palette_png(indices, colours, transparent))
    assert image.axes == "YXS"
    np.testing.assert_array_equal(image.pixels, colours[indices])


@pytest.mark.parametrize("transparent", [b"", b"\0\x80"])
def test_png_with_a_grey_palette_is_one_plane(transparent):
    indices = np.random.default_rng(0).integers(0, 256, (9, 11))
    image = read_image(palette_png(indices, np.repeat(np.arange(256), 3), transparent))
    assert image.axes == "YX"
    np.testing.assert_array_equal(image.pixels, indices)


@pytest.mark.parametrize("pixels", [np.full((16, 24), 90, np.uint8), np.full((16, 24, 3), 90, np.uint8)])
def test_jpeg(pixels):
    image = read_image(imagecodecs.jpeg8_encode(pixels))
    assert image.pixels.shape == pixels.shape
    assert image.axes == ("YX" if pixels.ndim == 2 else "YXS")
    assert np.abs(image.pixels.astype(int) - 90).max() <= 2


def test_jpeg_of_cmyk_is_refused():
    data = imagecodecs.jpeg8_encode(np.full((16, 24, 4), 90, np.uint8), colorspace="CMYK", outcolorspace="CMYK")
    error = refused(data)
    assert error.reason == "IMAGE_UNDECODABLE"
    assert "CMYK" in error.message


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "neither TIFF nor PNG nor JPEG"),
        (b"GIF89a", "neither TIFF nor PNG nor JPEG"),
        (b"II*\0", "cannot be decoded"),
        (b"II*\0\xff\xff\xff\x7f", "cannot be decoded"),
        (b"\x89PNG\r\n\x1a\n broken", "cannot be decoded"),
        (b"\xff\xd8\xff broken", "cannot be decoded"),
        (tiff(GREY, compression="zlib")[:500], "cannot be decoded"),
        (imagecodecs.png_encode(GREY)[:-50], "cannot be decoded"),
    ],
)
def test_damaged_files(content, message):
    error = refused(content)
    assert error.reason == "IMAGE_UNDECODABLE"
    assert message in error.message


def test_the_content_tells_and_the_path_names(tmp_path):
    (tmp_path / "image.dat").write_bytes(imagecodecs.png_encode(GREY))
    image = read_image(tmp_path / "image.dat")
    np.testing.assert_array_equal(image.pixels, GREY)
    assert image.name == "image.dat"
    assert read_image(imagecodecs.png_encode(GREY)).name == ""


def test_files_that_cannot_be_read(tmp_path):
    for path in (tmp_path / "missing.tif", str(tmp_path)):
        with pytest.raises(OSError, match=r"No such file|directory"):
            read_image(path)


@pytest.mark.parametrize("size", [1000, 10_000_000])
def test_pipes_are_read_up_to_a_limit(tmp_path, size):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    data = imagecodecs.png_encode(GREY) if size == 1000 else bytes(size)

    def feed():
        with contextlib.suppress(BrokenPipeError), path.open("wb") as file:
            file.write(data)

    writer = threading.Thread(target=feed)
    writer.start()
    limits = Limits(bytes=1_000_000)
    if size == 1000:
        np.testing.assert_array_equal(read_image(path, limits=limits).pixels, GREY)
    else:
        with pytest.raises(ImageError) as caught:
            read_image(path, limits=limits)
        assert caught.value.reason == "IMAGE_TOO_LARGE"
    writer.join(10)
    assert not writer.is_alive()


def test_tiles_that_are_not_there_are_zero_and_warned_of():
    whole = tiff(GREY, tile=(16, 16))
    image = read_image(without_tile(whole))
    expected = GREY.copy()
    expected[:16, :16] = 0
    np.testing.assert_array_equal(image.pixels, expected)
    assert image.warnings == ((WarningKind.TILES_MISSING, {"missing": "1", "tiles": "4"}),)
    assert read_image(whole).warnings == ()
