"""How many images are in work, against a server whose speed is a formula and whose clock is the test's."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable

import pytest
from cellserve.batch.window import FIRST, SLOW_S, Window


class Simulation:
    """A server that works on up to `slots` images at a time, and lets at most `room` images in."""

    def __init__(self, most: int = 64, slots: int = 16, image_s: float = 1.0, room: int = 1000) -> None:
        self.now = 0.0
        self.window = Window(most, lambda: self.now)
        self.slots, self.image_s, self.room = slots, image_s, room
        self.limits: list[int] = []
        self.refused = 0
        self.random = random.Random(1)

    def run(self, images: int, change: Callable[[int], None] = lambda ended: None) -> None:
        """Sends images as the window allows. The server works on them in order of arrival."""
        free = [self.now] * self.slots
        in_work: list[tuple[float, float]] = []
        sent = ended = 0
        while ended < images:
            refusals = 0
            while len(in_work) < self.window.limit and sent < images:
                if len(in_work) >= self.room:
                    refusals += 1
                    break
                heapq.heapify(free)
                while len(free) > self.slots:
                    heapq.heappop(free)
                while len(free) < self.slots:
                    heapq.heappush(free, self.now)
                start = max(self.now, heapq.heappop(free))
                end = start + self.image_s * self.random.uniform(0.5, 1.5)
                heapq.heappush(free, end)
                heapq.heappush(in_work, (end, self.now))
                sent += 1
            self.refused += refusals
            full = len(in_work) >= self.window.limit
            end, began = heapq.heappop(in_work)
            self.now = max(self.now, end)
            ended += 1
            self.window.add(1, self.now - began, refusals=refusals, full=full)
            self.limits.append(self.window.limit)
            change(ended)


@pytest.mark.parametrize("slots", [1, 4, 16, 40])
def test_the_limit_finds_what_the_server_can_do_at_a_time(slots):
    simulation = Simulation(slots=slots)
    simulation.run(3000)
    assert slots <= max(simulation.limits[-300:]) <= 2.5 * max(slots, FIRST)


def test_the_throughput_is_close_to_the_best():
    simulation = Simulation(slots=16)
    simulation.run(3000)
    assert 3000 * simulation.image_s / 16 / simulation.now > 0.9


def test_a_refusal_cuts_the_limit_which_grows_again_when_there_is_room():
    simulation = Simulation(slots=32, room=10)
    simulation.run(2000)
    low = simulation.limits[-200:]
    assert max(low) <= 16
    assert simulation.refused < 200  # of 2,000
    simulation.room = 1000
    simulation.run(3000)
    assert max(simulation.limits[-300:]) >= 32


def test_a_refusal_counts_once_in_an_epoch():
    now = [0.0]
    window = Window(64, lambda: now[0])
    for _ in range(2):
        window.add(1, 1.0, refusals=5)
    assert window.limit == int(FIRST * 0.7)


def test_a_deadline_that_passed_cuts_the_limit():
    window = Window(64, lambda: 0.0)
    window.add(1, 600.0, late=True)
    assert window.limit < FIRST


def test_images_that_take_minutes_lower_the_limit():
    simulation = Simulation(slots=1, image_s=60.0)
    simulation.run(200)
    assert simulation.limits[-1] <= SLOW_S / 60.0 + 1


def test_the_limit_stays_between_one_and_the_most():
    simulation = Simulation(most=6, slots=100)
    simulation.run(500)
    assert max(simulation.limits) == 6
    now = [0.0]
    window = Window(64, lambda: now[0])
    for _ in range(100):
        now[0] += 1
        window.add(1, 1.0, refusals=1)
    assert window.limit == 1


def test_an_epoch_without_enough_images_in_work_says_nothing():
    now = [0.0]
    window = Window(64, lambda: now[0])
    for _ in range(200):
        now[0] += 1
        window.add(1, 1.0, full=False)
    assert window.limit == FIRST
