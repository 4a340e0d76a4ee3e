import numpy as np
import pytest
from cellserve_preprocess import ParameterError, select_channels


@pytest.mark.parametrize("dtype", [np.bool_, np.uint8, np.uint16, np.uint32, np.int16, np.float32, np.float64])
def test_planes_keep_their_type(dtype):
    image = np.arange(3 * 4 * 5).reshape(3, 4, 5).astype(dtype)
    selected = select_channels(image, 2, 0)
    assert selected.dtype == dtype
    np.testing.assert_array_equal(selected, image[[2, 0]].astype(np.float32))


def test_cytoplasm_minus_one_is_the_mean_and_nucleus_minus_one_is_zeros():
    image = np.array([[[0, 255]], [[1, 255]], [[8, 255]]], dtype=np.uint8)
    np.testing.assert_array_equal(select_channels(image, -1, -1), [[[3, 255]], [[0, 0]]])


def test_the_selection_is_a_copy():
    image = np.ones((2, 3, 3), dtype=np.float32)
    select_channels(image, 0, 1)[:] = 7
    assert (image == 1).all()


@pytest.mark.parametrize(
    ("cytoplasm", "nucleus", "parameter"),
    [(2, 0, "cytoplasm_channel"), (-2, 0, "cytoplasm_channel"), (0, 2, "nucleus_channel"), (0, -2, "nucleus_channel")],
)
def test_a_plane_that_is_not_there_is_refused(cytoplasm, nucleus, parameter):
    with pytest.raises(ParameterError) as refused:
        select_channels(np.zeros((2, 3, 3)), cytoplasm, nucleus)
    assert refused.value.parameter == parameter
    assert refused.value.allowed == "-1 to 1"


@pytest.mark.parametrize("shape", [(3, 3), (0, 3, 3), (1, 1, 1, 3, 3)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(ValueError, match="axes"):
        select_channels(np.zeros(shape), -1, -1)


def test_a_stack_keeps_its_planes():
    stack = np.random.default_rng(0).integers(0, 99, (3, 4, 5, 6), np.uint8)
    np.testing.assert_array_equal(select_channels(stack, 2, 0), stack[[2, 0]])
    np.testing.assert_allclose(select_channels(stack, -1, -1)[0], stack.mean(axis=0), rtol=1e-6)
