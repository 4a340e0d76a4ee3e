"""Speed and progress of a model, from Triton's statistics."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from cellserve_gateway.backends.triton.speed import STALLED_BATCHES, STALLED_S, ModelWork, Progress, Speed


def test_the_best_measurement_counts():
    speed = Speed(batch_size=8, instances=2)
    speed.observe(10, 30.0)  # before the first look: a cold start
    assert speed.tiles_per_s is None
    for batches, seconds, expected in [(12, 32.0, 16), (14, 42.0, 16), (18, 44.0, 32)]:
        speed.observe(batches, seconds)
        assert speed.tiles_per_s == pytest.approx(expected)


def test_a_single_batch_is_no_measurement():
    speed = Speed(batch_size=4, instances=1)
    for batches, seconds in [(0, 0.0), (1, 0.001)]:
        speed.observe(batches, seconds)
        assert speed.tiles_per_s is None
    speed.observe(2, 2.0)
    assert speed.tiles_per_s == pytest.approx(4)


def test_a_server_that_starts_anew_counts_from_nothing():
    speed = Speed(batch_size=1, instances=1)
    for batches, seconds in [(100, 100.0), (3, 0.3), (5, 4.3)]:
        speed.observe(batches, seconds)
    assert speed.tiles_per_s == pytest.approx(2 / 4)


def test_small_tiles_tell_nothing_of_the_speed():
    work = ModelWork(batch_size=4, instances=1)

    def observe(batches: int, seconds: float) -> float | None:
        batch = SimpleNamespace(batch_size=4, compute_infer=SimpleNamespace(count=batches, ns=seconds * 1e9))
        work.observe(SimpleNamespace(batch_stats=[batch], execution_count=batches), at_model=0, now=0.0)
        return work.tiles_per_s

    observe(0, 0.0)
    work.note_small()
    assert observe(10, 0.1) is None
    assert observe(12, 2.1) == pytest.approx(4)


@pytest.mark.parametrize("batch_s", [0.1, 4.0])
def test_a_model_stalls_when_it_finishes_nothing(batch_s):
    limit = max(STALLED_S, STALLED_BATCHES * batch_s)
    progress = Progress()
    batches = 10

    def stalled(now: float, at_model: int = 8) -> bool:
        return progress.stalled(now, at_model=at_model, batches=batches, compute_s=batches * batch_s)

    assert not stalled(0.0, at_model=0)
    assert not stalled(1000.0, at_model=0), "idle"
    assert not stalled(1001.0)
    assert not stalled(1000.0 + limit)
    assert stalled(1000.1 + limit)
    batches += 1
    assert not stalled(1000.2 + limit), "slow, but not stopped"
