import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from cellserve_preprocess import Crew, Stop, StoppedError, bands


@pytest.fixture
def pool():
    with ThreadPoolExecutor(3) as pool:
        yield pool


def test_results_come_in_the_order_of_the_parts(pool):
    parts = list(range(50))
    for crew in (Crew(), Crew(pool, 3)):
        assert crew.each(lambda part: part * part, parts) == [part * part for part in parts]
        assert crew.each(str, []) == []


def test_helpers_work_beside_the_caller(pool):
    together = threading.Barrier(4, timeout=10)
    threads = Crew(pool, 3).each(lambda part: (together.wait(), threading.get_ident())[1], range(4))
    assert len(set(threads)) == 4
    assert threading.get_ident() in threads


def test_no_more_helpers_than_asked_for(pool):
    threads = Crew(pool, 1).each(lambda part: (time.sleep(0.005), threading.get_ident())[1], range(20))
    assert len(set(threads)) <= 2


def test_a_pool_that_is_busy_with_the_callers_does_not_lock_up():
    with ThreadPoolExecutor(2) as pool:
        images = [pool.submit(Crew(pool, 1).each, lambda part: part + 1, range(100)) for _ in range(8)]
        for image in images:
            assert image.result(timeout=10) == list(range(1, 101))


def test_a_pool_that_is_closed_gives_no_help():
    pool = ThreadPoolExecutor(1)
    pool.shutdown()
    assert Crew(pool, 1).each(str, range(3)) == ["0", "1", "2"]


@pytest.mark.parametrize("helpers", [0, 3])
def test_what_a_part_raises_ends_the_work(pool, helpers):
    done = []

    def work(part):
        if part == 5:
            raise IndexError("part 5")
        time.sleep(0.001)
        done.append(part)

    with pytest.raises(IndexError, match="part 5"):
        Crew(pool, helpers).each(work, range(1000))
    assert len(done) < 100


@pytest.mark.parametrize("helpers", [0, 3])
def test_a_stop_ends_the_work(pool, helpers):
    stop = Stop()
    done = []

    def work(part):
        done.append(part)
        if part == 5:
            stop.set()

    with pytest.raises(StoppedError):
        Crew(pool, helpers, stop).each(work, range(1000))
    assert 5 in done
    assert len(done) < 1000
    before = len(done)
    with pytest.raises(StoppedError):
        Crew(pool, helpers, stop).each(work, range(10))
    assert len(done) == before


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


def test_a_stop_is_seen_by_a_kernel_as_an_array():
    stop = Stop()
    flag = stop.flag
    stop.check()
    stop.set()
    assert flag.dtype == np.uint8
    assert flag[0]
