"""Masks of Cellpose 3.1's own `eval` for one image. Run by the environment of the peers.

Writes an .npz: masks [Y, X]; candidates [Y, X], the masks before the quality filter, and their flow_errors [N].
"""

from __future__ import annotations

import argparse

import numpy as np
import tifffile
from cellpose import dynamics, metrics, models


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", required=True)
    parser.add_argument("--image", required=True, help="a TIFF of axes YX")
    parser.add_argument("--diameter", type=float, required=True)
    parser.add_argument("--niter", type=int, help="default: Cellpose's own, which grows with the diameter")
    parser.add_argument("--out", required=True)
    options = parser.parse_args()
    model = models.CellposeModel(gpu=False, pretrained_model=options.weights)
    niter = options.niter or int(
        200 * options.diameter / model.diam_mean
    )  # as eval chooses it; all else is its default
    masks, flows, _ = model.eval(
        tifffile.imread(options.image), channels=[0, 0], diameter=options.diameter, niter=niter
    )
    candidates = dynamics.resize_and_compute_masks(flows[1], flows[2], niter=niter, flow_threshold=0)
    errors, _ = metrics.flow_error(candidates, flows[1], device=model.device)
    np.savez_compressed(options.out, masks=masks, candidates=candidates, flow_errors=errors, niter=niter)


if __name__ == "__main__":
    main()
