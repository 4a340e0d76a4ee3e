"""What the server answers, as plain frozen objects.

Pixels are counted from the upper left, zero-based; coordinates are (y, x).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from cellserve_contract.objects import columns
from cellserve_formats import PixelSize
from numpy.typing import NDArray

from .params import DiameterSource, SegmentParams


@dataclass(frozen=True, slots=True)
class Object:
    """One segmented object. Names are those of scikit-image's `regionprops`, where it has one.

    Attributes:
        label: Value of the object in the label image, 1 to the number of objects.
        bbox: First pixel along each axis of the label image, then one past the last pixel. In 2-D (y, x, y, x).
        centroid: Mean position of the object's pixels along each axis. In 2-D (y, x).
        area: Number of the object's pixels.
        equivalent_diameter_area: Diameter of the disk of equal area, pixels.
        mean_probability: Mean cell probability of the object's pixels, 0 to 1.
        flow_error: Mean squared distance between the flows of its shape and the predicted ones; 0 is a perfect fit.
        outlines: For each plane (0 in 2-D) int32 [k, 2], (y, x) of the border pixels in order. Empty unless "outlines"
            was asked for.
    """

    label: int
    bbox: tuple[int, ...]
    centroid: tuple[float, ...]
    area: int
    equivalent_diameter_area: float
    mean_probability: float
    flow_error: float
    outlines: Mapping[int, NDArray[np.int32]] = field(default_factory=dict, repr=False, compare=False)

    @property
    def outline(self) -> NDArray[np.int32] | None:
        """int32 [k, 2], the outline in the first plane that shows the object; None unless "outlines" was asked for."""
        return next(iter(self.outlines.values()), None)

    def row(self) -> dict[str, int | float]:
        """Returns the values of the table of objects by column, in the order of `cellserve_contract.objects`."""
        measures = (self.area, self.equivalent_diameter_area, self.mean_probability, self.flow_error)
        values = (self.label, *self.bbox, *self.centroid, *measures)
        axes = "ZYX"[-len(self.centroid) :]
        return {column.name: value for column, value in zip(columns(axes), values, strict=True)}


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


@dataclass(frozen=True, slots=True)
class ResultWarning:
    """Something to know about an answer. The answer is valid all the same.

    Attributes:
        kind: Word of docs/reference/errors.md, such as "nothing_found"; "" for kinds this client does not know.
        message: What happened.
        suggestion: What to try.
        metadata: Facts for programs.
    """

    kind: str
    message: str
    suggestion: str
    metadata: Mapping[str, str]


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


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Segmentation:
    """The objects of one image.

    Attributes:
        label_image: As `labels`; None if the request left labels out.
        objects: The objects in the order of their labels: `objects[n - 1]` has label n.
        params: All parameters as used, none left out.
        diameter_source: Where `params.diameter` came from.
        model: The network that answered.
        timing: Where the time went.
        request_id: Finds the request in the server's log.
        axes: Axes of the label image: "YX".
        pixel_size: Pixel size of the image; None where unknown.
        warnings: What to know about the answer.
        server_version: Version of the server.
        flows: float [2, Y, X], flow along y and along x, of about unit length inside objects; None unless asked for.
        cell_probability: float [Y, X], logits; None unless asked for.
        maps: float [3, Y, X], the networks' planes 5 * flow along y, 5 * flow along x, logit. None unless asked for.
        style: float32 [256], of unit length; None unless asked for.
    """

    label_image: NDArray[np.uint16] | NDArray[np.uint32] | None
    objects: tuple[Object, ...]
    params: SegmentParams
    diameter_source: DiameterSource
    model: ModelVersion
    timing: Timing
    request_id: str
    axes: str = "YX"
    pixel_size: PixelSize | None = None
    warnings: tuple[ResultWarning, ...] = ()
    server_version: str = ""
    flows: NDArray[np.floating[Any]] | None = None
    cell_probability: NDArray[np.floating[Any]] | None = None
    maps: NDArray[np.floating[Any]] | None = None
    style: NDArray[np.float32] | None = None

    @property
    def labels(self) -> NDArray[np.uint16] | NDArray[np.uint32]:
        """uint16 or uint32 [Y, X], as large as the image: 0 is background, 1..N are objects. Yours to modify.

        Raises:
            ValueError: The request left labels out.
        """
        if self.label_image is None:
            raise ValueError("this result has no labels: the request left them out (omit_labels or maps_only)")
        return self.label_image

    def __repr__(self) -> str:
        size = "" if self.label_image is None else f" of {' x '.join(map(str, self.label_image.shape))} pixels"
        return (
            f"<Segmentation{size}: {len(self.objects)} objects, "
            f"diameter {self.params.diameter}, model {self.model.name} version {self.model.version}>"
        )


@dataclass(frozen=True, slots=True)
class DiameterEstimate:
    """The size of the objects in an image.

    Attributes:
        diameter: Median diameter, pixels.
        source: Where the diameter came from.
        model: The network that answered.
        request_id: Finds the request in the server's log.
        warnings: What to know about the answer.
        server_version: Version of the server.
    """

    diameter: float
    source: DiameterSource
    model: ModelVersion
    request_id: str
    warnings: tuple[ResultWarning, ...] = ()
    server_version: str = ""


@dataclass(frozen=True, slots=True)
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


@dataclass(frozen=True, slots=True)
class Limits:
    """What a server takes at most; `cellserve.check_limits` compares an image with it. 0 stands for an unknown limit.

    Attributes:
        max_image_pixels: Pixels of an image, rows x columns.
        max_image_bytes: Bytes of an image once unpacked: planes x rows x columns x bytes of an element.
        max_planes: Planes of an image: channels, or samples of a colour pixel.
        max_tiles: Tiles of an image at the scale of the networks.
        max_transfer_bytes: Bytes of an image as sent, packed or not, and of the arrays of its answer.
        max_message_bytes: Bytes of a message. The client sends and gets more in chunks.
        default_deadline_s: Seconds that a call without a deadline gets. The calls of this client have one.
        max_deadline_s: Seconds that a call gets at most.
        server_version: Version of the server.
    """

    max_image_pixels: int
    max_image_bytes: int
    max_planes: int
    max_tiles: int
    max_transfer_bytes: int
    max_message_bytes: int
    default_deadline_s: float
    max_deadline_s: float
    server_version: str
