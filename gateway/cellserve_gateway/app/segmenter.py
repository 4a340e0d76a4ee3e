"""The core's interface: what every front can ask for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ParamSpec, TypeVar

import structlog
from cellserve_contract.model_card import Family
from cellserve_contract.params import SegmentParams

from cellserve_gateway.errors import AnswerTooLarge
from cellserve_gateway.ops.instruments import Instruments
from cellserve_gateway.settings import Settings

from .admission import Reservation
from .context import RequestContext
from .decode import Pixels
from .diameter import DiameterEstimator
from .families import Families
from .networks import Backend, Network
from .params import DiameterSource
from .pipeline import Pipeline, Plan, Segmentation, Wanted, Warnings, diameter_warnings
from .threads import WorkerThreads

P = ParamSpec("P")
R = TypeVar("R")
ANSWER_COPIES = 2
"""Copies of an answer in memory at a time: while it is encoded, and while it is sent."""


@dataclass(frozen=True, slots=True)
class DiameterEstimate:
    """The size of the objects in an image.

    Attributes:
        diameter: Median diameter, pixels.
        source: Where the diameter came from.
        network: The network as used: network 0 alone where the diameter was estimated.
        warnings: Kinds of warnings, each with its facts.
    """

    diameter: float
    source: DiameterSource
    family: Family
    network: Network
    warnings: Warnings


@dataclass(frozen=True, slots=True)
class FamilyStatus:
    """A model family and its state at the backend.

    Attributes:
        networks: Names of the networks, the ensemble first.
        served: The networks as the backend serves them, in the same order. Empty: not all are ready.
    """

    family: Family
    networks: tuple[str, ...]
    served: tuple[Network, ...]


class Segmenter:
    """Segments images, estimates diameters, and lists the model families."""

    def __init__(
        self,
        settings: Settings,
        families: Families,
        backend: Backend,
        workers: WorkerThreads,
        instruments: Instruments,
    ) -> None:
        self.families = families
        self._settings = settings
        self._backend = backend
        self._workers = workers
        self._pipeline = Pipeline(settings, families, backend, workers, instruments)
        self._diameters = DiameterEstimator(settings, self._pipeline)

    async def segment(
        self,
        decode: Callable[[], Pixels],
        params: SegmentParams,
        wanted: Wanted,
        context: RequestContext,
        reservation: Reservation,
        *,
        most_bytes: int | None = None,
    ) -> Segmentation:
        """Segments one image.

        Args:
            decode: Returns the planes [C, Y, X], finite. Runs on a worker thread.
            params: As the caller sent them.
            wanted: Parts wanted in the result.
            context: Its timing is filled in.
            reservation: Holds the request and its bytes. Resized to the pixels and bytes of the image and its answer.
            most_bytes: Most bytes of the arrays of the answer. None: no limit, as for arrays that will be compressed.

        Raises:
            ServiceError: See its subclasses.
            ParameterError: A parameter does not fit the image.
        """
        self._check_served(params)
        image = await self._decode(decode, context, reservation)
        params, source = await self._diameters.resolve(image, params, context, reservation)
        plan = self._pipeline.plan(image.shape[1:], params, source)
        answer = _answer_bytes(plan, wanted, most_bytes)
        reservation.resize(pixels=plan.pixels, bytes=reservation.held.get("bytes", 0) + ANSWER_COPIES * answer)
        result = await self._pipeline.segment(image, plan, wanted, context)
        _log(image, plan.network, context, objects=len(result.objects))
        return result

    async def estimate_diameter(
        self, decode: Callable[[], Pixels], params: SegmentParams, context: RequestContext, reservation: Reservation
    ) -> DiameterEstimate:
        """Estimates the median diameter of the objects in an image; arguments and errors as in `segment`."""
        family = self._check_served(params)
        image = await self._decode(decode, context, reservation)
        params, source = await self._diameters.resolve(image, params, context, reservation)
        assert params.diameter is not None  # resolved
        single = source is DiameterSource.SIZE_MODEL
        network = self._backend.network(family.network(params.ensemble and not single))
        _log(image, network, context)
        warnings = tuple(diameter_warnings(params, source))
        return DiameterEstimate(params.diameter, source, family, network, warnings)

    async def encode(self, context: RequestContext, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Runs the encoder of an answer on a worker thread, as a stage of the request."""
        with self._pipeline.stage(context, "encode"):
            return await self._workers.run(context, function, *args, **kwargs)

    def status(self, name: str) -> FamilyStatus:
        """Returns a model family and its state at the backend.

        Raises:
            ModelUnknown: The family does not exist.
        """
        family = self.families[name]
        first = [family.network(ensemble=True), family.network(ensemble=False)]
        names = (*first, *sorted(set(family.networks) - set(first)))
        ready = all(self._backend.ready(name) for name in names)
        return FamilyStatus(family, names, tuple(self._backend.network(name) for name in names) if ready else ())

    def _check_served(self, params: SegmentParams) -> Family:
        """Raises a ServiceError, before any work, if the model does not exist or no server has served it."""
        family = self.families[params.model]
        self._backend.network(family.network(params.ensemble))
        return family

    async def _decode(self, decode: Callable[[], Pixels], context: RequestContext, reservation: Reservation) -> Pixels:
        context.start_work()
        with self._pipeline.stage(context, "decode"):
            image = await self._workers.run(context, decode)
        reservation.resize(pixels=image[0].size, bytes=max(image.nbytes, reservation.held.get("bytes", 0)))
        return image


def _answer_bytes(plan: Plan, wanted: Wanted, limit: int | None) -> int:
    """Returns the bytes that the arrays of an answer take in memory.

    Raises:
        AnswerTooLarge: The answer would exceed the limit.
    """
    size = plan.answer_bytes(wanted)
    if limit is not None and size > limit:
        raise AnswerTooLarge(
            f"the answer would have {size:,} bytes; the limit is {limit:,}: "
            "ask for fewer outputs, for compression, or segment parts of the image",
            value=size,
            limit=limit,
        )
    return size


def _log(image: Pixels, network: Network, context: RequestContext, **facts: int) -> None:
    """Adds the facts of an image to the log line of its request."""
    structlog.contextvars.bind_contextvars(
        model=network.name, shape=list(image.shape), tiles=context.timing.tiles, **facts
    )
