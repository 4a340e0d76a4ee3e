"""What a call about a stack leaves open."""

import numpy as np
import pytest
from cellserve import Image, SegmentParams
from cellserve.images import of_volume

STACK = np.zeros((3, 4, 5))


@pytest.mark.parametrize(
    ("image", "axes"),
    [(STACK, "ZYX"), (STACK.tolist(), "ZYX"), (np.zeros((3, 2, 4, 5)), "ZCYX"), (np.zeros((4, 5)), None)],
)
def test_arrays_begin_with_z(image, axes):
    assert of_volume(image, None, {"diameter": 5}) == {"diameter": 5, "stack_mode": "volume", "axes": axes}


@pytest.mark.parametrize("image", ["stack.tif", Image(STACK, "CYX")])
def test_other_images_name_their_own_axes(image):
    assert of_volume(image, None, {}) == {"stack_mode": "volume"}


def test_the_callers_choices_stay():
    given = {"stack_mode": "stitch", "axes": "YXZ"}
    assert of_volume(STACK, None, given) == given
    assert of_volume(STACK, SegmentParams(stack_mode="planes"), {"axes": None}) == {"axes": None}
