"""From the outputs of tiles to masks and objects: reassembly, recovery, measurement, outlines."""

from cellserve_contract.model_card import STYLE_SIZE
from cellserve_contract.params import RecoveryParams

from ._arrays import FLOW_SCALE, kernel_labels
from .flows import diffuse
from .masks import Recovered, recover_masks
from .objects import ObjectTable, measure_extents, measure_objects, median_diameter
from .outlines import trace_outlines
from .reassemble import MapSums, TileWeights, tile_weights, to_maps
from .size_model import (
    LARGEST_DIAMETER,
    SMALLEST_DIAMETER,
    SizeModel,
    bounded_diameter,
    explained_share,
    image_style,
    style_grid,
)
from .stitching import STITCH_THRESHOLD, Stitched, Stitcher, stitch
from .views import ViewSums, smooth_sections, smooth_view, smoothing_reach, view_rule
from .warmth import warm_up

__all__ = [
    "FLOW_SCALE",
    "LARGEST_DIAMETER",
    "SMALLEST_DIAMETER",
    "STITCH_THRESHOLD",
    "STYLE_SIZE",
    "MapSums",
    "ObjectTable",
    "Recovered",
    "RecoveryParams",
    "SizeModel",
    "Stitched",
    "Stitcher",
    "TileWeights",
    "ViewSums",
    "bounded_diameter",
    "diffuse",
    "explained_share",
    "image_style",
    "kernel_labels",
    "measure_extents",
    "measure_objects",
    "median_diameter",
    "recover_masks",
    "smooth_sections",
    "smooth_view",
    "smoothing_reach",
    "stitch",
    "style_grid",
    "tile_weights",
    "to_maps",
    "trace_outlines",
    "view_rule",
    "warm_up",
]
