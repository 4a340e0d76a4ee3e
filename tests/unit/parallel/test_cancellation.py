import numpy as np
import pytest
from cellserve_parallel import CancellationToken, WorkCancelledError


def test_a_cancelled_token_raises():
    token = CancellationToken()
    token.raise_if_cancelled()
    token.cancel()
    with pytest.raises(WorkCancelledError):
        token.raise_if_cancelled()


def test_kernels_see_the_cancellation_in_an_array():
    token = CancellationToken()
    flag = token.flag
    assert (flag.dtype, flag.shape) == (np.uint8, (1,))
    assert not flag[0]
    token.cancel()
    assert flag[0]
