"""Mask recovery of Cellpose 3.1 on the CPU, its own defaults. Run by the environment of the peers.

Reads lines of JSON, {"maps": FILE.npy} (maps [3, Y, X] or [4, Z, Y, X]), and answers each with a line
{"seconds": ..., "threads": ...}. In a line, "out": FILE.npz asks for the masks; "candidates": FILE.npz for candidates
[Y, X], the masks before the quality filter, and their flow_errors [N].
"""

from __future__ import annotations

import json
import sys
import time
import warnings

import numpy as np
import torch
from cellpose import dynamics, metrics


def main() -> None:
    """Command line."""
    warnings.filterwarnings("ignore", message="Sparse invariant checks")
    for line in sys.stdin:
        task = json.loads(line)
        maps = np.load(task["maps"])
        start = time.perf_counter()
        masks = dynamics.resize_and_compute_masks(maps[:-1], maps[-1], do_3D=maps.ndim == 4)
        seconds = time.perf_counter() - start
        if "out" in task:
            np.savez(task["out"], masks=masks)
        if "candidates" in task:
            candidates = dynamics.resize_and_compute_masks(maps[:2], maps[2], flow_threshold=0, min_size=-1)
            errors = metrics.flow_error(candidates, maps[:2], device=torch.device("cpu"))[0] if candidates.any() else []
            np.savez(task["candidates"], candidates=candidates, flow_errors=np.asarray(errors))
        print(json.dumps({"seconds": seconds, "threads": torch.get_num_threads()}), flush=True)


if __name__ == "__main__":
    main()
