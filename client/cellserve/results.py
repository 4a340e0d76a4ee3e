"""What the server answers, as plain frozen objects.

Pixels are counted from the upper left, zero-based; coordinates are (y, x).
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Unpack

import numpy as np
from cellserve_contract.objects import GROUPS, Column, columns
from cellserve_formats import PixelSize
from cellserve_formats.overlay import OverlayOptions
from numpy.typing import NDArray

from . import measuring, notebook, pictures, saving
from .images import ImageLike
from .models import ModelVersion
from .params import DIAMETER_SOURCES, DiameterSource, SegmentParams
from .sources import NO_IMAGE, ImageSource


@dataclass(frozen=True, slots=True, repr=False)
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
    outlines: Mapping[int, NDArray[np.int32]] = field(default_factory=dict, compare=False)

    def __repr__(self) -> str:
        place = ", ".join(f"{position:.1f}" for position in self.centroid)
        return (
            f"<Object {self.label} at ({place}): {self.area} pixels, diameter {self.equivalent_diameter_area:.1f}, "
            f"probability {self.mean_probability:.2f}, flow error {self.flow_error:.3f}>"
        )

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
        inference_s: Inference server, queue and batching included. Answers for tiles are blended within this time.
        reassemble_s: Maps of the image from the blended tiles, resizing to the image.
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
        source: The image as it was given: `segment` keeps an array or the path of a file. Results of `segment_many` and
            `segment_stream` keep paths and no pixels, because a thousand results would hold a thousand images.
        measurements: More columns of the table of objects, each with one number per object in the order of `objects`.
            `measure` fills them; columns of your own come with `dataclasses.replace`.
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
    source: ImageSource = field(default=NO_IMAGE, repr=False)
    measurements: Mapping[str, NDArray[Any]] = field(default_factory=dict, repr=False)

    @property
    def labels(self) -> NDArray[np.uint16] | NDArray[np.uint32]:
        """uint16 or uint32 [Y, X], as large as the image: 0 is background, 1..N are objects. Yours to modify.

        Raises:
            ValueError: The request left labels out.
        """
        if self.label_image is None:
            raise ValueError("this result has no labels: the request left them out (omit_labels or maps_only)")
        return self.label_image

    @property
    def table(self) -> dict[str, NDArray[Any]]:
        """The table of objects: int64 or float64 [N] by column, such as "area"; see `columns`."""
        rows = list(self.rows())
        return {
            column.name: np.array([row[column.name] for row in rows], np.int64 if column.kind == "int" else np.float64)
            for column in self.columns()
        }

    def columns(self) -> tuple[Column, ...]:
        """Returns the columns of the table: those of `cellserve_contract.objects.columns`, then the measurements."""
        return (*columns(self.axes), *measuring.columns_of(self))

    def rows(self) -> Iterator[dict[str, int | float]]:
        """Yields the values of each object by column, in the order of `columns`.

        Raises:
            ValueError: A measurement has not one number per object.
        """
        return measuring.rows_of(self)

    def to_dataframe(self) -> Any:
        """Returns the table of objects as a `pandas.DataFrame`, one row per object.

        Raises:
            ModuleNotFoundError: pandas is not installed.
        """
        try:
            import pandas
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError("to_dataframe needs pandas: pip install pandas", name="pandas") from error
        return pandas.DataFrame(self.table)

    def measure(self, image: ImageLike | None = None, groups: Collection[str] = GROUPS) -> Segmentation:
        """Measures the objects; docs/reference/columns.md lists the columns.

        Lengths and areas are in pixels, and in micrometres if the result knows the pixel size. Objects of the stack
        mode "planes" are measured in their planes.

        Args:
            image: As in `overlay`; needed for the group "intensity" only. All channels of the image are measured.
            groups: "shape" and "intensity", or one of them.

        Returns:
            A copy of the result whose table has the columns, after measurements that were there before.

        Raises:
            ValueError: There is no image, the image has another size, a group is unknown, the result has no labels, or
                the labels are no longer those of the objects.
            InvalidRequestError: The image cannot be read.
            MissingExtraError: The shape of volumes needs SciPy, which is not installed (extra `measurements`).
        """
        return replace(self, measurements={**self.measurements, **measuring.measurements(self, image, groups)})

    def overlay(self, image: ImageLike | None = None, **options: Unpack[OverlayOptions]) -> NDArray[np.uint8]:
        """Draws the objects on the image; see `cellserve_formats.overlay.draw_overlay`.

        Args:
            image: The image that was segmented. None: the image that the result refers to (`source`). Files are read
                again.
            **options: numbers=True writes the label into each object. filled=True fills the objects with a translucent
                colour. scale=2 doubles the size of the picture.

        Returns:
            uint8 [scale * Y, scale * X, 3].

        Raises:
            ValueError: There is no image, the image has another size, or the result has no labels.
            InvalidRequestError: The image cannot be read.
        """
        return pictures.overlay(self, self.source.image_of(image), **options)

    def save(
        self, path: str | os.PathLike[str], image: ImageLike | None = None, words: Iterable[str] | None = None
    ) -> list[Path]:
        """Writes what the name of a file says, or several results; see docs/guides/result-files.md for the names.

        Args:
            path: A file, whose ending says what is written: ".tif", ".png", ".npy" or ".zarr" (label image), ".csv",
                ".parquet" or ".h5ad" (table), ".geojson" (outlines for QuPath), ".zip" (ROIs of ImageJ), ".txt"
                (outlines as Cellpose writes them), "..._seg.npy" (Cellpose), "..._overlay.png", "..._flows.tif",
                "..._flows.png", "..._probability.tif" or "..._probability.png". Without an ending, or with `words`:
                what the names of the files begin with. A folder: the files are named after the image.
            image: As in `overlay`.
            words: What is written, words of `cellserve.saving.SAVED` such as "masks" and "rois". None: label image,
                table, overlay, and the flows and cell probability that the result has.

        Returns:
            The files, each whole or not there.

        Raises:
            InvalidRequestError: EXTRA_MISSING: a library is not installed. IMAGE_TOO_LARGE: a format does not hold so
                many objects or pixels.
            ValueError: The ending or a word is unknown, or the result lacks what the file should hold.
            OSError: A file cannot be written.
        """
        return saving.save(self, path, image, words)

    def __repr__(self) -> str:
        size = "" if self.label_image is None else f" of {' x '.join(map(str, self.label_image.shape))} pixels"
        diameter = "" if self.params.diameter is None else f"diameter {self.params.diameter:.1f}, "
        model = f"model {self.model.name} version {self.model.version}"
        return f"<Segmentation{size}: {len(self.objects)} objects, {diameter}{model}>"

    def _repr_html_(self) -> str:
        return notebook.segmentation_html(self)


@dataclass(frozen=True, slots=True, repr=False)
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

    def __repr__(self) -> str:
        return f"<DiameterEstimate: {self.diameter:.1f} pixels, {DIAMETER_SOURCES[self.source]}>"


@dataclass(frozen=True, slots=True)
class Limits:
    """What a server takes at most; `cellserve.check_limits` compares an image with it. 0 stands for an unknown limit.

    Attributes:
        max_image_pixels: Pixels of an image, rows x columns.
        max_image_bytes: Bytes of an image once unpacked: planes x rows x columns x bytes of an element.
        max_planes: Channels of an image, or samples of a colour pixel.
        max_tiles: Tiles of an image at the scale of the networks.
        max_transfer_bytes: Bytes of an image as sent, packed or not, and of the arrays of its answer.
        max_message_bytes: Bytes of a message. The client sends and gets more in chunks.
        default_deadline_s: Seconds that a call without a deadline gets. The calls of this client have one.
        max_deadline_s: Seconds that a call gets at most.
        max_stack_planes: Planes of a stack along Z.
        max_stack_voxels: Voxels of a stack: planes x rows x columns.
        max_stack_tiles: Tiles of all sections of a stack.
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
    max_stack_planes: int
    max_stack_voxels: int
    max_stack_tiles: int
    server_version: str
