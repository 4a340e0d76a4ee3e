"""The simulation against results that are known without it."""

from __future__ import annotations

import statistics
from dataclasses import replace
from typing import get_args

import pytest
from cellserve_gateway.backends.triton import dispatcher

from benchmarks.simulation import pods
from benchmarks.simulation.callers import Failure, Load, simulate
from benchmarks.simulation.deployment import Deployment, Image, Policy, Times, Work
from benchmarks.simulation.events import Clock, Pool, Processor

POLICIES: tuple[Policy, ...] = get_args(Policy)
NOTHING = Work(0, 0, 0)
SERVICE_S = 0.8
EXACT = Times({tiles: [SERVICE_S * tiles / 8] for tiles in range(1, 9)}, [0], NOTHING, NOTHING, [1], 0)
"""A tile takes 0.1 s of Triton; everything else takes no time."""
REAL = Times(
    {tiles: [SERVICE_S * tiles / 8 * factor for factor in (0.9, 1, 1.1)] for tiles in range(1, 9)},
    [0.01, 0.02],
    Work(0.004, 0.004, 0.003),
    Work(0.005, 0.12, 0.003),
    [0.9, 1, 1.1],
    0.1,
)
IMAGE = Image(1, 36)


def test_jobs_share_cores_equally() -> None:
    clock, ends = Clock(), {}
    processor = Processor(clock, 2)
    processor.run(1, lambda: ends.update(a=clock.time()))
    processor.run(1, lambda: ends.update(b=clock.time()), threads=2)
    processor.run(2, lambda: ends.update(c=clock.time()))
    clock.run()
    # Four threads on two cores run at half speed until a and b are done at 2 s. Then c runs 1 s at full speed.
    assert ends == pytest.approx({"a": 2, "b": 2, "c": 3})


def test_a_job_that_comes_later_slows_those_before_it() -> None:
    clock, ends = Clock(), {}
    processor = Processor(clock, 1)
    processor.run(2, lambda: ends.update(a=clock.time()))
    clock.call_at(1, lambda: processor.run(0.25, lambda: ends.update(b=clock.time())))
    clock.run()
    assert ends == pytest.approx({"b": 1.5, "a": 2.25})


def test_a_pool_serves_in_order() -> None:
    clock, ends = Clock(), []
    pool = Pool(Processor(clock, 4), 2)
    for name, seconds in (("a", 3), ("b", 1), ("c", 1), ("d", 2)):
        pool.run(seconds, lambda name=name: ends.append((name, clock.time())))  # type: ignore[misc]
    clock.run()
    assert ends == [("b", 1), ("c", 2), ("a", 3), ("d", 4)]


@pytest.mark.parametrize("policy", POLICIES)
def test_every_image_ends_once(policy: Policy) -> None:
    deployment = Deployment(5, 3, policy)
    outcome = simulate(deployment, REAL, IMAGE, Load(in_flight=30, images=200))
    assert outcome.started == len(outcome.finished) == 200
    assert sum(tiles for _, tiles, _ in outcome.batches) == 200 * IMAGE.tiles
    assert not outcome.lost


def test_one_triton_gives_a_batch_per_service_time() -> None:
    outcome = simulate(Deployment(1, 1), EXACT, IMAGE, Load(in_flight=8, images=100))
    assert outcome.finished[-1][0] == pytest.approx(100 * IMAGE.tiles / 8 * SERVICE_S, rel=0.01)
    assert statistics.fmean(count for _, count, _ in outcome.batches) > 7.9


def test_single_tiles_at_random_wait_as_in_the_textbook(monkeypatch: pytest.MonkeyPatch) -> None:
    """M/D/1: the mean wait is rho / (2 (1 - rho)) of the service time. The batcher must notice every request."""
    monkeypatch.setattr(pods, "NOTICE_PROBABILITY", 1)
    busy, service = 0.7, SERVICE_S / 8
    deployment = Deployment(1, 1, max_batch=1, delay_s=0)
    outcome = simulate(deployment, EXACT, Image(0.05, 1), Load(rate=busy / service, images=40_000))
    waits = [latency - service for _, latency in outcome.finished]
    assert statistics.fmean(waits) == pytest.approx(busy / (2 * (1 - busy)) * service, rel=0.03)


def test_the_dispatcher_wakes_the_batcher(monkeypatch: pytest.MonkeyPatch) -> None:
    """When the last tile is sent, eight tiles are computed and eight wait. No request follows (decision 5)."""
    monkeypatch.setattr(pods, "NOTICE_PROBABILITY", 0)

    def idle_s() -> float:
        outcome = simulate(Deployment(1, 1), EXACT, Image(0.8, 25), Load(in_flight=1, images=1))
        return outcome.finished[0][1] - sum(seconds for _, _, seconds in outcome.batches)

    assert idle_s() < 0.03, "the delay of the first batch, and some milliseconds for each other batch"
    monkeypatch.setattr(dispatcher, "WAKE_AFTER_ANSWER_S", 100.0)
    assert 0.1 < idle_s() <= pods.BATCHER_TIMER_S


@pytest.mark.parametrize("policy", POLICIES)
def test_more_tritons_are_never_slower(policy: Policy) -> None:
    ends = [
        simulate(Deployment(tritons, 2, policy), EXACT, IMAGE, Load(in_flight=32, images=96)).finished[-1][0]
        for tritons in (1, 2, 4, 8)
    ]
    assert ends == sorted(ends, reverse=True)
    assert ends[0] == pytest.approx(96 * IMAGE.tiles / 8 * SERVICE_S, rel=0.05)


def test_one_dispatcher_cannot_keep_many_tritons_busy() -> None:
    """One dispatcher sends sixteen tiles ahead. At most sixteen of 32 Tritons have a tile."""
    rates = {}
    for policy in POLICIES:
        outcome = simulate(Deployment(32, 1, policy), EXACT, IMAGE, Load(in_flight=64), until_s=8)
        rates[policy] = sum(count for _, count, _ in outcome.batches) / 8 / (32 * 8 / SERVICE_S)
    assert rates["one dispatcher"] <= 16 / 32
    assert rates["per Triton, random ties"] > 0.9
    assert rates["per Triton, rotating ties"] > 0.9


def test_a_gateway_is_limited_by_its_event_loop() -> None:
    slow = replace(EXACT, loop=Work(0, 0, 0.01))
    outcome = simulate(Deployment(64, 1), slow, IMAGE, Load(in_flight=8, images=100))
    assert outcome.finished[-1][0] == pytest.approx(100 * IMAGE.tiles * 0.01, rel=0.05)


@pytest.mark.parametrize("policy", POLICIES)
def test_a_seed_repeats_itself(policy: Policy) -> None:
    def run(seed: int) -> list[tuple[float, float]]:
        failure = Failure(3, 0.2, 1, 3)
        load = Load(in_flight=40, images=60)
        return simulate(Deployment(10, 2, policy), REAL, IMAGE, load, seed=seed, failure=failure).finished

    assert run(1) == run(1)
    assert run(1) != run(2)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize(("avoided_s", "cancelled_s"), [(0, 0), (3, 25)])
def test_no_image_is_lost_when_tritons_stop(policy: Policy, avoided_s: float, cancelled_s: float) -> None:
    deployment = Deployment(20, 4, policy)
    failure = Failure(6, 0.1, avoided_s if deployment.per_triton else cancelled_s, cancelled_s)
    outcome = simulate(deployment, REAL, IMAGE, Load(in_flight=60, images=240), failure=failure)
    assert len(outcome.finished) == outcome.started == 240
    assert not outcome.lost
    repeated = sum(tiles for _, tiles, _ in outcome.batches) > 240 * IMAGE.tiles
    assert repeated == (outcome.repeats > 0) == (not deployment.per_triton)


def test_images_over_the_limit_are_refused_and_repeated() -> None:
    large = Image(64, 2000)
    outcome = simulate(Deployment(8, 1), EXACT, large, Load(in_flight=8, images=8))
    assert outcome.refusals > 0
    assert len(outcome.finished) == 8


def test_a_full_queue_refuses() -> None:
    deployment = Deployment(1, 8, queue_limit=40)
    outcome = simulate(deployment, EXACT, Image(0.25, 9), Load(in_flight=8, images=16))
    assert outcome.refusals > 0
    assert len(outcome.finished) == 16
