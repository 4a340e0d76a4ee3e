"""Small objects are recovered at the networks' scale; sizes and answers stay in the pixels of the image."""

from __future__ import annotations

import numpy as np
import pytest
from cellserve_contract.params import SegmentParams
from cellserve_contract.sizes import with_recovery_defaults
from cellserve_contract.warnings import WarningKind
from cellserve_gateway.app.decode import Decoded
from cellserve_gateway.app.results import Wanted

from .perfect import setup

SHAPE = (60, 72)
OUTPUTS = frozenset({"outlines", "flows", "cell_probability", "maps"})


def squares(side: int) -> np.ndarray:
    """An image [1, Y, X] of 30 bright squares."""
    image = np.zeros((1, *SHAPE), np.uint8)
    for y in range(6, 60, 12):
        for x in range(6, 72, 12):
            image[0, y : y + side, x : x + side] = 200
    return image


async def segment(made, image, **params):
    params = SegmentParams(model="cells", **params)
    with made.admission.admit(requests=1, pixels=image[0].size) as reservation:
        return await made.segmenter.segment(
            lambda: Decoded(image[np.newaxis]), params, Wanted(OUTPUTS), made.context, reservation
        )


@pytest.mark.parametrize("interpolation", ["bilinear", "nearest"])
@pytest.mark.parametrize("side", [3, 4])
async def test_objects_of_a_few_pixels_are_found_by_default(side, interpolation):
    image = squares(side)
    with setup(None) as made:
        found = await segment(made, image, diameter=side, interpolation=interpolation)
    assert len(found.objects) == found.labels.max() == len(found.outlines) == 30
    assert found.labels.shape == found.maps.shape[1:] == found.flows.shape[1:] == found.cell_probability.shape == SHAPE
    np.testing.assert_array_equal(found.objects.area, np.bincount(found.labels.ravel())[1:])
    np.testing.assert_allclose(found.objects.area, side**2, atol=side**2 / 3)
    assert (found.objects.flow_error < 0.2).all()
    overlap = ((found.labels > 0) & (image[0] > 0)).sum() / ((found.labels > 0) | (image[0] > 0)).sum()
    assert overlap > 0.75


async def test_min_size_counts_pixels_of_the_image():
    with setup(None) as made:
        image = squares(4)
        assert len((await segment(made, image, diameter=4, min_size=10)).objects) == 30
        assert len((await segment(made, image, diameter=4, min_size=40)).objects) == 0


@pytest.mark.parametrize(
    ("params", "recovered"),
    [
        ({"diameter": 5.9}, "scaled"),
        ({"diameter": 6}, "shape"),
        ({"diameter": 4, "interpolation": "nearest"}, "scaled"),
        ({"diameter": 4, "mask_rules": "cellpose3"}, "shape"),
    ],
)
async def test_where_masks_are_recovered(params, recovered):
    with setup(None) as made:
        plan = made.planner.plan(SHAPE, SegmentParams(model="cells", **params), None, made.context)
    assert plan.recovered == getattr(plan, recovered)
    assert plan.scaled != plan.shape


@pytest.mark.parametrize(
    ("params", "min_size"),
    [
        ({"diameter": 30}, 15),
        ({"diameter": 8.8}, 15),
        ({"diameter": 6}, 7),
        ({"diameter": 4}, 3),
        ({"diameter": 1}, 0),
        ({"diameter": 4, "min_size": 15}, 15),
        ({"diameter": 4, "mask_rules": "cellpose3"}, 15),
    ],
)
def test_no_default_drops_objects_of_half_the_diameter(params, min_size):
    assert with_recovery_defaults(SegmentParams(**params), 30).min_size == min_size


@pytest.mark.parametrize(("diameter", "warned"), [(2.9, True), (3, False), (160, False), (161, True)])
async def test_sizes_that_were_not_tested_are_told(diameter, warned):
    with setup(None) as made:
        found = await segment(made, squares(4), diameter=diameter)
    facts = dict(found.warnings).get(WarningKind.SIZE_UNTESTED)
    assert (facts is not None) == warned
    if warned:
        assert facts == {"diameter": f"{diameter:g}", "smallest": "3", "largest": "160"}
