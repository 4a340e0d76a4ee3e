"""The networks of a server."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from . import notebook


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """A network as the inference server serves it.

    Attributes:
        family: As in `SegmentParams.model`.
        name: Name on the inference server.
        version: Version on the inference server.
        sha256: Checksum of the network file, lower-case hexadecimal.
        weights: Number format of the weights, "float32" or "float16". "" if unknown.
        precision: Number format of the arithmetic: "float32", "bfloat16", "float16", "tensorfloat32" or "int8". The
            coarsest one, if inference servers that differ computed the tiles of an image. "" if unknown.
        runtime: Program that runs the network, such as "openvino 2026.4.1"; "" if unknown.
    """

    family: str
    name: str
    version: str
    sha256: str
    weights: str = ""
    precision: str = ""
    runtime: str = ""


@dataclass(frozen=True, slots=True, repr=False)
class Model:
    """A model family: networks trained on the same data, served together.

    Attributes:
        name: Name for `SegmentParams.model`.
        description: What it is for, in one sentence.
        versions: Its networks on the inference server, the ensemble first.
        working_diameter: Object diameter that the networks work at, pixels.
        training_diameter: Mean diameter of the objects it was trained on, pixels of their images; None where unknown.
        channels: What each input channel means.
        license: Licence of the weights.
        provenance: How and on what the networks were trained.
        has_size_model: True: it estimates diameters from images.
        ready: True: it is being served now.
        tile_size: Side of a tile, pixels.
        max_batch_size: Tiles the inference server takes at once.
    """

    name: str
    description: str
    versions: tuple[ModelVersion, ...]
    working_diameter: float
    training_diameter: float | None
    channels: tuple[str, ...]
    license: str
    provenance: str
    has_size_model: bool
    ready: bool
    tile_size: int
    max_batch_size: int

    def __repr__(self) -> str:
        state = "ready" if self.ready else "not ready"
        return f"<Model {self.name}: {self.description} Working diameter {self.working_diameter:g} pixels, {state}>"


@dataclass(frozen=True, slots=True, repr=False)
class ModelList:
    """All model families of a server, in alphabetical order; iterates over them.

    Attributes:
        models: The families.
        default: Name of the one used when a request names none.
    """

    models: tuple[Model, ...]
    default: str

    def __iter__(self) -> Iterator[Model]:
        return iter(self.models)

    def __len__(self) -> int:
        return len(self.models)

    def __repr__(self) -> str:
        names = (f"{model.name} (default)" if model.name == self.default else model.name for model in self.models)
        return f"<ModelList: {', '.join(names)}>"

    def _repr_html_(self) -> str:
        return notebook.models_html(self)
