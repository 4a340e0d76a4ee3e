import numpy as np
from cellserve_postprocess import trace_outlines

from .shapes import boxed, disks


def test_the_outline_of_a_box_is_its_border():
    (outline,) = trace_outlines(boxed((10, 12), (2, 3, 6, 9)))
    border = {(y, x) for y in range(2, 6) for x in range(3, 9) if y in (2, 5) or x in (3, 8)}
    assert outline.dtype == np.int32
    assert {tuple(point) for point in outline.tolist()} == border
    assert len(outline) == len(border)


def test_outlines_are_closed_chains_of_neighbours():
    for outline in trace_outlines(disks((60, 100), [(30, 25), (30, 70)], 18)):
        steps = np.abs(np.diff(outline, axis=0, append=outline[:1]))
        assert (steps.max(axis=1) == 1).all()


def test_holes_and_neighbours_are_not_outlined():
    labels = disks((60, 60), [(30, 30)], 18)
    outer = trace_outlines(labels)[0]
    labels[disks((60, 60), [(30, 30)], 8) > 0] = 0
    np.testing.assert_array_equal(trace_outlines(labels)[0], outer)
    labels[labels == 0] = 2
    np.testing.assert_array_equal(trace_outlines(labels)[0], outer)


def test_single_pixels_pieces_and_gaps():
    labels = boxed((20, 20), (0, 0, 1, 1), (5, 5, 10, 10))
    labels[15, 15] = 2
    labels[19, 19] = 4
    single, longest, missing, corner = trace_outlines(labels)
    assert single.tolist() == [[0, 0]]
    assert len(longest) == 16
    assert missing.shape == (0, 2)
    assert corner.tolist() == [[19, 19]]


def test_no_objects():
    assert trace_outlines(np.zeros((5, 5), dtype=np.uint32)) == []
