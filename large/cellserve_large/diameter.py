"""The diameter of the objects in an image that no request can hold."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from cellserve import DiameterEstimate, Image, SegmentParams
from cellserve.models import Model
from cellserve.params import DiameterOptions, DiameterSource
from cellserve_contract.channels import MEAN, NONE
from cellserve_contract.resolution import untested_diameter
from cellserve_contract.warnings import WarningKind, Warnings
from cellserve_formats.lazy import LazyImage, Region

from .crops import crops
from .gateways import Gateways
from .store import Store

SIDE = 1024
"""Side of a crop that the diameter is estimated from, pixels."""
_NAME = "diameter.json"


def with_diameter(
    image: LazyImage,
    params: SegmentParams,
    family: Model,
    gateways: Gateways,
    store: Store,
    identity: Any,
    note: Callable[[str], None],
) -> tuple[SegmentParams, DiameterSource, Warnings]:
    """Returns parameters that state a diameter, where the diameter is from, and what to know about it.

    Args:
        image: The image.
        params: Resolved, with or without a diameter.
        family: The family that answers.
        gateways: The servers.
        store: Keeps the estimate.
        identity: Of image and networks, for JSON. A run that goes on with the same uses the estimate it began with.
        note: Told the estimate.

    Raises:
        CellServeError: No server answers.
        ImageError, OSError: The image cannot be read.
    """
    if params.diameter is not None:
        return params, "caller", untested_diameter(params)
    if not family.has_size_model:
        assert family.training_diameter is not None  # such families state it
        used = replace(params, diameter=family.training_diameter)
        facts = {"diameter": f"{family.training_diameter:g}"}
        return used, "training_diameter", ((WarningKind.DIAMETER_NOT_MEASURED, facts), *untested_diameter(used))
    found = _estimate(image, params, gateways, store, identity)
    note(str(found))
    used = replace(params, diameter=found.diameter)
    return used, "size_model" if found.found else "training_diameter", untested_diameter(used)


def _estimate(image: LazyImage, params: SegmentParams, gateways: Gateways, store: Store, identity: Any) -> Estimate:
    """Returns the estimate of the diameter; a run that goes on uses the estimate that it began with."""
    path = store.folder / _NAME
    asked = json.loads(json.dumps({**identity, "params": asdict(params)}))
    if path.exists():
        kept = json.loads(path.read_bytes())
        if kept["asked"] == asked:
            return Estimate(**kept["estimate"])
    options = DiameterOptions(priority=gateways.priority, deadline_s=gateways.deadline_s)
    client = gateways.connection.client()
    found = estimate(image, params, lambda crop, some: client.estimate_diameter(crop, some, **options))
    text = json.dumps({"asked": asked, "estimate": asdict(found)}).encode()
    with store.written(path, len(text)) as file:
        file.write(text)
    return found


@dataclass(frozen=True, slots=True)
class Estimate:
    """The diameter of the objects in an image, by crops.

    Attributes:
        diameter: Median of the crops in which objects were found, pixels; that of the family if there is none.
        crops: Number of crops.
        found: Number of crops in which objects were found.
    """

    diameter: float
    crops: int
    found: int

    def __str__(self) -> str:
        """Returns the note for the user."""
        if not self.found:
            return (
                f"the diameter could not be estimated: no object was found in {self.crops} crops of the image; "
                f"{self.diameter:.1f} px is used, on which the model was trained. --diameter states another"
            )
        return (
            f"the diameter is {self.diameter:.1f} px, the median of the estimates from {self.found} of {self.crops} "
            "crops of the image. A request estimates from the whole image; --diameter states another"
        )


def estimate(
    image: LazyImage,
    params: SegmentParams,
    ask: Callable[[Image, SegmentParams], DiameterEstimate],
    threads: int = 4,
) -> Estimate:
    """Estimates the diameter of the objects in an image that no request can hold.

    Args:
        image: The image.
        params: Resolved, without a diameter.
        ask: Estimates the diameter in a crop.
        threads: Crops in work at a time.

    Raises:
        CellServeError: No server answers.
        ImageError, OSError: The image cannot be read.
    """

    def of_crop(region: Region) -> DiameterEstimate:
        return ask(*_crop(image, region, params))

    with ThreadPoolExecutor(threads) as pool:
        estimates = list(pool.map(of_crop, crops(image, SIDE)))
    found = [entry.diameter for entry in estimates if entry.source == "size_model"]
    diameter = statistics.median(found) if found else estimates[0].diameter
    return Estimate(diameter, len(estimates), len(found))


def _crop(image: LazyImage, region: Region, params: SegmentParams) -> tuple[Image, SegmentParams]:
    """Returns a crop of the channels that are used, and the parameters that say which they are."""
    axes = image.axes.replace("S", "C")
    order = [axes.index(axis) for axis in "ZCYX" if axis in axes]
    pixels = np.transpose(image.read(region), order)
    pixels, axes = pixels[0] if "Z" in axes else pixels, "CYX" if "C" in axes else "YX"
    params = replace(params, stack_mode=None, anisotropy=None)
    cytoplasm, nucleus = params.cytoplasm_channel, params.nucleus_channel
    assert cytoplasm is not None  # resolved
    assert nucleus is not None
    if axes == "CYX" and cytoplasm != MEAN:
        kept = [cytoplasm, *([] if nucleus == NONE else [nucleus])]
        pixels = pixels[kept]
        params = replace(params, cytoplasm_channel=0, nucleus_channel=NONE if nucleus == NONE else 1)
    return Image(pixels, axes), params
