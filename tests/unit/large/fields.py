"""Flow fields that are recovered in memory and in blocks."""

import numpy as np
from cellserve_large import ArrayMaps, Box, recover
from cellserve_postprocess import measure_objects, recover_masks

from tests.unit.postprocess.shapes import disks, perfect_maps


def assert_recovered(folder, maps, params, side, **options):
    """Recovery in blocks gives what recovery in memory gives, bit for bit; returns the number of objects."""
    shape = options.get("shape")
    expected = recover_masks(maps, params, shape=shape)
    found = recover(ArrayMaps(maps), params, folder, side=side, **options)
    labels = found.read(Box.whole(found.grid.shape))
    assert labels.dtype == expected.labels.dtype
    np.testing.assert_array_equal(labels, expected.labels)
    np.testing.assert_array_equal(found.objects.flow_error, expected.flow_errors)
    if shape is None:
        table = measure_objects(expected.labels, maps[-1], expected.flow_errors)
        for name in ("label", "bbox", "centroid", "area", "equivalent_diameter_area", "flow_error"):
            np.testing.assert_array_equal(getattr(found.objects, name), getattr(table, name), err_msg=name)
        np.testing.assert_allclose(found.objects.mean_probability, table.mean_probability, rtol=1e-6)
    return len(found.objects)


def smooth(rng, shape, distance, axes):
    """Smooth noise of about unit size: averages over so many pixels."""
    noise = rng.normal(size=(axes, *shape))
    for axis in range(1, len(shape) + 1):
        noise = sum(np.roll(noise, shift, axis) for shift in range(-distance, distance + 1))
    return (noise / noise.std()).astype(np.float32)


def crowd(shape, seed, radius=9, wrong=0.4):
    """Touching disks of a drawn image, as imperfect networks put them out."""
    rng = np.random.default_rng(seed)
    step = 2 * radius - 2
    centres = [rng.normal((y, x), 2) for y in range(radius, shape[0], step) for x in range(radius, shape[1], step)]
    maps = perfect_maps(disks(shape, centres, radius))
    maps[:2] += 5 * wrong * smooth(rng, shape, 2, 2)
    return maps


def wind(shape, seed, strength=1.0):
    """Noise all over the image: paths wander far, regions are large."""
    rng = np.random.default_rng(seed)
    maps = 5 * np.float32(strength) * smooth(rng, shape, 12, len(shape) + 1)
    maps[-1] += 4
    return maps


def rings(shape):
    """Rings in rings, and disks in their holes."""
    y, x = np.indices(shape)
    labels = np.zeros(shape, np.uint16)
    number = 0
    for centre_y, centre_x in ((40, 45), (40, 128)):
        distance = np.hypot(y - centre_y, x - centre_x)
        for outer, inner in ((38, 30), (24, 18), (12, 9), (5, -1)):
            number += 1
            labels[(distance <= outer) & (distance > inner)] = number
    return perfect_maps(labels)


def balls(shape, seed, radius=6):
    """Touching balls with a cavity in some, as imperfect networks put them out: flows lead to the nearest centre."""
    rng = np.random.default_rng(seed)
    step = 2 * radius - 2
    centres = np.array(
        [rng.normal(np.array(at) * step + radius, 1) for at in np.ndindex(*(-(-n // step) for n in shape))]
    )
    grid = np.moveaxis(np.indices(shape), 0, -1)
    distances = np.linalg.norm(grid[..., np.newaxis, :] - centres, axis=-1)
    nearest, distance = distances.argmin(axis=-1), distances.min(axis=-1)
    away = centres[nearest] - grid
    flow = away / np.maximum(distance, 1)[..., np.newaxis]
    inside = (distance <= radius) & ~((nearest % 3 == 0) & (distance > 2) & (distance < 3.5))
    maps = np.concatenate([5 * np.moveaxis(flow, -1, 0), np.where(inside, 6, -6)[np.newaxis]]).astype(np.float32)
    maps[:3] += smooth(rng, shape, 1, 3)
    return maps
