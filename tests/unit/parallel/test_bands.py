import pytest
from cellserve_parallel import bands


@pytest.mark.parametrize("shape", [(0, 0), (1, 1), (7, 0), (0, 7), (1000, 300), (1, 10**6), (10**6, 1)])
@pytest.mark.parametrize("multiple", [1, 32])
def test_bands_cover_the_image(shape, multiple):
    rows = bands(shape, 10_000, multiple)
    assert [row for first, last in rows for row in range(first, last)] == list(range(shape[0]))
    sizes = {last - first for first, last in rows[:-1]}
    assert len(sizes) <= 1
    assert all(size % multiple == 0 for size in sizes)
    if rows and shape[1]:
        assert (rows[0][1] - rows[0][0]) * shape[1] <= max(10_000, shape[1] * multiple)
