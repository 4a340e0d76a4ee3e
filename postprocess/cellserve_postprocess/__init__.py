"""From the outputs of tiles to masks and objects: reassembly, recovery, measurement, outlines."""

from cellserve_contract.model_card import STYLE_SIZE
from cellserve_contract.params import RecoveryParams

from ._arrays import kernel_labels
from ._diffusion import diffuse
from .masks import FLOW_SCALE, Recovered, recover_masks
from .objects import ObjectTable, measure_extents, measure_objects, median_diameter
from .outlines import trace_outlines
from .reassemble import reassemble
from .size_model import (
    LARGEST_DIAMETER,
    SMALLEST_DIAMETER,
    SizeModel,
    bounded_diameter,
    explained_share,
    image_style,
    style_grid,
)
from .warmth import warm_up

__all__ = [
    "FLOW_SCALE",
    "LARGEST_DIAMETER",
    "SMALLEST_DIAMETER",
    "STYLE_SIZE",
    "ObjectTable",
    "Recovered",
    "RecoveryParams",
    "SizeModel",
    "bounded_diameter",
    "diffuse",
    "explained_share",
    "image_style",
    "kernel_labels",
    "measure_extents",
    "measure_objects",
    "median_diameter",
    "reassemble",
    "recover_masks",
    "style_grid",
    "trace_outlines",
    "warm_up",
]
