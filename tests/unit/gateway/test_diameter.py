"""The two-step estimate of the diameter, with networks whose answers are known."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
import pytest
from cellserve_contract.arrays import Detached
from cellserve_contract.chunks import Assembly, cut
from cellserve_contract.model_card import Family, NetworkFile
from cellserve_contract.params import SegmentParams
from cellserve_contract.warnings import WarningKind
from cellserve_gateway.app import diameter as diameter_module
from cellserve_gateway.app import pipeline as pipeline_module
from cellserve_gateway.app.admission import Admission
from cellserve_gateway.app.context import Priority, RequestContext
from cellserve_gateway.app.decode import Decoded
from cellserve_gateway.app.diameter import RAISE, DiameterEstimator
from cellserve_gateway.app.families import Families
from cellserve_gateway.app.files import ImageFiles
from cellserve_gateway.app.networks import Network, Precision, TileOutputs
from cellserve_gateway.app.params import DiameterSource
from cellserve_gateway.app.pipeline import Pipeline
from cellserve_gateway.app.plan import Planner
from cellserve_gateway.app.results import Wanted
from cellserve_gateway.app.segmenter import DiameterEstimate, Segmenter
from cellserve_gateway.app.threads import WorkerThreads
from cellserve_gateway.errors import DeadlinePassed, ImageTooLarge, InternalError, Overloaded
from cellserve_gateway.fronts.grpc import answers, codec, large
from cellserve_gateway.fronts.grpc.call import Call
from cellserve_gateway.fronts.grpc.receiver import Received
from cellserve_gateway.fronts.grpc.service import SERVICE, SegmentationService
from cellserve_gateway.fronts.grpc.wire import NO_PAYLOAD, Payload
from cellserve_gateway.ops.instruments import Instruments
from cellserve_gateway.ops.metrics import Metrics
from cellserve_gateway.ops.tracing import Tracing
from cellserve_gateway.settings import Settings
from cellserve_postprocess import STYLE_SIZE, SizeModel
from cellserve_preprocess import TILE, Normalization, TileGrid
from cellserve_proto import v1 as pb
from cellserve_training.targets import masks_to_flows
from hypothesis import given
from hypothesis import strategies as st

SHAPE = (180, 190)
METHOD = SERVICE.methods_by_name["SegmentLarge"]


def size_model(diameter: float) -> SizeModel:
    """A size model that predicts one diameter for all images."""
    return SizeModel((0.0,) * STYLE_SIZE, (0.0,) * STYLE_SIZE, float(np.log(diameter / 30)), 30.0)


def family(predicted: float | None) -> Family:
    return Family(
        name="cells",
        description="",
        diam_mean=30.0,
        diam_labels=22.5,
        channels=("cytoplasm", "nucleus"),
        license="",
        provenance="",
        tile_size=TILE,
        size_model=size_model(predicted) if predicted else None,
        networks={name: NetworkFile(sha256="0" * 64) for name in ("cells", "cells_single", "cells_style")},
    )


class Triton:
    """Networks that see perfectly: what is brighter than one half is an object.

    Attributes:
        sees: Diameters in pixels of a tile. Bright spots of other sizes are foreground, but no flows lead anywhere.
    """

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.sees = 0.0, 1000.0
        self.style = np.eye(1, STYLE_SIZE, dtype=np.float32)

    def ready(self, name: str) -> bool:
        return True

    def check(self, name: str) -> None:
        pass

    def least_seconds(self, name: str, tiles: int, priority: Priority) -> float | None:
        return None

    def tiles_ahead(self, network: Network) -> int:
        return 16

    def network(self, name: str) -> Network:
        return Network(name, "1", "0" * 64, 8)

    async def infer(self, name: str, tiles: np.ndarray, outputs, context: RequestContext) -> TileOutputs:
        self.calls.append(name)
        network = replace(self.network(name), precision=Precision.BFLOAT16)  # known from answers alone
        if name == "cells_style":
            assert outputs == ("style",)
            return TileOutputs(None, self.style, network)
        inside = tiles[0, 0] > 0.5
        _, labels, measured, _ = cv2.connectedComponentsWithStats(inside.astype(np.uint8))
        diameters = 2 * np.sqrt(measured[:, cv2.CC_STAT_AREA] / np.pi)
        seen = (diameters >= self.sees[0]) & (diameters <= self.sees[1])
        flows = 5 * masks_to_flows(np.where(seen[labels], labels, 0).astype(np.uint16))
        maps = np.concatenate([flows, np.where(inside, 5, -5)[None]])[None].astype(np.float32)
        return TileOutputs(maps, None, network)


@dataclass
class Setup:
    triton: Triton
    planner: Planner
    workers: WorkerThreads
    metrics: Metrics
    admission: Admission
    diameters: DiameterEstimator
    context: RequestContext
    segmenter: Segmenter

    async def resolve(self, image: np.ndarray, **params) -> tuple[SegmentParams, DiameterSource]:
        with self.admission.admit(requests=1, pixels=image[0].size) as reservation:
            return await self.prepare(image, SegmentParams(model="cells", **params), reservation)

    async def prepare(self, image: np.ndarray, params: SegmentParams, reservation: Any):
        prepared = await self.segmenter.prepare(lambda: Decoded(image), params, self.context, reservation)
        return prepared.params, prepared.source

    async def estimate(self, image: np.ndarray) -> DiameterEstimate:
        with self.admission.admit(requests=1, pixels=image[0].size) as reservation:
            params = SegmentParams(model="cells")
            return await self.segmenter.estimate_diameter(lambda: Decoded(image), params, self.context, reservation)


@contextlib.contextmanager
def setup(predicted: float | None, **settings) -> Iterator[Setup]:
    options, metrics, triton = Settings(**settings), Metrics(), Triton()
    instruments, families = Instruments(metrics, Tracing(None)), Families([family(predicted)], "cells")
    with contextlib.closing(WorkerThreads(1, 1)) as workers:
        parts = options, families, triton, workers, instruments
        planner, pipeline = Planner(options, families, triton), Pipeline(options, triton, workers, instruments)
        segmenter = Segmenter(*parts, ImageFiles(options))
        context = RequestContext("r", deadline=asyncio.get_running_loop().time() + 60)
        estimator = DiameterEstimator(families, planner, pipeline)
        yield Setup(triton, planner, workers, metrics, Admission(options, metrics), estimator, context, segmenter)


def disks(diameter: int, shape: tuple[int, int] = SHAPE) -> np.ndarray:
    """An image [1, Y, X] of disks far enough apart that none touches another."""
    image = np.zeros(shape, np.uint8)
    for y in range(diameter, shape[0] - diameter, 2 * diameter):
        for x in range(diameter, shape[1] - diameter, 2 * diameter):
            cv2.circle(image, (x, y), diameter // 2, 200, -1)
    return image[None]


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
        first = TileGrid.count(made.planner.scaled(shape, SegmentParams(model="cells", diameter=predicted)))
        estimate = await made.estimate(disks(diameter, shape))
        assert estimate.diameter == pytest.approx(diameter, rel=0.05)
        assert [kind for kind, _ in estimate.warnings] == ([WarningKind.SIZE_UNTESTED] if diameter > 160 else [])
        last = TileGrid.count(made.planner.scaled(shape, SegmentParams(model="cells", diameter=diameter * 0.95)))
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
                arguments = (lambda: Decoded(image)), SegmentParams(model="cells"), wanted, made.context, reservation
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
        smaller = made.planner.scaled(shape, replace(params, diameter=params.diameter / RAISE**2))
        assert TileGrid.count(smaller, augment=augment) > 50, "raised no further than needed"


@given(st.floats(0, 1e6), st.tuples(st.integers(1, 10**6), st.integers(1, 10**6)), st.floats(0, 0.5), st.booleans())
async def test_estimates_of_any_image_are_in_range(diameter, shape, overlap, augment):
    with setup(30.0) as made:
        params = SegmentParams(model="cells", tile_overlap=overlap, augment=augment)
        fitting = made.diameters._with_diameter(params, diameter, shape)
        assert 5 <= fitting.diameter <= 10_000
        tiles = TileGrid.count(made.planner.scaled(shape, fitting), overlap, augment)
        assert tiles <= Settings().max_tiles or fitting.diameter == 10_000


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


@pytest.mark.parametrize(
    ("predicted", "stated", "expected"),
    [
        (60.0, 0.0, (40, pb.DIAMETER_SOURCE_SIZE_MODEL, "cells_single")),
        (60.0, 17.0, (17, pb.DIAMETER_SOURCE_CALLER, "cells")),
        (None, 0.0, (22.5, pb.DIAMETER_SOURCE_TRAINING_DIAMETER, "cells")),
    ],
)
async def test_the_service_says_where_a_diameter_comes_from(predicted, stated, expected):
    pixels = disks(40)[0]
    array = pb.Array(data_type=pb.DATA_TYPE_UINT8, shape=pixels.shape, data=pixels.tobytes())
    image = pb.Image(raw=pb.RawImage(pixels=array, axes="YX"))
    params = pb.SegmentParams(model="cells", diameter=stated)
    diameter, source, network = expected
    with setup(predicted) as made:
        service = SegmentationService(Settings(), made.segmenter)
        request = Received(
            pb.EstimateDiameterRequest(image=image, params=params), NO_PAYLOAD, made.admission.reservation()
        )
        estimate = await service.EstimateDiameter(request, made.context)
        assert estimate.diameter == pytest.approx(diameter, rel=0.05)
        assert (estimate.source, estimate.model.name, estimate.request_id) == (source, network, "r")
        computed = pb.PRECISION_BFLOAT16 if source == pb.DIAMETER_SOURCE_SIZE_MODEL else pb.PRECISION_UNSPECIFIED
        assert estimate.model.precision == computed, "no network runs for a diameter that is not measured"
        unmeasured = [pb.WARNING_KIND_DIAMETER_NOT_MEASURED] if source == pb.DIAMETER_SOURCE_TRAINING_DIAMETER else []
        assert [warning.kind for warning in estimate.warnings] == unmeasured
        made.triton.calls.clear()
        context = RequestContext("r", deadline=made.context.deadline)
        again = Received(pb.SegmentRequest(image=image, params=params), NO_PAYLOAD, made.admission.reservation())
        answer = await service.Segment(again, context)
        assert (answer.params.diameter, answer.diameter_source) == (estimate.diameter, source)
        assert answer.model.name == "cells", "the estimate's network is not the answer's"
        assert answer.model.precision == pb.PRECISION_BFLOAT16
        assert answer.timing.tiles == len(made.triton.calls), "the estimate's tiles count"


class Chunks:
    """What the door hands to `SegmentLarge`: the header of a call, then the image in chunks."""

    def __init__(self, message: pb.SegmentRequest, data: bytes, made: Setup) -> None:
        self._made = made
        header = pb.SegmentLargeHeader(segment=message, image_bytes=len(data))
        chunks = [(pb.SegmentLargeRequest(chunk=chunk), piece) for chunk, piece in cut(data)]
        self._parts = iter([(pb.SegmentLargeRequest(header=header), NO_PAYLOAD.data), *chunks])

    async def receive(self) -> Received:
        message, piece = next(self._parts)
        return Received(message, Payload("chunk.data", piece), self._made.admission.reservation())

    @contextlib.asynccontextmanager
    async def upload(self, *_):
        yield


@pytest.mark.parametrize("chunks", [False, True])
async def test_our_code_copies_no_pixels_on_the_event_loop(monkeypatch, chunks):
    """Everything that copies pixels or computes on pixels runs on worker threads; from the payload to the answer."""
    threads: dict[str, set[str]] = {}

    def observed(name, function):
        def call(*args, **kwargs):
            threads.setdefault(name, set()).add(threading.current_thread().name)
            return function(*args, **kwargs)

        return call

    packing = {Assembly: ("add",), large: ("describe_array",), Detached: ("serialize",)} if chunks else {}
    for module, names in {
        codec: ("to_image",),
        answers: () if chunks else ("fill_response",),
        pipeline_module: ("select_channels", "normalize", "resize", "reassemble", "recover_masks", "measure_objects"),
        diameter_module: ("resize", "recover_masks"),
        TileGrid: ("cut",),
        **packing,
    }.items():
        for name in names:
            monkeypatch.setattr(module, name, observed(f"{module.__name__}.{name}", getattr(module, name)))
    pixels = disks(40)[0]
    array = pb.Array(data_type=pb.DATA_TYPE_UINT8, shape=pixels.shape)
    message = pb.SegmentRequest(image=pb.Image(raw=pb.RawImage(pixels=array, axes="YX")), params={"model": "cells"})
    with setup(60.0) as made:
        service = SegmentationService(Settings(), made.segmenter)
        if chunks:
            call = Call(METHOD, {}, made.context.deadline, None, Settings(), made.workers)
            requests = Chunks(message, pixels.tobytes(), made)
            parts = [
                pb.SegmentLargeResponse.FromString(part.data) async for part in service.SegmentLarge(requests, call)
            ]
            assert [part.WhichOneof("part") for part in parts] == ["upload", "result", "objects", "chunk"]
            found = parts[2].objects.objects
        else:
            payload = Payload("image.raw.pixels.data", memoryview(pixels.tobytes()))
            received = Received(message, payload, made.admission.reservation())
            found = (await service.Segment(received, made.context)).objects
    assert len(found) > 0
    assert len(threads) == (13 if chunks else 11), "each was called"
    kinds = {name.partition("-")[0] for names in threads.values() for name in names}
    assert kinds <= {"decoding", "images"}
