import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from cellserve_parallel import CancellationToken, ThreadGroup, WorkCancelledError


@pytest.fixture
def pool():
    with ThreadPoolExecutor(3) as pool:
        yield pool


def test_results_come_in_the_order_of_the_parts(pool):
    parts = list(range(50))
    for threads in (ThreadGroup(), ThreadGroup(pool, 3)):
        assert threads.each(lambda part: part * part, parts) == [part * part for part in parts]
        assert threads.each(str, []) == []


def test_helpers_work_beside_the_calling_thread(pool):
    together = threading.Barrier(4, timeout=10)
    used = ThreadGroup(pool, 3).each(lambda part: (together.wait(), threading.get_ident())[1], range(4))
    assert len(set(used)) == 4
    assert threading.get_ident() in used


def test_no_more_helpers_than_asked_for(pool):
    used = ThreadGroup(pool, 1).each(lambda part: (time.sleep(0.005), threading.get_ident())[1], range(20))
    assert len(set(used)) <= 2


def test_groups_used_by_tasks_of_their_own_pool_do_not_deadlock():
    with ThreadPoolExecutor(2) as pool:
        images = [pool.submit(ThreadGroup(pool, 1).each, lambda part: part + 1, range(100)) for _ in range(8)]
        for image in images:
            assert image.result(timeout=10) == list(range(1, 101))


def test_a_closed_pool_gives_no_help():
    pool = ThreadPoolExecutor(1)
    pool.shutdown()
    assert ThreadGroup(pool, 1).each(str, range(3)) == ["0", "1", "2"]


@pytest.mark.parametrize("helpers", [0, 3])
def test_what_a_part_raises_ends_the_work(pool, helpers):
    done = []

    def work(part):
        if part == 5:
            raise IndexError("part 5")
        time.sleep(0.001)
        done.append(part)

    with pytest.raises(IndexError, match="part 5"):
        ThreadGroup(pool, helpers).each(work, range(1000))
    assert len(done) < 100


@pytest.mark.parametrize("helpers", [0, 3])
def test_cancellation_ends_the_work(pool, helpers):
    token = CancellationToken()
    done = []

    def work(part):
        done.append(part)
        if part == 5:
            token.cancel()

    with pytest.raises(WorkCancelledError):
        ThreadGroup(pool, helpers, token).each(work, range(1000))
    assert 5 in done
    assert len(done) < 1000
    before = len(done)
    with pytest.raises(WorkCancelledError):
        ThreadGroup(pool, helpers, token).each(work, range(10))
    assert len(done) == before
