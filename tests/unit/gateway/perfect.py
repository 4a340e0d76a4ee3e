"""A segmenter on networks that see perfectly: their answers are known."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from cellserve_contract.model_card import Family, NetworkFile
from cellserve_contract.params import SegmentParams
from cellserve_gateway.app.admission import Admission
from cellserve_gateway.app.context import Priority, RequestContext
from cellserve_gateway.app.decode import Decoded
from cellserve_gateway.app.diameter import DiameterEstimator
from cellserve_gateway.app.families import Families
from cellserve_gateway.app.files import ImageFiles
from cellserve_gateway.app.limits import ServiceLimits
from cellserve_gateway.app.networks import Network, Precision, TileOutputs
from cellserve_gateway.app.params import DiameterSource
from cellserve_gateway.app.pipeline import Pipeline
from cellserve_gateway.app.plan import Planner
from cellserve_gateway.app.segmenter import DiameterEstimate, Segmenter
from cellserve_gateway.app.threads import WorkerThreads
from cellserve_gateway.ops.instruments import Instruments
from cellserve_gateway.ops.metrics import Metrics
from cellserve_gateway.ops.tracing import Tracing
from cellserve_gateway.settings import Settings
from cellserve_postprocess import STYLE_SIZE, SizeModel
from cellserve_preprocess import TILE
from cellserve_training.targets import masks_to_flows

SHAPE = (180, 190)


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
        any_size: Whether the networks take tiles of any size.
        sizes: Sides of the tiles that came.
    """

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.sees = 0.0, 1000.0
        self.any_size = False
        self.sizes: set[tuple[int, int]] = set()
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
        return Network(name, "1", "0" * 64, 8, any_size=self.any_size)

    async def infer(self, name: str, tiles: np.ndarray, outputs, context: RequestContext) -> TileOutputs:
        self.calls.append(name)
        self.sizes.add(tiles.shape[2:])
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
        prepared = await self.segmenter.prepare(lambda: Decoded(image[np.newaxis]), params, self.context, reservation)
        return prepared.params, prepared.source

    async def estimate(self, image: np.ndarray) -> DiameterEstimate:
        with self.admission.admit(requests=1, pixels=image[0].size) as reservation:
            params = SegmentParams(model="cells")
            return await self.segmenter.estimate_diameter(
                lambda: Decoded(image[np.newaxis]), params, self.context, reservation
            )


@contextlib.contextmanager
def setup(predicted: float | None, **settings) -> Iterator[Setup]:
    options, metrics, triton = Settings(**settings), Metrics(), Triton()
    instruments, families = Instruments(metrics, Tracing(None)), Families([family(predicted)], "cells")
    with contextlib.closing(WorkerThreads(1, 1)) as workers:
        parts = options, families, triton, workers, instruments
        planner = Planner(ServiceLimits.of(options), families, triton)
        pipeline = Pipeline(options, triton, workers, instruments)
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
