"""From the outputs of tiles to masks and objects: reassembly, recovery, measurement, outlines, agreement."""

from .flows import masks_to_flows
from .masks import FLOW_SCALE, Recovered, recover_masks
from .objects import ObjectTable, measure_objects, median_diameter
from .outlines import trace_outlines
from .params import RecoveryParams
from .reassemble import reassemble
from .warmth import warm_up

__all__ = [
    "FLOW_SCALE",
    "ObjectTable",
    "Recovered",
    "RecoveryParams",
    "masks_to_flows",
    "measure_objects",
    "median_diameter",
    "reassemble",
    "recover_masks",
    "trace_outlines",
    "warm_up",
]
