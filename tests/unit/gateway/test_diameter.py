"""The two-step estimate of the diameter, with networks whose answers are known."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import numpy as np
import pytest
from cellserve_contract.params import SegmentParams
from cellserve_contract.warnings import WarningKind
from cellserve_gateway.app.decode import Decoded
from cellserve_gateway.app.diameter import RAISE
from cellserve_gateway.app.params import DiameterSource
from cellserve_gateway.app.results import Wanted
from cellserve_gateway.errors import DeadlinePassed, ImageTooLarge, InternalError, Overloaded
from cellserve_gateway.settings import Settings
from cellserve_postprocess import STYLE_SIZE
from cellserve_preprocess import TILE, Normalization
from hypothesis import given
from hypothesis import strategies as st

from .perfect import SHAPE, disks, setup


def tiles(made, shape, params):
    """Tiles of an image of that shape."""
    return made.planner.sections(shape, params)[0].tiles(params)


@pytest.mark.parametrize("predicted", [28.0, 40.0, 80.0])
async def test_what_is_found_counts(predicted):
    with setup(predicted) as made:
        params, source = await made.resolve(disks(40))
        assert source is DiameterSource.SIZE_MODEL
        assert params.diameter == pytest.approx(40, rel=0.05)
        assert (params.cytoplasm_channel, params.nucleus_channel) == (0, -1), "nothing is left open"
        assert made.triton.calls == ["cells_style", *["cells_single"] * (made.context.timing.tiles - 1)]


async def test_an_image_that_is_as_predicted_takes_no_tile_more():
    with setup(40.0) as made:
        estimate = await made.estimate(disks(40))
        assert estimate.warnings == ()
        assert made.triton.calls == ["cells_style", "cells_single"]


async def test_prediction_stays_where_nothing_is_found():
    with setup(23.0) as made:
        made.triton.sees = 0, 0
        estimate = await made.estimate(disks(40))
        assert (estimate.diameter, estimate.source) == (pytest.approx(23), DiameterSource.SIZE_MODEL)
        facts = {"predicted": "23.0", "measured": "0.0", "objects": "0"}
        assert estimate.warnings == ((WarningKind.DIAMETER_UNCERTAIN, facts),)


@pytest.mark.parametrize(
    ("diameter", "predicted", "shape"),
    [(100, 20.0, (420, 440)), (300, 45.0, (900, 950)), (12, 150.0, (200, 300)), (40, 300.0, SHAPE)],
)
async def test_a_prediction_that_is_far_off_starts_a_search(diameter, predicted, shape):
    with setup(predicted) as made:
        made.triton.sees = 12, 45
        first = tiles(made, shape, SegmentParams(model="cells", diameter=predicted))
        estimate = await made.estimate(disks(diameter, shape))
        assert estimate.diameter == pytest.approx(diameter, rel=0.05)
        assert [kind for kind, _ in estimate.warnings] == ([WarningKind.SIZE_UNTESTED] if diameter > 160 else [])
        last = tiles(made, shape, SegmentParams(model="cells", diameter=diameter * 0.95))
        assert made.triton.calls.count("cells_single") <= first + 24 + last


async def test_what_a_search_finds_and_its_own_scale_does_not_confirm_is_uncertain():
    """The networks see these objects only where they are smaller than the working diameter."""
    with setup(20.0) as made:
        made.triton.sees = 8, 24
        estimate = await made.estimate(disks(100, (420, 440)))
        assert estimate.diameter == pytest.approx(100, rel=0.08)
        ((kind, facts),) = estimate.warnings
        assert (kind, facts["objects"], facts["predicted"]) == (WarningKind.DIAMETER_UNCERTAIN, "4", "20.0")


@pytest.mark.parametrize(("predicted", "diameter"), [(4.0, 5.0), (7.0, 9.24)])
async def test_an_estimate_at_a_limit_says_so(predicted, diameter):
    """Nothing is found; the smallest estimate is 5 px, and four tiles do for objects of 9.24 px."""
    limits = {"max_tiles": 4} if predicted > 5 else {}
    with setup(predicted, **limits) as made:
        made.triton.sees = 0, 0
        estimate = await made.estimate(disks(40, (100, 110)))
        assert estimate.diameter == pytest.approx(diameter, rel=RAISE - 1)
        assert [kind for kind, _ in estimate.warnings] == [
            WarningKind.DIAMETER_UNCERTAIN, WarningKind.DIAMETER_AT_LIMIT,
        ]  # fmt: skip
        facts = {"estimated": f"{max(predicted, 5):.1f}", "diameter": f"{estimate.diameter:.1f}"}
        assert estimate.warnings[1][1] == facts


@pytest.mark.parametrize("value", [0, 7])
async def test_an_image_that_shows_nothing_needs_no_network(value):
    with setup(23.0) as made:
        image = np.full((1, *SHAPE), value, np.uint8)
        estimate = await made.estimate(image)
        assert (estimate.diameter, estimate.source) == (22.5, DiameterSource.TRAINING_DIAMETER)
        assert WarningKind.NOTHING_FOUND in dict(estimate.warnings)
        results = {}
        for output in ("outlines", "cell_probability"):
            wanted = Wanted(frozenset({output}))
            with made.admission.admit(requests=1, pixels=image[0].size) as reservation:
                arguments = (
                    (lambda: Decoded(image[np.newaxis])),
                    SegmentParams(model="cells"),
                    wanted,
                    made.context,
                    reservation,
                )
                results[output] = await made.segmenter.segment(*arguments)
            assert not results[output].labels.any()
            assert results[output].labels.shape == SHAPE
            assert [kind for kind, _ in results[output].warnings].count(WarningKind.NOTHING_FOUND) == 1
            assert made.triton.calls == ([] if output == "outlines" else ["cells"] * 4), "maps come from the networks"
        assert results["outlines"].outlines == []


@pytest.mark.parametrize(
    ("predicted", "stated", "expected"),
    [(50.0, 17.0, (17, DiameterSource.CALLER)), (None, None, (22.5, DiameterSource.TRAINING_DIAMETER))],
)
async def test_no_estimate_where_none_is_wanted(predicted, stated, expected):
    with setup(predicted) as made:
        params, source = await made.resolve(disks(40), diameter=stated)
        assert (params.diameter, source) == expected
        assert not made.triton.calls


async def test_the_callers_view_of_the_image_counts_and_the_default_recovery():
    """Channels and normalisation are the caller's; thresholds that would leave no object are not used."""
    image = np.concatenate([disks(20), 255 - disks(40)])
    recovery = {"cellprob_threshold": 20, "min_size": 100_000}
    with setup(40.0) as made:
        params, _ = await made.resolve(image, cytoplasm_channel=1, normalization=Normalization(invert=True), **recovery)
        assert params.diameter == pytest.approx(40, rel=0.05)
        assert (params.cellprob_threshold, params.min_size) == (20, 100_000)
        first, _ = await made.resolve(image)
        assert first.diameter == pytest.approx(20, rel=0.08)


@pytest.mark.parametrize("augment", [False, True])
@pytest.mark.parametrize(
    "limits", [{"max_tiles": 50}, {"max_pixels_in_flight": 50 * TILE * TILE}], ids=["tiles", "pixels"]
)
async def test_an_estimate_never_exceeds_the_limits(limits, augment):
    shape = (800, 700)
    with setup(5.0, **limits) as made:
        made.triton.sees = 0, 0
        params, source = await made.resolve(disks(40, shape), augment=augment)
        plan = made.planner.plan(shape, params, source, made.context)
        assert len(plan.grid) <= 50
        smaller = replace(params, diameter=params.diameter / RAISE**2)
        assert tiles(made, shape, smaller) > 50, "raised no further than needed"


@given(st.floats(0, 1e6), st.tuples(st.integers(1, 10**6), st.integers(1, 10**6)), st.floats(0, 0.5), st.booleans())
async def test_estimates_of_any_image_are_in_range(diameter, shape, overlap, augment):
    with setup(30.0) as made:
        params = SegmentParams(model="cells", tile_overlap=overlap, augment=augment)
        fitting = made.diameters._with_diameter(params, diameter, shape)
        assert 5 <= fitting.diameter <= 10_000
        assert tiles(made, shape, fitting) <= Settings().max_tiles or fitting.diameter == 10_000


async def test_styles_of_a_huge_image_come_from_a_part_of_its_tiles():
    with setup(400.0) as made:
        await made.resolve(disks(400, (2500, 2500)))
    assert made.triton.calls == ["cells_style"] * 64 + ["cells_single"]


async def test_a_style_that_is_no_number_is_the_inference_servers_fault():
    with setup(30.0) as made:
        made.triton.style = np.full((1, STYLE_SIZE), np.nan, np.float32)
        with pytest.raises(InternalError) as error:
            await made.resolve(disks(40))
    assert error.value.reason == "TRITON_BAD_ANSWER"


async def test_deadline():
    with setup(30.0) as made:
        made.context.deadline = asyncio.get_running_loop().time()
        with pytest.raises(DeadlinePassed):
            await made.resolve(disks(40))
    assert not made.triton.calls


async def test_an_image_that_an_idle_gateway_would_not_admit_is_too_large():
    """A refusal for want of room would invite the caller to wait for ever."""
    with setup(None, max_pixels_in_flight=20 * TILE * TILE) as made:
        params = SegmentParams(model="cells", diameter=30)
        made.planner.plan((800, 600), params, DiameterSource.CALLER, made.context)
        with pytest.raises(ImageTooLarge) as error:
            made.planner.plan((1100, 1100), params, DiameterSource.CALLER, made.context)
        assert (error.value.metadata["resource"], error.value.metadata["limit"]) == ("tiles", "20")


async def test_every_step_is_admitted():
    """The first step fits beside another image; the second would enlarge this one ninefold, and is refused."""
    with setup(10.0, max_pixels_in_flight=20 * TILE * TILE) as made:
        with made.admission.admit(pixels=10 * TILE * TILE):
            with pytest.raises(Overloaded) as error:
                await made.resolve(disks(10, (300, 300)))
            assert error.value.metadata["resource"] == "pixels"
            assert set(made.triton.calls) == {"cells_style"}
        await made.resolve(disks(10, (300, 300)))
        assert "cells_single" in made.triton.calls, "alone it fits"
        assert made.metrics.in_flight.labels("pixels")._value.get() == 0


async def test_accepted_work_goes_on_while_the_gateway_drains():
    image = disks(40)
    with setup(30.0) as made, made.admission.admit(requests=1, pixels=image[0].size) as reservation:
        made.admission.drain()
        params, _ = await made.prepare(image, SegmentParams(model="cells"), reservation)
        assert params.diameter == pytest.approx(40, rel=0.05)


async def test_time_is_told_to_the_caller_and_counted_once():
    def count(stage: str) -> float:
        return made.metrics.registry.get_sample_value("cellserve_stage_seconds_count", {"stage": stage}) or 0

    with setup(30.0) as made:
        await made.resolve(disks(40))
        timing = made.context.timing
        assert min(timing.preprocess, timing.inference, timing.reassemble, timing.postprocess) > 0
        assert (count("estimate"), count("inference")) == (1, 0)
