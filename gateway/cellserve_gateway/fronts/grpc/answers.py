"""From objects of the core to messages."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from typing import Any

from cellserve_contract import wire
from cellserve_contract.arrays import Packing, describe_array, fill_array, packing_of_labels
from cellserve_contract.model_card import Family
from cellserve_contract.payload import Detached
from cellserve_contract.warnings import WarningKind
from cellserve_formats import PixelSize
from cellserve_proto import v1 as pb
from numpy.typing import NDArray

from cellserve_gateway.app.context import Timing
from cellserve_gateway.app.networks import Network, Precision, weights_of
from cellserve_gateway.app.params import DiameterSource
from cellserve_gateway.app.results import Segmentation, Wanted
from cellserve_gateway.app.segmenter import DiameterEstimate, FamilyStatus
from cellserve_gateway.app.tile_sums import TileSums

SOURCES = {source: wire.number_of(pb.DiameterSource, source.value, "source") for source in DiameterSource}
PRECISIONS: dict[Precision, Any] = {Precision.UNKNOWN: pb.PRECISION_UNSPECIFIED} | {
    precision: wire.number_of(pb.Precision, precision.value, "precision")
    for precision in Precision
    if precision is not Precision.UNKNOWN
}
SERVER_VERSION = metadata.version("cellserve")


@dataclass(frozen=True, slots=True)
class Result:
    """What becomes an answer.

    Attributes:
        found: What was found.
        family: The family that answered.
        wanted: Parts of the answer.
        compression: Number of the contract's Compression.
        pixel_size: That of the image; None: unknown.
    """

    found: Segmentation
    family: Family
    wanted: Wanted
    compression: int
    pixel_size: PixelSize | None = None

    def arrays(self) -> Iterator[tuple[str, NDArray[Any], Packing]]:
        """Yields the arrays of the answer: field of SegmentResponse, array, and how the array is packed."""
        found, labels = self.found, self.found.labels
        if self.wanted.labels and labels is not None:
            yield "labels", labels, packing_of_labels(self.compression, labels.nbytes)
        packing: Packing = "zlib" if self.compression == pb.COMPRESSION_ZLIB else "none"
        maps = {"flows": found.flows, "cell_probability": found.cell_probability, "maps": found.maps}
        for name, array in maps.items():
            if array is not None:
                yield name, array.astype(self.wanted.map_type, copy=False), packing


def fill_response(message: pb.SegmentResponse, result: Result) -> None:
    """Fills an answer, complete but for its id and its timing.

    Args:
        message: Empty, already in its place: nothing is copied twice.
        result: What was found.
    """
    fill_facts(message, result)
    for name, array, packing in result.arrays():
        fill_array(getattr(message, name), array, packing)
    fill_objects(message.objects, result.found, slice(None))


def fill_facts(message: pb.SegmentResponse, result: Result) -> None:
    """Fills an answer without its arrays and objects; otherwise as `fill_response`."""
    found = result.found
    message.axes = found.axes
    message.server_version = SERVER_VERSION
    message.diameter_source = SOURCES[found.diameter_source]
    wire.write_params(message.params, found.params)
    message.model.CopyFrom(model_version(result.family, found.network))
    _fill_warnings(message.warnings, found.warnings)
    if (size := result.pixel_size) is not None:
        message.pixel_size.y_um, message.pixel_size.x_um = size.y, size.x
        if size.z is not None:
            message.pixel_size.z_um = size.z
    if found.style is not None:
        message.style.extend(found.style.tolist())


def fill_objects(messages: Any, found: Segmentation, rows: slice) -> None:
    """Appends the objects of some rows of the table to a repeated field."""
    objects = found.objects
    outlines = found.outlines[rows] if found.outlines is not None else None
    columns = (
        objects.label,
        objects.bbox,
        objects.centroid,
        objects.area,
        objects.equivalent_diameter_area,
        objects.mean_probability,
        objects.flow_error,
    )
    table = zip(*(column[rows].tolist() for column in columns), strict=True)
    for index, (label, bbox, centroid, area, diameter, probability, error) in enumerate(table):
        entry = messages.add(
            label=label,
            area=area,
            equivalent_diameter_area=diameter,
            mean_probability=probability,
            flow_error=error,
        )
        box, centre, axes = entry.bbox, entry.centroid, len(centroid)
        *box_z, box.y_min, box.x_min = bbox[:axes]
        *end_z, box.y_max, box.x_max = bbox[axes:]
        *centre_z, centre.y, centre.x = centroid
        (box.z_min, box.z_max, centre.z) = (*box_z, *end_z, *centre_z) if axes == 3 else (0, 1, 0)
        if outlines is not None:
            for z, points in outlines[index].items():
                entry.outlines.add(z=z).points.extend(points.ravel().tolist())


def diameter_response(estimate: DiameterEstimate, request_id: str) -> pb.EstimateDiameterResponse:
    """Returns the answer to a request for the diameter."""
    response = pb.EstimateDiameterResponse(
        request_id=request_id,
        diameter=estimate.diameter,
        source=SOURCES[estimate.source],
        model=model_version(estimate.family, estimate.network),
        server_version=SERVER_VERSION,
    )
    _fill_warnings(response.warnings, estimate.warnings)
    return response


def sums_response(found: TileSums, request_id: str) -> Detached[pb.RunNetworksResponse]:
    """Returns the answer with the sums of tiles."""
    message = pb.RunNetworksResponse(
        request_id=request_id, model=model_version(found.family, found.network), server_version=SERVER_VERSION
    )
    return Detached(message, ("sums", "data"), describe_array(message.sums, found.sums))


def timing(seconds: Timing, total_s: float) -> pb.Timing:
    """Returns the message of the stages' seconds."""
    return pb.Timing(
        decode_s=seconds.decode,
        preprocess_s=seconds.preprocess,
        inference_s=seconds.inference,
        reassemble_s=seconds.reassemble,
        postprocess_s=seconds.postprocess,
        encode_s=seconds.encode,
        total_s=total_s,
        tiles=seconds.tiles,
    )


def model_version(family: Family, network: Network) -> pb.ModelVersion:
    """Returns the message of a network of a family."""
    return pb.ModelVersion(
        family=family.name,
        name=network.name,
        version=network.version,
        sha256=network.sha256,
        weights=PRECISIONS[weights_of(family, network.name)],
        precision=PRECISIONS[network.precision],
        runtime=network.runtime,
    )


def model(status: FamilyStatus) -> pb.Model:
    """Returns the message of a family and its state at the backend."""
    family = status.family
    described = [Network(name, "", family.networks[name].sha256, 0) for name in status.networks]
    return pb.Model(
        name=family.name,
        description=family.description,
        versions=[model_version(family, network) for network in status.served or described],
        working_diameter=family.diam_mean,  # model.json has Cellpose's words
        training_diameter=family.diam_labels,
        channels=family.channels,
        license=family.license,
        provenance=family.provenance,
        has_size_model=family.size_model is not None,
        ready=bool(status.served),
        tile_size=family.tile_size,
        max_batch_size=status.served[0].max_batch_size if status.served else 0,
    )


def _fill_warnings(messages: Any, warnings: Iterable[tuple[WarningKind, Mapping[str, str]]]) -> None:
    for kind, facts in warnings:
        messages.add(
            kind=wire.number_of(pb.WarningKind, kind.name.lower(), "kind"),
            message=kind.meaning,
            suggestion=kind.suggestion,
            metadata=facts,
        )
