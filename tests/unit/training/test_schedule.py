"""Learning rates and crops of the presets."""

import pytest
from cellserve_training.schedule import Preset, Schedule


def test_the_papers_schedule():
    """500 epochs; from 0 to .2 in the first ten; from epoch 400 halved every ten."""
    schedule = Schedule.of(Preset.PAPER, images=80)
    epoch = 10
    assert (schedule.steps, schedule.batch, schedule.crop) == (500 * epoch, 8, 224)
    assert (schedule.optimizer, schedule.weight_decay) == ("sgd", 1e-5)
    assert schedule.rate_at(0) == 0
    assert schedule.rate_at(5 * epoch) == pytest.approx(0.1)
    assert schedule.rate_at(10 * epoch) == schedule.rate_at(400 * epoch - 1) == 0.2
    assert schedule.rate_at(400 * epoch) == schedule.rate_at(410 * epoch - 1) == 0.1
    assert schedule.rate_at(410 * epoch) == 0.05
    assert schedule.rate_at(500 * epoch - 1) == pytest.approx(0.2 / 2**10)
    assert not schedule.augmentation.appearance
    assert not schedule.weighted
    assert {schedule.crop_at(step) for step in range(500 * epoch)} == {224}


def test_the_fast_schedule_rises_and_falls_once():
    schedule = Schedule.of(Preset.FAST, images=80, steps=1000)
    rates = [schedule.rate_at(step) for step in range(1000)]
    peak = rates.index(max(rates))
    assert max(rates) == pytest.approx(schedule.rate)
    assert rates[: peak + 1] == sorted(rates[: peak + 1])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)
    assert rates[-1] < 1e-4 * schedule.rate
    assert rates[0] > 0


def test_the_fast_schedule_ends_on_large_crops():
    schedule = Schedule.of(Preset.FAST, images=80, steps=1000)
    sides = [schedule.crop_at(step) for step in range(1000)]
    assert sides == [112] * 750 + [160] * 250
    assert {Schedule.of(Preset.FAST, images=80, steps=10, crop=64).crop_at(step) for step in range(10)} == {64}


@pytest.mark.parametrize("preset", list(Preset))
@pytest.mark.parametrize("steps", [1, 2, 7, 100])
def test_presets_scale_to_any_length(preset, steps):
    schedule = Schedule.of(preset, images=9, steps=steps, crop=64)
    assert schedule.steps == steps
    assert schedule.crop == 64
    assert all(0 <= schedule.rate_at(step) <= schedule.rate for step in range(steps))
