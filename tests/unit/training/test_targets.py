import numpy as np
import pytest
from cellserve_training.targets import masks_to_flows

from tests.unit.postprocess.shapes import boxed, disks


def test_flows_are_unit_vectors_inside_and_zero_outside():
    labels = disks((40, 60), [(20, 15), (18, 45)], 11)
    flow = masks_to_flows(labels)
    assert flow.shape == (2, 40, 60)
    assert flow.dtype == np.float32
    length = np.hypot(*flow)
    assert (length[labels == 0] == 0).all()
    inside = labels > 0
    # The middle of a symmetric object is level.
    inside[20, 15] = inside[18, 45] = False
    np.testing.assert_allclose(length[inside], 1, atol=1e-6)
    assert length[20, 15] == length[18, 45] == 0


def test_flows_of_a_disk_point_to_its_centre():
    labels = disks((41, 41), [(20, 20)], 15)
    y, x = np.indices(labels.shape) - 20
    flow_y, flow_x = masks_to_flows(labels)
    ring = (labels > 0) & (np.hypot(y, x) > 3)
    cosine = -(flow_y * y + flow_x * x)[ring] / np.hypot(y, x)[ring]
    assert cosine.min() > 0.9
    assert cosine.mean() > 0.99


def test_touching_objects_do_not_leak():
    together = boxed((20, 40), (4, 4, 16, 16), (4, 16, 16, 36))
    flow = masks_to_flows(together)
    for number in (1, 2):
        alone = masks_to_flows(np.where(together == number, together, 0))
        np.testing.assert_array_equal(flow[:, together == number], alone[:, together == number])


def test_flows_lead_around_corners():
    labels = boxed((50, 50), (5, 5, 45, 10), (40, 5, 45, 45))
    labels[labels > 0] = 1
    flow_y, flow_x = masks_to_flows(labels)
    # The straight way from one arm to the other leaves the object; the flow stays in the arms and turns in the corner.
    assert (flow_y[5:35, 7] > 0.95).all()
    assert (flow_x[42, 15:45] < -0.95).all()


@pytest.mark.parametrize("length", [2, 3, 50, 400])
def test_thin_lines_flow_inwards_from_both_ends(length):
    labels = np.ones((1, length), dtype=np.uint16)
    _, flow_x = masks_to_flows(labels)
    middle = (length - 1) // 2
    assert (flow_x[0, :middle] == 1).all()
    assert (flow_x[0, middle + 1 + (length % 2 == 0) :] == -1).all()


def test_heat_too_faint_for_a_double_leaves_the_flow_zero():
    flow = masks_to_flows(np.ones((1, 2000), dtype=np.uint16))
    assert np.isfinite(flow).all()
    assert flow[1, 0, 0] == 0
    assert flow[1, 0, 800] == 1


def test_a_single_pixel_has_no_flow():
    labels = boxed((5, 5), (2, 2, 3, 3))
    assert not masks_to_flows(labels).any()


def test_numbers_may_have_gaps_and_any_integer_type():
    labels = disks((30, 60), [(15, 15), (15, 45)], 9)
    flow = masks_to_flows(labels)
    gaps = np.where(labels == 2, 70_000, labels.astype(np.int64) * 3)
    for dtype in (np.int32, np.uint32, np.int64):
        np.testing.assert_array_equal(masks_to_flows(gaps.astype(dtype)), flow)


@pytest.mark.parametrize("shape", [(0, 0), (5, 7)])
def test_an_empty_image_has_no_flow(shape):
    flow = masks_to_flows(np.zeros(shape, dtype=np.uint16))
    assert flow.shape == (2, *shape)
    assert not flow.any()


def test_a_number_that_would_wrap_is_refused():
    with pytest.raises(ValueError, match="2147483648"):
        masks_to_flows(np.full((3, 4), 2**31, dtype=np.uint32))


@pytest.mark.parametrize("labels", [np.zeros((1, 2, 3, 4), dtype=np.uint16), np.zeros((3, 4))])
def test_what_is_no_label_image_is_refused(labels):
    with pytest.raises(ValueError, match="label image"):
        masks_to_flows(labels)
