"""Mask recovery in a volume on the same flows: ours, and that of Cellpose 3.1 (`do_3D`). No gateway is needed."""

from __future__ import annotations

import statistics
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from cellserve_evaluation.metrics import average_precision
from cellserve_parallel import ThreadGroup
from cellserve_postprocess import FLOW_SCALE, RecoveryParams, recover_masks, warm_up
from cellserve_training.targets import masks_to_flows
from numpy.typing import NDArray
from recovery import THREADS, THRESHOLDS, cellpose, in_own_process, seconds_of
from scipy.ndimage import gaussian_filter

SIDE = 200
"""Of the volume, in voxels."""
CELLS = 8
"""Objects along each axis; those beyond OBJECTS are left out."""
OBJECTS = 500
RADII = (9.0, 14.0)
"""Semi-axes of the ellipsoids, in voxels: neighbours 25 voxels apart touch."""
SHIFT = 3.0
"""An object lies at most this far from its place on the lattice, along each axis, in voxels."""
NOISE = 0.1
"""Standard deviation of the noise of flows, which is smooth, as that of networks is."""
ROUNDS = 2
CELLPOSE = RecoveryParams(mask_rules="cellpose3", flow_threshold=0, min_volume_fraction=0)
"""Cellpose 3.1 measures no flow errors of volumes, and knows no smallest share of the median volume."""


def recovery3d(peers: Path) -> dict[str, float]:
    """Measures speed, agreement and memory; `peers` is the Python of the environment with Cellpose."""
    warm_up()
    maps = _maps(_ellipsoids())
    seconds: dict[str, list[float]] = {"cellpose": [], "all_threads": [], "one_thread": []}
    with tempfile.TemporaryDirectory() as name, cellpose(peers) as peer, ThreadPoolExecutor(THREADS) as pool:
        path, out = Path(name) / "maps.npy", Path(name) / "out.npz"
        np.save(path, maps)
        threads = ThreadGroup(pool, THREADS - 1)
        for _ in range(ROUNDS):
            seconds["cellpose"].append(peer.recover(path, out=out))
            seconds["all_threads"].append(seconds_of(lambda: recover_masks(maps, RecoveryParams(), threads)))
            seconds["one_thread"].append(seconds_of(lambda: recover_masks(maps, RecoveryParams())))
        theirs = np.load(out)["masks"]
        memory = in_own_process(path)
    print("recovery3d: " + ", ".join(f"{key} {statistics.median(s):.3f} s" for key, s in seconds.items()), flush=True)
    figures = {
        "recovery3d_cellpose_s": statistics.median(seconds["cellpose"]),
        "recovery3d_s": statistics.median(seconds["all_threads"]),
        "recovery3d_objects": memory["objects"],
        "recovery3d_own_bytes_per_voxel": memory["own_bytes_per_pixel"],
    }
    for key, figure in (("all_threads", "recovery3d_vs_cellpose"), ("one_thread", "recovery3d_one_thread")):
        ratios = (c / s for c, s in zip(seconds["cellpose"], seconds[key], strict=True))
        figures[figure] = statistics.median(ratios)
    for params, figure in ((CELLPOSE, "recovery3d"), (RecoveryParams(), "recovery3d_paper_rules")):
        ours = recover_masks(maps, params).labels
        figures[f"{figure}_agreement"] = float(average_precision(_rows(theirs), _rows(ours), THRESHOLDS).mean())
    return figures


def _ellipsoids() -> NDArray[np.int32]:
    """Ellipsoids of any direction on a disturbed lattice, int32 [Z, Y, X]; many touch. A voxel is the nearest one's."""
    rng = np.random.default_rng(0)
    labels = np.zeros((SIDE,) * 3, np.int32)
    nearest = np.ones(labels.shape, np.float32)
    reach = int(max(RADII)) + 2
    for number, place in enumerate(rng.permutation(list(np.ndindex((CELLS,) * 3)))[:OBJECTS], start=1):
        centre = (place + 0.5) * SIDE / CELLS + rng.uniform(-SHIFT, SHIFT, 3)
        axes = np.linalg.qr(rng.normal(size=(3, 3)))[0] / rng.uniform(*RADII, 3)
        low, high = np.maximum(0, centre - reach).astype(int), np.minimum(SIDE, centre + reach).astype(int)
        box = tuple(slice(*edges) for edges in zip(low, high, strict=True))
        ways = np.moveaxis(np.indices(high - low), 0, -1) + (low - centre)
        distance = ((ways @ axes) ** 2).sum(axis=-1)
        own = distance < nearest[box]
        labels[box][own], nearest[box][own] = number, distance[own]
    return labels


def _maps(labels: NDArray[np.int32]) -> NDArray[np.float32]:
    """What networks put out: means of the flows of the sections along all axes, with noise; float32 [4, Z, Y, X]."""
    rng = np.random.default_rng(1)
    flow = np.zeros((3, *labels.shape), np.float32)
    for axis in range(3):
        others = [other for other in range(3) if other != axis]
        for at in range(labels.shape[axis]):
            section = (slice(None),) * axis + (at,)
            for component, other in zip(masks_to_flows(labels[section]), others, strict=True):
                flow[other][section] += component / 2
    for component in flow:
        noise = gaussian_filter(rng.normal(size=labels.shape), 1.5)
        component += NOISE / noise.std() * noise
    return np.concatenate([FLOW_SCALE * flow, np.where(labels > 0, 6, -6)[np.newaxis]]).astype(np.float32)


def _rows(labels: NDArray[np.integer]) -> NDArray[np.int32]:
    """The rows of a volume as one image: scores of objects do not depend on where their voxels lie."""
    return labels.reshape(-1, labels.shape[-1]).astype(np.int32)
