"""How far the work on an image is: what is counted, when it is told, and what the log says of it."""

from __future__ import annotations

import asyncio
import contextlib
from itertools import pairwise

import numpy as np
import pytest
from cellserve_contract.params import SegmentParams
from cellserve_gateway.app import progress as module
from cellserve_gateway.app.context import RequestContext
from cellserve_gateway.app.decode import Decoded
from cellserve_gateway.app.progress import Report, WorkProgress, WorkStage, follow
from cellserve_gateway.app.results import Wanted
from cellserve_gateway.app.tasks import start_task

from .perfect import disks, setup

STACK = np.stack([disks(20, (80, 90))[0]] * 6)[:, None]


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_the_time_left_follows_from_the_speed_so_far():
    clock = Clock()
    progress = WorkProgress(clock=clock)
    progress.plan(4, 100)
    progress.enter("preprocess")
    assert progress.report() == Report(WorkStage.PREPROCESS, 0, 4, 0, 100, None)
    progress.enter("inference")
    clock.now += 0.5
    progress.tiles_done = 5
    assert progress.report().left_s is None, "too early to tell"
    clock.now += 3.5
    progress.tiles_done = 20
    assert progress.report().left_s == 16
    progress.enter("reassemble")
    assert (progress.report().stage, progress.report().left_s) == (WorkStage.INFERENCE, 16)
    progress.enter("postprocess")
    assert (progress.report().stage, progress.report().left_s) == (WorkStage.RECOVERY, None)


def test_an_estimate_is_one_stage_and_its_tiles_do_not_count_later():
    progress = WorkProgress()
    with progress.estimating():
        for stage in ("preprocess", "inference", "postprocess"):
            progress.enter(stage)
            progress.tiles_done += 3
            assert progress.report() == Report(WorkStage.DIAMETER, 0, 0, progress.tiles_done, 0, None)
    assert progress.report().stage is WorkStage.PREPROCESS
    progress.plan(1, 7)
    assert progress.report() == Report(WorkStage.PREPROCESS, 0, 1, 0, 7, None)


@pytest.fixture
def quick(monkeypatch) -> None:
    monkeypatch.setattr(module, "EVERY_S", 0.05)
    monkeypatch.setattr(module, "SILENCE_S", 0.25)


async def test_reports_come_neither_too_often_nor_too_seldom(quick):
    progress, loop = WorkProgress(), asyncio.get_running_loop()
    progress.plan(1, 1000)

    async def work() -> None:
        for _ in range(200):
            progress.tiles_done += 1
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.6)

    came = [(loop.time(), report.tiles_done) async for report in follow(start_task(work()), progress)]
    pauses = [later - earlier for (earlier, _), (later, _) in pairwise(came)]
    assert min(pauses) > 0.045
    assert max(pauses) < 0.4
    assert came[0][1] == 0, "the first comes at once"
    assert [tiles for _, tiles in came].count(200) in (2, 3), "repeated when nothing changes"


async def test_who_leaves_cancels_the_work(quick):
    cancelled = asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    async with contextlib.aclosing(follow(start_task(work()), WorkProgress())) as reports:
        async for _ in reports:
            await asyncio.sleep(0)
            break
    assert cancelled.is_set()


@pytest.mark.parametrize(
    ("image", "options", "sections"),
    [
        (disks(30)[None], {}, 1),
        (STACK, {"stack_mode": "volume", "anisotropy": 1.0}, 6 + 80 + 90),
        (STACK, {"stack_mode": "stitch"}, 6),
        (STACK, {"stack_mode": "planes"}, 6),
    ],
    ids=["image", "volume", "stitch", "planes"],
)
@pytest.mark.parametrize("diameter", [None, 20.0])
async def test_everything_is_counted(image, options, sections, diameter):
    with setup(20.0) as made:
        context, seen, infer = RequestContext("r"), [], made.triton.infer

        async def observed(*args):
            seen.append(context.progress.report())
            return await infer(*args)

        made.triton.infer = observed
        params = SegmentParams(model="cells", diameter=diameter, **options)
        with made.admission.admit(requests=1, bytes=image.nbytes) as reservation:
            await made.segmenter.segment(lambda: Decoded(image), params, Wanted(), context, reservation)
        end = context.progress.report()
        assert (end.sections_done, end.sections_total) == (sections, sections)
        assert end.tiles_done == end.tiles_total > 0
        assert end.stage is WorkStage.RECOVERY
        stages = {WorkStage.INFERENCE} if diameter else {WorkStage.DIAMETER, WorkStage.INFERENCE}
        assert {report.stage for report in seen} == stages
        tiles = [report.tiles_done for report in seen if report.stage is WorkStage.INFERENCE]
        assert tiles == sorted(tiles)
        assert context.facts["shape"] == list(image.shape[0 if len(image) > 1 else 1 :])
        assert context.facts["tiles"] == context.timing.tiles >= end.tiles_total
