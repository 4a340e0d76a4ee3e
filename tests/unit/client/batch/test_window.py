"""How many images are in work, against servers whose speed is a formula and whose clock is the test's."""

from __future__ import annotations

import heapq
import random
import statistics
from collections.abc import Callable
from typing import Any

import pytest
from cellserve.batch.window import FIRST, REST, Window


class Fixed:
    """A limit that stays."""

    limit = 64

    def add(self, pixels: int, seconds: float, **other: Any) -> None:
        """Changes nothing."""


class Simulation:
    """Servers that work on up to `slots` images at a time, and let at most `room` images in.

    Args:
        sigma: Spread of the sizes of images, which are log-normal. 0: all images have one size.
        image_s: Time of an image of median size on a server. Reading and writing take a fifth of it each.
        deadline_s: Time that an image may be under way.
    """

    def __init__(
        self,
        window: Window | Fixed,
        *,
        slots: int = 16,
        sigma: float = 0.0,
        image_s: float = 1.0,
        room: int = 1000,
        deadline_s: float = float("inf"),
        seed: int = 1,
    ) -> None:
        self.now = 0.0
        self.window = window
        self.slots, self.image_s, self.room, self.deadline_s = slots, image_s, room, deadline_s
        self.sigma, self.random = sigma, random.Random(seed)
        self.limits: list[int] = []
        self.refused = self.late = 0

    def run(self, images: int, change: Callable[[int], None] = lambda ended: None) -> float:
        """Sends images as the window allows. The servers work on them in order. Returns the time that this took."""
        began = self.now
        free = [self.now] * self.slots
        in_work: list[tuple[float, float, int]] = []
        sent = ended = 0
        while ended < images:
            refusals = 0
            while len(in_work) < self.window.limit and sent < images:
                if len(in_work) >= self.room:
                    refusals = 1
                    break
                while len(free) > self.slots:
                    heapq.heappop(free)
                while len(free) < self.slots:
                    heapq.heappush(free, self.now)
                pixels = 1 + int(1e6 * self.random.lognormvariate(0, self.sigma))
                seconds = self.image_s * pixels / 1e6
                done = max(self.now + seconds / 5, heapq.heappop(free)) + seconds
                heapq.heappush(free, done)
                heapq.heappush(in_work, (done + seconds / 5, self.now, pixels))
                sent += 1
            full = len(in_work) >= self.window.limit
            self.now, sent_at, pixels = heapq.heappop(in_work)
            ended += 1
            late = self.now - sent_at > self.deadline_s
            self.refused += refusals
            self.late += late
            self.window.add(pixels, self.now - sent_at, refusals=refusals, late=late, full=full)
            self.limits.append(self.window.limit)
            change(ended)
        return self.now - began


def share(images: int, **servers: Any) -> float:
    """Returns the throughput, as a share of that with 64 images in work."""
    return Simulation(Fixed(), **servers).run(images) / Simulation(Window(64), **servers).run(images)


@pytest.mark.parametrize("slots", [4, 16, 32, 60])
@pytest.mark.parametrize("sigma", [0.0, 0.5, 1.0])
def test_the_throughput_is_close_to_that_of_the_highest_limit(slots, sigma):
    shares = [share(4000, slots=slots, sigma=sigma, seed=seed) for seed in range(3 if sigma else 1)]
    assert min(shares) >= 0.93
    assert statistics.median(shares) >= 0.95


@pytest.mark.parametrize(("slots", "least"), [(4, 0.9), (16, 0.9), (32, 0.85), (60, 0.7)])
def test_a_run_of_few_images_loses_little_at_its_start(slots, least):
    for sigma in (0.0, 0.5):
        assert share(300, slots=slots, sigma=sigma) >= least


@pytest.mark.parametrize("slots", [1, 4, 16])
def test_few_images_wait_on_the_servers(slots):
    simulation = Simulation(Window(64), slots=slots, sigma=0.5)
    simulation.run(3000)
    assert slots <= statistics.mean(simulation.limits[-1000:]) <= 3 * slots + 4


@pytest.mark.parametrize("image_s", [130.0, 300.0])
def test_images_that_take_minutes_do_not_lower_the_limit(image_s):
    assert share(600, slots=16, sigma=0.5, image_s=image_s) >= 0.95


def test_slots_that_come_and_go_are_followed():
    window = Window(64)
    simulation = Simulation(window, slots=16, sigma=0.5)

    def change(ended: int) -> None:
        simulation.slots = 16 if ended < 1500 else 4 if ended < 4000 else 32

    simulation.run(6000, change)
    assert statistics.mean(simulation.limits[3500:4000]) <= 35
    assert statistics.mean(simulation.limits[5500:]) >= 50
    assert min(simulation.limits[4500:]) >= 20


@pytest.mark.parametrize("factor", [1 / 3, 3.0, 10.0])
def test_another_speed_of_the_servers_leaves_the_throughput(factor):
    times = []
    for window in (Fixed(), Window(64)):
        simulation = Simulation(window, slots=32, sigma=0.5)
        simulation.run(1500)
        simulation.image_s = factor
        times.append(simulation.run(2500))
    assert times[0] / times[1] >= 0.9


def test_a_refusal_cuts_the_limit_which_grows_again_when_there_is_room():
    simulation = Simulation(Window(64), slots=32, sigma=0.5, room=10)
    simulation.run(2000)
    assert max(simulation.limits[-200:]) <= 16
    assert simulation.refused < 60  # of 2,000
    simulation.room = 1000
    simulation.run(3000)
    assert max(simulation.limits[-300:]) >= 32


def test_a_refusal_counts_once_in_an_epoch():
    window = Window(64)
    for _ in range(2):
        window.add(1, 1.0, refusals=5)
    assert window.limit == int(FIRST * 0.7)


def test_a_deadline_that_passed_cuts_the_limit():
    window = Window(64)
    window.add(1, 600.0, late=True)
    assert window.limit == int(FIRST * 0.7)


def test_slow_servers_end_images_before_their_deadlines():
    slow = Simulation(Window(64), slots=4, sigma=0.5, image_s=10.0, deadline_s=600.0)
    slow.run(400)
    assert slow.late == 0
    slower = Simulation(Window(64), slots=4, sigma=0.5, image_s=100.0, deadline_s=600.0)
    slower.run(400)
    assert slower.late <= 30  # of 400: while the limit is not found. 64 in work are 385


def test_the_limit_stays_between_one_and_the_most():
    simulation = Simulation(Window(6), slots=100)
    simulation.run(500)
    assert max(simulation.limits) == 6
    window = Window(64)
    for _ in range(300):
        window.add(1, 1.0, refusals=1)
    assert window.limit == 1


def test_the_limit_leaves_one_when_servers_have_room():
    window = Window(64)
    for _ in range(300):
        window.add(1, 1.0, refusals=1)
    for _ in range(1000):
        window.add(1, 1.0)
    assert window.limit > 16


def test_slow_first_images_do_not_leave_the_limit_too_high():
    window = Window(64)
    for _ in range(FIRST):
        window.add(1_000_000, 60.0)  # as if the servers load a model
    simulation = Simulation(window, slots=4, sigma=0.5)
    simulation.run(1000)
    assert max(simulation.limits[600:]) <= 3 * 4 + 8


def test_images_that_fail_at_once_do_not_keep_the_limit_low():
    simulation = Simulation(Window(64), slots=16, sigma=0.5)
    simulation.run(2000)
    for _ in range(100 * REST):
        simulation.window.add(1_000_000, 0.001)
    simulation.limits.clear()
    simulation.run(1000)
    assert min(simulation.limits[300:]) >= 16


def test_an_epoch_without_enough_images_in_work_says_nothing():
    window = Window(64)
    for _ in range(200):
        window.add(1, 1.0, full=False)
    assert window.limit == FIRST
