"""What the server answers, as plain frozen objects.

Pixels are counted from the upper left, zero-based; coordinates are (y, x).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .params import DiameterSource, SegmentParams


class BoundingBox(NamedTuple):
    """Smallest rectangle around an object, half open: `labels[y_min:y_max, x_min:x_max]`."""

    y_min: int
    x_min: int
    y_max: int
    x_max: int


@dataclass(frozen=True, slots=True)
class Object:
    """One segmented object.

    Attributes:
        label: Its value in the label image, 1 to the number of objects.
        bounding_box: Smallest rectangle around it.
        centroid: Mean (y, x) of its pixels.
        area: Number of its pixels.
        diameter: Diameter of the disk of equal area, pixels.
        mean_probability: Mean cell probability of its pixels, 0 to 1.
        flow_error: Mean squared distance between the flows of its shape and the predicted ones; 0 is a perfect fit.
        outline: int32 [k, 2], (y, x) of its border pixels in order; None unless "outlines" was asked for.
    """

    label: int
    bounding_box: BoundingBox
    centroid: tuple[float, float]
    area: int
    diameter: float
    mean_probability: float
    flow_error: float
    outline: NDArray[np.int32] | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """The model that produced an answer.

    Attributes:
        family: As in `SegmentParams.model`.
        name: Name on the inference server.
        version: Version on the inference server.
        sha256: Checksum of the network file, lower-case hexadecimal.
    """

    family: str
    name: str
    version: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds the request spent in each stage on the server, and the number of tiles the networks ran on.

    Attributes:
        decode_s: Unpacking and checking the image.
        preprocess_s: Normalising and rescaling.
        inference_s: Inference server, queue and batching included.
        reassemble_s: Reassembling the tiles, resizing to the image.
        postprocess_s: Recovering, filtering and measuring objects.
        encode_s: Packing the answer.
        total_s: From the first to the last of it.
        tiles: Tiles the networks ran on.
    """

    decode_s: float
    preprocess_s: float
    inference_s: float
    reassemble_s: float
    postprocess_s: float
    encode_s: float
    total_s: float
    tiles: int


@dataclass(frozen=True, slots=True, eq=False)
class Segmentation:
    """The objects of one image.

    Attributes:
        labels: uint16 or uint32 [Y, X], as large as the image: 0 is background, 1..N are objects. Yours to modify.
        objects: The objects in the order of their labels: `objects[n - 1]` has label n.
        params: All parameters as used, none left out.
        diameter_source: Where `params.diameter` came from.
        model: The model as used.
        timing: Where the time went.
        request_id: Finds the request in the server's log.
        flows: float32 [2, Y, X], flow along y and along x; None unless asked for.
        cell_probability: float32 [Y, X], logits; None unless asked for.
        style: float32 [256], of unit length; None unless asked for.
    """

    labels: NDArray[np.uint16] | NDArray[np.uint32]
    objects: tuple[Object, ...]
    params: SegmentParams
    diameter_source: DiameterSource
    model: ModelVersion
    timing: Timing
    request_id: str
    flows: NDArray[np.float32] | None = None
    cell_probability: NDArray[np.float32] | None = None
    style: NDArray[np.float32] | None = None

    def __repr__(self) -> str:
        rows, columns = self.labels.shape
        return (
            f"<Segmentation of {rows} x {columns} pixels: {len(self.objects)} objects, "
            f"diameter {self.params.diameter}, model {self.model.name} version {self.model.version}>"
        )


@dataclass(frozen=True, slots=True)
class DiameterEstimate:
    """The size of the objects in an image.

    Attributes:
        diameter: Median diameter, pixels.
        source: Where it came from.
        model: The model as used.
        request_id: Finds the request in the server's log.
    """

    diameter: float
    source: DiameterSource
    model: ModelVersion
    request_id: str


@dataclass(frozen=True, slots=True)
class Model:
    """A model family: networks trained on the same data, served together.

    Attributes:
        name: Name for `SegmentParams.model`.
        description: What it is for, in one sentence.
        versions: Its networks on the inference server, the ensemble first.
        diam_mean: Object diameter the networks work at, pixels.
        diam_labels: Mean diameter of the objects it was trained on, pixels of their images; 0 where unknown.
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
    diam_mean: float
    diam_labels: float
    channels: tuple[str, ...]
    license: str
    provenance: str
    has_size_model: bool
    ready: bool
    tile_size: int
    max_batch_size: int


@dataclass(frozen=True, slots=True)
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
