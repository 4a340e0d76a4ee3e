"""Stages: which calls are made, by how many threads, and when those of a later stage begin."""

from __future__ import annotations

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from cellserve_large.execution import Runner

PROCESSORS = os.cpu_count() or 1


class Counted:
    """Counts the calls that are made at the same time."""

    def __init__(self):
        self.lock = threading.Lock()
        self.now = self.most = 0

    def __call__(self, number):
        with self.lock:
            self.now += 1
            self.most = max(self.most, self.now)
        time.sleep(0.02)
        with self.lock:
            self.now -= 1


@pytest.mark.parametrize(("waits", "most"), [(True, PROCESSORS + 4), (False, PROCESSORS)])
def test_calls_that_compute_take_one_thread_for_each_processor(waits, most):
    count = Counted()
    with ThreadPoolExecutor(PROCESSORS + 4) as executor:
        Runner(executor, None).each("some", count, [(number,) for number in range(4 * PROCESSORS + 16)], waits=waits)
    assert count.most == most


def test_a_later_stage_begins_early():
    begun = threading.Event()

    def wait(number):
        assert number == 0 or begun.wait(10), "the later stage did not begin"

    def compute(job, block):
        assert (job, block) == ("job", 7)
        begun.set()

    def then(number):
        return [(compute, "job", 7)] if number == 0 else []

    with ThreadPoolExecutor(1) as executor:
        Runner(executor, None).each("some", wait, [(0,), (1,)], waits=True, then=then)
    assert begun.is_set()


def test_failures_of_the_later_stage_are_its_own():
    def compute(job, block):
        raise ValueError("too early")

    told = []
    with ThreadPoolExecutor(2) as executor:
        runner = Runner(executor, lambda *what: told.append(what))
        runner.each(
            "some", lambda number: None, [(0,), (1,)], waits=True, then=lambda number: [(compute, None, number)]
        )
    assert told[-1] == ("some", 2, 2)


def test_a_failure_ends_the_stage():
    made = []

    def fail(number):
        made.append(number)
        time.sleep(0.01)
        raise ValueError(f"call {number}")

    with ThreadPoolExecutor(1) as executor, pytest.raises(ValueError, match="call"):
        Runner(executor, None).each("some", fail, [(number,) for number in range(200)])
    assert len(made) < 100
