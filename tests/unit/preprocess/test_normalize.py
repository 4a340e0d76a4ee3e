import numpy as np
import pytest
from cellserve_preprocess import Normalization, normalize


@pytest.fixture
def image():
    rng = np.random.default_rng(0)
    return rng.gamma(2, 100, (2, 60, 70)).astype(np.float32)


def test_percentiles_of_the_whole_channel_become_zero_and_one(image):
    low, high = np.percentile(image.astype(np.float64), [1, 99], axis=(1, 2), keepdims=True)
    np.testing.assert_allclose(normalize(image, Normalization()).planes, (image - low) / (high - low), atol=1e-6)


def test_nothing_is_clipped(image):
    normalized = normalize(image, Normalization()).planes
    assert normalized.min() < 0
    assert normalized.max() > 1


def test_a_range_is_the_same_for_every_channel(image):
    normalized = normalize(image, Normalization(rule="range", low=50, high=250)).planes
    np.testing.assert_allclose(normalized, (image - 50) / 200, atol=1e-6)


def test_off_leaves_intensities(image):
    np.testing.assert_array_equal(normalize(image, Normalization(rule="off")).planes, image)


def test_two_ranges_belong_to_the_two_planes(image):
    normalized = normalize(image, Normalization("range", (50, 0), (250, 400))).planes
    np.testing.assert_allclose(normalized[0], (image[0] - 50) / 200, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(normalized[1], image[1] / 400, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("rule", ["percentiles", "range", "off"])
def test_invert_is_one_minus_the_rule(image, rule):
    limits = {"low": 0, "high": 300} if rule == "range" else {}
    plain = normalize(image, Normalization(rule=rule, **limits)).planes
    inverted = normalize(image, Normalization(rule=rule, invert=True, **limits)).planes
    np.testing.assert_array_equal(inverted, 1 - plain)


@pytest.mark.parametrize("invert", [False, True])
def test_a_constant_channel_becomes_zeros(image, invert):
    image[0] = 1234
    normalized = normalize(image, Normalization(invert=invert)).planes
    assert (normalized[0] == 0).all()
    assert normalized[1].any()


def test_a_channel_within_a_thousandth_is_constant():
    image = np.linspace(0, 1e-3, 200, dtype=np.float32).reshape(2, 10, 10)
    assert not normalize(image, Normalization(low=0, high=100)).planes.any()


@pytest.mark.parametrize("rule", ["percentiles", "range", "off"])
def test_a_missing_nucleus_stays_zeros_also_when_inverted(image, rule):
    image[1] = 0
    assert (
        not normalize(image, Normalization(rule, invert=True, **({"low": 10, "high": 90} if rule != "off" else {})))
        .planes[1]
        .any()
    )


@pytest.mark.parametrize("rule", ["percentiles", "range", "off"])
def test_the_image_is_left_alone(image, rule):
    before = image.copy()
    image.flags.writeable = False
    normalize(image, Normalization(rule, invert=True, **({"low": 10, "high": 90} if rule != "off" else {}))).planes[
        :
    ] = 7
    np.testing.assert_array_equal(image, before)


def test_one_pixel():
    assert not normalize(np.full((2, 1, 1), 5, dtype=np.float32), Normalization()).planes.any()
