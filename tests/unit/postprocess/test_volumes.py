"""Mask recovery in volumes: shapes come back from their flows, and each parameter does what its help says."""

import functools

import numpy as np
import pytest
from cellserve_evaluation.metrics import average_precision
from cellserve_parallel import ThreadGroup
from cellserve_postprocess import RecoveryParams, measure_objects, median_diameter, recover_masks
from cellserve_training.targets import masks_to_flows

from .shapes import perfect_maps

KEEP_ALL = RecoveryParams(flow_threshold=0, min_size=0, max_size_fraction=1, min_volume_fraction=0)


def ball(shape, centre, radii):
    grid = np.indices(shape)
    return sum(((axis - at) / radius) ** 2 for axis, at, radius in zip(grid, centre, radii, strict=True)) <= 1


def block(shape, *edges):
    """A box of voxels (z_min, y_min, x_min, z_max, y_max, x_max), half open."""
    mask = np.zeros(shape, np.bool_)
    mask[tuple(slice(*span) for span in zip(edges[:3], edges[3:], strict=True))] = True
    return mask


@functools.cache
def crowd(anisotropy):
    """125 ellipsoids of different radii on a lattice, most of which touch their neighbours."""
    rng = np.random.default_rng(0)
    spacing = np.array([17 / anisotropy, 17, 17])
    shape = tuple(np.ceil(5 * spacing).astype(int))
    labels = np.zeros(shape, np.int32)
    nearest = np.ones(shape)
    for number, place in enumerate(np.ndindex(5, 5, 5), start=1):
        centre = (np.array(place) + 0.5) * spacing + rng.uniform(-1, 1, 3) / [anisotropy, 1, 1]
        radii = rng.uniform(8, 10.5, 3) / [anisotropy, 1, 1]
        box = tuple(
            slice(max(0, int(at - radius)), int(at + radius) + 2) for at, radius in zip(centre, radii, strict=True)
        )
        axes = np.ogrid[tuple(slice(s.start, min(s.stop, length)) for s, length in zip(box, shape, strict=True))]
        distance = sum(((axis - at) / radius) ** 2 for axis, at, radius in zip(axes, centre, radii, strict=True))
        own = distance < nearest[box]
        labels[box][own], nearest[box][own] = number, distance[own]
    return labels


def of_sections(labels):
    """Flows as networks see them: mean of the flows of the xy, xz and yz sections."""
    flow = np.zeros((3, *labels.shape), np.float32)
    for axis in range(3):
        others = [other for other in range(3) if other != axis]
        for at in range(labels.shape[axis]):
            section = (slice(None),) * axis + (at,)
            part = masks_to_flows(labels[section])
            for component, other in zip(part, others, strict=True):
                flow[other][section] += component / 2
    return flow


def maps_of(labels, flow):
    logit = np.where(labels > 0, np.float32(6), np.float32(-6))
    return np.concatenate([5 * flow, logit[np.newaxis]])


def score(labels, recovered):
    rows = (-1, labels.shape[-1])
    return average_precision(labels.reshape(rows), recovered.astype(np.int32).reshape(rows), [0.5])[0]


@functools.cache
def crowd_flows(anisotropy, flows):
    return flows(crowd(anisotropy))


@pytest.mark.parametrize("anisotropy", [1, 2.5])
@pytest.mark.parametrize(
    ("flows", "noise", "params"),
    [
        (masks_to_flows, 0, {}),
        (masks_to_flows, 0.3, {}),
        (of_sections, 0, {}),
        (of_sections, 0.3, {}),
        (of_sections, 0.3, {"mask_rules": "cellpose3"}),
        (of_sections, 0.3, {"interpolation": "nearest"}),
    ],
)
def test_touching_ellipsoids_come_back(anisotropy, flows, noise, params):
    labels = crowd(anisotropy)
    flow = crowd_flows(anisotropy, flows)
    flow = flow + np.random.default_rng(1).normal(0, noise, flow.shape).astype(np.float32)
    recovered = recover_masks(maps_of(labels, flow), RecoveryParams(**params))
    assert score(labels, recovered.labels) >= 0.99
    assert recovered.labels.dtype == np.uint16


def concave(anisotropy):
    """A cup, a ring, a bent rod and a hook around a ball, which touches it."""
    shape = (int(60 / anisotropy), 60, 120)
    z, y, x = np.indices(shape)
    z = z * anisotropy
    labels = np.zeros(shape, np.int32)
    distance = np.sqrt((z - 30) ** 2 + (y - 30) ** 2 + (x - 18) ** 2)
    labels[(distance < 16) & (distance > 9) & (z < 32)] = 1
    away = np.hypot(y - 30, x - 55) - 13
    labels[away**2 + (z - 30) ** 2 < 25] = 2
    labels[(abs(z - 15) < 5) & (abs(y - 30) < 25) & (abs(x - 80) < 5)] = 3
    labels[(abs(z - 30) < 20) & (abs(y - 50) < 5) & (abs(x - 80) < 5)] = 3
    distance = np.sqrt((z - 30) ** 2 + (y - 30) ** 2 + (x - 102) ** 2)
    labels[(distance < 17) & (distance >= 9) & (y > 24)] = 4
    labels[distance < 9] = 5
    return labels


@pytest.mark.parametrize("anisotropy", [1, 2.5])
@pytest.mark.parametrize("noise", [0, 0.2])
@pytest.mark.parametrize("rules", ["paper", "cellpose3"])
def test_concave_shapes_come_back_open(anisotropy, noise, rules):
    labels = concave(anisotropy)
    maps = perfect_maps(labels)
    maps[:3] += 5 * np.random.default_rng(1).normal(0, noise, maps[:3].shape).astype(np.float32)
    recovered = recover_masks(maps, RecoveryParams(mask_rules=rules)).labels
    assert score(labels, recovered) >= 0.99
    assert not recovered[labels == 0].any()


def test_a_cavity_is_filled_and_a_tunnel_is_not():
    labels = ball((30, 30, 30), (15, 15, 15), (12, 12, 12)).astype(np.int32)
    labels[ball(labels.shape, (15, 15, 15), (4, 4, 4))] = 0
    maps = perfect_maps(labels)
    hollow = recover_masks(maps, RecoveryParams(fill_holes=False, max_size_fraction=1)).labels
    np.testing.assert_array_equal(hollow > 0, labels > 0)
    filled = recover_masks(maps, RecoveryParams(max_size_fraction=1)).labels
    np.testing.assert_array_equal(filled > 0, ball(labels.shape, (15, 15, 15), (12, 12, 12)))
    labels[:, 13:18, 13:18] = 0
    open_ball = recover_masks(perfect_maps(labels), RecoveryParams(max_size_fraction=1, flow_threshold=0)).labels
    np.testing.assert_array_equal(open_ball > 0, labels > 0)


def test_objects_that_are_small_beside_the_others_are_dropped():
    labels = np.zeros((20, 40, 80), np.int32)
    for number in range(3):
        labels[4:14, 5:15, 20 * number + 5 : 20 * number + 15] = number + 1  # 1,000 voxels each
    labels[4:9, 25:30, 5:10] = 4  # 125 voxels
    labels[4:8, 25:29, 25:30] = 5  # 80 voxels
    maps = perfect_maps(labels)

    def found(fraction, **others):
        kept = recover_masks(maps, RecoveryParams(min_volume_fraction=fraction, flow_threshold=0, **others)).labels
        return set(np.unique(labels[kept > 0]))

    assert found(0) == {1, 2, 3, 4, 5}
    assert found(0.1) == {1, 2, 3, 4}
    assert found(0.15) == {1, 2, 3}
    assert found(1) == {1, 2, 3}
    assert found(1, max_size_fraction=0.015) == {4}  # the median is that of the objects that other rules keep
    assert RecoveryParams().min_volume_fraction == 0.1


def test_images_have_no_smallest_share():
    labels = np.zeros((60, 60), np.int32)
    labels[5:45, 5:25] = 1
    labels[5:45, 30:50] = 2
    labels[50:55, 50:55] = 3
    assert recover_masks(perfect_maps(labels), RecoveryParams(min_volume_fraction=1)).labels.max() == 3


def test_objects_at_the_faces_along_y_and_x_are_dropped_on_request():
    labels = np.zeros((12, 60, 60), np.int32)
    boxes = [(0, 20, 20, 12, 30, 30), (3, 0, 20, 9, 10, 30), (3, 50, 20, 9, 60, 30), (3, 20, 0, 9, 30, 10)]
    boxes += [(3, 20, 50, 9, 30, 60), (1, 40, 40, 11, 50, 50)]
    for number, box in enumerate(boxes, start=1):
        labels[block(labels.shape, *box)] = number
    maps = perfect_maps(labels)
    assert recover_masks(maps, RecoveryParams()).labels.max() == 6
    inner = recover_masks(maps, RecoveryParams(exclude_on_edges=True)).labels
    np.testing.assert_array_equal(inner > 0, (labels == 1) | (labels == 6))


def test_sizes_count_voxels():
    labels = np.zeros((10, 30, 40), np.int32)
    labels[2:5, 5:8, 5:8] = 1  # 27
    labels[2:6, 15:19, 15:19] = 2  # 64
    maps = perfect_maps(labels)
    for params, objects in (({}, 2), ({"min_size": 28}, 1), ({"min_size": 65}, 0), ({"max_size_fraction": 0.005}, 1)):
        assert recover_masks(maps, RecoveryParams(**params)).labels.max() == objects


def test_a_mask_that_does_not_explain_the_flows_is_dropped():
    labels = np.zeros((24, 24, 48), np.int32)
    labels[ball(labels.shape, (12, 12, 12), (9, 9, 9))] = 1
    labels[ball(labels.shape, (12, 12, 36), (9, 9, 9))] = 2
    maps = perfect_maps(labels)
    maps[:3, labels == 2] /= 4  # squared distance (3/4)^2
    kept = recover_masks(maps, RecoveryParams(flow_threshold=0))
    np.testing.assert_allclose(kept.flow_errors, [0, 9 / 16], atol=0.01)
    assert recover_masks(maps, RecoveryParams(flow_threshold=0.5)).labels.max() == 1
    assert recover_masks(maps, RecoveryParams()).labels.max() == 2, "the default of volumes is larger"


def test_masks_of_larger_maps_keep_the_size_of_their_objects():
    labels = np.zeros((30, 60, 60), np.int32)
    labels[ball(labels.shape, (15, 20, 20), (10, 12, 12))] = 1
    labels[ball(labels.shape, (15, 45, 45), (10, 12, 12))] = 2
    recovered = recover_masks(perfect_maps(labels), RecoveryParams(), shape=(10, 30, 30))
    assert recovered.labels.shape == (10, 30, 30)
    volumes = np.bincount(recovered.labels.ravel())[1:] * 12
    np.testing.assert_allclose(volumes, np.bincount(labels.ravel())[1:], rtol=0.05)


def test_more_objects_than_sixteen_bits_count():
    """Rods of 5 voxels, each with its own sink."""
    maps = np.zeros((4, 99, 189, 192), np.float32)
    maps[3] = -6
    for step in range(5):
        maps[3, ::3, ::3, step::6] = 6
        maps[2, ::3, ::3, step::6] = 5 * np.sign(2 - step)
    recovered = recover_masks(maps, RecoveryParams(min_size=3, flow_threshold=0))
    assert recovered.labels.dtype == np.uint32
    assert recovered.labels.max() == len(recovered.flow_errors) == 33 * 63 * 32
    np.testing.assert_array_equal(np.bincount(recovered.labels.ravel())[1:], 5)
    starts = recovered.labels[::3, ::3, 2::6]
    np.testing.assert_array_equal(starts.ravel(), np.arange(1, starts.size + 1))


@pytest.mark.parametrize("interpolation", ["bilinear", "nearest"])
@pytest.mark.parametrize("shape", [(0, 0, 0), (0, 5, 5), (3, 0, 4), (1, 1, 1), (1, 1, 300), (300, 1, 1), (1, 64, 64)])
@pytest.mark.parametrize("logit", [-6, 6])
def test_constant_maps_of_any_shape(shape, logit, interpolation):
    maps = np.zeros((4, *shape), np.float32)
    maps[3] = logit
    recovered = recover_masks(maps, RecoveryParams(interpolation=interpolation))
    assert recovered.labels.shape == shape
    assert recovered.labels.max(initial=0) == len(recovered.flow_errors) == 0
    assert len(measure_objects(recovered.labels, maps[3], recovered.flow_errors)) == 0


@pytest.mark.parametrize("depth", [1, 2, 5])
def test_thin_volumes(depth):
    y, x = np.indices((40, 60))
    disks = 1 * (np.hypot(y - 20, x - 15) < 12) + 2 * (np.hypot(y - 20, x - 42) < 14)
    labels = np.repeat(disks[np.newaxis], depth, axis=0)
    recovered = recover_masks(perfect_maps(labels), RecoveryParams())
    assert score(labels, recovered.labels) == 1


@pytest.mark.parametrize("shape", [(2, 5, 5, 5), (3, 5, 5, 5), (5, 5, 5, 5), (1, 4, 5, 5, 5)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(ValueError, match="axes"):
        recover_masks(np.zeros(shape, np.float32), RecoveryParams())


def test_a_volume_of_too_many_voxels_is_refused():
    maps = np.broadcast_to(np.float32(0), (4, 2048, 1024, 1024))
    with pytest.raises(ValueError, match=r"2\*\*31"):
        recover_masks(maps, RecoveryParams())


@pytest.mark.parametrize("interpolation", ["bilinear", "nearest"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3e38])
def test_outputs_no_network_should_give_do_no_harm(value, interpolation):
    rng = np.random.default_rng(0)
    maps = maps_of(crowd(2.5), crowd_flows(2.5, masks_to_flows))
    with np.errstate(invalid="ignore", over="ignore"):
        maps[:, rng.random(maps.shape[1:]) < 0.2] = value
        recovered = recover_masks(maps, RecoveryParams(interpolation=interpolation, niter=50))
    assert recovered.labels.max() == len(recovered.flow_errors)


def test_every_quantity_of_two_blocks():
    labels = np.zeros((10, 20, 30), np.uint16)
    labels[1:3, 2:6, 3:13] = 1
    labels[5:9, 10:20, 20:30] = 2
    logit = np.where(labels == 1, np.float32(0), np.float32(np.log(3)))
    table = measure_objects(labels, logit, np.array([0.1, 0.2], np.float32), ThreadGroup())
    np.testing.assert_array_equal(table.label, [1, 2])
    np.testing.assert_array_equal(table.bbox, [[1, 2, 3, 3, 6, 13], [5, 10, 20, 9, 20, 30]])
    np.testing.assert_array_equal(table.centroid, [[1.5, 3.5, 7.5], [6.5, 14.5, 24.5]])
    np.testing.assert_array_equal(table.area, [80, 400])
    diameters = 2 * np.cbrt(np.array([80, 400]) * 3 / (4 * np.pi))
    np.testing.assert_allclose(table.equivalent_diameter_area, diameters, rtol=1e-6)
    np.testing.assert_allclose(table.mean_probability, [0.5, 0.75], rtol=1e-6)
    assert {name: getattr(table, name).dtype for name in ("bbox", "centroid", "area")} == {
        "bbox": np.int32,
        "centroid": np.float32,
        "area": np.int64,
    }


def test_median_diameter_of_balls():
    labels = np.zeros((40, 40, 120), np.int32)
    for number, at in enumerate((20, 60, 100), start=1):
        labels[ball(labels.shape, (20, 20, at), (15, 15, 15))] = number + 1
    assert median_diameter(labels) == pytest.approx(30, rel=0.01)
