"""Intensities that are counted block by block against those of the whole image, bit for bit."""

import tempfile
from pathlib import Path

import numpy as np
import pytest
from cellserve_formats.lazy import open_image
from cellserve_large import Box, pixels
from cellserve_large.execution import Runner
from cellserve_large.intensities import Scales, find_scales
from cellserve_large.pixels import Channels, Pixels, read_block
from cellserve_large.store import Store
from cellserve_preprocess import Normalization, normalize, select_channels
from cellserve_preprocess.border import border_fill
from cellserve_preprocess.normalize import map_intensities
from hypothesis import given
from hypothesis import strategies as st

RUNNER = Runner(None, None)
DTYPES = ["u1", "u2", "i2", "u4", "f4", "f8"]
RULES = ["percentiles:1,99", "percentiles:0,100", "percentiles:20,50.5", "cellpose3:1,99", "range:10,900", "off"]


def noise(rng, shape, spread):
    return rng.gamma(2, spread, shape) + rng.integers(0, 3) * 50


def sparse(rng, shape, spread):
    """A few objects on an exact background, bright or dark."""
    image = np.full(shape, 120.0)
    count = max(1, int(0.008 * image.size))
    image.ravel()[rng.integers(0, image.size, count)] += rng.choice([-1, 1]) * rng.uniform(1, 100, count)
    return image


def few_values(rng, shape, spread):
    return rng.integers(0, 3, shape) * float(rng.integers(1, 80))


def two_values(rng, shape, spread):
    image = np.zeros(shape)
    image[..., shape[-2] // 3 :, :] = rng.integers(1, 200)
    return image


def constant(rng, shape, spread):
    return np.full(shape, float(rng.integers(0, 200)))


def clipped(rng, shape, spread):
    full = rng.choice([1, 255, 4095])
    return np.minimum(rng.uniform(0, full * 1.05, shape), full)


def zeros(rng, shape, spread):
    return np.zeros(shape)


CONTENTS = [noise, noise, noise, sparse, few_values, two_values, constant, clipped, zeros]


def framed(rng, image, value):
    """The image with fill around some of its planes, some of it in slopes and holes."""
    y, x = np.indices(image.shape[-2:])
    widths = rng.integers(0, 6, 4)
    fill = (y < widths[0]) | (x < widths[1]) | (y >= image.shape[-2] - widths[2]) | (x >= image.shape[-1] - widths[3])
    fill |= y + x < rng.integers(0, 20)
    image = image.copy()
    planes = image.reshape(-1, *image.shape[-2:])
    for z in np.flatnonzero(rng.random(len(planes)) < 0.8):
        planes[z][fill] = value
        planes[z, 20:24, 20:24] = value
    return image


@st.composite
def images(draw):
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shape = draw(st.tuples(*[st.integers(40, 90)] * 2) | st.tuples(*[st.integers(1, 40)] * 2))
    if draw(st.booleans()):
        shape = (draw(st.integers(2, 5)), *shape)
    planes = []
    value = float(rng.choice([0, 7, 250]))
    for _ in range(draw(st.integers(1, 3))):
        image = draw(st.sampled_from(CONTENTS))(rng, shape, draw(st.sampled_from([1.0, 30.0])))
        planes.append(framed(rng, image, value) if draw(st.booleans()) else image)
    return np.stack(planes).clip(0, 250 if (dtype := draw(st.sampled_from(DTYPES))) == "u1" else 30_000).astype(dtype)


def in_blocks(image, cytoplasm, nucleus, normalization, folder):
    """Normalised planes [2, Z, Y, X] and warnings, found block by block."""
    axes = "CZYX" if image.ndim == 4 else "CYX"
    channels = Channels(open_image(image, axes=axes), cytoplasm, nucleus)
    planes = Pixels(Store(folder), channels.grid(), channels.count, channels.dtype)
    for block in range(len(planes.grid)):
        read_block(planes, channels, block)
    scales = find_scales(planes, normalization, RUNNER)
    assert Scales.of(Store(folder).noted("intensities")) == find_scales(planes, normalization, RUNNER) == scales
    whole = Box.whole(planes.grid.shape)
    source = planes.read(whole)
    result = np.zeros((2, *whole.shape), np.float32)
    for plane, (scale, fill) in enumerate(zip(scales.scales, scales.fills, strict=True)):
        if scale is not None:
            map_intensities(source[plane], scale, normalization.invert, result[plane])
        if fill is not None:
            result[plane][fill.read(planes, plane, whole)] = 0
    return result, scales


@given(
    image=images(),
    rule=st.sampled_from(RULES[:1]) | st.sampled_from(RULES),
    invert=st.booleans(),
    channels=st.tuples(st.integers(-1, 2), st.integers(-1, 2)),
    block_bytes=st.sampled_from([300, 2000, 1 << 20]),
)
def test_scales_do_not_depend_on_blocks(image, rule, invert, channels, block_bytes):
    cytoplasm, nucleus = (min(channel, len(image) - 1) for channel in channels)
    normalization = Normalization.parse(rule, invert)
    expected = normalize(select_channels(image, cytoplasm, nucleus), normalization)
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        patch.setattr(pixels, "BLOCK_BYTES", block_bytes)
        found, scales = in_blocks(image, cytoplasm, nucleus, normalization, Path(folder))
    assert scales.warnings == expected.warnings
    np.testing.assert_array_equal(found.reshape(expected.planes.shape), expected.planes)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("block_bytes", [20_000, 1 << 20])
def test_fill_of_a_stack_is_found_in_blocks(tmp_path, monkeypatch, dtype, block_bytes):
    """Planes of a stack that was shifted to fit; one has fill of another value, one has none."""
    rng = np.random.default_rng(0)
    stack = rng.integers(100, 200, (5, 90, 110)).astype(dtype)
    for z, (width, value) in enumerate([(3, 0), (0, 0), (5, 0), (4, 9), (1, 0)]):
        stack[z] = np.pad(stack[z][width : 90 - width, width : 110 - width], width, constant_values=value)
    stack[2, 40:50, 40:50] = 0  # no fill
    border = border_fill(stack)
    monkeypatch.setattr(pixels, "BLOCK_BYTES", block_bytes)
    channels = Channels(open_image(stack, axes="ZYX"), 0, -1)
    planes = Pixels(Store(tmp_path), channels.grid(), 1, channels.dtype)
    for block in range(len(planes.grid)):
        read_block(planes, channels, block)
    (fill,) = find_scales(planes, Normalization(), RUNNER).fills
    assert (fill.value, fill.planes, fill.pixels) == (border.value, [0, 2, 4], np.count_nonzero(border.fill))
    np.testing.assert_array_equal(fill.read(planes, 0, Box.whole(stack.shape)), border.fill)
    part = Box((1, 2, 60), (4, 77, 110))
    np.testing.assert_array_equal(fill.read(planes, 0, part), border.fill[part.within(Box.whole(stack.shape))])
