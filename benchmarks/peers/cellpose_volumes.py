"""Volumes through Cellpose 3.1's own `do_3D` and `stitch_threshold`, its other defaults. Run by the environment of the
peers.

Reads a TIFF of axes ZYX; writes label images as TIFFs of the same axes and prints one JSON object of times.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import tifffile
import torch
from cellpose import models

STITCH_THRESHOLD = 0.25  # the paper's; Cellpose's default is not to stitch


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", required=True)
    parser.add_argument("--volume", type=Path, required=True, help="<name>_img.tif of axes ZYX")
    parser.add_argument("--diameter", type=float, required=True, help="of the objects' sections in xy planes, pixels")
    parser.add_argument("--anisotropy", type=float, default=1.0, help="distance of planes over that of pixels")
    parser.add_argument("--modes", nargs="+", choices=("do_3D", "stitch"), default=("do_3D", "stitch"))
    parser.add_argument("--maps", action="store_true", help="write the maps of do_3D, too: float32 [4, Z, Y, X]")
    parser.add_argument("--out", type=Path, required=True, help="folder; a mode's labels are <mode>/<name>_masks.tif")
    options = parser.parse_args()
    model = models.CellposeModel(gpu=False, pretrained_model=options.weights)
    volume = tifffile.imread(options.volume)
    name = options.volume.name.removesuffix(".tif").removesuffix("_img")
    # Stitching knows no distance of planes: Cellpose ignores the anisotropy there.
    arguments = {
        "do_3D": {"do_3D": True, "anisotropy": options.anisotropy},
        "stitch": {"stitch_threshold": STITCH_THRESHOLD},
    }
    wall, processor = {}, {}
    for mode in options.modes:
        start = time.perf_counter(), time.process_time()
        masks, flows, _ = model.eval(volume, z_axis=0, channels=[0, 0], diameter=options.diameter, **arguments[mode])
        wall[mode], processor[mode] = time.perf_counter() - start[0], time.process_time() - start[1]
        folder = options.out / mode
        folder.mkdir(parents=True, exist_ok=True)
        tifffile.imwrite(folder / f"{name}_masks.tif", masks, compression="deflate", metadata={"axes": "ZYX"})
        if options.maps and mode == "do_3D":
            np.save(folder / f"{name}_maps.npy", np.concatenate([flows[1], flows[2][np.newaxis]]))
    about = {"volume": name, "seconds": wall, "processor_seconds": processor, "threads": torch.get_num_threads()}
    print(json.dumps(about))


if __name__ == "__main__":
    main()
