import numpy as np
import pytest
from cellserve_contract.warnings import WarningKind
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


def kinds(normalized):
    return [kind for kind, _ in normalized.warnings]


def discs(count, background=0.0, height=180.0, shape=(200, 200)):
    """Soft discs of 12 px, [2, Y, X] with empty nuclei."""
    image = np.full(shape, background, np.float64)
    for number in range(count):
        row, column = divmod(number, 10)
        y, x = np.mgrid[: shape[0], : shape[1]] - np.array([10 + 20 * row, 10 + 20 * column]).reshape(2, 1, 1)
        image += height * np.clip(7 - np.hypot(y, x), 0, 1)
    return np.stack([image, np.zeros(shape)])


@pytest.mark.parametrize("dtype", ["u1", "u2", "f4", "f8"])
def test_a_constant_channel_is_warned_of(image, dtype):
    image[0] = 7
    normalized = normalize(image.astype(dtype), Normalization())
    assert not normalized.planes[0].any()
    assert (WarningKind.CONSTANT_PLANE, {"plane": "cytoplasm", "value": "7"}) in normalized.warnings


def test_what_rounding_leaves_of_a_constant_is_constant():
    image = (np.float32(0.1) * np.random.default_rng(0).uniform(1, 1.5, (2, 30, 30)).astype(np.float32)) * 0 + 0.1
    image[0, 0, 0] = np.nextafter(np.float32(0.1), np.float32(1))
    assert kinds(normalize(image.astype(np.float32), Normalization())) == [WarningKind.CONSTANT_PLANE] * 2


@pytest.mark.parametrize("rule", [Normalization(), Normalization(low=0, high=100)])
@pytest.mark.parametrize(
    ("scale", "offset", "dtype"), [(1e-6, 0, "f4"), (1, 1e9, "f8"), (0.1, 1e9, "f8"), (1, 2**31, "u4")]
)
def test_a_range_is_small_only_relative_to_the_values(image, rule, scale, offset, dtype):
    """Neither an absolute range nor the resolution of single precision decides."""
    expected = normalize(np.round(image), rule).planes
    changed = (np.round(image).astype(np.float64) * scale + offset).astype(dtype)
    np.testing.assert_allclose(normalize(changed, rule).planes, expected, atol=2e-5)
    assert not normalize(changed, rule).warnings


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize(("sign", "low", "high"), [(1, "0", "180"), (-1, "20", "200")])
def test_a_few_objects_on_an_exact_background(count, sign, low, high):
    """Both percentiles are the background: the objects' own range counts."""
    image = discs(count)
    image[0] = 200 * (sign < 0) + sign * image[0]
    normalized = normalize(image, Normalization())
    facts = {"plane": "cytoplasm", "low": low, "high": high}
    assert normalized.warnings == ((WarningKind.PERCENTILES_EQUAL, facts),)
    assert (normalized.planes.min(), normalized.planes.max()) == (0, 1)
    assert normalized.planes[0, 10, 10] == (sign > 0)


@pytest.mark.parametrize("value", [0, 65535])
def test_a_frame_of_fill_changes_nothing_inside(value):
    rng = np.random.default_rng(0)
    image = (discs(40)[0] + rng.normal(1000, 8, (200, 200))).astype(np.uint16)
    planes = np.stack([np.pad(image, 3, constant_values=value), np.zeros((206, 206), np.uint16)])
    normalized = normalize(planes, Normalization())
    assert kinds(normalized) == [WarningKind.BORDER_LEFT_OUT]
    alone = normalize(np.stack([image, image * 0]), Normalization()).planes[0]
    np.testing.assert_array_equal(normalized.planes[0], np.pad(alone, 3))


@pytest.mark.parametrize("dtype", ["u1", "u2", "i4", "f4", "f8"])
@pytest.mark.parametrize(("low", "high"), [(0, 1), (7, 200), (200, 7)])
def test_a_plane_of_two_values_has_no_fill(dtype, low, high):
    """A drawn mask of one large object, of simple outline."""
    plane = np.full((80, 90), low, dtype)
    plane[30:] = high
    normalized = normalize(np.stack([plane, plane.T[:80, :80].repeat(2, 1)[:, :90]]), Normalization())
    np.testing.assert_array_equal(normalized.planes[0], plane == max(low, high))
    assert {kind for kind, _ in normalized.warnings} <= {WarningKind.VALUES_CLIPPED}


def test_cellpose_counts_fill_and_takes_small_ranges_for_constant():
    image = np.stack([np.pad(np.linspace(1, 2, 900).reshape(30, 30), 3), np.linspace(0, 9e-4, 1296).reshape(36, 36)])
    normalized = normalize(image.astype(np.float32), Normalization("cellpose3", 0, 100))
    np.testing.assert_allclose(normalized.planes[0], image[0] / 2, atol=1e-6)
    assert not normalized.planes[1].any()
    assert normalized.warnings == ((WarningKind.CONSTANT_PLANE, {"plane": "nucleus", "value": "0"}),)


@pytest.mark.parametrize(("full", "dtype"), [(255, "u1"), (4095, "u2"), (65535, "u2"), (1, "f4")])
@pytest.mark.parametrize(("share", "warned"), [(0.005, False), (0.03, True)])
def test_values_at_the_end_of_a_detectors_range_are_clipped(image, full, dtype, share, warned):
    image[0] *= full / np.quantile(image[0], 1 - share)
    image[1] = 0
    normalized = normalize(image.clip(0, full).astype(dtype), Normalization())
    assert [(kind, facts["value"]) for kind, facts in normalized.warnings] == (
        [(WarningKind.VALUES_CLIPPED, f"{full}")] if warned else []
    )
    assert all(float(facts["share"]) == pytest.approx(share, rel=0.1) for _, facts in normalized.warnings)


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


@pytest.mark.parametrize("rule", ["percentiles:1,99", "range:10,900", "off", "cellpose3:1,99"])
def test_a_stack_has_the_percentiles_of_all_its_planes(rule):
    stack = np.random.default_rng(0).gamma(2, 100, (2, 5, 30, 40)).astype(np.float32)
    flat = normalize(stack.reshape(2, 150, 40), Normalization.parse(rule)).planes
    np.testing.assert_array_equal(normalize(stack, Normalization.parse(rule)).planes, flat.reshape(stack.shape))
