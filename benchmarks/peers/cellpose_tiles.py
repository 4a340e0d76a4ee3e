"""Tiles per second of stock Cellpose 3.1 on the CPU, its own defaults: each tile through each of the given networks.

Run by the environment of the peers. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import json
import time

import numpy as np
import torch
from cellpose import core, models

TILES = 9  # what Cellpose cuts from 512 x 512 px at its default overlap of 10 %


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", nargs="+", required=True)
    parser.add_argument("--rounds", type=int, default=1)
    options = parser.parse_args()
    networks = [models.CellposeModel(gpu=False, pretrained_model=path).net for path in options.weights]
    image = np.random.default_rng(0).normal(0.5, 0.3, (1, 512, 512, 2)).astype(np.float32)
    core.run_net(networks[0], image)  # the first run allocates
    rates = []
    for _ in range(options.rounds):
        start = time.perf_counter()
        for network in networks:
            core.run_net(network, image)
        rates.append(TILES / (time.perf_counter() - start))
    print(json.dumps({"tiles_per_s": rates, "threads": torch.get_num_threads()}))


if __name__ == "__main__":
    main()
