import numpy as np
import pytest
from cellserve_postprocess import RecoveryParams, recover_masks

from .shapes import boxed, disks, iou, perfect_maps

KEEP_ALL = RecoveryParams(flow_threshold=0, min_size=0, max_size_fraction=1)


def crescent():
    labels = disks((80, 80), [(40, 40)], 25)
    labels[disks((80, 80), [(40, 55)], 20) > 0] = 0
    return labels


def ring():
    labels = disks((80, 80), [(40, 40)], 25)
    labels[disks((80, 80), [(40, 40)], 10) > 0] = 0
    return labels


def crowd():
    """Disks of radius 9 on a grid of 16 pixels: each touches its neighbours."""
    return disks((160, 160), [(y, x) for y in range(8, 160, 16) for x in range(8, 160, 16)], 9)


def bent():
    labels = boxed((60, 60), (10, 10, 50, 20), (40, 10, 50, 50))
    labels[labels > 0] = 1
    return labels


@pytest.mark.parametrize("interpolation", ["bilinear", "nearest"])
@pytest.mark.parametrize(
    "labels",
    [
        pytest.param(disks((60, 100), [(30, 25), (30, 70)], 18), id="disks"),
        pytest.param(boxed((50, 70), (5, 5, 45, 35), (5, 35, 45, 65)), id="touching squares"),
        pytest.param(crowd(), id="crowd"),
        pytest.param(crescent(), id="crescent"),
        pytest.param(bent(), id="bent"),
        pytest.param(boxed((20, 90), (8, 5, 9, 85)), id="line"),
        pytest.param(boxed((20, 90), (8, 5, 12, 85)), id="rod"),
        pytest.param(disks((64, 64), [(0, 0), (0, 63), (63, 0), (63, 63), (32, 32)], 14), id="corners"),
    ],
)
def test_shapes_come_back_from_perfect_flows(labels, interpolation):
    recovered = recover_masks(perfect_maps(labels), RecoveryParams(interpolation=interpolation))
    assert recovered.labels.max() == labels.max()
    assert min(iou(labels, recovered.labels)) >= 0.99
    assert recovered.flow_errors.max() < 0.1
    assert recovered.labels.dtype == np.uint16


def test_a_ring_comes_back_with_or_without_its_hole():
    labels = ring()
    maps = perfect_maps(labels)
    open_ring = recover_masks(maps, RecoveryParams(fill_holes=False)).labels
    np.testing.assert_array_equal(open_ring, labels)
    filled = recover_masks(maps, RecoveryParams(fill_holes=True)).labels
    np.testing.assert_array_equal(filled, disks((80, 80), [(40, 40)], 25))


def test_objects_inside_a_hole_stay_and_the_innermost_fills():
    labels = ring()
    labels[disks((80, 80), [(40, 40)], 8) > 0] = 2
    labels[40, 38:41] = 0
    recovered = recover_masks(perfect_maps(labels), RecoveryParams()).labels
    inner = recovered == recovered[40, 35]
    np.testing.assert_array_equal(inner, disks((80, 80), [(40, 40)], 8) > 0)
    np.testing.assert_array_equal(recovered > 0, disks((80, 80), [(40, 40)], 25) > 0)


def test_peaks_that_touch_are_one_object():
    """A flat field converges nowhere in particular: all positions that hold three pixels or more join their seed."""
    maps = np.full((3, 30, 30), -6, dtype=np.float32)
    maps[2, 5:25, 5:25] = 6
    maps[:2] = 0
    maps[0, 5:15] = 5 * 0.6
    maps[0, 15:25] = -5 * 0.6
    recovered = recover_masks(maps, KEEP_ALL)
    np.testing.assert_array_equal(recovered.labels > 0, maps[2] > 0)
    assert recovered.labels.max() == 1


def blobs(area):
    """144 objects of so many pixels, each the pixels closest to a position between pixels."""
    rng = np.random.default_rng(area)
    y, x = np.indices((12, 12))
    labels = np.zeros((144, 144), np.uint16)
    for number in range(144):
        row, column = divmod(number, 12)
        centre = rng.uniform(5.5, 6.5, 2)
        closest = np.argsort((y - centre[0]) ** 2 + (x - centre[1]) ** 2, axis=None, kind="stable")[:area]
        labels[12 * row + closest // 12, 12 * column + closest % 12] = number + 1
    return labels


@pytest.mark.parametrize(("length", "min_size", "objects"), [
    (3, 3, 1), (3, 0, 1), (2, 0, 0), (5, 5, 1), (5, 6, 0), (10, 10, 1), (10, 11, 0), (11, 11, 1),
])  # fmt: skip
def test_as_many_pixels_as_the_smallest_object_has_found_one(length, min_size, objects):
    """At most eleven: beyond, size alone decides."""
    maps = np.full((3, 5, 40), -6, np.float32)
    maps[:2] = 0
    maps[2, 2, 10 : 10 + length] = 6
    maps[1, 2, 10 : 10 + length] = 5 * np.sign(length // 2 - np.arange(length))
    params = RecoveryParams(flow_threshold=0, min_size=min_size)
    assert recover_masks(maps, params).labels.max() == objects


@pytest.mark.parametrize(
    ("interpolation", "area"),
    [*(("bilinear", area) for area in (5, 6, 8, 10, 12, 20)), *(("nearest", area) for area in (7, 8, 10, 12, 16, 20))],
)
def test_a_small_min_size_finds_objects_of_few_pixels(interpolation, area):
    labels = blobs(area)
    recovered = recover_masks(perfect_maps(labels), RecoveryParams(min_size=area // 2, interpolation=interpolation))
    assert recovered.labels.max() == 144
    assert min(iou(labels, recovered.labels)) > 0.5


def test_objects_of_sixteen_pixels_along_nearest_flows():
    """Their pixels go to and fro: half of them end on one side of the middle, half on the other."""
    maps = perfect_maps(blobs(16))
    for params, objects in (({}, 0), ({"min_size": 8}, 144), ({"min_size": 8, "mask_rules": "cellpose3"}, 0)):
        assert recover_masks(maps, RecoveryParams(interpolation="nearest", **params)).labels.max() == objects


@pytest.mark.parametrize("interpolation", ["bilinear", "nearest"])
def test_masks_of_larger_maps_keep_the_size_of_their_objects(interpolation):
    labels = disks((300, 420), [(40, 50), (150, 200), (270, 390)], 18)
    params = RecoveryParams(min_size=3, interpolation=interpolation)
    recovered = recover_masks(perfect_maps(labels), params, shape=(40, 60))
    assert recovered.labels.shape == (40, 60)
    assert recovered.labels.max() == len(recovered.flow_errors) == 3
    areas = np.bincount(recovered.labels.ravel())[1:] * (300 / 40) * (420 / 60)
    np.testing.assert_allclose(areas, np.bincount(labels.ravel())[1:], rtol=0.15)
    y, x = np.nonzero(recovered.labels == recovered.labels[5, 7])
    np.testing.assert_allclose([(y.mean() + 0.5) * 300 / 40, (x.mean() + 0.5) * 420 / 60], [40.5, 50.5], atol=2)


def test_sizes_and_borders_are_those_of_the_label_image():
    labels = disks((300, 300), [(40, 40), (150, 150)], 18)  # 1,009 pixels each, about 10 in the label image
    labels[labels == 2] = 0
    labels[2:29, 130:157] = 2  # two pixels away from the border of the maps, none in the label image
    maps = perfect_maps(labels)

    def count(**params):
        return recover_masks(maps, RecoveryParams(**params), shape=(30, 30)).labels.max()

    assert count(min_size=7) == 2
    assert count(min_size=15) == 0
    assert count(min_size=7, max_size_fraction=0.005) == 0
    assert count(min_size=7, exclude_on_edges=True) == 1


def test_the_threshold_is_strict():
    maps = perfect_maps(disks((40, 40), [(20, 20)], 10))
    maps[2] = np.where(maps[2] > 0, 1.5, -6)
    assert recover_masks(maps, RecoveryParams(cellprob_threshold=1.49)).labels.max() == 1
    assert recover_masks(maps, RecoveryParams(cellprob_threshold=1.5)).labels.max() == 0


def test_only_kept_pixels_are_labelled():
    labels = disks((60, 60), [(30, 30)], 18)
    maps = perfect_maps(labels)
    maps[2, :, ::7] = -6
    recovered = recover_masks(maps, RecoveryParams(fill_holes=False, flow_threshold=0)).labels
    assert (recovered[:, ::7] == 0).all()


def test_a_mask_that_does_not_explain_the_flows_is_dropped():
    labels = disks((60, 120), [(30, 30), (30, 90)], 20)
    maps = perfect_maps(labels)
    y, x = np.indices(labels.shape)
    spoilt = (labels == 2) & ((y - 30) ** 2 + (x - 90) ** 2 > 36)
    # Flows that still end in the centre, at a third of their length: squared distance (2/3)^2.
    maps[:2, spoilt] /= 3
    kept = recover_masks(maps, RecoveryParams(flow_threshold=0))
    assert kept.labels.max() == 2
    assert kept.flow_errors[0] < 0.01
    assert kept.flow_errors[1] == pytest.approx(4 / 9 * spoilt.sum() / (labels == 2).sum(), rel=0.02)
    np.testing.assert_array_equal(
        recover_masks(maps, RecoveryParams(flow_threshold=0.3)).labels, labels * (labels == 1)
    )
    assert recover_masks(maps, RecoveryParams(flow_threshold=0.5)).labels.max() == 2


def test_min_size_counts_pixels():
    labels = boxed((30, 60), (5, 5, 8, 12), (5, 30, 10, 35))
    for min_size, objects in ((21, 2), (22, 1), (25, 1), (26, 0)):
        assert recover_masks(perfect_maps(labels), RecoveryParams(min_size=min_size)).labels.max() == objects


def test_masks_above_the_size_fraction_are_dropped():
    labels = boxed((40, 50), (0, 0, 40, 20))
    maps = perfect_maps(labels)
    assert recover_masks(maps, RecoveryParams(max_size_fraction=0.4)).labels.max() == 1
    assert recover_masks(maps, RecoveryParams(max_size_fraction=0.399)).labels.max() == 0


def test_objects_at_the_border_are_dropped_on_request():
    boxes = [(0, 20, 10, 30), (20, 0, 30, 10), (50, 20, 60, 30), (20, 50, 30, 60), (20, 20, 30, 30), (1, 1, 11, 11)]
    labels = boxed((60, 60), *boxes)
    maps = perfect_maps(labels)
    assert recover_masks(maps, RecoveryParams()).labels.max() == 6
    inner = recover_masks(maps, RecoveryParams(exclude_on_edges=True))
    np.testing.assert_array_equal(inner.labels > 0, (labels == 5) | (labels == 6))
    assert len(inner.flow_errors) == 2


def test_numbers_have_no_gaps_and_follow_rows():
    labels = disks((60, 160), [(40, 20), (10, 60), (30, 100), (12, 140)], 9)
    recovered = recover_masks(perfect_maps(labels), RecoveryParams())
    assert [recovered.labels[y, x] for y, x in ((10, 60), (12, 140), (30, 100), (40, 20))] == [1, 2, 3, 4]


@pytest.mark.parametrize("interpolation", ["bilinear", "nearest"])
@pytest.mark.parametrize("shape", [(0, 0), (1, 1), (1, 300), (300, 1), (65536, 1), (1, 65536), (64, 64)])
@pytest.mark.parametrize("logit", [-6, 6])
def test_constant_maps_of_any_shape(shape, logit, interpolation):
    maps = np.zeros((3, *shape), dtype=np.float32)
    maps[2] = logit
    recovered = recover_masks(maps, RecoveryParams(interpolation=interpolation))
    assert recovered.labels.shape == shape
    assert recovered.labels.max(initial=0) == 0
    assert len(recovered.flow_errors) == 0


def test_a_full_image_of_one_object():
    labels = np.ones((50, 50), dtype=np.uint16)
    maps = perfect_maps(labels)
    np.testing.assert_array_equal(recover_masks(maps, RecoveryParams(max_size_fraction=1)).labels, labels)
    assert recover_masks(maps, RecoveryParams()).labels.max() == 0


def test_very_long_images_of_many_objects():
    labels = np.repeat(np.arange(1, 65536 // 32 + 1), 32).astype(np.uint16)
    labels[31::32] = 0
    for shape in ((65536, 1), (1, 65536)):
        recovered = recover_masks(perfect_maps(labels.reshape(shape)), RecoveryParams())
        np.testing.assert_array_equal(recovered.labels, labels.reshape(shape))


@pytest.mark.parametrize("interpolation", ["bilinear", "nearest"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3e38, -3e38])
def test_outputs_no_network_should_give_do_no_harm(value, interpolation):
    rng = np.random.default_rng(0)
    labels = disks((60, 60), [(20, 20), (40, 40)], 12)
    maps = perfect_maps(labels)
    with np.errstate(invalid="ignore", over="ignore"):
        maps[:, rng.random((60, 60)) < 0.2] = value
        for threshold in (0, 0.4):
            params = RecoveryParams(interpolation=interpolation, flow_threshold=threshold)
            recovered = recover_masks(maps, params)
            assert recovered.labels.shape == (60, 60)
            assert len(recovered.flow_errors) == recovered.labels.max()


def test_more_objects_than_sixteen_bits_count():
    side = 260
    tile = np.zeros((6, 6), dtype=bool)
    tile[:4, :4] = True
    inside = np.tile(tile, (side, side))
    y, x = np.indices(inside.shape, dtype=np.float32) % 6
    maps = np.zeros((3, *inside.shape), dtype=np.float32)
    # Towards pixel (2, 2) of every square.
    maps[0], maps[1] = 5 * np.clip(2 - y, -1, 1) * inside, 5 * np.clip(2 - x, -1, 1) * inside
    maps[2] = np.where(inside, 6, -6)
    recovered = recover_masks(maps, RecoveryParams(flow_threshold=0))
    assert recovered.labels.dtype == np.uint32
    assert recovered.labels.max() == side * side == 67_600
    assert len(recovered.flow_errors) == side * side
    assert (np.bincount(recovered.labels.ravel())[1:] == 16).all()
    fewer = recover_masks(np.ascontiguousarray(maps[:, : 6 * 252]), RecoveryParams(flow_threshold=0))
    assert fewer.labels.max() == 65_520
    assert fewer.labels.dtype == np.uint16


def test_large_objects_are_measured_on_blocks_to_the_same_error():
    labels = disks((420, 900), [(210, 210), (210, 660)], 200)
    recovered = recover_masks(perfect_maps(labels), RecoveryParams())
    np.testing.assert_array_equal(recovered.labels, labels)
    assert recovered.flow_errors.max() < 0.01


def test_the_maps_are_left_alone_and_may_be_views():
    labels = disks((60, 100), [(30, 25), (30, 70)], 18)
    maps = perfect_maps(labels)
    before = maps.copy()
    view = np.asfortranarray(maps)
    view.flags.writeable = False
    np.testing.assert_array_equal(recover_masks(view, RecoveryParams()).labels, labels)
    np.testing.assert_array_equal(view, before)


@pytest.mark.parametrize("shape", [(2, 10, 10), (10, 10), (4, 10, 10)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(ValueError, match="axes"):
        recover_masks(np.zeros(shape, dtype=np.float32), RecoveryParams())
