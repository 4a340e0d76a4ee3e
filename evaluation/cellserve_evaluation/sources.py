"""Where segmentations to be scored come from: the service, the baseline, a folder of another program's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import cellserve
from numpy.typing import NDArray

from .baseline import otsu_watershed
from .labels import LabelsError, by_stem, find_labels, read_labels
from .sample import Sample

DEFAULT_DIAMETER = 30.0
"""Pixels; given to the baseline for images without objects, where no diameter is true."""

_STEMS = ("{name}_masks", "{name}_cp_masks", "{name}_img_cp_masks", "{name}_img_masks")


@dataclass(frozen=True, slots=True, eq=False)
class Prediction:
    """A segmentation.

    Attributes:
        labels: Integers [Y, X] or [Z, Y, X], 0 is background.
        diameter: What it was told or estimated, pixels; None where unknown.
        model: Version of the model, as the service names it; empty for other sources.
        parameters: What decided the outcome, the diameter apart.
    """

    labels: NDArray[Any]
    diameter: float | None = None
    model: Mapping[str, Any] = field(default_factory=dict)
    parameters: Mapping[str, Any] = field(default_factory=dict)


class PredictionError(Exception):
    """An image could not be segmented; the message says why."""


class Source(Protocol):
    """Segments images."""

    @property
    def name(self) -> str:
        """What tables call it."""
        ...

    @property
    def estimates(self) -> bool:
        """True: it finds out the diameter by itself."""
        ...

    def predict(self, samples: Sequence[Sample]) -> Iterator[tuple[Sample, Prediction | PredictionError]]:
        """Yields every sample once, with its segmentation or why there is none, as they finish."""
        ...


@dataclass(frozen=True, slots=True)
class Service:
    """A running service, reached as any caller reaches it.

    Attributes:
        client: Connected to it.
        family: The model family.
        ensemble: True: all networks; False: network 0 alone.
        estimates: True: the service estimates the diameter; False: it is told the true one, or the family's mean
            diameter where there are no objects.
        concurrency: Images under way at a time, so that their tiles share batches.
        params: Parameters other than the server's defaults; its model, ensemble and diameter do not count. Volumes are
            segmented in three dimensions unless `stack_mode` says otherwise.
    """

    client: cellserve.Client
    family: cellserve.Model
    ensemble: bool = True
    estimates: bool = False
    concurrency: int = 8
    params: cellserve.SegmentParams | None = None

    @property
    def name(self) -> str:
        """What distinguishes it."""
        networks = "ensemble" if self.ensemble else "single network"
        return f"{networks}, {'estimated' if self.estimates else 'true'} diameter"

    def predict(self, samples: Sequence[Sample]) -> Iterator[tuple[Sample, Prediction | PredictionError]]:
        """As `Source.predict`; an image that the service has no room for is sent again a few times."""
        pool = ThreadPoolExecutor(self.concurrency, "evaluate")
        try:
            futures = {pool.submit(self._segment, sample): sample for sample in samples}
            for future in as_completed(futures):
                try:
                    yield futures[future], future.result()
                except PredictionError as error:
                    yield futures[future], error
                except (cellserve.CellServeError, TypeError) as error:  # TypeError: a parameter of a wrong type
                    yield futures[future], PredictionError(str(error))
        finally:
            pool.shutdown(cancel_futures=True)

    def _segment(self, sample: Sample) -> Prediction:
        diameter = 0.0 if self.estimates else sample.diameter or self.family.working_diameter
        params = self.params or cellserve.SegmentParams()
        if sample.is_volume:
            mode, anisotropy = params.stack_mode or "volume", params.anisotropy or sample.anisotropy
            params = replace(params, stack_mode=mode, anisotropy=anisotropy)
        image = cellserve.Image(sample.image, "CZYX" if sample.is_volume else "CYX")
        result = self.client.segment(image, params, model=self.family.name, ensemble=self.ensemble, diameter=diameter)
        parameters = asdict(result.params)
        return Prediction(result.labels, parameters.pop("diameter"), asdict(result.model), parameters)


@dataclass(frozen=True, slots=True)
class Otsu:
    """The baseline, told the true diameters."""

    name: str = "Otsu + watershed"
    estimates: bool = False

    def predict(self, samples: Sequence[Sample]) -> Iterator[tuple[Sample, Prediction | PredictionError]]:
        """As `Source.predict`."""
        for sample in samples:
            if sample.is_volume:
                yield sample, PredictionError("the baseline segments 2-D images alone")
                continue
            diameter = sample.diameter or DEFAULT_DIAMETER
            yield sample, Prediction(otsu_watershed(sample.image, diameter), diameter)


@dataclass(frozen=True, slots=True)
class Folder:
    """Label images and volumes that some program wrote: `FOLDER/<group>/<name>_masks.png` or `FOLDER/<name>_masks.png`.

    TIFF and `_cp_masks` (as Cellpose and `cellserve segment` name them) are found too, whatever the case of the name.
    """

    path: Path
    estimates: bool = False

    @property
    def name(self) -> str:
        """The folder's."""
        return self.path.name

    def predict(self, samples: Sequence[Sample]) -> Iterator[tuple[Sample, Prediction | PredictionError]]:
        """As `Source.predict`."""
        for sample in samples:
            try:
                labels = self._read(sample)
            except PredictionError as error:
                yield sample, error
            else:
                yield sample, Prediction(labels)

    def _read(self, sample: Sample) -> NDArray[Any]:
        stems = [stem.format(name=sample.name) for stem in _STEMS]
        folders = [folder for folder in (self.path / sample.group, self.path) if folder.is_dir()]
        path = next((found for folder in folders if (found := find_labels(by_stem(folder.iterdir()), stems))), None)
        if path is None:
            raise PredictionError(f"{self.path} has no {sample.group}/{sample.name}_masks.png")
        try:
            labels = read_labels(path, sample.labels.ndim)
        except LabelsError as error:
            raise PredictionError(f"{path}: {error}") from error
        if labels.shape != sample.labels.shape:
            raise PredictionError(f"{path}: labels of shape {labels.shape}, the image has {sample.labels.shape}")
        return labels
