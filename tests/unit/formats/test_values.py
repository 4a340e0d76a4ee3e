"""What stored values mean: colour tables, inverted greys, alpha, orientation."""

from __future__ import annotations

import io
import struct
import zlib

import imagecodecs
import numpy as np
import pytest
import tifffile
from cellserve_contract.warnings import WarningKind
from cellserve_formats import ImageError, read_image

from .samples import ALPHA, COLOUR, GREY, RNG, exif, palette_png, png_chunk, small_tiff, tiff

SHUFFLED = RNG.permutation(256).astype(np.uint16)
GREY_TABLE = np.stack([SHUFFLED * 257] * 3)
COLOUR_TABLE = np.stack([SHUFFLED, RNG.permutation(256), RNG.permutation(256)]).astype(np.uint16) * 257
RAMP = np.stack([np.arange(256), np.zeros(256), np.arange(256) // 2]).astype(np.uint16) * 256
MARKED_ENDS = np.stack([np.arange(256)] * 3).astype(np.uint16) * 257
MARKED_ENDS[:, 0], MARKED_ENDS[:, 255] = (0, 0, 65535), (65535, 0, 0)


def kinds(image) -> list[WarningKind]:
    return [kind for kind, _ in image.warnings]


@pytest.mark.parametrize("options", [{}, {"bigtiff": True}, {"tile": (16, 16), "compression": "zlib"}])
def test_a_palette_becomes_its_colours(options):
    image = read_image(tiff(ALPHA, colormap=COLOUR_TABLE, **options))
    assert (image.axes, image.pixels.dtype) == ("YXS", np.uint8)
    np.testing.assert_array_equal(image.pixels, COLOUR_TABLE.T[ALPHA] // 257)


def test_a_grey_palette_becomes_one_plane():
    image = read_image(tiff(ALPHA, colormap=GREY_TABLE))
    assert (image.axes, image.pixels.dtype) == ("YX", np.uint8)
    np.testing.assert_array_equal(image.pixels, SHUFFLED[ALPHA])


def test_a_palette_of_16_bits_keeps_them():
    table = np.stack([RNG.integers(0, 65536, 256, np.uint16)] * 3)
    np.testing.assert_array_equal(read_image(tiff(ALPHA, colormap=table)).pixels, table[0][ALPHA])


def test_a_palette_of_4_bits():
    indices = RNG.integers(0, 16, (6, 8), np.uint8)
    table = RNG.integers(0, 256, (3, 16)) * 257
    packed = (indices[:, ::2] << 4 | indices[:, 1::2]).tobytes()
    data = small_tiff(packed, 6, 8, BitsPerSample=4, PhotometricInterpretation=3, ColorMap=table.ravel().tolist())
    np.testing.assert_array_equal(read_image(data).pixels, table.T[indices] // 257)
    np.testing.assert_array_equal(read_image(data, as_stored=True).pixels, indices)


def test_a_palette_that_is_missing():
    data = small_tiff(bytes(48), 6, 8, BitsPerSample=8, PhotometricInterpretation=3)
    with pytest.raises(ImageError, match="colour table is missing"):
        read_image(data)
    assert read_image(data, as_stored=True).pixels.shape == (6, 8)


@pytest.mark.parametrize("table", [COLOUR_TABLE, GREY_TABLE, RAMP])
def test_label_images_keep_the_indices_of_their_palette(table):
    image = read_image(tiff(ALPHA, colormap=table), as_stored=True)
    assert image.axes == "YX"
    np.testing.assert_array_equal(image.pixels, ALPHA)


@pytest.mark.parametrize(
    ("table", "is_display"), [(RAMP, True), (MARKED_ENDS, True), (COLOUR_TABLE, False), (GREY_TABLE, False)]
)
def test_a_table_of_imagej_is_for_display_unless_it_is_no_scale(table, is_display):
    tags = [(tifffile.TIFF.TAGS["ColorMap"], 3, 768, table.ravel().tolist(), True)]
    data = tiff(ALPHA, photometric="palette", description="ImageJ=1.54f\n", metadata=None, extratags=tags)
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        assert file.is_imagej
    image = read_image(data)
    assert np.array_equal(image.pixels, ALPHA) == is_display


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
def test_indices_of_a_png(depth):
    indices = RNG.integers(0, 2**depth, (9, 16))
    colours = RNG.integers(0, 256, (2**depth, 3))
    whole = palette_png(indices, colours, b"\0\x80")
    np.testing.assert_array_equal(read_image(whole).pixels, colours[indices])
    packed = np.packbits(
        np.unpackbits(indices.astype(np.uint8)[..., None], axis=2)[..., -depth:].reshape(9, -1), axis=1
    )
    start, end = whole.index(b"IDAT") - 4, whole.index(b"IEND") - 4
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", 16, 9, depth, 3, 0, 0, 0))
    rows = zlib.compress(b"".join(b"\0" + row.tobytes() for row in packed))
    data = whole[:8] + header + whole[33:start] + png_chunk(b"IDAT", rows) + whole[end:]
    np.testing.assert_array_equal(read_image(data).pixels, colours[indices])
    image = read_image(data, as_stored=True)
    assert (image.axes, image.pixels.dtype, image.warnings) == ("YX", np.uint8, ())
    np.testing.assert_array_equal(image.pixels, indices)


@pytest.mark.parametrize(
    ("pixels", "most"),
    [(ALPHA, 255), (GREY, 65535), (GREY.astype(np.uint32), 2**32 - 1)],
)
@pytest.mark.parametrize("options", [{}, {"compression": "zlib", "rowsperstrip": 7}])
def test_greys_whose_zero_is_white_are_inverted(pixels, most, options):
    data = tiff(pixels, photometric="miniswhite", **options)
    np.testing.assert_array_equal(read_image(data).pixels, most - pixels)
    np.testing.assert_array_equal(read_image(data, as_stored=True).pixels, pixels)


def test_bits_whose_zero_is_white():
    bits = RNG.integers(0, 2, (6, 16), np.uint8)
    data = small_tiff(np.packbits(bits, axis=1).tobytes(), 6, 16, BitsPerSample=1, PhotometricInterpretation=0)
    np.testing.assert_array_equal(read_image(data).pixels, 1 - bits)
    stored = read_image(data, as_stored=True).pixels
    assert stored.dtype == bool
    np.testing.assert_array_equal(stored, bits)


@pytest.mark.parametrize("dtype", [np.float32, np.int16])
def test_values_without_a_largest_one_are_not_inverted(dtype):
    pixels = GREY.astype(dtype)
    np.testing.assert_array_equal(read_image(tiff(pixels, photometric="miniswhite")).pixels, pixels)


@pytest.mark.parametrize("orientation", [1, 3, 6, 8, 9])
@pytest.mark.parametrize("kind", ["tiff", "jpeg", "jpeg-big-endian", "png", "png-at-the-end"])
def test_orientations_are_ignored_with_a_warning(kind, orientation):
    plain = {
        "tiff": tiff(ALPHA),
        "jpeg": imagecodecs.jpeg8_encode(ALPHA),
        "png": imagecodecs.png_encode(ALPHA),
    }[kind.partition("-")[0]]
    data = plain
    if kind == "tiff":
        data = tiff(ALPHA, extratags=[(274, 3, 1, orientation, True)])
    elif kind.startswith("jpeg"):
        content = b"Exif\0\0" + exif(orientation, ">" if kind.endswith("endian") else "<")
        data = plain[:2] + b"\xff\xe1" + struct.pack(">H", len(content) + 2) + content + plain[2:]
    else:
        at = len(plain) - 12 if kind.endswith("end") else 33
        data = plain[:at] + png_chunk(b"eXIf", exif(orientation)) + plain[at:]
    image = read_image(data)
    np.testing.assert_array_equal(image.pixels, read_image(plain).pixels)
    expected = [(WarningKind.ORIENTATION_IGNORED, {"orientation": str(orientation)})] if 1 < orientation < 9 else []
    assert list(image.warnings) == expected


@pytest.mark.parametrize("damage", [b"", b"II*\0", b"II*\0\xff\0\0\0", b"II*\0\x08\0\0\0\xff\xff", b"no EXIF at all"])
def test_damaged_exif_states_nothing(damage):
    plain = imagecodecs.png_encode(ALPHA)
    assert read_image(plain[:33] + png_chunk(b"eXIf", damage) + plain[33:]).warnings == ()


RGBA = np.dstack([COLOUR, ALPHA])
UNASSOCIATED = {"photometric": "rgb", "extrasamples": ["unassalpha"]}


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (lambda alpha: tiff(np.dstack([COLOUR, alpha]), **UNASSOCIATED), WarningKind.ALPHA_IGNORED),
        (
            lambda alpha: tiff(np.moveaxis(np.dstack([COLOUR, alpha]), 2, 0), planarconfig="separate", **UNASSOCIATED),
            WarningKind.ALPHA_IGNORED,
        ),
        (
            lambda alpha: tiff(np.dstack([COLOUR, alpha]), photometric="rgb", extrasamples=["unspecified"]),
            WarningKind.PLANES_IGNORED,
        ),
        (lambda alpha: imagecodecs.png_encode(np.dstack([COLOUR, alpha])), WarningKind.ALPHA_IGNORED),
        (lambda alpha: imagecodecs.png_encode(np.dstack([COLOUR[..., 0], alpha])), WarningKind.ALPHA_IGNORED),
    ],
)
def test_transparency_is_left_out_with_a_warning(make, kind):
    opaque, transparent = read_image(make(np.full_like(ALPHA, 255))), read_image(make(ALPHA))
    np.testing.assert_array_equal(transparent.pixels, opaque.pixels)
    assert opaque.warnings == ()
    assert kinds(transparent) == [kind]


def test_planar_and_interleaved_colours_are_the_same_image():
    interleaved = read_image(tiff(RGBA, **UNASSOCIATED))
    planar = read_image(tiff(np.moveaxis(RGBA, 2, 0), planarconfig="separate", **UNASSOCIATED))
    assert (interleaved.axes, planar.axes) == ("YXS", "SYX")
    np.testing.assert_array_equal(np.moveaxis(planar.pixels, 0, 2), interleaved.pixels)


@pytest.mark.parametrize("inner", ["CMYK", "YCCK"])
def test_jpeg_of_four_inks_is_refused_with_advice(inner):
    inks = RNG.integers(0, 256, (16, 24, 4), np.uint8)
    data = imagecodecs.jpeg8_encode(inks, colorspace="CMYK", outcolorspace=inner)
    with pytest.raises(ImageError, match="CMYK; save it as grey or RGB") as caught:
        read_image(data)
    assert caught.value.reason == "IMAGE_UNDECODABLE"
